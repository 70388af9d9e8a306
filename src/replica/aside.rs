//! What somebody else wrote at a replica is set aside as a named point before anything is written over it.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | read modified files again | nothing is written but hashes in `incoming` | hashes that the next sync writes anew |
//! | move what cannot be read beside the set-aside points | it is kept as it is; from then on it is missing | it at either place |
//! | look for room | nothing is written | |
//! | copy modified blocks into the layer | the replica's files are not touched | a layer without a record, overwritten by the next one |
//! | commit the point | it can be exported: it shares all other bytes with the point that the files showed | the point; what is in the way still in its place |
//! | move what is in the way into the layer | a file is at its path or in the layer, and found in both | some moved, some not: the next sync goes on |

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::beside::put_beside;
use super::block::{GROUP_BYTES, block_len, groups_in, to_slot};
use super::catalog::{
    Catalog, CatalogChange, FileId, FileIdentity, KeptEntry, KeptFile, KeptManifest, PointRecord, ReplicaRecord,
    Standing,
};
use super::fault::{StopCheck, cannot, if_readable, if_readable_at};
use super::hashing::{hash_file, read_small};
use super::index::{Index, Record};
use super::inspect::Findings;
use super::layer::{Layer, make_dir, move_if_there, remove_if_there, remove_tree};
use super::manifest::{Entry, Node};
use super::place::{ReplicaPlace, with_tables};
use super::port::{BLOCK_BYTES, GROUP_BLOCKS, Hash, TransferError, ZERO};
use super::room::Room;
use super::tree::{Found, FoundNode, identity};
use crate::host::disk::{Disk, DiskFile, FileStat, Open};
use crate::model::point::{BlockReason, Outline, Point, PointKind, PointState, Refusal};
use crate::model::region::Epoch;
use crate::model::{ByteCount, Digest, RegionId, Timestamp};

/// What a replica's files are, compared with its newest point.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// Files that are not what the point says, and how they lie now; none: not there. A large one that is there has
    /// its hashes in `incoming`, by [`Layer::actual`].
    pub(super) modified: BTreeMap<FileId, Option<FileIdentity>>,
    /// What was set aside, by name.
    pub(super) names: Vec<String>,
    /// The base's manifest, with the identities of files that were read again and found to be what the point says.
    pub(super) kept: KeptManifest,
}

/// Everything that setting aside works on.
#[derive(Debug)]
pub(super) struct SettingAside<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) catalog: &'a dyn Catalog,
    pub(super) place: &'a ReplicaPlace,
    /// This region, and the epoch that it is told of.
    pub(super) here: (&'a RegionId, Epoch),
    pub(super) now: Timestamp,
    pub(super) room: &'a Room,
    pub(super) stop: &'a StopCheck,
}

/// A file that is modified for good: what it is now.
struct Modified {
    at: usize,
    stat: FileStat,
    reread: Reread,
}

/// What reading a file again gave, where that is not what the point says.
#[derive(Clone, Copy)]
struct Reread {
    root: Digest,
    /// Whether it is kept as a whole: it is small, or which blocks are the point's cannot be told.
    whole: bool,
}

