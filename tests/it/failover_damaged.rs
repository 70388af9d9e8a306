//! Copies that turn out to be damaged as they are put in place: nothing runs from them, what they were taken from runs on
//! or again, and what is printed helps. And a runner that starts nothing.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failover::Fleet;
use crate::support::program;

/// Two machines at `a` whose disks were written, and copied to `b` and `c`, three times. Of each one at `b` the numbers of
/// the points, oldest first, and of the second the moment when it had been read.
fn written_thrice() -> (Fleet, [Vec<u64>; 2], String) {
    let fleet = Fleet::new(2, "");
    let world = &fleet.world;
    for what in ["a second state...\n", "a third state!!!!\n"] {
        for n in 1..=2 {
            world.write(format!("a/resources/vm/web-{n}/disk.raw"), what.repeat(9000));
        }
        world.apply();
    }
    let points = [1, 2].map(|n| points(&fleet, n));
    let numbers = points.each_ref().map(|points| {
        let mut numbers: Vec<u64> = points.iter().map(|point| point["sequence"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    });
    let second = |points: &Vec<Value>| points[1]["read_at"].as_str().unwrap().to_owned();
    let moment = points.iter().map(second).max().unwrap();
    (fleet, numbers, moment)
}

/// The points of one at `b`, newest first.
fn points(fleet: &Fleet, n: usize) -> Vec<Value> {
    let id = format!("web-{n}");
    let points = fleet.world.run(["replication", "points", &id, "--region", "b", "--format", "json"]).exits(0).json();
    points.as_array().unwrap().clone()
}

/// Other bytes in what only this point of a machine has at `b`.
fn damage(fleet: &Fleet, n: usize, point: u64) {
    let layer = fs::read_dir(fleet.world.path(format!("b/.debvisor/points/vm/web-{n}/{point}"))).unwrap();
    let mut bodies = layer.map(|name| name.unwrap().path());
    let body = bodies.find(|path| path.extension().is_some_and(|suffix| suffix == "whole")).unwrap();
    fs::write(body, "rotten!\n".repeat(20_000)).unwrap();
}

fn disk(fleet: &Fleet, region: &str, n: usize) -> String {
    String::from_utf8(fleet.world.read(format!("{region}/resources/vm/web-{n}/disk.raw"))).unwrap()
}

/// Runs the command that was printed for a machine to go elsewhere, and needs no question.
#[track_caller]
fn run_printed(fleet: &Fleet, said: &str, (from, to): (&str, &str), id: &str) {
    let text = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let begins = format!("failover execute {from} {to} --vm {id}");
    let (_, command) =
        text.split_once(&format!("`{begins}")).unwrap_or_else(|| panic!("no command to {to} is printed:\n{said}"));
    let (rest, _) = command.split_once('`').unwrap();
    let command = format!("{} {begins}{rest} --force", program());
    let done = Command::new("sh")
        .args(["-c", &command])
        .current_dir(fleet.world.dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{command}\n{said}");
}

fn runs_at(fleet: &Fleet, one: &str, two: &str) {
    let at = |region: &str| if region.is_empty() { Vec::new() } else { vec![region.to_owned()] };
    assert_eq!(fleet.running(), [("web-1".to_owned(), at(one)), ("web-2".to_owned(), at(two))]);
    assert_eq!(fleet.machines.overlaps(), Vec::<String>::new());
}

#[test]
fn a_point_that_is_damaged_starts_nothing_and_its_source_runs_again() {
    let (fleet, numbers, _) = written_thrice();
    let world = &fleet.world;
    let damaged = numbers[0][1];
    damage(&fleet, 1, damaged);
    let execute = ["failover", "execute", "a", "b", "--vm", "web-1", "--force", "--point", &damaged.to_string()];
    let failed = world.run(execute).exits(1).says(&["vm.web-1", &format!("disk.raw of point {damaged}"), "aborted"]);
    world.run(["failover", "status"]).exits(0).says(&["no operation is open"]);
    runs_at(&fleet, "a", "a");
    assert!(!fleet.machines.ran("web-1", "b"), "nothing ran from it");
    // Now it is known before anything is stopped.
    world.run(execute).exits(5).says(&["has lost bytes"]);

    run_printed(&fleet, &failed.stdout, ("a", "b"), "web-1");
    runs_at(&fleet, "b", "a");
    assert_eq!(disk(&fleet, "b", 1), "the disk of web-1\n".repeat(9000));
    world.apply();
    runs_at(&fleet, "b", "a");
}

#[test]
fn the_others_of_a_dead_region_arrive_and_what_is_damaged_goes_elsewhere() {
    let (mut fleet, numbers, moment) = written_thrice();
    damage(&fleet, 1, numbers[0][1]);
    fleet.regions[0].kill();
    (1..=2).for_each(|n| fleet.machines.stop(&format!("web-{n}"), "a"));
    let execute = ["failover", "execute", "a", "b", "--force", "--fenced", "it's unplugged", "--point", &moment];
    let partly = fleet.world.run(execute).exits(3).says(&["partly", "vm.web-1", "disk.raw of point"]);
    runs_at(&fleet, "", "b");
    assert_eq!(disk(&fleet, "b", 2), "a second state...\n".repeat(9000));
    fleet.world.run(["failover", "status"]).exits(0).says(&["no operation is open"]);

    run_printed(&fleet, &partly.stdout, ("a", "c"), "web-1");
    runs_at(&fleet, "c", "b");
    assert_eq!(disk(&fleet, "c", 1), "a third state!!!!\n".repeat(9000));
    // The old one comes back, starts nothing, and keeps copies of both.
    fleet.regions[0].again(&fleet.world);
    fleet.world.apply();
    runs_at(&fleet, "c", "b");
    assert_eq!(disk(&fleet, "a", 1), "a third state!!!!\n".repeat(9000));
}

#[test]
fn a_dead_regions_only_copy_is_left_where_it_was() {
    let (mut fleet, numbers, _) = written_thrice();
    let damaged = numbers[0][1];
    damage(&fleet, 1, damaged);
    fleet.regions[0].kill();
    (1..=2).for_each(|n| fleet.machines.stop(&format!("web-{n}"), "a"));
    let point = damaged.to_string();
    let execute =
        ["failover", "execute", "a", "b", "--vm", "web-1", "--force", "--fenced", "unplugged", "--point", &point];
    fleet.world.run(execute).exits(1).says(&["withdrawn", "vm.web-1", "--fenced"]);
    fleet.world.run(["failover", "status"]).exits(0).says(&["no operation is open"]);
    runs_at(&fleet, "", "");
    // Nobody else holds it: back again, it may start it.
    fleet.regions[0].again(&fleet.world);
    fleet.machines.start("web-1", "a", 1);
    fleet.machines.start("web-2", "a", 1);
    fleet.world.apply();
    runs_at(&fleet, "a", "a");
}

#[test]
fn what_a_runner_does_not_start_comes_back_by_the_printed_command() {
    let fleet = Fleet::new(2, "");
    let world = &fleet.world;
    fleet.machines.shut("b");
    world.write("a/resources/vm/web-1/disk.raw", "written last.....\n".repeat(9000));
    let partly = world.run(["failover", "execute", "a", "b", "--force"]).exits(3).says(&["vm.web-1", "b is fenced"]);
    runs_at(&fleet, "", "");
    world.run(["failover", "status"]).exits(0).says(&["no operation is open"]);

    run_printed(&fleet, &partly.stdout, ("b", "a"), "web-1");
    runs_at(&fleet, "a", "a");
    assert_eq!(disk(&fleet, "a", 1), "written last.....\n".repeat(9000));
    world.apply();
    runs_at(&fleet, "a", "a");
}

#[test]
fn a_runner_that_does_not_know_is_met_before_anything_is_stopped() {
    let fleet = Fleet::new(2, "");
    fleet.machines.says("web-1", "b", "I forgot");
    fleet.machines.says("web-2", "b", "I forgot");
    fleet.world.run(["failover", "execute", "a", "b", "--force"]).exits(5).says(&[
        "taken back before it changed anything",
        "vm.web-1",
        "runs at b, or may",
    ]);
    for n in 1..=2 {
        fs::remove_file(fleet.world.path(format!("machines/b/web-{n}.says"))).unwrap();
    }
    runs_at(&fleet, "a", "a");
}
