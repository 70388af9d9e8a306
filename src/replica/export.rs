//! Writing a point out.
//!
//! Guarantee: when it returns, the directory holds the point's files byte for byte, with their modes and times,
//! durable; every byte was hashed on its way against the point's roots, and the whole against its `data_hash`. Where it
//! fails or is stopped, the directory is as it was. Assumption: nobody but other exports writes into the directory; of
//! two that begin at once, one is refused. A crash leaves a part of the files there, and beside them [`CUT_OFF`], which
//! is there from before the first file until all are durable: a part never looks like the whole.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::block::{GROUP_BYTES, hash_block};
use super::catalog::{Attributes, Catalog, KeptEntry};
use super::fault::{StopCheck, cannot};
use super::giving::PointContents;
use super::hashing::hash_with;
use super::index::Record;
use super::layer::{make_dir, write_sparse};
use super::manifest::{Entry, Manifest, Node};
use super::place::ReplicaPlace;
use super::points::{FileReader, PointReader};
use super::port::{BLOCK_BYTES, TransferError, ZERO};
use crate::host::disk::{Disk, DiskFile, FileKind, FileStat, Open, remove_tree};
use crate::model::point::{BlockReason, Point};
use crate::model::{ByteCount, Digest};

/// The file that says of a directory that its export did not come to its end.
pub const CUT_OFF: &str = "INCOMPLETE-EXPORT";

/// How to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOrder<'a> {
    /// The point's number.
    pub sequence: u64,
    /// A directory that is empty or does not exist.
    pub into: &'a Path,
    /// Whether to set owners: the program runs as root.
    pub owners: bool,
}

/// Where the bytes of a point come from.
pub trait Contents: Sync {
    /// Opens the regular file at this place of the manifest.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn file(&self, at: u32) -> Result<Box<dyn Groups + '_>, TransferError>;
}

/// One file of a point.
pub trait Groups: Sync {
    /// Reads a group; false where it is a hole. Called by several threads, for groups in no order.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read(&self, group: u64, bytes: &mut [u8]) -> Result<bool, TransferError>;
}

impl Contents for PointReader<'_> {
    fn file(&self, at: u32) -> Result<Box<dyn Groups + '_>, TransferError> {
        Ok(Box::new(PointReader::file(self, &self.manifest.entries[at as usize])?))
    }
}

impl Groups for FileReader {
    fn read(&self, group: u64, bytes: &mut [u8]) -> Result<bool, TransferError> {
        Self::read(self, group, bytes)
    }
}

/// Writes one point's files out.
///
/// # Errors
/// [`TransferError::Corrupt`] for a point that is damaged; [`TransferError::Region`] for one that is not there, a
/// directory that is not empty or has no room; I/O errors; [`TransferError::Interrupted`].
pub fn export(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    order: &ExportOrder<'_>,
    stop: &StopCheck,
) -> Result<Point, TransferError> {
    let record = catalog.load(&place.resource)?;
    let reader = PointReader::open(disk, catalog, place, &record, order.sequence)?;
    // A manifest from the region's own records goes the same way as one from elsewhere.
    let contents = PointContents::of(&reader);
    write_out(disk, &contents, &reader, (order.into, order.owners), stop)?;
    Ok(contents.point)
}

/// Writes a point's files into a directory, wherever `bytes` come from; `owners`: whether to set owners.
///
/// # Errors
/// As [`export`].
pub fn write_out(
    disk: &dyn Disk,
    contents: &PointContents,
    bytes: &dyn Contents,
    (into, owners): (&Path, bool),
    stop: &StopCheck,
) -> Result<(), TransferError> {
    let PointContents { point, manifest, data } = contents;
    let name = point.sequence;
    if point.state.is_damaged() {
        return Err(TransferError::Corrupt(format!("point {name} is damaged: bytes of it were written over here")));
    }
    manifest.validate().map_err(|error| TransferError::Corrupt(error.to_string()))?;
    if manifest.data_hash() != point.data_hash {
        return Err(TransferError::Corrupt(format!("the record of point {name} is damaged")));
    }
    if manifest.entries.iter().any(|entry| entry.path == CUT_OFF) {
        return Err(TransferError::Region(format!("point {name} has a file of the name {CUT_OFF}")));
    }
    // Zeros are not written.
    expect_room(disk, into, *data)?;
    all_or_nothing(disk, into, || fill(disk, (name, manifest), bytes, (into, owners), stop))
}

