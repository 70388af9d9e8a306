//! What is said of regions that live, and of one that died: health by name and by exit code, and work that is under way.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use serde_json::Value;

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

/// What regions are listed as, without what differs from one look to the next.
fn lasting(listed: &Value) -> Vec<Value> {
    let mut regions = listed.as_array().unwrap().clone();
    for region in regions.iter_mut().map(|region| region.as_object_mut().unwrap()) {
        for fleeting in ["latency_ms", "last_heartbeat", "replication_lag_seconds", "free_bytes", "seen_by"] {
            region.remove(fleeting);
        }
    }
    regions
}

#[test]
fn regions_are_listed_without_a_look_at_any_resources_files() {
    let world = World::new();
    let vms = ["web-1", "web-2", "web-3"];
    for (n, vm) in (1..).zip(vms) {
        world.write(format!("a/resources/vm/{vm}/disk.raw"), Chance::new(n).bytes(2 << 20));
    }
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    topology(&world, &a, &b, "[vms.\"web-{1..3}\"]\nreplicas = [\"b\"]\n");
    world.apply();

    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    for (region, vm) in ["a", "b"].into_iter().flat_map(|region| vms.map(|vm| (region, vm))) {
        let directory = world.path(format!("{region}/resources/vm/{vm}"));
        inotify::add_watch(&watch, &directory, WatchFlags::OPEN | WatchFlags::ACCESS).unwrap();
    }
    let opened = || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let mut opened = 0;
        loop {
            match reader.next() {
                Ok(event) => opened += usize::from(event.events().contains(ReadFlags::OPEN)),
                Err(Errno::AGAIN) => return opened,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let json = |args: &[&str]| world.run(args.iter().chain(&["--format", "json"])).exits(0).json();
    let listed = json(&["region", "list"]);
    let counts = |region: &Value| {
        ["current_vms", "resources_primary", "resources_replica"].map(|count| region[count].as_u64().unwrap())
    };
    assert_eq!([counts(&listed[0]), counts(&listed[1])], [[3, 3, 0], [0, 0, 3]], "{listed:#}");
    assert!(listed[0]["bandwidth_mbps"].is_number() && listed[1]["replication_lag_seconds"].is_number(), "{listed:#}");
    assert_eq!(counts(&json(&["region", "show", "a"])), [3, 3, 0]);
    assert_eq!(json(&["region", "stats", "b"])["resources_replica"], 3);
    assert_eq!(counts(&json(&["region", "health-check", "b"])), [0, 0, 3]);
    assert_eq!(json(&["global"])["total_resources"], 3);
    assert_eq!(opened(), 0, "resources' directories were opened");
    // All else that looks at regions does look there, and sees the same.
    let status = json(&["status"]);
    assert!(opened() >= 6);
    assert_eq!(lasting(&listed), lasting(&status["regions"]));
    a.end();
    b.end();
}

/// Words of why nothing is relied on, and what makes it so.
type Doubted = (&'static str, fn(&World));

#[test]
fn a_region_that_is_doubted_is_doubted_without_its_resources_files_too() {
    let doubted: [Doubted; 4] = [
        ("resources' files are there", |world| fs::remove_file(world.path("b/.debvisor/region.json")).unwrap()),
        ("its place is empty", |world| fs::rename(world.path("b"), world.path("elsewhere")).unwrap()),
        ("cannot read", |world| {
            fs::remove_dir_all(world.path("b/resources/vm")).unwrap();
            symlink("vm", world.path("b/resources/vm")).unwrap();
        }),
        ("config.toml", |world| world.write("b/.debvisor/config.toml", "nothing = of = this")),
    ];
    for (reason, doubted) in doubted {
        let world = World::two_regions("[vms.web]\nreplicas = [\"b\"]\n");
        world.write("a/resources/vm/web/disk.raw", "first");
        world.apply();
        let both = || {
            let json = |args: &[&str]| world.run(args.iter().chain(&["--format", "json"])).exits(0).json();
            (lasting(&json(&["region", "list"])), lasting(&json(&["status"])["regions"]))
        };
        let (listed, told) = both();
        assert_eq!((&listed, &listed[1]["status"]), (&told, &Value::from("healthy")));
        doubted(&world);
        let (listed, told) = both();
        assert_eq!(listed, told, "{reason}");
        assert_eq!(listed[1]["status"], "unknown", "{listed:#?}");
        assert!(listed[1]["reason"].as_str().unwrap().contains(reason), "{listed:#?}");
    }
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
