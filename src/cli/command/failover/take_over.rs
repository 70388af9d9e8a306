//! `failover take-over`: this state file becomes the regions' controller.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use super::given::Gone;

/// Make this state file the one that may change roles and the registry
///
/// Every registered region must answer and accept, but for those that are gone. The controller before it changes
/// nothing any more.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover take-over
  debvisor-region failover take-over --gone us-east-1=\"the building burnt down\"")]
pub(crate) struct TakeOver {
    /// What is known.
    #[command(flatten)]
    gone: Gone,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Taken {
    /// The term that this state controls with.
    term: u64,
}

impl TakeOver {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let fleet = session.fleet()?;
        let (watch, feed) = session.watch_for_people();
        let term = fleet.take_control(&self.gone.regions(), &watch).await;
        feed.end();
        let term = term?;
        session.print(&Taken { term }, |_| format!("this state controls the regions, with term {term}\n"))?;
        Ok(Exit::Done)
    }
}
