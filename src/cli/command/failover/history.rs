//! `failover history`: what was moved, by whom, when, and how it ended.

use clap::Args;

use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use super::super::state::none_at;
use crate::model::RegionId;
use crate::render::failovers;

/// Show the failovers, refused ones too, the newest first
///
/// Needs no valid topology and no region: only the state file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover history
  debvisor-region failover history --region us-east-1
  debvisor-region failover history --limit 50 --format json")]
pub(crate) struct History {
    /// Only those from or to this region
    #[arg(long, value_name = "REGION")]
    region: Option<RegionId>,
    /// Show so many
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl History {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { region, limit } = self;
        let file = session.state_file()?;
        let events = match file.read()? {
            Some(state) => state.failovers(region.as_ref(), usize::try_from(limit).ok())?,
            None if session.globals.state.is_some() => return Err(none_at(&file)),
            None => Vec::new(),
        };
        session.print(&events, |look| failovers::history(&events, look))?;
        Ok(Exit::Done)
    }
}
