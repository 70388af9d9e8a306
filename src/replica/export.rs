//! Writing a point out.
//!
//! Guarantee: when it returns, the directory holds the point's files byte for byte, with their modes and times,
//! durable; every byte was hashed on its way against the point's roots, and the whole against its `data_hash`.
//! Assumption: nobody else writes into the directory. A crash leaves a part of the files there and nothing else.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::block::{GROUP_BYTES, hash_block};
use super::catalog::{Attributes, Catalog, KeptEntry};
use super::fault::{StopCheck, cannot};
use super::hashing::hash_with;
use super::layer::make_dir;
use super::manifest::{Entry, Node};
use super::place::ReplicaPlace;
use super::points::PointReader;
use super::port::{BLOCK_BYTES, TransferError, ZERO};
use crate::host::disk::{Disk, FileKind, FileStat, Open};
use crate::model::point::{BlockReason, Point, PointState};
use crate::model::{ByteCount, Digest};

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

/// Writes one point's files out.
///
/// # Errors
/// [`TransferError::Corrupt`] for a point that is damaged; [`TransferError::Region`] for one that is not there, a
/// directory that is not empty or has no room; I/O errors.
pub fn export(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    order: &ExportOrder<'_>,
) -> Result<Point, TransferError> {
    let record = catalog.load(&place.resource)?;
    let reader = PointReader::open(disk, catalog, place, &record, order.sequence)?;
    if reader.record.point.state == PointState::Damaged {
        let name = order.sequence;
        return Err(TransferError::Corrupt(format!(
            "point {name} is damaged: bytes that only it had were overwritten"
        )));
    }
    match disk.read_dir(order.into) {
        Ok(names) if names.is_empty() => {}
        Ok(_) => return Err(TransferError::Region(format!("{} is not empty", order.into.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => make_dir(disk, order.into)?,
        Err(error) => return Err(cannot("read the directory", order.into)(error)),
    }
    // A manifest from the region's own records goes the same way as one from elsewhere.
    let manifest = reader.manifest.to_manifest();
    manifest.validate().map_err(|error| TransferError::Corrupt(error.to_string()))?;
    if manifest.data_hash() != reader.record.point.data_hash {
        return Err(TransferError::Corrupt(format!("the record of point {} is damaged", order.sequence)));
    }
    look_for_room(disk, &reader, order.into)?;
    let mut directories: Vec<(PathBuf, &KeptEntry)> = Vec::new();
    for kept in &reader.manifest.entries {
        let path = order.into.join(&kept.entry.path);
        match &kept.entry.node {
            Node::Directory => {
                disk.create_dir_all(&path).map_err(cannot("make the directory", &path))?;
                directories.push((path, kept));
            }
            Node::Link { to } => {
                disk.symlink(Path::new(to), &path).map_err(cannot("make the link", &path))?;
                dress(disk, &path, kept, order.owners)?;
            }
            Node::File { size, root } => write_file(disk, &reader, kept, &path, (size.0, *root), order)?,
        }
    }
    for (path, kept) in directories.iter().rev() {
        dress(disk, path, kept, order.owners)?;
        disk.sync_dir(path).map_err(cannot("sync", path))?;
    }
    disk.sync_dir(order.into).map_err(cannot("sync", order.into))?;
    Ok(reader.record.point)
}

fn look_for_room(disk: &dyn Disk, reader: &PointReader<'_>, into: &Path) -> Result<(), TransferError> {
    // Zeros are not written.
    let needed: ByteCount =
        reader.manifest.entries.iter().filter_map(|kept| kept.file.as_ref()).map(|file| file.data).sum();
    let free = ByteCount(disk.free_space(into).map_err(cannot("look for room on", into))?);
    if needed <= free {
        return Ok(());
    }
    let (why, at) = (BlockReason::NoSpace.as_str(), into.display());
    Err(TransferError::Region(format!("{why}: {needed} are needed, {free} are free on the file system of {at}")))
}

fn write_file(
    disk: &dyn Disk,
    reader: &PointReader<'_>,
    kept: &KeptEntry,
    path: &Path,
    (size, root): (u64, Digest),
    order: &ExportOrder<'_>,
) -> Result<(), TransferError> {
    let from = reader.file(kept)?;
    let to = disk.open(path, Open::CreateNew).map_err(cannot("open", path))?;
    let found = hash_with(
        size,
        &StopCheck::never(),
        |group, bytes| from.read(group, bytes),
        |group, record, bytes| {
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
                        to.write_at(&bytes[begin..end], start + begin as u64).map_err(cannot("write", path))?;
                    }
                } else {
                    run = Some((run.map_or(begin, |(begin, _)| begin), end));
                }
            }
            if let Some((begin, end)) = run {
                to.write_at(&bytes[begin..end], start + begin as u64).map_err(cannot("write", path))?;
            }
            Ok(())
        },
    )?;
    if found != root {
        let (file, point) = (&kept.entry.path, reader.record.point.sequence);
        return Err(TransferError::Corrupt(format!(
            "{file} of point {point} is damaged: its bytes are not its hash's"
        )));
    }
    to.set_len(size).map_err(cannot("write", path))?;
    dress(disk, path, kept, order.owners)?;
    to.sync_all().map_err(cannot("sync", path))
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
pub(super) fn dress(disk: &dyn Disk, path: &Path, kept: &KeptEntry, owners: bool) -> Result<(), TransferError> {
    if owners {
        let (user, group) = kept.entry.owner;
        disk.set_owner(path, user, group).map_err(cannot("set the owner of", path))?;
    }
    match kept.entry.node {
        Node::Directory | Node::File { .. } => {
            disk.set_mode(path, kept.entry.mode).map_err(cannot("set the mode of", path))?;
        }
        Node::Link { .. } => {}
    }
    disk.set_mtime(path, kept.entry.mtime_ns).map_err(cannot("set the time of", path))
}
