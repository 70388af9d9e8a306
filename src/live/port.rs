//! The port to a region: all that planning, execution and the operational commands may ask of it. What stands behind
//! it, a directory of this machine or a server elsewhere, is the port's own business.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::failover::{Control, Order, Refusal, Reply};
use crate::model::audit::Audited;
use crate::model::failover::Standings;
use crate::model::observed::RegionStatus;
use crate::model::point::Point;
pub use crate::model::point::PointSelector;
use crate::model::policy::HealthPolicy;
pub use crate::model::region::PeerRecords;
use crate::model::region::{Authority, Identity, Pause, RecordChange, RegionSnapshot, SyncOrder};
use crate::model::running::Running;
use crate::model::sighting::Probe;
use crate::model::{ByteCount, Digest, OperationId, RegionId, ResourceId, ResourceKey, units};
use crate::replica::port::{Source, Target};
use crate::replica::transfer::{Progress, SyncFailure, SyncOptions, SyncReport};
use crate::wire::region::RegionHealth;

/// Why a region could not do what it was asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(tag = "code", content = "detail", rename_all = "snake_case")]
pub enum PortError {
    /// No answer: the region may be dead, or only out of reach.
    #[error("{reason}")]
    Unreachable {
        /// Unreachable, or unknown where it may well be alive (a TLS or DNS error).
        status: RegionStatus,
        /// In words.
        reason: String,
        /// What to do next.
        help: Option<String>,
    },
    /// Another program has the region's directory.
    #[error("{0}")]
    Busy(String),
    /// The region's record is not what the order presumed: nothing was changed.
    #[error("{address} is not as it was: {detail}")]
    Conflict {
        /// The object.
        address: String,
        /// What differs.
        detail: String,
        /// The fingerprint that it has.
        current: Option<Digest>,
    },
    /// The order comes from a state file that does not control this region.
    #[error("{region} is controlled by {place} (lineage {lineage}, term {term})")]
    NotController {
        /// The region.
        region: RegionId,
        /// The controller's lineage.
        lineage: crate::model::Lineage,
        /// Its term.
        term: u64,
        /// Where it is.
        place: String,
    },
    /// The region does not take an order about roles.
    #[error("{0}")]
    Role(Box<Refusal>),
    /// Nothing of that name is there.
    #[error("{0}")]
    NotFound(String),
    /// The order is refused for the reason given.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// What to do next.
        help: Option<String>,
    },
    /// The region's own machine failed it: a disk, a database.
    #[error("{0}")]
    Failed(String),
}

/// What to do about a region that another program has.
pub const OCCUPIED: &str = "another program has the region's directory; wait for it to end, and try again";

impl PortError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unreachable { help, .. } | Self::Refused { help, .. } => help.clone(),
            Self::Busy(_) => Some(OCCUPIED.to_owned()),
            Self::Conflict { .. } => {
                Some("somebody changed it meanwhile; plan again, and look at the difference".to_owned())
            }
            Self::NotController { place, .. } => {
                Some(format!("change it from {place}: only one state may change roles and the registry"))
            }
            Self::NotFound(_) | Self::Role(_) => None,
            Self::Failed(_) => Some("look at the region's disk and its own log".to_owned()),
        }
    }
}

/// How a file of a replica or a source compares with the newest point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileVerdict {
    /// Every byte is as the point says.
    Identical,
    /// The file's metadata says that it changed since; so do its bytes.
    Changed,
    /// The metadata says unchanged, the bytes differ: what a writer through `mmap`, a failing disk or a hand did. Or it
    /// cannot be read.
    Mismatch,
    /// Not there.
    Missing,
}

/// One file's verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileCheck {
    /// The file, below the resource's directory.
    pub path: String,
    /// The verdict.
    pub verdict: FileVerdict,
    /// How many blocks differ; none: that cannot be told.
    pub blocks: Option<u64>,
    /// Bytes read.
    pub read: ByteCount,
    /// The content's root hash as read now.
    pub root: Option<Digest>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// The verification of one region's files by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentCheck {
    /// The region.
    pub region: RegionId,
    /// The root hash over all files as read now.
    pub data_hash: Option<Digest>,
    /// File by file.
    pub files: Vec<FileCheck>,
}

/// What a holder put in the place of its own files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replaced {
    /// The point that they are of.
    pub point: Point,
    /// The name that what was there is kept under; none where nothing was.
    pub set_aside: Option<String>,
}

/// What a drill of one resource found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drilled {
    /// The id that a copy was started under; none: it was read, and nothing was started.
    pub started_as: Option<ResourceId>,
    /// The point.
    pub point: Point,
    /// How old it was, by `verified_at`.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub age: Duration,
    /// How long it took to read every byte of it, or to copy it, and to compare it with its hashes.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub read_in: Duration,
    /// How long the copy was seen running; none: it was not.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub ran_for: Option<Duration>,
    /// What is wrong with it, or why it did not start or go on running; none: all is well.
    pub failure: Option<String>,
    /// What could not be cleaned up, and is tried again later; none: nothing is left.
    pub left: Option<String>,
}

