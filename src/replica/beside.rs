//! What is in the way and can be no point, because it cannot be read, is no file of a directory or came too late: it
//! is moved beside the set-aside points as it is, and never overwritten.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::catalog::KeptManifest;
use super::fault::{cannot, if_readable, misuse};
use super::inspect::{Findings, inspect};
use super::layer::make_dir;
use super::place::ReplicaPlace;
use super::port::TransferError;
use crate::host::disk::{Disk, FileKind};

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

/// Looks at a replica's files, once they can be looked at: what stands in their directory's place and is none, a link
/// too, is moved beside the set-aside points as it is, and so is a directory that cannot be read and not be opened up
/// either. Says also by what name it is kept. A crash leaves it at either place, or directories that their owner may
/// read; the next look goes on.
///
/// # Errors
/// I/O errors.
pub(super) fn look_in(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    sequence: u64,
    (kept, owners): (&KeptManifest, bool),
) -> Result<(Findings, Option<String>), TransferError> {
    let files = &place.files;
    let look = || inspect(disk, place, kept, owners);
    let in_the_way = match disk.symlink_metadata(files) {
        Ok(stat) => stat.kind != FileKind::Directory,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(cannot("look at", files)(error)),
    };
    if !in_the_way {
        if let Some(findings) = if_readable(look())? {
            return Ok((findings, None));
        }
        if if_readable(open_up(disk, files))?.is_some()
            && let Some(findings) = if_readable(look())?
        {
            return Ok((findings, None));
        }
    }
    let name = put_beside(disk, place, sequence, files)?;
    Ok((look()?, Some(name)))
}

/// Lets the owner of a directory, and of those in it, read and write there.
fn open_up(disk: &dyn Disk, directory: &Path) -> Result<(), TransferError> {
    let stat = disk.symlink_metadata(directory).map_err(cannot("look at", directory))?;
    if stat.kind != FileKind::Directory {
        return Ok(());
    }
    if stat.mode & 0o700 != 0o700 {
        disk.set_mode(directory, stat.mode | 0o700).map_err(cannot("set the mode of", directory))?;
    }
    let names = disk.read_dir(directory).map_err(cannot("read the directory", directory))?;
    names.iter().try_for_each(|name| open_up(disk, &directory.join(name)))
}
