//! `vm`: virtual machines.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::super::approve::{Answer, ask};
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use super::replication::selector;
use crate::model::{RegionId, ResourceId, ResourceType};
use crate::render::{points, status, whereabouts};

/// Commands about virtual machines.
#[derive(Debug, Subcommand)]
pub(crate) enum Vm {
    List(List),
    Where(Where),
    Restore(Restore),
}

impl Vm {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::List(command) => command.run(session).await,
            Self::Where(command) => command.run(session).await,
            Self::Restore(command) => command.run(session).await,
        }
    }
}

/// List the virtual machines and their replicas
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region vm list
  debvisor-region vm list --format json")]
pub(crate) struct List {}

impl List {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let mut machines = session.fleet()?.status().await?.resources;
        machines.retain(|resource| resource.resource_type == ResourceType::Vm);
        session.print(&machines, |look| status::replicas(&machines, look))?;
        Ok(Exit::Done)
    }
}

/// Ask every region which machines it is running
///
/// Shows who holds each machine and where it runs. One that runs at two regions stands first, and the exit code is 5;
/// then those that run at a region that does not hold them. A region that does not answer, or has no runner that could
/// tell, may be running anything.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region vm where
  debvisor-region vm where web-vm-1 --format json")]
pub(crate) struct Where {
    /// Only this machine
    #[arg(value_name = "ID")]
    id: Option<ResourceId>,
}

impl Where {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.whereabouts(self.id.as_ref()).await?;
        session.print(&found, |look| whereabouts::whereabouts(&found, look, session.globals.verbose))?;
        Ok(if found.runs_twice() { Exit::Refused } else { Exit::Done })
    }
}

/// Put a recovery point's files in place of a machine's own
///
/// The files that are there now are kept beside, under a name that is printed. The machine must be stopped.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region vm restore web-vm-1
  debvisor-region vm restore web-vm-1 --from us-west-1 --point 12")]
pub(crate) struct Restore {
    /// The machine
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// Take the point from this region [default: the freshest replica]
    #[arg(long, value_name = "REGION")]
    from: Option<RegionId>,
    /// Take this point, by its number or name [default: the newest]
    #[arg(long, value_name = "POINT")]
    point: Option<String>,
    /// Ask nothing
    #[arg(long)]
    auto_approve: bool,
}

impl Restore {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, from, point, auto_approve } = self;
        let (fleet, point) = (session.fleet()?, selector(point));
        if !auto_approve {
            // Nobody is asked about what cannot be done.
            fleet.region_with(&id, from.as_ref(), &point).await?;
            approve(session, &id).await?;
        }
        let (watch, feed) = session.watch_for_people();
        let restored = fleet.restore_vm(&id, from.as_ref(), &point, &watch).await;
        feed.end();
        let restored = restored?;
        session.print(&restored, |look| points::restored(&restored, look))?;
        Ok(Exit::Done)
    }
}

async fn approve(session: &Session, id: &ResourceId) -> Result<(), CliError> {
    let help = "Add --auto-approve. The files that are there now are kept either way.".to_owned();
    if !session.can_ask() {
        let detail = format!("nobody can be asked here, and {id} was not restored");
        return Err(CliError::NotApproved { detail, help });
    }
    let question = format!("Replace the files of {id}? They are kept beside. Only `yes` is taken for a yes: ");
    match ask(session, &question).await {
        Answer::Yes => Ok(()),
        Answer::No(said) => {
            let detail = format!("{id} was not restored: the answer was `{said}`, not `yes`");
            Err(CliError::NotApproved { detail, help })
        }
        Answer::Interrupted => Err(CliError::Interrupted),
    }
}
