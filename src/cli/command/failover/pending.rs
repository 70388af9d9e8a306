//! `failover status`, `resume` and `abort`: operations that are open.

use std::sync::Arc;

use clap::Args;

use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use super::given::Known;
use crate::fleet::ResumeOptions;
use crate::model::{OperationId, RegionId};
use crate::render::{automation, failovers};

/// Show what is open, what is paused, and what keeps a failover from happening by itself
///
/// The operations that are open at any region; then whether a region that is found to be down would be failed over from
/// without a person, and what holds that back. Of one that holds something and does not answer now it is found out whether
/// it counts as down, as `reconcile` would, where the policy is to act on that. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover status
  debvisor-region failover status --format json")]
pub(crate) struct Status {}

impl Status {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let fleet = session.fleet()?;
        let (watch, feed) = session.watch_for_people();
        let status = fleet.failover_status(&watch).await;
        feed.end();
        let status = status?;
        session.print(&status, |look| {
            format!(
                "{}\n{}",
                failovers::pending(&status.operations, look),
                automation::automation(&status.automation, look)
            )
        })?;
        Ok(Exit::Done)
    }
}

/// Go on with an open operation
///
/// Works from any state file that is the regions' controller, an empty one too: the regions keep the journal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover resume
  debvisor-region failover resume --take-over --fenced \"its rack is unplugged\"
  debvisor-region failover resume --gone us-west-1=\"it burnt too\" --to eu-west-1")]
pub(crate) struct Resume {
    /// Which
    #[command(flatten)]
    one: One,
    /// Have it lead to another region, where the one that it led to is lost too
    #[arg(long, value_name = "REGION")]
    to: Option<RegionId>,
}

/// Lead an open operation back to where it came from
///
/// Only as long as nothing was promoted: after the first promotion it leads forward alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover abort")]
pub(crate) struct Abort {
    /// Which
    #[command(flatten)]
    one: One,
}

/// An open operation, and by what right it is touched.
#[derive(Debug, Args)]
struct One {
    /// The operation [default: the only one that is open]
    #[arg(value_name = "OPERATION", value_parser = operation)]
    operation: Option<OperationId>,
    /// Take the controller's place first
    #[arg(long)]
    take_over: bool,
    /// What is known.
    #[command(flatten)]
    known: Known,
}

/// An operation by its id, or by the name that the history has for it.
fn operation(text: &str) -> Result<OperationId, String> {
    let id = text.strip_prefix("evt-").unwrap_or(text);
    id.parse().map_err(|_| "it is no operation's id; `failover status` lists those that are open".to_owned())
}

impl Resume {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        self.one.run(session, false, self.to).await
    }
}

impl Abort {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        self.one.run(session, true, None).await
    }
}

impl One {
    async fn run(self, session: &Arc<Session>, abort: bool, to: Option<RegionId>) -> Result<Exit, CliError> {
        let Self { operation, take_over, known } = self;
        let fleet = session.fleet()?;
        let options = ResumeOptions { operation, abort, to, overrides: known.overrides(), take_over };
        let (watch, feed) = session.watch_for_people();
        let report = fleet.resume_failover(&options, &watch).await;
        feed.end();
        let report = report?;
        session.print(&report, |look| failovers::report(&report, look))?;
        Ok(report.class.into())
    }
}
