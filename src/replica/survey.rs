//! The comparison: which blocks of which files a replica lacks.
//!
//! Group hashes come first, in order; of groups that differ the block hashes. Everything that the source says is
//! checked against what it said before: groups against the files' roots, blocks against their groups. What is wanted
//! of a large file is kept in a file beside what arrives, group by group; of a small one in memory.
//!
//! A file arrives in one of two ways. *Patched*: a large file that is there; its overlay gets the blocks that differ
//! from what lies there now. *Staged*: a new or small file, or one that is missing; all of it is put together beside
//! the replica, from the replica's own bytes where they are the same.
//!
//! Nothing of the newest point is touched here. A crash leaves overlays and their tables, in which every block shown
//! is durable; the next sync reads each of them again before it counts it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::block::{
    GROUP_BYTES, RootHasher, SLOTS, block_len, blocks_in, blocks_in_group, from_slot, groups_in, hash_block,
    hash_blocks, hash_group, to_slot,
};
use super::catalog::{FileId, KeptFile};
use super::fault::{cannot, if_readable, misuse};
use super::hashing::{data_bytes, read_small};
use super::index::{Index, Record};
use super::layer::{Layer, Overlay, exists, remove_if_there, write_sparse};
use super::port::{BLOCK_BYTES, GROUP_BLOCKS, Hash, TransferError, ZERO};
use crate::host::disk::{Disk, Open};
use crate::model::Digest;

/// Of which of an arriving file's bytes it is known whether the point before had them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Of all: there was no such file, or its hashes tell.
    Told,
    /// Of all: they are what the point had, whatever lies there now.
    Same,
    /// Of none: the point had so many, of which nothing is left. All of them count as replaced.
    Untold(u64),
}

/// What the replica has at an arriving file's path.
#[derive(Debug, Clone)]
pub(super) struct Present {
    /// The body.
    pub(super) body: KeptFile,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Its size as the point says.
    pub(super) size: u64,
    /// Its size as it lies.
    pub(super) live_size: u64,
    /// The hashes that the point says; none of a small file.
    pub(super) index: Option<PathBuf>,
    /// The hashes of the file as it lies, where it was modified and is large.
    pub(super) actual: Option<PathBuf>,
    /// Whether nothing lies there any more: only the hashes that the point says are left.
    pub(super) gone: bool,
}

/// What the figures of a comparison add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Bytes that must travel.
    pub(super) wanted: u64,
    /// Bytes that differ from the point before.
    pub(super) changed: u64,
    /// Bytes that an interrupted sync had left.
    pub(super) resumed: u64,
    /// Bytes of the point before that are replaced or lost.
    pub(super) replaced: u64,
    /// Bytes that undo takes.
    pub(super) undo: u64,
    /// Bytes that the replica's files grow by.
    pub(super) grown: u64,
    /// Blocks that must travel.
    pub(super) blocks: u64,
}

/// A file that arrives.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) id: FileId,
    pub(super) staged: bool,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) present: Option<Box<Present>>,
    /// What it is measured against where its change is judged.
    pub(super) before: Before,
    /// Whether something of it may lie in `incoming` from before.
    pub(super) resuming: bool,
    /// Bytes of its blocks that are not zeros, once the comparison is through; until then, of a patched file, how
    /// many more than before.
    pub(super) data: i64,
    /// Of a small file: the hashes of what an earlier sync left of it.
    left: Vec<Hash>,
    /// What it adds to the figures.
    pub(super) figures: Figures,
    /// Of a small file: the blocks that it still lacks, in order.
    lacking: Vec<(u64, Hash)>,
    /// Groups that differ and whose blocks are not known yet.
    owed: BTreeMap<u64, Hash>,
    next_group: u64,
    /// There are many files and few that are being compared: it is there only meanwhile.
    hasher: Option<Box<RootHasher>>,
    /// The root that all groups' hashes have.
    seen: Option<Digest>,
    /// The hashes of the small file that lies there.
    small: Option<Vec<Hash>>,
    /// Bytes that are the same as in the file that lies there.
    same: u64,
}

