//! What goes wrong, made to happen, and what the program says of it: which of the causes holds, and what to do next.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::automatic::Fleet;
use crate::served::Served;
use crate::support::World;

/// Waits for what takes a region some time.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(90), "{what}: not in time");
        thread::sleep(Duration::from_millis(100));
    }
}

fn signal(region: &Served, signal: Signal) {
    kill_process(Pid::from_child(&region.child), signal).unwrap();
}

fn topology(endpoint: &str, more: &str) -> String {
    format!(
        "schema_version = 1\n[regions.a]\napi_endpoint = \"file:a\"\nprimary = true\n[regions.b]\n\
         api_endpoint = {endpoint:?}\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
         [vms.web]\nreplicas = [\"b\"]\n{more}"
    )
}

/// What `region health-check b` finds where `b` is reached at `endpoint`.
fn check(endpoint: &str) -> (String, String, String) {
    let world = World::new();
    world.write("topology.toml", topology(endpoint, "[health]\ntimeout = \"1s\"\n"));
    let found = world.run(["region", "health-check", "b", "--format", "json"]).exits(0).json();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    // A person reads the same.
    let said = world.run(["region", "health-check", "b"]).exits(0).stdout;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [text("reason"), text("help")] {
        // Waits differ in their figures.
        let part = part.split(" within ").next().unwrap().to_owned();
        assert!(said.contains(&part), "{part}: {said}");
    }
    (text("status"), text("reason"), text("help"))
}

#[track_caller]
fn assert_found(endpoint: &str, (status, reason, help): (&str, &str, &str)) {
    let found = check(endpoint);
    assert!(found.0 == status && found.1.contains(reason) && found.2.contains(help), "{endpoint}: {found:#?}");
}

/// A server that answers every connection with these bytes, as long as the test runs.
fn answering(bytes: &'static [u8]) -> String {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    origin
}

#[test]
fn a_region_that_is_not_reached_says_what_is_in_the_way() {
    // DNS.
    assert_found("https://b.invalid", ("unknown", "does not resolve", "DNS"));
    // Nothing listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_found(&format!("http://{closed}"), ("unreachable", "connection refused", "nothing listens at that port"));
    // No way there.
    assert_found("http://255.255.255.255:5000", ("unreachable", "network unreachable", "routes"));
    // What does not speak TLS, another service, and one that hangs up.
    let plain = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nnginx");
    assert_found(&format!("https://{plain}"), ("unknown", "speaks no TLS", "http://"));
    assert_found(&format!("http://{plain}"), ("unknown", "404", "another service's"));
    let broken = answering(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad");
    assert_found(&format!("http://{broken}"), ("unknown", "502", "log"));
    let mute = answering(b"");
    assert_found(&format!("http://{mute}"), ("unreachable", "closed the connection", "journalctl"));
}

#[test]
fn a_firewall_a_frozen_server_and_a_wrong_token_are_told_apart() {
    // A queue that is full lets no connection stand, as a firewall that drops.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = full.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&place, Duration::from_millis(300)) {
        held.push(stream);
        assert!(held.len() < 20_000, "the queue has no end");
    }
    assert_found(&format!("http://{place}"), ("unreachable", "not even a connection", "firewall"));
    drop(held);

    let world = World::new();
    world.write("tokens", "secret\n");
    fs::set_permissions(world.path("tokens"), fs::Permissions::from_mode(0o600)).unwrap();
    let b = Served::start(&world, "b", &["--token-file", "tokens"]);
    assert_found(&b.origin, ("unknown", "401", "credentials file"));
    signal(&b, Signal::STOP);
    let found = check(&b.origin);
    signal(&b, Signal::CONT);
    assert_eq!(found.0, "unreachable", "{found:#?}");
    assert!(found.1.contains("no answer") && !found.1.contains("not even"), "{found:#?}");
    assert!(found.2.contains("frozen"), "{found:#?}");
}

fn replica(world: &World) -> Value {
    world.run(["replication", "status", "web", "--format", "json"]).exits(0).json()["replicas"]["b"].clone()
}

#[track_caller]
fn assert_replica(world: &World, health: &str, detail: &str, help: &str) {
    let found = replica(world);
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("health"), health, "{found:#}");
    assert!(text("detail").contains(detail) && text("help").contains(help), "{found:#}");
    let said = world.run(["replication", "status", "web"]).exits(0).stdout;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(help), "{help}: {said}");
}

#[test]
fn a_replica_that_lags_says_why() {
    let world = World::new();
    world.write("topology.toml", topology("file:b", ""));
    fs::create_dir_all(world.path("a")).unwrap();
    world.run(["apply", "--auto-approve"]).exits(0);
    // The resource is not in its primary.
    assert_replica(&world, "waiting", "no files at a yet", "DIR/resources/vm/web");
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", "the disk\n".repeat(200_000));
    assert_replica(&world, "pending", "no complete point", "apply");
    world.apply();
    // Gone from it again.
    fs::rename(world.path("a/resources/vm/web"), world.path("away")).unwrap();
    world.run(["apply", "--auto-approve"]);
    assert_replica(&world, "blocked", "suspicious", "vm restore web");
    fs::rename(world.path("away"), world.path("a/resources/vm/web")).unwrap();
    world.run(["replication", "sync", "web", "a", "b"]).exits(0);
    // The pair is paused.
    world.run(["replication", "pause", "a", "b", "--apply", "--auto-approve"]).exits(0);
    assert_replica(&world, "paused", "the pair a → b is paused", "replication resume a b --apply");
    world.run(["replication", "resume", "a", "b", "--apply", "--auto-approve"]).exits(0);
    // A region is not there.
    fs::rename(world.path("b"), world.path("unmounted")).unwrap();
    assert_replica(&world, "unknown", "b does not answer", "region health-check b");
    fs::rename(world.path("unmounted"), world.path("b")).unwrap();
    // Promised more than anybody keeps.
    let text = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", text.replace("[vms.web]\n", "[vms.web]\nmax_lag = \"1s\"\n"));
    thread::sleep(Duration::from_millis(1500));
    assert_replica(&world, "late", "", "reconcile");
    world.run(["status"]).says(&["older than promised", "as a service or from a timer"]);
}

