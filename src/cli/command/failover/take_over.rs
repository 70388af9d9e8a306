//! `failover take-over`: this state file becomes the regions' controller.

use std::sync::Arc;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::super::approve::{Answer, ask};
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
            confirm(session, region).await?;
        }
        let (watch, feed) = session.watch_for_people();
        let term = fleet.take_control(&TakeOverOptions { gone: gone.regions(), fence }, &watch).await;
        feed.end();
        let term = term?;
        session.print(&Taken { term }, |_| format!("this state controls the regions, with term {term}\n"))?;
        Ok(Exit::Done)
    }
}

async fn confirm(session: &Session, region: &RegionId) -> Result<(), CliError> {
    let help = "Add --force where nobody can be asked.".to_owned();
    if !session.can_ask() {
        let detail = "nobody can be asked here, and nothing was changed".to_owned();
        return Err(CliError::NotApproved { detail, help });
    }
    let question = format!("Cut {region} off? All that runs there stops. Only `yes` is taken for a yes: ");
    match ask(session, &question).await {
        Answer::Yes => Ok(()),
        Answer::No(said) => {
            let detail = format!("not confirmed, and nothing was changed: the answer was `{said}`, not `yes`");
            Err(CliError::NotApproved { detail, help })
        }
        Answer::Interrupted => Err(CliError::Interrupted),
    }
}
