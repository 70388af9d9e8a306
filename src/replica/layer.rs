//! A layer: what a directory has of some files' bytes, by the files' numbers. What arrives, the undo of a point and a
//! set-aside point are layers.
//!
//! Of file `7` a layer may hold an *overlay*, `7.data` with the blocks at the same offsets as in the file and `7.idx`
//! that says which are there, and the *whole* file, `7.whole`, with `7.whole.idx` where it is large. The overlay
//! counts before the whole.
//!
//! Invariant: a slot is written only after its block is durable, so a block that the table shows is there. Blocks of
//! zeros are in the table alone.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::block::{GROUP_BYTES, PRESENT_ZERO, block_len, from_slot, pieces};
use super::catalog::FileId;
use super::fault::cannot;
use super::index::{Index, Record};
use super::port::{BLOCK_BYTES, GROUP_BLOCKS, Hash, TransferError, ZERO};
use crate::host::disk::{Disk, DiskFile, Open};

/// A layer's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer(pub(super) PathBuf);

impl Layer {
    /// The overlay's bytes.
    pub(super) fn data(&self, file: FileId) -> PathBuf {
        self.0.join(format!("{}.data", file.0))
    }

    /// The overlay's table.
    pub(super) fn table(&self, file: FileId) -> PathBuf {
        self.0.join(format!("{}.idx", file.0))
    }

    /// The whole file.
    pub(super) fn whole(&self, file: FileId) -> PathBuf {
        self.0.join(format!("{}.whole", file.0))
    }

    /// The index of the whole file.
    pub(super) fn whole_index(&self, file: FileId) -> PathBuf {
        self.0.join(format!("{}.whole.idx", file.0))
    }

    /// Blocks that a transfer still waits for.
    pub(super) fn wanted(&self, file: FileId) -> PathBuf {
        self.0.join(format!("{}.want", file.0))
    }

    /// Hashes of a file as it was found, where that is not what its point says.
    pub(super) fn actual(&self, file: FileId) -> PathBuf {
        self.0.join(format!("{}.actual", file.0))
    }

    /// Makes the directory.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn make(&self, disk: &dyn Disk) -> Result<(), TransferError> {
        make_dir(disk, &self.0)
    }

    /// Makes the names in it durable.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn sync(&self, disk: &dyn Disk) -> Result<(), TransferError> {
        disk.sync_dir(&self.0).map_err(cannot("sync", &self.0))
    }

    /// The file's overlay; none where it has none.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn overlay(&self, disk: &dyn Disk, file: FileId) -> Result<Option<Overlay>, TransferError> {
        let Some(table) = Index::open(disk, &self.table(file), Open::Read)? else { return Ok(None) };
        let path = self.data(file);
        let data = match disk.open(&path, Open::Read) {
            Ok(data) => data,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("open", &path)(error)),
        };
        Ok(Some(Overlay { data, path, table }))
    }

    /// The file's overlay, made where it has none.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn make_overlay(&self, disk: &dyn Disk, file: FileId) -> Result<Overlay, TransferError> {
        let path = self.data(file);
        let data = disk.open(&path, Open::Create).map_err(cannot("open", &path))?;
        let table = Index::create(disk, &self.table(file))?;
        Ok(Overlay { data, path, table })
    }

    /// Removes what arrived of the file, but not the hashes of how it was found.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn forget_arrived(&self, disk: &dyn Disk, file: FileId) -> Result<(), TransferError> {
        for path in [self.table(file), self.data(file), self.wanted(file)] {
            remove_if_there(disk, &path)?;
        }
        Ok(())
    }

    /// Removes all that it has of the file.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn forget(&self, disk: &dyn Disk, file: FileId) -> Result<(), TransferError> {
        // The table first: without it the bytes mean nothing.
        for path in [
            self.table(file),
            self.data(file),
            self.wanted(file),
            self.actual(file),
            self.whole(file),
            self.whole_index(file),
        ] {
            remove_if_there(disk, &path)?;
        }
        Ok(())
    }
}

/// Some blocks of a file, at their offsets in it.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The bytes.
    pub(super) data: Box<dyn DiskFile>,
    path: PathBuf,
    /// Which are there.
    pub(super) table: Index,
}

impl Overlay {
    /// The block's bytes as they lie there, `len` long; zeros where the slot says so.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn block(&self, block: u64, slot: Hash, len: usize) -> Result<Vec<u8>, TransferError> {
        let mut bytes = vec![0; len];
        if slot != *PRESENT_ZERO {
            self.data.read_at(&mut bytes, block * BLOCK_BYTES).map_err(cannot("read", &self.path))?;
        }
        Ok(bytes)
    }

    /// Writes bytes at a block.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn put(&self, block: u64, bytes: &[u8]) -> Result<(), TransferError> {
        write_sparse(&*self.data, &self.path, block * BLOCK_BYTES, bytes)
    }

    /// Makes the bytes durable, not the table.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn sync_data(&self) -> Result<(), TransferError> {
        self.data.sync_data().map_err(cannot("sync", &self.path))
    }

    /// Fills in those blocks of a group that are here and that `filled` has not got yet. `bytes` is the group as far
    /// as the file of `size` bytes goes.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn fill(
        &self,
        group: u64,
        size: u64,
        bytes: &mut [u8],
        filled: &mut [bool],
    ) -> Result<(), TransferError> {
        let record = self.table.record(group)?;
        if record == Record::EMPTY {
            return Ok(());
        }
        for (at, done) in filled.iter_mut().enumerate() {
            let Some(hash) = from_slot(record.blocks[at]).filter(|_| !*done) else { continue };
            let block = group * GROUP_BLOCKS + at as u64;
            let start = at * BLOCK_BYTES as usize;
            let part = &mut bytes[start..start + block_len(size, block)];
            if hash == ZERO {
                part.fill(0);
            } else {
                let read = self.data.read_at(part, block * BLOCK_BYTES).map_err(cannot("read", &self.path))?;
                part[read..].fill(0);
            }
            *done = true;
        }
        Ok(())
    }
}

