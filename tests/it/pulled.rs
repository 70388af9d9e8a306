//! A fresher point that lies in a third region is brought to the target before it is promoted.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::failover::{Fleet, steps};
use crate::support::assert_same_tree;

/// `c` has what `web-2` wrote last, `b` does not, and `a` is gone.
fn fresher_at_c() -> Fleet {
    let mut fleet = Fleet::new(2, "");
    fleet.world.write("a/resources/vm/web-2/disk.raw", "the disk of WEB-2\n".repeat(9000));
    fleet.world.run(["replication", "sync", "web-2", "a", "c"]).exits(0);
    fleet.regions[0].kill();
    (1..=2).for_each(|n| fleet.machines.stop(&format!("web-{n}"), "a"));
    fleet
}

fn points(fleet: &Fleet, region: &str) -> Value {
    fleet.world.run(["replication", "points", "web-2", "--region", region, "--format", "json"]).exits(0).json()
}

/// The newest point of `web-2` there.
fn newest(fleet: &Fleet, region: &str) -> Value {
    let all = points(fleet, region);
    let listed = all.pointer("/points").or_else(|| all.pointer("/0/points")).unwrap_or(&all);
    listed.as_array().and_then(|listed| listed.first()).unwrap_or_else(|| panic!("{all:#}")).clone()
}

const WORD: [&str; 6] = ["failover", "execute", "a", "b", "--force", "--fenced"];

fn failover(fleet: &Fleet, more: &[&str]) -> crate::support::Answer {
    let word = ["the test stopped it", "--accept-data-loss", "1h"];
    fleet.world.run(WORD.iter().chain(&word).chain(more))
}

#[test]
fn the_freshest_point_is_promoted_wherever_it_lies() {
    let fleet = fresher_at_c();
    let at_c = newest(&fleet, "c");
    let dry = failover(&fleet, &["--dry-run", "--format", "json"]).exits(0).json();
    let chosen: Vec<(&str, &str)> = (dry["moves"].as_array().unwrap().iter())
        .map(|one| (one["resource"].as_str().unwrap(), one["point"]["region"].as_str().unwrap()))
        .collect();
    assert!(chosen.contains(&("vm.web-2", "c")), "{chosen:?}");
    failover(&fleet, &["--dry-run"]).exits(0).says(&["it is pulled first"]);
    assert_ne!(newest(&fleet, "b")["data_hash"], at_c["data_hash"], "a dry run brings nothing");

    let report = failover(&fleet, &["--format", "json"]).exits(0).json();
    assert_eq!(report["event"]["affected_resources"], 2, "{report:#}");
    let notes = report["event"]["notes"].to_string();
    assert!(notes.contains("vm.web-2: point") && notes.contains("was brought to b first"), "{notes}");
    fleet.assert_all_run_at("b");
    let disk = fleet.world.read("b/resources/vm/web-2/disk.raw");
    assert_eq!(disk, "the disk of WEB-2\n".repeat(9000).as_bytes());
    // As fresh as it was, and not as it arrived.
    let loss = (report["proposal"]["moves"].as_array().unwrap().iter())
        .find(|one| one["resource"] == "vm.web-2")
        .unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(loss["point"]["region"], "b", "{loss:#}");
    assert_eq!(loss["point"]["verified_at"], at_c["verified_at"], "{loss:#}");
    assert_eq!(loss["point"]["read_at"], at_c["read_at"], "{loss:#}");
    assert_eq!(loss["point"]["data_hash"], at_c["data_hash"], "{loss:#}");
    let left =
        fs::read_dir(fleet.world.dir.path()).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(left.filter(|name| name.contains(".pulled")).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_failover_that_is_killed_after_it_was_brought_promotes_it_all_the_same() {
    let fleet = fresher_at_c();
    let before = steps(&fleet.world);
    let args = WORD.iter().chain(&["the test stopped it", "--accept-data-loss", "1h"]);
    let mut child = fleet.world.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The first step of its journal: the point is there, and nothing runs.
    while steps(&fleet.world) == before {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let open = fleet.world.run(["failover", "status", "--format", "json"]).exits(0).json();
    let open = open["operations"].as_array().unwrap().len();
    assert_eq!(newest(&fleet, "b")["data_hash"], newest(&fleet, "c")["data_hash"]);
    match open {
        0 => drop(failover(&fleet, &[]).exits(0)),
        _ => drop(fleet.world.run(["failover", "resume", "--fenced", "the test stopped it"]).exits(0)),
    }
    fleet.assert_all_run_at("b");
    assert_eq!(fleet.world.read("b/resources/vm/web-2/disk.raw"), "the disk of WEB-2\n".repeat(9000).as_bytes());
}

/// What an earlier program left while it brought a point is removed, and in nobody's way.
#[test]
fn what_a_killed_program_brought_is_brought_anew() {
    let fleet = fresher_at_c();
    fleet.world.write("debvisor-region.state.db.pulled/01a208ad/vm/web-2/files/disk.raw", "a part");
    failover(&fleet, &[]).exits(0);
    fleet.assert_all_run_at("b");
    assert!(!fleet.world.path("debvisor-region.state.db.pulled").exists());
    // A replica that is damaged is not brought.
    assert_same_tree(&fleet.world.path("b/resources/vm/web-1"), &fleet.world.path("c/resources/vm/web-1"));
}

#[test]
fn a_point_that_cannot_be_brought_refuses_and_the_other_ways_are_named() {
    let fleet = fresher_at_c();
    let disk = fleet.world.path("c/resources/vm/web-2/disk.raw");
    // The same length and time: only its hashes say that it is another.
    let meta = fs::metadata(&disk).unwrap().modified().unwrap();
    fs::write(&disk, "the disk of wEB-2\n".repeat(9000)).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_modified(meta).unwrap();
    let refused = failover(&fleet, &[]);
    assert!(refused.code == 1 || refused.code == 0, "{refused:?}");
    if refused.code == 1 {
        let refused = refused.says(&["--vm web-2 --point NUMBER"]);
        assert!(!fleet.machines.runs("web-1", "b"), "{refused:?}");
        let older = newest(&fleet, "b")["sequence"].to_string();
        let word = ["--vm", "web-2", "--point", &older];
        failover(&fleet, &word).exits(0);
    }
    let disk = fleet.world.read("b/resources/vm/web-2/disk.raw");
    assert_ne!(disk, "the disk of wEB-2\n".repeat(9000).as_bytes(), "what was damaged is never promoted");
}