#[test]
fn a_copy_that_failed_says_what_failed_it() {
    let world = World::new();
    let b = Served::start(&world, "b", &[]);
    let a = Served::start(&world, "a", &[]);
    let text = topology(&b.origin, "").replace("file:a", &a.origin);
    world.write("topology.toml", text);
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", "the disk\n".repeat(200_000));
    world.apply();
    // The file system of the replica takes nothing more, as far as the kernel is concerned: an immutable directory.
    let place = world.path("b/resources/vm/web");
    let immutable = |flag: &str| {
        let done = Command::new("chattr").arg("-R").arg(flag).arg(&place).status();
        done.is_ok_and(|done| done.success())
    };
    if !immutable("+i") {
        eprintln!("no immutable files here: a replica that may not be written is left to machines with them");
        return;
    }
    world.write(
        "a/resources/vm/web/disk.raw",
        format!("{}{}", "THE DISK\n".repeat(40_000), "the disk\n".repeat(160_000)),
    );
    let applied = world.run(["apply", "--auto-approve"]);
    let found = replica(&world);
    let well = immutable("-i");
    assert!(well);
    assert_ne!(applied.code, 0, "{}", applied.stdout);
    let text = found.to_string();
    assert!(text.contains("the last copy failed") && text.contains("os error 1)"), "{found:#}");
    assert!(found["help"].as_str().unwrap().contains("let the server of b write below its directory"), "{found:#}");
    assert_eq!(found["status"], "failed", "{found:#}");
}

fn obstacles(fleet: &Fleet) -> Vec<(String, String, String)> {
    let found = fleet.run(&["failover", "status", "--format", "json"]).exits(0).json();
    let automation = &found["automation"];
    let suspects = automation["suspects"].as_array().unwrap().iter();
    let held = suspects.flat_map(|suspect| suspect["obstacles"].as_array().unwrap());
    let all = automation["obstacles"].as_array().unwrap().iter().chain(held);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|it| (text(&it["code"]), text(&it["detail"]), text(&it["help"]))).collect()
}

#[track_caller]
fn assert_obstacle(fleet: &Fleet, code: &str, detail: &str, help: &str) {
    let found = obstacles(fleet);
    let fits = found.iter().any(|it| it.0 == code && it.1.contains(detail) && it.2.contains(help));
    assert!(fits, "{code}: {detail}: {help}\n{found:#?}");
    fleet.run(&["failover", "status"]).exits(0).says(&[code]);
}

#[test]
fn a_failover_that_does_not_come_says_what_holds_it_back() {
    let mut fleet = Fleet::new(1, "strategy = \"automatic\"\nFENCE\n");
    // Nobody looks.
    assert_obstacle(
        &fleet,
        "rounds",
        "no round that may fail over was ever run",
        "reconcile --watch --allow sync,failover",
    );
    fleet.round().exits(0);
    let found = obstacles(&fleet);
    assert!(found.is_empty(), "{found:#?}");
    fleet.run(&["failover", "status"]).exits(0).says(&["is failed over from (automatic)", "nothing to move"]);
    // Somebody paused it.
    fleet.run(&["failover", "pause", "--reason", "works on the line"]).exits(0);
    assert_obstacle(&fleet, "pause", "works on the line", "failover unpause");
    fleet.run(&["failover", "unpause"]).exits(0);
    // The fence hook is not on this machine.
    fs::rename(fleet.world.path("fence"), fleet.world.path("no-fence")).unwrap();
    assert_obstacle(&fleet, "fence", "cannot be run", "executable");
    fs::rename(fleet.world.path("no-fence"), fleet.world.path("fence")).unwrap();
    // A policy that nobody applied; another state than the one that controls.
    let text = String::from_utf8(fleet.world.read("topology.toml")).unwrap();
    fleet.world.write("topology.toml", text.replace("strategy = \"automatic\"", "strategy = \"cascading\""));
    assert_obstacle(&fleet, "policy", "is not the policy that was applied", "apply");
    fleet.world.write("topology.toml", text.replace("strategy = \"automatic\"", "strategy = \"manual\""));
    assert_obstacle(&fleet, "strategy", "`manual`", "failover execute FROM TO");
    fleet.world.write("topology.toml", &text);
    let found = fleet.run(&["failover", "status", "--state", "other.db", "--format", "json"]).exits(0).json();
    assert!(found.to_string().contains("\"not_controller\""), "{found:#}");

    // It does not answer: at first it is not silent for long enough, to those who look.
    fleet.regions[0].kill();
    let found = obstacles(&fleet);
    assert!(found.iter().all(|it| it.0 == "verdict" || it.0 == "loss"), "{found:#?}");
    until("a counts as down", || obstacles(&fleet).iter().all(|it| it.0 != "verdict"));
    until("it goes", || {
        fleet.round();
        fleet.events().iter().any(|event| event["outcome"] == "completed")
    });
    // The pause after it.
    assert_obstacle(&fleet, "cooldown", "was completed", "it ends in");
    // Nobody is there to say anything.
    fleet.regions[1].kill();
    fleet.regions[2].kill();
    fleet.run(&["failover", "status"]).exits(1).says(&["no region answered"]);
}
