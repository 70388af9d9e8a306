//! What a run writes down before and after each effect, so that a run that was killed is understood and its
//! successor goes on from what stands.
//!
//! Guarantee: an intent is durable before its effect begins, and the memory of an object changes only together with
//! the result that changed it. A crash between an effect and its result leaves an intent without a result and a
//! region that is ahead of the memory: the next plan finds the region at its result already.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Outcome;
use crate::model::recorded::Applied;
use crate::model::{Address, ByteCount, RegionId, RunId, StoreId, Timestamp};
use crate::plan::document::Change;
use crate::state::{self as record, ActionOutcome, Remember, State, StateError};

/// What the state remembers of an object from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// As it was before.
    Kept,
    /// This.
    Applied(Applied),
    /// Nothing: it is managed no more.
    Forgotten,
}

/// The result of one change.
#[derive(Debug, Clone)]
pub struct Conclusion<'a> {
    /// The change.
    pub change: &'a Change,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began; none: it never did.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Bytes that travelled.
    pub bytes: ByteCount,
    /// In words.
    pub message: Option<String>,
    /// What is remembered of its object.
    pub memory: Memory,
}

/// The journal could not be written: nothing more may begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the journal of this run")]
pub struct JournalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The journal of one run. An intent is durable when the call returns; whatever else is written is so at the latest with
/// the next intent or with the run's end, and a result at once while other changes are under way.
pub trait Journal: Send {
    /// Notes that these changes are about to begin.
    ///
    /// # Errors
    /// Where it cannot be written; none of them may begin then.
    fn intend(&mut self, changes: &[&Change], at: Timestamp) -> Result<(), JournalError>;

    /// Notes how these changes ended, and remembers their objects.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn conclude(&mut self, conclusions: &[Conclusion<'_>]) -> Result<(), JournalError>;

    /// Remembers the stores of regions that were met.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn met(&mut self, stores: &[(RegionId, StoreId)]) -> Result<(), JournalError>;

    /// Remembers objects under their new addresses.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn renamed(&mut self, moves: &[(Address, Address)]) -> Result<(), JournalError>;
}

/// The journal of a run in its state file.
#[derive(Debug)]
pub struct StateJournal<'a> {
    /// The state, open for writing.
    pub state: &'a mut State,
    /// The run.
    pub run: RunId,
    /// Where regions are reached on the network, for the stores that are met.
    pub origins: BTreeMap<RegionId, String>,
    /// Changes that are under way, of a run that goes on or ends as soon as none is; none: every result is made durable
    /// at once.
    pub under_way: Option<usize>,
}

fn failed(error: StateError) -> JournalError {
    JournalError(Box::new(error))
}

fn intent(change: &Change) -> record::Intent {
    record::Intent {
        id: change.id.clone(),
        address: change.address.clone(),
        kind: change.kind,
        action: change.action,
        regions: change.regions.iter().cloned().collect(),
    }
}

const fn outcome(outcome: Outcome) -> ActionOutcome {
    match outcome {
        Outcome::Done => ActionOutcome::Done,
        Outcome::Unchanged => ActionOutcome::Unchanged,
        Outcome::Failed => ActionOutcome::Failed,
        Outcome::Blocked => ActionOutcome::Blocked,
        Outcome::Skipped => ActionOutcome::Skipped,
        Outcome::Interrupted => ActionOutcome::Interrupted,
    }
}

impl Journal for StateJournal<'_> {
    fn intend(&mut self, changes: &[&Change], at: Timestamp) -> Result<(), JournalError> {
        let intents: Vec<_> = changes.iter().map(|change| intent(change)).collect();
        self.state.actions_started(self.run, &intents, at).map_err(failed)?;
        self.under_way = self.under_way.map(|under_way| under_way + intents.len());
        Ok(())
    }

    fn conclude(&mut self, conclusions: &[Conclusion<'_>]) -> Result<(), JournalError> {
        let ended = conclusions.iter().filter(|ended| ended.started.is_some()).count();
        self.under_way = self.under_way.map(|under_way| under_way.saturating_sub(ended));
        let conclusions: Vec<_> = conclusions
            .iter()
            .map(|ended| record::Conclusion {
                intent: intent(ended.change),
                outcome: outcome(ended.outcome),
                started_at: ended.started,
                finished_at: ended.ended,
                duration: ended.duration,
                bytes: ended.bytes,
                message: ended.message.clone(),
                remember: match &ended.memory {
                    Memory::Kept => Remember::AsBefore,
                    Memory::Applied(applied) => Remember::Applied(applied.clone()),
                    Memory::Forgotten => Remember::Nothing,
                },
            })
            .collect();
        let written = match self.under_way {
            Some(0) => self.state.last_actions_finished(self.run, conclusions),
            Some(_) | None => self.state.actions_finished(self.run, &conclusions),
        };
        written.map_err(failed)
    }

    fn met(&mut self, stores: &[(RegionId, StoreId)]) -> Result<(), JournalError> {
        let origin = |region: &RegionId| self.origins.get(region).cloned();
        let stores: Vec<_> = stores.iter().map(|(region, store)| (region.clone(), *store, origin(region))).collect();
        self.state.record_stores(&stores).map_err(failed)
    }

    fn renamed(&mut self, moves: &[(Address, Address)]) -> Result<(), JournalError> {
        self.state.rename_objects(self.run, moves).map_err(failed)
    }
}
