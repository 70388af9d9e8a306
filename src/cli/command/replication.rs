//! `replication`: replicas and their recovery points.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::finish;
use super::super::session::Session;
use super::pair::{Pause, Remove, Resume, Setup};
use crate::fleet::PointsAt;
use crate::live::port::PointSelector;
use crate::model::point::Point;
use crate::model::{RegionId, ResourceId};
use crate::render::event::Tells;
use crate::render::paint::{Glyph, Tone};
use crate::render::{points, status};

/// Commands about replicas.
#[derive(Debug, Subcommand)]
pub(crate) enum Replication {
    Setup(Setup),
    Status(Status),
    List(List),
    Sync(Sync),
    Points(Points),
    Verify(Verify),
    Export(Export),
    Discard(Discard),
    Pause(Pause),
    Resume(Resume),
    Remove(Remove),
}

impl Replication {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        match self {
            Self::Setup(command) => command.run(session).await,
            Self::Status(command) => command.run(session).await,
            Self::List(command) => command.run(session).await,
            Self::Sync(command) => command.run(session).await,
            Self::Points(command) => command.run(session).await,
            Self::Verify(command) => command.run(session).await,
            Self::Export(command) => command.run(session).await,
            Self::Discard(command) => command.run(session).await,
            Self::Pause(command) => command.run(session).await,
            Self::Resume(command) => command.run(session).await,
            Self::Remove(command) => command.run(session).await,
        }
    }
}

/// A point by its number or, for one that was set aside, its name; none: the newest.
pub(super) fn selector(point: Option<String>) -> PointSelector {
    match point {
        None => PointSelector::Newest,
        Some(text) => match text.parse() {
            Ok(sequence) => PointSelector::Sequence(sequence),
            Err(_) => PointSelector::Name(text),
        },
    }
}

/// Show one resource and its replicas
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication status web-vm-1")]
pub(crate) struct Status {
    /// The resource
    #[arg(value_name = "ID")]
    id: ResourceId,
}

impl Status {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let found = session.fleet()?.get_replication_status(&self.id).await?;
        session.print(&found, |look| status::replication(&found, look))?;
        Ok(Exit::Done)
    }
}

/// List every replica
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication list
  debvisor-region replication list --format json")]
pub(crate) struct List {}

impl List {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let resources = session.fleet()?.status().await?.resources;
        session.print(&resources, |look| status::replicas(&resources, look))?;
        Ok(Exit::Done)
    }
}

/// Copy one resource now, whatever its interval
///
/// A source that lost its definition, a disk or half of its bytes, or that changed by more than its `max_change`, is
/// suspicious and stays uncopied until somebody looked at it and says --accept-change. The former content stays a
/// recovery point.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication sync web-vm-1 us-east-1 us-west-1
  debvisor-region replication sync web-1 berlin munich --accept-change")]
pub(crate) struct Sync {
    /// The resource
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// The region that holds it
    #[arg(value_name = "SOURCE")]
    source: RegionId,
    /// The region that keeps the replica
    #[arg(value_name = "TARGET")]
    target: RegionId,
    /// Take a suspicious source for what it is
    #[arg(long)]
    accept_change: bool,
}

impl Sync {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, source, target, accept_change } = self;
        let fleet = session.fleet()?;
        let (watch, feed) = session.watch(Arc::new(1.into()), Tells::WhatHappens);
        let synced = fleet.sync_resource(&id, &source, &target, accept_change, &watch).await;
        feed.end();
        finish::run(session, &synced?.run)
    }
}

/// List a resource's recovery points
///
/// A region that does not answer is listed with its reason, as long as another one answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication points web-vm-1
  debvisor-region replication points web-vm-1 --region us-west-1")]
pub(crate) struct Points {
    /// The resource
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// Only those at this region [default: all replicas]
    #[arg(long, value_name = "REGION")]
    region: Option<RegionId>,
}

/// A point and where it is kept, or why a region does not tell its points.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Kept<'a> {
    /// A point.
    Here {
        /// Where.
        region_id: &'a RegionId,
        /// The point.
        #[serde(flatten)]
        point: &'a Point,
    },
    /// A region that does not tell.
    Untold {
        /// Which.
        region_id: &'a RegionId,
        /// Why.
        error: String,
    },
}