/// Has `fill` write into a directory that is empty or does not exist. What it wrote is marked as a part until it is
/// done, and taken back where it fails.
///
/// # Errors
/// That of `fill`; [`TransferError::Region`] for a directory that is not empty; I/O errors.
pub fn all_or_nothing(
    disk: &dyn Disk,
    into: &Path,
    fill: impl FnOnce() -> Result<(), TransferError>,
) -> Result<(), TransferError> {
    let is_new = match disk.read_dir(into) {
        Ok(names) if names.is_empty() => false,
        Ok(names) if names.iter().any(|name| name == CUT_OFF) => {
            let into = into.display();
            return Err(TransferError::Region(format!("{into} holds an export that was cut off; remove it")));
        }
        Ok(_) => return Err(TransferError::Region(format!("{} is not empty", into.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_dir(disk, into)?;
            true
        }
        Err(error) => return Err(cannot("read the directory", into)(error)),
    };
    let mark = match mark(disk, into) {
        Ok(mark) => mark,
        Err(error) => {
            if is_new {
                // Where there is something in it by now, it stays.
                let _ = disk.remove_dir(into);
            }
            return Err(error);
        }
    };
    let path = into.join(CUT_OFF);
    let filled = write_mark(disk, into, &*mark).and_then(|()| fill()).and_then(|()| {
        disk.remove_file(&path).map_err(cannot("remove", &path))?;
        disk.sync_dir(into).map_err(cannot("sync", into))
    });
    if filled.is_err() {
        take_back(disk, into, is_new);
    }
    filled
}

/// Makes the mark. From here on the directory's files are this export's; where it fails, they are not.
fn mark(disk: &dyn Disk, into: &Path) -> Result<Box<dyn DiskFile>, TransferError> {
    let path = into.join(CUT_OFF);
    let file = disk.open(&path, Open::CreateNew).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            TransferError::Region(format!("another export into {} has just begun", into.display()))
        }
        _ => cannot("open", &path)(error),
    })?;
    // Another export may have come to its end since the directory was looked at.
    let why = match disk.read_dir(into) {
        Ok(names) if names.iter().all(|name| name == CUT_OFF) => return Ok(file),
        Ok(_) => TransferError::Region(format!("{} is not empty", into.display())),
        Err(error) => cannot("read the directory", into)(error),
    };
    disk.remove_file(&path).map_err(cannot("remove", &path))?;
    Err(why)
}

/// Says that what is there is no whole export, before it is none.
fn write_mark(disk: &dyn Disk, into: &Path, mark: &dyn DiskFile) -> Result<(), TransferError> {
    let path = into.join(CUT_OFF);
    mark.write_at(b"The export into this directory was not finished: files are missing, or are not whole.\n", 0)
        .map_err(cannot("write", &path))?;
    mark.sync_all().map_err(cannot("sync", &path))?;
    disk.sync_dir(into).map_err(cannot("sync", into))
}

/// Removes what was written, the mark last. What cannot be removed stays with it.
fn take_back(disk: &dyn Disk, into: &Path, is_new: bool) {
    let remove = |path: &Path| match disk.symlink_metadata(path)?.kind {
        FileKind::Directory => remove_tree(disk, path),
        _ => disk.remove_file(path),
    };
    let Ok(names) = disk.read_dir(into) else { return };
    let written = names.iter().filter(|name| *name != CUT_OFF);
    let mut removed = written.map(|name| remove(&into.join(name)));
    if removed.all(|done| done.is_ok()) && disk.remove_file(&into.join(CUT_OFF)).is_ok() && is_new {
        // An empty directory is in nobody's way either.
        let _ = disk.remove_dir(into);
    }
}

fn fill(
    disk: &dyn Disk,
    (name, manifest): (u64, &Manifest),
    contents: &dyn Contents,
    (into, owners): (&Path, bool),
    stop: &StopCheck,
) -> Result<(), TransferError> {
    let mut directories: Vec<(PathBuf, &Entry)> = Vec::new();
    for (at, entry) in (0..).zip(&manifest.entries) {
        stop.go_on()?;
        let path = into.join(&entry.path);
        match &entry.node {
            Node::Directory => {
                disk.create_dir_all(&path).map_err(cannot("make the directory", &path))?;
                directories.push((path, entry));
            }
            Node::Link { to } => {
                disk.symlink(Path::new(to), &path).map_err(cannot("make the link", &path))?;
                dress(disk, &path, entry, owners)?;
            }
            Node::File { size, root } => {
                let from = contents.file(at)?;
                let to = disk.open(&path, Open::CreateNew).map_err(cannot("open", &path))?;
                if write_file(&*to, &path, (&*from, size.0), stop, |_, _| Ok(()))? != *root {
                    let file = &entry.path;
                    return Err(TransferError::Corrupt(format!(
                        "{file} of point {name} is damaged: its bytes are not its hash's"
                    )));
                }
                to.set_len(size.0).map_err(cannot("write", &path))?;
                dress(disk, &path, entry, owners)?;
                to.sync_all().map_err(cannot("sync", &path))?;
            }
        }
    }
    for (path, entry) in directories.iter().rev() {
        dress(disk, path, entry, owners)?;
        disk.sync_dir(path).map_err(cannot("sync", path))?;
    }
    disk.sync_dir(into).map_err(cannot("sync", into))
}

