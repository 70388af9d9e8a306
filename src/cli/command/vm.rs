//! `vm`: virtual machines.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::super::approve::{Question, confirm};
use super::super::declare::{Declaration, How, declare, ground, not_declared};
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use super::replication::selector;
use crate::config::edit::{Edit, ResourceEdit};
use crate::model::{RegionId, ResourceId, ResourceKey, ResourceType};
use crate::render::{points, status, whereabouts};

/// Commands about virtual machines.
#[derive(Debug, Subcommand)]
pub(crate) enum Vm {
    Replicate(Replicate),
    List(List),
    Where(Where),
    Restore(Restore),
    Remove(Remove),
}

impl Vm {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::Replicate(command) => command.run(session).await,
            Self::List(command) => command.run(session).await,
            Self::Where(command) => command.run(session).await,
            Self::Restore(command) => command.run(session).await,
            Self::Remove(command) => command.run(session).await,
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
    let question = Question {
        asks: format!("Replace the files of {id}? They are kept beside."),
        otherwise: format!("{id} was not restored"),
        help: "Add --auto-approve. The files that are there now are kept either way.",
    };
    confirm(session, &question).await
}

/// Declare a virtual machine and the regions that keep copies of it
///
/// Edits the topology's file in place and shows the diff. A machine that is declared already becomes what is said here;
/// one of a range gets a table of its own. Once it lives, PRIMARY moves it nowhere: `failover execute` does.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region vm replicate web-vm-1 us-east-1 us-west-1,eu-west-1
  debvisor-region vm replicate web-vm-1 us-east-1 us-west-1 --apply")]
pub(crate) struct Replicate {
    /// The machine
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// The region where it is born
    #[arg(value_name = "PRIMARY")]
    primary: RegionId,
    /// The regions that keep a copy
    #[arg(value_name = "REPLICA,…", value_delimiter = ',', num_args = 1, required = true)]
    replicas: Vec<RegionId>,
    /// What becomes of it.
    #[command(flatten)]
    how: How,
}

impl Replicate {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, primary, mut replicas, how } = self;
        let mut seen = std::collections::BTreeSet::new();
        replicas.retain(|region| seen.insert(region.clone()));
        let key = ResourceKey::new(ResourceType::Vm, id);
        let declaration = Declaration {
            concerns: vec![key.clone().into()],
            gone: false,
            already: format!("{key} is declared so already"),
            edits: vec![Edit::Resource(ResourceEdit { key, primary: Some(primary), replicas: Some(replicas) })],
        };
        declare(session, ground(session)?, declaration, how).await
    }
}

/// Take a virtual machine out of the topology's files
///
/// Out of a range, too, which is split there. With --apply it is protected no more; no data is deleted, neither the
/// machine's nor its copies.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region vm remove web-vm-1
  debvisor-region vm remove web-vm-1 --apply")]
pub(crate) struct Remove {
    /// The machine
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// What becomes of it.
    #[command(flatten)]
    how: How,
}

impl Remove {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, how } = self;
        let ground = ground(session)?;
        let key = ResourceKey::new(ResourceType::Vm, id);
        let known = ground.loaded.topology.resources.keys().filter(|key| key.kind == ResourceType::Vm);
        let declaration = Declaration {
            concerns: vec![key.clone().into()],
            gone: true,
            already: not_declared(&key.to_string(), key.id.as_str(), known.map(|key| key.id.as_str())),
            edits: vec![Edit::NoResource(key)],
        };
        declare(session, ground, declaration, how).await
    }
}
