//! `failover runbook`: what to do on the night that it is needed.

use clap::Args;

use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use crate::failover::{self, Unwritten};
use crate::fleet::FleetError;
use crate::model::RegionId;
use crate::render::failover::runbook;

/// Print what to do on the night that it is needed
///
/// In words and commands, with the names of this topology: a region that is dead, cut off or burnt, two that both claim
/// to be primary, a failover that died half way, a bad point, the way back, a lost controller. Asks no region. Print it
/// on a good day.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover runbook us-east-1 us-west-1 > runbook.md
  debvisor-region failover runbook us-east-1 us-west-1 --format json")]
pub(crate) struct Runbook {
    /// The region that is left
    #[arg(value_name = "FROM")]
    from: RegionId,
    /// The region that takes over
    #[arg(value_name = "TO")]
    to: RegionId,
}

impl Runbook {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let loaded = session.load()?;
        let place = loaded.path.display().to_string();
        let written = failover::Runbook::write(&loaded.topology, &place, &self.from, &self.to);
        let written = written.map_err(|unwritten| match unwritten {
            Unwritten::UnknownRegion(id) => FleetError::UnknownRegion {
                id: id.to_string(),
                known: loaded.topology.regions.keys().map(ToString::to_string).collect(),
            },
            same @ Unwritten::SameRegion(_) => FleetError::Unfit {
                reason: same.to_string(),
                help: Some("name the region that is left, then the one that takes over".to_owned()),
            },
        })?;
        session.print(&written, |look| runbook(&written, look))?;
        Ok(Exit::Done)
    }
}
