//! `status`: the first look on a bad day.

use clap::Args;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::render::status;

/// Show what is wrong, how far replicas lag, and what waits
///
/// What needs attention comes first, the worst of it on top; then the regions; then each replica's lag against its
/// promise. Takes no lock and writes nothing. Exits with 0 whatever it finds; `plan --detailed-exitcode` judges.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region                    # the same
  debvisor-region status --verbose   # every replica, however many are in sync
  debvisor-region status --format json")]
pub(crate) struct Status {}

impl Status {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let report = session.fleet()?.status().await?;
        session.print(&report, |look| status::status(&report, look, session.globals.verbose))?;
        Ok(Exit::Done)
    }
}
