//! The program: arguments in, exit code out. One file per command under `command`; what all of them share stands
//! beside it. `error` is the only place where errors become advice and exit codes.

mod run;
mod args;
mod command;
mod schemas;
mod session;
mod approve;
mod finish;
mod write;
mod declare;
mod signal;
mod error;
mod exit;
mod panic;
#[cfg(test)]
mod tests;

pub use panic::report_panics;
pub use run::run;
