//! One machine of a region that does not answer is to move: the fence that would make sure of it stops all the others,
//! and that is for a person to say.
//!
//! The gate has four machines; `cargo test --release --test it -- --ignored` has 125.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::failover::Fleet;

/// A fleet of so many machines at a region whose server is dead and whose machines run, and a fence hook.
fn cut_off(vms: usize) -> Fleet {
    let mut fleet = Fleet::new(vms, "");
    let topology = String::from_utf8(fleet.world.read("topology.toml")).unwrap();
    let hook = format!("#!/bin/sh\necho \"$DEBVISOR_FROM\" >> {}\n", fleet.world.path("fenced").display());
    fleet.world.write("fence", fleet.machines.fence().replacen("#!/bin/sh\n", &hook, 1));
    fs::set_permissions(fleet.world.path("fence"), fs::Permissions::from_mode(0o755)).unwrap();
    let fence = fleet.world.path("fence");
    fleet.world.write("topology.toml", format!("{topology}hooks = {{ fence = [{fence:?}] }}\n"));
    fleet.world.apply();
    fleet.regions[0].kill();
    fleet
}

/// A fence that would stop machines that nothing starts elsewhere is refused, teaches, and goes with a person's word.
fn a_fence_is_refused_that_would_stop_the_others(vms: usize) {
    let fleet = cut_off(vms);
    let (world, machines) = (&fleet.world, &fleet.machines);
    let runs = |n: usize, region: &str| machines.runs(&format!("web-{n}"), region);
    let one = ["failover", "execute", "a", "b", "--vm", "web-1", "--force"];
    let others = vms - 1;
    world.run(one).exits(5).says(&["collateral", "the fence stops", "--accept-collateral", "--vm"]);
    let refused = world.run(one.iter().chain(&["--dry-run", "--format", "json"])).exits(5).json();
    let gate = |gate: &&serde_json::Value| gate["kind"] == "collateral";
    let gates: Vec<_> = refused["gates"].as_array().unwrap().iter().filter(gate).collect();
    assert_eq!(gates.len(), 1, "{refused:#}");
    assert_eq!(gates[0]["passes"], false, "{refused:#}");
    // Each of them is known by name to whoever reads it all.
    assert_eq!(refused["source"]["collateral"].as_array().unwrap().len(), others, "{refused:#}");
    // The hook did not run; all go on where they were.
    assert!(!world.path("fenced").exists());
    assert!((1..=vms).all(|n| runs(n, "a") && !runs(n, "b")));
    let history = world.run(["failover", "history", "--format", "json"]).exits(0).json();
    let refusals = history.as_array().unwrap();
    assert!(!refusals.is_empty() && refusals.iter().all(|event| event["outcome"] == "refused"), "{history:#}");

    let report = world.run(one.iter().chain(&["--accept-collateral", "--format", "json"])).exits(0).json();
    assert_eq!(report["event"]["affected_resources"], 1, "{report:#}");
    assert_eq!(report["proposal"]["source"]["collateral"].as_array().unwrap().len(), others, "{report:#}");
    assert_eq!(world.read("fenced"), b"a\n");
    assert!(runs(1, "b") && (1..=vms).all(|n| !runs(n, "a")) && (2..=vms).all(|n| !runs(n, "b")));
    assert_eq!(machines.overlaps(), Vec::<String>::new());
    world.run(["failover", "history"]).exits(0).says(&["completed"]);
}

#[test]
fn a_fence_that_would_stop_three_others_is_refused() {
    a_fence_is_refused_that_would_stop_the_others(4);
}

#[test]
#[ignore = "125 machines with real disks"]
fn a_fence_that_would_stop_124_others_is_refused() {
    a_fence_is_refused_that_would_stop_the_others(125);
}
