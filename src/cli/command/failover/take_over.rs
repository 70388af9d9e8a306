//! `failover take-over`: this state file becomes the regions' controller.

use std::sync::Arc;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::super::approve::{Question, confirm};
use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use super::given::Gone;
use crate::fleet::TakeOverOptions;
use crate::model::RegionId;

/// Make this state file the one that may change roles and the registry
///
/// Every registered region must answer and accept, but for those that are gone, and one that the fence hook cuts off in
/// the same run. The controller before it changes nothing any more. Cut off half way, nobody controls the regions; run
/// again, here or elsewhere, it takes over above what stands.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover take-over
  debvisor-region failover take-over --fence us-east-1
  debvisor-region failover take-over --gone us-east-1=\"the building burnt down\"")]
pub(crate) struct TakeOver {
    /// What is known.
    #[command(flatten)]
    gone: Gone,
    /// A region that does not answer, and that the policy's fence hook cuts off: all that runs there stops
    #[arg(long, value_name = "REGION")]
    fence: Option<RegionId>,
    /// Do not ask before a region is cut off
    #[arg(long)]
    force: bool,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Taken {
    /// The term that this state controls with.
    term: u64,
}

impl TakeOver {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { gone, fence, force } = self;
        let fleet = session.fleet()?;
        if let Some(region) = fence.as_ref().filter(|_| !force) {
            let question = Question {
                asks: format!("Cut {region} off? All that runs there stops."),
                otherwise: "nothing was changed".to_owned(),
                help: "Add --force where nobody can be asked.",
            };
            confirm(session, &question).await?;
        }
        let (watch, feed) = session.watch_for_people();
        let term = fleet.take_control(&TakeOverOptions { gone: gone.regions(), fence }, &watch).await;
        feed.end();
        let term = term?;
        session.print(&Taken { term }, |_| format!("this state controls the regions, with term {term}\n"))?;
        Ok(Exit::Done)
    }
}
