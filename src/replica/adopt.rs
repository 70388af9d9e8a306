//! What a region held itself becomes a point where it lies: the base that a copy of its successor is compared with, so
//! that only what differs travels. And so that nothing of it is lost, the same is set aside under a name.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | read every file once | nothing of the resource is written | indexes without a record, written anew by the next one |
//! | look again | files that changed while they were read are no point | the same |
//! | commit both points | the set-aside one shares all its bytes with the other, and keeps it until it is discarded | either side |
//!
//! Assumption: nothing runs from the files; who runs is asked by the caller. What is written later is found by the next
//! sync and set aside as a hand's.

use super::block::{GROUP_BYTES, hash_blocks, root_of};
use super::catalog::{
    Catalog, CatalogChange, FileId, KeptEntry, KeptFile, KeptManifest, PointRecord, ReplicaRecord, Standing,
};
use super::fault::{StopCheck, cannot};
use super::hashing::{data_bytes, hash_file, on_all_cores, read_small};
use super::index::Index;
use super::layer::{make_dir, remove_if_there};
use super::manifest::{Entry, Node};
use super::place::{Place, ReplicaPlace};
use super::port::TransferError;
use super::source::look_when_settled;
use super::tree::{Found, FoundNode, Tree, check_images, identity, walk};
use crate::host::disk::{Disk, Open};
use crate::model::point::{BlockReason, Point, PointKind, PointState};
use crate::model::region::Epoch;
use crate::model::{ByteCount, Clock, RegionId};

/// Whose files are adopted.
#[derive(Debug, Clone, Copy)]
pub struct Adoption<'a> {
    /// The region that held them.
    pub region: &'a RegionId,
    /// Up to which epoch.
    pub epoch: Epoch,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Adopts what lies in a replica's place; gives the point that was set aside. None where copies were kept there
/// before, whose engine tells by itself what was written since, and where nothing lies.
///
/// # Errors
/// [`TransferError::Blocked`] for what is no content of a point; [`TransferError::Busy`] where it was written
/// meanwhile; I/O errors; [`TransferError::Interrupted`].
pub fn adopt(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    adoption: &Adoption<'_>,
    stop: &StopCheck,
) -> Result<Option<Point>, TransferError> {
    let Adoption { region, epoch, clock } = *adoption;
    let record = catalog.load(&place.resource)?;
    if record.points.values().any(|point| !point.is_set_aside()) {
        return Ok(record.set_aside().find(|aside| is_of(&record, aside, epoch)).map(|aside| aside.point.clone()));
    }
    let live = Place::Directory(place.files.clone());
    let mut tree = look_when_settled(disk, clock, &live)?;
    if tree.is_empty() {
        return Ok(None);
    }
    check_images(disk, place.resource.kind, &mut tree)?;
    let now = clock.now();
    if let Some(refused) = &tree.refused {
        let detail = format!("{} {}", refused.path, refused.reason);
        return Err(TransferError::blocked(BlockReason::Unsupported, detail, None, now));
    }
    let (manifest, next_file) = read(disk, place, &tree, record.next_file, stop)?;
    if walk(disk, &live)?.stamp() != tree.stamp() {
        return Err(TransferError::Busy(format!("the files of {} were written while they were read", place.resource)));
    }
    let plain = manifest.to_manifest();
    let sequence = record.next_sequence.max(1);
    let outline = tree.outline(place.resource.kind);
    let base = PointRecord {
        point: Point {
            sequence,
            name: None,
            data_hash: plain.data_hash(),
            read_at: now,
            verified_at: now,
            source: region.clone(),
            epoch,
            kind: PointKind::Cold,
            state: PointState::Complete,
            bytes: plain.bytes(),
            files: outline.files,
        },
        source_stamp: None,
        outline,
        standing: Standing::Published,
        base: None,
        adopted: true,
    };
    let mut aside = PointRecord { base: Some(sequence), ..base.clone() };
    aside.point.sequence = sequence + 1;
    aside.point.name = Some(format!("diverged-{epoch}"));
    aside.point.state = PointState::SetAside;
    let point = aside.point.clone();
    catalog.commit(
        &place.resource,
        &[
            CatalogChange::Counters { next_sequence: sequence + 2, next_file },
            CatalogChange::Point { record: Box::new(base), manifest: Some(manifest.clone()) },
            CatalogChange::Point { record: Box::new(aside), manifest: Some(manifest) },
            CatalogChange::Receiving(None),
            CatalogChange::Refusal(None),
        ],
    )?;
    Ok(Some(point))
}

