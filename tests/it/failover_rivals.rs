//! Two orchestrators at once, with different targets: a command line and a region that was asked over REST, each with a
//! state of its own, or two command lines of one state. Whatever they do to each other, no machine runs twice, each runs
//! once in the end, and nothing stays open that cannot be ended.
//!
//! The gate plays a few rounds; `cargo test --release --test it -- --ignored` plays two hundred.

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::failover::Fleet;
use crate::failover_rest::execute;
use crate::kill::Chance;

/// Who meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rivals {
    /// The controller, and a region that is not.
    ControllerAndRegion,
    /// A command line and a region, and each takes the controller's place first.
    BothTakeOver,
    /// Two command lines of the controller's state.
    OneState,
}

/// What became of the rounds.
#[derive(Debug, Default)]
struct Tally {
    /// One of them got there.
    one_won: u32,
    /// Both were refused, or failed: nothing moved, or somebody had to go on.
    none_won: u32,
    /// Something was left open.
    left_open: u32,
    /// The most tries that it took until one of them got there.
    tries: u32,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How it ended, and what it said.
type Said = (i32, String);

fn ended(child: Child) -> Said {
    let output = child.wait_with_output().unwrap();
    let said: Vec<&str> = str::from_utf8(&output.stderr).unwrap().split_whitespace().collect();
    (output.status.code().unwrap(), said.join(" "))
}

fn cli(fleet: &Fleet, from: &str, to: &str, take_over: bool) -> Child {
    let mut command = fleet.world.command(["failover", "execute", from, to, "--force"]);
    if take_over {
        command.args(["--take-over", "--lock-timeout", "30s"]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Where the machines run: every one of them at one region, and all at the same.
#[track_caller]
fn held_at(fleet: &Fleet) -> String {
    let running = fleet.running();
    let (_, first) = &running[0];
    assert!(running.iter().all(|(_, at)| at.len() == 1 && at == first), "{running:?}");
    first[0].clone()
}

fn open(fleet: &Fleet) -> usize {
    let open = fleet.world.run(["failover", "status", "--format", "json"]).exits(0).json();
    open["operations"].as_array().unwrap().len()
}

/// Both at once, once; says how many got there.
fn meet(fleet: &Fleet, rivals: Rivals, chance: &mut Chance) -> (u32, bool, [Said; 2]) {
    let from = held_at(fleet);
    let [one, two] = NAMES.into_iter().filter(|name| *name != from).collect::<Vec<_>>()[..] else { unreachable!() };
    let (first, later) = (chance.below(2) == 0, Duration::from_millis(chance.below(80)));
    let asked = &fleet.regions[chance.below(3) as usize];
    let (winners, exits) = thread::scope(|scope| {
        let left = scope.spawn(|| {
            thread::sleep(if first { Duration::ZERO } else { later });
            ended(cli(fleet, &from, one, rivals == Rivals::BothTakeOver))
        });
        let right = scope.spawn(|| {
            thread::sleep(if first { later } else { Duration::ZERO });
            match rivals {
                Rivals::OneState => ended(cli(fleet, &from, two, false)),
                Rivals::ControllerAndRegion | Rivals::BothTakeOver => {
                    let more = json!({ "take_over": rivals == Rivals::BothTakeOver });
                    let told = execute(asked, &from, two, &more);
                    let code = match (told.status, told.body["data"]["success"].as_bool()) {
                        (201, Some(true)) => 0,
                        (201, Some(false)) => 1,
                        // There was nothing left to move.
                        (200, _) => 5,
                        (409 | 503, _) => 5,
                        (status, _) => panic!("{status}: {:#}", told.body),
                    };
                    (code, format!("{} {}", told.body["message"], told.body["data"]["notes"]))
                }
            }
        });
        let exits = [left.join().unwrap(), right.join().unwrap()];
        (exits.iter().filter(|(code, _)| *code == 0).count(), exits)
    });
    assert_eq!(fleet.machines.overlaps(), Vec::<String>::new(), "{rivals:?}: {exits:?}");
    assert!(exits.iter().all(|(code, _)| [0, 1, 3, 5].contains(code)), "{rivals:?}: {exits:?}");
    let left_open = open(fleet) > 0;
    // Whoever is left may go on with it, or lead it back: one of them is possible.
    let began = Instant::now();
    while open(fleet) > 0 {
        let resumed = fleet.world.run(["failover", "resume", "--take-over"]);
        if resumed.code != 0 && open(fleet) > 0 {
            fleet.world.run(["failover", "abort", "--take-over"]);
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it stays open: {exits:?}\n{}", resumed.stderr);
    }
    assert_eq!(fleet.machines.overlaps(), Vec::<String>::new(), "{rivals:?}: {exits:?}");
    let moved = held_at(fleet) != from;
    assert!(winners == 0 || moved, "{rivals:?}: {exits:?}: who got there says that it moved");
    (u32::from(moved), left_open, exits)
}

fn rounds(fleet: &Fleet, rivals: Rivals, rounds: u32, seed: u64) -> Tally {
    let mut chance = Chance::new(seed);
    let mut tally = Tally::default();
    for _ in 0..rounds {
        if rivals != Rivals::BothTakeOver {
            fleet.world.run(["failover", "take-over"]).exits(0);
        }
        for attempt in 1.. {
            let (won, left_open, said) = meet(fleet, rivals, &mut chance);
            tally.left_open += u32::from(left_open);
            tally.tries = tally.tries.max(attempt);
            // Everything is fed again before the next.
            fleet.world.run(["apply", "--auto-approve"]).exits(0);
            if won > 0 {
                tally.one_won += 1;
                break;
            }
            tally.none_won += 1;
            assert!(attempt < 10, "nobody gets there: {rivals:?}: {tally:?}: {said:#?}");
        }
    }
    tally
}

const ALL: [Rivals; 3] = [Rivals::ControllerAndRegion, Rivals::BothTakeOver, Rivals::OneState];

#[test]
fn of_two_orchestrators_one_wins_and_nothing_runs_twice() {
    let fleet = Fleet::new(2, "");
    for (rivals, seed) in ALL.into_iter().zip(1..) {
        let tally = rounds(&fleet, rivals, 2, seed);
        assert_eq!(tally.one_won, 2, "{rivals:?}: {tally:?}");
    }
}

#[test]
#[ignore = "two hundred rounds: a quarter of an hour; prints what became of them"]
fn of_two_orchestrators_one_wins_two_hundred_times() {
    let fleet = Fleet::new(2, "");
    for (rivals, seed) in ALL.into_iter().zip(11..) {
        let tally = rounds(&fleet, rivals, 67, seed);
        eprintln!("{rivals:?}: {tally:?}");
    }
}
