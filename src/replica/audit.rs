//! Reading back what a replica holds, a part at a time, and comparing it with what was copied.
//!
//! A pass goes over the files, which show the newest point, in the order of their paths, and then over what older
//! points and set-aside ones have of their own, the latest first. Each part of it is due in proportion: half of the
//! bytes when half of the time is over. What is due is read by whoever asks first; how fast is the caller's business.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | reading a part | nothing is written | the place where the part began: it is read again |
//! | noting what was found | files that are not what was copied are not trusted from then on, older points that have lost bytes are damaged, and how far the pass is: all in one commit | either side |
//!
//! What only looks modified is the plan's to see, and is left out here. What is found in the files is mended by the next
//! sync, which reads them again; an older point's own bytes are nowhere else, and it is given up.

use std::time::Duration;

use super::block::{GROUP_BYTES, block_len, blocks_in, from_slot, groups_in, hash_block, hash_blocks, root_of};
use super::catalog::{Catalog, CatalogChange, FileId, KeptEntry, KeptManifest, Phase, ReplicaRecord};
use super::fault::{StopCheck, cannot, if_readable};
use super::index::{Index, Record};
use super::layer::{Layer, exists, read_if_data};
use super::losses::Losses;
use super::manifest::Node;
use super::place::ReplicaPlace;
use super::port::{BLOCK_BYTES, GROUP_BLOCKS, Hash, TransferError, ZERO};
use super::prune;
use super::tree::identity;
use super::verify::{distrusting, wrong_file};
use crate::host::disk::{Disk, DiskFile, Open};
use crate::model::audit::{AuditFinding, AuditPlace, AuditState};
use crate::model::{ByteCount, Digest, Timestamp};

/// A pass is meant to take so many eighths of the period: the rest is for rounds that were left out.
const MEANT: u32 = 7;
/// So many groups are looked at in one part, holes too, which cost a call each.
const PART_GROUPS: u64 = 4096;

/// One part of a pass.
#[derive(Debug, Clone, Copy)]
pub struct AuditPart<'a> {
    /// The machine's disk.
    pub disk: &'a dyn Disk,
    /// The region's records.
    pub catalog: &'a dyn Catalog,
    /// What is read.
    pub place: &'a ReplicaPlace,
    /// Now.
    pub now: Timestamp,
    /// The time within which all of it is read once.
    pub period: Duration,
    /// The most bytes that this part reads; one group at least.
    pub budget: u64,
    /// What stops it.
    pub stop: &'a StopCheck,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedPart {
    /// Bytes read.
    pub read: ByteCount,
    /// What was found; the pass goes on behind it.
    pub found: Option<AuditFinding>,
    /// Whether it cannot be read now: there is no point, or one is being put in.
    pub busy: bool,
}

/// When the next part of a replica is due; none: there is nothing to read, or not now.
///
/// # Errors
/// Where the records cannot be read.
pub fn next_due(
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    state: &AuditState,
    (now, period): (Timestamp, Duration),
) -> Result<Option<Timestamp>, TransferError> {
    let record = catalog.load(&place.resource)?;
    if is_patched(&record) {
        return Ok(None);
    }
    let Some(newest) = record.newest().map(|newest| newest.point.sequence) else { return Ok(None) };
    let manifest = catalog.manifest(&place.resource, newest)?;
    let course = Course::of(&record, &manifest, state, period);
    Ok(course.next(state).map(|end| course.due(started(state, now), end)))
}

/// When the pass began; a clock that was set back makes it begin now.
fn started(state: &AuditState, now: Timestamp) -> Timestamp {
    state.began.min(now)
}

/// Whether the files are of two points at once.
fn is_patched(record: &ReplicaRecord) -> bool {
    record.receiving.as_ref().is_some_and(|receiving| receiving.phase >= Phase::TakingOut)
}

/// A regular file that has bytes: its size, its root and its number.
fn file_of(kept: &KeptEntry) -> Option<(u64, Digest, FileId)> {
    match (&kept.entry.node, &kept.file) {
        (Node::File { size, root }, Some(body)) if size.0 > 0 => Some((size.0, *root, body.id)),
        (Node::File { .. } | Node::Directory | Node::Link { .. }, _) => None,
    }
}

/// What a pass goes over, in bytes.
struct Course<'a> {
    manifest: &'a KeptManifest,
    /// The files together.
    files: u64,
    /// Older points and set-aside ones, the latest first.
    older: Vec<u64>,
    /// What each of them counts for: as much as the last pass found, shared out.
    each: u64,
    meant: Duration,
}