/// An order about roles that a region carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Carried {
    /// Its answer.
    pub reply: Reply,
    /// Resources that it could not be carried out for, and why.
    pub failed: BTreeMap<ResourceKey, String>,
    /// Resources that are held now, in their place, and whose machine does not run all the same: why.
    pub idle: BTreeMap<ResourceKey, String>,
}

impl Carried {
    /// Without anything that failed.
    pub const fn all(reply: Reply) -> Self {
        Self { reply, failed: BTreeMap::new(), idle: BTreeMap::new() }
    }
}

/// A region, wherever it is.
#[async_trait]
pub trait RegionPort: Source + Target + std::fmt::Debug {
    /// The region's declared id.
    fn region(&self) -> &RegionId;

    /// All that planning needs, in one call. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// [`PortError::Unreachable`] where nothing can be said of the region.
    async fn snapshot(&self) -> Result<RegionSnapshot, PortError>;

    /// The same of one resource alone: no other's files are looked at, and nothing is told of others, nor of regions. A
    /// port may tell more.
    ///
    /// # Errors
    /// As [`RegionPort::snapshot`].
    async fn snapshot_of(&self, _resource: &ResourceKey) -> Result<RegionSnapshot, PortError> {
        self.snapshot().await
    }

    /// The same of what the region has recorded alone: no resource's files are looked at, nor a replica's. Of a place where
    /// nothing was founded, all is told. A port may tell more.
    ///
    /// # Errors
    /// As [`RegionPort::snapshot`].
    async fn snapshot_of_records(&self) -> Result<RegionSnapshot, PortError> {
        self.snapshot().await
    }

    /// Asks whether it is there: the smallest question that it answers.
    async fn probe(&self, policy: &HealthPolicy) -> Probe;

    /// What it is running, asked of its runner now. Writes nothing but that a dead program's start was ended.
    ///
    /// # Errors
    /// [`PortError::Unreachable`] and others: it may be running anything.
    async fn running(&self) -> Result<Running, PortError>;

    /// How another region looks from there, asked now; none: this one observes nobody.
    ///
    /// # Errors
    /// [`PortError::NotFound`] where it is not registered there.
    async fn look_at(&self, region: &RegionId) -> Result<Option<RegionHealth>, PortError>;

    /// Founds the region where there is none yet: gives it its identity and its store. Done twice, it answers with
    /// the identity that is there.
    ///
    /// # Errors
    /// Where another region's identity is there, or the place cannot be written.
    async fn found(&self, authority: &Authority) -> Result<Identity, PortError>;

    /// Has the region do as it is asked about authority and the registry; `peers` are the records of what it may have
    /// none of. Durable before it answers; a repeat is fine.
    ///
    /// # Errors
    /// [`PortError::NotController`] where somebody else controls it; [`PortError::Role`] where it does not do it for
    /// another reason: nothing was changed then.
    async fn control(&self, control: &Control, peers: &PeerRecords) -> Result<(), PortError>;

    /// What the region says of its roles, of whether `machines` run there, and the life that its agent is in. The
    /// runner is asked of no other machine: those may run.
    ///
    /// # Errors
    /// Where the region was not founded, or cannot be asked.
    async fn standings(&self, machines: &BTreeSet<ResourceKey>) -> Result<Standings, PortError>;

    /// Takes in what another region says of its roles, as an agent that hears it does: what follows for this region's own is
    /// durable when it returns. Says whether anything did. A served region hears the others by itself, and takes nothing
    /// from anybody else.
    ///
    /// # Errors
    /// Where the region was not founded, or cannot write it.
    async fn learn(&self, _told: &Standings) -> Result<bool, PortError> {
        Ok(false)
    }

    /// Keeps that nothing fails over without a person, or, with none, that it may again. Durable before it answers; a
    /// repeat is fine. Anybody who may speak to the region may say so.
    ///
    /// # Errors
    /// Where the region was not founded, or cannot write it.
    async fn keep_pause(&self, pause: Option<&Pause>) -> Result<(), PortError>;

    /// Carries out an order about roles. What the answer says is durable; a repeat of the same order does nothing
    /// twice.
    ///
    /// # Errors
    /// [`PortError::Role`] where the region does not take it: nothing was changed then.
    async fn order(&self, order: &Order) -> Result<Carried, PortError>;

    /// Writes records, all or none, each only if it is as the change expects. A repeat of the same operation
    /// answers as the first time and does nothing twice.
    ///
    /// # Errors
    /// [`PortError::Conflict`] naming the first object that is not as expected; [`PortError::NotController`].
    async fn record(&self, authority: &Authority, changes: &[RecordChange]) -> Result<(), PortError>;

    /// Writes records at a person's request, as [`record`](Self::record) does: they belong to nobody, and bind nobody.
    ///
    /// # Errors
    /// [`PortError::NotController`] where roles or the registry would change and somebody controls them;
    /// [`PortError::Conflict`].
    async fn record_by_hand(&self, _operation: OperationId, _changes: &[RecordChange]) -> Result<(), PortError> {
        Err(PortError::Refused { reason: format!("{} takes no orders by hand", self.region()), help: None })
    }

