//! What the reading commands answer: regions with their health, replicas with their lag against their promise, and
//! above all what is wrong and why.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::event::{FailoverEvent, FailoverTally};
use crate::model::observed::RegionStatus;
use crate::model::region::{Controller, Epoch};
use crate::model::sighting::Evidence;
use crate::model::units;
use crate::model::work::Work;
use crate::model::{Address, ByteCount, Digest, Lineage, RegionId, ResourceId, ResourceType, Timestamp};
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
    /// When it last answered.
    pub last_heartbeat: Option<Timestamp>,
    /// How fast blocks came from it lately, in Mbit/s: the fastest link that was measured. Where nobody measured that, how
    /// fast they came to it.
    pub bandwidth_mbps: Option<f64>,
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
    /// Copies made there or found to be as their source, a minute, over the last hour; none where it does not answer.
    pub resources_synced_per_minute: Option<f64>,
    /// Who may change roles there.
    pub controller: Option<Controller>,
    /// Free words.
    pub labels: BTreeMap<String, String>,
    /// How it looks to the other regions that observe it.
    pub seen_by: BTreeMap<RegionId, Evidence>,
}

impl RegionState {
    /// How much of its capacity is used, in percent; none where that is not known.
    pub fn utilization_percent(&self) -> Option<f64> {
        percent(self.current_vms?, self.capacity_vms)
    }
}

fn percent(used: u32, capacity: u32) -> Option<f64> {
    (capacity > 0).then(|| f64::from(used) * 100.0 / f64::from(capacity))
}

fn count<T>(of: impl Iterator<Item = T>) -> u32 {
    u32::try_from(of.count()).unwrap_or(u32::MAX)
}

fn number(of: u64) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// One region's numbers; names as in the guide.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RegionStatistics {
    /// The region.
    pub region_id: RegionId,
    /// For people.
    pub name: String,
    /// Its health.
    pub status: RegionStatus,
    /// How many VMs it can hold.
    pub capacity_vms: u32,
    /// How many VMs it holds; none where it does not answer.
    pub current_vms: Option<u32>,
    /// The one in percent of the other.
    pub utilization_percent: Option<f64>,
    /// How many resources it holds.
    pub resources_primary: Option<u32>,
    /// How many resources it keeps replicas of.
    pub resources_replica: Option<u32>,
    /// The failovers from it or to it that are known; refused ones are none.
    pub failover_events: u32,
    /// Those in which all that was asked for arrived, in percent of those that ended; none where none did.
    pub failover_success_percent: Option<f64>,
    /// How long the last of them took that led resources where they were to go.
    pub last_failover_duration_seconds: Option<f64>,
    /// Copies made there or found to be as their source, a minute, over the last hour; none where it does not answer.
    pub resources_synced_per_minute: Option<f64>,
    /// How long its answer took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// How fast blocks came from it lately, in Mbit/s.
    pub bandwidth_mbps: Option<f64>,
    /// The oldest `verified_at` among the replicas that it keeps, as an age.
    pub replication_lag_seconds: Option<f64>,
    /// Room left for points.
    pub free_bytes: Option<ByteCount>,
    /// When it last answered.
    pub last_heartbeat: Option<Timestamp>,
}

impl RegionStatistics {
    /// The numbers of a region, and of the failovers among `events` that it took part in.
    pub fn of(state: &RegionState, events: &[FailoverEvent]) -> Self {
        let takes_part =
            |event: &&FailoverEvent| [&event.from_region_id, &event.to_region_id].contains(&&state.region_id);
        let failovers = FailoverTally::of(events.iter().filter(takes_part));
        Self {
            region_id: state.region_id.clone(),
            name: state.name.clone(),
            status: state.status,
            capacity_vms: state.capacity_vms,
            current_vms: state.current_vms,
            utilization_percent: state.utilization_percent(),
            resources_primary: state.resources_primary,
            resources_replica: state.resources_replica,
            failover_events: number(failovers.begun()),
            failover_success_percent: failovers.success_ratio().map(|ratio| ratio * 100.0),
            last_failover_duration_seconds: failovers.last_duration().map(|took| took.as_secs_f64()),
            resources_synced_per_minute: state.resources_synced_per_minute,
            latency_ms: state.latency_ms,
            bandwidth_mbps: state.bandwidth_mbps,
            replication_lag_seconds: state.replication_lag_seconds,
            free_bytes: state.free_bytes,
            last_heartbeat: state.last_heartbeat,
        }
    }
}

