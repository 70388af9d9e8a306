//! How a target refuses a copy: the refusal is recorded, so that the next plan knows, and told.

use super::catalog::{Catalog, CatalogChange};
use super::port::{BLOCK_BYTES, Reading, TransferError};
use crate::model::point::{BlockReason, Loss, Refusal};
use crate::model::units::Percent;
use crate::model::{ByteCount, ResourceKey, World};

/// What a refusal says beside its reason and its words.
pub(super) enum Figure {
    /// Nothing.
    None,
    /// How much room is needed.
    Needed(ByteCount),
    /// How much of the source is lost.
    Lost(Loss),
    /// The share that may change at once.
    Limit(Percent),
}

/// Who refuses what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusing<'a> {
    pub(super) catalog: &'a dyn Catalog,
    pub(super) resource: &'a ResourceKey,
    pub(super) world: &'a World,
    pub(super) reading: &'a Reading,
}

impl Refusing<'_> {
    /// Records a refusal and turns it into the error that says so.
    pub(super) fn refuse(&self, reason: BlockReason, detail: String, figure: Figure) -> TransferError {
        let refusal = self.refusal(reason, detail, figure);
        match self.record(&refusal) {
            Ok(()) => TransferError::Blocked(refusal),
            Err(error) => error,
        }
    }

    /// A disk that filled up under a copy lacks room, as one does that had too little from the start; `needed` more
    /// bytes, where that is known. All other errors stay what they are.
    pub(super) fn unless_full(&self, error: TransferError, needed: Option<u64>) -> TransferError {
        let TransferError::Io { action, path, detail, bad_file: _, not_permitted: _, no_space: true } = error else {
            return error;
        };
        let needed = needed.map(|needed| ByteCount(needed.max(BLOCK_BYTES)));
        let words = needed.map_or(String::new(), |needed| format!("; {needed} more are needed"));
        let detail = format!("{action} {path}: {detail}{words}");
        let refusal = self.refusal(BlockReason::NoSpace, detail, needed.map_or(Figure::None, Figure::Needed));
        // On a full disk that may fail too. It is told all the same, and the next sync finds out by itself.
        let _ = self.record(&refusal);
        TransferError::Blocked(refusal)
    }

    fn refusal(&self, reason: BlockReason, detail: String, figure: Figure) -> Refusal {
        let (needed, lost, max_change) = match figure {
            Figure::None => (None, None, None),
            Figure::Needed(bytes) => (Some(bytes), None, None),
            Figure::Lost(lost) => (None, Some(lost), None),
            Figure::Limit(share) => (None, None, Some(share)),
        };
        let at = self.world.clock.now();
        Refusal { reason, detail, source_stamp: self.reading.stamp, needed, lost, max_change, at }
    }

    fn record(&self, refusal: &Refusal) -> Result<(), TransferError> {
        Ok(self.catalog.commit(self.resource, &[CatalogChange::Refusal(Some(refusal.clone()))])?)
    }
}
