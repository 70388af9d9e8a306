//! What a run reports: how each change ended, the counts, and the class that becomes the exit code.
//!
//! A run of which some changes failed is a report, not an error: what stands is recorded, and a second run goes on
//! from there.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::execute::outcome::ChangeOutcome;
use crate::execute::outcome::{Executed, Tally};
use crate::live::port::{ContentCheck, FileVerdict, PortError};
use crate::model::observed::Observed;
use crate::model::point::Point;
use crate::model::recorded::Recorded;
use crate::model::{ByteCount, Lineage, RegionId, ResourceKey, RunId};
use crate::plan::document::Plan;
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

/// Outcomes counted, and what the plan could not even try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Carried out.
    pub done: u32,
    /// Renames carried out.
    pub renamed: u32,
    /// At their result already.
    pub unchanged: u32,
    /// Tried and failed.
    pub failed: u32,
    /// Of those: carried out at some of their regions.
    pub partly: u32,
    /// Stopped by safety, in the plan or while it ran.
    pub blocked: u32,
    /// Not tried, because something that they depend on did not succeed.
    pub skipped: u32,
    /// Stopped by a signal, or never begun because of it.
    pub interrupted: u32,
    /// Objects with work that waits for a region that does not answer.
    pub deferred: u32,
}

impl Counts {
    /// Counts what was tried, and what the plan could not even try.
    pub(super) fn of(plan: &Plan, executed: &Executed) -> Self {
        let tally = Tally::of(&executed.outcomes);
        Self {
            done: tally.done,
            renamed: tally.renamed,
            unchanged: tally.unchanged,
            failed: tally.failed,
            partly: tally.partly,
            blocked: tally.blocked + u32::try_from(plan.blocked.len()).unwrap_or(u32::MAX),
            skipped: tally.skipped,
            interrupted: tally.interrupted,
            deferred: u32::try_from(plan.deferred().len()).unwrap_or(u32::MAX),
        }
    }

    /// The class of a run with these counts. `one_thing`: particular objects were asked for, so that what stands
    /// beside them is no comfort.
    pub(super) const fn class(self, one_thing: bool) -> ExitClass {
        let stands = self.done + self.renamed + self.unchanged + self.partly > 0;
        let failed = self.failed + self.skipped > 0;
        if self.interrupted > 0 {
            ExitClass::Interrupted
        } else if !failed && self.blocked + self.deferred == 0 {
            ExitClass::Done
        } else if stands || !(failed || one_thing) {
            // Where nothing was tried, all but what is blocked or deferred is as it should be.
            ExitClass::Partial
        } else {
            ExitClass::Failed
        }
    }
}

/// What became of a run.
#[derive(Debug, Clone, Serialize)]
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
    #[serde(with = "crate::model::units::duration")]
    pub duration: Duration,
    /// The state's serial afterwards.
    pub serial: u64,
}

/// Another run had the state, and the round was left out on request.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// Who has it, in words; none: it has not said so yet.
    pub holder: Option<String>,
}

/// One round of `reconcile`.
#[derive(Debug, Clone)]
pub struct Round {
    /// What was done, or that it was left out, because another run had the state.
    pub report: Result<RunReport, Skipped>,
    /// The metrics as text; none where the round was left out, or nobody wants them.
    pub metrics: Option<String>,
}

/// What became of one copy that was asked for by name.
#[derive(Debug, Clone, Serialize)]
pub struct SyncReport {
    /// The resource.
    pub resource: ResourceKey,
    /// The run: its outcomes have exactly one entry.
    pub run: RunReport,
    /// The point that stands now, where the copy succeeded.
    pub published: Option<Published>,
}

/// One side's file, compared with the newest point (at a replica) or with what was remembered of the last reading (at
/// the holder).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// How it compares.
    pub verdict: FileVerdict,
    /// How many blocks differ; none: that cannot be told.
    pub blocks: Option<u64>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// One file on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileComparison {
    /// The file, below the resource's directory.
    pub path: String,
    /// Whether both sides hold the same bytes now.
    pub equal: bool,
    /// The holder's.
    pub source: Side,
    /// The replica's.
    pub target: Side,
}

/// A resource's recovery points at one region.
#[derive(Debug, Clone)]
pub struct PointsAt {
    /// The region.
    pub region_id: RegionId,
    /// Newest first, set-aside ones last; why it does not tell, where others do.
    pub points: Result<Vec<Point>, PortError>,
}

/// A replica that was read byte by byte and compared with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaVerification {
    /// The replica's region.
    pub region_id: RegionId,
    /// Whether both sides hold the same bytes now.
    pub equal: bool,
    /// Whether the replica is what its newest point says; false: its files are damaged.
    pub intact: bool,
    /// File by file; empty where it could not be read.
    pub files: Vec<FileComparison>,
    /// Why it could not be read.
    pub error: Option<String>,
}

/// A resource whose sides were read byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// The resource.
    pub resource: ResourceKey,
    /// Who holds it.
    pub holder: RegionId,
    /// The holder's side.
    pub source: ContentCheck,
    /// The replicas.
    pub replicas: Vec<ReplicaVerification>,
}

impl Verification {
    /// Whether every replica could be read and holds the same bytes as the source.
    pub fn all_equal(&self) -> bool {
        self.replicas.iter().all(|replica| replica.equal)
    }

    /// Whether every replica could be read and is what its newest point says. A source that was written since then
    /// makes sides unequal, and nothing is wrong.
    pub fn all_intact(&self) -> bool {
        self.replicas.iter().all(|replica| replica.intact)
    }
}

/// What became of a restore.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
    /// Where the controllers are that the regions still obey; none: this state controls, or nobody does yet.
    pub controllers: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_says_what_stands() {
        let class = |counts: Counts| (counts.class(false), counts.class(true));
        let none = Counts::default();
        assert_eq!(class(none), (ExitClass::Done, ExitClass::Done));
        assert_eq!(class(Counts { done: 1, unchanged: 1, ..none }), (ExitClass::Done, ExitClass::Done));
        assert_eq!(class(Counts { done: 1, failed: 1, ..none }), (ExitClass::Partial, ExitClass::Partial));
        assert_eq!(class(Counts { failed: 1, partly: 1, ..none }), (ExitClass::Partial, ExitClass::Partial));
        assert_eq!(class(Counts { failed: 1, skipped: 3, ..none }), (ExitClass::Failed, ExitClass::Failed));
        assert_eq!(class(Counts { blocked: 1, ..none }), (ExitClass::Partial, ExitClass::Failed));
        assert_eq!(class(Counts { deferred: 1, ..none }), (ExitClass::Partial, ExitClass::Failed));
        assert_eq!(class(Counts { done: 1, deferred: 1, ..none }), (ExitClass::Partial, ExitClass::Partial));
        assert_eq!(class(Counts { done: 9, interrupted: 1, ..none }), (ExitClass::Interrupted, ExitClass::Interrupted));
    }
}
