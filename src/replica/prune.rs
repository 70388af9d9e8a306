//! Dropping points: by retention, and set-aside ones when somebody discards them.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | commit `dropping`, after a sync the one that publishes | the point is no longer listed; its undo still counts for older ones | either side |
//! | merge its undo into the older neighbour's | adds only what the neighbour lacks and would have read through it | some added: reading finds the same bytes |
//! | remove the layer | the older points need nothing of it any more | a part of it, never read |
//! | commit the removal | | either side |
//!
//! A merge that finds no room, or fails, leaves the point dropping: it is put off, and the next sync tries again. It
//! holds up nothing but the merging of points that older ones would be read through after it. A block that the disk
//! does not give any more is lost; the older points that need it are damaged.

use std::collections::BTreeSet;

use super::block::{SLOTS, from_slot};
use super::catalog::{Catalog, CatalogChange, FileId, KeptManifest, PointRecord, ReplicaRecord, Standing};
use super::fault::{StopCheck, cannot, if_readable, if_readable_at};
use super::index::Record;
use super::layer::{Layer, Overlay, exists, move_if_there, remove_tree};
use super::losses::Losses;
use super::place::{ReplicaPlace, with_tables};
use super::port::{BLOCK_BYTES, GROUP_BLOCKS, TransferError, ZERO};
use super::retention::to_drop;
use crate::host::disk::Disk;
use crate::model::ByteCount;
use crate::model::point::PointState;
use crate::model::policy::Retention;

/// Records that what retention no longer wants is being dropped. Nothing of a point that is may be touched before this
/// is committed; [`finish`] does the rest.
pub(super) fn dropping(record: &ReplicaRecord, retention: &Retention) -> Vec<CatalogChange> {
    let unwanted = to_drop(record, retention).into_iter().filter_map(|sequence| record.points.get(&sequence));
    let changes = unwanted.map(|point| {
        let mut point = Box::new(point.clone());
        point.standing = Standing::Dropping;
        CatalogChange::Point { record: point, manifest: None }
    });
    changes.collect()
}

/// Finishes dropping points that are being dropped, the oldest first. One that cannot be dropped is put off.
///
/// # Errors
/// The first reason why one was put off; [`TransferError::Interrupted`].
pub(super) fn finish(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    stop: &StopCheck,
) -> Result<(), TransferError> {
    let mut put_off = BTreeSet::new();
    let mut failure = None;
    loop {
        let record = catalog.load(&place.resource)?;
        let older = |sequence| older(&record, sequence);
        let waits = |point: &PointRecord| {
            let sequence = point.point.sequence;
            put_off.contains(&sequence)
                || !point.is_set_aside() && put_off.iter().any(|off| *off < sequence && older(*off) == older(sequence))
        };
        let mut points = record.points.values().filter(|point| point.standing == Standing::Dropping);
        let Some(point) = points.find(|point| !waits(point)) else {
            return failure.map_or(Ok(()), Err);
        };
        let sequence = point.point.sequence;
        let dropped = if point.is_set_aside() {
            remove_tree(disk, &place.set_aside(sequence)).map(|()| BTreeSet::new())
        } else {
            drop_copy(disk, catalog, place, &record, sequence, stop)
        };
        let damaged = match dropped {
            Ok(damaged) => damaged,
            Err(error @ TransferError::Interrupted) => return Err(error),
            Err(error) => {
                put_off.insert(sequence);
                failure.get_or_insert(error);
                continue;
            }
        };
        let mut changes = damage(&record, &damaged);
        changes.push(CatalogChange::RemovePoint { sequence });
        catalog.commit(&place.resource, &changes)?;
    }
}

/// Merges a copy's undo into its older neighbour's and removes it; says which points lost bytes in it.
fn drop_copy(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    record: &ReplicaRecord,
    sequence: u64,
    stop: &StopCheck,
) -> Result<BTreeSet<u64>, TransferError> {
    let mut losses = Losses::of_undo(disk, catalog, place, record, sequence);
    if let Some(older) = older(record, sequence) {
        let needed = catalog.manifest(&place.resource, older)?;
        let merge = Merge { disk, from: Layer(place.undo(sequence)), to: Layer(place.undo(older)), stop };
        merge.run(&needed, &mut losses)?;
    }
    remove_tree(disk, &place.undo(sequence))?;
    Ok(losses.damaged())
}

/// Records that these points lost bytes.
pub(super) fn damage(record: &ReplicaRecord, damaged: &BTreeSet<u64>) -> Vec<CatalogChange> {
    let lost = damaged.iter().filter_map(|sequence| record.points.get(sequence));
    lost.map(|point| {
        let mut point = Box::new(point.clone());
        point.point.state = match point.point.state {
            PointState::Complete | PointState::Damaged => PointState::Damaged,
            PointState::SetAside | PointState::SetAsideDamaged => PointState::SetAsideDamaged,
        };
        CatalogChange::Point { record: point, manifest: None }
    })
    .collect()
}

/// The next older point, which reads through the undo of this one.
fn older(record: &ReplicaRecord, sequence: u64) -> Option<u64> {
    record.chain().map(|point| point.point.sequence).take_while(|older| *older < sequence).last()
}