/// The files that one group's comparison reads and writes.
#[derive(Debug)]
struct Opened {
    overlay: Option<Overlay>,
    want: Option<Index>,
    index: Option<Index>,
    actual: Option<Index>,
}

impl Arrival {
    pub(super) fn new(id: FileId, staged: bool, path: String, size: u64, root: Digest) -> Self {
        Self {
            id,
            staged,
            path,
            size,
            root,
            present: None,
            before: Before::Told,
            resuming: false,
            data: 0,
            left: Vec::new(),
            figures: Figures::default(),
            lacking: Vec::new(),
            owed: BTreeMap::new(),
            next_group: 0,
            hasher: None,
            seen: None,
            small: None,
            same: 0,
        }
    }

    /// Whether it is held in memory rather than in tables.
    pub(super) const fn is_small(&self) -> bool {
        self.size <= GROUP_BYTES
    }

    /// Of a small file: the blocks that it still lacks, from block `from` on.
    pub(super) fn lacking_from(&self, from: u64) -> impl Iterator<Item = u64> {
        self.lacking[self.lacking.partition_point(|(block, _)| *block < from)..].iter().map(|(block, _)| *block)
    }

    /// What a block that a small file still lacks must hash to.
    pub(super) fn lacks(&self, block: u64) -> Option<Hash> {
        let at = self.lacking.binary_search_by_key(&block, |(block, _)| *block).ok()?;
        Some(self.lacking[at].1)
    }

    /// Notes that a block of a small file is there.
    pub(super) fn has_come(&mut self, block: u64) {
        self.lacking.retain(|(lacking, _)| *lacking != block);
        if self.lacking.is_empty() {
            self.lacking = Vec::new();
        }
    }

