//! The plan as data: what `plan --format json` prints, `plan --out` saves and `apply PLANFILE` reads.
//!
//! A plan fixes what and where: object, regions, base point, epoch. Which blocks differ is found while it runs.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::observed::RegionStatus;
use crate::model::point::BlockReason;
use crate::model::region::Epoch;
use crate::model::{Address, Digest, Lineage, RegionId, Timestamp};

/// The version of the plan's format. A larger minor adds, a larger major changes.
pub const FORMAT_VERSION: &str = "1.0";

/// What kind of thing a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A region.
    Region,
    /// A pair.
    Replication,
    /// A resource's record.
    Resource,
    /// A resource's bytes.
    Sync,
    /// A resource's role.
    Failover,
    /// A region's or resource's right to run anything.
    Fence,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Recorded for the first time.
    Create,
    /// Recorded with other attributes.
    Update,
    /// No longer recorded; its data stays.
    Delete,
    /// Copied.
    Sync,
    /// Copied where a replica's files are damaged.
    Repair,
    /// Moved to another holder.
    Failover,
    /// Cut off.
    Fence,
}

impl Action {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Sync => "sync",
            Self::Repair => "repair",
            Self::Failover => "failover",
            Self::Fence => "fence",
        }
    }
}

/// What a plan was made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Live becomes what the files say.
    #[default]
    Normal,
    /// The state file's record becomes what is live; regions are left alone.
    RefreshOnly,
    /// What is due is synced; the rest as allowed.
    Reconcile,
}

/// What a change relies on; `apply PLANFILE` looks again before the first write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Precondition {
    /// By region, the fingerprint of the object's record there; null: no record.
    pub records: BTreeMap<RegionId, Option<Digest>>,
    /// Of a sync: the point that the target has as its newest; null: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BasePoint>,
    /// Of a sync, and of the record of a resource that already lives: the region that holds it, and since which
    /// epoch. None: it is born by this plan, or is no resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// The newest point of a sync's target when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BasePoint {
    /// Its sequence; none: the target has no point.
    pub sequence: Option<u64>,
    /// Its root hash.
    pub data_hash: Option<Digest>,
}

/// Who holds a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The region.
    pub region: RegionId,
    /// Since which epoch.
    pub epoch: Epoch,
}

/// One change: an effect that a run will have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Unique in the plan and the same for the same inputs: `create:vm.web-vm-1`, `sync:vm.web-vm-1:us-west-1`.
    pub id: String,
    /// The object.
    pub address: Address,
    /// What kind of thing it is about.
    pub kind: Kind,
    /// What is done.
    pub action: Action,
    /// Where: the regions that record it, or the target of a sync.
    pub regions: Vec<RegionId>,
    /// Of an update: those of `regions` that keep the object no longer; their record is removed, their data stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<RegionId>,
    /// Of a sync: where it is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<RegionId>,
    /// The attributes now; null where there are none.
    pub before: Option<serde_json::Value>,
    /// The attributes afterwards; null where there are none.
    pub after: Option<serde_json::Value>,
    /// Why, in words.
    pub reason: String,
    /// The ids of changes that come first.
    pub depends_on: Vec<String>,
    /// What it relies on.
    pub precondition: Precondition,
}

/// An object whose live state differs from the files because somebody decided so in an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The object.
    pub address: Address,
    /// What the files say.
    pub declared: RegionId,
    /// Who holds it, and since which epoch.
    pub holder: Holder,
    /// In words.
    pub reason: String,
}

/// Something that safety stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// The object.
    pub address: Address,
    /// The region where it would have been done.
    pub region_id: Option<RegionId>,
    /// Why.
    pub reason: BlockReason,
    /// In words, with the figure, and what to do.
    pub detail: String,
}

/// A declared resource with no files at its primary yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// The resource.
    pub address: Address,
    /// Its primary.
    pub region_id: RegionId,
    /// `no_source`.
    pub reason: WaitingOn,
}

/// What a declared resource waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingOn {
    /// Files at its primary.
    NoSource,
}