impl Points {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { id, region } = self;
        let found = session.fleet()?.points(&id, region.as_ref()).await?;
        let mut kept = Vec::new();
        for PointsAt { region_id, points } in &found {
            match points {
                Ok(points) => kept.extend(points.iter().map(|point| Kept::Here { region_id, point })),
                Err(error) => kept.push(Kept::Untold { region_id, error: error.to_string() }),
            }
        }
        session.print(&kept, |look| points::points(&found, session.world.clock.now(), look))?;
        Ok(Exit::Done)
    }
}

/// Compare both sides of a resource by content, every byte
///
/// Finds what no look at sizes and times can: a failing disk, a writer through mmap, a hand. Exits with 1 where a
/// replica is damaged; the next `apply` then repairs it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication verify web-vm-1
  debvisor-region replication verify web-vm-1 --region us-west-1")]
pub(crate) struct Verify {
    /// The resource
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// Only the replica at this region [default: all replicas]
    #[arg(long, value_name = "REGION")]
    region: Option<RegionId>,
}

impl Verify {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, region } = self;
        let found = session.fleet()?.verify(&id, region.as_ref()).await?;
        session.print(&found, |look| points::verification(&found, look))?;
        Ok(if found.all_intact() { Exit::Done } else { Exit::Failed })
    }
}

/// Write a recovery point's files into a directory
///
/// Every byte is checked on its way. Where that fails, or is interrupted, the directory is left as it was; what a killed
/// program leaves has a file `INCOMPLETE-EXPORT` beside its files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication export web-vm-1 /tmp/web-vm-1
  debvisor-region replication export web-vm-1 --point 12 /tmp/web-vm-1")]
pub(crate) struct Export {
    /// The resource
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// Take the point from this region [default: the freshest replica that has it]
    #[arg(long, value_name = "REGION")]
    region: Option<RegionId>,
    /// Take this point, by its number or name [default: the newest]
    #[arg(long, value_name = "POINT")]
    point: Option<String>,
    /// The directory; empty, or not there yet
    #[arg(value_name = "DIR")]
    into: PathBuf,
}

/// The point that was written out.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Exported<'a> {
    /// The region that it came from.
    region_id: &'a RegionId,
    /// The directory.
    into: String,
    /// The point.
    #[serde(flatten)]
    point: &'a Point,
}

impl Export {
    async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self { id, region, point, into } = self;
        let fleet = session.fleet()?;
        let (region, point) = fleet.export(&id, region.as_ref(), &selector(point), &into, &session.cancel).await?;
        let exported = Exported { region_id: &region, into: into.display().to_string(), point: &point };
        session.print(&exported, |look| points::exported(&id, &region, &point, &exported.into, look))?;
        Ok(Exit::Done)
    }
}

/// Discard a copy that was set aside
///
/// What was found written at a replica is set aside and kept until somebody discards it: this cannot be taken back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region replication points web-vm-1     # shows the names
  debvisor-region replication discard web-vm-1 us-west-1 modified-13")]
pub(crate) struct Discard {
    /// The resource
    #[arg(value_name = "ID")]
    id: ResourceId,
    /// The region that keeps the copy
    #[arg(value_name = "REGION")]
    region: RegionId,
    /// The copy's name
    #[arg(value_name = "NAME")]
    name: String,
}

/// The copy that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Discarded {
    /// The resource.
    resource_id: ResourceId,
    /// Where it was kept.
    region_id: RegionId,
    /// The copy's name.
    name: String,
}

impl Discard {
    async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { id, region, name } = self;
        let fleet = session.fleet()?;
        let (watch, feed) = session.watch_for_people();
        let result = fleet.discard(&id, &region, &name, &watch).await;
        feed.end();
        result?;
        let discarded = Discarded { resource_id: id, region_id: region, name };
        session.print(&discarded, |look| {
            let sign = look.paint(Tone::Good, look.glyph(Glyph::Done));
            let Discarded { resource_id, region_id, name } = &discarded;
            format!("{sign} {resource_id}: {} at {region_id} is gone\n", look.clean(name))
        })?;
        Ok(Exit::Done)
    }
}