    /// Makes its files in `incoming`.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn prepare(&mut self, disk: &dyn Disk, incoming: &Layer) -> Result<(), TransferError> {
        if self.resuming && if_readable(self.look_at_left(disk, incoming))?.is_none() {
            // Nothing can be made of it, and nothing be written into it.
            self.resuming = false;
            self.left.clear();
        }
        if !self.resuming {
            incoming.forget_arrived(disk, self.id)?;
        }
        if self.is_small() {
            let path = incoming.data(self.id);
            let file = disk.open(&path, Open::Create).map_err(cannot("open", &path))?;
            if !self.left.is_empty() {
                return Ok(());
            }
            file.set_len(0).map_err(cannot("write", &path))?;
            return file.set_len(self.size).map_err(cannot("write", &path));
        }
        remove_if_there(disk, &incoming.wanted(self.id))?;
        let overlay = incoming.make_overlay(disk, self.id)?;
        if self.resuming {
            // The file may have become smaller since.
            overlay.table.cut(groups_in(self.size))?;
        }
        if self.staged && self.resuming {
            overlay.data.set_len(self.size).map_err(cannot("write", &incoming.data(self.id)))?;
        }
        Index::create(disk, &incoming.wanted(self.id)).map(|_| ())
    }

    /// Looks at what an earlier sync left, whether it can be read and written. Its bits may already be the file's own,
    /// which this program need not be allowed to write.
    fn look_at_left(&mut self, disk: &dyn Disk, incoming: &Layer) -> Result<(), TransferError> {
        let path = incoming.data(self.id);
        if !exists(disk, &path)? {
            return Ok(());
        }
        let stat = disk.symlink_metadata(&path).map_err(cannot("look at", &path))?;
        if stat.mode & 0o600 != 0o600 {
            disk.set_mode(&path, stat.mode | 0o600).map_err(cannot("set the mode of", &path))?;
        }
        let file = disk.open(&path, Open::ReadWrite).map_err(cannot("open", &path))?;
        if self.is_small() {
            if stat.size == self.size {
                let (bytes, _) = read_small(&*file, &path, self.size)?;
                self.left = hash_blocks(&bytes);
            }
            return Ok(());
        }
        let Some(table) = Index::open(disk, &incoming.table(self.id), Open::ReadWrite)? else { return Ok(()) };
        let mut next = table.next(0)?;
        while let Some(group) = next {
            table.record(group)?;
            next = table.next(group + 1)?;
        }
        Ok(())
    }

    fn open(&self, disk: &dyn Disk, incoming: &Layer) -> Result<Opened, TransferError> {
        let index_at = |path: Option<&PathBuf>| match path {
            Some(path) => Index::open(disk, path, Open::Read),
            None => Ok(None),
        };
        let present = self.present.as_ref();
        Ok(Opened {
            overlay: if self.is_small() { None } else { Some(incoming.make_overlay(disk, self.id)?) },
            want: if self.is_small() { None } else { Some(Index::create(disk, &incoming.wanted(self.id))?) },
            index: index_at(present.and_then(|present| present.index.as_ref()))?,
            actual: index_at(present.and_then(|present| present.actual.as_ref()))?,
        })
    }

    /// The hashes of a group of the file that lies there, as the point says and as it lies.
    fn here(&mut self, disk: &dyn Disk, opened: &Opened, group: u64) -> Result<(Record, Record), TransferError> {
        let Some(present) = &self.present else { return Ok((Record::EMPTY, Record::EMPTY)) };
        if let Some(index) = &opened.index {
            let said = index.record(group)?;
            let live = match &opened.actual {
                _ if present.gone => Record::EMPTY,
                Some(actual) => actual.record(group)?,
                None => said,
            };
            return Ok((said, live));
        }
        if let Some(actual) = &opened.actual {
            let live = actual.record(group)?;
            return Ok((live, live));
        }
        if present.live_size > GROUP_BYTES {
            return Ok((Record::EMPTY, Record::EMPTY));
        }
        if self.small.is_none() {
            let open = disk.open(&present.path, Open::Read).map_err(cannot("open", &present.path));
            let read = open.and_then(|file| read_small(&*file, &present.path, present.live_size));
            // One that cannot be read has nothing that need not travel.
            let bytes = if_readable(read)?.map_or_else(Vec::new, |(bytes, _)| bytes);
            self.small = Some(hash_blocks(&bytes));
        }
        let hashes = self.small.as_deref().unwrap_or_default();
        let live = if group == 0 { Record::of_blocks(hashes) } else { Record::EMPTY };
        Ok((live, live))
    }

    /// Takes group hashes; answers with the groups whose blocks must be compared.
    ///
    /// # Errors
    /// [`TransferError::Corrupt`] where they come out of order; I/O errors.
    pub(super) fn differing(
        &mut self,
        disk: &dyn Disk,
        incoming: &Layer,
        first: u64,
        hashes: &[Hash],
    ) -> Result<Vec<u64>, TransferError> {
        if first != self.next_group || first + hashes.len() as u64 > groups_in(self.size) {
            return Err(misuse(format!("group hashes of {} came out of order", self.path)));
        }
        let opened = self.open(disk, incoming)?;
        let mut hasher = self.hasher.take().unwrap_or_else(|| Box::new(RootHasher::new(self.size)));
        hasher.add(hashes);
        self.next_group += hashes.len() as u64;
        if self.next_group == groups_in(self.size) {
            self.seen = Some(hasher.finish());
        } else {
            self.hasher = Some(hasher);
        }
        let mut differing = Vec::new();
        for (group, hash) in (first..).zip(hashes) {
            // The group of a modified file may be the same as it lies and another than the point says: its undo is
            // due all the same.
            let same = if self.staged {
                *hash == ZERO
            } else {
                let (said, live) = self.here(disk, &opened, group)?;
                *hash == live.group && *hash == said.group
            };
            if same {
                self.clear(disk, &opened, incoming, group)?;
            } else {
                self.owed.insert(group, *hash);
                differing.push(group);
            }
        }
        Ok(differing)
    }

    /// Forgets what an earlier sync left of a group that needs nothing.
    fn clear(&self, disk: &dyn Disk, opened: &Opened, incoming: &Layer, group: u64) -> Result<(), TransferError> {
        for block in group * GROUP_BLOCKS..(group + 1) * GROUP_BLOCKS {
            self.wipe_left(disk, incoming, block)?;
        }
        let Some(overlay) = opened.overlay.as_ref().filter(|_| self.resuming) else { return Ok(()) };
        if overlay.table.record(group)? != Record::EMPTY {
            overlay.table.write(group, &Record::EMPTY)?;
        }
        if self.staged {
            let (start, path) = (group * GROUP_BYTES, incoming.data(self.id));
            let data = overlay.data.next_data(start).map_err(cannot("read", &path))?;
            if data.is_some_and(|(from, _)| from < start + GROUP_BYTES) {
                let len = GROUP_BYTES.min(self.size - start);
                overlay.data.punch_hole(start, len).map_err(cannot("write", &path))?;
            }
        }
        Ok(())
    }

    /// Makes a block of zeros of what an earlier sync left of a small file.
    fn wipe_left(&self, disk: &dyn Disk, incoming: &Layer, block: u64) -> Result<(), TransferError> {
        if self.left.get(block as usize).is_none_or(|hash| *hash == ZERO) {
            return Ok(());
        }
        let path = incoming.data(self.id);
        let data = disk.open(&path, Open::ReadWrite).map_err(cannot("open", &path))?;
        data.punch_hole(block * BLOCK_BYTES, block_len(self.size, block) as u64).map_err(cannot("write", &path))
    }

    /// Takes the block hashes of differing groups. Blocks that are taken from the replica's own bytes are returned:
    /// they are written, but not yet durable.
    ///
    /// # Errors
    /// [`TransferError::Corrupt`] where they are not what the groups' hashes say; I/O errors.
    pub(super) fn expect(
        &mut self,
        disk: &dyn Disk,
        incoming: &Layer,
        groups: &[u64],
        hashes: &[Hash],
    ) -> Result<Vec<(u64, Hash)>, TransferError> {
        let opened = self.open(disk, incoming)?;
        let mut rest = hashes;
        let mut copied = Vec::new();
        for group in groups {
            let count = blocks_in_group(self.size, *group);
            let Some((blocks, after)) = rest.split_at_checked(count) else {
                return Err(misuse(format!("too few block hashes of {}", self.path)));
            };
            rest = after;
            let owed = self.owed.remove(group);
            if owed != Some(hash_group(blocks)) {
                return Err(TransferError::Corrupt(format!(
                    "the source's block hashes of {} are not what its group hashes say",
                    self.path
                )));
            }
            self.expect_group(disk, incoming, &opened, *group, blocks, &mut copied)?;
        }
        if self.owed.is_empty() {
            // An empty map keeps room for its next entries.
            self.owed = BTreeMap::new();
        }
        if rest.is_empty() { Ok(copied) } else { Err(misuse(format!("too many block hashes of {}", self.path))) }
    }

    fn expect_group(
        &mut self,
        disk: &dyn Disk,
        incoming: &Layer,
        opened: &Opened,
        group: u64,
        expected: &[Hash],
        copied: &mut Vec<(u64, Hash)>,
    ) -> Result<(), TransferError> {
        let (said, live) = self.here(disk, opened, group)?;
        let mut have = opened.overlay.as_ref().map_or(Ok(Record::EMPTY), |overlay| overlay.table.record(group))?;
        let had = have;
        have.blocks[expected.len()..].fill(ZERO);
        let mut want = Record::EMPTY;
        // Where a file lies otherwise than its point says and as the source has it, writing it again costs nothing
        // that matters and lets undo see the block.
        let mut lies = None;
        for (at, hash) in expected.iter().enumerate() {
            let block = group * GROUP_BLOCKS + at as u64;
            let len = block_len(self.size, block) as u64;
            let (is, was) = (live.blocks[at], said.blocks[at]);
            let was_len = self.present.as_ref().map_or(0, |present| block_len(present.size, block) as u64);
            self.count(*hash, was, len, was_len);
            let there = from_slot(have.blocks[at]).filter(|_| self.resuming);
            if self.staged {
                have.blocks[at] = ZERO;
                if *hash == ZERO {
                    self.wipe_left(disk, incoming, block)?;
                    if self.resuming
                        && let Some(overlay) = &opened.overlay
                    {
                        let start = block * BLOCK_BYTES;
                        overlay.data.punch_hole(start, len).map_err(cannot("write", &incoming.data(self.id)))?;
                    }
                } else if there == Some(*hash) && self.holds(opened, block, *hash)? {
                    have.blocks[at] = *hash;
                    self.figures.resumed += len;
                } else if self.left.get(block as usize) == Some(hash) {
                    self.figures.resumed += len;
                } else if is == *hash && self.copy(disk, incoming, &mut lies, block, *hash)? {
                    copied.push((block, *hash));
                } else {
                    want.blocks[at] = *hash;
                }
                continue;
            }
            have.blocks[at] = ZERO;
            if *hash == is && *hash == was {
                continue;
            }
            if is == ZERO && *hash != ZERO {
                self.figures.grown += len;
            }
            if *hash != was && was != ZERO {
                self.figures.undo += was_len;
            }
            if *hash == ZERO {
                have.blocks[at] = to_slot(ZERO);
            } else if there == Some(*hash) && self.holds(opened, block, *hash)? {
                have.blocks[at] = *hash;
                self.figures.resumed += len;
            } else if is == *hash && self.copy(disk, incoming, &mut lies, block, *hash)? {
                copied.push((block, *hash));
            } else {
                want.blocks[at] = *hash;
            }
        }
        have.group = if self.staged { hash_group(expected) } else { ZERO };
        self.data += data_bytes(self.size, group, expected) as i64;
        if !self.staged {
            let size = self.present.as_ref().map_or(0, |present| present.size);
            self.data -= data_bytes(size, group, &said.blocks) as i64;
        }
        let wanted: Vec<usize> = (0..expected.len()).filter(|at| want.blocks[*at] != ZERO).collect();
        self.figures.blocks += wanted.len() as u64;
        self.figures.wanted +=
            wanted.iter().map(|at| block_len(self.size, group * GROUP_BLOCKS + *at as u64) as u64).sum::<u64>();
        if let Some(overlay) = &opened.overlay
            && have != had
        {
            overlay.table.write(group, &have)?;
        }
        match &opened.want {
            Some(index) if !wanted.is_empty() => index.write(group, &want),
            Some(_) => Ok(()),
            None => {
                self.lacking.reserve_exact(wanted.len());
                self.lacking.extend(wanted.iter().map(|at| (group * GROUP_BLOCKS + *at as u64, want.blocks[*at])));
                Ok(())
            }
        }
    }

    /// Counts a block into the figures about change.
    fn count(&mut self, expected: Hash, was: Hash, len: u64, was_len: u64) {
        if expected == was {
            self.same += if was == ZERO { 0 } else { was_len.min(len) };
        } else {
            self.figures.changed += len.max(was_len);
        }
    }

    /// Whether a block that an earlier sync left is what its slot says.
    fn holds(&self, opened: &Opened, block: u64, hash: Hash) -> Result<bool, TransferError> {
        let Some(overlay) = &opened.overlay else { return Ok(false) };
        let bytes = if_readable(overlay.block(block, hash, block_len(self.size, block)))?;
        Ok(bytes.is_some_and(|bytes| hash_block(&bytes) == hash))
    }

    /// Takes a block from the file that lies there, if it is what its hash says.
    fn copy(
        &self,
        disk: &dyn Disk,
        incoming: &Layer,
        lies: &mut Option<Box<dyn crate::host::disk::DiskFile>>,
        block: u64,
        hash: Hash,
    ) -> Result<bool, TransferError> {
        let Some(present) = &self.present else { return Ok(false) };
        if lies.is_none() {
            *lies = if_readable(disk.open(&present.path, Open::Read).map_err(cannot("open", &present.path)))?;
        }
        let Some(file) = lies else { return Ok(false) };
        let mut bytes = vec![0; block_len(self.size, block)];
        let read = file.read_at(&mut bytes, block * BLOCK_BYTES).map_err(cannot("read", &present.path));
        if if_readable(read)? != Some(bytes.len()) || hash_block(&bytes) != hash {
            return Ok(false);
        }
        let path = incoming.data(self.id);
        let data = disk.open(&path, Open::ReadWrite).map_err(cannot("open", &path))?;
        write_sparse(&*data, &path, block * BLOCK_BYTES, &bytes)?;
        Ok(true)
    }

    /// Ends the comparison of this file.
    ///
    /// # Errors
    /// [`TransferError::Corrupt`] where it is not complete, or not what the file's root says; I/O errors.
    pub(super) fn finish(&mut self, disk: &dyn Disk, incoming: &Layer) -> Result<(), TransferError> {
        if self.next_group != groups_in(self.size) || !self.owed.is_empty() {
            return Err(misuse(format!("the comparison of {} is not complete", self.path)));
        }
        // A file without groups was never compared.
        if self.seen.unwrap_or_else(|| RootHasher::new(self.size).finish()) != self.root {
            return Err(TransferError::Corrupt(format!(
                "the source's hashes of {} are not what its root says",
                self.path
            )));
        }
        (self.small, self.left) = (None, Vec::new());
        self.count_replaced(disk, incoming)?;
        match self.before {
            Before::Told => {}
            Before::Same => (self.figures.changed, self.figures.replaced) = (0, 0),
            Before::Untold(bytes) => self.figures.replaced = bytes,
        }
        Ok(())
    }

    /// Counts what the file that lies there has and the coming one does not.
    fn count_replaced(&mut self, disk: &dyn Disk, incoming: &Layer) -> Result<(), TransferError> {
        let Some(present) = &self.present else { return Ok(()) };
        let before = present.body.data.0;
        if self.staged {
            self.figures.replaced += before.saturating_sub(self.same);
            return Ok(());
        }
        self.data += before as i64;
        // What is cut off.
        let opened = self.open(disk, incoming)?;
        let kept_blocks = blocks_in(self.size);
        let size = present.size;
        let mut group = kept_blocks / GROUP_BLOCKS;
        while let Some(index) = &opened.index
            && group < groups_in(size)
        {
            let Some(next) = index.next(group)? else { break };
            group = next;
            let record = index.record(group)?;
            let mut cut = Record::EMPTY;
            let from = kept_blocks.saturating_sub(group * GROUP_BLOCKS).min(GROUP_BLOCKS) as usize;
            cut.blocks[from..SLOTS].copy_from_slice(&record.blocks[from..SLOTS]);
            let bytes = data_bytes(size, group, &cut.blocks);
            self.figures.changed += bytes;
            self.figures.undo += bytes;
            // Those of a group that goes on were taken off when it was compared.
            if from == 0 {
                self.data -= bytes as i64;
            }
            group += 1;
        }
        self.figures.replaced += self.figures.undo;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each file that arrives, all at once.
    #[test]
    fn an_arrival_is_small() {
        assert!(size_of::<Arrival>() <= 384, "{}", size_of::<Arrival>());
    }
}
