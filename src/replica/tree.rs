//! Looking at a resource's files: what is there, by metadata alone, and what of it cannot be copied.
//!
//! Owns: which files belong to a resource, their names in it, the stamp and the outline. Leaves reading to
//! `scan`. Of an image of a machine or a volume the header is read too: an image that lacks its
//! backing file is no copy.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::catalog::FileIdentity;
use super::fault::cannot;
use super::manifest::{is_inner_path, stays_inside};
use super::place::Place;
use super::port::TransferError;
use super::qcow2;
use crate::host::disk::{Disk, FileKind, FileStat, Listed, Open};
use crate::model::point::{Content, FileRefusal, Outline};
use crate::model::{ByteCount, Digest, ResourceType};

/// Suffixes of files that define a machine.
const DEFINITIONS: [&str; 8] = ["xml", "json", "yaml", "yml", "toml", "conf", "cfg", "ini"];
/// Suffixes of disk images.
const DISKS: [&str; 10] = ["img", "raw", "qcow2", "qcow", "vmdk", "vdi", "vhd", "vhdx", "iso", "qed"];
/// A file of a machine that is this large is a disk whatever its name.
const DISK_BYTES: u64 = 1 << 20;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundNode {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A link and its text.
    Link(String),
}

/// One path of a resource as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name in the resource.
    pub path: String,
    /// Where it is on this machine.
    pub at: PathBuf,
    /// What it is.
    pub node: FoundNode,
    /// Its metadata.
    pub stat: FileStat,
}

/// A resource's files as they were found, sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// What can be copied.
    pub found: Vec<Found>,
    /// The first thing that cannot.
    pub refused: Option<FileRefusal>,
}

/// A file's identity, from its metadata.
pub fn identity(stat: &FileStat) -> FileIdentity {
    FileIdentity { ino: stat.ino, size: stat.size, mtime_ns: stat.mtime_ns, ctime_ns: stat.ctime_ns }
}

impl Tree {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.refused.is_none()
    }

    /// A digest over every path's kind, owner, mode and mtime, and of files their inode, size and ctime. Those of
    /// directories and links move with what is in them, which shows by itself.
    pub fn stamp(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for Found { path, at: _, node, stat } in &self.found {
            let (kind, figures) = match node {
                FoundNode::Directory => (b"d", [0; 3]),
                FoundNode::File => (b"f", [stat.ino, stat.size, stat.ctime_ns as u64]),
                FoundNode::Link(_) => (b"l", [0; 3]),
            };
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path.as_bytes()).update(kind);
            for figure in [stat.mode, stat.uid, stat.gid] {
                hasher.update(&figure.to_le_bytes());
            }
            hasher.update(&stat.mtime_ns.to_le_bytes());
            figures.iter().for_each(|figure| {
                hasher.update(&figure.to_le_bytes());
            });
            if let FoundNode::Link(to) = node {
                hasher.update(&(to.len() as u64).to_le_bytes()).update(to.as_bytes());
            }
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// What there is, in short.
    pub fn outline(&self, kind: ResourceType) -> Outline {
        let files = self.found.iter().filter(|found| found.node == FoundNode::File);
        outline(kind, files.map(|found| (found.path.as_str(), found.stat.size)))
    }

    /// The latest change of anything, in nanoseconds since 1970.
    pub(super) fn latest_change_ns(&self) -> i64 {
        self.found.iter().map(|found| found.stat.ctime_ns).max().unwrap_or(i64::MIN)
    }

    fn refuse(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        if self.refused.is_none() {
            self.refused = Some(FileRefusal { path: path.into(), reason: reason.into() });
        }
    }
}

/// What there is in short, from the files' paths and sizes.
pub(super) fn outline<'a>(kind: ResourceType, files: impl Iterator<Item = (&'a str, u64)>) -> Outline {
    let mut outline = Outline::default();
    for (path, size) in files {
        outline.files += 1;
        outline.bytes += ByteCount(size);
        match kind {
            ResourceType::Vm => {
                let suffix = suffix(path);
                if DEFINITIONS.contains(&suffix.as_str()) {
                    outline.definitions.insert(path.to_owned());
                } else if DISKS.contains(&suffix.as_str()) || size >= DISK_BYTES {
                    outline.disks.insert(path.to_owned(), ByteCount(size));
                }
            }
            ResourceType::Storage | ResourceType::Network | ResourceType::Config | ResourceType::State => {}
        }
    }
    outline
}

fn suffix(path: &str) -> String {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('.').map_or(String::new(), |(_, suffix)| suffix.to_ascii_lowercase())
}

/// Looks at a resource's files. What is not there is not an error; what cannot be copied is in the tree by name.
///
/// # Errors
/// Where a directory or a file cannot be looked at.
pub fn walk(disk: &dyn Disk, place: &Place) -> Result<Tree, TransferError> {
    let mut tree = Tree::default();
    match place {
        Place::Directory(root) => match disk.list(root) {
            Ok(listed) => enter(disk, root, listed, "", &mut tree)?,
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                tree.refuse(root.display().to_string(), "is not a directory");
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot("read the directory", root)(error)),
        },
        Place::Adopted(files) => {
            for (name, at) in files {
                if name.contains('/') || !is_inner_path(name) {
                    tree.refuse(name, "is not a name that a file can have in a resource");
                } else {
                    match disk.symlink_metadata(at) {
                        Ok(stat) => look(disk, at, name.clone(), stat, &mut tree)?,
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(cannot("look at", at)(error)),
                    }
                }
            }
        }
    }
    tree.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree)
}

