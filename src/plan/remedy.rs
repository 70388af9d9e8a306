//! What a person can do about a copy that safety stops: the words of the plan, and of the run that met the same.

use crate::model::{RegionId, ResourceKey, ResourceType};

/// How the holder gets its lost files again.
pub fn put_back(key: &ResourceKey) -> String {
    let ResourceKey { kind, id } = key;
    match kind {
        ResourceType::Vm => format!("`vm restore {id}` puts the last point's files back"),
        ResourceType::Storage | ResourceType::Network | ResourceType::Config | ResourceType::State => {
            format!("put its files back; `replication export {id} DIR` writes out the last point's")
        }
    }
}

/// How the replica gets what the source has now.
pub fn copy_anyway(key: &ResourceKey, source: &RegionId, target: &RegionId) -> String {
    format!("`replication sync {} {source} {target} --accept-change` copies it", key.id)
}
