//! Where a resource's files lie in a region: in its directory, under its former name, or where an operator keeps them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::store::KeptResource;
use crate::config::RegionConfig;
use crate::host::Disk;
use crate::model::point::{BlockReason, FileRefusal};
use crate::model::region::Role;
use crate::model::{ResourceKey, Timestamp};
use crate::replica::place::{Place, ReplicaPlace};
use crate::replica::port::TransferError;

/// Finds the files of one region's resources.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The machine's disk.
    pub disk: &'a dyn Disk,
    /// The region's paths.
    pub layout: &'a Layout,
    /// The region's own configuration.
    pub config: &'a RegionConfig,
}

impl Places<'_> {
    fn is_there(&self, path: &Path) -> bool {
        self.disk.symlink_metadata(path).is_ok()
    }

    /// The directory named after the resource; while only one with its former name is there, that one.
    pub fn directory(&self, resource: &ResourceKey, kept: Option<&KeptResource>) -> PathBuf {
        let present = self.layout.files(resource);
        let former = kept.and_then(|kept| kept.former_id.clone());
        match former.map(|id| self.layout.files(&ResourceKey::new(resource.kind, id))) {
            Some(former) if !self.is_there(&present) && self.is_there(&former) => former,
            Some(_) | None => present,
        }
    }

    /// Where the resource's own files are. A replica's are always in its directory: the program owns them.
    ///
    /// # Errors
    /// Where adopted files cannot be told apart, or some of them are not there.
    pub fn own_files(&self, resource: &ResourceKey, kept: Option<&KeptResource>) -> Result<Place, FileRefusal> {
        let Some(named) = self.adopted(resource, kept)? else {
            return Ok(Place::Directory(self.directory(resource, kept)));
        };
        let there = named.values().filter(|path| self.is_there(path)).count();
        match named.values().find(|path| !self.is_there(path)) {
            Some(missing) if there > 0 => Err(FileRefusal {
                path: missing.display().to_string(),
                reason: "is not there, though the region's configuration names it".to_owned(),
            }),
            Some(_) | None => Ok(Place::Adopted(named)),
        }
    }

    /// The files that the configuration names for a resource that is no replica, there or not, each under the name
    /// that it has in the resource; none where it names none.
    ///
    /// # Errors
    /// Where they cannot be told apart.
    pub fn adopted(
        &self,
        resource: &ResourceKey,
        kept: Option<&KeptResource>,
    ) -> Result<Option<BTreeMap<String, PathBuf>>, FileRefusal> {
        if kept.is_some_and(|kept| kept.record.role == Role::Replica) {
            return Ok(None);
        }
        let former = kept.and_then(|kept| kept.former_id.as_ref());
        let mut ids = std::iter::once(&resource.id).chain(former);
        let Some(files) = ids.find_map(|id| self.config.files.get(id).filter(|files| !files.is_empty())) else {
            return Ok(None);
        };
        let mut named: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in files {
            let refuse = |reason: &str| FileRefusal { path: path.display().to_string(), reason: reason.to_owned() };
            let name = path.file_name().ok_or_else(|| refuse("has no name"))?;
            let name = name.to_str().ok_or_else(|| refuse("has a name that is not UTF-8"))?;
            if named.insert(name.to_owned(), path.clone()).is_some() {
                return Err(refuse("has the same name as another file of the resource"));
            }
        }
        Ok(Some(named))
    }

    /// Where a replica's files and the engine's own are.
    pub fn replica(&self, resource: &ResourceKey, kept: Option<&KeptResource>) -> ReplicaPlace {
        let below = |key: &ResourceKey| ReplicaPlace::below(self.layout.root(), key);
        let place = ReplicaPlace { files: self.directory(resource, kept), ..below(resource) };
        // Of a rename that was interrupted, directories may bear either name.
        let former = kept.filter(|kept| kept.moving).and_then(|kept| kept.former_id.clone());
        match former.map(|id| below(&ResourceKey::new(resource.kind, id)).index) {
            Some(index) if !self.is_there(&place.index) && self.is_there(&index) => ReplicaPlace { index, ..place },
            Some(_) | None => place,
        }
    }
}

/// A refusal of a file as a transfer's end tells it.
pub(super) fn unsupported(refused: &FileRefusal, at: Timestamp) -> TransferError {
    TransferError::blocked(BlockReason::Unsupported, format!("{} {}", refused.path, refused.reason), None, at)
}
