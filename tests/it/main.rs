//! The integration tests: one program, so that it links once.
//!
//! Stories of several commands are scripts under `tests/scenarios`; the rest are modules here. What is `#[ignore]`d
//! takes long: `cargo test --release --test it -- --ignored` runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "the program is watched from outside, with a clock of the test's own")]
#![expect(clippy::print_stderr, reason = "figures of a test, and why one has nothing to try on this machine")]

mod support;

mod schemas;
mod troubleshooting;
mod tidy;
mod readme;
mod mistakes;
mod monitoring;
mod examples;
mod exit_codes;
mod terminal;
mod authority;
mod pty;
mod watched;
mod newcomer;
mod automatic;
mod doubts;
mod bad_input;
mod disks;
mod audited;
mod kill;
mod served;
mod serve;
mod killed;
mod proxy;
mod links;
mod served_example;
mod served_restore;
mod failover;
mod described;
mod failover_rest;
mod failover_collateral;
mod failover_damaged;
mod guide_rest;
mod drill;
mod failover_rivals;
mod failover_asleep;
mod failover_late;
mod failover_point;
mod served_export;
mod served_health;
mod by_hand;
mod cut_off;
mod burnt;
mod gone;
mod passed_over;
mod pulled;
mod written;
mod declared;
mod imported;
mod guarded;
mod guide_cli;
mod machines;
mod whereabouts;
mod refused;
mod registry;
mod scenarios;
mod scenario_acts;
