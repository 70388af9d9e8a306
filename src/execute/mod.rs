//! A plan becomes effects, in dependency order.

pub mod event;
pub mod schedule;
pub mod outcome;
pub mod journal;
pub mod records;
mod batch;
mod copy;
pub mod run;
#[cfg(test)]
mod tests;
