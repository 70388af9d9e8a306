//! `completions`: for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::super::args::Cli;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region completions bash > /etc/bash_completion.d/debvisor-region
  debvisor-region completions fish | source")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The commands that people type: not those that the program starts itself with.
fn offered() -> clap::Command {
    let root = Cli::command();
    clap::Command::new("debvisor-region")
        .version(env!("CARGO_PKG_VERSION"))
        .about(root.get_about().cloned().unwrap_or_default())
        .disable_help_subcommand(true)
        .args(root.get_arguments().cloned())
        .subcommands(root.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

impl Completions {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut offered(), "debvisor-region", &mut script);
        session.printer.result(&String::from_utf8_lossy(&script));
        Ok(Exit::Done)
    }
}