impl SettingAside<'_> {
    /// Reads what may be modified again, and sets aside what is.
    ///
    /// # Errors
    /// I/O errors; [`TransferError::Blocked`] where something is in the way that cannot be set aside.
    pub(super) fn run(
        &self,
        record: &mut ReplicaRecord,
        base: Option<u64>,
        kept: KeptManifest,
        findings: &Findings,
    ) -> Result<Replicas, TransferError> {
        if let Some(refused) = &findings.refused {
            let detail = format!("at the replica, {} {}", refused.path, refused.reason);
            return Err(TransferError::blocked(BlockReason::Unsupported, detail, None, self.now));
        }
        let mut replicas = Replicas { kept, ..Replicas::default() };
        for at in &findings.missing {
            if let Some(file) = &replicas.kept.entries[*at].file {
                replicas.modified.insert(file.id, None);
            }
        }
        let mut modified = Vec::new();
        let mut refreshed = false;
        let mut findings = findings.clone();
        let sequence = record.next_sequence.max(1);
        for (at, stat) in std::mem::take(&mut findings.modified) {
            let kept = &replicas.kept.entries[at];
            let path = self.place.files.join(&kept.entry.path);
            let Some(read) = if_readable_at(&path, self.read_again(kept, &stat))? else {
                replicas.names.push(put_beside(self.disk, self.place, sequence, &path)?);
                replicas.modified.extend(kept.file.as_ref().map(|file| (file.id, None)));
                findings.missing.insert(at);
                continue;
            };
            match read {
                Some(reread) => {
                    let body = kept.file.as_ref();
                    replicas.modified.extend(body.map(|file| (file.id, Some(identity(&stat)))));
                    if body.is_some_and(|file| !file.torn) {
                        modified.push(Modified { at, stat, reread });
                    }
                }
                None => {
                    if let Some(file) = &mut replicas.kept.entries[at].file {
                        file.identity = Some(identity(&stat));
                        file.torn = false;
                        refreshed = true;
                    }
                }
            }
        }
        if refreshed && let Some(record) = base.and_then(|base| record.points.get(&base)) {
            let record = Box::new(record.clone());
            let change = CatalogChange::Point { record, manifest: Some(replicas.kept.clone()) };
            self.catalog.commit(&self.place.resource, &[change])?;
        }
        let mut roots = BTreeMap::new();
        for found in std::mem::take(&mut findings.extra) {
            if found.node == FoundNode::File {
                let Some(root) = if_readable(self.root_of(&found))? else {
                    replicas.names.push(put_beside(self.disk, self.place, sequence, &found.at)?);
                    continue;
                };
                roots.insert(found.path.clone(), root);
            }
            findings.extra.push(found);
        }
        // Directories are no content that could be lost.
        let worth_keeping = findings.extra.iter().any(|found| found.node != FoundNode::Directory);
        if !modified.is_empty() || worth_keeping {
            let name = self.keep(record, base, &replicas.kept, (&findings, &roots), &modified)?;
            replicas.names.push(name);
        } else if !findings.extra.is_empty() {
            self.clear(&findings)?;
        }
        Ok(replicas)
    }

    fn root_of(&self, found: &Found) -> Result<Digest, TransferError> {
        let file = self.disk.open(&found.at, Open::Read).map_err(cannot("open", &found.at))?;
        hash_file(&*file, &found.at, found.stat.size, None, self.stop).map(|(root, _)| root)
    }

    /// The root of a file that lies otherwise than it was published; none where its bytes are what the point says.
    fn read_again(&self, kept: &KeptEntry, stat: &FileStat) -> Result<Option<Reread>, TransferError> {
        let (Node::File { size, root: expected }, Some(body)) = (&kept.entry.node, &kept.file) else { return Ok(None) };
        let path = self.place.files.join(&kept.entry.path);
        let file = self.disk.open(&path, Open::Read).map_err(cannot("open", &path))?;
        if stat.size <= GROUP_BYTES && size.0 <= GROUP_BYTES {
            let (_, root) = read_small(&*file, &path, stat.size)?;
            return Ok((root != *expected).then_some(Reread { root, whole: true }));
        }
        let incoming = Layer(self.place.incoming.clone());
        incoming.make(self.disk)?;
        let actual = incoming.actual(body.id);
        remove_if_there(self.disk, &actual)?;
        let index = Index::create(self.disk, &actual)?;
        let (root, _) = hash_file(&*file, &path, stat.size, Some(&index), self.stop)?;
        let kept_index = self.place.index_of(body.id);
        if root != *expected {
            let large = stat.size > GROUP_BYTES && size.0 > GROUP_BYTES;
            let sound = large && self.is_sound(&kept_index, size.0, *expected)?;
            if large && !sound {
                // Nobody can tell any more what the point had. What is written is compared with what lies there.
                remove_if_there(self.disk, &kept_index)?;
                copy_file(
                    self.disk,
                    &actual,
                    &kept_index,
                    self.disk.symlink_metadata(&actual).map_err(cannot("look at", &actual))?.size,
                )?;
            }
            return Ok(Some(Reread { root, whole: !sound }));
        }
        // What was read is what should be there: if the index says otherwise, it is the index that is damaged.
        index.sync()?;
        make_dir(self.disk, &self.place.index)?;
        self.disk.rename(&actual, &kept_index).map_err(cannot("move", &actual))?;
        self.disk.sync_dir(&self.place.index).map_err(cannot("sync", &self.place.index))?;
        Ok(None)
    }

    fn is_sound(&self, index: &Path, size: u64, root: Digest) -> Result<bool, TransferError> {
        let Some(index) = if_readable(Index::open(self.disk, index, Open::Read))?.flatten() else { return Ok(false) };
        Ok(if_readable(index.is_sound(size, root))? == Some(true))
    }

    fn keep(
        &self,
        record: &mut ReplicaRecord,
        base: Option<u64>,
        kept: &KeptManifest,
        (findings, roots): (&Findings, &BTreeMap<String, Digest>),
        modified: &[Modified],
    ) -> Result<String, TransferError> {
        let mut next_file = record.next_file;
        let mut fresh = || {
            next_file += 1;
            FileId(next_file - 1)
        };
        let changed: BTreeMap<usize, &Modified> = modified.iter().map(|modified| (modified.at, modified)).collect();
        let mut entries: Vec<KeptEntry> = Vec::new();
        let mut copies: Vec<(FileId, String, u64)> = Vec::new();
        for (at, kept) in kept.entries.iter().enumerate().filter(|(at, _)| !findings.missing.contains(at)) {
            if kept.file.as_ref().is_some_and(|file| file.torn) {
                continue;
            }
            let Some(modified) = changed.get(&at) else {
                entries.push(kept.clone());
                continue;
            };
            let Some(body) = &kept.file else { continue };
            let whole = modified.reread.whole;
            let id = if whole { fresh() } else { body.id };
            if whole {
                copies.push((id, kept.entry.path.clone(), modified.stat.size));
            }
            let node = Node::File { size: ByteCount(modified.stat.size), root: modified.reread.root };
            entries.push(found_entry(&kept.entry.path, node, &modified.stat, Some(id)));
        }
        let mut moves: Vec<(FileId, String)> = Vec::new();
        for found in &findings.extra {
            let (node, id) = match &found.node {
                FoundNode::Directory => (Node::Directory, None),
                FoundNode::Link(to) => (Node::Link { to: to.clone() }, None),
                FoundNode::File => {
                    let Some(root) = roots.get(&found.path).copied() else { continue };
                    let id = fresh();
                    moves.push((id, found.path.clone()));
                    (Node::File { size: ByteCount(found.stat.size), root }, Some(id))
                }
            };
            entries.push(found_entry(&found.path, node, &found.stat, id));
        }
        entries.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let manifest = KeptManifest { entries };
        let plain = manifest.to_manifest();
        let data_hash = plain.data_hash();

        let same = |there: &&PointRecord| there.base == base && there.point.data_hash == data_hash;
        if let Some(there) = record.set_aside().find(same) {
            // An earlier sync set this aside and came no further.
            let sequence = there.point.sequence;
            let name = there.point.name.clone().unwrap_or_default();
            let manifest = self.catalog.manifest(&self.place.resource, sequence)?;
            let ids: BTreeMap<&str, FileId> = manifest
                .entries
                .iter()
                .filter_map(|kept| kept.file.as_ref().map(|file| (kept.entry.path.as_str(), file.id)))
                .collect();
            for (id, path) in &mut moves {
                *id = ids.get(path.as_str()).copied().unwrap_or(*id);
            }
            self.move_out(&Layer(self.place.set_aside(sequence)), &moves, findings)?;
            return Ok(name);
        }

        let sequence = record.next_sequence.max(1);
        let layer = Layer(self.place.set_aside(sequence));
        let patched: Vec<(&KeptFile, &Modified, &Entry)> = modified
            .iter()
            .filter_map(|modified| {
                let KeptEntry { entry, file, lies: _ } = &kept.entries[modified.at];
                let body = file.as_ref()?;
                let blocks =
                    manifest.entries.iter().filter_map(|kept| kept.file.as_ref()).any(|file| file.id == body.id);
                blocks.then_some((body, modified, entry))
            })
            .collect();
        // A kill may have left something there that no record names.
        remove_tree(self.disk, &layer.0)?;
        let blocks = |at: usize| patched.iter().any(|(_, modified, _)| modified.at == at);
        let whole = modified.iter().filter(|modified| !blocks(modified.at)).map(|modified| &modified.stat);
        self.look_for_room(&patched, whole.map(|stat| stat.size.min(stat.allocated)).sum())?;
        if let Err(error) = self.fill(&layer, &patched, &copies) {
            // The first error is what matters; what cannot be removed now is removed by the next sync.
            let _ = remove_tree(self.disk, &layer.0);
            return Err(error);
        }
        let files: Vec<_> = plain.files().collect();
        let point = Point {
            sequence,
            name: Some(format!("{}-{sequence}", if base.is_some() { "modified" } else { "found" })),
            data_hash,
            read_at: self.now,
            verified_at: self.now,
            source: self.here.0.clone(),
            epoch: self.here.1,
            kind: PointKind::Quiet,
            state: PointState::SetAside,
            bytes: plain.bytes(),
            files: files.len() as u64,
        };
        let outline = Outline { files: point.files, bytes: point.bytes, ..Outline::default() };
        let name = point.name.clone().unwrap_or_default();
        let aside =
            PointRecord { point, source_stamp: None, outline, standing: Standing::Published, base, adopted: false };
        record.next_sequence = sequence + 1;
        record.next_file = next_file;
        self.catalog.commit(
            &self.place.resource,
            &[
                CatalogChange::Counters { next_sequence: record.next_sequence, next_file },
                CatalogChange::Point { record: Box::new(aside.clone()), manifest: Some(manifest) },
            ],
        )?;
        record.points.insert(sequence, aside);
        self.move_out(&layer, &moves, findings)?;
        Ok(name)
    }

    fn fill(
        &self,
        layer: &Layer,
        patched: &[(&KeptFile, &Modified, &Entry)],
        copies: &[(FileId, String, u64)],
    ) -> Result<(), TransferError> {
        layer.make(self.disk)?;
        for (body, modified, entry) in patched {
            self.copy_modified_blocks(layer, body, entry, &modified.stat)?;
        }
        for (id, path, size) in copies {
            copy_file(self.disk, &self.place.files.join(path), &layer.whole(*id), *size)?;
        }
        layer.sync(self.disk)
    }

    /// Refuses where what is to be copied, and `small` bytes more, find no room.
    fn look_for_room(&self, patched: &[(&KeptFile, &Modified, &Entry)], small: u64) -> Result<(), TransferError> {
        let mut needed = small;
        for (body, modified, entry) in patched {
            self.differing(body, entry, &modified.stat, |block, now, _| {
                needed += if now == ZERO { 0 } else { block_len(modified.stat.size, block) as u64 };
                Ok(())
            })?;
        }
        let needed = with_tables(needed);
        let files = &self.place.files;
        if let Err(too_small) = self.room.has(self.disk, files, needed)? {
            let needed = ByteCount(needed);
            let detail = format!("{needed} are needed to set aside what was modified at the replica, {too_small}");
            return Err(TransferError::Blocked(Refusal {
                reason: BlockReason::NoSpace,
                detail,
                source_stamp: None,
                needed: Some(needed),
                lost: None,
                max_change: None,
                at: self.now,
            }));
        }
        Ok(())
    }

    /// Calls `with` for each block of a large file that is not what the point says: its number, its hash, and whether
    /// it is the last of its group that differs.
    fn differing(
        &self,
        body: &KeptFile,
        entry: &Entry,
        stat: &FileStat,
        mut with: impl FnMut(u64, Hash, bool) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let gone = || TransferError::Corrupt(format!("the index of {} is missing", entry.path));
        let actual = Index::open(self.disk, &Layer(self.place.incoming.clone()).actual(body.id), Open::Read)?;
        let actual = actual.ok_or_else(gone)?;
        let index = Index::open(self.disk, &self.place.index_of(body.id), Open::Read)?;
        for group in 0..groups_in(stat.size) {
            self.stop.go_on()?;
            let now = actual.record(group)?;
            let was = index.as_ref().map_or(Ok(Record::EMPTY), |index| index.record(group))?;
            let differs = |at: &usize| {
                let block = group * GROUP_BLOCKS + *at as u64;
                now.blocks[*at] != was.blocks[*at] && block_len(stat.size, block) > 0
            };
            let mut blocks = (0..now.blocks.len()).filter(differs).peekable();
            while let Some(at) = blocks.next() {
                with(group * GROUP_BLOCKS + at as u64, now.blocks[at], blocks.peek().is_none())?;
            }
        }
        Ok(())
    }

    /// Saves those blocks of a large file that are not what the point says.
    fn copy_modified_blocks(
        &self,
        layer: &Layer,
        body: &KeptFile,
        entry: &Entry,
        stat: &FileStat,
    ) -> Result<(), TransferError> {
        let path = self.place.files.join(&entry.path);
        let live = self.disk.open(&path, Open::Read).map_err(cannot("open", &path))?;
        layer.forget(self.disk, body.id)?;
        let overlay = layer.make_overlay(self.disk, body.id)?;
        let mut slots = Record::EMPTY;
        self.differing(body, entry, stat, |block, now, last| {
            slots.blocks[(block % GROUP_BLOCKS) as usize] = to_slot(now);
            if now != ZERO {
                let mut bytes = vec![0; block_len(stat.size, block)];
                live.read_at(&mut bytes, block * BLOCK_BYTES).map_err(cannot("read", &path))?;
                overlay.put(block, &bytes)?;
            }
            if last {
                let slots = std::mem::replace(&mut slots, Record::EMPTY);
                overlay.table.write(block / GROUP_BLOCKS, &slots)?;
            }
            Ok(())
        })?;
        overlay.sync_data()?;
        overlay.table.sync()
    }

    /// Moves what is in the way into the layer.
    fn move_out(&self, layer: &Layer, moves: &[(FileId, String)], findings: &Findings) -> Result<(), TransferError> {
        let mut left = BTreeSet::new();
        for (id, path) in moves {
            let from = self.place.files.join(path);
            move_if_there(self.disk, &from, &layer.whole(*id))?;
            left.extend(from.parent().map(Path::to_owned));
        }
        layer.sync(self.disk)?;
        for directory in left {
            self.disk.sync_dir(&directory).map_err(cannot("sync", &directory))?;
        }
        self.clear(findings)
    }

    /// Removes links and directories that are in the way, the innermost first; what they say is in the manifest.
    fn clear(&self, findings: &Findings) -> Result<(), TransferError> {
        for found in findings.extra.iter().rev() {
            match found.node {
                FoundNode::Link(_) => {
                    remove_if_there(self.disk, &found.at)?;
                }
                FoundNode::Directory => match self.disk.remove_dir(&found.at) {
                    // Something new is in it: the next look will show it.
                    Ok(()) | Err(_) => {}
                },
                FoundNode::File => {}
            }
        }
        Ok(())
    }
}

