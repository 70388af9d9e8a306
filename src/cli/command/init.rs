//! `init`: the first topology.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::config::init::STARTER;

/// Write a first topology
///
/// Writes a commented file that validates as it is. Nothing is ever overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region init
  debvisor-region init sites/berlin.toml")]
pub(crate) struct Init {
    /// Write it here
    #[arg(value_name = "FILE", default_value = "topology.toml")]
    file: PathBuf,
}

/// The file that was begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Begun {
    /// Its path.
    written: String,
}

impl Init {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { file } = self;
        let failed = |source| CliError::File { action: "write", path: file.clone(), source };
        if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let made = OpenOptions::new().write(true).create_new(true).open(&file);
        let mut made = made.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => CliError::Unfit {
                message: format!("{} is there already, and nothing is overwritten", file.display()),
                help: Some(
                    "`debvisor-region validate` checks it; `init FILE` writes a first one elsewhere.".to_owned(),
                ),
            },
            _ => failed(error),
        })?;
        made.write_all(STARTER.as_bytes()).and_then(|()| made.sync_all()).map_err(failed)?;
        let written = Begun { written: file.display().to_string() };
        session.print(&written, |look| format!("wrote {}\n", look.clean(&written.written)))?;
        session.say("next: make it yours, then `debvisor-region validate` and `debvisor-region plan`");
        Ok(Exit::Done)
    }
}
