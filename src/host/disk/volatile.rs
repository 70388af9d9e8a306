//! A disk whose machine may lose power: the test double for everything that must be durable.
//!
//! It wraps the machine's disk and remembers, of every file and directory that was changed and not synced since, how
//! it was. [`VolatileDisk::lose_power`] puts that back. So it loses as much as a file system may: bytes without a
//! sync of their file, names without a sync of their directory, each alone or both. Real file systems keep more, in
//! orders of their own; what survives this survives those.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::machine::HostDisk;
use super::port::{Disk, DiskFile, FileKind, FileStat, Open};

/// What of it the loss of power takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Bytes that were not synced; every name stays.
    Bytes,
    /// Names that were not synced; every byte stays.
    Names,
    /// Both.
    Everything,
}

/// A file as it was when it was synced last.
#[derive(Debug)]
struct Saved {
    /// Held open, so that its number is not given to another one.
    file: File,
    bytes: Vec<u8>,
    mode: u32,
    mtime_ns: i64,
}

/// What a name stood for. A file is held open as above; a directory is before it is removed.
#[derive(Debug, Clone)]
enum Node {
    File(u64, Arc<File>),
    Directory(u64),
    Link(PathBuf),
}

/// A directory's names when it was synced last.
#[derive(Debug)]
struct Listing {
    names: BTreeMap<OsString, Node>,
    /// Held open as above.
    _dir: File,
}

#[derive(Debug, Default)]
struct Pending {
    /// By inode.
    files: BTreeMap<u64, Saved>,
    /// By inode.
    directories: BTreeMap<u64, Listing>,
}

/// A disk whose machine may lose power.
#[derive(Debug, Clone)]
pub(crate) struct VolatileDisk {
    root: PathBuf,
    pending: Arc<Mutex<Pending>>,
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap()
}

impl Pending {
    fn touch_file(&mut self, path: &Path) -> io::Result<()> {
        let stat = fs::symlink_metadata(path)?;
        if !stat.is_file() || self.files.contains_key(&stat.ino()) {
            return Ok(());
        }
        let file = File::options().read(true).write(true).open(path)?;
        self.keep(file, fs::read(path)?)
    }

    fn keep(&mut self, file: File, bytes: Vec<u8>) -> io::Result<()> {
        let stat = file.metadata()?;
        let mtime_ns = stat.mtime() * 1_000_000_000 + stat.mtime_nsec();
        self.files.entry(stat.ino()).or_insert(Saved { file, bytes, mode: stat.mode(), mtime_ns });
        Ok(())
    }

    fn touch_directory(&mut self, path: &Path) -> io::Result<()> {
        let dir = File::open(path)?;
        let ino = dir.metadata()?.ino();
        if self.directories.contains_key(&ino) {
            return Ok(());
        }
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let stat = entry.metadata()?;
            let node = if stat.is_symlink() {
                Node::Link(fs::read_link(entry.path())?)
            } else if stat.is_dir() {
                Node::Directory(stat.ino())
            } else {
                Node::File(stat.ino(), Arc::new(File::open(entry.path())?))
            };
            names.insert(entry.file_name(), node);
        }
        self.directories.insert(ino, Listing { names, _dir: dir });
        Ok(())
    }

    fn touch_tree(&mut self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.touch_tree(&entry.path())?;
            }
        }
        self.touch_directory(path)
    }
}

impl VolatileDisk {
    /// The machine's disk below `root`.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), pending: Arc::default() }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap()
    }

    /// Puts back what was not synced; all that is left is durable.
    pub(crate) fn lose_power(&self, loss: Loss) {
        let Pending { files, directories } = std::mem::take(&mut *self.pending());
        if loss != Loss::Names {
            files.values().for_each(put_back);
        }
        if loss != Loss::Bytes {
            restore_names(&self.root, &directories);
        }
    }
}

fn put_back(saved: &Saved) {
    let Saved { file, bytes, mode, mtime_ns } = saved;
    file.set_len(0).unwrap();
    for (at, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at as u64 * 4096).unwrap();
        }
    }
    file.set_len(bytes.len() as u64).unwrap();
    file.set_permissions(fs::Permissions::from_mode(*mode)).unwrap();
    let since = Duration::from_nanos(u64::try_from(*mtime_ns).unwrap());
    file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
}

