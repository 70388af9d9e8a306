//! What is in the way and can be no point, because it cannot be read or came too late: it is moved beside the
//! set-aside points as it is, and never overwritten.

use std::path::{Path, PathBuf};

use super::fault::{cannot, misuse};
use super::layer::make_dir;
use super::place::ReplicaPlace;
use super::port::TransferError;
use crate::host::disk::Disk;

/// Moves what stands at `path` beside the set-aside points; gives where it is now, below their directory. A crash
/// leaves it at either place.
///
/// # Errors
/// I/O errors.
pub(super) fn put_beside(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    sequence: u64,
    path: &Path,
) -> Result<String, TransferError> {
    let beside = place.in_the_way();
    make_dir(disk, &beside)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut names = (0_u32..).map(|n| format!("{sequence}-{n}-{name}"));
    let free: Option<(String, PathBuf)> = names.find_map(|name| {
        let free = beside.join(&name);
        disk.symlink_metadata(&free).is_err().then_some((name, free))
    });
    let (name, free) = free.ok_or_else(|| misuse("no name is free"))?;
    disk.rename(path, &free).map_err(cannot("move", path))?;
    disk.sync_dir(&beside).map_err(cannot("sync", &beside))?;
    Ok(format!("in-the-way/{name}"))
}