/// Whether what is set aside was adopted with this epoch.
fn is_of(record: &ReplicaRecord, aside: &PointRecord, epoch: Epoch) -> bool {
    let base = aside.base.and_then(|base| record.points.get(&base));
    aside.point.epoch == epoch && base.is_some_and(|base| base.adopted && base.point.data_hash == aside.point.data_hash)
}

/// Reads every file, and writes the indexes of large ones; gives what there is, and the number of the next file.
fn read(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    tree: &Tree,
    first: u64,
    stop: &StopCheck,
) -> Result<(KeptManifest, u64), TransferError> {
    let files: Vec<&Found> = tree.found.iter().filter(|found| found.node == FoundNode::File).collect();
    let bodies: Vec<std::sync::OnceLock<(Node, KeptFile)>> = files.iter().map(|_| Default::default()).collect();
    make_dir(disk, &place.index)?;
    let id = |at: usize| FileId(first + at as u64);
    let size = |at: usize| files[at].stat.size;
    let note = |at: usize, root, data: u64| {
        let body =
            KeptFile { id: id(at), identity: Some(identity(&files[at].stat)), data: ByteCount(data), torn: false };
        // Each place is filled once.
        let _ = bodies[at].set((Node::File { size: ByteCount(size(at)), root }, body));
    };
    let small: Vec<usize> = (0..files.len()).filter(|at| size(*at) <= GROUP_BYTES).collect();
    on_all_cores(
        small.len(),
        || (),
        |at, ()| {
            stop.go_on()?;
            let at = small[at];
            let file = disk.open(&files[at].at, Open::Read).map_err(cannot("open", &files[at].at))?;
            let (bytes, _) = read_small(&*file, &files[at].at, size(at))?;
            let hashes = hash_blocks(&bytes);
            note(at, root_of(size(at), &hashes), data_bytes(size(at), 0, &hashes));
            Ok(())
        },
    )?;
    for at in (0..files.len()).filter(|at| size(*at) > GROUP_BYTES) {
        let path = place.index_of(id(at));
        // One that was cut off may have left it.
        remove_if_there(disk, &path)?;
        let index = Index::create(disk, &path)?;
        let file = disk.open(&files[at].at, Open::Read).map_err(cannot("open", &files[at].at))?;
        let (root, _) = hash_file(&*file, &files[at].at, size(at), Some(&index), stop)?;
        index.sync()?;
        note(at, root, data_of(&index, size(at))?);
    }
    disk.sync_dir(&place.index).map_err(cannot("sync", &place.index))?;
    let mut bodies = bodies.into_iter();
    let entries = tree.found.iter().map(|Found { path, at: _, node, stat }| {
        let (node, file) = match node {
            FoundNode::Directory => (Node::Directory, None),
            FoundNode::Link(to) => (Node::Link { to: to.clone() }, None),
            FoundNode::File => bodies.next().and_then(std::sync::OnceLock::into_inner).map(|(n, f)| (n, Some(f)))?,
        };
        let (mode, mtime_ns, owner) = (stat.mode, stat.mtime_ns, (stat.uid, stat.gid));
        Some(KeptEntry { entry: Entry { path: path.clone(), node, mode, mtime_ns, owner }, file, lies: None })
    });
    let entries = entries.collect::<Option<Vec<_>>>();
    let entries = entries.ok_or_else(|| super::fault::misuse("a file was not read"))?;
    Ok((KeptManifest { entries }, first + files.len() as u64))
}

/// Bytes of a file's blocks that are not zeros, by its index.
fn data_of(index: &Index, size: u64) -> Result<u64, TransferError> {
    let mut data = 0;
    let mut next = index.next(0)?;
    while let Some(group) = next {
        data += data_bytes(size, group, &index.record(group)?.blocks);
        next = index.next(group + 1)?;
    }
    Ok(data)
}
