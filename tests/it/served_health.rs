//! What is said of regions that live, and of one that died: health by name and by exit code, and work that is under way.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::kill::Chance;
use crate::served::Served;
use crate::support::World;

fn topology(world: &World, a: &Served, b: &Served, more: &str) {
    world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.a]\napi_endpoint = \"{}\"\nprimary = true\n[regions.b]\n\
             api_endpoint = \"{}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n{more}",
            a.origin, b.origin
        ),
    );
}

const QUICK: &str = "[health]\nprobe_interval = \"200ms\"\nfailures = 3\ndetect_for = \"1s\"\ntimeout = \"2s\"\n\
                     degraded_latency = \"1s\"\nunreachable_latency = \"2s\"\n";

#[test]
fn a_health_check_ends_with_0_whatever_it_finds_and_names_it() {
    let world = World::new();
    fs::create_dir_all(world.path("a")).unwrap();
    let (a, mut b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    topology(&world, &a, &b, QUICK);
    world.apply();
    let check = || world.run(["region", "health-check", "b", "--format", "json"]).exits(0).json();
    let well = check();
    assert!(well.to_string().contains("\"healthy\""), "{well}");
    world.run(["region", "health-check", "b"]).exits(0).says(&["healthy"]);
    world.run(["region", "health-check", "nowhere"]).exits(1).says(&["nowhere"]);
    world.run(["region", "list", "--status", "unreachable", "--format", "json"]).exits(0).says(&["[]"]);

    b.kill();
    let began = Instant::now();
    let lost = |check: &serde_json::Value| check.to_string().contains("\"lost\":true");
    let mut dead = check();
    while !lost(&dead) {
        assert!(began.elapsed() < Duration::from_secs(20), "{dead}");
        thread::sleep(Duration::from_millis(100));
        dead = check();
    }
    assert!(dead.to_string().contains("\"unreachable\""), "{dead}");
    world.run(["region", "health-check", "b"]).exits(0).says(&["unreachable", "connection refused"]);
    world.run(["status"]).exits(0).says(&["b", "unreachable"]);

    b.again(&world);
    let began = Instant::now();
    while lost(&check()) {
        assert!(began.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(100));
    }
    world.run(["region", "health-check", "b"]).exits(0);
    a.end();
    b.end();
}

#[test]
fn status_shows_what_is_under_way_for_as_long_as_it_is() {
    let world = World::new();
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", Chance::new(5).bytes(48 << 20));
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    topology(
        &world,
        &a,
        &b,
        "bandwidth_limit = \"40 Mbit/s\"\n[vms.web]\nreplicas = [\"b\"]\n[health]\ntimeout = \"30s\"\n",
    );
    let mut command = world.command(["apply", "--auto-approve"]);
    let mut apply = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let status = world.run(["status"]).exits(0);
        if status.stdout.contains("Under way") {
            status.says(&["sync", "web", "b"]);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{}", status.stdout);
        assert!(apply.try_wait().unwrap().is_none(), "it was never seen under way");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(apply.wait().unwrap().code(), Some(0));
    let status = world.run(["status"]).exits(0);
    assert!(!status.stdout.contains("Under way"), "{}", status.stdout);
    a.end();
    b.end();
}
