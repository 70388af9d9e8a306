//! Runs hooks and runners: argv, clean environment, deadline, captured output; never a shell.

pub mod command;
pub mod fresh;
pub mod occasion;
pub mod placeholder;
pub mod run;

pub use command::Command;
pub use fresh::{FRESHNESS, Fresh, Mark, Marked};
pub use occasion::Occasion;
pub use placeholder::Placeholders;
pub use run::{Captured, Finished, Outcome, run, run_until};

#[cfg(test)]
mod tests;
