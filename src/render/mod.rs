//! The only room that knows colour, width and glyphs. It turns plans, events, records and errors into text: for
//! people at a terminal, for pull requests, for programs. It has no effects beside writing what it is told to write.
//!
//! A [`terminal::Look`] says what a stream can show; every drawing function takes one and returns text, so that
//! golden files can hold what a person sees.

pub mod terminal;
pub mod paint;
pub mod text;
mod table;
mod patience;
pub mod printer;
pub mod screen;
pub mod document;
pub mod diff;
pub mod edited;
pub mod graph;
pub mod schemas;
pub mod report;
pub mod plan;
pub mod event;
mod moment;
pub mod status;
pub mod whereabouts;
pub mod region;
pub mod points;
pub mod run;
pub mod history;
pub mod failover;
pub mod drill;
pub mod failovers;
pub mod automation;
pub mod cut_off;
pub mod memory;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

pub use printer::{Printer, Talk};
pub use report::Report;
pub use screen::Screen;
pub use terminal::{ColorChoice, Look, Streams, Terminal};
