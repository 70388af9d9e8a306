//! Exports from served regions: what an interruption leaves, and how many files travel at once.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::kill::Chance;
use crate::served::Served;
use crate::support::{World, assert_same_tree};

/// A world with a point of `vm.web` at `b`; both regions are served.
fn world_with(fill: impl FnOnce(&World)) -> (World, Served, Served) {
    let world = World::new();
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    fill(&world);
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.a]\napi_endpoint = \"{}\"\nprimary = true\n[regions.b]\n\
             api_endpoint = \"{}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
             [vms.web]\nreplicas = [\"b\"]\n[health]\ntimeout = \"30s\"\n",
            a.origin, b.origin
        ),
    );
    world.apply();
    (world, a, b)
}

fn disk(world: &World) {
    world.write("a/resources/vm/web/disk.raw", Chance::new(3).bytes(96 << 20));
}

/// Starts an export, and waits until some of it is there.
fn export_under_way(world: &World) -> Child {
    let mut command = world.command(["replication", "export", "web", "out"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let arrived = |path: &Path| fs::metadata(path.join("disk.raw")).is_ok_and(|disk| disk.len() > 4 << 20);
    while !arrived(&world.path("out")) {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing arrives");
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        thread::sleep(Duration::from_millis(2));
    }
    child
}

fn interrupted_export_leaves_nothing(world: &World) {
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(world.path("out")).unwrap();
        }
        let mut export = export_under_way(world);
        let asked = Instant::now();
        kill_process(Pid::from_child(&export), Signal::INT).unwrap();
        assert_eq!(export.wait().unwrap().code(), Some(130));
        // The promise is five seconds; a busy machine gets a little more.
        assert!(asked.elapsed() < Duration::from_secs(8), "out after {:?}", asked.elapsed());
        assert_eq!(world.path("out").exists(), is_there, "as it was");
        if is_there {
            assert_eq!(fs::read_dir(world.path("out")).unwrap().count(), 0, "as it was");
        }
    }
}

#[test]
fn an_interrupted_export_leaves_the_directory_as_it_was() {
    let (world, a, b) = world_with(disk);
    interrupted_export_leaves_nothing(&world);
    // A killed one says that it is not whole, and is not gone on with.
    fs::remove_dir(world.path("out")).unwrap();
    let mut export = export_under_way(&world);
    export.kill().unwrap();
    export.wait().unwrap();
    assert!(world.path("out/INCOMPLETE-EXPORT").is_file());
    world.run(["replication", "export", "web", "out"]).exits(1);
    fs::remove_dir_all(world.path("out")).unwrap();
    world.run(["replication", "export", "web", "out"]).exits(0);
    assert_same_tree(&world.path("a/resources/vm/web"), &world.path("out"));
    a.end();
    b.end();
    // The same without servers.
    let text = fs::read_to_string(world.path("topology.toml")).unwrap();
    let local = regex::Regex::new("http://[0-9.:]+").unwrap();
    let mut names = ["file:a", "file:b"].into_iter();
    world.write("topology.toml", local.replace_all(&text, |_: &regex::Captures<'_>| names.next().unwrap()).as_bytes());
    fs::remove_dir_all(world.path("out")).unwrap();
    interrupted_export_leaves_nothing(&world);
}

fn files(world: &World, count: u32) {
    let mut chance = Chance::new(9);
    for n in 0..count {
        let bytes = if n % 7 == 0 { vec![0; 1024] } else { chance.bytes(1024) };
        world.write(format!("a/resources/vm/web/files/{:02}/{n:05}", n % 100), bytes);
    }
}

/// How often the server was asked for something.
pub(crate) fn asked(served: &Served, route: &str) -> u64 {
    let mut stream = TcpStream::connect(served.origin.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| line.contains("requests_total{") && line.contains(route));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn small_files_travel_many_at_once() {
    let (world, a, b) = world_with(|world| files(world, 600));
    world.write("a/resources/vm/web/empty", "");
    world.apply();
    world.run(["replication", "export", "web", "out"]).exits(0);
    assert_same_tree(&world.path("a/resources/vm/web"), &world.path("out"));
    let requests = asked(&b, "/points/{sequence}/");
    assert!((1..=2).contains(&requests), "{requests} requests for 602 files");
    a.end();
    b.end();
}

#[test]
#[ignore = "a measurement: cargo test --release --test it served_export -- --ignored --nocapture"]
fn an_export_of_ten_thousand_small_files() {
    let (world, a, b) = world_with(|world| files(world, 10_000));
    for round in 0..3 {
        let into = format!("out-{round}");
        let began = Instant::now();
        world.run(["replication", "export", "web", &into]).exits(0);
        eprintln!("10,000 files of 1 KiB: {:?}", began.elapsed());
    }
    a.end();
    b.end();
}