/// Refuses to begin where so many bytes find no room in `into`, which may not be there yet.
///
/// # Errors
/// [`TransferError::Region`] where the room is lacking; I/O errors.
pub fn expect_room(disk: &dyn Disk, into: &Path, needed: ByteCount) -> Result<(), TransferError> {
    // It is made only then; a relative path has nothing above its first part.
    let mut above = into.ancestors().filter(|path| !path.as_os_str().is_empty()).chain([Path::new(".")]);
    let there = above.find(|path| disk.symlink_metadata(path).is_ok()).unwrap_or(into);
    let free = ByteCount(disk.free_space(there).map_err(cannot("look for room on", there))?);
    if needed <= free {
        return Ok(());
    }
    let (why, at) = (BlockReason::NoSpace.as_str(), into.display());
    Err(TransferError::Region(format!("{why}: {needed} are needed, {free} are free on the file system of {at}")))
}

/// Writes one file's bytes, as sparse as they are, and says what they hash to; `seen` gets each group's hashes, in no
/// order.
///
/// # Errors
/// I/O errors; those of `seen`; [`TransferError::Interrupted`].
pub(super) fn write_file(
    to: &dyn DiskFile,
    path: &Path,
    (from, size): (&dyn Groups, u64),
    stop: &StopCheck,
    seen: impl Fn(u64, &Record) -> Result<(), TransferError> + Sync,
) -> Result<Digest, TransferError> {
    hash_with(
        size,
        stop,
        |group, bytes| from.read(group, bytes),
        |group, record, bytes| {
            seen(group, record)?;
            let Some(bytes) = bytes else { return Ok(()) };
            let start = group * GROUP_BYTES;
            // Runs of blocks that are not zeros in one write each; zeros stay holes.
            let blocks = bytes.chunks(BLOCK_BYTES as usize).enumerate();
            let mut run: Option<(usize, usize)> = None;
            for (at, block) in blocks {
                debug_assert!(record.blocks[at] == hash_block(block));
                let (begin, end) = (at * BLOCK_BYTES as usize, at * BLOCK_BYTES as usize + block.len());
                if record.blocks[at] == ZERO {
                    if let Some((begin, end)) = run.take() {
                        write_sparse(to, path, start + begin as u64, &bytes[begin..end])?;
                    }
                } else {
                    run = Some((run.map_or(begin, |(begin, _)| begin), end));
                }
            }
            if let Some((begin, end)) = run {
                write_sparse(to, path, start + begin as u64, &bytes[begin..end])?;
            }
            Ok(())
        },
    )
}

/// Whether what was found has the mode, the time and, where owners are set, the owner that it was given.
pub(super) fn is_dressed(stat: &FileStat, kept: &KeptEntry, owners: bool) -> bool {
    let Entry { path: _, node: _, mode, mtime_ns, owner } = &kept.entry;
    let given = kept.lies.unwrap_or(Attributes { mode: *mode, mtime_ns: *mtime_ns });
    // Links have no mode of their own.
    (stat.kind == FileKind::Link || stat.mode == given.mode)
        && stat.mtime_ns == given.mtime_ns
        && (!owners || (stat.uid, stat.gid) == *owner)
}

/// What the file system made of an entry's mode and time; none: just these.
pub(super) fn lies(stat: &FileStat, entry: &Entry) -> Option<Attributes> {
    let mode = if stat.kind == FileKind::Link { entry.mode } else { stat.mode };
    let found = Attributes { mode, mtime_ns: stat.mtime_ns };
    (found != Attributes { mode: entry.mode, mtime_ns: entry.mtime_ns }).then_some(found)
}

/// Gives what stands at `path` its owner, mode and time, in this order: setting an owner drops set-id bits, and both
/// leave the time of the last change of the bytes alone.
///
/// # Errors
/// I/O errors.
pub(super) fn dress(disk: &dyn Disk, path: &Path, entry: &Entry, owners: bool) -> Result<(), TransferError> {
    if owners {
        let (user, group) = entry.owner;
        disk.set_owner(path, user, group).map_err(cannot("set the owner of", path))?;
    }
    match entry.node {
        Node::Directory | Node::File { .. } => {
            disk.set_mode(path, entry.mode).map_err(cannot("set the mode of", path))?;
        }
        Node::Link { .. } => {}
    }
    disk.set_mtime(path, entry.mtime_ns).map_err(cannot("set the time of", path))
}
