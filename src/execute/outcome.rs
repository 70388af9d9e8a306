//! How changes ended, and how many of each: what a run hands back to whoever asked for it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Outcome;
use crate::model::{Address, ByteCount, RegionId, units};
use crate::plan::document::{Action, Change, Kind};
use crate::replica::port::Published;

/// How one change ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Of one that failed: the regions where it was carried out all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done_at: Vec<RegionId>,
    /// Of a rename: the former address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<Address>,
    /// Bytes that travelled.
    pub bytes: ByteCount,
    /// How long it took.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub duration: Duration,
}

impl ChangeOutcome {
    /// A change that ended so, without words.
    pub fn new(change: &Change, outcome: Outcome) -> Self {
        Self {
            id: change.id.clone(),
            address: change.address.clone(),
            kind: change.kind,
            action: change.action,
            regions: change.regions.clone(),
            outcome,
            message: None,
            help: None,
            region: None,
            done_at: Vec::new(),
            renamed_from: None,
            bytes: ByteCount(0),
            duration: Duration::ZERO,
        }
    }

    /// With these words.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

/// Outcomes counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
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
    /// Stopped by safety.
    pub blocked: u32,
    /// Not tried, because something that they depend on did not succeed.
    pub skipped: u32,
    /// Stopped by a signal, or never begun because of it.
    pub interrupted: u32,
}

impl Tally {
    /// Counts the outcomes.
    pub fn of(outcomes: &[ChangeOutcome]) -> Self {
        let mut tally = Self::default();
        for ended in outcomes {
            match ended.outcome {
                Outcome::Done if ended.renamed_from.is_some() => tally.renamed += 1,
                Outcome::Done => tally.done += 1,
                Outcome::Unchanged => tally.unchanged += 1,
                Outcome::Failed => {
                    tally.failed += 1;
                    tally.partly += u32::from(!ended.done_at.is_empty());
                }
                Outcome::Blocked => tally.blocked += 1,
                Outcome::Skipped => tally.skipped += 1,
                Outcome::Interrupted => tally.interrupted += 1,
            }
        }
        tally
    }
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Executed {
    /// Change by change, in the order in which they ended.
    pub outcomes: Vec<ChangeOutcome>,
    /// The points that copies made or confirmed, by the change's id.
    pub published: BTreeMap<String, Published>,
    /// Whether it was stopped by a signal.
    pub interrupted: bool,
    /// How long it took.
    pub duration: Duration,
}

impl Executed {
    /// Bytes that travelled.
    pub fn bytes(&self) -> ByteCount {
        self.outcomes.iter().map(|ended| ended.bytes).sum()
    }
}
