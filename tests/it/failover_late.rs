//! A source that does not answer while a failover is judged, and answers once it is asked to take part: it is alive, and
//! nothing that was found before holds for it. And one that misses a single look of a round.
//!
//! Everybody comes to `a` over a line that holds back what it is asked.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::automatic::{AUTOMATIC, Fleet};
use crate::doubts::{over_a_line_with, seen};
use crate::failover_asleep::steps;
use crate::proxy::{Proxy, Trouble, Way};
use crate::support::Answer;

/// A policy that leaves everything to a person, who has a fence.
const MANUAL: &str = "FENCE";

fn begin(fleet: &Fleet, args: &[&str]) -> Child {
    let mut command = fleet.world.command(["--credentials", "credentials.toml"].iter().chain(args));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a step is begun once more than `before`.
#[track_caller]
fn until(fleet: &Fleet, child: &mut Child, step: &str, before: usize) {
    while steps(&fleet.world).iter().filter(|one| one.contains(step)).count() <= before {
        if child.try_wait().unwrap().is_some() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it ended before it came so far: {:?}\n{said}", steps(&fleet.world));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

const ACCEPT: &str = "a accepts the operation";

/// Runs a command to which `a` is silent until it is asked to accept an operation.
#[track_caller]
fn late(fleet: &Fleet, line: &Proxy, args: &[&str], answers: impl FnOnce()) -> Answer {
    line.is(Trouble::Held(""), Way::Asked, 100, 1);
    let before = steps(&fleet.world).iter().filter(|step| *step == ACCEPT).count();
    let mut child = begin(fleet, args);
    until(fleet, &mut child, ACCEPT, before);
    answers();
    let answer = Answer::from_output(child.wait_with_output().unwrap());
    line.heals();
    answer
}

/// A failover from `a`, whose server is dead, is open at the others, and nobody carries it on.
fn left_open(fleet: &mut Fleet) {
    fleet.regions[0].kill();
    left_half_done(fleet, &["failover", "execute", "a", "b", "--force", "--strategy", "manual"]);
}

/// Kills a command that fails over from `a`, whose server is dead, before it changes anything.
fn left_half_done(fleet: &Fleet, args: &[&str]) {
    // However late it is killed, its fence has not cut `a` off.
    let fence = fleet.world.read("fence");
    fleet.world.write("fence", "#!/bin/sh\nexec sleep 20\n");
    let mut child = begin(fleet, args);
    until(fleet, &mut child, "judge the gates", 0);
    child.kill().unwrap();
    child.wait().unwrap();
    fleet.world.write("fence", fence);
}

/// `a` has nothing that could say what runs there.
fn without_a_runner(fleet: &Fleet) {
    fs::remove_file(fleet.world.path("a/.debvisor/config.toml")).unwrap();
}

#[track_caller]
fn assert_runs_at_a_alone(fleet: &Fleet) {
    assert!(fleet.machines.runs("web-1", "a"), "it was stopped at a");
    for region in ["b", "c"] {
        assert!(!fleet.machines.ran("web-1", region), "it was started at {region}");
    }
}

#[test]
fn what_has_no_runner_and_answers_late_is_not_taken_for_stopped() {
    let (mut fleet, line) = over_a_line_with(MANUAL);
    without_a_runner(&fleet);
    fleet.again(0);
    let by_hand = ["failover", "execute", "a", "b", "--force", "--strategy", "manual"];
    late(&fleet, &line, &by_hand, || line.heals()).exits(5).says(&["a", "answer", "nothing"]);
    assert_runs_at_a_alone(&fleet);
    fleet.run(&["failover", "status"]).exits(0).says(&["no operation is open"]);
    // Asked again, it is known to answer, and no hook is promised for what is not cut off.
    fleet.run(&by_hand).exits(5).says(&["has no runner", "--fenced"]);
    assert_runs_at_a_alone(&fleet);
}

#[test]
fn what_has_no_runner_and_answers_late_stops_whoever_goes_on_with_a_failover() {
    let (mut fleet, line) = over_a_line_with(MANUAL);
    without_a_runner(&fleet);
    left_open(&mut fleet);
    fleet.again(0);
    let answer = late(&fleet, &line, &["failover", "resume"], || line.heals());
    assert_ne!(answer.code, 0, "{}\n{}", answer.stdout, answer.stderr);
    answer.says(&["no runner", "--fenced"]);
    assert_runs_at_a_alone(&fleet);
    fleet.run(&["failover", "abort"]).exits(0);
    assert_runs_at_a_alone(&fleet);
    fleet.run(&["failover", "status"]).exits(0).says(&["no operation is open"]);
}

#[test]
fn what_a_source_wrote_that_answers_late_is_brought_along_by_whoever_goes_on() {
    let (mut fleet, line) = over_a_line_with(MANUAL);
    left_open(&mut fleet);
    let written = "the disk of WEB-1\n".repeat(9000);
    fleet.world.write("a/resources/vm/web-1/disk.raw", &written);
    fleet.again(0);
    let resume = ["failover", "resume", "--format", "json"];
    let report = late(&fleet, &line, &resume, || line.heals()).exits(0).json();
    fleet.assert_all_run_at("b");
    assert!(fleet.world.read("b/resources/vm/web-1/disk.raw") == written.as_bytes(), "its last writes are lost");
    assert_eq!(report["event"]["loss"], "0s", "{report:#}");
}

#[test]
fn no_round_goes_forward_with_what_a_person_aborted() {
    let mut fleet = Fleet::new(1, AUTOMATIC);
    fleet.regions[0].kill();
    left_half_done(&fleet, &ROUND);
    fleet.run(&["failover", "abort"]).exits(1).says(&["a is needed and does not answer"]);
    let open = fleet.run(&["failover", "status", "--format", "json"]).json();
    assert_eq!(open["operations"][0]["bid"]["direction"], "abort", "those that answer know: {open:#}");
    // As long as its source says nothing it waits, and longer than whoever carried it out may take.
    for _ in 0..2 {
        while !fleet.round().stderr.contains("it is gone on with") {
            thread::sleep(Duration::from_millis(200));
        }
        assert_runs_at_a_alone(&fleet);
    }
    fleet.again(0);
    while !fleet.run(&["failover", "status"]).stdout.contains("no operation is open") {
        fleet.round();
        thread::sleep(Duration::from_millis(200));
    }
    assert_runs_at_a_alone(&fleet);
    assert_eq!(fleet.events().last().unwrap()["outcome"], "aborted");
}

#[test]
fn what_led_to_a_region_that_is_lost_too_is_led_elsewhere() {
    let mut fleet = Fleet::new(1, MANUAL);
    left_open(&mut fleet);
    fleet.regions[1].kill();
    fleet.run(&["failover", "resume"]).exits(5).says(&[
        "b does not answer",
        "failover resume --gone b=",
        "--to REGION",
    ]);
    let resume = |to| fleet.run(&["failover", "resume", "--gone", "b=it burnt too", "--to", to]);
    resume("a").exits(1).says(&["it leads away from a"]);
    resume("c").exits(0).says(&["completed"]);
    fleet.assert_all_run_at("c");
    fleet.run(&["failover", "status"]).says(&["no operation is open"]);
}

#[test]
fn a_source_that_answers_late_is_moved_only_as_it_was_confirmed() {
    let (fleet, line) = over_a_line_with(MANUAL);
    let args = ["failover", "execute", "a", "b", "--force"];
    let answer = late(&fleet, &line, &args, || line.heals()).exits(5).says(&["answers after all"]);
    assert!(!answer.stderr.contains("no runner"), "{}", answer.stderr);
    assert_runs_at_a_alone(&fleet);
    fleet.run(&["failover", "status"]).exits(0).says(&["no operation is open"]);
    fleet.run(&args).exits(0);
    fleet.assert_all_run_at("b");
}

const ROUND: [&str; 3] = ["reconcile", "--allow", "sync,failover"];

#[test]
fn no_policy_moves_what_answers_after_it_was_judged() {
    let (fleet, line) = over_a_line_with(AUTOMATIC);
    late(&fleet, &line, &ROUND, || line.heals()).exits(3).says(&["answers after all"]);
    assert_runs_at_a_alone(&fleet);
    fleet.run(&["failover", "status"]).exits(0).says(&["no operation is open"]);
    // It is there, and nothing is to be done.
    fleet.round().exits(0);
}

#[test]
fn no_policy_cuts_off_what_others_have_seen_since_it_was_judged() {
    let (fleet, line) = over_a_line_with(AUTOMATIC);
    let round = late(&fleet, &line, &ROUND, || {
        let before = seen(&fleet, "b");
        // What it is ordered goes on waiting, and is lost then.
        line.is(Trouble::Held("/orders"), Way::Asked, 100, 1);
        while seen(&fleet, "b") == before {
            thread::sleep(Duration::from_millis(20));
        }
        line.is(Trouble::Deaf("/orders"), Way::Asked, 100, 1);
    });
    round.exits(3).says(&["a is not certainly down"]);
    assert_runs_at_a_alone(&fleet);
}

#[test]
fn no_round_cuts_off_what_a_person_was_moving() {
    let mut fleet = Fleet::new(1, MANUAL);
    // The first time it waits for ever.
    let world = &fleet.world;
    world.write("before", format!("#!/bin/sh\n[ -e {0} ] && exit\n> {0}\nsleep 60\n", world.path("begun").display()));
    fs::set_permissions(world.path("before"), fs::Permissions::from_mode(0o755)).unwrap();
    let topology = String::from_utf8(world.read("topology.toml")).unwrap();
    let before = format!("hooks = {{ before = [{:?}], ", world.path("before"));
    world.write("topology.toml", topology.replace("hooks = { ", &before));
    fleet.run(&["apply", "--auto-approve"]).exits(0);
    let mut child = begin(&fleet, &["failover", "execute", "a", "b", "--force"]);
    while !fleet.world.path("begun").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Its server is dead, and its machines live: the policy leaves that to a person.
    fleet.regions[0].kill();
    loop {
        let round = fleet.round();
        if round.stderr.contains("nobody has carried it on") {
            round.exits(3).says(&["failover resume", "failover abort"]);
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    assert_runs_at_a_alone(&fleet);
    let open = fleet.run(&["failover", "status", "--format", "json"]).exits(0).json();
    assert_eq!(open["operations"].as_array().map(Vec::len), Some(1), "{open:#}");
    assert_eq!(open["operations"][0]["bid"]["attempt"]["number"], Value::from(1), "nobody went on with it: {open:#}");
    // Once it is back, a round goes on with it, and nothing is lost.
    let written = "the disk of WEB-1\n".repeat(9000);
    fleet.world.write("a/resources/vm/web-1/disk.raw", &written);
    fleet.again(0);
    while !fleet.machines.ran("web-1", "b") {
        fleet.round();
        thread::sleep(Duration::from_millis(200));
    }
    fleet.assert_all_run_at("b");
    assert!(fleet.world.read("b/resources/vm/web-1/disk.raw") == written.as_bytes(), "its last writes are lost");
}
