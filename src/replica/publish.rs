//! From all blocks being here to the point being the newest one, in phases that a crash cannot tear.
//!
//! | phase | its effects | a crash in it leaves behind, and what the next opening does |
//! | --- | --- | --- |
//! | `receiving` | staged files get their length, mode and time, and are synced | the newest point untouched; what arrived is kept |
//! | commit `sealed`, of a first copy `putting_in` | the new point and its manifest are recorded; from here on no source is needed | either side of the commit |
//! | `sealed` | old blocks that will be overwritten are saved into the undo of the point before | the newest point untouched; the undo is written anew |
//! | commit `taking_out`, `putting_in` where no file leaves | that undo counts | either side |
//! | `taking_out` | files that leave are moved into the undo | each at its path or in the undo: reading looks in both |
//! | commit `putting_in` | | either side |
//! | `putting_in` | staged files are moved in, large ones patched, indexes follow | the point before is read through its undo; the patch is done again from what arrived |
//! | commit | the new point is the newest; what retention does not want any more is given up | either side |
//!
//! From `sealed` on the opening of the region rolls forward. Only one thing leads back: a file that somebody changed
//! between the look at the replica and `sealed`, or a received block that a failing disk altered since. Then nothing
//! of the replica was touched yet, and the next sync starts from what arrived.
//!
//! A file that a hand took away meanwhile, or that its disk does not take, does not stop it: the rest is put in, the
//! point and the older ones that needed the lost bytes are recorded as damaged, and the next sync repairs it.
//!
//! A full disk or one that fails altogether stops a phase with an error, and so does somebody who does not want to wait; the
//! newest complete point can be read meanwhile, and the next opening goes on.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{
    Catalog, CatalogChange, FileId, FileIdentity, KeptEntry, KeptFile, KeptManifest, Phase, PointRecord,
    ReceivingRecord, ReplicaRecord, Standing,
};
use super::export::dress;
use super::fault::{StopCheck, cannot, misuse};
use super::hashing::{lock, on_threads};
use super::layer::{Layer, remove_tree, sync_or_forget};
use super::losses::Losses;
use super::manifest::{Entry, Node};
use super::place::ReplicaPlace;
use super::port::{Published, TransferError};
use super::prune;
use super::putting;
use super::receive::Receive;
use super::survey::Arrival;
use super::undo;
use crate::host::disk::{Disk, Open};
use crate::model::point::{Point, PointState};
use crate::model::policy::Retention;
use crate::model::{ByteCount, Timestamp};

/// Staged files are synced by so many threads: most of the time they wait for the disk.
const SYNC_THREADS: usize = 8;

/// A point on its way from sealed to published.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) catalog: &'a dyn Catalog,
    pub(super) place: &'a ReplicaPlace,
    pub(super) record: ReplicaRecord,
    pub(super) receiving: ReceivingRecord,
    /// Stopping is as good as a crash: the next opening goes on.
    pub(super) stop: &'a StopCheck,
    /// What the files show.
    pub(super) old: KeptManifest,
    /// What they will show.
    pub(super) new: KeptManifest,
    /// Whether some of that could not be put in: the new point is damaged then.
    pub(super) lacking: bool,
}

/// Whether a phase could be gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Passed {
    /// Yes.
    Yes,
    /// No, for this reason; nothing of the replica was touched.
    BackOut(String),
}

