//! What the rooms above may ask of a disk. Errors are the system's own; the caller adds the path and what it was
//! about to do.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a file is opened. The last part of the path is never followed where it is a link, and opening never waits
/// for the other end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must be there.
    Read,
    /// For reading and writing; it must be there.
    ReadWrite,
    /// For reading and writing; it must not be there.
    CreateNew,
    /// For reading and writing; made empty where it is not there, and kept as it is where it is.
    Create,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a pipe or a socket.
    Other,
}

/// A file's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Inode number.
    pub ino: u64,
    /// The file system's device number.
    pub dev: u64,
    /// Size in bytes, holes included.
    pub size: u64,
    /// Bytes that it takes on the disk, holes not included.
    pub allocated: u64,
    /// Permission bits, the set-id and sticky bits included; no file type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the bytes, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of bytes or metadata, in nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// An open file. Positions are always given: two threads may use one file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Fills `buffer` from `offset` as far as the file goes, and says how many bytes that were.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. A crash in it leaves any part of them written.
    ///
    /// # Errors
    /// The system's; any part may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// The file's metadata now.
    ///
    /// # Errors
    /// The system's.
    fn stat(&self) -> io::Result<FileStat>;

    /// The file's size now.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64> {
        self.stat().map(|stat| stat.size)
    }

    /// Whether the file has no bytes now.
    ///
    /// # Errors
    /// The system's.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Cuts the file, or extends it with a hole.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, size: u64) -> io::Result<()>;

    /// Makes the bytes durable, and the size where it grew.
    ///
    /// # Errors
    /// The system's. After one, what was written since the last sync must be taken for lost: a second call that
    /// succeeds proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes bytes and metadata durable.
    ///
    /// # Errors
    /// As [`Self::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Makes `len` bytes from `offset` read as zeros, giving their room back where the file system can. The file's
    /// size stays; what lies beyond it is left out.
    ///
    /// # Errors
    /// The system's; any part may have been zeroed then.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;

    /// The first run of bytes at or after `offset` that may be other than zero, as start and end; none when only a
    /// hole follows. A file system that knows no holes answers with all the rest.
    ///
    /// # Errors
    /// The system's.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>>;

    /// Asks the system to forget what it has in memory of `len` bytes from `offset`, so that they are read from the
    /// disk next time. What is not on the disk yet stays. A disk that knows no such thing does nothing.
    fn forget_cached(&self, _offset: u64, _len: u64) {}
}

/// A name in a directory, and the metadata of what stands there or why that is not known.
pub type Listed = (OsString, io::Result<FileStat>);

pub(super) fn is_gone(stat: &io::Result<FileStat>) -> bool {
    stat.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// A disk: the file system's calls that this program makes.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AlreadyExists`] for [`Open::CreateNew`] on what is there.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// The metadata of what stands at the path itself: a link is not followed.
    ///
    /// # Errors
    /// The system's.
    fn symlink_metadata(&self, path: &Path) -> io::Result<FileStat>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// The system's.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// The names in the directory that stands at the path itself, sorted, each with the metadata of what stands there; what
    /// went away meanwhile is left out.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::NotADirectory`] for anything else, a link to a directory too.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        if self.symlink_metadata(path)?.kind != FileKind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let listed = self.read_dir(path)?.into_iter().map(|name| {
            let stat = self.symlink_metadata(&path.join(&name));
            (name, stat)
        });
        Ok(listed.filter(|(_, stat)| !is_gone(stat)).collect())
    }

    /// Makes a directory and those above it; done where it is there. Not durable until the directories above are
    /// synced.
    ///
    /// # Errors
    /// The system's.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Moves a name, atomically taking the place of a file that stands there.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file or a link.
    ///
    /// # Errors
    /// The system's.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The system's.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all that is in it; links in it are removed, not followed. A crash leaves any part.
    ///
    /// # Errors
    /// The system's.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes a link at `path` that says `to`.
    ///
    /// # Errors
    /// The system's.
    fn symlink(&self, to: &Path, path: &Path) -> io::Result<()>;

    /// What the link at `path` says.
    ///
    /// # Errors
    /// The system's.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Sets permission bits. Not for links: it would follow them.
    ///
    /// # Errors
    /// The system's.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Sets owner and group of what stands at the path itself.
    ///
    /// # Errors
    /// The system's.
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()>;

    /// Sets the time of the last change of what stands at the path itself.
    ///
    /// # Errors
    /// The system's.
    fn set_mtime(&self, path: &Path, mtime_ns: i64) -> io::Result<()>;

    /// Bytes that this program may still write on the file system of `path`.
    ///
    /// # Errors
    /// The system's.
    fn free_space(&self, path: &Path) -> io::Result<u64>;

    /// How far apart two changes of a file at `path` must be so that their times differ for sure: as coarse as can be
    /// where nothing is known of the file system.
    fn grain(&self, path: &Path) -> Duration;

    /// Makes the new file `to` that shares the bytes of `from` until one is written; false, and no file, where the
    /// file system cannot.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AlreadyExists`] where `to` is there.
    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<bool>;
}

/// Puts `bytes` at `path` durably, whole or not at all.
///
/// Guarantees that a reader, at any time and after any crash, finds the former content or the new one, and that
/// after it returned the new one stays. Assumes a single writer. A crash leaves at most `path` with `.new` added,
/// which the next call overwrites.
///
/// # Errors
/// The system's; `path` is then as it was, or already the new one.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    match disk.remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.open(&staged, Open::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    disk.rename(&staged, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => disk.sync_dir(parent),
        Some(_) | None => disk.sync_dir(Path::new(".")),
    }
}
