//! What a person can do about a copy that safety stops: the words of the plan, and of the run that met the same.

use crate::model::point::{BlockReason, Loss};
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

/// What an operator can do about a copy that safety stopped, where there is one thing to do.
pub fn unblock(
    key: &ResourceKey,
    source: &RegionId,
    target: &RegionId,
    reason: BlockReason,
    lost: Option<Loss>,
) -> Option<String> {
    match reason {
        BlockReason::Suspicious | BlockReason::Shrunk => {
            let anyway = || format!("if that is meant, {}", copy_anyway(key, source, target));
            Some(match lost {
                Some(Loss::Everything) => put_back(key),
                Some(Loss::Part) => format!("{}; {}", put_back(key), anyway()),
                None => format!("look at its files at {source}; {}", anyway()),
            })
        }
        BlockReason::SourceBusy => Some(
            "name a `snapshot` or a `freeze` and a `thaw` command in its region's configuration, or sync it when it rests"
                .to_owned(),
        ),
        BlockReason::NoSpace => Some("make room at the target, or let `[retention]` keep fewer points".to_owned()),
        BlockReason::Unsupported => Some("move it out of the resource's directory".to_owned()),
        BlockReason::NoCommonBase
        | BlockReason::Diverged
        | BlockReason::NotDeclared
        | BlockReason::Dependency
        | BlockReason::NotController
        | BlockReason::OpenOperation => None,
    }
}
