//! A new point of what is here already: the content of an older point, or the newest one's in files of their own.
//!
//! Every file is made anew beside the replica, under a new number, and the point is put in like one that was received:
//! what lay there is moved into the undo of the point before. So nothing that was kept until then shares bytes with the
//! files that are in place now, and whoever writes into those harms no point but the new one.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | forget what a sync had received | | what it had received, or nothing |
//! | make the files beside | the replica's files are not touched; every byte that is copied is hashed first | files that no record names, which the next opening removes |
//! | commit `sealed` | all of it is durable | either side |
//! | put it in | that of [`publish`](super::publish) | what the next opening finishes |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::aside::copy_file;
use super::block::GROUP_BYTES;
use super::catalog::{
    Arriving, Catalog, CatalogChange, FileId, FileIdentity, KeptEntry, KeptFile, KeptManifest, Phase, PointRecord,
    ReceivingRecord, ReplicaRecord, Standing,
};
use super::export::{dress, write_file};
use super::fault::{StopCheck, cannot, misuse};
use super::hashing::data_bytes;
use super::index::{Index, Record};
use super::layer::{Layer, remove_tree};
use super::manifest::Node;
use super::place::{ReplicaPlace, with_tables};
use super::points::PointReader;
use super::port::TransferError;
use super::publish::{Passed, roll_forward};
use super::tree::outline;
use crate::host::disk::{Disk, Open};
use crate::model::ByteCount;
use crate::model::point::{BlockReason, Point, PointState};

/// Makes new points of a replica's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewal<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) catalog: &'a dyn Catalog,
    pub(super) place: &'a ReplicaPlace,
    /// Whether owners are set: the program runs as root.
    pub(super) owners: bool,
    pub(super) stop: &'a StopCheck,
}

/// How files of the newest point were found modified, as a receiving notes it.
pub(super) type Modified = BTreeMap<FileId, Option<FileIdentity>>;

