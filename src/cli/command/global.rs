//! `global`: the numbers of all regions together.

use clap::Args;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::render::region;

/// Show the numbers of all regions together
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region global
  debvisor-region global --format json")]
pub(crate) struct Global {}

impl Global {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.get_global_statistics().await?;
        session.print(&found, |look| region::global(&found, look))?;
        Ok(Exit::Done)
    }
}
