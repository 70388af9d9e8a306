//! What the reading commands answer: regions with their health, replicas with their lag against their promise, and
//! above all what is wrong and why.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::observed::RegionStatus;
use crate::model::region::{Controller, Epoch};
use crate::model::units;
use crate::model::{Address, ByteCount, Lineage, RegionId, ResourceId, ResourceType, Timestamp};
use crate::plan::document::{Blocked, Held, Summary, Unmanaged, Waiting};

/// A region as it is now; names as in the guide.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RegionState {
    /// The region.
    pub region_id: RegionId,
    /// For people.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// How it is reached.
    pub api_endpoint: String,
    /// Whether resources are born there that name no region.
    pub is_primary: bool,
    /// Its health.
    pub status: RegionStatus,
    /// Why nothing can be said of it, where that is so.
    pub reason: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// How long its answer took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// How many VMs it can hold.
    pub capacity_vms: u32,
    /// How many VMs it holds; none where it does not answer.
    pub current_vms: Option<u32>,
    /// How many resources it holds.
    pub resources_primary: Option<u32>,
    /// How many resources it keeps replicas of.
    pub resources_replica: Option<u32>,
    /// Room left for points.
    pub free_bytes: Option<ByteCount>,
    /// The oldest `verified_at` among the replicas that it keeps, as an age.
    pub replication_lag_seconds: Option<f64>,
    /// Who may change roles there.
    pub controller: Option<Controller>,
    /// Free words.
    pub labels: BTreeMap<String, String>,
}

/// How well a replica keeps its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaHealth {
    /// Its newest point is what the source is now.
    InSync,
    /// The source changed since; the promise is kept.
    Behind,
    /// Older than it was promised.
    Late,
    /// Safety stops its copies.
    Blocked,
    /// Its own files are damaged.
    Damaged,
    /// It has no point yet.
    Pending,
    /// The source has no files yet.
    Waiting,
    /// Its region, or the holder's, does not answer.
    Unknown,
}

/// One replica of one resource.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaState {
    /// How well it does.
    pub status: ReplicaHealth,
    /// In words, where there is something to say.
    pub detail: Option<String>,
    /// Its resource's id there.
    pub replica_id: ResourceId,
    /// The newest point's sequence.
    pub sequence: Option<u64>,
    /// The last time that the source was seen unchanged since that point.
    pub verified_at: Option<Timestamp>,
    /// Now minus `verified_at`.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<String>")]
    pub lag: Option<Duration>,
    /// The lag that it is promised.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub promise: Duration,
    /// How many points it can give back.
    pub points: u32,
    /// How many copies were set aside.
    pub set_aside: u32,
}

/// A resource and all of its replicas; names as in the guide.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReplicationStatus {
    /// The resource.
    pub resource_id: ResourceId,
    /// What it is.
    pub resource_type: ResourceType,
    /// Who holds it now; none where no region that answers knows it.
    pub primary_region: Option<RegionId>,
    /// Since which epoch.
    pub epoch: Option<Epoch>,
    /// The highest point sequence at any replica.
    pub version: Option<u64>,
    /// The newest `verified_at` at any replica.
    pub last_sync: Option<Timestamp>,
    /// How many copies of its own files were set aside at its holder by restores.
    pub set_aside: u32,
    /// By region.
    pub replicas: BTreeMap<RegionId, ReplicaState>,
}

/// What kind of thing is wrong; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// What a run began to hold still may still be held.
    StillHeld,
    /// A region does not answer.
    Unobserved,
    /// A replica's files are damaged.
    Damaged,
    /// A replica is older than promised.
    Late,
    /// Safety stops something.
    Blocked,
    /// A replica has no point.
    Pending,
    /// What is to be done was tried, and did not succeed; or no plan can be made.
    Run,
}

/// One thing that is wrong, and why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// What kind of thing.
    pub kind: TroubleKind,
    /// The object.
    pub address: Address,
    /// Where.
    pub region_id: Option<RegionId>,
    /// Why, in words.
    pub reason: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// The state file in short.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StateView {
    /// Where it is.
    pub path: String,
    /// Whether it is there.
    pub exists: bool,
    /// Its line of descent.
    pub lineage: Lineage,
    /// Its serial.
    pub serial: u64,
    /// How many objects it manages.
    pub objects: u32,
}

/// The last run that history has.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// What was run.
    pub command: String,
    /// By whom.
    pub who: String,
    /// When it began.
    pub at: Timestamp,
    /// How it ended, in words.
    pub outcome: String,
}

/// All that the bare `status` command shows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatusReport {
    /// When it was looked at.
    pub at: Timestamp,
    /// What is wrong, worst first; empty: all is well.
    pub troubles: Vec<Trouble>,
    /// The regions.
    pub regions: Vec<RegionState>,
    /// The resources.
    pub resources: Vec<ReplicationStatus>,
    /// What an emergency decided.
    pub held: Vec<Held>,
    /// What safety stops.
    pub blocked: Vec<Blocked>,
    /// What has no files yet.
    pub waiting: Vec<Waiting>,
    /// What others made.
    pub unmanaged: Vec<Unmanaged>,
    /// What a plan would do now.
    pub pending: Summary,
    /// The state file.
    pub state: StateView,
    /// The last run.
    pub last_run: Option<LastRun>,
}
