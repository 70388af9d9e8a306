//! What happens in a run, shown while it happens: plain lines, bars on a terminal, JSON lines. All three are readers
//! of the one stream of events and keep nothing that is not in it.
//!
//! Events are taken by a [`Feed`], which never keeps the run waiting: a thread of its own writes them, so that a
//! terminal that is stopped with Ctrl-S stops nothing else.

mod feed;
mod later;
mod lines;
mod bars;
mod json;

#[cfg(test)]
mod tests;

pub use bars::Bars;
pub use feed::{Feed, View};
pub use json::JsonLines;
pub use later::Later;
pub use lines::{Lines, Tells};
