//! Failovers, for people: one as it would go, what a region's being down rests on, and the runbook. For programs each
//! of them is its own document.

mod proposal;
mod evidence;
mod moves;
mod runbook;

#[cfg(test)]
mod tests;

pub use evidence::evidence;
pub use proposal::{past, proposal};
pub use runbook::runbook;
