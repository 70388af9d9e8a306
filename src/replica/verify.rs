//! Reading every byte again and comparing it with what was said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::block::{GROUP_BYTES, blocks_in};
use super::catalog::{
    Catalog, CatalogChange, FileId, FileIdentity, KeptEntry, KeptManifest, PointRecord, ReplicaRecord,
};
use super::fault::{StopCheck, cannot, if_readable};
use super::hashing::hash_with;
use super::index::{Index, Record};
use super::layer::read_if_data;
use super::manifest::{Entry, Manifest, Node};
use super::place::{Place, ReplicaPlace};
use super::points::{FileReader, PointReader};
use super::port::TransferError;
use super::prune;
use super::scan::remembered;
use super::tree::{Found, FoundNode, identity, walk};
use crate::host::disk::{Disk, Open};
use crate::model::point::PointState;
use crate::model::{ByteCount, Digest};

/// How a file compares with what was said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Every byte is the same.
    Identical,
    /// Its metadata says that it changed, and it did.
    Changed,
    /// Its metadata says that it did not change, and it did; or it cannot be read.
    Mismatch,
    /// It is not there.
    Missing,
}

/// One file's verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedFile {
    /// The file.
    pub path: String,
    /// The verdict.
    pub check: Check,
    /// How many blocks differ; none: nobody can tell, because only the root is kept of a small file, or because the
    /// others cannot be read.
    pub blocks: Option<u64>,
    /// Bytes read.
    pub read: ByteCount,
    /// Its root as read now.
    pub root: Option<Digest>,
    /// Why it could not be read.
    pub reason: Option<String>,
}

/// A verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The root hash over all files as read now; none where one is missing or cannot be read.
    pub data_hash: Option<Digest>,
    /// File by file.
    pub files: Vec<CheckedFile>,
}

impl CheckedFile {
    /// One that cannot be read; other errors than a file's are returned.
    fn unreadable(path: &str, error: TransferError) -> Result<Self, TransferError> {
        match error {
            TransferError::Io { .. } => Ok(Self {
                path: path.to_owned(),
                check: Check::Mismatch,
                blocks: None,
                read: ByteCount(0),
                root: None,
                reason: Some(error.to_string()),
            }),
            error => Err(error),
        }
    }
}

/// What reading a file gave.
struct Reread {
    root: Digest,
    read: u64,
    differing: u64,
}