/// Reads a group of a file of `size` bytes; what lies beyond the file's end, or in a hole, is zeros.
///
/// # Errors
/// I/O errors.
pub(super) fn read_group(file: &dyn DiskFile, path: &Path, group: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
    let start = group * GROUP_BYTES;
    let end = start + bytes.len() as u64;
    let mut at = start;
    // What is read need not be zeros before.
    let mut rest = bytes;
    while at < end {
        let data = file.next_data(at).map_err(cannot("read", path))?.filter(|(from, _)| *from < end);
        let (from, to) = data.map_or((end, end), |(from, to)| (from.max(at), to.min(end)));
        let (hole, after) = rest.split_at_mut((from - at) as usize);
        let (part, after) = after.split_at_mut((to - from) as usize);
        hole.fill(0);
        if !part.is_empty() {
            let read = file.read_at(part, from).map_err(cannot("read", path))?;
            part[read..].fill(0);
        }
        (at, rest) = (to, after);
    }
    Ok(())
}

/// The same; false, and nothing is read, where all of it is a hole.
///
/// # Errors
/// I/O errors.
pub(super) fn read_if_data(
    file: &dyn DiskFile,
    path: &Path,
    group: u64,
    bytes: &mut [u8],
) -> Result<bool, TransferError> {
    let start = group * GROUP_BYTES;
    let data = file.next_data(start).map_err(cannot("read", path))?;
    if data.is_none_or(|(from, _)| from >= start + bytes.len() as u64) {
        return Ok(false);
    }
    read_group(file, path, group, bytes)?;
    Ok(true)
}

/// Writes bytes at a block's offset, pieces of zeros as holes, whatever lies there. The file need not come to be as long
/// as that: what is read beyond its end is zeros.
///
/// # Errors
/// I/O errors.
pub(super) fn write_sparse(file: &dyn DiskFile, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), TransferError> {
    for (run, zero) in pieces(bytes) {
        let (start, len) = (offset + run.start as u64, run.len() as u64);
        if !zero {
            file.write_at(&bytes[run], start).map_err(cannot("write", path))?;
        } else if let Some((from, _)) = file.next_data(start).map_err(cannot("read", path))?
            && from < start + len
        {
            file.punch_hole(start, len).map_err(cannot("write", path))?;
        }
    }
    Ok(())
}

/// Makes a file that is still on its way durable. One that cannot be is removed: after an error its bytes read well and
/// may be on no disk, and a second sync that succeeds proves nothing.
///
/// # Errors
/// I/O errors.
pub(super) fn sync_or_forget(
    disk: &dyn Disk,
    path: &Path,
    sync: impl FnOnce() -> io::Result<()>,
) -> Result<(), TransferError> {
    sync().map_err(|error| {
        // Where it cannot be removed either, the first error is the one to tell.
        let _ = disk.remove_file(path);
        cannot("sync", path)(error)
    })
}

/// Makes a directory and those above it, durably.
///
/// # Errors
/// I/O errors.
pub(super) fn make_dir(disk: &dyn Disk, path: &Path) -> Result<(), TransferError> {
    if disk.symlink_metadata(path).is_ok() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_dir(disk, above)?;
        disk.create_dir_all(path).map_err(cannot("make the directory", path))?;
        return disk.sync_dir(above).map_err(cannot("sync", above));
    }
    disk.create_dir_all(path).map_err(cannot("make the directory", path))
}

/// Removes a file that may not be there; says whether it was.
///
/// # Errors
/// I/O errors.
pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<bool, TransferError> {
    match disk.remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot("remove", path)(error)),
    }
}

/// Moves a file that may have been moved already; says whether it was still there.
///
/// # Errors
/// I/O errors.
pub(super) fn move_if_there(disk: &dyn Disk, from: &Path, to: &Path) -> Result<bool, TransferError> {
    match disk.rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound && !exists(disk, from)? => Ok(false),
        Err(error) => Err(cannot("move", from)(error)),
    }
}

/// Whether something stands at `path`.
///
/// # Errors
/// I/O errors.
pub(super) fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, TransferError> {
    match disk.symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(cannot("look at", path)(error)),
    }
}

/// Removes a directory with all that is in it, where it is there.
///
/// # Errors
/// I/O errors.
pub(super) fn remove_tree(disk: &dyn Disk, path: &Path) -> Result<(), TransferError> {
    if !exists(disk, path)? {
        return Ok(());
    }
    disk.remove_dir_all(path).map_err(cannot("remove", path))
}