impl Renewal<'_> {
    /// Puts the content of the point `sequence` in place, by copying; `modified` was set aside before.
    ///
    /// # Errors
    /// [`TransferError::Corrupt`] for a point that is damaged, or a replica that somebody writes; `no_space`; I/O errors.
    pub(super) fn copy(&self, sequence: u64, modified: Modified) -> Result<Point, TransferError> {
        let record = self.catalog.load(&self.place.resource)?;
        let reader = PointReader::open(self.disk, self.catalog, self.place, &record, sequence)?;
        let incoming = self.begin()?;
        let files = reader.manifest.entries.iter().filter_map(|kept| kept.file.as_ref());
        let needed = with_tables(files.map(|file| file.data.0).sum());
        let free = self.disk.free_space(&incoming.0).map_err(cannot("look for room on", &incoming.0))?;
        if needed > free {
            let (why, needed, free) = (BlockReason::NoSpace.as_str(), ByteCount(needed), ByteCount(free));
            return Err(TransferError::Region(format!(
                "{why}: {needed} are needed to write out point {sequence}, {free} are free"
            )));
        }
        let made = self.make(&record, &reader.manifest, |kept, id| {
            let Node::File { size, root } = &kept.entry.node else { return Ok(0) };
            let (path, from) = (incoming.data(id), reader.file(kept)?);
            let to = self.disk.open(&path, Open::CreateNew).map_err(cannot("open", &path))?;
            let index = self.new_index(&incoming, id, size.0)?;
            let data = AtomicU64::new(0);
            let found = write_file(&*to, &path, (&from, size.0), self.stop, |group, record| {
                note(&index, &data, size.0, group, record)
            })?;
            if found != *root {
                let file = &kept.entry.path;
                return Err(TransferError::Corrupt(format!(
                    "{file} of point {sequence} is damaged: its bytes are not its hash's"
                )));
            }
            to.set_len(size.0).map_err(cannot("write", &path))?;
            index.map_or(Ok(()), |index| index.sync())?;
            Ok(data.into_inner())
        });
        let manifest = self.or_clear(made)?;
        self.publish(record, &reader.record, manifest, modified)
    }

    /// Gives the newest point's machine clones of its files to write into; none where the file system cannot clone. The
    /// files must be what the point says.
    ///
    /// # Errors
    /// [`TransferError::Corrupt`] where somebody writes them; I/O errors.
    pub(super) fn clone_newest(&self) -> Result<Option<Point>, TransferError> {
        let record = self.catalog.load(&self.place.resource)?;
        let Some(newest) = record.newest().cloned() else { return Ok(None) };
        let kept = self.catalog.manifest(&self.place.resource, newest.point.sequence)?;
        let incoming = self.begin()?;
        let made = self.make(&record, &kept, |kept, id| {
            let (Node::File { size, root: _ }, Some(body)) = (&kept.entry.node, &kept.file) else { return Ok(0) };
            let from = self.place.files.join(&kept.entry.path);
            if !self.disk.clone_file(&from, &incoming.data(id)).map_err(cannot("clone", &from))? {
                return Err(misuse("the file system cannot clone"));
            }
            if size.0 > GROUP_BYTES {
                let from = self.place.index_of(body.id);
                let size = self.disk.symlink_metadata(&from).map_err(cannot("look at", &from))?.size;
                copy_file(self.disk, &from, &incoming.table(id), size)?;
            }
            Ok(body.data.0)
        });
        match self.or_clear(made) {
            Err(error @ TransferError::Interrupted) => Err(error),
            // Whatever it is: without clones the machine runs too.
            Err(_) => Ok(None),
            Ok(manifest) => self.publish(record, &newest, manifest, Modified::new()).map(Some),
        }
    }

    /// Makes room for files beside the replica. What a sync had received goes: whoever received it holds it no more.
    fn begin(&self) -> Result<Layer, TransferError> {
        self.catalog.commit(&self.place.resource, &[CatalogChange::Receiving(None)])?;
        remove_tree(self.disk, &self.place.incoming)?;
        let incoming = Layer(self.place.incoming.clone());
        incoming.make(self.disk)?;
        Ok(incoming)
    }

    fn or_clear<T>(&self, made: Result<T, TransferError>) -> Result<T, TransferError> {
        if made.is_err() {
            // The first error is what matters; the next opening removes what cannot be removed now.
            let _ = remove_tree(self.disk, &self.place.incoming);
        }
        made
    }

    fn new_index(&self, incoming: &Layer, id: FileId, size: u64) -> Result<Option<Index>, TransferError> {
        let large = size > GROUP_BYTES;
        large.then(|| Index::create(self.disk, &incoming.table(id))).transpose()
    }

    /// Has `make` bring each file beside the replica, as its new number says, and gives them their modes and times.
    fn make(
        &self,
        record: &ReplicaRecord,
        of: &KeptManifest,
        mut make: impl FnMut(&KeptEntry, FileId) -> Result<u64, TransferError>,
    ) -> Result<KeptManifest, TransferError> {
        let incoming = Layer(self.place.incoming.clone());
        let mut next = record.next_file;
        let mut entries = Vec::with_capacity(of.entries.len());
        for kept in &of.entries {
            self.stop.go_on()?;
            let file = match kept.entry.node {
                Node::Directory | Node::Link { .. } => None,
                Node::File { .. } => {
                    let id = FileId(next);
                    next += 1;
                    let data = make(kept, id)?;
                    let path = incoming.data(id);
                    // Opened before: its own mode may forbid that.
                    let file = self.disk.open(&path, Open::Read).map_err(cannot("open", &path))?;
                    dress(self.disk, &path, &kept.entry, self.owners)?;
                    file.sync_all().map_err(cannot("sync", &path))?;
                    Some(KeptFile { id, identity: None, data: ByteCount(data), torn: false })
                }
            };
            entries.push(KeptEntry { entry: kept.entry.clone(), file, lies: None });
        }
        incoming.sync(self.disk)?;
        Ok(KeptManifest { entries })
    }

    /// Seals what was made, and puts it in.
    fn publish(
        &self,
        record: ReplicaRecord,
        of: &PointRecord,
        manifest: KeptManifest,
        modified: Modified,
    ) -> Result<Point, TransferError> {
        let resource = &self.place.resource;
        let sequence = record.next_sequence.max(1);
        let base = record.newest().map(|newest| newest.point.sequence);
        let plain = manifest.to_manifest();
        let files: BTreeMap<String, Arriving> = manifest
            .entries
            .iter()
            .filter_map(|kept| kept.file.as_ref().map(|file| (kept, file.id)))
            .map(|(kept, id)| (kept.entry.path.clone(), Arriving { id, staged: true }))
            .collect();
        let sealed = PointRecord {
            point: Point { sequence, name: None, state: PointState::Complete, ..of.point.clone() },
            source_stamp: None,
            outline: outline(resource.kind, plain.files().map(|(path, size, _)| (path, size.0))),
            standing: Standing::Sealed,
            base: None,
            adopted: false,
        };
        let next_file = files.values().map(|file| file.id.0 + 1).max().unwrap_or(record.next_file);
        let receiving = ReceivingRecord {
            phase: if base.is_some() { Phase::Sealed } else { Phase::PuttingIn },
            base,
            sequence: Some(sequence),
            files: Arc::new(files),
            modified,
            undressed: Default::default(),
            owners: self.owners,
            damaged: Vec::new(),
            received: ByteCount(0),
            changed: ByteCount(0),
        };
        let changes = [
            CatalogChange::Counters { next_sequence: sequence + 1, next_file },
            CatalogChange::Point { record: Box::new(sealed), manifest: Some(manifest) },
            CatalogChange::Receiving(Some(receiving)),
        ];
        self.catalog.commit(resource, &changes)?;
        if let Passed::BackOut(why) = roll_forward(self.disk, self.catalog, self.place, None, self.stop)? {
            self.catalog.commit(resource, &[CatalogChange::Receiving(None)])?;
            return self.or_clear(Err(TransferError::Corrupt(why)));
        }
        let published = self.catalog.load(resource)?;
        let published = published.points.get(&sequence).map(|record| record.point.clone());
        let whole = published.filter(|point| point.state == PointState::Complete);
        whole.ok_or_else(|| TransferError::Corrupt(format!("point {sequence} could not be put in place as a whole")))
    }
}

fn note(index: &Option<Index>, data: &AtomicU64, size: u64, group: u64, record: &Record) -> Result<(), TransferError> {
    data.fetch_add(data_bytes(size, group, &record.blocks), Ordering::Relaxed);
    match index {
        Some(index) if *record != Record::EMPTY => index.write(group, record),
        Some(_) | None => Ok(()),
    }
}