impl Receive {
    /// Publishes what was received, and drops what retention no longer wants.
    pub(super) fn publish(&self, verified_at: Timestamp) -> Result<Published, TransferError> {
        {
            let mut state = lock(&self.state);
            state.copying()?;
            if state.missing != 0 {
                return Err(misuse(format!("{} blocks have not arrived", state.missing)));
            }
            state.sealing = true;
        }
        // A checkpoint that is under way commits before the seal, and none after it.
        let _in_turn = lock(&self.checkpoints);
        // Small files are made durable below, with their modes and times.
        self.settle(false)?;
        let (disk, catalog) = (&*self.disk, &*self.catalog);
        let record = catalog.load(&self.place.resource)?;
        let data_hash = self.reading.manifest.data_hash();
        let mut state = lock(&self.state);
        let changed = state.record.changed;
        if let Some(newest) = record.newest().filter(|newest| newest.point.data_hash == data_hash && self.is_the_same())
        {
            let mut same = newest.clone();
            same.point.verified_at = same.point.verified_at.max(verified_at);
            same.source_stamp = self.reading.stamp;
            if same.adopted {
                same.adopted = false;
                // What this region held itself has turned out to be what its successor has: it is an ordinary copy.
                same.point.source = self.order.source.clone();
                same.point.epoch = self.order.epoch;
            }
            let point = same.point.clone();
            catalog.commit(
                &self.place.resource,
                &[
                    CatalogChange::Point { record: Box::new(same), manifest: None },
                    CatalogChange::Receiving(None),
                    CatalogChange::Refusal(None),
                    CatalogChange::Copied,
                ],
            )?;
            drop(state);
            clear_incoming(disk, self)?;
            // The point that an earlier sync sealed came to be with this one.
            let changed = self.finished.map_or(changed, |finished| finished.changed);
            let (new, set_aside) = (self.finished.is_some(), self.set_aside.clone());
            return Ok(Published { point, new, changed, set_aside });
        }
        // From here on the records say it all.
        let files = std::mem::take(&mut state.files);
        self.sync_overlays(&files)?;
        let manifest = self.kept_manifest(files)?;
        // Last: with the files' own modes this program may not be allowed to open them again.
        self.finish_staged(&manifest, &state.record)?;
        let sequence = record.next_sequence.max(1);
        let point = Point {
            sequence,
            name: None,
            data_hash,
            read_at: self.reading.read_at,
            verified_at: verified_at.max(self.reading.read_at),
            source: self.order.source.clone(),
            epoch: self.order.epoch,
            kind: self.reading.kind,
            state: PointState::Complete,
            bytes: self.reading.manifest.bytes(),
            files: self.outline.files,
        };
        let sealed = PointRecord {
            point: point.clone(),
            source_stamp: self.reading.stamp,
            outline: self.outline.clone(),
            standing: Standing::Sealed,
            base: None,
            adopted: false,
        };
        // A first copy has no point before it: there is no undo to save, and nothing to take out.
        let phase = if state.record.base.is_some() { Phase::Sealed } else { Phase::PuttingIn };
        let receiving = ReceivingRecord { phase, sequence: Some(sequence), ..state.record.clone() };
        drop(state);
        catalog.commit(
            &self.place.resource,
            &[
                CatalogChange::Counters { next_sequence: sequence + 1, next_file: record.next_file },
                CatalogChange::Point { record: Box::new(sealed), manifest: Some(manifest) },
                CatalogChange::Receiving(Some(receiving)),
            ],
        )?;
        let retention = Some(&self.rules.retention);
        if let Passed::BackOut(why) = roll_forward(disk, catalog, &self.place, retention, &self.stop)? {
            return Err(TransferError::Corrupt(why));
        }
        // The point stands. What cannot be dropped now is dropped after a later sync.
        let _ = prune::finish(disk, catalog, &self.place, &self.stop);
        let published = catalog.load(&self.place.resource)?;
        if published.points.get(&sequence).is_none_or(|record| record.point.state == PointState::Damaged) {
            return Err(TransferError::Corrupt(lacking(catalog, &self.place, sequence)?));
        }
        Ok(Published { point, new: true, changed, set_aside: self.set_aside.clone() })
    }

    /// Whether the newest point needs nothing: neither its files here nor what it says of them. Modes, times and owners
    /// count, though times and owners are no part of the `data_hash`: a point that has other ones is a new one.
    fn is_the_same(&self) -> bool {
        let alike = |here: &Entry, comes: &Entry| {
            let Entry { path, node, mode, mtime_ns, owner } = here;
            *path == comes.path
                && *node == comes.node
                && *mode == comes.mode
                && *mtime_ns == comes.mtime_ns
                && (!self.rules.owners || *owner == comes.owner)
        };
        let (here, comes) = (&self.kept.entries, &self.reading.manifest.entries);
        !self.repairs
            && here.len() == comes.len()
            && here.iter().zip(comes).all(|(here, comes)| alike(&here.entry, comes))
    }

    fn kept_manifest(&self, arrived: BTreeMap<u32, Arrival>) -> Result<KeptManifest, TransferError> {
        let bodies: BTreeMap<u32, (FileId, u64)> =
            arrived.into_iter().map(|(at, file)| (at, (file.id, u64::try_from(file.data).unwrap_or(0)))).collect();
        let here: BTreeMap<&str, &KeptEntry> =
            self.kept.entries.iter().map(|kept| (kept.entry.path.as_str(), kept)).collect();
        let mut entries = Vec::with_capacity(self.reading.manifest.entries.len());
        for (at, entry) in (0_u32..).zip(&self.reading.manifest.entries) {
            let path = entry.path.as_str();
            let file = match entry.node {
                Node::Directory | Node::Link { .. } => None,
                Node::File { .. } => {
                    Some(match (bodies.get(&at), here.get(path).and_then(|kept| kept.file.as_ref())) {
                        (Some((id, data)), _) => {
                            KeptFile { id: *id, identity: None, data: ByteCount(*data), torn: false }
                        }
                        (None, Some(body)) => body.clone(),
                        (None, None) => return Err(misuse(format!("{path} has not arrived"))),
                    })
                }
            };
            let lies = here.get(path).filter(|kept| kept.entry == *entry).and_then(|kept| kept.lies);
            entries.push(KeptEntry { entry: entry.clone(), file, lies });
        }
        Ok(KeptManifest { entries })
    }

