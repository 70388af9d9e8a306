//! `failover`: moving what a region holds to another one.

mod runbook;

use std::sync::Arc;

use clap::Subcommand;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;

/// Commands about failovers.
#[derive(Debug, Subcommand)]
pub(crate) enum Failover {
    Runbook(runbook::Runbook),
}

impl Failover {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::Runbook(command) => command.run(session),
        }
    }
}
