//! A ransomware day, for real: what is promoted is not the newest point, because the newest is the damage.

use serde_json::Value;

use crate::doubts::over_a_line_with;
use crate::failover::Fleet;
use crate::proxy::{Trouble, Way as Direction};

const GOOD: &str = "a good disk of web\n";
const BAD: &str = "ENCRYPTED, PAY UP!\n";

/// Two machines whose good disks and encrypted ones are both at `b`: the number of the last good point of each there, and
/// the moment when both were good.
fn encrypted() -> (Fleet, [u64; 2], String) {
    let fleet = Fleet::new(2, "");
    let world = &fleet.world;
    let write = |what: &str| {
        for n in 1..=2 {
            world.write(format!("a/resources/vm/web-{n}/disk.raw"), what.repeat(9000));
        }
        world.apply();
    };
    write(GOOD);
    let good = [1, 2].map(|n| points(&fleet, n)[0]["sequence"].as_u64().unwrap());
    let read_at = [1, 2].map(|n| points(&fleet, n)[0]["read_at"].as_str().unwrap().to_owned());
    write(BAD);
    (fleet, good, read_at.into_iter().max().unwrap())
}

/// The points of one at `b`, newest first.
fn points(fleet: &Fleet, n: usize) -> Vec<Value> {
    let id = format!("web-{n}");
    let points = fleet.world.run(["replication", "points", &id, "--region", "b", "--format", "json"]).exits(0).json();
    points.as_array().unwrap().clone()
}

fn disk(fleet: &Fleet, region: &str, n: usize) -> String {
    String::from_utf8(fleet.world.read(format!("{region}/resources/vm/web-{n}/disk.raw"))).unwrap()
}

#[test]
fn an_earlier_point_of_one_machine_is_promoted() {
    let (fleet, good, _) = encrypted();
    let world = &fleet.world;
    let point = good[0].to_string();
    let execute = |more: &[&str]| {
        let args = ["failover", "execute", "a", "b", "--force", "--point", &point];
        world.run(args.iter().chain(more))
    };
    // A number is one machine's, and a graceful failover would copy the damage.
    execute(&[]).exits(1).says(&["name that one alone"]);
    execute(&["--vm", "web-1", "--strategy", "graceful"]).exits(1).says(&["an earlier point"]);
    execute(&["--vm", "web-1", "--dry-run"]).exits(0).says(&["web-1"]);
    fleet.assert_all_run_at("a");

    let report = execute(&["--vm", "web-1", "--format", "json"]).exits(0).json();
    assert_eq!(report["event"]["affected_resources"], 1, "{report:#}");
    assert_eq!(
        fleet.running(),
        [("web-1".to_owned(), vec!["b".to_owned()]), ("web-2".to_owned(), vec!["a".to_owned()])]
    );
    assert_eq!(fleet.machines.overlaps(), Vec::<String>::new());
    assert_eq!(disk(&fleet, "b", 1), GOOD.repeat(9000));
    assert_eq!(disk(&fleet, "b", 2), BAD.repeat(9000), "the other one is a replica of what runs");
    // What the holder writes now goes to the others: the damage is nobody's newest any more, and is kept to be looked at.
    world.apply();
    assert_eq!(disk(&fleet, "a", 1), GOOD.repeat(9000));
    let kept = world.run(["replication", "points", "web-1", "--region", "a", "--format", "json"]).exits(0).json();
    let kept = kept.as_array().unwrap();
    let aside = kept.iter().find_map(|point| point["name"].as_str().filter(|name| name.starts_with("diverged-")));
    world.run(["replication", "export", "web-1", "aside", "--region", "a", "--point", aside.unwrap()]).exits(0);
    assert_eq!(world.read("aside/disk.raw"), BAD.repeat(9000).as_bytes());
}

#[test]
fn all_machines_go_back_to_a_moment() {
    let (fleet, _, moment) = encrypted();
    let world = &fleet.world;
    let before = ["failover", "execute", "a", "b", "--force", "--point", "2020-01-01T00:00:00Z"];
    world.run(before).exits(5).says(&["2020-01-01T00:00:00Z or before", "replication points"]);
    fleet.assert_all_run_at("a");
    let execute = ["failover", "execute", "a", "b", "--force", "--point", &moment, "--format", "json"];
    let report = world.run(execute).exits(0).json();
    assert_eq!(report["event"]["affected_resources"], 2, "{report:#}");
    fleet.assert_all_run_at("b");
    for n in 1..=2 {
        assert_eq!(disk(&fleet, "b", n), GOOD.repeat(9000));
    }
}

#[test]
fn points_that_could_not_be_asked_for_are_not_taken_for_none() {
    let (fleet, line) = over_a_line_with("");
    line.is(Trouble::Deaf("/points"), Direction::Asked, 100, 1);
    let execute = ["failover", "execute", "b", "a", "--dry-run", "--point", "2100-01-01T00:00:00Z"];
    fleet.run(&execute).exits(1).says(&["region a: ", "resources/vm/web-1/points"]);
}
