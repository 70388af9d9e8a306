//! Dropping points: by retention, and set-aside ones when somebody discards them.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | commit `dropping` | the point is no longer listed; its undo still counts for older ones | either side |
//! | merge its undo into the older neighbour's | adds only what the neighbour lacks and would have read through it | some added: reading finds the same bytes |
//! | remove the layer | the older points need nothing of it any more | a part of it, never read |
//! | commit the removal | | either side |
//!
//! A merge that fails, on a full disk say, leaves the point dropping, and the next sync goes on.

use super::block::{GROUP_BYTES, from_slot};
use super::catalog::{Catalog, CatalogChange, FileId, ReplicaRecord, Standing};
use super::fault::{StopCheck, cannot};
use super::layer::{Layer, exists, move_if_there, remove_tree};
use super::place::ReplicaPlace;
use super::port::{BLOCK_BYTES, TransferError, ZERO};
use super::retention::to_drop;
use crate::host::disk::Disk;
use crate::model::policy::Retention;

/// Drops what retention no longer wants.
///
/// # Errors
/// I/O errors; what was not dropped stays complete.
pub fn retain(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    retention: &Retention,
) -> Result<(), TransferError> {
    retain_unless(disk, catalog, place, retention, &StopCheck::never())
}

/// The same, until it is stopped.
///
/// # Errors
/// As [`retain`]; [`TransferError::Interrupted`].
pub(super) fn retain_unless(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    retention: &Retention,
    stop: &StopCheck,
) -> Result<(), TransferError> {
    let record = catalog.load(&place.resource)?;
    let changes: Vec<CatalogChange> = to_drop(&record, retention)
        .into_iter()
        .filter_map(|sequence| record.points.get(&sequence))
        .map(|point| {
            let mut point = Box::new(point.clone());
            point.standing = Standing::Dropping;
            CatalogChange::Point { record: point, manifest: None }
        })
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    catalog.commit(&place.resource, &changes)?;
    finish(disk, catalog, place, stop)
}

/// Finishes dropping points that are being dropped, the oldest first.
///
/// # Errors
/// I/O errors.
pub(super) fn finish(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    stop: &StopCheck,
) -> Result<(), TransferError> {
    loop {
        let record = catalog.load(&place.resource)?;
        let mut points = record.points.values();
        let Some(point) = points.find(|point| point.standing == Standing::Dropping) else { return Ok(()) };
        let sequence = point.point.sequence;
        if point.is_set_aside() {
            remove_tree(disk, &place.set_aside(sequence))?;
        } else {
            if let Some(older) = older(&record, sequence) {
                merge(disk, &Layer(place.undo(sequence)), &Layer(place.undo(older)), catalog, (place, older), stop)?;
            }
            remove_tree(disk, &place.undo(sequence))?;
        }
        catalog.commit(&place.resource, &[CatalogChange::RemovePoint { sequence }])?;
    }
}

/// The next older point, which reads through the undo of this one.
fn older(record: &ReplicaRecord, sequence: u64) -> Option<u64> {
    record.chain().map(|point| point.point.sequence).take_while(|older| *older < sequence).last()
}

/// Adds to `to` what only `from` has.
fn merge(
    disk: &dyn Disk,
    from: &Layer,
    to: &Layer,
    catalog: &dyn Catalog,
    (place, older): (&ReplicaPlace, u64),
    stop: &StopCheck,
) -> Result<(), TransferError> {
    if !exists(disk, &from.0)? {
        return Ok(());
    }
    to.make(disk)?;
    let needed = catalog.manifest(&place.resource, older)?;
    for body in needed.entries.iter().filter_map(|kept| kept.file.as_ref()) {
        if exists(disk, &to.whole(body.id))? {
            // The older point reads no further than its own whole file.
            continue;
        }
        merge_overlay(disk, from, to, body.id, stop)?;
        // Overlays count before wholes, so the whole file may follow at any time.
        move_if_there(disk, &from.whole_index(body.id), &to.whole_index(body.id))?;
        move_if_there(disk, &from.whole(body.id), &to.whole(body.id))?;
    }
    to.sync(disk)?;
    disk.sync_dir(&from.0).map_err(cannot("sync", &from.0))
}

fn merge_overlay(disk: &dyn Disk, from: &Layer, to: &Layer, id: FileId, stop: &StopCheck) -> Result<(), TransferError> {
    let Some(source) = from.overlay(disk, id)? else { return Ok(()) };
    let target = to.make_overlay(disk, id)?;
    let mut buffer = vec![0; GROUP_BYTES as usize];
    let mut added = Vec::new();
    let mut next = source.table.next(0)?;
    while let Some(group) = next {
        stop.go_on()?;
        let there = source.table.record(group)?;
        let mut here = target.table.record(group)?;
        let before = here;
        let lacking: Vec<bool> = (there.blocks.iter().zip(&here.blocks))
            .map(|(there, here)| from_slot(*there).is_some() && from_slot(*here).is_none())
            .collect();
        let mut at = 0;
        for run in lacking.chunk_by(|a, b| a == b) {
            let start = at;
            at += run.len();
            if !run[0] {
                continue;
            }
            here.blocks[start..at].copy_from_slice(&there.blocks[start..at]);
            let has_bytes = there.blocks[start..at].iter().any(|slot| from_slot(*slot).is_some_and(|h| h != ZERO));
            if has_bytes {
                let len = run.len() * BLOCK_BYTES as usize;
                let offset = group * GROUP_BYTES + start as u64 * BLOCK_BYTES;
                let path = from.data(id);
                let read = source.data.read_at(&mut buffer[..len], offset).map_err(cannot("read", &path))?;
                target.put(offset / BLOCK_BYTES, &buffer[..read])?;
            }
        }
        if here != before {
            added.push((group, here));
        }
        // Slots follow their bytes, and not too many are held.
        if added.len() >= 1024 {
            target.sync_data()?;
            added.drain(..).try_for_each(|(group, record)| target.table.write(group, &record))?;
        }
        next = source.table.next(group + 1)?;
    }
    target.sync_data()?;
    added.drain(..).try_for_each(|(group, record)| target.table.write(group, &record))?;
    target.table.sync()
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
    let mut point = Box::new(point.clone());
    point.standing = Standing::Dropping;
    catalog.commit(&place.resource, &[CatalogChange::Point { record: point, manifest: None }])?;
    finish(disk, catalog, place, &StopCheck::never())?;
    Ok(true)
}
