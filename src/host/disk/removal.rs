//! Removing a directory with all that is in it, whatever modes its directories have.
//!
//! A copied tree has the modes of the original, and only root may empty a directory that its owner may not write.

use std::io;
use std::path::Path;

use super::port::{Disk, FileKind};

/// What an owner needs in order to empty a directory.
const OPEN: u32 = 0o700;

/// Removes the directory `path` with all that is in it; done where nothing is there.
///
/// Guarantees that modes of its own directories don't stop it; links are removed, never followed. Assumes that nobody
/// else writes there. A crash leaves any part, some directories open to their owner; the next call removes the rest.
///
/// # Errors
/// The system's; any part may be gone then.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(disk, path);
            match disk.remove_dir_all(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            }
        }
        done => done,
    }
}

/// Opens directories to their owner, from the top down. What cannot be opened stands in the way of the removal, whose
/// error tells it.
fn open_up(disk: &dyn Disk, path: &Path) {
    let Ok(stat) = disk.symlink_metadata(path) else { return };
    if stat.kind != FileKind::Directory {
        return;
    }
    if stat.mode & OPEN != OPEN {
        let _ = disk.set_mode(path, stat.mode | OPEN);
    }
    for name in disk.read_dir(path).unwrap_or_default() {
        open_up(disk, &path.join(name));
    }
}
