//! A disk that fails on purpose: the test double for everything that writes.
//!
//! It wraps a real disk, so what a test finds afterwards is what the calls before the fault truly did. It counts the
//! calls that change something, from 1 on. A crash stops at such a call and fails every later call, reading ones
//! too, as a killed process makes none; a write that is hit leaves its first half behind, other calls nothing. What
//! it does not model is the loss of power: bytes that were written and not synced stay. The order of writes and
//! syncs is checked with [`FaultyDisk::calls`] instead.
//!
//! Beside faults that come with time it has some that lie in the disk: single files that fail, whatever they are
//! renamed to, a user to whom modes apply, file systems within it, and little room.

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::port::{Disk, DiskFile, FileStat, Open};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The process is killed in the n-th changing call.
    Crash {
        /// Which, from 1 on.
        at: u64,
    },
    /// The n-th changing call fails with this error number; those before and after work.
    Fail {
        /// Which, from 1 on.
        at: u64,
        /// Such as 28 for "no space left on device" and 5 for "input/output error".
        errno: i32,
    },
    /// Every changing call from the n-th on fails with this error number; reading goes on. A disk that is full.
    FailFrom {
        /// From which on, counted from 1.
        at: u64,
        /// The error number.
        errno: i32,
    },
    /// Every call of this kind fails with this error number; the others work.
    FailEach {
        /// Of which kind.
        op: Op,
        /// The error number.
        errno: i32,
    },
}

/// The error number of a full disk.
pub const ENOSPC: i32 = 28;
/// The error number of a failing disk.
pub const EIO: i32 = 5;
/// The error number of a file that may not be opened.
pub const EACCES: i32 = 13;

/// The error number of a rename from one file system to another.
const EXDEV: i32 = 18;

/// A call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// A file was opened so that it is made where it is not there.
    Create,
    /// [`DiskFile::write_at`]
    Write,
    /// [`DiskFile::set_len`]
    SetLen,
    /// [`DiskFile::sync_data`] or [`DiskFile::sync_all`]
    Sync,
    /// [`DiskFile::punch_hole`]
    Punch,
    /// [`Disk::create_dir_all`]
    CreateDir,
    /// [`Disk::rename`]; the path is the new one.
    Rename,
    /// [`Disk::remove_file`]
    Remove,
    /// [`Disk::remove_dir`] or [`Disk::remove_dir_all`]
    RemoveDir,
    /// [`Disk::symlink`]
    Link,
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`Disk::set_mode`], [`Disk::set_owner`] or [`Disk::set_mtime`]
    SetMetadata,
    /// [`Disk::clone_file`]; the path is the new one.
    Clone,
}

/// One changing call that was asked for, whether it worked or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What.
    pub op: Op,
    /// Of which path.
    pub path: PathBuf,
}

/// How a single file fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// It cannot be opened.
    Open,
    /// These of its bytes cannot be read.
    Read(Range<u64>),
    /// It cannot be written.
    Write,
    /// What is written to it cannot be made durable.
    Sync,
}

#[derive(Debug)]
struct BadFile {
    ino: u64,
    how: Bad,
    errno: i32,
}

#[derive(Debug)]
struct Script {
    fault: Fault,
    calls: Vec<Call>,
    crashed: bool,
    bad: Vec<BadFile>,
    plain_user: bool,
    /// Below these, other file systems.
    apart: Vec<PathBuf>,
    free: Option<u64>,
}

/// What becomes of a changing call.
enum Verdict {
    Go,
    /// Do half of it and fail with this.
    Half(io::Error),
    /// Do nothing of it and fail with this.
    Fail(io::Error),
}

/// A disk that fails on purpose.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    disk: Arc<dyn Disk>,
    script: Arc<Mutex<Script>>,
}

fn killed() -> io::Error {
    io::Error::other("the process was killed (test)")
}

