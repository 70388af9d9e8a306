//! `failover`: moving what a region holds to another one.

mod accept;
mod back;
mod drill;
mod execute;
mod fence;
pub(super) mod given;
mod history;
mod pending;
mod pause;
pub(super) mod take_over;
mod runbook;

use std::sync::Arc;

use clap::Subcommand;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;

/// Commands about failovers.
#[derive(Debug, Subcommand)]
pub(crate) enum Failover {
    Execute(execute::Execute),
    Status(pending::Status),
    Resume(pending::Resume),
    Abort(pending::Abort),
    History(history::History),
    TakeOver(take_over::TakeOver),
    Accept(accept::Accept),
    Back(back::Back),
    Pause(pause::Pause),
    Unpause(pause::Unpause),
    Drill(drill::Drill),
    Fence(fence::Fence),
    Unfence(fence::Unfence),
    Runbook(runbook::Runbook),
}

impl Failover {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::Execute(command) => command.run(session).await,
            Self::Status(command) => command.run(session).await,
            Self::Resume(command) => command.run(session).await,
            Self::Abort(command) => command.run(session).await,
            Self::History(command) => command.run(session),
            Self::TakeOver(command) => command.run(session).await,
            Self::Accept(command) => command.run(session).await,
            Self::Back(command) => command.run(session).await,
            Self::Pause(command) => command.run(session).await,
            Self::Unpause(command) => command.run(session).await,
            Self::Drill(command) => command.run(session).await,
            Self::Fence(command) => command.run(session).await,
            Self::Unfence(command) => command.run(session).await,
            Self::Runbook(command) => command.run(session),
        }
    }
}
