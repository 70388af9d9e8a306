//! What is in the way and can be no point, because it cannot be read or came too late: it is moved beside the
//! set-aside points as it is, and never overwritten.

use std::path::{Path, PathBuf};

use super::fault::{cannot, misuse};
use super::layer::make_dir;
use super::place::ReplicaPlace;
use super::port::TransferError;
use crate::host::disk::Disk;

/// Moves what stands at `path` beside the set-aside points, into a directory of its own; gives that directory's name.
/// A crash leaves it at either place, and perhaps an empty directory.
///
/// # Errors
/// I/O errors.
pub(super) fn put_beside(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    sequence: u64,
    path: &Path,
) -> Result<String, TransferError> {
    let base = place.in_the_way();
    let mut names = (0_u32..).map(|n| format!("in-the-way-{sequence}-{n}"));
    let free: Option<(String, PathBuf)> = names.find_map(|name| {
        let free = base.join(&name);
        disk.symlink_metadata(&free).is_err().then_some((name, free))
    });
    let (name, beside) = free.ok_or_else(|| misuse("no name is free"))?;
    make_dir(disk, &beside)?;
    let to = beside.join(path.file_name().ok_or_else(|| misuse("a path without a name"))?);
    disk.rename(path, &to).map_err(cannot("move", path))?;
    disk.sync_dir(&beside).map_err(cannot("sync", &beside))?;
    Ok(name)
}
