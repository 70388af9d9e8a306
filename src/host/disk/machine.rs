//! The machine's own disk, through std and libc.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    Advice, AtFlags, CWD, Dir, FallocateFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps,
    UTIME_OMIT, Uid, chownat, fadvise, fallocate, ioctl_ficlone, openat, seek, statat, statfs, statvfs, utimensat,
};
use rustix::io::Errno;

use super::port::{Disk, DiskFile, FileKind, FileStat, Listed, Open, is_gone};

/// Zeros are written in runs of this length where a file system cannot punch holes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
const NANOS: i64 = 1_000_000_000;

/// The file systems whose times this machine's own kernel gives, from its own clock: ext2 to 4, xfs, btrfs, f2fs, zfs,
/// tmpfs, overlayfs, bcachefs.
const LOCAL: [u32; 8] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0x0102_1994, 0x794C_7630, 0xCA45_1A4E];
/// The kernel takes times from its tick, of which the slowest has 10 ms.
const LOCAL_GRAIN: Duration = Duration::from_millis(20);
/// Servers and foreign formats keep times in steps of up to two seconds.
const OTHER_GRAIN: Duration = Duration::from_secs(2);

/// The machine's own disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostDisk;

/// A file of the machine's own disk.
#[derive(Debug)]
struct HostFile(File);

fn stat_of(metadata: &Metadata) -> FileStat {
    let kind = metadata.file_type();
    let kind = if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Link
    } else {
        FileKind::Other
    };
    let nanos = |seconds: i64, rest: i64| seconds.saturating_mul(NANOS).saturating_add(rest);
    FileStat {
        kind,
        ino: metadata.ino(),
        dev: metadata.dev(),
        size: metadata.size(),
        // Always in units of 512 bytes, whatever the file system's block.
        allocated: metadata.blocks().saturating_mul(512),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
        ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// The same of what was asked for within a directory.
fn stat_at(stat: &Stat) -> FileStat {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    };
    let nanos = |seconds: i64, rest: i64| seconds.saturating_mul(NANOS).saturating_add(rest);
    FileStat {
        kind,
        ino: stat.st_ino,
        dev: stat.st_dev,
        size: stat.st_size.unsigned_abs(),
        allocated: stat.st_blocks.unsigned_abs().saturating_mul(512),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// The grain of a file system, by what `statfs` says it is.
pub(super) fn grain_of(magic: u32) -> Duration {
    if LOCAL.contains(&magic) { LOCAL_GRAIN } else { OTHER_GRAIN }
}

impl DiskFile for HostFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn stat(&self) -> io::Result<FileStat> {
        self.0.metadata().map(|metadata| stat_of(&metadata))
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.saturating_add(len).min(self.len()?);
        if end <= offset {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, end - offset) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                let mut at = offset;
                while at < end {
                    let run = (end - at).min(ZEROS.len() as u64);
                    self.0.write_all_at(&ZEROS[..run as usize], at)?;
                    at += run;
                }
                Ok(())
            }
            done => Ok(done?),
        }
    }

    fn forget_cached(&self, offset: u64, len: u64) {
        // Advice: what cannot follow it reads from memory.
        let _ = fadvise(&self.0, offset, NonZeroU64::new(len), Advice::DontNeed);
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let len = self.len()?;
        if offset >= len {
            return Ok(None);
        }
        // The file's position is moved by this, and used by nobody: all reads and writes name theirs.
        let start = match seek(&self.0, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((offset, len))),
            Err(error) => return Err(error.into()),
        };
        match seek(&self.0, SeekFrom::Hole(start)) {
            Ok(end) => Ok(Some((start, end))),
            // Cut off between the two calls.
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Disk for HostDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        match how {
            Open::Read => {}
            Open::ReadWrite => {
                options.write(true);
            }
            Open::CreateNew => {
                options.write(true).create_new(true);
            }
            Open::Create => {
                options.write(true).create(true);
            }
        }
        Ok(Box::new(HostFile(options.open(path)?)))
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<FileStat> {
        fs::symlink_metadata(path).map(|metadata| stat_of(&metadata))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Of a directory that is open, so that the way to it is gone once for all that is in it.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, how, Mode::empty()).map_err(|error| match error {
            Errno::LOOP => Errno::NOTDIR,
            error => error,
        })?;
        let mut entries = Dir::new(opened)?;
        let mut listed = Vec::new();
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = statat(entries.fd()?, name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = stat.map(|stat| stat_at(&stat)).map_err(io::Error::from);
            if !is_gone(&stat) {
                listed.push((OsString::from_vec(name.to_bytes().to_vec()), stat));
            }
        }
        listed.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(listed)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn symlink(&self, to: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(to, path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn set_mtime(&self, path: &Path, mtime_ns: i64) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime_ns.div_euclid(NANOS), tv_nsec: mtime_ns.rem_euclid(NANOS) },
        };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        // What an unprivileged writer may use: the rest is the system's reserve, and ours to leave.
        let space = statvfs(path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn grain(&self, path: &Path) -> Duration {
        // The type's width differs between machines; all of its values fit into 32 bits.
        statfs(path).map_or(OTHER_GRAIN, |found| grain_of(found.f_type as u32))
    }

    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<bool> {
        let nofollow = OFlags::NOFOLLOW.bits() as i32;
        let source = OpenOptions::new().read(true).custom_flags(nofollow).open(from)?;
        let target = OpenOptions::new().write(true).create_new(true).open(to)?;
        match ioctl_ficlone(&target, &source) {
            Ok(()) => Ok(true),
            Err(error) => {
                drop(target);
                fs::remove_file(to)?;
                match error {
                    Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::XDEV | Errno::INVAL => Ok(false),
                    error => Err(error.into()),
                }
            }
        }
    }
}