    /// Gives staged files their length, mode and time, and makes them durable.
    fn finish_staged(&self, manifest: &KeptManifest, record: &ReceivingRecord) -> Result<(), TransferError> {
        let incoming = self.incoming();
        let staged: Vec<(&KeptEntry, FileId)> = manifest
            .entries
            .iter()
            .filter_map(|kept| {
                let arriving = record.files.get(&kept.entry.path).filter(|arriving| arriving.staged)?;
                Some((kept, arriving.id))
            })
            .collect();
        on_threads(
            SYNC_THREADS,
            staged.len(),
            || (),
            |at, ()| {
                let (kept, id) = staged[at];
                let Node::File { size, root: _ } = kept.entry.node else { return Ok(()) };
                let path = incoming.data(id);
                let file = self.disk.open(&path, Open::ReadWrite).map_err(cannot("open", &path))?;
                file.set_len(size.0).map_err(cannot("write", &path))?;
                dress(&*self.disk, &path, &kept.entry, record.owners)?;
                sync_or_forget(&*self.disk, &path, || file.sync_all())
            },
        )?;
        incoming.sync(&*self.disk)
    }
}

impl Receive {
    /// Makes the overlays of large files durable with their tables: blocks of zeros are in a table alone, and no
    /// checkpoint has seen a file that has no others.
    fn sync_overlays(&self, files: &BTreeMap<u32, Arrival>) -> Result<(), TransferError> {
        let incoming = self.incoming();
        for file in files.values().filter(|file| !file.is_small()) {
            let overlay = incoming.make_overlay(&*self.disk, file.id)?;
            overlay.sync_data()?;
            overlay.table.sync()?;
        }
        Ok(())
    }
}

/// What could not be put in of a point, in words.
fn lacking(catalog: &dyn Catalog, place: &ReplicaPlace, sequence: u64) -> Result<String, TransferError> {
    let manifest = catalog.manifest(&place.resource, sequence)?;
    let untrusted = |kept: &&KeptEntry| kept.file.as_ref().is_some_and(|body| body.identity.is_none());
    let path = manifest.entries.iter().find(untrusted).map_or("a file", |kept| kept.entry.path.as_str());
    Ok(format!("{path} could not be put in place at the replica: point {sequence} lacks it; the next sync repairs it"))
}

fn clear_incoming(disk: &dyn Disk, receive: &Receive) -> Result<(), TransferError> {
    remove_tree(disk, &receive.place.incoming)
}

/// Finishes what an interrupted sync left: a sealed point is published, a point that was being dropped is dropped.
/// What was received and not sealed stays for the next sync. To be called before anything else is done with a
/// replica, by whoever may write there.
///
/// # Errors
/// I/O errors; the newest complete point can be read nevertheless.
pub fn recover(disk: &dyn Disk, catalog: &dyn Catalog, place: &ReplicaPlace) -> Result<(), TransferError> {
    recover_unless(disk, catalog, place, &StopCheck::never())
}

/// The same, until it is stopped.
///
/// # Errors
/// As [`recover`]; [`TransferError::Interrupted`].
pub(super) fn recover_unless(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    stop: &StopCheck,
) -> Result<(), TransferError> {
    // What is to be kept is said by whoever syncs next.
    roll_forward(disk, catalog, place, None, stop)?;
    let record = catalog.load(&place.resource)?;
    if record.receiving.is_none() {
        remove_tree(disk, &place.incoming)?;
    }
    match prune::finish(disk, catalog, place, stop) {
        Err(error @ (TransferError::Interrupted | TransferError::Stale { .. })) => Err(error),
        // Put off: a full disk that keeps an old point from being dropped does not keep the next one from coming.
        Ok(())
        | Err(
            TransferError::Blocked(_)
            | TransferError::Io { .. }
            | TransferError::Corrupt(_)
            | TransferError::Busy(_)
            | TransferError::Region(_),
        ) => Ok(()),
    }
}