/// The numbers of all regions together; names as in the guide. What regions hold that do not answer is not in them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GlobalStatistics {
    /// How many regions there are.
    pub total_regions: u32,
    /// How many of them answered: what is counted below is theirs.
    pub answering_regions: u32,
    /// How many are healthy.
    pub healthy_regions: u32,
    /// How many answer slowly.
    pub degraded_regions: u32,
    /// How many do not answer, or too slowly to be of use.
    pub unreachable_regions: u32,
    /// How many answer again and are not yet in sync.
    pub recovering_regions: u32,
    /// Of how many nothing is known.
    pub unknown_regions: u32,
    /// How many resources are held.
    pub total_resources: u32,
    /// How many of them are VMs.
    pub total_vms: u32,
    /// How many VMs the regions that answer can hold.
    pub capacity_vms: u32,
    /// The one in percent of the other.
    pub utilization_percent: Option<f64>,
    /// The largest lag of any region.
    pub replication_lag_seconds: Option<f64>,
    /// The longest time that a region's answer took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Copies made or found to be as their source, a minute, over the last hour; none where no region says.
    pub resources_synced_per_minute: Option<f64>,
    /// How many failovers are known; refused ones are none.
    pub failover_events_total: u32,
    /// How many of them ended, and not all that was asked for arrived.
    pub failover_events_failed: u32,
    /// How many were refused by a gate before anything was attempted.
    pub failover_events_refused: u32,
    /// Those in which all that was asked for arrived, in percent of those that ended; none where none did.
    pub failover_success_percent: Option<f64>,
    /// How long the last one took that led resources where they were to go.
    pub last_failover_duration_seconds: Option<f64>,
    /// How long such a one took on average.
    pub mean_failover_duration_seconds: Option<f64>,
}

impl GlobalStatistics {
    /// Sums up regions, and the failovers that are known.
    pub fn of(regions: &[RegionState], events: &[FailoverEvent]) -> Self {
        let failovers = FailoverTally::of(events);
        let with = |status| count(regions.iter().filter(|state| state.status == status));
        let answering = || regions.iter().filter_map(|state| Some((state.current_vms?, state.capacity_vms)));
        let sum = |numbers: &mut dyn Iterator<Item = u32>| numbers.fold(0, u32::saturating_add);
        let total_vms = sum(&mut answering().map(|(vms, _)| vms));
        let capacity_vms = sum(&mut answering().map(|(_, capacity)| capacity));
        Self {
            total_regions: count(regions.iter()),
            answering_regions: count(answering()),
            healthy_regions: with(RegionStatus::Healthy),
            degraded_regions: with(RegionStatus::Degraded),
            unreachable_regions: with(RegionStatus::Unreachable),
            recovering_regions: with(RegionStatus::Recovering),
            unknown_regions: with(RegionStatus::Unknown),
            total_resources: sum(&mut regions.iter().filter_map(|state| state.resources_primary)),
            total_vms,
            capacity_vms,
            utilization_percent: percent(total_vms, capacity_vms),
            replication_lag_seconds: regions.iter().filter_map(|state| state.replication_lag_seconds).reduce(f64::max),
            latency_ms: regions.iter().filter_map(|state| state.latency_ms).reduce(f64::max),
            resources_synced_per_minute: regions
                .iter()
                .filter_map(|state| state.resources_synced_per_minute)
                .reduce(|one, other| one + other),
            failover_events_total: number(failovers.begun()),
            failover_events_failed: number(failovers.failed),
            failover_events_refused: number(failovers.refused),
            failover_success_percent: failovers.success_ratio().map(|ratio| ratio * 100.0),
            last_failover_duration_seconds: failovers.last_duration().map(|took| took.as_secs_f64()),
            mean_failover_duration_seconds: failovers.mean_duration().map(|took| took.as_secs_f64()),
        }
    }
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
    /// Its pair is paused: it keeps what it has.
    Paused,
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

/// A replica in the guide's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncStatus {
    /// Its newest point is what the source is now.
    InSync,
    /// A copy is on its way.
    Syncing,
    /// The source changed since, or it has no point yet.
    OutOfSync,
    /// The last copy failed, safety stops its copies, or its own files are damaged.
    Failed,
    /// Its pair is paused.
    Paused,
    /// Its region, or the holder's, does not answer.
    Unknown,
}