impl<'a> Course<'a> {
    fn of(record: &ReplicaRecord, manifest: &'a KeptManifest, state: &AuditState, period: Duration) -> Self {
        let newest = record.newest().map(|newest| newest.point.sequence);
        let kept = record.chain().chain(record.set_aside()).filter(|point| Some(point.point.sequence) != newest);
        let whole = kept.filter(|point| !point.point.state.is_damaged());
        let mut older: Vec<u64> = whole.map(|point| point.point.sequence).collect();
        older.sort_unstable_by(|a, b| b.cmp(a));
        let each = (state.older.0 / (older.len() as u64).max(1)).max(GROUP_BYTES);
        let files = manifest.entries.iter().filter_map(file_of).map(|(size, ..)| size).sum();
        Self { manifest, files, older, each, meant: period * MEANT / 8 }
    }

    /// When what ends `end` bytes behind the beginning is due.
    fn due(&self, began: Timestamp, end: u64) -> Timestamp {
        let total = u128::from(self.files + self.each * self.older.len() as u64).max(1);
        let after = self.meant.as_micros() * u128::from(end) / total;
        began.plus(Duration::from_micros(u64::try_from(after).unwrap_or(u64::MAX)))
    }

    /// Where the next part ends, in bytes from the beginning; none: there is nothing to read.
    fn next(&self, state: &AuditState) -> Option<u64> {
        let mut at = 0;
        let place = state.next.as_ref();
        if place.is_none_or(|place| place.point.is_none()) {
            for kept in &self.manifest.entries {
                let Some((size, ..)) = file_of(kept) else { continue };
                let group = place.map_or(0, |place| from(place, &kept.entry.path, groups_in(size)));
                if group < groups_in(size) {
                    return Some(at + ((group + 1) * GROUP_BYTES).min(size));
                }
                at += size;
            }
        }
        let left = place.and_then(|place| place.point);
        let passed = self.older.iter().filter(|sequence| left.is_some_and(|left| **sequence > left)).count();
        match (self.older.len(), self.files) {
            (0, 0) => None,
            (0, files) => Some(files),
            (many, files) => Some(files + self.each * (passed as u64 + 1).min(many as u64)),
        }
    }
}

/// The group that a file of so many goes on with.
fn from(place: &AuditPlace, path: &str, groups: u64) -> u64 {
    match path.cmp(&place.path) {
        std::cmp::Ordering::Less => groups,
        std::cmp::Ordering::Equal => place.group.min(groups),
        std::cmp::Ordering::Greater => 0,
    }
}

/// Why a part ends.
enum Stopped {
    /// What follows is not due, or is more than may be read.
    Enough,
    /// Something was found: the pass goes on behind it.
    Found(AuditFinding, Vec<CatalogChange>),
}

type Going = Result<Result<(), Stopped>, TransferError>;

/// A part while it is read.
struct Reader<'a> {
    part: &'a AuditPart<'a>,
    record: &'a ReplicaRecord,
    /// The newest point.
    newest: u64,
    course: Course<'a>,
    state: AuditState,
    read: u64,
    groups: u64,
    buffer: Vec<u8>,
}

impl AuditPart<'_> {
    /// Reads what is due, as far as it may, and writes down how far it came and what it found; gives that, too.
    ///
    /// # Errors
    /// Where the records cannot be read or written; [`TransferError::Interrupted`].
    pub fn run(&self, state: AuditState) -> Result<(AuditedPart, AuditState), TransferError> {
        let record = self.catalog.load(&self.place.resource)?;
        let newest = record.newest().filter(|_| !is_patched(&record)).map(|newest| newest.point.sequence);
        let Some(newest) = newest else {
            return Ok((AuditedPart { read: ByteCount(0), found: None, busy: true }, state));
        };
        let manifest = self.catalog.manifest(&self.place.resource, newest)?;
        let course = Course::of(&record, &manifest, &state, self.period);
        let state = AuditState { began: started(&state, self.now), ..state };
        let buffer = vec![0; GROUP_BYTES as usize];
        let mut reader = Reader { part: self, record: &record, newest, course, state, read: 0, groups: 0, buffer };
        let (found, mut changes) = match reader.pass()? {
            Ok(()) => {
                reader.state.began = self.now;
                reader.state.next = None;
                reader.state.passes += 1;
                (None, Vec::new())
            }
            Err(Stopped::Enough) => (None, Vec::new()),
            Err(Stopped::Found(found, changes)) => {
                reader.state.found += 1;
                reader.state.last = Some(found.clone());
                (Some(found), changes)
            }
        };
        let Reader { mut state, read, .. } = reader;
        state.read += ByteCount(read);
        changes.push(CatalogChange::Audited(Box::new(state.clone())));
        self.catalog.commit(&self.place.resource, &changes)?;
        Ok((AuditedPart { read: ByteCount(read), found, busy: false }, state))
    }
}