/// Adding to `to` what only `from` has.
struct Merge<'a> {
    disk: &'a dyn Disk,
    from: Layer,
    to: Layer,
    stop: &'a StopCheck,
}

/// Which blocks of a group are to be added.
type Lacking = [bool; SLOTS];

impl Merge<'_> {
    fn run(&self, needed: &KeptManifest, losses: &mut Losses<'_>) -> Result<(), TransferError> {
        let Self { disk, from, to, stop: _ } = self;
        if !exists(*disk, &from.0)? {
            return Ok(());
        }
        let mut bodies = Vec::new();
        for body in needed.entries.iter().filter_map(|kept| kept.file.as_ref()) {
            // Where the older point has the whole file it reads no further.
            if !exists(*disk, &to.whole(body.id))? {
                bodies.push(body.id);
            }
        }
        // Half a merge that fills the disk would help nobody.
        let mut lacking = 0;
        for id in &bodies {
            if_readable(self.lacking(*id, |_, blocks, there| {
                let bytes = |at: &usize| blocks[*at] && from_slot(there.blocks[*at]).is_some_and(|hash| hash != ZERO);
                lacking += BLOCK_BYTES * (0..SLOTS).filter(bytes).count() as u64;
                Ok(())
            }))?;
        }
        let free = disk.free_space(&from.0).map_err(cannot("look for room on", &from.0))?;
        if lacking > 0 && free < with_tables(lacking) {
            let detail = format!("{} are needed, {} are free", ByteCount(lacking), ByteCount(free));
            return Err(TransferError::Region(format!("dropping a point is put off: {detail}")));
        }
        to.make(*disk)?;
        for id in bodies {
            if if_readable_at(&from.table(id), self.overlay(id, losses))?.is_none() {
                losses.file(id)?;
            }
            // Overlays count before wholes, so the whole file may follow at any time.
            move_if_there(*disk, &from.whole_index(id), &to.whole_index(id))?;
            move_if_there(*disk, &from.whole(id), &to.whole(id))?;
        }
        to.sync(*disk)?;
        disk.sync_dir(&from.0).map_err(cannot("sync", &from.0))
    }

    /// Calls `with` for each group of the file of which `from` has more than `to`: its number, which blocks those
    /// are, and what `from` says of them.
    fn lacking(
        &self,
        id: FileId,
        mut with: impl FnMut(u64, &Lacking, &Record) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let Some(source) = self.from.overlay(self.disk, id)? else { return Ok(()) };
        let target = self.to.overlay(self.disk, id)?;
        let mut next = source.table.next(0)?;
        while let Some(group) = next {
            self.stop.go_on()?;
            let there = source.table.record(group)?;
            let here = target.as_ref().map_or(Ok(Record::EMPTY), |target| target.table.record(group))?;
            let lacks = |at: usize| from_slot(there.blocks[at]).is_some() && from_slot(here.blocks[at]).is_none();
            let blocks: Lacking = std::array::from_fn(lacks);
            if blocks.contains(&true) {
                with(group, &blocks, &there)?;
            }
            next = source.table.next(group + 1)?;
        }
        Ok(())
    }

    fn overlay(&self, id: FileId, losses: &mut Losses<'_>) -> Result<(), TransferError> {
        let Some(source) = self.from.overlay(self.disk, id)? else { return Ok(()) };
        let target = self.to.make_overlay(self.disk, id)?;
        let mut added = Vec::new();
        self.lacking(id, |group, lacking, there| {
            let mut here = target.table.record(group)?;
            for at in (0..SLOTS).filter(|at| lacking[*at]) {
                // A lost one is shown too: what lies below is of a later time.
                here.blocks[at] = there.blocks[at];
                let block = group * GROUP_BLOCKS + at as u64;
                if from_slot(there.blocks[at]) == Some(ZERO) {
                    continue;
                }
                match if_readable(source.block(block, there.blocks[at], BLOCK_BYTES as usize))? {
                    Some(bytes) => target.put(block, &bytes)?,
                    None => losses.block(id, block)?,
                }
            }
            added.push((group, here));
            // Slots follow their bytes, and not too many are held.
            if added.len() >= 1024 { add(&target, &mut added) } else { Ok(()) }
        })?;
        add(&target, &mut added)?;
        target.table.sync()
    }
}

fn add(target: &Overlay, added: &mut Vec<(u64, Record)>) -> Result<(), TransferError> {
    target.sync_data()?;
    added.drain(..).try_for_each(|(group, record)| target.table.write(group, &record))
}

/// Discards a set-aside point by its name; false where there is none of that name.
///
/// # Errors
/// I/O errors.
pub fn discard(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    name: &str,
) -> Result<bool, TransferError> {
    let record = catalog.load(&place.resource)?;
    let named = record.set_aside().find(|point| point.point.name.as_deref() == Some(name));
    let Some(point) = named else { return Ok(false) };
    let sequence = point.point.sequence;
    let mut point = Box::new(point.clone());
    point.standing = Standing::Dropping;
    catalog.commit(&place.resource, &[CatalogChange::Point { record: point, manifest: None }])?;
    let finished = finish(disk, catalog, place, &StopCheck::never());
    // Another one that is put off is no reason to say that this one is still there.
    if catalog.load(&place.resource)?.points.contains_key(&sequence) {
        finished?;
    }
    Ok(true)
}
