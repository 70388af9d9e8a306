//! What regions are asked about each other, and the bodies of the guide's orders.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::sighting::Evidence;
use crate::model::topology::PairSpec;
use crate::model::{ByteCount, IdError, PairId, RegionId, ResourceId, ResourceType, Timestamp};

/// How a region looks from the one that was asked: `POST /regions/{id}/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegionHealth {
    /// The region.
    pub region_id: RegionId,
    /// Who says so.
    pub observer: RegionId,
    /// How long its last answer took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// When it last answered, by the observer's clock.
    pub last_heartbeat: Option<Timestamp>,
    /// What is known of it, in ages.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// The other regions that the observer has seen lately: one that sees few may be cut off itself.
    #[serde(default)]
    pub sees: BTreeSet<RegionId>,
}

/// What a region says of itself, of all that [`RegionState`](crate::fleet::RegionState) has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegionNumbers {
    /// How many VMs it holds.
    pub current_vms: Option<u32>,
    /// How many resources it holds.
    pub resources_primary: Option<u32>,
    /// How many resources it keeps replicas of.
    pub resources_replica: Option<u32>,
    /// Room left for points.
    pub free_bytes: Option<ByteCount>,
    /// The oldest `verified_at` among the replicas that it keeps, as an age.
    pub replication_lag_seconds: Option<f64>,
    /// Copies made there or found to be as their source, a minute, over the last hour.
    #[serde(default)]
    pub resources_synced_per_minute: Option<f64>,
    /// How fast blocks came to it lately, in Mbit/s.
    #[serde(default)]
    pub bandwidth_mbps: Option<f64>,
}

/// A region to be registered: `POST /regions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRegion {
    /// The region; by default its location is its id.
    #[serde(default)]
    pub region_id: Option<RegionId>,
    /// For people.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// Where it is served.
    #[schemars(extend("pattern" = "^[Hh][Tt][Tt][Pp][Ss]?://"))]
    pub api_endpoint: String,
    /// Whether resources are born there that name no region.
    #[serde(default)]
    pub is_primary: bool,
    /// How many VMs it can hold.
    #[serde(default = "capacity")]
    pub capacity_vms: u32,
}

impl RegisterRegion {
    /// A region of the usual capacity (1000 VMs) that is not the primary one.
    pub fn new(name: impl Into<String>, location: impl Into<String>, api_endpoint: impl Into<String>) -> Self {
        Self {
            region_id: None,
            name: name.into(),
            location: location.into(),
            api_endpoint: api_endpoint.into(),
            is_primary: false,
            capacity_vms: capacity(),
        }
    }

    /// Its id: the one that is given, else its location.
    ///
    /// # Errors
    /// Where none is given, and the location is no id.
    pub fn id(&self) -> Result<RegionId, IdError> {
        self.region_id.as_ref().map_or_else(|| self.location.parse(), |id| Ok(id.clone()))
    }
}

const fn capacity() -> u32 {
    1000
}

/// What is copied from one region to another, and how: `POST /replication/setup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicationConfig {
    /// Where copies come from.
    pub source_region_id: RegionId,
    /// Where they are kept.
    pub target_region_id: RegionId,
    /// What is copied.
    #[schemars(length(min = 1))]
    pub resource_types: BTreeSet<ResourceType>,
    /// The time after which a resource is due again.
    #[serde(default = "interval")]
    #[schemars(range(min = 1))]
    pub sync_interval_seconds: u64,
    /// Resources per request.
    #[serde(default = "batch")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Lower goes first.
    #[serde(default = "priority")]
    pub priority: u32,
    /// Whether it carries anything at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether it also serves resources born at its target.
    #[serde(default)]
    pub bidirectional: bool,
    /// Whether blocks are compressed on the way, where it pays.
    #[serde(default = "yes")]
    pub compression: bool,
}

impl ReplicationConfig {
    /// A pair that copies these types every five minutes, one way, compressed.
    pub fn new(
        source_region_id: RegionId,
        target_region_id: RegionId,
        resource_types: impl IntoIterator<Item = ResourceType>,
    ) -> Self {
        Self {
            source_region_id,
            target_region_id,
            resource_types: resource_types.into_iter().collect(),
            sync_interval_seconds: interval(),
            batch_size: batch(),
            priority: priority(),
            enabled: yes(),
            bidirectional: false,
            compression: yes(),
        }
    }

    /// As it is declared or recorded.
    pub fn of(PairId { source, target }: &PairId, spec: &PairSpec) -> Self {
        Self {
            source_region_id: source.clone(),
            target_region_id: target.clone(),
            resource_types: spec.resource_types.clone(),
            sync_interval_seconds: spec.sync_interval.as_secs(),
            batch_size: spec.batch_size,
            priority: spec.priority,
            enabled: spec.enabled,
            bidirectional: spec.bidirectional,
            compression: spec.compression,
        }
    }

    /// Which pair it is of.
    pub fn pair(&self) -> PairId {
        PairId { source: self.source_region_id.clone(), target: self.target_region_id.clone() }
    }
}

/// A pair as it is recorded: what `GET /replication/pairs`, `POST /replication/setup`, `/replication/pause` and
/// `/replication/resume` answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReplicationPair {
    /// What is copied, and how.
    #[serde(flatten)]
    pub config: ReplicationConfig,
    /// Whether its copies rest: its replicas keep what they have, and their status is `paused`.
    pub paused: bool,
}

impl ReplicationPair {
    /// As it is declared or recorded.
    pub fn of(pair: &PairId, spec: &PairSpec) -> Self {
        Self { config: ReplicationConfig::of(pair, spec), paused: spec.paused }
    }
}

/// Which pair: `POST /replication/pause` and `POST /replication/resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichPair {
    /// Where copies come from.
    pub source_region_id: RegionId,
    /// Where they are kept.
    pub target_region_id: RegionId,
}

const fn interval() -> u64 {
    300
}

const fn batch() -> u32 {
    100
}

const fn priority() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

/// A virtual machine and who keeps copies of it: `POST /vms/replicate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicateVm {
    /// The VM.
    pub vm_id: ResourceId,
    /// Where it is born.
    pub primary_region_id: RegionId,
    /// Where its replicas are kept.
    #[schemars(length(min = 1))]
    pub replica_regions: BTreeSet<RegionId>,
}

impl ReplicateVm {
    /// A machine that is born at one region, and copied to others.
    pub fn new(
        vm_id: ResourceId,
        primary_region_id: RegionId,
        replica_regions: impl IntoIterator<Item = RegionId>,
    ) -> Self {
        Self { vm_id, primary_region_id, replica_regions: replica_regions.into_iter().collect() }
    }
}

/// `POST /replication/sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncResource {
    /// The resource.
    pub resource_id: ResourceId,
    /// Who holds it.
    pub source_region_id: RegionId,
    /// Who keeps the copy.
    pub target_region_id: RegionId,
}
