//! Copies of a resource's files, made while they hold still.
//!
//! - **Guarantee**: a copy that is answered for has every path of the tree with the bytes, mode and time that it had
//!   within the freeze. Nothing of the resource is written.
//! - **Assumption**: the files hold still until this returns; whether they did is for the caller to ask.
//! - **A crash here** leaves a directory below `.debvisor/clones`, which the next writer removes.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::host::{Disk, Open};
use crate::model::ByteCount;
use crate::replica::StopCheck;
use crate::replica::tree::{FoundNode, Tree};

/// Up to so many bytes are copied within a freeze where the file system cannot clone: well below a second's reading.
pub(super) const SMALL: ByteCount = ByteCount::mib(256);

/// Bytes in one piece of a copy.
const PIECE: u64 = 1 << 20;

/// How copies were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copied {
    /// All there.
    Done,
    /// The file system cannot clone, and it is too much to copy.
    TooMuch,
    /// Told to stop.
    Stopped,
}

/// Copies `tree` into the new directory `into`: by cloning, or by reading where little enough is there.
pub(super) fn copy(disk: &dyn Disk, tree: &Tree, into: &Path, stop: &AtomicBool) -> io::Result<Copied> {
    let allocated: u64 = tree.found.iter().map(|found| found.stat.allocated).sum();
    copy_up_to(disk, tree, into, &|| stop.load(Ordering::Relaxed), allocated <= SMALL.0)
}

/// Copies `tree` into the directory `into`, which has none of its files, however much there is; false where it was
/// told to stop.
pub(in crate::region) fn copy_all(disk: &dyn Disk, tree: &Tree, into: &Path, stop: &StopCheck) -> io::Result<bool> {
    copy_up_to(disk, tree, into, &|| stop.stopped(), true).map(|copied| copied == Copied::Done)
}

fn copy_up_to(disk: &dyn Disk, tree: &Tree, into: &Path, stop: &dyn Fn() -> bool, small: bool) -> io::Result<Copied> {
    disk.create_dir_all(into)?;
    for found in &tree.found {
        if stop() {
            return Ok(Copied::Stopped);
        }
        let to = into.join(&found.path);
        match &found.node {
            FoundNode::Directory => disk.create_dir_all(&to)?,
            FoundNode::Link(text) => disk.symlink(Path::new(text), &to)?,
            FoundNode::File => {
                if !disk.clone_file(&found.at, &to)? {
                    if !small {
                        return Ok(Copied::TooMuch);
                    }
                    if !copy_bytes(disk, &found.at, &to, stop)? {
                        return Ok(Copied::Stopped);
                    }
                }
            }
        }
    }
    // From the bottom up: what is made in a directory changes its time.
    for found in tree.found.iter().rev() {
        let to = into.join(&found.path);
        if rustix::process::geteuid().is_root() {
            disk.set_owner(&to, found.stat.uid, found.stat.gid)?;
        }
        // After the owner, whose change clears the set-id bits.
        if !matches!(found.node, FoundNode::Link(_)) {
            disk.set_mode(&to, found.stat.mode)?;
        }
        disk.set_mtime(&to, found.stat.mtime_ns)?;
    }
    Ok(Copied::Done)
}

/// Copies the data of a file, hole by hole; false where it was told to stop.
fn copy_bytes(disk: &dyn Disk, from: &Path, to: &Path, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let (from, to) = (disk.open(from, Open::Read)?, disk.open(to, Open::CreateNew)?);
    to.set_len(from.len()?)?;
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while let Some((start, end)) = from.next_data(at)? {
        at = start;
        while at < end {
            if stop() {
                return Ok(false);
            }
            let wanted = usize::try_from((end - at).min(PIECE)).unwrap_or(0);
            let read = from.read_at(&mut buffer[..wanted], at)?;
            if read == 0 {
                return Ok(true);
            }
            to.write_at(&buffer[..read], at)?;
            at += read as u64;
        }
    }
    Ok(true)
}