impl Reader<'_> {
    /// Goes on to the end of the pass.
    fn pass(&mut self) -> Going {
        if self.state.next.as_ref().is_none_or(|next| next.point.is_none()) {
            let manifest = self.course.manifest;
            let mut before = 0;
            for kept in &manifest.entries {
                let Some((size, root, id)) = file_of(kept) else { continue };
                if let Err(stopped) = self.file(kept, (size, root, id), before)? {
                    return Ok(Err(stopped));
                }
                before += size;
            }
            if self.state.next.as_ref().is_none_or(|next| next.point.is_none()) {
                self.state.older = ByteCount(0);
            }
        }
        let left = self.state.next.as_ref().and_then(|next| next.point);
        let older = self.course.older.clone();
        for (at, sequence) in older.into_iter().enumerate() {
            if left.is_some_and(|left| sequence > left) {
                continue;
            }
            let end = self.course.files + self.course.each * (at as u64 + 1);
            if let Err(stopped) = self.layer(sequence, end)? {
                return Ok(Err(stopped));
            }
        }
        Ok(Ok(()))
    }

    /// Whether so many bytes more, which end `end` behind the beginning of the pass, are to be read now.
    fn may(&self, end: u64, bytes: u64) -> Result<bool, TransferError> {
        self.part.stop.go_on()?;
        let due = self.course.due(self.state.began, end) <= self.part.now;
        Ok(due && self.groups < PART_GROUPS && (self.read == 0 || self.read + bytes <= self.part.budget))
    }

    fn goes_on(&mut self, point: Option<u64>, path: &str, group: u64) {
        self.state.next = Some(AuditPlace { point, path: path.to_owned(), group });
    }

    /// One of the files that show the newest point; so many bytes come before it.
    fn file(&mut self, kept: &KeptEntry, (size, root, id): (u64, Digest, FileId), before: u64) -> Going {
        let path = &kept.entry.path;
        let mut group = self.state.next.as_ref().map_or(0, |next| from(next, path, groups_in(size)));
        if group == groups_in(size) {
            return Ok(Ok(()));
        }
        let end = |group: u64| before + ((group + 1) * GROUP_BYTES).min(size);
        if !self.may(end(group), size.min(GROUP_BYTES))? {
            return Ok(Err(Stopped::Enough));
        }
        let (disk, place) = (self.part.disk, self.part.place);
        let at = place.files.join(path);
        let known = kept.file.as_ref().and_then(|body| body.identity);
        let as_it_was = || known.is_some() && disk.symlink_metadata(&at).ok().map(|stat| identity(&stat)) == known;
        let opened = || -> Result<_, TransferError> {
            let file = disk.open(&at, Open::Read).map_err(cannot("open", &at))?;
            // A large file without its list of hashes is the plan's to see.
            let index = match size > GROUP_BYTES {
                true => Index::open(disk, &place.index_of(id), Open::Read)?,
                false => None,
            };
            Ok((file, index))
        };
        if !as_it_was() {
            self.goes_on(None, path, groups_in(size));
            return Ok(Ok(()));
        }
        let (file, index) = match opened() {
            Ok(opened) => opened,
            Err(error) => return self.not_as_copied(kept, unreadable(error)?),
        };
        if size > GROUP_BYTES && index.is_none() {
            self.goes_on(None, path, groups_in(size));
            return Ok(Ok(()));
        }
        if let Some(index) = index.as_ref().filter(|_| group == 0) {
            self.read += Index::bytes_of(groups_in(size));
            if !if_readable(index.is_sound(size, root))?.unwrap_or(false) {
                return self.not_as_copied(kept, "its list of hashes is not that of the point".to_owned());
            }
        }
        while group < groups_in(size) {
            let len = (size - group * GROUP_BYTES).min(GROUP_BYTES);
            if !self.may(end(group), len)? {
                return Ok(Err(Stopped::Enough));
            }
            let wrong = match self.compare(&*file, &at, group, len, |blocks| match &index {
                Some(index) => Ok(differing(&index.record(group)?, blocks)),
                None if root_of(size, blocks) == root => Ok(0),
                None => Ok(blocks_in(size)),
            }) {
                Ok(0) => None,
                Ok(number) => Some(words(number, size, group)),
                Err(error) => Some(unreadable(error)?),
            };
            group += 1;
            match wrong {
                Some(wrong) if as_it_was() => return self.not_as_copied(kept, wrong),
                // It was written meanwhile, which the plan sees.
                Some(_) => {
                    self.goes_on(None, path, groups_in(size));
                    return Ok(Ok(()));
                }
                None => self.goes_on(None, path, group),
            }
        }
        Ok(Ok(()))
    }

    /// Reads a group from the disk and says how many of its blocks are not what `judge` knows.
    fn compare(
        &mut self,
        file: &dyn DiskFile,
        path: &std::path::Path,
        group: u64,
        len: u64,
        judge: impl FnOnce(&[Hash]) -> Result<u64, TransferError>,
    ) -> Result<u64, TransferError> {
        self.groups += 1;
        let bytes = &mut self.buffer[..len as usize];
        // What memory still has of it says nothing of the disk.
        file.forget_cached(group * GROUP_BYTES, len);
        let blocks = match read_if_data(file, path, group, bytes)? {
            true => {
                self.read += len;
                hash_blocks(bytes)
            }
            false => vec![ZERO; len.div_ceil(BLOCK_BYTES) as usize],
        };
        file.forget_cached(group * GROUP_BYTES, len);
        judge(&blocks)
    }

    /// A file is not what the newest point says: it is not trusted any more.
    fn not_as_copied(&mut self, kept: &KeptEntry, detail: String) -> Going {
        let path = kept.entry.path.clone();
        let groups = file_of(kept).map_or(0, |(size, ..)| groups_in(size));
        self.goes_on(None, &path, groups);
        let newest = &self.record.points[&self.newest];
        let changes = distrusting(newest, self.course.manifest.clone(), |listed| listed == path);
        Ok(Err(Stopped::Found(self.finding(self.newest, path, detail), changes)))
    }

    fn finding(&self, point: u64, path: String, detail: String) -> AuditFinding {
        AuditFinding { at: self.part.now, point, path, detail }
    }

    /// What an older point, or a set-aside one, has of its own.
    fn layer(&mut self, sequence: u64, end: u64) -> Going {
        if !self.may(end, GROUP_BYTES)? {
            return Ok(Err(Stopped::Enough));
        }
        let place = self.part.place;
        let aside = self.record.points[&sequence].is_set_aside();
        let layer = Layer(if aside { place.set_aside(sequence) } else { place.undo(sequence) });
        if !exists(self.part.disk, &layer.0)? {
            return Ok(Ok(()));
        }
        let manifest = self.part.catalog.manifest(&place.resource, sequence)?;
        for kept in &manifest.entries {
            let Some((size, root, id)) = file_of(kept) else { continue };
            let path = &kept.entry.path;
            // First the blocks that it has, then the whole file.
            let many = groups_in(size);
            let here = self.state.next.as_ref().filter(|next| next.point == Some(sequence));
            let group = here.map_or(0, |next| from(next, path, 2 * many));
            if group == 2 * many {
                continue;
            }
            let overlay = if_readable(layer.overlay(self.part.disk, id))?.flatten();
            let has_overlay = overlay.is_some();
            if let Some(overlay) = overlay.filter(|_| group < many) {
                let mut next = if_readable(overlay.table.next(group))?.flatten();
                while let Some(group) = next.filter(|group| *group < many) {
                    if !self.may(end, GROUP_BYTES)? {
                        self.goes_on(Some(sequence), path, group);
                        return Ok(Err(Stopped::Enough));
                    }
                    let slots = if_readable(overlay.table.record(group))?.unwrap_or(Record::EMPTY);
                    let lost = self.slots(&*overlay.data, &slots, size, group)?;
                    if !lost.is_empty() && self.is_wrong(sequence, id)? {
                        return self.lost(sequence, path, (id, size), &lost, group);
                    }
                    next = if_readable(overlay.table.next(group + 1))?.flatten();
                }
            }
            let whole = layer.whole(id);
            // Below blocks of an earlier time, a whole file is what a later point had.
            if !has_overlay && exists(self.part.disk, &whole)? {
                let Some(file) = if_readable(self.part.disk.open(&whole, Open::Read).map_err(cannot("open", &whole)))?
                else {
                    return self.lost(sequence, path, (id, size), &[], 0);
                };
                let index = if_readable(Index::open(self.part.disk, &layer.whole_index(id), Open::Read))?.flatten();
                // Looked at when the file is begun with.
                let sound = |index: &Index| Ok::<_, TransferError>(group > many || index.is_sound(size, root)?);
                if size <= GROUP_BYTES || if_readable(index.as_ref().map_or(Ok(false), sound))? == Some(true) {
                    for group in group.max(many) - many..many {
                        let len = (size - group * GROUP_BYTES).min(GROUP_BYTES);
                        if !self.may(end, len)? {
                            self.goes_on(Some(sequence), path, many + group);
                            return Ok(Err(Stopped::Enough));
                        }
                        let same = self.compare(&*file, &whole, group, len, |blocks| match &index {
                            Some(index) if size > GROUP_BYTES => Ok(differing(&index.record(group)?, blocks)),
                            Some(_) | None => Ok(u64::from(root_of(size, blocks) != root)),
                        });
                        self.state.older += ByteCount(len);
                        if if_readable(same)? != Some(0) && self.is_wrong(sequence, id)? {
                            return self.lost(sequence, path, (id, size), &[], group);
                        }
                    }
                }
            }
            self.goes_on(Some(sequence), path, 2 * many);
        }
        // The next one has other paths.
        self.state.next =
            sequence.checked_sub(1).map(|below| AuditPlace { point: Some(below), path: String::new(), group: 0 });
        Ok(Ok(()))
    }

    /// The blocks of a group that an overlay shows and that are not what its slots say.
    fn slots(&mut self, data: &dyn DiskFile, slots: &Record, size: u64, group: u64) -> Result<Vec<u64>, TransferError> {
        self.groups += 1;
        let mut lost = Vec::new();
        for (block, slot) in (group * GROUP_BLOCKS..).zip(&slots.blocks) {
            let Some(hash) = from_slot(*slot).filter(|hash| *hash != ZERO) else { continue };
            let len = block_len(size, block);
            if len == 0 {
                continue;
            }
            data.forget_cached(block * BLOCK_BYTES, len as u64);
            let bytes = &mut self.buffer[..BLOCK_BYTES as usize];
            let read = data.read_at(bytes, block * BLOCK_BYTES).unwrap_or(0);
            bytes[read..].fill(0);
            self.read += len as u64;
            self.state.older += ByteCount(len as u64);
            // The slot may be that of a file that was longer.
            if hash_block(&bytes[..len]) != hash && hash_block(bytes) != hash {
                lost.push(block);
            }
        }
        Ok(lost)
    }

    /// Whether a file of a point can be read and is not what the point says, or cannot be read.
    fn is_wrong(&mut self, sequence: u64, id: FileId) -> Result<bool, TransferError> {
        let AuditPart { disk, catalog, place, stop, .. } = *self.part;
        let (wrong, read) = wrong_file(disk, catalog, place, (self.record, sequence), id, stop)?;
        self.read += read;
        Ok(wrong)
    }

    /// An older point has lost bytes, and with it those that are read through it.
    fn lost(&mut self, sequence: u64, path: &str, (id, size): (FileId, u64), blocks: &[u64], group: u64) -> Going {
        let AuditPart { disk, catalog, place, .. } = *self.part;
        let mut damaged = std::collections::BTreeSet::new();
        if !self.record.points[&sequence].is_set_aside() {
            let mut losses = Losses::of_undo(disk, catalog, place, self.record, sequence);
            match blocks {
                [] => losses.file(id)?,
                blocks => blocks.iter().try_for_each(|block| losses.block(id, *block))?,
            }
            damaged = losses.damaged();
        }
        damaged.insert(sequence);
        self.goes_on(Some(sequence), path, 2 * groups_in(size));
        let number = if blocks.is_empty() { 1 } else { blocks.len() as u64 };
        let found = self.finding(sequence, path.to_owned(), words(number, size, group));
        Ok(Err(Stopped::Found(found, prune::damage(self.record, &damaged))))
    }
}

/// How many blocks of a group are not what its record says.
fn differing(said: &Record, blocks: &[Hash]) -> u64 {
    said.blocks.iter().zip(blocks).filter(|(said, now)| said != now).count() as u64
}

fn words(blocks: u64, size: u64, group: u64) -> String {
    if size <= GROUP_BYTES {
        return "its bytes are not those that were copied".to_owned();
    }
    let (are, at) = (if blocks == 1 { "block is" } else { "blocks are" }, ByteCount(group * GROUP_BYTES));
    format!("{blocks} {are} not what was copied, within 4 MiB from {at} on")
}

/// Why a file cannot be read; other errors than a file's are returned.
fn unreadable(error: TransferError) -> Result<String, TransferError> {
    match error {
        TransferError::Io { bad_file: true, .. } => Ok(error.to_string()),
        error => Err(error),
    }
}
