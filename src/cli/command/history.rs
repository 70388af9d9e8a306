//! `history`: what was done.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::args::duration;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use super::state::none_at;
use crate::model::{Address, RegionId, RunId, Timestamp};
use crate::render::history;
use crate::state::{HistoryFilter, RunOutcome};

/// Show what was done, by whom, when, and how it ended
///
/// The newest run first; failovers, refusals and interruptions too. Needs no valid topology and no region: only the state file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region history
  debvisor-region history --resource vm.web-vm-1 --since 7d
  debvisor-region history --outcome failed --limit 5 --verbose
  debvisor-region history --format json")]
pub(crate) struct History {
    /// Show so many runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only this run, with its actions
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
    /// Only runs with actions at this region, with those actions
    #[arg(long, value_name = "REGION")]
    region: Option<RegionId>,
    /// Only runs with actions on this object, with those actions, such as vm.web-vm-1
    #[arg(long, value_name = "ADDRESS")]
    resource: Option<Address>,
    /// Only runs that ended so
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// Only runs of this command, such as apply
    #[arg(long, value_name = "WORDS")]
    command: Option<String>,
    /// Only runs that began within this time, such as 24h or 7d
    #[arg(long, value_name = "DUR", value_parser = duration)]
    since: Option<Duration>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// Under way now
    Running,
    /// All of it is done, or there was nothing to do
    Done,
    /// Some of it is done
    Partial,
    /// None of it is done
    Failed,
    /// Stopped by safety before the first change
    Refused,
    /// Stopped by a signal
    Interrupted,
    /// Killed
    Abandoned,
}

impl From<Outcome> for RunOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Running => Self::Running,
            Outcome::Done => Self::Done,
            Outcome::Partial => Self::Partial,
            Outcome::Failed => Self::Failed,
            Outcome::Refused => Self::Refused,
            Outcome::Interrupted => Self::Interrupted,
            Outcome::Abandoned => Self::Abandoned,
        }
    }
}

impl History {
    pub(super) fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { limit, run, region, resource, outcome, command, since } = self;
        let actions = session.globals.verbose || run.is_some() || region.is_some() || resource.is_some();
        let now = session.world.clock.now();
        let filter = HistoryFilter {
            limit: usize::try_from(limit).ok(),
            run,
            region,
            address: resource,
            outcome: outcome.map(RunOutcome::from),
            command,
            since: since.map(|age| earlier(now, age)),
        };
        let file = session.state_file()?;
        let entries = match file.read()? {
            Some(state) => state.history(&filter)?,
            // A file that was named is expected to be there; beside a topology nothing may have been applied yet.
            None if session.globals.state.is_some() => return Err(none_at(&file)),
            None => Vec::new(),
        };
        if let (Some(run), true) = (run, entries.is_empty()) {
            return Err(crate::state::StateError::UnknownRun(run).into());
        }
        session.print(&entries, |look| history::history(&entries, actions, look))?;
        Ok(Exit::Done)
    }
}

fn earlier(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
}