/// Goes from `sealed` to published, wherever it was left. The commit that publishes also gives up what `retention`
/// does not want any more; dropping that is left to the caller.
pub(super) fn roll_forward(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    retention: Option<&Retention>,
    stop: &StopCheck,
) -> Result<Passed, TransferError> {
    let mut record = catalog.load(&place.resource)?;
    let Some(receiving) = record.receiving.take() else { return Ok(Passed::Yes) };
    let Some(sequence) = receiving.sequence.filter(|_| receiving.phase >= Phase::Sealed) else {
        return Ok(Passed::Yes);
    };
    let old = match receiving.base {
        Some(base) => catalog.manifest(&place.resource, base)?,
        None => KeptManifest::default(),
    };
    let new = catalog.manifest(&place.resource, sequence)?;
    let mut passage = Passage { disk, catalog, place, record, receiving, old, new, stop, lacking: false };
    if passage.receiving.phase == Phase::Sealed {
        match undo::save(&mut passage)? {
            Passed::Yes if putting::leaves(&passage) => passage.enter(Phase::TakingOut)?,
            Passed::Yes => passage.enter(Phase::PuttingIn)?,
            Passed::BackOut(why) => {
                passage.back_out(sequence)?;
                return Ok(Passed::BackOut(why));
            }
        }
    }
    if passage.receiving.phase == Phase::TakingOut {
        putting::take_out(&mut passage)?;
        passage.enter(Phase::PuttingIn)?;
    }
    putting::put_in(&mut passage)?;
    passage.arrive(sequence, retention)?;
    remove_tree(disk, &place.incoming)?;
    Ok(Passed::Yes)
}

impl Passage<'_> {
    /// The undo of the point that the files show; none for a first copy.
    pub(super) fn undo(&self) -> Option<Layer> {
        self.receiving.base.map(|base| Layer(self.place.undo(base)))
    }

    pub(super) fn incoming(&self) -> Layer {
        Layer(self.place.incoming.clone())
    }

    /// Files that are patched: what they are, and what they become.
    pub(super) fn patched(&self) -> impl Iterator<Item = (&KeptEntry, &KeptEntry)> {
        self.new.entries.iter().filter_map(|new| {
            let arriving = self.receiving.files.get(&new.entry.path).filter(|arriving| !arriving.staged)?;
            let old = self.old.entries.iter().find(|old| old.file.as_ref().is_some_and(|body| body.id == arriving.id));
            old.map(|old| (old, new))
        })
    }

    /// Which points lose bytes that the replica's files had.
    pub(super) fn losses(&self) -> Losses<'_> {
        Losses::of_files(self.disk, self.catalog, self.place, &self.record)
    }

    /// Notes points that lost bytes; the next commit records them.
    pub(super) fn note_damaged(&mut self, damaged: BTreeSet<u64>) {
        let known = std::mem::take(&mut self.receiving.damaged);
        self.receiving.damaged = damaged.into_iter().chain(known).collect::<BTreeSet<u64>>().into_iter().collect();
    }

    /// How a file of the point that the files show should lie now.
    pub(super) fn expected(&self, body: &KeptFile) -> Option<FileIdentity> {
        match self.receiving.modified.get(&body.id) {
            Some(modified) => *modified,
            None => body.identity,
        }
    }

    fn enter(&mut self, phase: Phase) -> Result<(), TransferError> {
        self.receiving.phase = phase;
        let change = CatalogChange::Receiving(Some(self.receiving.clone()));
        Ok(self.catalog.commit(&self.place.resource, &[change])?)
    }

    fn back_out(&mut self, sequence: u64) -> Result<(), TransferError> {
        if let Some(undo) = self.undo() {
            remove_tree(self.disk, &undo.0)?;
        }
        let receiving = ReceivingRecord {
            phase: Phase::Receiving,
            sequence: None,
            modified: BTreeMap::new(),
            damaged: Vec::new(),
            ..self.receiving.clone()
        };
        let changes = [CatalogChange::RemovePoint { sequence }, CatalogChange::Receiving(Some(receiving))];
        Ok(self.catalog.commit(&self.place.resource, &changes)?)
    }

    /// The commit that publishes, and the end of the passage.
    fn arrive(&mut self, sequence: u64, retention: Option<&Retention>) -> Result<(), TransferError> {
        let mut changes = prune::damage(&self.record, &self.receiving.damaged.iter().copied().collect());
        let no_point = || misuse(format!("point {sequence} has no record"));
        let mut record = self.record.points.get(&sequence).ok_or_else(no_point)?.clone();
        record.standing = Standing::Published;
        if self.lacking {
            record.point.state = PointState::Damaged;
        }
        let mut after = self.record.clone();
        for change in &changes {
            if let CatalogChange::Point { record, .. } = change {
                after.points.insert(record.point.sequence, (**record).clone());
            }
        }
        after.points.insert(sequence, record.clone());
        changes.push(CatalogChange::Point { record: Box::new(record), manifest: Some(std::mem::take(&mut self.new)) });
        changes.extend(retention.map_or_else(Vec::new, |retention| prune::dropping(&after, retention)));
        changes.push(CatalogChange::Receiving(None));
        changes.push(CatalogChange::Refusal(None));
        changes.push(CatalogChange::Copied);
        Ok(self.catalog.commit(&self.place.resource, &changes)?)
    }
}
