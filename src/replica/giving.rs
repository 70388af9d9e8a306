//! Giving a point's contents to a program elsewhere, piece by piece, for an export there.
//!
//! Nothing is kept open between two pieces: each is found anew by the point's number, so a sync that publishes
//! meanwhile, or a program that never comes back, harms nobody. A point that is dropped meanwhile is not found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::block::{GROUP_BYTES, groups_in};
use super::catalog::{Catalog, KeptEntry};
use super::manifest::{Manifest, Node};
use super::place::ReplicaPlace;
use super::points::PointReader;
use super::port::{BLOCK_BYTES, BlockAddress, GROUP_BLOCKS, TransferError};
use crate::host::disk::Disk;
use crate::model::ByteCount;
use crate::model::point::Point;

/// A point and all that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PointContents {
    /// The point.
    pub point: Point,
    /// Everything in it.
    pub manifest: Manifest,
    /// The bytes of its files that are no holes: what it takes to write it out. 0 where the region does not say.
    #[serde(default)]
    pub data: ByteCount,
}

impl PointContents {
    /// What the reader's point holds.
    pub(super) fn of(reader: &PointReader<'_>) -> Self {
        let files = reader.manifest.entries.iter().filter_map(|kept| kept.file.as_ref());
        Self {
            point: reader.record.point.clone(),
            manifest: reader.manifest.to_manifest(),
            data: files.map(|file| file.data).sum(),
        }
    }
}

/// Groups of one file of a point that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupsOf {
    /// The file's place in the manifest.
    pub file: u32,
    /// The first group.
    pub first: u64,
    /// How many are looked through.
    pub count: u64,
}

/// The most bytes that files have together that are given at once, and the most files.
pub const SMALL_FILES_BYTES: u64 = GROUP_BYTES;
/// See [`SMALL_FILES_BYTES`].
pub const SMALL_FILES: usize = 2048;

/// What a point holds.
///
/// # Errors
/// [`TransferError::Region`] for one that is not there; I/O errors.
pub fn contents(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    sequence: u64,
) -> Result<PointContents, TransferError> {
    let record = catalog.load(&place.resource)?;
    let reader = PointReader::open(disk, catalog, place, &record, sequence)?;
    Ok(PointContents::of(&reader))
}

/// The blocks of the first of these groups that has any that are not zeros; none where all are holes. What is left
/// out of a group are its zeros. Nothing is hashed: whoever asked does that.
///
/// # Errors
/// As [`contents`]; [`TransferError::Region`] for what is no file of the point.
pub fn next_blocks(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    sequence: u64,
    sought: GroupsOf,
) -> Result<Vec<(BlockAddress, Vec<u8>)>, TransferError> {
    let GroupsOf { file, first, count } = sought;
    let record = catalog.load(&place.resource)?;
    let reader = PointReader::open(disk, catalog, place, &record, sequence)?;
    let (kept, size) = file_of(&reader, file)?;
    let from = reader.file(kept)?;
    let mut bytes = vec![0; size.min(GROUP_BYTES) as usize];
    for group in first..groups_in(size).min(first.saturating_add(count)) {
        let bytes = &mut bytes[..(size - group * GROUP_BYTES).min(GROUP_BYTES) as usize];
        if !from.read(group, bytes)? {
            continue;
        }
        let found = not_zeros(file, group, bytes);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// The blocks of files of one group at most that are not zeros: many at once, because each is small. At most
/// [`SMALL_FILES`] with [`SMALL_FILES_BYTES`] together. Nothing is hashed, as by [`next_blocks`].
///
/// # Errors
/// As [`next_blocks`]; [`TransferError::Region`] for files that are more than may be asked for.
pub fn small_files(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    sequence: u64,
    files: &[u32],
) -> Result<Vec<(BlockAddress, Vec<u8>)>, TransferError> {
    let record = catalog.load(&place.resource)?;
    let reader = PointReader::open(disk, catalog, place, &record, sequence)?;
    let mut room = SMALL_FILES_BYTES;
    let mut given = Vec::new();
    for file in files {
        let (kept, size) = file_of(&reader, *file)?;
        let too_much = || TransferError::Region("the files are more than are given at once".to_owned());
        room = room.checked_sub(size).filter(|_| files.len() <= SMALL_FILES).ok_or_else(too_much)?;
        let mut bytes = vec![0; size as usize];
        if size > 0 && reader.file(kept)?.read(0, &mut bytes)? {
            given.extend(not_zeros(*file, 0, &bytes));
        }
    }
    Ok(given)
}

/// A file of a point, with its size.
fn file_of<'a>(reader: &'a PointReader<'_>, file: u32) -> Result<(&'a KeptEntry, u64), TransferError> {
    let entry = reader.manifest.entries.get(file as usize);
    let found = entry.and_then(|kept| match &kept.entry.node {
        Node::File { size, root: _ } => Some((kept, size.0)),
        Node::Directory | Node::Link { .. } => None,
    });
    found.ok_or_else(|| TransferError::Region(format!("the point has no file {file}")))
}

fn not_zeros(file: u32, group: u64, bytes: &[u8]) -> Vec<(BlockAddress, Vec<u8>)> {
    let blocks = bytes.chunks(BLOCK_BYTES as usize).zip(group * GROUP_BLOCKS..);
    let some = blocks.filter(|(block, _)| block.iter().any(|byte| *byte != 0));
    some.map(|(bytes, block)| (BlockAddress { file, block }, bytes.to_vec())).collect()
}
