//! Block hashes on disk: one record per group, read and written group by group, so that memory stays bounded
//! whatever the file's size.
//!
//! Layout: a header of 64 bytes, then for each group its hash and 64 slots of 32 bytes. Records of zeros need not be
//! written; the file is sparse and may end before the last group.
//!
//! The same file serves as the index of a file (slots are block hashes), and as the table of an overlay (slots say
//! which blocks are there, see [`to_slot`](super::block::to_slot)).
//!
//! Guarantee: none by itself. Whoever writes syncs before relying on it; a torn record is either written again by the
//! replay of what wrote it, or found by comparing hashes.

use std::path::{Path, PathBuf};

use super::block::{RootHasher, SLOTS, blocks_in_group, groups_in, hash_group};
use super::fault::cannot;
use super::port::{Hash, TransferError, ZERO};
use crate::host::disk::{Disk, DiskFile, Open};
use crate::model::Digest;

const MAGIC: [u8; 8] = *b"DBVRIDX1";
const HEADER: u64 = 64;
const RECORD: usize = 32 * (1 + SLOTS);

/// One group: its hash and its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// The group's hash.
    pub(super) group: Hash,
    /// Its blocks.
    pub(super) blocks: [Hash; SLOTS],
}

impl Record {
    /// Nothing but zeros.
    pub(super) const EMPTY: Self = Self { group: ZERO, blocks: [ZERO; SLOTS] };

    /// A record of these blocks' hashes.
    pub(super) fn of_blocks(blocks: &[Hash]) -> Self {
        let mut record = Self::EMPTY;
        record.blocks[..blocks.len()].copy_from_slice(blocks);
        record.group = hash_group(blocks);
        record
    }

    fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..32].copy_from_slice(&self.group);
        bytes[32..].copy_from_slice(self.blocks.as_flattened());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut record = Self::EMPTY;
        let (hashes, _) = bytes.as_chunks::<32>();
        record.group = hashes[0];
        record.blocks.copy_from_slice(&hashes[1..]);
        record
    }
}

/// An open index.
#[derive(Debug)]
pub(super) struct Index {
    file: Box<dyn DiskFile>,
    path: PathBuf,
}

impl Index {
    /// Opens the index at `path`, making an empty one where there is none.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<Self, TransferError> {
        let file = disk.open(path, Open::Create).map_err(cannot("open", path))?;
        let mut header = [0; HEADER as usize];
        let read = file.read_at(&mut header, 0).map_err(cannot("read", path))?;
        if read < header.len() || header[..8] != MAGIC {
            file.set_len(0).map_err(cannot("write", path))?;
            header = [0; HEADER as usize];
            header[..8].copy_from_slice(&MAGIC);
            file.write_at(&header, 0).map_err(cannot("write", path))?;
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// Opens the index at `path`; none where it is not there or is no index.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn open(disk: &dyn Disk, path: &Path, how: Open) -> Result<Option<Self>, TransferError> {
        let file = match disk.open(path, how) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("open", path)(error)),
        };
        let mut magic = [0; 8];
        let read = file.read_at(&mut magic, 0).map_err(cannot("read", path))?;
        Ok((read == magic.len() && magic == MAGIC).then(|| Self { file, path: path.to_owned() }))
    }

    /// `count` records from that of group `first`.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn read(&self, first: u64, count: usize) -> Result<Vec<Record>, TransferError> {
        let mut bytes = vec![0; count * RECORD];
        self.file.read_at(&mut bytes, HEADER + first * RECORD as u64).map_err(cannot("read", &self.path))?;
        Ok(bytes.chunks_exact(RECORD).map(Record::from_bytes).collect())
    }

    /// The record of one group.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn record(&self, group: u64) -> Result<Record, TransferError> {
        let mut bytes = [0; RECORD];
        self.file.read_at(&mut bytes, HEADER + group * RECORD as u64).map_err(cannot("read", &self.path))?;
        Ok(Record::from_bytes(&bytes))
    }

    /// Writes the record of one group.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write(&self, group: u64, record: &Record) -> Result<(), TransferError> {
        self.file.write_at(&record.to_bytes(), HEADER + group * RECORD as u64).map_err(cannot("write", &self.path))
    }

    /// Forgets all groups from `groups` on.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn cut(&self, groups: u64) -> Result<(), TransferError> {
        let end = HEADER + groups * RECORD as u64;
        if self.file.len().map_err(cannot("read", &self.path))? > end {
            self.file.set_len(end).map_err(cannot("write", &self.path))?;
        }
        Ok(())
    }

    /// How many bytes the records of so many groups are.
    pub(super) const fn bytes_of(groups: u64) -> u64 {
        groups * RECORD as u64
    }

    /// The first group at or after `group` whose record may be other than zeros.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn next(&self, group: u64) -> Result<Option<u64>, TransferError> {
        let found = self.file.next_data(HEADER + group * RECORD as u64).map_err(cannot("read", &self.path))?;
        Ok(found.map(|(start, _)| (start.saturating_sub(HEADER) / RECORD as u64).max(group)))
    }

    /// Whether it is the index of a file of `size` bytes with this root.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn is_sound(&self, size: u64, root: Digest) -> Result<bool, TransferError> {
        let mut hasher = RootHasher::new(size);
        let groups = groups_in(size);
        let mut first = 0;
        while first < groups {
            let count = (groups - first).min(64);
            for (group, record) in (first..).zip(self.read(first, count as usize)?) {
                if hash_group(&record.blocks[..blocks_in_group(size, group)]) != record.group {
                    return Ok(false);
                }
                hasher.add(&[record.group]);
            }
            first += count;
        }
        Ok(hasher.finish() == root)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn sync(&self) -> Result<(), TransferError> {
        self.file.sync_data().map_err(cannot("sync", &self.path))
    }
}