fn enter(
    disk: &dyn Disk,
    directory: &Path,
    listed: Vec<Listed>,
    path: &str,
    tree: &mut Tree,
) -> Result<(), TransferError> {
    for (name, stat) in listed {
        let at = directory.join(&name);
        let stat = stat.map_err(cannot("look at", &at))?;
        match inner(path, name) {
            Ok(path) => look(disk, &at, path, stat, tree)?,
            Err(name) => tree.refuse(name, "its name is not UTF-8"),
        }
    }
    Ok(())
}

fn inner(path: &str, name: OsString) -> Result<String, String> {
    match name.into_string() {
        Ok(name) if path.is_empty() => Ok(name),
        Ok(name) => Ok(format!("{path}/{name}")),
        Err(name) => Err(format!("{path}/{}", name.to_string_lossy()).trim_start_matches('/').to_owned()),
    }
}

fn look(disk: &dyn Disk, at: &Path, path: String, stat: FileStat, tree: &mut Tree) -> Result<(), TransferError> {
    if !is_inner_path(&path) {
        tree.refuse(path, "its path is too long");
        return Ok(());
    }
    let node = match stat.kind {
        FileKind::Directory => {
            tree.found.push(Found { path: path.clone(), at: at.to_owned(), node: FoundNode::Directory, stat });
            return match disk.list(at) {
                Ok(listed) => enter(disk, at, listed, &path, tree),
                // It went away while we looked: the next look will show it.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
                Err(error) => Err(cannot("read the directory", at)(error)),
            };
        }
        FileKind::File => FoundNode::File,
        FileKind::Link => match disk.read_link(at).map_err(cannot("read the link", at))?.into_os_string().into_string()
        {
            Ok(to) if stays_inside(&path, &to) => FoundNode::Link(to),
            Ok(to) => {
                tree.refuse(path, format!("is a link that leads outside, to {to}"));
                return Ok(());
            }
            Err(_) => {
                tree.refuse(path, "is a link to a name that is not UTF-8");
                return Ok(());
            }
        },
        FileKind::Other => {
            tree.refuse(path, "is a device, a socket or a pipe");
            return Ok(());
        }
    };
    tree.found.push(Found { path, at: at.to_owned(), node, stat });
    Ok(())
}

/// Looks into the headers of disk images: one that names a file which is not among the resource's is refused.
///
/// # Errors
/// Where a header cannot be read.
pub fn check_images(disk: &dyn Disk, kind: ResourceType, tree: &mut Tree) -> Result<(), TransferError> {
    match kind {
        ResourceType::Vm | ResourceType::Storage => {}
        ResourceType::Network | ResourceType::Config | ResourceType::State => return Ok(()),
    }
    let mut head = Vec::new();
    for at in 0..tree.found.len() {
        let Found { path, at, node, stat } = &tree.found[at];
        // A raw disk's bytes are its guest's: what looks like a header there means nothing.
        if *node != FoundNode::File || stat.size < 72 || matches!(suffix(path).as_str(), "raw" | "iso") {
            continue;
        }
        let file = match disk.open(at, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot("open", at)(error)),
        };
        // Most files are no images: four bytes tell.
        let mut magic = [0; 4];
        let read = file.read_at(&mut magic, 0).map_err(cannot("read", at))?;
        if qcow2::outside(&magic[..read]).is_none() && !magic[..read].starts_with(b"QFI\xfb") {
            continue;
        }
        head.resize(qcow2::HEAD_BYTES, 0);
        let read = file.read_at(&mut head, 0).map_err(cannot("read", at))?;
        let Some(outside) = qcow2::outside(&head[..read]) else { continue };
        let names = [("backing file", outside.backing), ("data file", outside.data)];
        let lacking = names
            .into_iter()
            .filter_map(|(what, name)| name.map(|name| (what, name)))
            .find(|(_, name)| !names_file_of(tree, path, name));
        if let Some((what, name)) = lacking {
            let path = path.clone();
            tree.refuse(path, format!("its {what} {name} is not among the resource's files"));
        }
    }
    Ok(())
}

/// Whether `name`, as the image at `path` says it, is a file of the resource.
fn names_file_of(tree: &Tree, path: &str, name: &str) -> bool {
    let name = name.strip_prefix("file:").unwrap_or(name);
    if !stays_inside(path, name) {
        return false;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let wanted = parts.join("/");
    tree.found.iter().any(|found| found.path == wanted && found.node == FoundNode::File)
}

/// A resource's files as planning sees them; none where there is nothing.
///
/// # Errors
/// Where a directory or a file cannot be looked at.
pub fn content(disk: &dyn Disk, place: &Place, kind: ResourceType) -> Result<Option<Content>, TransferError> {
    let mut tree = walk(disk, place)?;
    if tree.is_empty() {
        return Ok(None);
    }
    check_images(disk, kind, &mut tree)?;
    Ok(Some(Content { outline: tree.outline(kind), stamp: tree.stamp(), refused: tree.refused }))
}
