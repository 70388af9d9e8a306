//! `man`: the manual.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::super::args::Cli;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use super::super::write::replace;

/// Print the manual page, or write all of them into a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region man | man -l -
  debvisor-region man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for each command into this directory, which must be there
    #[arg(value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let mut root = Cli::command();
        root.build();
        let Some(into) = self.into else {
            session.printer.result(&page(root, "debvisor-region")?);
            return Ok(Exit::Done);
        };
        let mut open = vec![("debvisor-region".to_owned(), root)];
        while let Some((name, command)) = open.pop() {
            for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
                open.push((format!("{name}-{}", inner.get_name()), inner.clone()));
            }
            replace(&into.join(format!("{name}.1")), page(command, &name)?.as_bytes())?;
        }
        Ok(Exit::Done)
    }
}

fn page(command: clap::Command, title: &str) -> Result<String, CliError> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .title(title)
        .render(&mut text)
        .map_err(|error| CliError::Unfit { message: format!("cannot write the manual: {error}"), help: None })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
