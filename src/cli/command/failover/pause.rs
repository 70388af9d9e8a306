//! `failover pause` and `unpause`: whether anything fails over without a person.

use std::sync::Arc;

use clap::Args;

use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use crate::render::failovers;

/// Stop all failovers that no person asks for
///
/// Every region that answers keeps it, and one that does is enough to stop them all, whoever runs `reconcile`. Takes no
/// lock, and asks for no controller. A person may fail over all the same.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover pause --reason \"the network is being rebuilt\"
  debvisor-region failover unpause")]
pub(crate) struct Pause {
    /// Why, for whoever finds it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Let failovers happen again that no person asks for
///
/// A region that does not answer keeps its pause, which binds once it is back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover unpause")]
pub(crate) struct Unpause {}

impl Pause {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { reason } = self;
        let report = session.fleet()?.pause_failovers(reason).await?;
        session.print(&report, |look| failovers::pause(&report, look))?;
        Ok(report.class.into())
    }
}

impl Unpause {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let report = session.fleet()?.unpause_failovers().await?;
        session.print(&report, |look| failovers::pause(&report, look))?;
        Ok(report.class.into())
    }
}