/// A live object that this topology's lineage never managed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unmanaged {
    /// The object.
    pub address: Address,
    /// Where it is recorded.
    pub regions: Vec<RegionId>,
    /// Who manages it; null: nobody.
    pub managed_by: Option<Lineage>,
}

/// A region of which nothing can be said, and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnobservedRegion {
    /// The region.
    pub region_id: RegionId,
    /// Why nothing can be said.
    pub reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The objects with work that waits for it.
    pub deferred: Vec<Address>,
}

/// A region as it answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedRegion {
    /// The region.
    pub region_id: RegionId,
    /// Its health.
    pub status: RegionStatus,
    /// How long its answer took, in milliseconds; null where it gave none.
    pub latency_ms: Option<f64>,
}

/// A rename that the next apply records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedMove {
    /// The former address.
    pub from: Address,
    /// The present one.
    pub to: Address,
    /// Where it is recorded.
    pub regions: Vec<RegionId>,
}

/// Something that a reader of the plan should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// The object it is about.
    pub address: Option<Address>,
    /// In words.
    pub message: String,
}

/// Entries counted by action, drift included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Objects recorded for the first time.
    pub create: u32,
    /// Objects recorded with other attributes.
    pub update: u32,
    /// Objects no longer recorded.
    pub delete: u32,
    /// Copies.
    pub sync: u32,
    /// Copies over damage.
    pub repair: u32,
    /// Moves of a holder.
    pub failover: u32,
    /// Fences.
    pub fence: u32,
}

impl Summary {
    /// Counts one entry.
    pub const fn count(&mut self, action: Action) {
        match action {
            Action::Create => self.create += 1,
            Action::Update => self.update += 1,
            Action::Delete => self.delete += 1,
            Action::Sync => self.sync += 1,
            Action::Repair => self.repair += 1,
            Action::Failover => self.failover += 1,
            Action::Fence => self.fence += 1,
        }
    }

    /// All entries.
    pub const fn total(&self) -> u32 {
        self.create + self.update + self.delete + self.sync + self.repair + self.failover + self.fence
    }
}

/// The topology that a plan was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedTopology {
    /// Where it was read from, as given.
    pub path: String,
    /// Its digest.
    pub digest: Digest,
}

/// The state that a plan was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedState {
    /// Its lineage.
    pub lineage: Lineage,
    /// Its serial.
    pub serial: u64,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The version of this format.
    pub format_version: String,
    /// The version of the program that made it.
    pub tool_version: String,
    /// When.
    pub created_at: Timestamp,
    /// Over changes, preconditions, lineage and topology digest: the same inputs give the same one.
    pub digest: Digest,
    /// What it was made for.
    pub mode: Mode,
    /// The files.
    pub topology: PlannedTopology,
    /// The state.
    pub state: PlannedState,
    /// The regions.
    pub regions: Vec<PlannedRegion>,
    /// What the files ask for and was not applied yet, in dependency order; syncs and repairs too.
    pub changes: Vec<Change>,
    /// Where live differs from what was applied; carried out like changes.
    pub drift: Vec<Change>,
    /// What an emergency decided.
    pub held: Vec<Held>,
    /// What safety stops.
    pub blocked: Vec<Blocked>,
    /// What has no files yet.
    pub waiting: Vec<Waiting>,
    /// What others made.
    pub unmanaged: Vec<Unmanaged>,
    /// What could not be seen.
    pub unobserved: Vec<UnobservedRegion>,
    /// Renames; no work for anybody.
    pub moved: Vec<PlannedMove>,
    /// What to know besides.
    pub warnings: Vec<Warning>,
    /// Counts.
    pub summary: Summary,
}

impl Plan {
    /// Every effect, in the order of the plan.
    pub fn effects(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().chain(self.drift.iter())
    }

    /// Every object with work that waits for a region.
    pub fn deferred(&self) -> BTreeSet<&Address> {
        self.unobserved.iter().flat_map(|region| &region.deferred).collect()
    }

    /// Whether there is anything to do, or anything that should be done and cannot be.
    pub fn is_settled(&self) -> bool {
        self.changes.is_empty()
            && self.drift.is_empty()
            && self.blocked.is_empty()
            && self.unobserved.iter().all(|region| region.deferred.is_empty())
    }
}
