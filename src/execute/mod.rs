//! A plan becomes effects, in dependency order.

pub mod event;
pub mod schedule;
