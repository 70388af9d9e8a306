//! `region`: the declared regions, as they are now.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use crate::model::RegionId;
use crate::model::observed::RegionStatus;
use crate::render::{region, status};

/// Commands about regions.
#[derive(Debug, Subcommand)]
pub(crate) enum Region {
    List(List),
    Show(Show),
    HealthCheck(HealthCheck),
    Stats(Stats),
}

impl Region {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::List(command) => command.run(session).await,
            Self::Show(command) => command.run(session).await,
            Self::HealthCheck(command) => command.run(session).await,
            Self::Stats(command) => command.run(session).await,
        }
    }
}

/// A status by its name.
fn status_named(text: &str) -> Result<RegionStatus, String> {
    let known = RegionStatus::ALL.into_iter().find(|status| status.as_str() == text);
    known.ok_or_else(|| format!("a status is one of {}", RegionStatus::ALL.map(RegionStatus::as_str).join(", ")))
}

/// List the regions with their health
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region list
  debvisor-region region list --status healthy
  debvisor-region region list --format json")]
pub(crate) struct List {
    /// Only those that are healthy, degraded, unreachable, recovering or unknown
    #[arg(long, value_name = "STATUS", value_parser = status_named)]
    status: Option<RegionStatus>,
}

impl List {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.list_regions(self.status).await?;
        session.print(&found, |look| status::regions(&found, look))?;
        Ok(Exit::Done)
    }
}

/// Show one region, and how it looks to the others
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region show us-east-1
  debvisor-region region show us-east-1 --format json")]
pub(crate) struct Show {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
}

impl Show {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.get_region(&self.id).await?;
        session.print(&found, |look| region::region(&found, session.world.clock.now(), look))?;
        Ok(Exit::Done)
    }
}

/// Ask a region whether it is there, and the others how they see it
///
/// Every served region that answers is asked to look at it now. Exits with 0 whatever they find; `--format json` is for
/// scripts that judge.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region health-check us-east-1
  debvisor-region region health-check us-east-1 --format json")]
pub(crate) struct HealthCheck {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
}

impl HealthCheck {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.check_region_health(&self.id).await?;
        session.print(&found, |look| region::health(&found, look))?;
        Ok(Exit::Done)
    }
}

/// Show a region's numbers
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region stats us-east-1
  debvisor-region region stats us-east-1 --format json")]
pub(crate) struct Stats {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
}

impl Stats {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.get_region_statistics(&self.id).await?;
        session.print(&found, |look| region::statistics(&found, session.world.clock.now(), look))?;
        Ok(Exit::Done)
    }
}
