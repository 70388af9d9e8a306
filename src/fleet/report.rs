//! What a run reports: how each change ended, the counts, and the class that becomes the exit code.
//!
//! A run of which some changes failed is a report, not an error: what stands is recorded, and a second run goes on
//! from there.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::execute::event::Outcome;
use crate::live::port::ContentCheck;
use crate::model::observed::Observed;
use crate::model::point::Point;
use crate::model::recorded::Recorded;
use crate::model::{Address, ByteCount, Lineage, RegionId, ResourceKey, RunId};
use crate::plan::document::{Action, Kind, Plan};
use crate::replica::port::Published;

/// A plan and what it was made from.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What the regions answered.
    pub observed: Observed,
    /// What the state remembered.
    pub recorded: Recorded,
}

/// How a run ended, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitClass {
    /// Everything asked for is done, or there was nothing to do: 0.
    Done,
    /// Something failed, was deferred, blocked or held back; the rest stands: 3.
    Partial,
    /// Nothing of what was asked for was carried out: 1.
    Failed,
    /// Stopped by a signal: 130.
    Interrupted,
}

impl ExitClass {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Partial => 3,
            Self::Interrupted => 130,
        }
    }
}

/// How one change ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChangeOutcome {
    /// The change's id in the plan.
    pub id: String,
    /// Its object.
    pub address: Address,
    /// Of what kind.
    pub kind: Kind,
    /// What was done.
    pub action: Action,
    /// Where.
    pub regions: Vec<RegionId>,
    /// How it ended.
    pub outcome: Outcome,
    /// In words: the error, the refusal, or what was noticed.
    pub message: Option<String>,
    /// What to do next, where the region said so.
    pub help: Option<String>,
    /// The region that answered in anger.
    pub region: Option<RegionId>,
    /// Bytes that travelled.
    pub bytes: ByteCount,
    /// How long it took.
    #[serde(with = "crate::model::units::duration")]
    #[schemars(with = "String")]
    pub duration: Duration,
}

/// Outcomes counted, and what the plan could not even try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Carried out.
    pub done: u32,
    /// At their result already.
    pub unchanged: u32,
    /// Tried and failed.
    pub failed: u32,
    /// Stopped by safety, in the plan or while it ran.
    pub blocked: u32,
    /// Not tried, because something that they depend on did not succeed.
    pub skipped: u32,
    /// Stopped by a signal, or never begun because of it.
    pub interrupted: u32,
    /// Objects with work that waits for a region that does not answer.
    pub deferred: u32,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// Its name in history.
    pub run: RunId,
    /// The plan that it followed.
    pub plan: Plan,
    /// Change by change, in the order in which they ended.
    pub outcomes: Vec<ChangeOutcome>,
    /// Counted.
    pub counts: Counts,
    /// For the exit code.
    pub class: ExitClass,
    /// Bytes that travelled.
    pub bytes: ByteCount,
    /// How long it took.
    pub duration: Duration,
    /// The state's serial afterwards.
    pub serial: u64,
}

/// Another run had the state, and the round was left out on request.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Who has it, in words.
    pub holder: String,
}

/// One round of `reconcile`.
#[derive(Debug, Clone)]
pub struct Round {
    /// What was done; none: left out, because another run had the state.
    pub report: Result<RunReport, Skipped>,
    /// The metrics as text; none where the round was left out.
    pub metrics: Option<String>,
}

/// What became of one copy that was asked for by name.
#[derive(Debug, Clone)]
pub struct SyncReport {
    /// The resource.
    pub resource: ResourceKey,
    /// The run: its outcomes have exactly one entry.
    pub run: RunReport,
    /// The point that stands now, where the copy succeeded.
    pub published: Option<Published>,
}

/// Both sides of a resource, read byte by byte.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The resource.
    pub resource: ResourceKey,
    /// The holder's side.
    pub source: ContentCheck,
    /// Each replica's side, or why it could not be read.
    pub targets: Vec<(RegionId, Result<ContentCheck, String>)>,
    /// Files of the holder that differ from a replica's, by replica.
    pub differing: Vec<(RegionId, Vec<String>)>,
}

impl Verification {
    /// Whether every replica could be read and is equal to the source.
    pub fn all_equal(&self) -> bool {
        self.targets.iter().all(|(_, check)| check.is_ok()) && self.differing.iter().all(|(_, files)| files.is_empty())
    }
}

/// What became of a restore.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The run's name in history.
    pub run: RunId,
    /// The resource.
    pub resource: ResourceKey,
    /// The region whose files were replaced.
    pub holder: RegionId,
    /// The region that the point came from.
    pub from: RegionId,
    /// The point.
    pub point: Point,
    /// The name under which the files that were there are kept; none where there were none.
    pub set_aside: Option<String>,
}

/// What a state file was made anew from.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// The run's name in history.
    pub run: RunId,
    /// The lineage that the regions remember.
    pub lineage: Lineage,
    /// How many objects it manages.
    pub objects: usize,
    /// The regions that were asked and answered.
    pub regions: Vec<RegionId>,
    /// The regions that did not answer, and why; what only they know is missing.
    pub missing: Vec<(RegionId, String)>,
}
