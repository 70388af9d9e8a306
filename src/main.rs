//! The program: hands the command line to the library and ends with its exit code.

use std::process::ExitCode;

use debvisor_region::{cli, host, render};

fn main() -> ExitCode {
    cli::report_panics();
    let args: Vec<_> = std::env::args_os().collect();
    host::share_memory(&args);
    cli::run(args, host::world(), render::Streams::of_process())
}
