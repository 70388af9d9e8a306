//! The program: hands the command line to the library and ends with its exit code.

use std::process::ExitCode;

use debvisor_region::{cli, host, render};

fn main() -> ExitCode {
    cli::report_panics();
    cli::run(std::env::args_os().collect(), host::world(), render::Streams::of_process())
}
