//! Which points lose bytes for good, because what should be kept of them cannot be read or is gone.

use std::collections::BTreeSet;

use super::block::from_slot;
use super::catalog::{Catalog, FileId, ReplicaRecord};
use super::fault::if_readable;
use super::layer::{Layer, exists};
use super::place::ReplicaPlace;
use super::points::undo_chain;
use super::port::{GROUP_BLOCKS, TransferError};
use crate::host::disk::Disk;

/// The points that have a file, and no earlier layer with the bytes that are lost, are damaged.
#[derive(Debug)]
pub(super) struct Losses<'a> {
    disk: &'a dyn Disk,
    catalog: &'a dyn Catalog,
    place: &'a ReplicaPlace,
    record: &'a ReplicaRecord,
    /// The point in whose undo the bytes were, or should have come: only points and layers before it count.
    before: u64,
    /// Those points, with the files that each has; read when the first loss is found.
    points: Option<Vec<(u64, BTreeSet<FileId>)>>,
    damaged: BTreeSet<u64>,
}

impl<'a> Losses<'a> {
    /// Bytes that the replica's files had: every point may need them.
    pub(super) fn of_files(
        disk: &'a dyn Disk,
        catalog: &'a dyn Catalog,
        place: &'a ReplicaPlace,
        record: &'a ReplicaRecord,
    ) -> Self {
        Self { disk, catalog, place, record, before: u64::MAX, points: None, damaged: BTreeSet::new() }
    }

    /// Bytes that the undo of the point `sequence` had: points before it may need them.
    pub(super) fn of_undo(
        disk: &'a dyn Disk,
        catalog: &'a dyn Catalog,
        place: &'a ReplicaPlace,
        record: &'a ReplicaRecord,
        sequence: u64,
    ) -> Self {
        Self { before: sequence, ..Self::of_files(disk, catalog, place, record) }
    }

    /// The points that were found damaged.
    pub(super) fn damaged(self) -> BTreeSet<u64> {
        self.damaged
    }

    /// One block is lost.
    ///
    /// # Errors
    /// Where records or layers cannot be read.
    pub(super) fn block(&mut self, id: FileId, block: u64) -> Result<(), TransferError> {
        self.lose(id, Some(block))
    }

    /// The whole file is lost.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub(super) fn file(&mut self, id: FileId) -> Result<(), TransferError> {
        self.lose(id, None)
    }

    fn lose(&mut self, id: FileId, block: Option<u64>) -> Result<(), TransferError> {
        let points = match self.points.take() {
            Some(points) => points,
            None => self.read_points()?,
        };
        for (sequence, files) in &points {
            if !self.damaged.contains(sequence) && files.contains(&id) && !self.is_safe(*sequence, id, block)? {
                self.damaged.insert(*sequence);
            }
        }
        self.points = Some(points);
        Ok(())
    }

    /// Whether a layer that the point is read through before the lost bytes has them too.
    fn is_safe(&self, sequence: u64, id: FileId, block: Option<u64>) -> Result<bool, TransferError> {
        let chain = undo_chain(self.record, sequence, false).into_iter().take_while(|layer| *layer < self.before);
        for layer in chain.map(|layer| Layer(self.place.undo(layer))) {
            if exists(self.disk, &layer.whole(id))? {
                return Ok(true);
            }
            let Some(block) = block else { continue };
            let Some(overlay) = if_readable(layer.overlay(self.disk, id))?.flatten() else { continue };
            // A table that cannot be read shows nothing.
            let slots = if_readable(overlay.table.record(block / GROUP_BLOCKS))?;
            if slots.is_some_and(|slots| from_slot(slots.blocks[(block % GROUP_BLOCKS) as usize]).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_points(&self) -> Result<Vec<(u64, BTreeSet<FileId>)>, TransferError> {
        let mut points = Vec::new();
        for sequence in self.record.chain().map(|point| point.point.sequence).take_while(|at| *at < self.before) {
            let manifest = self.catalog.manifest(&self.place.resource, sequence)?;
            let files = manifest.entries.iter().filter_map(|kept| kept.file.as_ref()).map(|body| body.id).collect();
            points.push((sequence, files));
        }
        Ok(points)
    }
}
