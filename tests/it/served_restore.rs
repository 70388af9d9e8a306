//! `vm restore` to a holder that is served: it fetches the point by itself, and puts its files in place by its own
//! rules.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::kill::Chance;
use crate::served::Served;
use crate::support::{World, assert_same_tree, copy_tree};

fn topology(world: &World, a: &str, b: &str) {
    world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.a]\napi_endpoint = \"{a}\"\nprimary = true\n[regions.b]\n\
             api_endpoint = \"{b}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
             [vms.web]\nreplicas = [\"b\"]\nmax_change = \"100 %\"\n[health]\ntimeout = \"30s\"\n"
        ),
    );
}

const HELD: &str = "a/resources/vm/web";
const BYTES: usize = 48 << 20;

/// A machine whose first content is a point at `b` and below `first`, and which was overwritten since.
fn overwritten(world: &World, a: &str, b: &str) {
    topology(world, a, b);
    world.write(format!("{HELD}/domain.xml"), "<domain/>\n");
    world.write(format!("{HELD}/disk.raw"), Chance::new(1).bytes(BYTES));
    copy_tree(&world.path(HELD), &world.path("first"));
    world.apply();
    world.write(format!("{HELD}/disk.raw"), Chance::new(2).bytes(BYTES));
    copy_tree(&world.path(HELD), &world.path("second"));
}

/// What restores set aside at `a`.
fn set_aside(world: &World) -> Vec<String> {
    let dir = world.path("a/.debvisor/replaced/vm/web");
    let names = fs::read_dir(dir).into_iter().flatten();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn under_way(world: &World) -> std::path::PathBuf {
    world.path("a/.debvisor/restore/vm/web")
}

fn assert_restored(world: &World) {
    assert_same_tree(&world.path("first"), &world.path(HELD));
    let aside = set_aside(world);
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_same_tree(&world.path("second"), &world.path("a/.debvisor/replaced/vm/web").join(&aside[0]));
    assert!(!under_way(world).exists(), "nothing of the point is left lying about");
}

#[test]
fn a_served_holder_fetches_the_point_and_keeps_what_was_there() {
    let world = World::new();
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    overwritten(&world, &a.origin, &b.origin);
    // What cannot be is refused before anything travels.
    world.run(["vm", "restore", "web", "--point", "9", "--auto-approve"]).exits(1).says(&["point of web"]);
    let restored = world.run(["vm", "restore", "web", "--from", "b", "--auto-approve", "--format", "json"]).exits(0);
    let restored = restored.json();
    assert_eq!(restored["set_aside"].as_str(), set_aside(&world).first().map(String::as_str), "{restored}");
    assert_restored(&world);
    let history = world.run(["history", "--format", "json", "--limit", "1"]).exits(0).json();
    assert_eq!(history[0]["actions"][0]["id"], "restore:vm.web:a", "{history}");
    // The holder is what its copy is.
    world.apply();
    world.assert_settled();
    a.end();
    b.end();
}

#[test]
fn nothing_is_restored_under_a_machine_that_runs_nor_from_a_directory_elsewhere() {
    let world = World::new();
    let runner = format!(
        "[runner]\nstatus = [\"/bin/cat\", \"{}\"]\nstart = [\"/bin/true\"]\nstop = [\"/bin/true\"]\n",
        world.path("state").display()
    );
    world.write("a/.debvisor/config.toml", runner);
    world.write("state", "running\n");
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    overwritten(&world, &a.origin, &b.origin);
    world.run(["vm", "restore", "web", "--auto-approve"]).exits(1).says(&["web runs at a", "Stop it first"]);
    assert!(set_aside(&world).is_empty() && !under_way(&world).exists());
    assert_same_tree(&world.path("second"), &world.path(HELD));
    b.end();
    topology(&world, &a.origin, "file:b");
    world.run(["vm", "restore", "web", "--auto-approve"]).exits(1).says(&["a directory of this machine", "Serve b"]);
    assert_same_tree(&world.path("second"), &world.path(HELD));
    a.end();
}

/// Starts a restore, and waits until some of the point is at `a`.
fn restore_under_way(world: &World) -> Child {
    let mut command = world.command(["vm", "restore", "web", "--from", "b", "--auto-approve"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let arrived = |path: &Path| fs::metadata(path.join("disk.raw")).is_ok_and(|disk| disk.len() > 4 << 20);
    while !arrived(&under_way(world)) {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing arrives");
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        thread::sleep(Duration::from_millis(2));
    }
    child
}

#[test]
fn a_holder_that_is_killed_while_it_fetches_is_as_it_was_and_restores_later() {
    let world = World::new();
    let (mut a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    overwritten(&world, &a.origin, &b.origin);
    let mut restore = restore_under_way(&world);
    a.kill();
    assert_same_tree(&world.path("second"), &world.path(HELD));
    assert!(set_aside(&world).is_empty());
    assert!(under_way(&world).join("INCOMPLETE-EXPORT").exists(), "a part never looks like the whole");
    let _ = restore.kill();
    restore.wait().unwrap();
    a.again(&world);
    assert!(!under_way(&world).exists(), "what was left was removed by the start");
    assert_same_tree(&world.path("second"), &world.path(HELD));
    world.run(["vm", "restore", "web", "--from", "b", "--auto-approve"]).exits(0);
    assert_restored(&world);
    a.end();
    b.end();
}

#[test]
fn a_restore_that_is_interrupted_while_it_fetches_changes_nothing() {
    let world = World::new();
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    overwritten(&world, &a.origin, &b.origin);
    let mut restore = restore_under_way(&world);
    let asked = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&restore), rustix::process::Signal::INT).unwrap();
    assert_eq!(restore.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(8), "out after {:?}", asked.elapsed());
    let began = Instant::now();
    while under_way(&world).exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "the holder did not stop");
        thread::sleep(Duration::from_millis(20));
    }
    assert_same_tree(&world.path("second"), &world.path(HELD));
    assert!(set_aside(&world).is_empty());
    a.end();
    b.end();
}
