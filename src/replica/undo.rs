//! Saving what a new point will overwrite, as the undo of the point before it.
//!
//! Reads from the replica's files and from what arrived, writes only into the undo layer, so it may be repeated from
//! the start at any time. Every old block is hashed on its way: one that is not what its point says was altered by
//! somebody else or by the disk, and the points that need it are named as damaged. Every received block is hashed
//! once more: it is about to be the only copy.
//!
//! A block of the old point that the disk does not give any more is lost, and the points that need it are damaged;
//! that is no reason to keep the new one waiting. What leads back instead is a file that cannot be opened at all (the
//! next sync restores it), an index by which nothing can be told, and what arrived and cannot be read: nothing of the
//! replica was touched yet.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{block_len, blocks_in, from_slot, groups_in, hash_block, to_slot};
use super::catalog::{FileId, KeptEntry};
use super::fault::{cannot, if_readable};
use super::index::{Index, Record};
use super::layer::{Layer, Overlay, exists};
use super::losses::Losses;
use super::manifest::Node;
use super::port::{BLOCK_BYTES, GROUP_BLOCKS, TransferError, ZERO};
use super::publish::{Passage, Passed};
use super::tree::identity;
use super::verify::distrust;
use crate::host::disk::Open;

/// Saves the undo, and finds which points are damaged.
///
/// # Errors
/// I/O errors.
pub(super) fn save(passage: &mut Passage<'_>) -> Result<Passed, TransferError> {
    if let Some(why) = touched(passage)? {
        return Ok(Passed::BackOut(why));
    }
    let Some(undo) = passage.undo() else { return Ok(Passed::Yes) };
    undo.make(passage.disk)?;
    let mut losses = passage.losses();
    for (old, new) in passage.patched() {
        if let Passed::BackOut(why) = save_file(passage, &undo, old, new, &mut losses)? {
            return Ok(Passed::BackOut(why));
        }
    }
    let stays: BTreeSet<FileId> =
        passage.new.entries.iter().filter_map(|kept| kept.file.as_ref()).map(|b| b.id).collect();
    for id in passage.receiving.modified.keys().filter(|id| !stays.contains(id)) {
        losses.file(*id)?;
    }
    undo.sync(passage.disk)?;
    passage.disk.sync_dir(&passage.place.points).map_err(cannot("sync", &passage.place.points))?;
    let damaged = losses.damaged().into_iter().collect();
    passage.receiving.damaged = damaged;
    Ok(Passed::Yes)
}

/// The first file that is about to be changed or moved and is not as it was found when it was compared.
fn touched(passage: &Passage<'_>) -> Result<Option<String>, TransferError> {
    let unchanged: BTreeMap<&str, &KeptEntry> =
        passage.new.entries.iter().map(|kept| (kept.entry.path.as_str(), kept)).collect();
    for old in &passage.old.entries {
        let Some(body) = &old.file else { continue };
        let arrives = passage.receiving.files.contains_key(&old.entry.path);
        if !arrives && unchanged.get(old.entry.path.as_str()).is_some_and(|new| new.entry == old.entry) {
            continue;
        }
        let path = passage.place.files.join(&old.entry.path);
        let now = match exists(passage.disk, &path)? {
            true => Some(identity(&passage.disk.symlink_metadata(&path).map_err(cannot("look at", &path))?)),
            false => None,
        };
        if now != passage.expected(body) {
            return Ok(Some(format!("{} was modified at the replica during the sync", old.entry.path)));
        }
    }
    Ok(None)
}

