//! What is suspended: an orchestrator that sleeps through its own failover, a laptop that is closed right before the
//! fence, and opened when everything is over; and a region that takes connections and answers nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failover::Fleet;
use crate::failover_rest::get;
use crate::support::World;

/// The steps of the last operation in the journal of a state, as far as they are written down.
pub(crate) fn steps(world: &World) -> Vec<String> {
    let read_only = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let state = rusqlite::Connection::open_with_flags(world.path("debvisor-region.state.db"), read_only).unwrap();
    let Ok(mut rows) = state.prepare("SELECT step FROM failover_steps ORDER BY position") else { return Vec::new() };
    let found = rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<Vec<String>, _>>();
    // Where it is being written, it is asked again.
    found.unwrap_or_default()
}

fn runs(world: &World) -> usize {
    fs::read_to_string(world.path("fenced")).map_or(0, |text| text.lines().count())
}

/// A world in which `a` is cut off, and a fence that writes down that it runs.
fn cut_off() -> Fleet {
    let mut fleet = Fleet::new(2, "");
    let world = &fleet.world;
    let fence = fleet.machines.fence();
    let (_, body) = fence.split_once('\n').unwrap();
    world.write("fence", format!("#!/bin/sh\necho ran >> {}\n{body}", world.path("fenced").display()));
    fs::set_permissions(world.path("fence"), fs::Permissions::from_mode(0o755)).unwrap();
    let (path, topology) = (world.path("fence"), String::from_utf8(world.read("topology.toml")).unwrap());
    world.write("topology.toml", format!("{topology}hooks = {{ fence = [{path:?}], timeout = \"5s\" }}\n"));
    world.apply();
    fleet.regions[0].kill();
    fleet
}

/// Starts a failover, and suspends it where the regions were told that the fence is about to run; none: it did run.
fn suspended(world: &World) -> Option<Child> {
    let mut command = world.command(["failover", "execute", "a", "b", "--force"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let told = || steps(world).iter().any(|step| step.contains("keeps word: the fence of a is about to run"));
    while !told() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early: {:?}", steps(world));
        thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    // What it had begun by then shows.
    thread::sleep(Duration::from_millis(500));
    if runs(world) == 0 {
        return Some(child);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn a_laptop_that_wakes_up_runs_no_hook_and_changes_nothing() {
    let tries = (0..10).find_map(|_| {
        let fleet = cut_off();
        let laptop = suspended(&fleet.world)?;
        Some((fleet, laptop))
    });
    let (mut fleet, laptop) = tries.expect("it is suspended in time at last");

    // Meanwhile the region answers again, and somebody else brings it to its end, and back.
    fleet.regions[0].again(&fleet.world);
    let world = &fleet.world;
    let elsewhere = |args: &[&str]| {
        let mut all = vec!["--state", "elsewhere.state.db"];
        all.extend(args);
        world.run(all)
    };
    elsewhere(&["failover", "take-over"]).exits(0);
    elsewhere(&["failover", "resume"]).exits(0);
    fleet.assert_all_run_at("b");
    elsewhere(&["failover", "execute", "b", "a", "--force"]).exits(0);
    fleet.assert_all_run_at("a");
    let roles = || {
        let told = fleet.regions.iter().map(|region| {
            let mut told = get(region, "snapshot").is(200);
            let snapshot = told.as_object_mut().unwrap();
            snapshot.retain(|name, _| ["controller", "resources", "highest_epoch"].contains(&name.as_str()));
            told
        });
        told.collect::<Vec<_>>()
    };
    let before = roles();

    kill_process(Pid::from_child(&laptop), Signal::CONT).unwrap();
    let output = laptop.wait_with_output().unwrap();
    // Lines are broken anywhere.
    let said: String = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    let said = said.replace("│ ", "");
    assert_eq!(output.status.code(), Some(5), "{said}");
    for text in ["elsewhere.state.db", "does nothing more"] {
        assert!(said.contains(text), "`{text}` is missing: {said}");
    }
    assert_eq!(runs(world), 0, "the hook ran");
    assert_eq!(roles(), before);
    fleet.assert_all_run_at("a");
    world.run(["failover", "status"]).exits(0).says(&["no operation is open"]);
}

#[test]
fn a_region_that_is_frozen_is_waited_for_once() {
    let fleet = Fleet::new(1, "");
    let world = &fleet.world;
    let frozen = Pid::from_child(&fleet.regions[0].child);
    kill_process(frozen, Signal::STOP).unwrap();
    let began = Instant::now();
    let said = world.run(["failover", "status"]).exits(0);
    let took = began.elapsed();
    kill_process(frozen, Signal::CONT).unwrap();
    said.says(&["no operation is open", "a does not answer"]);
    // The policy's two seconds, and room for a busy machine.
    assert!(took < Duration::from_secs(9), "{took:?}");
}