fn found_entry(path: &str, node: Node, stat: &FileStat, id: Option<FileId>) -> KeptEntry {
    let entry =
        Entry { path: path.to_owned(), node, mode: stat.mode, mtime_ns: stat.mtime_ns, owner: (stat.uid, stat.gid) };
    KeptEntry { entry, file: id.map(|id| KeptFile { id, identity: None, data: ByteCount(0), torn: false }), lies: None }
}

/// Copies a file, holes as holes, and makes it durable.
///
/// # Errors
/// I/O errors.
pub(super) fn copy_file(disk: &dyn Disk, from: &Path, to: &Path, size: u64) -> Result<(), TransferError> {
    remove_if_there(disk, to)?;
    let source = disk.open(from, Open::Read).map_err(cannot("open", from))?;
    let copy: Box<dyn DiskFile> = disk.open(to, Open::CreateNew).map_err(cannot("open", to))?;
    let mut buffer = vec![0; GROUP_BYTES.min(size) as usize];
    let mut at = 0;
    while let Some((start, end)) = source.next_data(at).map_err(cannot("read", from))? {
        let len = (end.min(size).saturating_sub(start)).min(buffer.len() as u64) as usize;
        if len == 0 {
            break;
        }
        let read = source.read_at(&mut buffer[..len], start).map_err(cannot("read", from))?;
        copy.write_at(&buffer[..read], start).map_err(cannot("write", to))?;
        at = start + read.max(1) as u64;
    }
    copy.set_len(size).map_err(cannot("write", to))?;
    copy.sync_all().map_err(cannot("sync", to))
}
