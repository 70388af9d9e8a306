//! The deterministic fleet: the state machines of failover under every fault that a seed can think of, on a virtual
//! clock.
//!
//! `cargo test --test sim` runs some seeds, `SEEDS=10000 cargo test --release --test sim` many. A seed that fails is
//! printed with all that happened in it; `SEED=N` runs it alone. `tests/tools/guards.py` takes one rule out at a time, and
//! expects to see a seed fail.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod actor;
mod admin;
mod by_hand;
mod chance;
mod fault;
mod fleet;
mod lookout;
mod network;
mod region;
mod turn;
mod watch;
mod weather;

use fleet::{Fleet, Tally};
use lookout::{Lookout, Seen};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs each seed's story, and adds up what was seen in them.
fn each<T: Default + std::fmt::Debug>(
    most: u64,
    run: impl Fn(u64) -> Result<T, String>,
    add: impl Fn(&mut T, &T),
) -> T {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("SEEDS").unwrap_or(most) + 1,
    };
    let mut all = T::default();
    for seed in seeds {
        match run(seed) {
            Ok(seen) => add(&mut all, &seen),
            Err(story) => panic!("seed {seed}:\n{story}\nreplay it with SEED={seed}"),
        }
    }
    println!("{all:#?}");
    all
}

fn stories(kind: impl Fn(u64) -> Fleet, most: u64) -> Tally {
    each(most, |seed| kind(seed).run(), Tally::add)
}

#[test]
fn in_calm_weather_what_is_asked_for_happens() {
    let all = stories(Fleet::calm, 10);
    assert!(all.opened > 0 && all.completed == all.opened, "{all:?}");
}

#[test]
fn in_a_storm_nothing_runs_twice_and_after_it_everything_runs_once() {
    let all = stories(Fleet::storm, 60);
    let met = all.completed > 0 && all.aborted > 0 && all.fenced > 0;
    assert!(met || number("SEED").is_some(), "the seeds are too tame: {all:?}");
}

#[test]
fn in_a_storm_nobody_is_taken_for_dead_whom_somebody_sees_and_after_it_the_dead_are_found() {
    let add = |all: &mut Seen, one: &Seen| {
        all.down += one.down;
        all.vetoed += one.vetoed;
        all.unheard += one.unheard;
    };
    let all = each(60, |seed| Lookout::new(seed).run(), add);
    let met = all.down > 60 && all.vetoed > 0 && all.unheard > 0;
    assert!(met || number("SEED").is_some(), "the seeds are too tame: {all:?}");
}
