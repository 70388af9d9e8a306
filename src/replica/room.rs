//! Room on a region's disk, and how much of it open receivings have been promised.
//!
//! What is free falls while they write, so what each has written is taken off its promise. Between the two, what is
//! left to others is said too small, never too large.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::fault::cannot;
use super::hashing::lock;
use super::port::TransferError;
use crate::host::disk::Disk;
use crate::model::ByteCount;

/// The room of one disk; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Room(Arc<Mutex<Promises>>);

#[derive(Debug, Default)]
struct Promises {
    next: u64,
    left: BTreeMap<u64, u64>,
}

/// Room that was found too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSmall {
    /// Bytes that are free.
    free: u64,
    /// Bytes of those that others were promised.
    promised: u64,
}

/// Room that was promised, until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    room: Room,
    id: u64,
}

impl std::fmt::Display for TooSmall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} are free", ByteCount(self.free))?;
        match self.promised {
            0 => Ok(()),
            promised => write!(f, ", and copies that are under way need {} of them", ByteCount(promised)),
        }
    }
}

impl Room {
    /// Whether so many bytes find room at `path` beside what was promised.
    ///
    /// # Errors
    /// Where the disk cannot be asked.
    pub(super) fn has(&self, disk: &dyn Disk, path: &Path, needed: u64) -> Result<Result<(), TooSmall>, TransferError> {
        Self::judge(&lock(&self.0), disk, path, needed)
    }

    /// Promises so many bytes at `path`.
    ///
    /// # Errors
    /// Where the disk cannot be asked.
    pub(super) fn reserve(
        &self,
        disk: &dyn Disk,
        path: &Path,
        needed: u64,
    ) -> Result<Result<Reserved, TooSmall>, TransferError> {
        let mut promises = lock(&self.0);
        if let Err(too_small) = Self::judge(&promises, disk, path, needed)? {
            return Ok(Err(too_small));
        }
        let id = promises.next;
        promises.next += 1;
        promises.left.insert(id, needed);
        Ok(Ok(Reserved { room: self.clone(), id }))
    }

    fn judge(
        promises: &Promises,
        disk: &dyn Disk,
        path: &Path,
        needed: u64,
    ) -> Result<Result<(), TooSmall>, TransferError> {
        let promised = promises.left.values().sum::<u64>();
        let free = disk.free_space(path).map_err(cannot("look for room on", path))?;
        let enough = free.saturating_sub(promised) >= needed;
        Ok(if enough { Ok(()) } else { Err(TooSmall { free, promised }) })
    }
}

impl Reserved {
    /// So many bytes were written.
    pub(super) fn used(&self, bytes: u64) {
        if let Some(left) = lock(&self.room.0).left.get_mut(&self.id) {
            *left = left.saturating_sub(bytes);
        }
    }

    /// Bytes that are still to be written.
    pub(super) fn left(&self) -> u64 {
        lock(&self.room.0).left.get(&self.id).copied().unwrap_or(0)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        lock(&self.room.0).left.remove(&self.id);
    }
}