impl Script {
    fn judge(&mut self, op: Op, path: &Path) -> Verdict {
        if self.crashed {
            return Verdict::Fail(killed());
        }
        self.calls.push(Call { op, path: path.to_owned() });
        let now = self.calls.len() as u64;
        match self.fault {
            Fault::Crash { at } if now >= at => {
                self.crashed = true;
                Verdict::Half(killed())
            }
            Fault::Fail { at, errno } if now == at => Verdict::Half(io::Error::from_raw_os_error(errno)),
            Fault::FailFrom { at, errno } if now >= at => Verdict::Half(io::Error::from_raw_os_error(errno)),
            Fault::FailEach { op: which, errno } if which == op => Verdict::Fail(io::Error::from_raw_os_error(errno)),
            Fault::None
            | Fault::Crash { .. }
            | Fault::Fail { .. }
            | Fault::FailFrom { .. }
            | Fault::FailEach { .. } => Verdict::Go,
        }
    }
}

impl FaultyDisk {
    /// Wraps `disk`.
    pub fn new(disk: Arc<dyn Disk>, fault: Fault) -> Self {
        let script = Script {
            fault,
            calls: Vec::new(),
            crashed: false,
            bad: Vec::new(),
            plain_user: false,
            apart: Vec::new(),
            free: None,
        };
        Self { disk, script: Arc::new(Mutex::new(script)) }
    }

    /// From now on the file that stands at `path` fails with `errno`, wherever it is moved.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn spoil(&self, path: &Path, how: Bad, errno: i32) -> io::Result<()> {
        let ino = self.disk.symlink_metadata(path)?.ino;
        self.script().bad.push(BadFile { ino, how, errno });
        Ok(())
    }

    /// From now on a file's own bits say who may open it, as they do for its owner who is not root.
    pub fn obey_modes(&self) {
        self.script().plain_user = true;
    }

    /// From now on what lies below `root` is on a file system of its own.
    pub fn mount(&self, root: &Path) {
        self.script().apart.push(root.to_owned());
    }

    /// From now on so many bytes are said to be free.
    pub fn leave_free(&self, bytes: u64) {
        self.script().free = Some(bytes);
    }

    fn is_one_file_system(&self, one: &Path, other: &Path) -> bool {
        self.script().apart.iter().all(|root| one.starts_with(root) == other.starts_with(root))
    }

    fn bad(&self, ino: u64, fails: impl Fn(&Bad) -> bool) -> io::Result<()> {
        match self.script().bad.iter().find(|bad| bad.ino == ino && fails(&bad.how)) {
            Some(bad) => Err(io::Error::from_raw_os_error(bad.errno)),
            None => Ok(()),
        }
    }

    /// What the file itself says to being opened.
    fn admit(&self, path: &Path, how: Open) -> io::Result<()> {
        let Ok(stat) = self.disk.symlink_metadata(path) else { return Ok(()) };
        self.bad(stat.ino, |bad| *bad == Bad::Open)?;
        let needed = match how {
            Open::Read => 0o400,
            Open::ReadWrite | Open::CreateNew | Open::Create => 0o600,
        };
        if self.script().plain_user && stat.mode & needed != needed {
            return Err(io::Error::from_raw_os_error(EACCES));
        }
        Ok(())
    }

    /// How many changing calls were asked for, the failed one included. After a run without a fault: the number of
    /// places at which to crash.
    pub fn count(&self) -> u64 {
        self.script().calls.len() as u64
    }

    /// The changing calls in order.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    /// Whether the crash has happened.
    pub fn crashed(&self) -> bool {
        self.script().crashed
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<()> {
        if self.script().crashed { Err(killed()) } else { Ok(()) }
    }

    fn change<T>(&self, op: Op, path: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.script().judge(op, path) {
            Verdict::Go => {}
            Verdict::Half(error) | Verdict::Fail(error) => return Err(error),
        }
        act()
    }
}

