//! The integration tests: one program, so that it links once.
//!
//! Stories of several commands are scripts under `tests/scenarios`; the rest are modules here. What is `#[ignore]`d
//! takes long: `cargo test --release --test it -- --ignored` runs it.

mod support;

mod tidy;
mod readme;
mod mistakes;
mod exit_codes;
mod terminal;
mod bad_input;
mod disks;
mod kill;
mod scenarios;
mod scenario_acts;
