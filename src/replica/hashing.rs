//! Hashing files with all cores.
//!
//! Groups are handed out by a counter, so that a sparse file keeps no core waiting; holes are asked for and never
//! read. Memory: one group per core, and 32 bytes for each group of a window.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::block::{GROUP_BYTES, RootHasher, SLOTS, blocks_in_group, groups_in, hash_blocks, hash_group, root_of};
use super::clusters::Unchanged;
use super::fault::{StopCheck, cannot};
use super::index::{Index, Record};
use super::layer::{read_group, read_if_data};
use super::port::{BLOCK_BYTES, Hash, TransferError, ZERO};
use crate::host::disk::DiskFile;
use crate::model::Digest;

/// Groups whose hashes are held in memory at once.
const WINDOW_GROUPS: u64 = 8192;

/// How many threads to hash with.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(16)
}

/// Runs `work` on all cores for each number below `count`, until one fails; the first failure is returned.
///
/// # Errors
/// Those of `work`.
pub(super) fn on_all_cores<S>(
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(usize, &mut S) -> Result<(), TransferError> + Sync,
) -> Result<(), TransferError> {
    on_threads(cores(), count, state, work)
}

/// The same on so many threads.
///
/// # Errors
/// Those of `work`.
pub(super) fn on_threads<S>(
    threads: usize,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(usize, &mut S) -> Result<(), TransferError> + Sync,
) -> Result<(), TransferError> {
    let threads = threads.min(count);
    if threads <= 1 {
        let mut own = state();
        return (0..count).try_for_each(|at| work(at, &mut own));
    }
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<TransferError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = state();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    if let Err(error) = work(at, &mut own) {
                        next.store(count, Ordering::Relaxed);
                        lock(&failure).get_or_insert(error);
                        break;
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Locks; a thread that panicked while it held the lock changes nothing about what is in it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Hashes a file of `size` bytes, writes its index where one is given, and says its root and how many bytes were
/// read.
///
/// # Errors
/// I/O errors; [`TransferError::Interrupted`].
pub(super) fn hash_file(
    file: &dyn DiskFile,
    path: &Path,
    size: u64,
    index: Option<&Index>,
    stop: &StopCheck,
) -> Result<(Digest, u64), TransferError> {
    let read = AtomicU64::new(0);
    let root = hash_with(
        size,
        stop,
        |group, bytes| {
            let data = read_if_data(file, path, group, bytes)?;
            read.fetch_add(if data { bytes.len() as u64 } else { 0 }, Ordering::Relaxed);
            Ok(data)
        },
        |group, record, _| match index {
            Some(index) if *record != Record::EMPTY => index.write(group, record),
            Some(_) | None => Ok(()),
        },
    )?;
    Ok((root, read.into_inner()))
}

/// Hashes whatever `read` delivers: it fills a group's bytes, or says that they are all zeros. `seen` gets each
/// group's hashes and bytes (none where it is zeros). Both are called from several threads, groups in no order.
///
/// # Errors
/// Those of `read` and `seen`; [`TransferError::Interrupted`].
pub(super) fn hash_with(
    size: u64,
    stop: &StopCheck,
    read: impl Fn(u64, &mut [u8]) -> Result<bool, TransferError> + Sync,
    seen: impl Fn(u64, &Record, Option<&[u8]>) -> Result<(), TransferError> + Sync,
) -> Result<Digest, TransferError> {
    roots(size, stop, |group, buffer| {
        if !read(group, buffer)? {
            seen(group, &Record::EMPTY, None)?;
            return Ok(ZERO);
        }
        let blocks = hash_blocks(buffer);
        debug_assert_eq!(blocks.len(), blocks_in_group(size, group));
        let record = Record::of_blocks(&blocks);
        seen(group, &record, Some(buffer))?;
        Ok(record.group)
    })
}

/// The root of a file of `size` bytes of whose groups `of` gives the hashes, with room for each one's bytes. It is
/// called from several threads, groups in no order.
fn roots(
    size: u64,
    stop: &StopCheck,
    of: impl Fn(u64, &mut [u8]) -> Result<Hash, TransferError> + Sync,
) -> Result<Digest, TransferError> {
    let groups = groups_in(size);
    let mut root = RootHasher::new(size);
    let mut first = 0;
    while first < groups {
        let count = (groups - first).min(WINDOW_GROUPS);
        let hashes: Mutex<Vec<Hash>> = Mutex::new(vec![ZERO; count as usize]);
        let buffer = || vec![0; size.min(GROUP_BYTES) as usize];
        on_all_cores(count as usize, buffer, |at, buffer: &mut Vec<u8>| {
            stop.go_on()?;
            let group = first + at as u64;
            let len = (size - group * GROUP_BYTES).min(GROUP_BYTES) as usize;
            let hash = of(group, &mut buffer[..len])?;
            lock(&hashes)[at] = hash;
            Ok(())
        })?;
        root.add(&hashes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        first += count;
    }
    Ok(root.finish())
}

/// Hashes what of a file is not as it was, and takes the other blocks' hashes from the index of that time. Writes its
/// index, and says its root.
///
/// # Errors
/// I/O errors; [`TransferError::Interrupted`].
pub(super) fn hash_rest(
    (file, path): (&dyn DiskFile, &Path),
    size: u64,
    index: &Index,
    (unchanged, was): (&Unchanged, &Index),
    stop: &StopCheck,
) -> Result<Digest, TransferError> {
    roots(size, stop, |group, bytes| {
        let kept = unchanged.blocks(group);
        let mut record = Record::EMPTY;
        if kept != 0 {
            let count = blocks_in_group(size, group);
            record.blocks[..count].copy_from_slice(&was.record(group)?.blocks[..count]);
            for run in unset_runs(kept, count) {
                let from = run.start * BLOCK_BYTES as usize;
                let end = (run.end * BLOCK_BYTES as usize).min(bytes.len());
                let part = &mut bytes[from..end];
                let read = file.read_at(part, group * GROUP_BYTES + from as u64).map_err(cannot("read", path))?;
                part[read..].fill(0);
                record.blocks[run].copy_from_slice(&hash_blocks(part));
            }
            record.group = hash_group(&record.blocks[..count]);
        } else if read_if_data(file, path, group, bytes)? {
            record = Record::of_blocks(&hash_blocks(bytes));
        }
        if record != Record::EMPTY {
            index.write(group, &record)?;
        }
        Ok(record.group)
    })
}

/// Hashes all of a file and writes its index; says its root, and how many blocks that should be as they were are not.
///
/// # Errors
/// I/O errors; [`TransferError::Interrupted`].
pub(super) fn hash_and_check(
    (file, path): (&dyn DiskFile, &Path),
    size: u64,
    index: &Index,
    (unchanged, was): (&Unchanged, &Index),
    stop: &StopCheck,
) -> Result<(Digest, u64), TransferError> {
    let missed = AtomicU64::new(0);
    let root = hash_with(
        size,
        stop,
        |group, bytes| read_if_data(file, path, group, bytes),
        |group, record, _| {
            let (kept, before) = (unchanged.blocks(group), was.record(group)?);
            let differ = (0..SLOTS).filter(|at| kept >> at & 1 == 1 && record.blocks[*at] != before.blocks[*at]);
            missed.fetch_add(differ.count() as u64, Ordering::Relaxed);
            if *record == Record::EMPTY { Ok(()) } else { index.write(group, record) }
        },
    )?;
    Ok((root, missed.into_inner()))
}

/// Runs of places below `count` whose bits are not set.
fn unset_runs(bits: u64, count: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let set = move |at: usize| bits >> at & 1 == 1;
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = (from..count).find(|at| !set(*at))?;
        from = (start..count).find(|at| set(*at)).unwrap_or(count);
        Some(start..from)
    })
}

/// Reads a file of at most one group and hashes it: its bytes and its root.
///
/// # Errors
/// I/O errors.
pub(super) fn read_small(file: &dyn DiskFile, path: &Path, size: u64) -> Result<(Vec<u8>, Digest), TransferError> {
    debug_assert!(size <= GROUP_BYTES);
    let mut bytes = vec![0; size as usize];
    read_group(file, path, 0, &mut bytes)?;
    let root = root_of(size, &hash_blocks(&bytes));
    Ok((bytes, root))
}

/// How many bytes the blocks with these hashes have that are not zeros.
pub(super) fn data_bytes(size: u64, group: u64, blocks: &[Hash]) -> u64 {
    let first = group * super::port::GROUP_BLOCKS;
    let len = |at: usize| size.saturating_sub((first + at as u64) * BLOCK_BYTES).min(BLOCK_BYTES);
    blocks.iter().enumerate().filter(|(_, hash)| **hash != ZERO).map(|(at, _)| len(at)).sum()
}