/// The directories below, deepest first, by inode.
fn walk(path: &Path, found: &mut Vec<(u64, PathBuf)>) {
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        }
    }
    found.push((fs::symlink_metadata(path).unwrap().ino(), path.to_owned()));
}

fn restore_names(root: &Path, directories: &BTreeMap<u64, Listing>) {
    let limbo = root.join("limbo of a test");
    let mut standing = Vec::new();
    walk(root, &mut standing);
    fs::create_dir(&limbo).unwrap();
    for (_, path) in standing.iter().filter(|(ino, _)| directories.contains_key(ino)) {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let aside = limbo.join(entry.metadata().unwrap().ino().to_string());
            if entry.path() != limbo {
                fs::rename(entry.path(), aside).unwrap();
            }
        }
    }
    // Directories become reachable as those above them are filled.
    let mut open: Vec<u64> = directories.keys().copied().collect();
    loop {
        let mut standing = Vec::new();
        walk(root, &mut standing);
        let place = |ino: &u64| standing.iter().find(|(there, path)| there == ino && !path.starts_with(&limbo));
        let Some((at, path)) = open.iter().enumerate().find_map(|(at, ino)| Some((at, place(ino)?.1.clone()))) else {
            break;
        };
        fill(&path, open.swap_remove(at), directories, &limbo, &mut open);
    }
    fs::remove_dir_all(limbo).unwrap();
}

fn stands(limbo: &Path, directory: u64) -> bool {
    let mut standing = Vec::new();
    walk(parent(limbo), &mut standing);
    standing.iter().any(|(ino, path)| *ino == directory && !path.starts_with(limbo))
}

fn fill(dir: &Path, ino: u64, directories: &BTreeMap<u64, Listing>, limbo: &Path, open: &mut Vec<u64>) {
    for (name, node) in &directories[&ino].names {
        let path = dir.join(name);
        match node {
            Node::Link(to) => symlink(to, path).unwrap(),
            Node::File(ino, _) | Node::Directory(ino) if fs::rename(limbo.join(ino.to_string()), &path).is_ok() => {}
            Node::File(_, file) => {
                let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                fs::write(&path, bytes).unwrap();
                fs::set_permissions(&path, file.metadata().unwrap().permissions()).unwrap();
                let anew = File::options().write(true).open(&path).unwrap();
                anew.set_modified(file.metadata().unwrap().modified().unwrap()).unwrap();
            }
            // A directory has one place: where its move was made durable, it stays there.
            Node::Directory(moved) if stands(limbo, *moved) => {}
            Node::Directory(gone) => {
                fs::create_dir(&path).unwrap();
                if let Some(at) = open.iter().position(|ino| ino == gone) {
                    let gone = open.swap_remove(at);
                    fill(&path, gone, directories, limbo, open);
                }
            }
        }
    }
}

/// A file of it.
#[derive(Debug)]
struct VolatileFile {
    file: Box<dyn DiskFile>,
    ino: u64,
    /// Another handle of the file, whatever becomes of its name.
    own: File,
    disk: VolatileDisk,
}

impl VolatileFile {
    fn touch(&self) -> io::Result<()> {
        let mut pending = self.disk.pending();
        if pending.files.contains_key(&self.ino) {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(self.own.metadata()?.len()).unwrap()];
        self.own.read_exact_at(&mut bytes, 0)?;
        pending.keep(self.own.try_clone()?, bytes)
    }
}

impl DiskFile for VolatileFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.touch()?;
        self.file.write_at(bytes, offset)
    }
    fn stat(&self) -> io::Result<FileStat> {
        self.file.stat()
    }
    fn set_len(&self, size: u64) -> io::Result<()> {
        self.touch()?;
        self.file.set_len(size)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.disk.pending().files.remove(&self.ino);
        Ok(())
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.touch()?;
        self.file.punch_hole(offset, len)
    }
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.file.next_data(offset)
    }
}

