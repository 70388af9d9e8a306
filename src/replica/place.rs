//! Where things lie: a resource's own files at their holder, and what a replica keeps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::catalog::FileId;
use super::port::BLOCK_BYTES;
use crate::model::ResourceKey;

/// Where a resource's own files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Everything in a directory.
    Directory(PathBuf),
    /// Files and directories that stay where they are, each under the name that it has in the resource.
    Adopted(BTreeMap<String, PathBuf>),
}

/// Where a replica's files, and the engine's own, are. One file system, so that files move by renaming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaPlace {
    /// Of what.
    pub resource: ResourceKey,
    /// The files of the newest point, as anybody may read them.
    pub files: PathBuf,
    /// Block hashes of large files of the newest point, `<file>.idx`.
    pub index: PathBuf,
    /// One directory for each older point: what it has other than the point after it.
    pub points: PathBuf,
    /// What arrives.
    pub incoming: PathBuf,
    /// One directory for each set-aside point.
    pub aside: PathBuf,
}

impl ReplicaPlace {
    /// The places below a region's directory.
    pub fn below(region: &Path, resource: &ResourceKey) -> Self {
        let tail = Path::new(resource.kind.as_str()).join(resource.id.as_str());
        let own = region.join(".debvisor");
        Self {
            resource: resource.clone(),
            files: region.join("resources").join(&tail),
            index: own.join("index").join(&tail).join("newest"),
            points: own.join("points").join(&tail),
            incoming: own.join("incoming").join(&tail),
            aside: own.join("aside").join(&tail),
        }
    }

    /// The layer of an older point: what it has other than the point after it.
    pub fn undo(&self, sequence: u64) -> PathBuf {
        self.points.join(sequence.to_string())
    }

    /// The layer of a set-aside point.
    pub fn set_aside(&self, sequence: u64) -> PathBuf {
        self.aside.join(sequence.to_string())
    }

    /// What was in the way and is no point: a directory each.
    pub fn in_the_way(&self) -> PathBuf {
        self.aside.join("in-the-way")
    }

    /// The index of a file of the newest point.
    pub fn index_of(&self, file: FileId) -> PathBuf {
        self.index.join(format!("{}.idx", file.0))
    }
}

/// The room that so many bytes take with their tables and the file system's own figures.
pub(super) const fn with_tables(bytes: u64) -> u64 {
    bytes + bytes / 128 + if bytes > 0 { BLOCK_BYTES } else { 0 }
}

/// Where a holder's region remembers what it has hashed of a resource.
pub fn scan_cache(region: &Path, resource: &ResourceKey) -> PathBuf {
    region.join(".debvisor").join("index").join(resource.kind.as_str()).join(resource.id.as_str()).join("scan")
}
