//! A failover in words, for the night in which it is needed: what to type, what to expect, when to stop. Written from
//! the topology alone, so that it can be printed on a good day and holds without any network.

mod page;
mod writer;
mod outage;
mod aftermath;

pub use page::{Chapter, Instruction, Runbook, Unwritten};
