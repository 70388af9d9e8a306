//! `region`: the declared regions, as they are now, and declaring them.

use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::super::declare::{Declaration, How, declare, ground, ground_or_begun, not_declared};
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::session::Session;
use super::failover::given::Gone;
use crate::config::edit::{Edit, RegionEdit};
use crate::fleet::ReadmitOptions;
use crate::model::observed::RegionStatus;
use crate::model::{Address, RegionId};
use crate::render::{region, status};

/// Commands about regions.
#[derive(Debug, Subcommand)]
pub(crate) enum Region {
    Add(Add),
    List(List),
    Show(Show),
    HealthCheck(HealthCheck),
    Stats(Stats),
    Remove(Remove),
    Readmit(Readmit),
}

impl Region {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::Add(command) => command.run(session).await,
            Self::List(command) => command.run(session).await,
            Self::Show(command) => command.run(session).await,
            Self::HealthCheck(command) => command.run(session).await,
            Self::Stats(command) => command.run(session).await,
            Self::Remove(command) => command.run(session).await,
            Self::Readmit(command) => command.run(session).await,
        }
    }
}

/// A status by its name.
fn status_named(text: &str) -> Result<RegionStatus, String> {
    let known = RegionStatus::ALL.into_iter().find(|status| status.as_str() == text);
    known.ok_or_else(|| format!("a status is one of {}", RegionStatus::ALL.map(RegionStatus::as_str).join(", ")))
}

/// List the regions with their health
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region list
  debvisor-region region list --status healthy
  debvisor-region region list --format json")]
pub(crate) struct List {
    /// Only those that are healthy, degraded, unreachable, recovering or unknown
    #[arg(long, value_name = "STATUS", value_parser = status_named)]
    status: Option<RegionStatus>,
}

impl List {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.list_regions(self.status).await?;
        session.print(&found, |look| status::regions(&found, look))?;
        Ok(Exit::Done)
    }
}

/// Show one region, and how it looks to the others
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region show us-east-1
  debvisor-region region show us-east-1 --format json")]
pub(crate) struct Show {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
}

impl Show {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.get_region(&self.id).await?;
        session.print(&found, |look| region::region(&found, session.world.clock.now(), look))?;
        Ok(Exit::Done)
    }
}

/// Ask a region whether it is there, and the others how they see it
///
/// Every served region that answers is asked to look at it now. Exits with 0 whatever they find; `--format json` is for
/// scripts that judge.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region health-check us-east-1
  debvisor-region region health-check us-east-1 --format json")]
pub(crate) struct HealthCheck {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
}

impl HealthCheck {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.check_region_health(&self.id).await?;
        session.print(&found, |look| region::health(&found, look))?;
        Ok(Exit::Done)
    }
}

/// Show a region's numbers
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region stats us-east-1
  debvisor-region region stats us-east-1 --format json")]
pub(crate) struct Stats {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
}

impl Stats {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.get_region_statistics(&self.id).await?;
        session.print(&found, |look| region::statistics(&found, session.world.clock.now(), look))?;
        Ok(Exit::Done)
    }
}

/// Declare a region in the topology's files
///
/// Edits the file in place and shows the diff. Where there is no topology yet, topology.toml is begun with it. A region
/// that is declared already becomes what is said here; what is not said stays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region add berlin \"Berlin\" https://berlin.example:5000
  debvisor-region region add a \"Here\" file:regions/a --primary --capacity 50
  debvisor-region region add munich \"Munich\" file:munich --apply")]
pub(crate) struct Add {
    /// The region's id
    #[arg(value_name = "ID")]
    id: RegionId,
    /// Its name for people
    #[arg(value_name = "NAME")]
    name: String,
    /// Where it is reached: https://HOST or https://HOST:PORT, or file:directory
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Resources that name no region are born there; at most one region
    #[arg(long)]
    primary: bool,
    /// It can hold so many VMs [default: 1000]
    #[arg(long, value_name = "VMS")]
    capacity: Option<u32>,
    /// Where it lies [default: its id]
    #[arg(long, value_name = "TEXT")]
    location: Option<String>,
    /// What becomes of it.
    #[command(flatten)]
    how: How,
}

impl Add {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, name, endpoint, primary, capacity, location, how } = self;
        let ground = ground_or_begun(session)?;
        let declaration = Declaration {
            concerns: vec![Address::Region(id.clone())],
            gone: false,
            already: format!("region {id} is declared so already"),
            edits: vec![Edit::Region(RegionEdit {
                id,
                name: Some(name),
                location,
                api_endpoint: Some(endpoint),
                primary: primary.then_some(true),
                capacity_vms: capacity,
            })],
        };
        declare(session, ground, declaration, how).await
    }
}

/// Take a region out of the topology's files
///
/// A region that is still used is told with every line that uses it, and stays; --cascade takes these out as well. One
/// where something is born stays in any case. No data is deleted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region remove munich --dry-run
  debvisor-region region remove munich --cascade --apply")]
pub(crate) struct Remove {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
    /// Its pairs go, too, and it keeps no replica and is no candidate any more
    #[arg(long)]
    cascade: bool,
    /// What becomes of it.
    #[command(flatten)]
    how: How,
}

impl Remove {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, cascade, how } = self;
        let ground = ground(session)?;
        let topology = &ground.loaded.topology;
        let pairs = topology.pairs.keys().filter(|pair| pair.source == id || pair.target == id);
        let kept = topology.resources.iter().filter(|(_, spec)| spec.replicas.contains(&id));
        let around = pairs.cloned().map(Address::Replication).chain(kept.map(|(key, _)| key.clone().into()));
        let around: Vec<Address> = if cascade { around.collect() } else { Vec::new() };
        let known = topology.regions.keys().map(RegionId::as_str);
        let declaration = Declaration {
            concerns: std::iter::once(Address::Region(id.clone())).chain(around).collect(),
            gone: true,
            already: not_declared(&format!("region {id}"), id.as_str(), known),
            edits: vec![Edit::NoRegion { id, cascade }],
        };
        declare(session, ground, declaration, how).await
    }
}

/// Have a region take part again whose memory is not relied on
///
/// That is one with a new store, one whose `region.db` went back to an earlier state, and one that was declared gone. It
/// learns from the others which regions there are and who holds what, and keeps copies from then on: what lies there
/// becomes a copy, and what was written there alone is set aside under a name. It is never given back what it held:
/// `failover execute` moves that to a region that keeps a copy. Every other region must answer, and nothing may run there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region region readmit us-east-1
  debvisor-region region readmit us-east-1 --take-over
  debvisor-region region readmit us-east-1 --gone eu-west-1=\"it burnt\"
  debvisor-region region readmit us-east-1 --alone \"eu-west-1 lost its disks\"")]
pub(crate) struct Readmit {
    /// The region
    #[arg(value_name = "ID")]
    id: RegionId,
    /// What is known.
    #[command(flatten)]
    gone: Gone,
    /// Take the controller's place first
    #[arg(long)]
    take_over: bool,
    /// No region takes part any more: the fleet begins anew with what this one remembers, and this is why
    #[arg(long, value_name = "HOW YOU KNOW", value_parser = NonEmptyStringValueParser::new())]
    alone: Option<String>,
}

impl Readmit {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, gone, take_over, alone } = self;
        let options = ReadmitOptions { region: id, gone: gone.regions(), take_over, alone };
        let fleet = session.fleet()?;
        let (watch, feed) = session.watch_for_people();
        let done = fleet.readmit(&options, &watch).await;
        feed.end();
        let done = done?;
        session.print(&done, |look| region::readmitted(&done, look))?;
        Ok(Exit::Done)
    }
}
