//! What the state file keeps beside its memory of objects, as it is written and as it is read.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::memory::Remember;
use crate::model::observed::RegionStatus;
use crate::model::{Address, ByteCount, Digest, RegionId, RunId, StoreId, Timestamp, units};
use crate::plan::document::{Action, Kind};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It has not: it is under way now.
    Running,
    /// All that was asked for is done, or there was nothing to do.
    Done,
    /// Some of it is.
    Partial,
    /// None of it is.
    Failed,
    /// Stopped by safety before the first change.
    Refused,
    /// Stopped by a signal.
    Interrupted,
    /// It was killed, or its machine was: what was under way then has the outcome `unknown`.
    Abandoned,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// It has not: it is under way now.
    Running,
    /// Carried out.
    Done,
    /// Was at its result already.
    Unchanged,
    /// Tried and failed.
    Failed,
    /// Stopped by safety.
    Blocked,
    /// Not tried: something that it depends on did not succeed.
    Skipped,
    /// Stopped by a signal; what was received is kept.
    Interrupted,
    /// Its run was killed while it was under way. The next plan sees what became of it.
    Unknown,
}

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStart {
    /// The command line, as a person would type it.
    pub command: String,
    /// By whom: `user@host`.
    pub who: String,
    /// On which machine.
    pub host: String,
    /// In which process.
    pub pid: u32,
    /// With which topology.
    pub topology: Option<Digest>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// The outcome.
    pub outcome: RunOutcome,
    /// The exit code.
    pub exit_code: u8,
    /// In words: the error, or the gate that refused.
    pub message: Option<String>,
}

/// An action that is about to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The change's id in the plan.
    pub id: String,
    /// Its object.
    pub address: Address,
    /// Of what kind.
    pub kind: Kind,
    /// What is done.
    pub action: Action,
    /// Where.
    pub regions: BTreeSet<RegionId>,
}

/// An action that ended, begun or not, and what is remembered of its object from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// What was intended.
    pub intent: Intent,
    /// How it ended.
    pub outcome: ActionOutcome,
    /// When it began; none: it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Bytes that travelled.
    pub bytes: ByteCount,
    /// In words: the error, the refusal, or what was noticed.
    pub message: Option<String>,
    /// What is remembered of the object.
    pub remember: Remember,
}

/// A run of history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// Its name.
    pub run: RunId,
    /// The command line.
    pub command: String,
    /// By whom.
    pub who: String,
    /// On which machine.
    pub host: String,
    /// In which process; 0 of a failover, which several may carry on.
    pub pid: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; null: it has not, or was killed.
    pub finished_at: Option<Timestamp>,
    /// With which topology.
    pub topology: Option<Digest>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The exit code.
    pub exit_code: Option<u8>,
    /// In words.
    pub message: Option<String>,
    /// How many actions it has in all.
    pub action_count: u32,
    /// Bytes that travelled, over all of them.
    pub bytes: ByteCount,
}

/// An action of history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActionRecord {
    /// The change's id in its plan.
    pub id: String,
    /// Its object.
    pub address: Address,
    /// Of what kind.
    pub kind: Kind,
    /// What was done.
    pub action: Action,
    /// Where.
    pub regions: BTreeSet<RegionId>,
    /// When it began; null: it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended; null: it has not, or its run was killed.
    pub finished_at: Option<Timestamp>,
    /// How long it took.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub duration: Option<Duration>,
    /// How it ended.
    pub outcome: ActionOutcome,
    /// Bytes that travelled.
    pub bytes: ByteCount,
    /// In words.
    pub message: Option<String>,
}

/// A run of history with those of its actions that were asked for, in the order in which they began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// The run.
    #[serde(flatten)]
    pub run: RunRecord,
    /// The actions.
    pub actions: Vec<ActionRecord>,
}

/// What a region answered, or that it did not, when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthObservation {
    /// The region.
    pub region_id: RegionId,
    /// When.
    pub at: Timestamp,
    /// What was seen.
    pub status: RegionStatus,
    /// How long its answer took.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub latency: Option<Duration>,
    /// In words: why there was none.
    pub detail: Option<String>,
}

/// A managed object, as `state show` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManagedObject {
    /// Its address.
    pub address: Address,
    /// The regions that recorded it.
    pub regions: BTreeSet<RegionId>,
    /// When it was last applied with other attributes or regions than before.
    pub applied_at: Timestamp,
    /// By which run.
    pub run: Option<RunId>,
    /// Its attributes.
    pub attributes: serde_json::Value,
}

/// A region's store that was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownStore {
    /// The region.
    pub region_id: RegionId,
    /// Its store.
    pub store: StoreId,
    /// Where it was met.
    pub origin: Option<String>,
    /// When it was met first, or met elsewhere than before.
    pub met_at: Timestamp,
}

/// A topology that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedTopology {
    /// Its digest.
    pub digest: Digest,
    /// When it was applied last.
    pub applied_at: Timestamp,
    /// By which run.
    pub run: Option<RunId>,
}