    /// Reads every byte of the newest point of a resource that the region keeps copies of. Of a VM, where the region has a
    /// `drill_start`, it is copied to a place of its own, started under an id of its own, and seen to go on running for so
    /// long; then it is stopped and the copy removed. Touches no role and no machine; a failover of the resource, and
    /// `cancel`, end it early.
    ///
    /// # Errors
    /// [`PortError::Refused`] where the region does not keep copies of it, or the point is not whole; [`PortError::Busy`]
    /// where a drill of it is under way. Nothing was started then.
    async fn drill(
        &self,
        resource: &ResourceKey,
        _watched: Duration,
        _cancel: &CancellationToken,
    ) -> Result<Drilled, PortError> {
        Err(PortError::Refused { reason: format!("{} has no drill of {resource}", self.region()), help: None })
    }

    /// A replica's points, newest first, set-aside ones last.
    ///
    /// # Errors
    /// [`PortError::NotFound`] where the region keeps none of it.
    async fn points(&self, resource: &ResourceKey) -> Result<Vec<Point>, PortError>;

    /// Reads every byte of the resource's files and compares it with the newest point (at a replica) or with what
    /// was remembered of the last reading (at the holder).
    ///
    /// # Errors
    /// Where a file cannot be read.
    async fn verify(&self, resource: &ResourceKey) -> Result<ContentCheck, PortError>;

    /// Reads back a part of what the region's replicas hold, as much as is due by the policy that it has recorded, and
    /// compares it with what was copied. What is not that is quarantined before it answers: files are not trusted until a
    /// sync has read them again, older points that have lost bytes are damaged. A region that cannot do it has
    /// read nothing. When `cancel` is, it stops with what it has.
    ///
    /// # Errors
    /// Where the region's records cannot be read or written.
    async fn audit(&self, _cancel: &CancellationToken) -> Result<Audited, PortError> {
        Ok(Audited::nothing(self.region().clone()))
    }

    /// Writes one point's files into the directory `into` of the machine that asks, which must be empty or not exist.
    /// Where it fails or is [interrupted](Self::interrupt), that directory is as it was.
    ///
    /// # Errors
    /// [`PortError::NotFound`] for an unknown point; [`PortError::Refused`] for a damaged one or a full directory.
    async fn export(&self, resource: &ResourceKey, point: &PointSelector, into: &Path) -> Result<Point, PortError>;

    /// Puts the files of `from` (an exported point of this resource) in place of the holder's own, which are set
    /// aside under a name that is returned; none where there were no files. Files below the region's own `.debvisor`
    /// are moved, others copied.
    ///
    /// # Errors
    /// [`PortError::NotController`] and [`PortError::Conflict`] where somebody else manages the resource here;
    /// [`PortError::Refused`] where the resource runs, or may run, here, where there is no room, and where the region
    /// keeps the resource's files at places of which these are not the files.
    async fn replace_files(
        &self,
        authority: &Authority,
        resource: &ResourceKey,
        from: &Path,
    ) -> Result<Option<String>, PortError>;

    /// Has this region fetch a point from `from`, which it finds in its own registry and which may be itself, and put
    /// its files in place as [`replace_files`](Self::replace_files) does; none: it fetches nothing by itself, and
    /// whoever asks brings the files. When `cancel` is, it stops as long as none of its files was moved. Dropping the
    /// future leaves the region at work.
    ///
    /// # Errors
    /// As [`export`](Self::export) and [`replace_files`](Self::replace_files).
    async fn restore(
        &self,
        _authority: &Authority,
        _resource: &ResourceKey,
        _from: (&RegionId, &PointSelector),
        _cancel: &CancellationToken,
    ) -> Option<Result<Replaced, PortError>> {
        None
    }

    /// Discards a set-aside copy by its name.
    ///
    /// # Errors
    /// [`PortError::NotFound`] for an unknown name; [`PortError::NotController`] and [`PortError::Conflict`] where another
    /// state file manages the resource.
    async fn discard(&self, authority: &Authority, resource: &ResourceKey, name: &str) -> Result<(), PortError>;

    /// Whether other regions can reach it by its endpoint, so that one that keeps a copy can fetch it there.
    fn is_served(&self) -> bool {
        false
    }

    /// Has this region fetch a resource from its source, which it finds in its own registry; none: it fetches
    /// nothing by itself, and whoever asks carries the bytes. When `cancel` is, it stops at the next durable place.
    /// Dropping the future leaves the region at work; the next fetch of the resource takes over from it.
    async fn fetch(
        &self,
        _order: &SyncOrder,
        _options: &SyncOptions,
        _progress: Progress<'_>,
        _cancel: &CancellationToken,
    ) -> Option<Result<SyncReport, SyncFailure>> {
        None
    }

    /// Takes in how long blocks travelled here from `source`, where whoever asks carried them and the region cannot tell
    /// by itself. A served region measures what it receives.
    ///
    /// # Errors
    /// Where it could not be written.
    async fn measured(&self, _source: &RegionId, _bytes: ByteCount, _took: Duration) -> Result<(), PortError> {
        Ok(())
    }

    /// Stops running transfers, verifications and exports at the next durable place.
    fn interrupt(&self);
}