fn save_file(
    passage: &Passage<'_>,
    undo: &Layer,
    old: &KeptEntry,
    new: &KeptEntry,
    losses: &mut Losses<'_>,
) -> Result<Passed, TransferError> {
    let disk = passage.disk;
    let (Node::File { size: old_size, root: old_root }, Node::File { size: new_size, root: _ }, Some(body)) =
        (&old.entry.node, &new.entry.node, &old.file)
    else {
        return Ok(Passed::Yes);
    };
    let (old_size, new_size, id) = (old_size.0, new_size.0, body.id);
    let back_out = |why: &str| Ok(Passed::BackOut(format!("{} {why}", old.entry.path)));
    let incoming = passage.incoming();
    let Some(arrived) = if_readable(incoming.overlay(disk, id))?.flatten() else {
        return back_out("has lost what arrived of it");
    };
    let index = if_readable(Index::open(disk, &passage.place.index_of(id), Open::Read))?.flatten();
    if passage.receiving.modified.contains_key(&id) {
        let sound = index.as_ref().map(|index| if_readable(index.is_sound(old_size, *old_root))).transpose()?.flatten();
        if sound != Some(true) && !body.torn {
            // Nobody can tell any more what it had. Of a torn one the older points have what they need.
            losses.file(id)?;
        }
    } else if index.is_none() {
        return back_out("has lost its index");
    }
    let path = passage.place.files.join(&old.entry.path);
    let Some(live) = if_readable(disk.open(&path, Open::Read).map_err(cannot("open", &path)))? else {
        // Read again, it is moved out of the way and fetched anew.
        distrust(passage.catalog, passage.place, &BTreeSet::from([old.entry.path.clone()]))?;
        return back_out("cannot be opened at the replica");
    };
    undo.forget(disk, id)?;
    let overlay = undo.make_overlay(disk, id)?;
    let cut_from = blocks_in(new_size);
    let end = groups_in(old_size.max(new_size));
    let mut group = 0;
    while group < end {
        // Up to what is cut off, only groups of which something arrived matter.
        let cut_group = cut_from / GROUP_BLOCKS;
        let Some(next) = if_readable(arrived.table.next(group))? else {
            return back_out("has lost what arrived of it");
        };
        let next = next.unwrap_or(u64::MAX);
        let next_cut = match &index {
            Some(index) if old_size > new_size => index.next(group.max(cut_group))?.unwrap_or(u64::MAX),
            Some(_) | None => u64::MAX,
        };
        group = next.min(next_cut);
        if group >= end {
            break;
        }
        passage.stop.go_on()?;
        let Some(slots) = if_readable(arrived.table.record(group))? else {
            return back_out("has lost what arrived of it");
        };
        let said = index.as_ref().map_or(Ok(Record::EMPTY), |index| index.record(group));
        let Some(was) = if_readable(said)? else { return back_out("has an index that cannot be read") };
        let mut saved = Record::EMPTY;
        let mut run: Vec<u8> = Vec::new();
        let mut run_from = 0;
        for at in 0..GROUP_BLOCKS {
            let block = group * GROUP_BLOCKS + at;
            let (slot, was) = (slots.blocks[at as usize], was.blocks[at as usize]);
            let comes = from_slot(slot);
            if let Some(hash) = comes.filter(|hash| *hash != ZERO) {
                let bytes = if_readable(arrived.block(block, slot, block_len(new_size, block)))?;
                if bytes.is_none() {
                    // What is written over it may not be readable either.
                    incoming.forget_arrived(disk, id)?;
                }
                // The next sync reads each block of the overlay again before it counts it, and fetches this one anew.
                if bytes.is_none_or(|bytes| hash_block(&bytes) != hash) {
                    return back_out(&format!(
                        "has a block {block} that is not what was received: the disk altered it"
                    ));
                }
            }
            let replaced = comes.is_some_and(|hash| hash != was) || (block >= cut_from && was != ZERO);
            // A block beyond the old end counts too, as zeros: a point before a shrink reads through to here.
            let len = block_len(old_size, block);
            if !replaced {
                flush(&overlay, &mut run, run_from)?;
                continue;
            }
            saved.blocks[at as usize] = to_slot(was);
            let mut bytes = vec![0; len];
            let read = if_readable(live.read_at(&mut bytes, block * BLOCK_BYTES).map_err(cannot("read", &path)))?;
            bytes[read.unwrap_or(0)..].fill(0);
            if read.is_none() || hash_block(&bytes) != was {
                losses.block(id, block)?;
            }
            if was == ZERO {
                flush(&overlay, &mut run, run_from)?;
            } else {
                if run.is_empty() {
                    run_from = block;
                }
                run.extend_from_slice(&bytes);
            }
        }
        flush(&overlay, &mut run, run_from)?;
        if saved != Record::EMPTY {
            overlay.table.write(group, &saved)?;
        }
        group += 1;
    }
    overlay.sync_data()?;
    overlay.table.sync()?;
    Ok(Passed::Yes)
}

fn flush(overlay: &Overlay, run: &mut Vec<u8>, from: u64) -> Result<(), TransferError> {
    if run.is_empty() {
        return Ok(());
    }
    let written = overlay.put(from, run);
    run.clear();
    written
}
