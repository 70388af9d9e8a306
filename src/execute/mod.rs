//! A plan becomes effects, in dependency order.
//!
//! `schedule` says what may start, `records` what a change means to each region and to the state's memory; both are
//! pure. `run` drives: it journals before and after each effect and tells one ordered stream of events; `batch` and
//! `copy` are the effects. What a run did comes back as outcomes: only a journal that cannot be written is an error.

pub mod event;
pub mod schedule;
pub mod outcome;
pub mod journal;
pub mod records;
pub mod hook;
mod batch;
mod confirm;
mod copy;
mod ending;
pub mod run;
mod rename;
mod spawn;
pub mod failover;
#[cfg(test)]
mod tests;