fn reread(
    size: u64,
    index: Option<&Index>,
    stop: &StopCheck,
    read: impl Fn(u64, &mut [u8]) -> Result<bool, TransferError> + Sync,
) -> Result<Reread, TransferError> {
    let (bytes, differing) = (AtomicU64::new(0), AtomicU64::new(0));
    let root = hash_with(size, stop, read, |group, record, seen| {
        bytes.fetch_add(seen.map_or(0, |seen| seen.len() as u64), Ordering::Relaxed);
        if let Some(index) = index {
            let said: Record = if_readable(index.record(group))?.unwrap_or(Record::EMPTY);
            let count = said.blocks.iter().zip(&record.blocks).filter(|(said, now)| said != now).count();
            differing.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok(Reread { root, read: bytes.into_inner(), differing: differing.into_inner() })
}

/// Reads a replica's files and compares them with its newest point. Writes nothing; what is found to differ without
/// showing it is repaired by the next sync after [`distrust`].
///
/// # Errors
/// Where there is no point, or the records cannot be read; [`TransferError::Interrupted`].
pub fn verify_replica(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    stop: &StopCheck,
) -> Result<Verified, TransferError> {
    let record = catalog.load(&place.resource)?;
    let no_point = || TransferError::Region(format!("{} has no point here", place.resource));
    let newest = record.newest().ok_or_else(no_point)?.point.sequence;
    let reader = PointReader::open(disk, catalog, place, &record, newest)?;
    let mut files = Vec::new();
    let mut now = reader.manifest.to_manifest();
    let mut whole = true;
    for (kept, entry) in reader.manifest.entries.iter().zip(&mut now.entries) {
        let (Node::File { size, root }, Some(body)) = (&kept.entry.node, &kept.file) else { continue };
        stop.go_on()?;
        let file = match reader.file(kept) {
            Ok(file) => file,
            Err(error) => {
                files.push(CheckedFile::unreadable(&kept.entry.path, error)?);
                whole = false;
                continue;
            }
        };
        let live = disk.symlink_metadata(&place.files.join(&kept.entry.path)).ok().map(|stat| identity(&stat));
        if live.is_none() && !file.has_body() {
            whole = false;
            files.push(CheckedFile {
                path: kept.entry.path.clone(),
                check: Check::Missing,
                blocks: Some(blocks_in(size.0)),
                read: ByteCount(0),
                root: None,
                reason: None,
            });
            continue;
        }
        // A file that became longer is not what the point says, whatever its first bytes are.
        let now_size = live.map_or(size.0, |live| live.size);
        // Without an index nobody can tell how many blocks differ, and that is all.
        let index = match size.0 > GROUP_BYTES {
            true => if_readable(Index::open(disk, &place.index_of(body.id), Open::Read))?.flatten(),
            false => None,
        };
        let found = match reread(size.0, index.as_ref(), stop, |group, bytes| file.read(group, bytes)) {
            Ok(found) => found,
            Err(error) => {
                files.push(CheckedFile::unreadable(&kept.entry.path, error)?);
                whole = false;
                continue;
            }
        };
        let same = found.root == *root && now_size == size.0;
        let blocks = if same { Some(0) } else { differing(size.0, index.is_some(), &found) };
        entry.node = Node::File { size: ByteCount(now_size), root: found.root };
        files.push(CheckedFile {
            path: kept.entry.path.clone(),
            check: verdict(same, live == body.identity),
            blocks,
            read: ByteCount(found.read),
            root: Some(found.root),
            reason: None,
        });
    }
    Ok(Verified { data_hash: whole.then(|| now.data_hash()), files })
}

/// How many blocks of a file of `size` bytes differ, where that can be told.
fn differing(size: u64, has_index: bool, found: &Reread) -> Option<u64> {
    match (has_index, blocks_in(size)) {
        (true, _) => Some(found.differing.max(1)),
        (false, 0 | 1) => Some(1),
        (false, _) => None,
    }
}

const fn verdict(same: bool, looks_same: bool) -> Check {
    match (same, looks_same) {
        (true, _) => Check::Identical,
        (false, true) => Check::Mismatch,
        (false, false) => Check::Changed,
    }
}

/// Notes that these files of the newest point are not what it says although they look so: the next sync reads them
/// again, sets aside what differs, and repairs it.
///
/// # Errors
/// Where the records cannot be written.
pub fn distrust(catalog: &dyn Catalog, place: &ReplicaPlace, paths: &BTreeSet<String>) -> Result<(), TransferError> {
    let record = catalog.load(&place.resource)?;
    let Some(newest) = record.newest() else { return Ok(()) };
    let manifest = catalog.manifest(&place.resource, newest.point.sequence)?;
    Ok(catalog.commit(&place.resource, &distrusting(newest, manifest, |path| paths.contains(path)))?)
}

/// What records of the newest point that some of its files are not trusted any more.
pub(super) fn distrusting(
    newest: &PointRecord,
    mut manifest: KeptManifest,
    wrong: impl Fn(&str) -> bool,
) -> Vec<CatalogChange> {
    let listed = |kept: &&mut KeptEntry| wrong(&kept.entry.path);
    for body in manifest.entries.iter_mut().filter(listed).filter_map(|kept| kept.file.as_mut()) {
        body.identity = None;
    }
    vec![CatalogChange::Point { record: Box::new(newest.clone()), manifest: Some(manifest) }]
}

/// Whether one file of a point is not what the point says, or cannot be read; and how many bytes that took.
///
/// # Errors
/// Where the records cannot be read; [`TransferError::Interrupted`].
pub(super) fn wrong_file(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    (record, sequence): (&ReplicaRecord, u64),
    id: FileId,
    stop: &StopCheck,
) -> Result<(bool, u64), TransferError> {
    let reader = PointReader::open(disk, catalog, place, record, sequence)?;
    for kept in &reader.manifest.entries {
        let (Node::File { size, root }, Some(body)) = (&kept.entry.node, &kept.file) else { continue };
        if body.id == id {
            let read = |file: FileReader| reread(size.0, None, stop, |group, bytes| file.read(group, bytes));
            let found = if_readable(reader.file(kept).and_then(read))?;
            return Ok(found.map_or((true, 0), |found| (found.root != *root, found.read)));
        }
    }
    Ok((false, 0))
}

/// Reads again the point `sequence`, which an export found damaged, and notes what is lost. Files of the newest point
/// are not trusted from then on: the next sync mends them, and with them the older points that share their bytes. An
/// older point that has lost others is damaged. Nothing is noted of what only cannot be read now.
///
/// # Errors
/// Where the records cannot be read or written.
pub fn note_damage(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    sequence: u64,
) -> Result<(), TransferError> {
    let record = catalog.load(&place.resource)?;
    let Some(newest) = record.newest().map(|newest| newest.point.sequence) else { return Ok(()) };
    let mut reader = PointReader::open(disk, catalog, place, &record, sequence)?;
    let lost = wrong_files(&reader, |_| true)?;
    let mut mendable = BTreeMap::new();
    if sequence <= newest && !lost.is_empty() {
        reader = PointReader::open(disk, catalog, place, &record, newest)?;
        mendable = wrong_files(&reader, |id| lost.contains_key(&id))?;
        distrust(catalog, place, &mendable.values().cloned().collect())?;
    }
    let complete = record.points.get(&sequence).filter(|point| point.point.state == PointState::Complete);
    if complete.is_some() && lost.keys().any(|id| !mendable.contains_key(id)) {
        catalog.commit(&place.resource, &prune::damage(&record, &BTreeSet::from([sequence])))?;
    }
    Ok(())
}

/// Those of a point's files that can be read and are not what it says.
fn wrong_files(
    reader: &PointReader<'_>,
    concerned: impl Fn(FileId) -> bool,
) -> Result<BTreeMap<FileId, String>, TransferError> {
    let mut wrong = BTreeMap::new();
    for kept in &reader.manifest.entries {
        let (Node::File { size, root }, Some(body)) = (&kept.entry.node, &kept.file) else { continue };
        if !concerned(body.id) {
            continue;
        }
        let read = |file: FileReader| reread(size.0, None, &StopCheck::never(), |group, bytes| file.read(group, bytes));
        if if_readable(reader.file(kept).and_then(read))?.is_some_and(|found| found.root != *root) {
            wrong.insert(body.id, kept.entry.path.clone());
        }
    }
    Ok(wrong)
}

/// Reads a holder's files and compares them with what was remembered of the last reading.
///
/// # Errors
/// Where the files cannot be looked at.
pub fn verify_source(
    disk: &dyn Disk,
    live: &Place,
    cache: &std::path::Path,
    stop: &StopCheck,
) -> Result<Verified, TransferError> {
    let mut known: BTreeMap<String, (FileIdentity, Digest, Option<std::path::PathBuf>)> = remembered(disk, cache);
    let tree = walk(disk, live)?;
    let mut files = Vec::new();
    let mut manifest = Manifest::default();
    let mut whole = true;
    for found in &tree.found {
        let node = match &found.node {
            FoundNode::Directory => Node::Directory,
            FoundNode::Link(to) => Node::Link { to: to.clone() },
            FoundNode::File => {
                stop.go_on()?;
                let size = found.stat.size;
                let was = known.remove(&found.path);
                let index = match was.as_ref().and_then(|(_, _, index)| index.as_ref()) {
                    Some(index) => if_readable(Index::open(disk, index, Open::Read))?.flatten(),
                    None => None,
                };
                let now = match reread_found(disk, found, index.as_ref(), stop) {
                    Ok(now) => now,
                    Err(error) => {
                        files.push(CheckedFile::unreadable(&found.path, error)?);
                        whole = false;
                        continue;
                    }
                };
                let same = was.as_ref().is_some_and(|(_, root, _)| *root == now.root);
                let looks_same = was.as_ref().is_some_and(|(was, _, _)| *was == identity(&found.stat));
                files.push(CheckedFile {
                    path: found.path.clone(),
                    check: verdict(same, looks_same),
                    blocks: if same { Some(0) } else { differing(size, index.is_some(), &now) },
                    read: ByteCount(now.read),
                    root: Some(now.root),
                    reason: None,
                });
                Node::File { size: ByteCount(size), root: now.root }
            }
        };
        manifest.entries.push(Entry {
            path: found.path.clone(),
            node,
            mode: found.stat.mode,
            mtime_ns: found.stat.mtime_ns,
            owner: (found.stat.uid, found.stat.gid),
        });
    }
    files.extend(known.into_iter().map(|(path, (was, _, _))| CheckedFile {
        path,
        check: Check::Missing,
        blocks: Some(blocks_in(was.size)),
        read: ByteCount(0),
        root: None,
        reason: None,
    }));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Verified { data_hash: whole.then(|| manifest.data_hash()), files })
}

fn reread_found(
    disk: &dyn Disk,
    found: &Found,
    index: Option<&Index>,
    stop: &StopCheck,
) -> Result<Reread, TransferError> {
    let file = disk.open(&found.at, Open::Read).map_err(cannot("open", &found.at))?;
    reread(found.stat.size, index, stop, |group, bytes| read_if_data(&*file, &found.at, group, bytes))
}
