//! `failover back`: what a failover moved goes home.

use std::sync::Arc;

use clap::Args;

use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use super::execute::{Reviewer, would_end};
use super::given::Given;
use crate::fleet::{Back as Home, BackOptions, FleetError};
use crate::model::RegionId;
use crate::render::{failover, failovers};

/// Bring home what a failover moved
///
/// Home is where the files say that a resource is born, its `primary`. What is held elsewhere goes there gracefully: by
/// what differs, and nothing is lost, or it goes on running where it is. Each region that holds something is a failover of
/// its own, with its own question. To have the files say what is instead: `failover accept`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover back --dry-run
  debvisor-region failover back us-east-1 --reason \"the power is back\"")]
pub(crate) struct Back {
    /// Only what is at home in this region
    #[arg(value_name = "REGION")]
    region: Option<RegionId>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask; every gate is still judged
    #[arg(long)]
    force: bool,
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the controller's place first
    #[arg(long)]
    take_over: bool,
    /// What lets gates pass.
    #[command(flatten)]
    given: Given,
}

impl Back {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { region, reason, force, dry_run, take_over, given } = self;
        let fleet = session.fleet()?;
        let options = BackOptions { home: region, reason, overrides: given.overrides(), take_over };
        let (watch, feed) = session.watch_for_people();
        if dry_run {
            let proposals = fleet.propose_back(&options, &watch).await;
            feed.end();
            let proposals = proposals?;
            session.print(&proposals, |look| {
                let told: Vec<String> =
                    proposals.iter().map(|proposal| failover::proposal(proposal, look, false)).collect();
                if told.is_empty() { failovers::HOME.to_owned() } else { told.join("\n") }
            })?;
            let partly = proposals.iter().any(|proposal| would_end(proposal.outcome) != Exit::Done);
            return Ok(match (Home::is_refused(&proposals), partly) {
                (true, _) => Exit::Refused,
                (false, true) => Exit::Partial,
                (false, false) => Exit::Done,
            });
        }
        let mut reviewer = Reviewer::new(session, force, false);
        let back = fleet.bring_back(&options, &mut reviewer, &watch).await;
        feed.end();
        let mut back = back?;
        let interrupted = matches!(back.error, Some(FleetError::Interrupted));
        if let Some(error) = back.error.take_if(|_| interrupted || back.reports.is_empty()) {
            return Err(reviewer.explain_refusal(error));
        }
        session.print(&back, |look| failovers::back(&back, look))?;
        Ok(back.class().into())
    }
}