impl SyncStatus {
    /// What a replica's health comes to: `syncing` while a copy is on its way, `failed` where the last one was.
    pub const fn of(health: ReplicaHealth, syncing: bool, failed: bool) -> Self {
        match health {
            ReplicaHealth::Unknown if !failed => Self::Unknown,
            _ if syncing => Self::Syncing,
            ReplicaHealth::InSync => Self::InSync,
            ReplicaHealth::Paused => Self::Paused,
            ReplicaHealth::Blocked | ReplicaHealth::Damaged => Self::Failed,
            ReplicaHealth::Behind
            | ReplicaHealth::Late
            | ReplicaHealth::Pending
            | ReplicaHealth::Waiting
            | ReplicaHealth::Unknown => match failed {
                true => Self::Failed,
                false => Self::OutOfSync,
            },
        }
    }
}

/// One replica of one resource.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaState {
    /// How it is, in the guide's words.
    pub status: SyncStatus,
    /// How well it does, more closely.
    pub health: ReplicaHealth,
    /// In words, where there is something to say.
    pub detail: Option<String>,
    /// What to do next, where something keeps it from being in sync.
    #[serde(default)]
    pub help: Option<String>,
    /// Its resource's id there.
    pub replica_id: ResourceId,
    /// The newest point's sequence.
    pub sequence: Option<u64>,
    /// The root hash over all files of the newest point.
    pub data_hash: Option<Digest>,
    /// The last time that the source was seen unchanged since that point.
    pub verified_at: Option<Timestamp>,
    /// Now minus `verified_at`.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub lag: Option<Duration>,
    /// The lag that it is promised.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub promise: Duration,
    /// How many points it can give back; none where its region does not answer.
    pub points: Option<u32>,
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
    /// The same, by its other name.
    pub primary_region_id: Option<RegionId>,
    /// Since which epoch.
    pub epoch: Option<Epoch>,
    /// The highest point sequence at any replica.
    pub version: Option<u64>,
    /// The newest `verified_at` at any replica.
    pub last_sync: Option<Timestamp>,
    /// The same, by its other name.
    pub last_sync_time: Option<Timestamp>,
    /// The root hash over all files of the newest point of that replica.
    pub data_hash: Option<Digest>,
    /// By region that keeps a replica: the resource's id there.
    pub replica_regions: BTreeMap<RegionId, ResourceId>,
    /// By region that keeps a replica: how it is.
    pub replication_status: BTreeMap<RegionId, SyncStatus>,
    /// How many copies of its own files were set aside at its holder by restores.
    pub set_aside: u32,
    /// By region.
    pub replicas: BTreeMap<RegionId, ReplicaState>,
}

/// What kind of thing is wrong; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// An operation is open on it.
    Open,
    /// A machine runs at a region that does not hold it.
    ForeignStart,
    /// What a run began to hold still may still be held.
    StillHeld,
    /// Nothing fails over without a person.
    Paused,
    /// A region was cut off by hand, and not let in since.
    CutOff,
    /// A region does not answer.
    Unobserved,
    /// A region that answers here is silent to another.
    Unseen,
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

/// What is under way at a region.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RegionWork {
    /// Where.
    pub region_id: RegionId,
    /// What.
    #[serde(flatten)]
    pub work: Work,
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
    /// What is under way at the regions that answer.
    pub work: Vec<RegionWork>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_has_one_of_the_guides_words() {
        for (health, word) in [
            (ReplicaHealth::InSync, "in_sync"),
            (ReplicaHealth::Behind, "out_of_sync"),
            (ReplicaHealth::Late, "out_of_sync"),
            (ReplicaHealth::Pending, "out_of_sync"),
            (ReplicaHealth::Waiting, "out_of_sync"),
            (ReplicaHealth::Blocked, "failed"),
            (ReplicaHealth::Damaged, "failed"),
            (ReplicaHealth::Paused, "paused"),
            (ReplicaHealth::Unknown, "unknown"),
        ] {
            assert_eq!(serde_json::to_value(SyncStatus::of(health, false, false)).unwrap(), word, "{health:?}");
        }
        assert_eq!(SyncStatus::of(ReplicaHealth::Late, true, true), SyncStatus::Syncing);
        assert_eq!(SyncStatus::of(ReplicaHealth::Unknown, true, false), SyncStatus::Unknown, "the source may be gone");
        assert_eq!(SyncStatus::of(ReplicaHealth::Unknown, false, true), SyncStatus::Failed);
        assert_eq!(SyncStatus::of(ReplicaHealth::Behind, false, true), SyncStatus::Failed);
        assert_eq!(SyncStatus::of(ReplicaHealth::InSync, false, true), SyncStatus::InSync);
        assert_eq!(SyncStatus::of(ReplicaHealth::Paused, false, true), SyncStatus::Paused);
    }
}