/// A file of a disk that fails on purpose.
#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    ino: u64,
    path: PathBuf,
    disk: FaultyDisk,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.alive()?;
        let end = offset + buffer.len() as u64;
        let hit = |bad: &Bad| matches!(bad, Bad::Read(range) if range.start < end && offset < range.end);
        self.disk.bad(self.ino, hit)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.bad(self.ino, |bad| *bad == Bad::Write)?;
        let verdict = self.disk.script().judge(Op::Write, &self.path);
        match verdict {
            Verdict::Go => self.file.write_at(bytes, offset),
            Verdict::Half(error) => {
                self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
                Err(error)
            }
            Verdict::Fail(error) => Err(error),
        }
    }

    fn stat(&self) -> io::Result<FileStat> {
        self.disk.alive()?;
        self.file.stat()
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.disk.change(Op::SetLen, &self.path, || self.file.set_len(size))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.bad(self.ino, |bad| *bad == Bad::Sync)?;
        self.disk.change(Op::Sync, &self.path, || self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.bad(self.ino, |bad| *bad == Bad::Sync)?;
        self.disk.change(Op::Sync, &self.path, || self.file.sync_all())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.change(Op::Punch, &self.path, || self.file.punch_hole(offset, len))
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.disk.alive()?;
        self.file.next_data(offset)
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let file = match how {
            Open::Read | Open::ReadWrite => {
                self.alive()?;
                self.admit(path, how)?;
                self.disk.open(path, how)?
            }
            Open::CreateNew | Open::Create => {
                self.admit(path, how)?;
                self.change(Op::Create, path, || self.disk.open(path, how))?
            }
        };
        let ino = file.stat()?.ino;
        Ok(Box::new(FaultyFile { file, ino, path: path.to_owned(), disk: self.clone() }))
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<FileStat> {
        self.alive()?;
        self.disk.symlink_metadata(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.alive()?;
        if self.script().plain_user && self.disk.symlink_metadata(path)?.mode & 0o500 != 0o500 {
            return Err(io::Error::from_raw_os_error(EACCES));
        }
        self.disk.read_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(Op::CreateDir, path, || self.disk.create_dir_all(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Op::Rename, to, || {
            if self.is_one_file_system(from, to) {
                self.disk.rename(from, to)
            } else {
                Err(io::Error::from_raw_os_error(EXDEV))
            }
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(Op::Remove, path, || self.disk.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Op::RemoveDir, path, || self.disk.remove_dir(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let verdict = self.script().judge(Op::RemoveDir, path);
        match verdict {
            Verdict::Go => self.disk.remove_dir_all(path),
            Verdict::Half(error) => {
                let names = self.disk.read_dir(path)?;
                for name in names.iter().take(names.len() / 2) {
                    let inside = path.join(name);
                    match self.disk.symlink_metadata(&inside)?.kind {
                        super::FileKind::Directory => self.disk.remove_dir_all(&inside)?,
                        super::FileKind::File | super::FileKind::Link | super::FileKind::Other => {
                            self.disk.remove_file(&inside)?;
                        }
                    }
                }
                Err(error)
            }
            Verdict::Fail(error) => Err(error),
        }
    }

    fn symlink(&self, to: &Path, path: &Path) -> io::Result<()> {
        self.change(Op::Link, path, || self.disk.symlink(to, path))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.alive()?;
        self.disk.read_link(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Op::SyncDir, path, || self.disk.sync_dir(path))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.change(Op::SetMetadata, path, || self.disk.set_mode(path, mode))
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        self.change(Op::SetMetadata, path, || self.disk.set_owner(path, uid, gid))
    }

    fn set_mtime(&self, path: &Path, mtime_ns: i64) -> io::Result<()> {
        self.change(Op::SetMetadata, path, || self.disk.set_mtime(path, mtime_ns))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.alive()?;
        let free = self.script().free;
        free.map_or_else(|| self.disk.free_space(path), Ok)
    }

    fn grain(&self, path: &Path) -> Duration {
        self.disk.grain(path)
    }

    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<bool> {
        self.change(Op::Clone, to, || {
            if self.is_one_file_system(from, to) { self.disk.clone_file(from, to) } else { Ok(false) }
        })
    }
}
