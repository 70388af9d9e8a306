//! Who a directory is: `.debvisor/region.json`.
//!
//! Owns reading and writing that file. A directory without one is a vacant place, never an empty region: whether it
//! may be founded is decided by those who know whether anybody has met the region before.

use std::io;
use std::path::{Path, PathBuf};

use super::layout::Layout;
use crate::host::disk::replace_file;
use crate::host::{Disk, FileKind, Open};
use crate::model::RegionId;
use crate::model::region::Identity;

/// The largest identity file that is read.
const LIMIT: u64 = 64 << 10;

/// What is wrong with a region's directory.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The path leads to something else.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The identity cannot be understood.
    #[error("{} cannot be understood: {detail}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Another region lives here.
    #[error("{} belongs to region {found}, not to {expected}", .path.display())]
    Another {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: RegionId,
        /// Whose it should be.
        expected: RegionId,
    },
    /// The system's error.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl IdentityError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotADirectory(_) | Self::Io { .. } => {
                Some("check the region's api_endpoint and its mount".to_owned())
            }
            Self::Malformed { .. } => {
                Some("restore the file from a backup; the region's data was not touched".to_owned())
            }
            Self::Another { .. } => {
                Some("the wrong disk may be mounted, or two regions name the same directory".to_owned())
            }
        }
    }
}

/// The directory's identity; none where there is no directory or nothing was founded in it.
///
/// # Errors
/// [`IdentityError`] for what is neither.
pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Identity>, IdentityError> {
    let root = layout.root();
    match kind(disk, root)? {
        None => return Ok(None),
        Some(FileKind::Directory) => {}
        Some(FileKind::File | FileKind::Link | FileKind::Other) => {
            return Err(IdentityError::NotADirectory(root.to_owned()));
        }
    }
    let path = layout.identity();
    let file = match disk.open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Io { action: "read", path, source }),
    };
    let io = |source| IdentityError::Io { action: "read", path: path.clone(), source };
    let size = file.len().map_err(io)?;
    if size > LIMIT {
        return Err(IdentityError::Malformed { path, detail: format!("it has {size} bytes") });
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
    let read = file.read_at(&mut text, 0).map_err(io)?;
    serde_json::from_slice(&text[..read])
        .map(Some)
        .map_err(|error| IdentityError::Malformed { path: path.clone(), detail: error.to_string() })
}

/// Follows links: a region's directory may well be one.
fn kind(disk: &dyn Disk, root: &Path) -> Result<Option<FileKind>, IdentityError> {
    let io = |source| IdentityError::Io { action: "look at", path: root.to_owned(), source };
    let mut path = root.to_owned();
    // As many as the system follows.
    for _ in 0..40 {
        match disk.symlink_metadata(&path) {
            Ok(stat) if stat.kind == FileKind::Link => {
                let to = disk.read_link(&path).map_err(io)?;
                path = path.parent().unwrap_or(Path::new("/")).join(to);
            }
            Ok(stat) => return Ok(Some(stat.kind)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        }
    }
    Err(io(io::Error::other("too many links, one leading to the other")))
}

/// Gives the directory its identity.
///
/// Guarantees that the file is there whole, or not at all, and stays once this returned. Assumes that the caller
/// holds the region's lock. A crash leaves a vacant place, or a founded region.
///
/// # Errors
/// [`IdentityError::Io`].
pub fn write(disk: &dyn Disk, layout: &Layout, identity: &Identity) -> Result<(), IdentityError> {
    let path = layout.identity();
    let text = serde_json::to_string_pretty(identity).expect("plain data converts to JSON") + "\n";
    let io = |source| IdentityError::Io { action: "write", path: path.clone(), source };
    replace_file(disk, &path, text.as_bytes()).map_err(io)?;
    // The directory's own name must stay too.
    disk.sync_dir(layout.root()).map_err(io)
}

/// Fails where the directory is another region's.
///
/// # Errors
/// [`IdentityError::Another`].
pub fn check(layout: &Layout, found: &Identity, expected: &RegionId) -> Result<(), IdentityError> {
    if found.region_id == *expected {
        return Ok(());
    }
    let path = layout.root().to_owned();
    Err(IdentityError::Another { path, found: found.region_id.clone(), expected: expected.clone() })
}