impl Disk for VolatileDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut pending = self.pending();
        let new = fs::symlink_metadata(path).is_err();
        if new && matches!(how, Open::Create | Open::CreateNew) {
            pending.touch_directory(parent(path))?;
        }
        let file = HostDisk.open(path, how)?;
        if how == Open::Read {
            let stat = file.stat()?;
            // What was written through another handle is made durable through this one too.
            return Ok(match stat.kind {
                FileKind::File => {
                    Box::new(VolatileFile { file, ino: stat.ino, own: File::open(path)?, disk: self.clone() })
                }
                FileKind::Directory | FileKind::Link | FileKind::Other => file,
            });
        }
        let own = File::options().read(true).write(true).open(path)?;
        if new {
            pending.keep(own.try_clone()?, Vec::new())?;
        }
        Ok(Box::new(VolatileFile { file, ino: own.metadata()?.ino(), own, disk: self.clone() }))
    }
    fn symlink_metadata(&self, path: &Path) -> io::Result<FileStat> {
        HostDisk.symlink_metadata(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        HostDisk.read_dir(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|path| fs::symlink_metadata(path).is_err()).collect();
        let Some(topmost) = missing.last() else { return HostDisk.create_dir_all(path) };
        let mut pending = self.pending();
        pending.touch_directory(parent(topmost))?;
        for made in missing.iter().rev() {
            fs::create_dir(made)?;
            // Whatever comes to lie in it.
            pending.touch_directory(made)?;
        }
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut pending = self.pending();
        pending.touch_directory(parent(from))?;
        pending.touch_directory(parent(to))?;
        HostDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pending().touch_directory(parent(path))?;
        HostDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut pending = self.pending();
        pending.touch_directory(path)?;
        pending.touch_directory(parent(path))?;
        HostDisk.remove_dir(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut pending = self.pending();
        if fs::symlink_metadata(path).is_ok_and(|stat| stat.is_dir()) {
            pending.touch_tree(path)?;
            pending.touch_directory(parent(path))?;
        }
        HostDisk.remove_dir_all(path)
    }
    fn symlink(&self, to: &Path, path: &Path) -> io::Result<()> {
        self.pending().touch_directory(parent(path))?;
        HostDisk.symlink(to, path)
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        HostDisk.read_link(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let ino = fs::symlink_metadata(path)?.ino();
        self.pending().directories.remove(&ino);
        Ok(())
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.pending().touch_file(path)?;
        HostDisk.set_mode(path, mode)
    }
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        HostDisk.set_owner(path, uid, gid)
    }
    fn set_mtime(&self, path: &Path, mtime_ns: i64) -> io::Result<()> {
        self.pending().touch_file(path)?;
        HostDisk.set_mtime(path, mtime_ns)
    }
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        HostDisk.free_space(path)
    }
    fn grain(&self, path: &Path) -> Duration {
        HostDisk.grain(path)
    }
    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<bool> {
        let mut pending = self.pending();
        pending.touch_directory(parent(to))?;
        let cloned = HostDisk.clone_file(from, to)?;
        if cloned {
            pending.keep(File::options().read(true).write(true).open(to)?, Vec::new())?;
        }
        Ok(cloned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::replace_file;

    fn listed(root: &Path) -> Vec<String> {
        let mut standing = Vec::new();
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                if path.is_dir() {
                    open.push(path);
                    standing.push(format!("{name}/"));
                } else {
                    standing.push(format!("{name}={}", fs::read_to_string(&path).unwrap()));
                }
            }
        }
        standing.sort();
        standing
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_is_lost() {
        for (loss, left) in [
            (Loss::Everything, vec!["a=one", "gone/", "gone/b=two", "moved=three"]),
            (Loss::Names, vec!["a=ONE", "gone/", "gone/b=two", "moved=three"]),
            (Loss::Bytes, vec!["a=one", "new=", "over/", "over/c=three"]),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path();
            let disk = VolatileDisk::new(root);
            fs::create_dir(root.join("gone")).unwrap();
            for (name, bytes) in [("a", "one"), ("gone/b", "two"), ("moved", "three")] {
                replace_file(&disk, &root.join(name), bytes.as_bytes()).unwrap();
            }
            disk.sync_dir(root).unwrap();
            disk.open(&root.join("a"), Open::ReadWrite).unwrap().write_at(b"ONE", 0).unwrap();
            disk.remove_dir_all(&root.join("gone")).unwrap();
            disk.create_dir_all(&root.join("over")).unwrap();
            disk.rename(&root.join("moved"), &root.join("over/c")).unwrap();
            disk.open(&root.join("new"), Open::CreateNew).unwrap().write_at(b"four", 0).unwrap();
            disk.lose_power(loss);
            assert_eq!(listed(root), left, "{loss:?}");
        }
    }
}
