//! `failover fence` and `unfence`: a region is cut off by hand, and let in again.

use std::sync::Arc;

use clap::Args;

use super::super::super::approve::{Question, confirm};
use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use super::given::Gone;
use crate::fleet::FenceOptions;
use crate::model::RegionId;
use crate::render::cut_off;

/// Cut a region off by the fence hook
///
/// Every other region is told first, then the hook of the policy runs and must print `fenced REGION EPOCH`. From then on
/// the region starts nothing by itself, whatever comes back there, before it is let in with `failover unfence`; and a
/// failover from there needs no other proof that it is stopped. Nothing is moved: to move what it holds, `failover execute`
/// cuts it off itself where that is needed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover fence us-east-1 --reason \"runs what it does not hold\"
  debvisor-region failover fence us-east-1 --accept-collateral")]
pub(crate) struct Fence {
    /// The region
    #[arg(value_name = "REGION")]
    region: RegionId,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Let the fence stop machines that the region holds
    #[arg(long)]
    accept_collateral: bool,
    /// What is known.
    #[command(flatten)]
    gone: Gone,
    /// Do not ask; every gate is still judged
    #[arg(long)]
    force: bool,
}

/// Let a region in again that was cut off by hand
///
/// Turns nothing on. Once all other regions have forgotten that it was cut off, the region's agent hears from each of them
/// who holds what, and only then starts again what it still holds and what ran there before its host went down. Refused
/// while an operation leads away from the region.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover unfence us-east-1")]
pub(crate) struct Unfence {
    /// The region
    #[arg(value_name = "REGION")]
    region: RegionId,
}

impl Fence {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { region, reason, accept_collateral, gone, force } = self;
        let fleet = session.fleet()?;
        let options = FenceOptions { region, reason, accept_collateral, gone: gone.regions() };
        if !force {
            let fencing = fleet.propose_fence(&options).await?;
            let question = Question {
                asks: cut_off::question(&options.region, &fencing),
                otherwise: "nothing was changed".to_owned(),
                help: "Add --force where nobody can be asked; every gate is judged all the same.",
            };
            confirm(session, &question).await?;
        }
        let (watch, feed) = session.watch_for_people();
        let fenced = fleet.fence(&options, &watch).await;
        feed.end();
        let fenced = fenced?;
        session.print(&fenced, |look| cut_off::fenced(&fenced, look))?;
        Ok(fenced.class().into())
    }
}

impl Unfence {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let fleet = session.fleet()?;
        let done = fleet.unfence(&self.region).await?;
        session.print(&done, |look| cut_off::let_in(&done, look))?;
        Ok(done.class().into())
    }
}
