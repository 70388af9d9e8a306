//! What a run writes down before and after each effect, so that a run that was killed is understood and its
//! successor goes on from what stands.
//!
//! Guarantee: an intent is durable before its effect begins, and the memory of an object changes only together with
//! the result that changed it. A crash between an effect and its result leaves an intent without a result and a
//! region that is ahead of the memory: the next plan finds the region at its result already.

use crate::execute::event::Outcome;
use crate::model::recorded::Applied;
use crate::model::{Address, ByteCount, RegionId, StoreId, Timestamp};
use crate::plan::document::Change;
use std::time::Duration;

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

/// The journal of one run. Each call is durable when it returns.
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
