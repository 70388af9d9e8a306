//! How a replica's files differ from its newest point, by their metadata alone.
//!
//! Owns the comparison and what planning shows of a replica. Leaves what is done about it to
//! `aside`. Reads no file's bytes, writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::block::GROUP_BYTES;
use super::catalog::{CatalogError, KeptManifest, Ledger, Phase};
use super::export::is_dressed;
use super::manifest::Node;
use super::place::{Place, ReplicaPlace};
use super::port::TransferError;
use super::tree::{Found, FoundNode, identity, walk};
use crate::host::disk::{Disk, FileStat};
use crate::model::ByteCount;
use crate::model::point::{FileRefusal, PointState, Replica};

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Places in the manifest of what is not there.
    pub(super) missing: BTreeSet<usize>,
    /// Files that lie otherwise than when they were published, or that are not trusted.
    pub(super) modified: BTreeMap<usize, FileStat>,
    /// What has another mode, time or owner than it was given.
    pub(super) undressed: BTreeSet<usize>,
    /// What the point does not have.
    pub(super) extra: Vec<Found>,
    /// What cannot even be set aside.
    pub(super) refused: Option<FileRefusal>,
}

impl Findings {
    /// The first difference and how many more there are; none: no difference.
    fn words(&self, kept: &KeptManifest) -> Option<String> {
        let path = |at: &usize| kept.entries[*at].entry.path.as_str();
        let missing = self.missing.iter().map(|at| format!("{} is missing", path(at)));
        let modified = self.modified.keys().map(|at| {
            let trusted = kept.entries[*at].file.as_ref().is_some_and(|file| file.identity.is_some());
            format!("{} {}", path(at), if trusted { "was modified" } else { "is to be read again" })
        });
        let undressed = self.undressed.iter().filter(|at| !self.modified.contains_key(at));
        let undressed = undressed.map(|at| format!("{} was given another mode, time or owner", path(at)));
        let extra = self.extra.iter().map(|found| format!("{} is not of the point", found.path));
        let refused = self.refused.iter().map(|refused| format!("{} {}", refused.path, refused.reason));
        // What is refused explains the others: all is missing where the directory is none.
        let mut all = refused.chain(missing).chain(modified).chain(undressed).chain(extra);
        let first = all.next()?;
        Some(match all.count() {
            0 => first,
            more => format!("{first}, and {more} more"),
        })
    }
}

/// Compares a replica's files with the manifest of its newest point, an empty one where there is none; with `owners`,
/// as a program that sets them.
///
/// # Errors
/// Where a file cannot be looked at.
pub(super) fn inspect(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    kept: &KeptManifest,
    owners: bool,
) -> Result<Findings, TransferError> {
    let tree = walk(disk, &Place::Directory(place.files.clone()))?;
    let mut found: BTreeMap<&str, &Found> = tree.found.iter().map(|found| (found.path.as_str(), found)).collect();
    let mut findings = Findings { refused: tree.refused.clone(), ..Findings::default() };
    for (at, kept) in kept.entries.iter().enumerate() {
        let Some(here) = found.get(kept.entry.path.as_str()) else {
            findings.missing.insert(at);
            continue;
        };
        let same_kind = match (&kept.entry.node, &here.node) {
            (Node::Directory, FoundNode::Directory) | (Node::File { .. }, FoundNode::File) => true,
            (Node::Link { to }, FoundNode::Link(text)) => to == text,
            (Node::Directory | Node::File { .. } | Node::Link { .. }, _) => false,
        };
        if !same_kind {
            // What stands there instead stays among what was found, and so becomes extra.
            findings.missing.insert(at);
            continue;
        }
        if let (Some(file), Node::File { size, root: _ }) = (&kept.file, &kept.entry.node) {
            // Without its index a large file cannot be compared.
            let lacks_index = size.0 > GROUP_BYTES && disk.symlink_metadata(&place.index_of(file.id)).is_err();
            if lacks_index || file.identity != Some(identity(&here.stat)) {
                findings.modified.insert(at, here.stat.clone());
            }
        }
        if !is_dressed(&here.stat, kept, owners) {
            findings.undressed.insert(at);
        }
        found.remove(kept.entry.path.as_str());
    }
    findings.extra = found.into_values().cloned().collect();
    Ok(findings)
}

/// How a replica's files differ from its newest point, in words; none: they don't.
///
/// # Errors
/// Where a file cannot be looked at.
pub fn damage(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    kept: &KeptManifest,
    owners: bool,
) -> Result<Option<String>, TransferError> {
    Ok(inspect(disk, place, kept, owners)?.words(kept))
}

/// What planning sees of a replica. Writes nothing, whatever state an earlier sync left.
///
/// # Errors
/// Where the records or a file cannot be read.
pub fn summary(disk: &dyn Disk, ledger: &Ledger, place: &ReplicaPlace, owners: bool) -> Result<Replica, TransferError> {
    let newest = ledger.newest.as_ref();
    let sealed = ledger.receiving.as_ref().is_some_and(|receiving| receiving.phase >= Phase::TakingOut);
    let damage = match newest {
        // While a point is being put in, the files are of neither point, and finishing it is what mends them.
        Some(_) if sealed => Some("an interrupted sync is to be finished".to_owned()),
        Some(newest) => {
            let sequence = newest.point.sequence;
            let unlisted = || CatalogError::NoPoint { resource: place.resource.clone(), sequence };
            let files = damage(disk, place, ledger.manifest.as_ref().ok_or_else(unlisted)?, owners)?;
            let point = || format!("point {sequence} lacks bytes that were lost here");
            files.or_else(|| (newest.point.state == PointState::Damaged).then(point))
        }
        None => None,
    };
    Ok(Replica {
        newest: ledger.shown(),
        damage,
        points: ledger.points,
        set_aside: ledger.set_aside,
        received: ledger.receiving.as_ref().map_or(ByteCount(0), |receiving| receiving.received),
        refusal: ledger.refusal.clone(),
        // Kept beside the records of points.
        audit: None,
    })
}
