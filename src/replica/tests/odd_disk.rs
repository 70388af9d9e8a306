//! A disk that is otherwise than most: full, with a coarse clock, or of a user who may give files away.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::host::disk::{Disk, DiskFile, FileStat, HostDisk, Open};

/// The machine's disk with what is odd about it.
#[derive(Debug, Default)]
pub(super) struct OddDisk {
    /// Bytes that still fit; none: as many as there are.
    pub(super) free: Option<u64>,
    /// How coarse its clock is said to be; none: as it is.
    pub(super) grain: Option<Duration>,
    /// Whether files can be cloned, as far as anybody who looks at them can tell.
    pub(super) clones: bool,
    /// Whether times are kept in whole seconds.
    pub(super) whole_seconds: bool,
    /// Owners that were given, by inode: giving them in truth takes root.
    pub(super) owners: Mutex<BTreeMap<u64, (u32, u32)>>,
    /// What the next listings of directories give, before they give what is there.
    pub(super) listings: Mutex<VecDeque<io::Result<Vec<OsString>>>>,
}

impl Disk for OddDisk {
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.free.map_or_else(|| HostDisk.free_space(path), Ok)
    }
    fn symlink_metadata(&self, path: &Path) -> io::Result<FileStat> {
        let mut stat = HostDisk.symlink_metadata(path)?;
        if let Some(owner) = self.owners.lock().unwrap().get(&stat.ino) {
            (stat.uid, stat.gid) = *owner;
        }
        Ok(stat)
    }
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let ino = HostDisk.symlink_metadata(path)?.ino;
        self.owners.lock().unwrap().insert(ino, (uid, gid));
        Ok(())
    }
    fn set_mtime(&self, path: &Path, mtime_ns: i64) -> io::Result<()> {
        let kept = if self.whole_seconds { mtime_ns - mtime_ns.rem_euclid(1_000_000_000) } else { mtime_ns };
        HostDisk.set_mtime(path, kept)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        HostDisk.open(path, how)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.listings.lock().unwrap().pop_front().unwrap_or_else(|| HostDisk.read_dir(path))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        HostDisk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        HostDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        HostDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        HostDisk.remove_dir(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        HostDisk.remove_dir_all(path)
    }
    fn symlink(&self, to: &Path, path: &Path) -> io::Result<()> {
        HostDisk.symlink(to, path)
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        HostDisk.read_link(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        HostDisk.sync_dir(path)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        HostDisk.set_mode(path, mode)
    }
    fn grain(&self, path: &Path) -> Duration {
        self.grain.unwrap_or_else(|| HostDisk.grain(path))
    }
    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<bool> {
        if !self.clones {
            return HostDisk.clone_file(from, to);
        }
        std::fs::copy(from, to).map(|_| true)
    }
}
