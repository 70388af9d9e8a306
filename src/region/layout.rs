//! Where things lie below a region's directory. Owns the names; the engine's own below `.debvisor` are
//! [`ReplicaPlace`](crate::replica::place::ReplicaPlace)'s.

use std::path::{Path, PathBuf};

use crate::model::{ResourceId, ResourceKey, ResourceType};

/// The directories that the engine keeps for each replica, below `.debvisor`.
pub(super) const ENGINE: [&str; 4] = ["index", "points", "incoming", "aside"];

/// The paths of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of the region in the directory `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The region's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is the program's own, the database aside.
    pub fn own(&self) -> PathBuf {
        self.root.join(".debvisor")
    }

    /// Who the region is.
    pub fn identity(&self) -> PathBuf {
        self.own().join("region.json")
    }

    /// What keeps two programs apart.
    pub fn lock(&self) -> PathBuf {
        self.own().join("lock")
    }

    /// The region's own configuration.
    pub fn config(&self) -> PathBuf {
        self.own().join("config.toml")
    }

    /// The state under which the region itself moves what regions hold.
    pub fn state(&self) -> PathBuf {
        self.own().join("state.db")
    }

    /// The metadata.
    pub fn database(&self) -> PathBuf {
        self.root.join("region.db")
    }

    /// The resources of one type.
    pub fn resources(&self, kind: ResourceType) -> PathBuf {
        self.root.join("resources").join(kind.as_str())
    }

    /// A resource's files.
    pub fn files(&self, resource: &ResourceKey) -> PathBuf {
        self.resources(resource.kind).join(resource.id.as_str())
    }

    /// Clones that a reading goes on from; whatever is here when nobody holds the region's lock is a leftover.
    pub fn clones(&self) -> PathBuf {
        self.own().join("clones")
    }

    /// What remembers that something is held still, one file for each resource.
    pub fn marks(&self) -> PathBuf {
        self.own().join("held")
    }

    /// The one of a resource.
    pub fn mark(&self, resource: &ResourceKey) -> PathBuf {
        self.marks().join(format!("{resource}.json"))
    }

    /// What remembers that a machine is being started, one file for each resource.
    pub fn starts(&self) -> PathBuf {
        self.own().join("starting")
    }

    /// Copies that drills start machines from, each under the name of its drill; whatever is here when no drill is under
    /// way is a leftover.
    pub fn drills(&self) -> PathBuf {
        self.own().join("drills")
    }

    /// What is brought to be put in place of files here, before it is.
    pub fn restores(&self) -> PathBuf {
        self.own().join("restore")
    }

    /// That of a resource.
    pub fn restoring(&self, resource: &ResourceKey) -> PathBuf {
        self.restores().join(resource.kind.as_str()).join(resource.id.as_str())
    }

    /// What was at the holder before its files were replaced, one directory for each time.
    pub fn replaced(&self, resource: &ResourceKey) -> PathBuf {
        self.own().join("replaced").join(resource.kind.as_str()).join(resource.id.as_str())
    }

    /// Everything that is named after a resource and moves with its name: from where to where.
    pub(super) fn renames(&self, kind: ResourceType, from: &ResourceId, to: &ResourceId) -> Vec<(PathBuf, PathBuf)> {
        let below = |dir: PathBuf| (dir.join(from.as_str()), dir.join(to.as_str()));
        let engine = ENGINE.iter().chain(&["replaced"]).map(|part| self.own().join(part).join(kind.as_str()));
        std::iter::once(self.resources(kind)).chain(engine).map(below).collect()
    }
}
