//! One receiving: from the source's list of files until all that the replica lacks has arrived and is durable.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | open | the manifest leads nowhere; a lost source is refused; what was written at the replica is set aside | a record of what arrives, and files that belong to none, removed by the next one |
//! | compare | see `survey` | overlays as they were, or with fewer blocks |
//! | write | a block that is not what its hash says is never kept | bytes without a slot: they count for nothing |
//! | checkpoint | bytes are synced before the slots that show them | what the last checkpoint had |
//!
//! Memory: hashes of small files that are compared, and one slot for each block since the last checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::aside::{Replicas, SettingAside};
use super::beside::look_in;
use super::block::{GROUP_BYTES, block_len, hash_block, to_slot};
use super::catalog::{
    Arriving, Catalog, CatalogChange, FileId, KeptEntry, KeptManifest, Phase, ReceivingRecord, ReplicaRecord,
};
use super::fault::{StopCheck, cannot, if_readable, misuse};
use super::hashing::{lock, on_threads};
use super::index::Index;
use super::inspect::Findings;
use super::layer::{Layer, remove_if_there, sync_or_forget, write_sparse};
use super::manifest::Node;
use super::place::{ReplicaPlace, with_tables};
use super::port::{BLOCK_BYTES, BlockAddress, GROUP_BLOCKS, Hash, Reading, Survey, TransferError, ZERO};
use super::publish::recover_unless;
use super::refusing::{Figure, Refusing};
use super::room::{Reserved, Room};
use super::survey::{Arrival, Before, Figures, Present};
use super::suspicion;
use super::tree::outline;
use crate::host::disk::{Disk, Open};
use crate::model::point::{BlockReason, Loss, Outline, PointState, Refusal};
use crate::model::policy::Retention;
use crate::model::region::SyncOrder;
use crate::model::units::Percent;
use crate::model::{ByteCount, Digest, World};
use bytes::Bytes;

/// Blocks that are asked for at once: 2 MiB, several of which are in flight.
const REQUEST_BLOCKS: usize = 32;
/// So many blocks that the replica itself has are not left waiting for a checkpoint.
const MANY_PENDING: usize = 1024;
/// Files are synced by so many threads: most of the time they wait for the disk.
const SYNC_THREADS: usize = 8;

/// By which rules a target receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveRules {
    /// Whether a person has accepted that the source changed a lot.
    pub accept_change: bool,
    /// The share of the base's bytes that may be replaced at once.
    pub max_change: Percent,
    /// Which points are kept.
    pub retention: Retention,
    /// Whether to set owners: the program runs as root.
    pub owners: bool,
}

/// A receiving that is open.
#[derive(Debug)]
pub(super) struct Receive {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) place: ReplicaPlace,
    pub(super) order: SyncOrder,
    pub(super) reading: Reading,
    pub(super) rules: ReceiveRules,
    pub(super) world: World,
    room: Room,
    /// What the source has, by its manifest rather than by its word.
    pub(super) outline: Outline,
    /// The newest point when it began, and its manifest.
    pub(super) base: Option<u64>,
    pub(super) kept: KeptManifest,
    pub(super) set_aside: Vec<String>,
    /// What an earlier sync had sealed, and opening this one has published.
    pub(super) finished: Option<Finished>,
    /// Whether something of the newest point is not as it should be: then the same content makes a new point.
    pub(super) repairs: bool,
    pub(super) state: Mutex<State>,
    /// Checkpoints follow each other; blocks may arrive meanwhile.
    pub(super) checkpoints: Mutex<()>,
    pub(super) stop: StopCheck,
}

/// What had arrived of a point that another sync sealed, and was published by this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    /// Bytes that had arrived.
    received: ByteCount,
    /// Bytes that differed from the point before.
    pub(super) changed: ByteCount,
}

/// What changes while it is open.
#[derive(Debug)]
pub(super) struct State {
    pub(super) record: ReceivingRecord,
    /// By place in the manifest.
    pub(super) files: BTreeMap<u32, Arrival>,
    pub(super) figures: Figures,
    surveyed: bool,
    /// Whether publishing has begun: nothing more is taken.
    pub(super) sealing: bool,
    /// Blocks that must still arrive.
    pub(super) missing: u64,
    /// Where the next wanted blocks are looked for.
    cursor: (u32, u64),
    /// Blocks of large files that are written and not yet durable.
    pending: BTreeMap<(u32, u64), Hash>,
    /// Small files that are written and not yet durable.
    unsynced: BTreeSet<u32>,
    unsynced_bytes: u64,
    /// What it was promised, once it is known what it needs.
    reserved: Option<Reserved>,
}

impl Receive {
    /// Opens a receiving; answers also with the files whose groups must be compared.
    pub(super) fn open(
        (disk, room): (Arc<dyn Disk>, Room),
        catalog: Arc<dyn Catalog>,
        world: World,
        what: (ReplicaPlace, &SyncOrder, &Reading, &ReceiveRules),
        stop: StopCheck,
    ) -> Result<(Self, Vec<u32>), TransferError> {
        let (resource, reading) = (what.0.resource.clone(), what.2);
        Self::begin((disk, room), Arc::clone(&catalog), world.clone(), what, stop).map_err(|error| {
            let refusing = Refusing { catalog: &*catalog, resource: &resource, world: &world, reading };
            refusing.unless_full(error, None)
        })
    }

    fn begin(
        (disk, room): (Arc<dyn Disk>, Room),
        catalog: Arc<dyn Catalog>,
        world: World,
        (place, order, reading, rules): (ReplicaPlace, &SyncOrder, &Reading, &ReceiveRules),
        stop: StopCheck,
    ) -> Result<(Self, Vec<u32>), TransferError> {
        let lie = |error: super::manifest::ManifestError| TransferError::Corrupt(format!("the source's list: {error}"));
        reading.manifest.validate().map_err(lie)?;
        let resource = place.resource.clone();
        let refusing = Refusing { catalog: &*catalog, resource: &resource, world: &world, reading };
        let sealed = catalog.load(&resource)?.receiving.filter(|left| left.sequence.is_some());
        recover_unless(&*disk, &*catalog, &place, &stop)?;
        let mut record = catalog.load(&resource)?;
        let newest = record.newest().map(|newest| newest.point.sequence);
        let finished = sealed.filter(|left| left.sequence == newest);
        let finished = finished.map(|left| Finished { received: left.received, changed: left.changed });
        let base = record.newest().map(|newest| newest.point.sequence);
        let files = reading.manifest.files().map(|(path, size, _)| (path, size.0));
        let outline = outline(resource.kind, files);
        // What has no files at all is no change that anybody could accept.
        let lost = if outline.files == 0 { Loss::Everything } else { Loss::Part };
        if let Some(newest) = record.newest().filter(|_| !rules.accept_change || lost == Loss::Everything)
            && let Some((reason, detail)) = suspicion::judge(resource.kind, &newest.outline, &outline)
        {
            return Err(refusing.refuse(reason, detail, Figure::Lost(lost)));
        }
        let kept = match base {
            Some(base) => catalog.manifest(&resource, base)?,
            None => KeptManifest::default(),
        };
        let looked = look_in(&*disk, &place, record.next_sequence.max(1), (&kept, rules.owners))?;
        let (mut findings, moved_away) = looked;
        distrust_unsound(&*disk, &place, reading, &kept, &mut findings)?;
        let aside = SettingAside {
            disk: &*disk,
            catalog: &*catalog,
            place: &place,
            here: (&order.target, order.epoch),
            now: world.clock.now(),
            room: &room,
            stop: &stop,
        };
        let set_aside = aside.run(&mut record, base, kept, &findings).map_err(|error| match error {
            TransferError::Blocked(Refusal {
                reason,
                detail,
                source_stamp: _,
                needed,
                lost: _,
                max_change: _,
                at: _,
            }) => {
                let figure = needed.map_or(Figure::None, Figure::Needed);
                refusing.refuse(reason, detail, figure)
            }
            error => error,
        });
        let Replicas { modified, mut names, kept } = set_aside?;
        names.extend(moved_away);

        let doubtful = record.newest().is_some_and(|newest| newest.point.state == PointState::Damaged);
        let repairs =
            doubtful || !findings.missing.is_empty() || !modified.is_empty() || !findings.undressed.is_empty();
        let undressed = findings.undressed.iter().filter_map(|at| kept.entries[*at].file.as_ref());
        let undressed = undressed.map(|body| body.id).collect();
        let incoming = Layer(place.incoming.clone());
        let before = record.receiving.take();
        let mut files = arrivals(&*disk, &place, reading, &kept, &modified, (before.as_ref(), &mut record))?;
        let receiving = ReceivingRecord {
            phase: Phase::Receiving,
            base,
            sequence: None,
            files: Arc::new(
                files.values().map(|file| (file.path.clone(), Arriving { id: file.id, staged: file.staged })).collect(),
            ),
            modified,
            undressed,
            owners: rules.owners,
            damaged: Vec::new(),
            received: before.as_ref().map_or(ByteCount(0), |before| before.received),
            changed: ByteCount(0),
        };
        // The numbers first: a file that lies in `incoming` under a number that was not recorded would be taken for
        // another one's.
        let (next_sequence, next_file) = (record.next_sequence, record.next_file);
        let counters = CatalogChange::Counters { next_sequence, next_file };
        catalog.commit(&resource, &[counters, CatalogChange::Receiving(Some(receiving.clone()))])?;
        incoming.make(&*disk)?;
        sweep(&*disk, &incoming, &receiving)?;
        for file in files.values_mut() {
            stop.go_on()?;
            file.prepare(&*disk, &incoming)?;
        }
        let compare = files.iter().filter(|(_, file)| file.size > 0).map(|(at, _)| *at).collect();
        let state = State {
            record: receiving,
            files,
            figures: Figures::default(),
            surveyed: false,
            sealing: false,
            missing: 0,
            cursor: (0, 0),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            unsynced_bytes: 0,
            reserved: None,
        };
        let receive = Self {
            disk,
            catalog,
            place,
            order: order.clone(),
            reading: reading.clone(),
            rules: rules.clone(),
            world,
            room,
            outline,
            base,
            kept,
            set_aside: names,
            finished,
            repairs,
            state: Mutex::new(state),
            checkpoints: Mutex::new(()),
            stop,
        };
        Ok((receive, compare))
    }

    pub(super) fn incoming(&self) -> Layer {
        Layer(self.place.incoming.clone())
    }

    pub(super) fn received(&self) -> ByteCount {
        lock(&self.state).record.received
    }

    pub(super) fn differing(&self, file: u32, first: u64, hashes: &[Hash]) -> Result<Vec<u64>, TransferError> {
        self.stop.go_on()?;
        let mut state = lock(&self.state);
        state.comparing()?;
        state.arrival(file)?.differing(&*self.disk, &self.incoming(), first, hashes)
    }

    pub(super) fn expect(&self, file: u32, groups: &[u64], hashes: &[Hash]) -> Result<(), TransferError> {
        self.stop.go_on()?;
        let mut state = lock(&self.state);
        state.comparing()?;
        let arrival = state.arrival(file)?;
        let small = arrival.is_small();
        let copied = arrival.expect(&*self.disk, &self.incoming(), groups, hashes)?;
        if small && !copied.is_empty() {
            state.unsynced.insert(file);
        } else {
            state.pending.extend(copied.into_iter().map(|(block, hash)| ((file, block), hash)));
        }
        let many = state.pending.len() >= MANY_PENDING;
        drop(state);
        if many { self.checkpoint() } else { Ok(()) }
    }

    /// Ends the comparison: judges the change and looks for room.
    pub(super) fn end_survey(&self) -> Result<Survey, TransferError> {
        self.stop.go_on()?;
        let mut state = lock(&self.state);
        state.comparing()?;
        let incoming = self.incoming();
        let mut sum = Figures::default();
        for file in state.files.values_mut() {
            file.finish(&*self.disk, &incoming)?;
            sum.add(&file.figures);
        }
        let stays: BTreeSet<&str> = self.reading.manifest.files().map(|(path, _, _)| path).collect();
        let lost = self.kept.entries.iter().filter(|kept| !stays.contains(kept.entry.path.as_str()));
        sum.replaced += lost.filter_map(|kept| kept.file.as_ref()).map(|file| file.data.0).sum::<u64>();
        let held: ByteCount = self.kept.entries.iter().filter_map(|kept| kept.file.as_ref()).map(|f| f.data).sum();
        if !self.rules.accept_change
            && self.base.is_some()
            && let Some(detail) = suspicion::judge_change(ByteCount(sum.replaced), held, self.rules.max_change)
        {
            return Err(self.refusing().refuse(BlockReason::Suspicious, detail, Figure::Limit(self.rules.max_change)));
        }
        let needed = sum.wanted + sum.undo + sum.grown;
        let needed = with_tables(needed);
        match self.room.reserve(&*self.disk, &incoming.0, needed)? {
            Ok(reserved) => state.reserved = Some(reserved),
            Err(too_small) => {
                let needed = ByteCount(needed);
                let detail = format!("{needed} are needed, {too_small}");
                return Err(self.refusing().refuse(BlockReason::NoSpace, detail, Figure::Needed(needed)));
            }
        }
        state.figures = sum;
        state.missing = sum.blocks;
        state.surveyed = true;
        state.record.changed = ByteCount(sum.changed);
        state.record.received = ByteCount(sum.resumed);
        let finished = self.finished.map_or(ByteCount(0), |finished| finished.received);
        let resumed = ByteCount(sum.resumed + finished.0);
        Ok(Survey { wanted: ByteCount(sum.wanted), changed: ByteCount(sum.changed), resumed })
    }

    fn refusing(&self) -> Refusing<'_> {
        let (catalog, resource) = (&*self.catalog, &self.place.resource);
        Refusing { catalog, resource, world: &self.world, reading: &self.reading }
    }

    /// What is told of how a step ended: that its disk is full is what safety could not foresee.
    pub(super) fn told<T>(&self, result: Result<T, TransferError>) -> Result<T, TransferError> {
        result.map_err(|error| {
            let needed = lock(&self.state).reserved.as_ref().map(Reserved::left);
            self.refusing().unless_full(error, needed)
        })
    }

    /// The next blocks that are missing.
    pub(super) fn next_wanted(&self) -> Result<Vec<BlockAddress>, TransferError> {
        self.stop.go_on()?;
        let mut state = lock(&self.state);
        state.copying()?;
        let incoming = self.incoming();
        let mut wanted = Vec::with_capacity(REQUEST_BLOCKS);
        let State { files, cursor, .. } = &mut *state;
        for (file, arrival) in files.range(cursor.0..) {
            let mut from = if *file == cursor.0 { cursor.1 } else { 0 };
            let room = REQUEST_BLOCKS - wanted.len();
            if arrival.is_small() {
                let blocks = arrival.lacking_from(from).take(room);
                wanted.extend(blocks.map(|block| BlockAddress { file: *file, block }));
            } else if let Some(want) = Index::open(&*self.disk, &incoming.wanted(arrival.id), Open::Read)? {
                while wanted.len() < REQUEST_BLOCKS
                    && let Some(group) = want.next(from / GROUP_BLOCKS)?
                {
                    let first = group * GROUP_BLOCKS;
                    let skip = from.saturating_sub(first) as usize;
                    let record = want.record(group)?;
                    let blocks = record.blocks.iter().enumerate().skip(skip).filter(|(_, hash)| **hash != ZERO);
                    let room = REQUEST_BLOCKS - wanted.len();
                    let found = blocks.map(|(at, _)| BlockAddress { file: *file, block: first + at as u64 });
                    wanted.extend(found.take(room));
                    from = if wanted.len() == REQUEST_BLOCKS { from } else { first + GROUP_BLOCKS };
                }
            }
            if wanted.len() == REQUEST_BLOCKS {
                break;
            }
        }
        *cursor = match wanted.last() {
            Some(last) => (last.file, last.block + 1),
            None => (u32::MAX, 0),
        };
        Ok(wanted)
    }

    /// Takes blocks.
    pub(super) fn write(&self, blocks: &[(BlockAddress, Bytes)]) -> Result<(), TransferError> {
        self.stop.go_on()?;
        // Hashing needs nothing of the receiving: requests that arrive together are hashed side by side.
        let hashes: Vec<Hash> = blocks.iter().map(|(_, bytes)| hash_block(bytes)).collect();
        let mut state = lock(&self.state);
        state.copying()?;
        let incoming = self.incoming();
        let mut rest: &[(BlockAddress, Bytes)] = blocks;
        let mut at = 0;
        while let Some((first, _)) = rest.first() {
            // Neighbours in one group need one look at what is wanted of it.
            let run = rest
                .iter()
                .enumerate()
                .take_while(|(n, (address, _))| {
                    address.file == first.file
                        && address.block == first.block + *n as u64
                        && address.block / GROUP_BLOCKS == first.block / GROUP_BLOCKS
                })
                .count();
            state.write_run(&*self.disk, &incoming, &rest[..run], &hashes[at..at + run])?;
            at += run;
            rest = &rest[run..];
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub(super) fn checkpoint(&self) -> Result<(), TransferError> {
        let _in_turn = lock(&self.checkpoints);
        if !self.settle(true)? {
            return Ok(());
        }
        let incoming = self.incoming();
        incoming.sync(&*self.disk)?;
        let record = lock(&self.state).record.clone();
        Ok(self.catalog.commit(&self.place.resource, &[CatalogChange::Receiving(Some(record))])?)
    }

    /// Writes the slots of blocks that have come, after the blocks are durable; of small files, which have no slots,
    /// only `with_small` makes the bytes durable. Names in `incoming` are left to the caller. False where nothing
    /// has come.
    pub(super) fn settle(&self, with_small: bool) -> Result<bool, TransferError> {
        let incoming = self.incoming();
        let (pending, small, large, bytes) = {
            let mut state = lock(&self.state);
            let pending = std::mem::take(&mut state.pending);
            let unsynced = std::mem::take(&mut state.unsynced);
            let ids = |file: &u32| state.files.get(file).map(|file| file.id);
            let small: Vec<FileId> = unsynced.iter().filter_map(ids).collect();
            let large: BTreeSet<u32> = pending.keys().map(|(file, _)| *file).collect();
            let large: BTreeMap<u32, (FileId, bool)> = large
                .into_iter()
                .filter_map(|file| state.files.get(&file).map(|arrival| (file, (arrival.id, arrival.staged))))
                .collect();
            (pending, small, large, std::mem::take(&mut state.unsynced_bytes))
        };
        if pending.is_empty() && small.is_empty() {
            return Ok(false);
        }
        let small = small.into_iter().filter(|_| with_small);
        let files: Vec<FileId> = small.chain(large.values().map(|(id, _)| *id)).collect();
        on_threads(
            SYNC_THREADS,
            files.len(),
            || (),
            |at, ()| {
                let path = incoming.data(files[at]);
                let file = self.disk.open(&path, Open::ReadWrite).map_err(cannot("open", &path))?;
                sync_or_forget(&*self.disk, &path, || file.sync_data())
            },
        )?;
        for (file, (id, staged)) in large {
            let overlay = incoming.make_overlay(&*self.disk, id)?;
            let blocks: Vec<(u64, Hash)> =
                pending.range((file, 0)..=(file, u64::MAX)).map(|((_, block), hash)| (*block, *hash)).collect();
            for group in blocks.chunk_by(|a, b| a.0 / GROUP_BLOCKS == b.0 / GROUP_BLOCKS) {
                let number = group[0].0 / GROUP_BLOCKS;
                let mut record = overlay.table.record(number)?;
                for (block, hash) in group {
                    record.blocks[(block % GROUP_BLOCKS) as usize] = if staged { *hash } else { to_slot(*hash) };
                }
                overlay.table.write(number, &record)?;
            }
            overlay.table.sync()?;
        }
        lock(&self.state).record.received += ByteCount(bytes);
        Ok(true)
    }
}

impl State {
    fn comparing(&self) -> Result<(), TransferError> {
        if self.surveyed { Err(misuse("the comparison has ended")) } else { Ok(()) }
    }

    pub(super) fn copying(&self) -> Result<(), TransferError> {
        match (self.surveyed, self.sealing) {
            (true, false) => Ok(()),
            (false, _) => Err(misuse("the comparison has not ended")),
            (true, true) => Err(misuse("publishing has begun")),
        }
    }

    fn arrival(&mut self, file: u32) -> Result<&mut Arrival, TransferError> {
        self.files.get_mut(&file).ok_or_else(|| misuse(format!("file {file} is not to be compared")))
    }

    /// Takes neighbouring blocks of one group.
    fn write_run(
        &mut self,
        disk: &dyn Disk,
        incoming: &Layer,
        run: &[(BlockAddress, Bytes)],
        hashes: &[Hash],
    ) -> Result<(), TransferError> {
        let BlockAddress { file, block: first } = run[0].0;
        let arrival = self.arrival(file)?;
        let group = first / GROUP_BLOCKS;
        let mut want = None;
        if !arrival.is_small() {
            want = Index::open(disk, &incoming.wanted(arrival.id), Open::ReadWrite)?;
        }
        let mut record = match &want {
            Some(want) => want.record(group)?,
            None => super::index::Record::EMPTY,
        };
        for ((address, bytes), hash) in run.iter().zip(hashes) {
            let at = (address.block % GROUP_BLOCKS) as usize;
            let expected = if want.is_some() {
                std::mem::replace(&mut record.blocks[at], ZERO)
            } else {
                arrival.lacks(address.block).unwrap_or(ZERO)
            };
            if expected == ZERO || expected != *hash || bytes.len() != block_len(arrival.size, address.block) {
                return Err(TransferError::Corrupt(format!(
                    "block {} of {} is not what its hash says",
                    address.block, arrival.path
                )));
            }
        }
        let path = incoming.data(arrival.id);
        let data = disk.open(&path, Open::ReadWrite).map_err(cannot("open", &path))?;
        let mut written = 0;
        for (address, bytes) in run {
            write_sparse(&*data, &path, address.block * BLOCK_BYTES, bytes)?;
            written += bytes.len() as u64;
        }
        if let Some(want) = want {
            want.write(group, &record)?;
            let blocks = run.iter().zip(hashes).map(|((address, _), hash)| ((file, address.block), *hash));
            self.pending.extend(blocks);
        } else {
            for (address, _) in run {
                arrival.has_come(address.block);
            }
            self.unsynced.insert(file);
        }
        self.missing -= run.len() as u64;
        self.unsynced_bytes += written;
        if let Some(reserved) = &self.reserved {
            reserved.used(written);
        }
        Ok(())
    }
}

impl Figures {
    fn add(&mut self, more: &Self) {
        let Self { wanted, changed, resumed, replaced, undo, grown, blocks } = more;
        self.wanted += wanted;
        self.changed += changed;
        self.resumed += resumed;
        self.replaced += replaced;
        self.undo += undo;
        self.grown += grown;
        self.blocks += blocks;
    }
}

/// Adds to the findings files that are to be compared and whose index is not what their root says: comparing by it
/// would be wrong, reading them again makes a new one.
fn distrust_unsound(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    reading: &Reading,
    kept: &KeptManifest,
    findings: &mut Findings,
) -> Result<(), TransferError> {
    let comes: BTreeMap<&str, Digest> = reading.manifest.files().map(|(path, _, root)| (path, root)).collect();
    for (at, kept) in kept.entries.iter().enumerate() {
        let (Node::File { size, root }, Some(body)) = (&kept.entry.node, &kept.file) else { continue };
        let compared = comes.get(kept.entry.path.as_str()).is_some_and(|coming| coming != root);
        if size.0 <= GROUP_BYTES || !compared || findings.missing.contains(&at) || findings.modified.contains_key(&at) {
            continue;
        }
        if !is_told(disk, place, body.id, size.0, *root)? {
            let path = place.files.join(&kept.entry.path);
            let stat = disk.symlink_metadata(&path).map_err(cannot("look at", &path))?;
            findings.modified.insert(at, stat);
        }
    }
    Ok(())
}

/// Which files arrive, and how.
fn arrivals(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    reading: &Reading,
    kept: &KeptManifest,
    modified: &BTreeMap<FileId, Option<super::catalog::FileIdentity>>,
    (before, record): (Option<&ReceivingRecord>, &mut ReplicaRecord),
) -> Result<BTreeMap<u32, Arrival>, TransferError> {
    let here: BTreeMap<&str, &KeptEntry> = kept.entries.iter().map(|kept| (kept.entry.path.as_str(), kept)).collect();
    let incoming = Layer(place.incoming.clone());
    let mut files = Vec::new();
    for (at, entry) in reading.manifest.entries.iter().enumerate() {
        let Node::File { size, root } = entry.node else { continue };
        let size = size.0;
        let was = here.get(entry.path.as_str()).and_then(|kept| match (&kept.entry.node, &kept.file) {
            (Node::File { size, root }, Some(body)) => Some((size.0, *root, body)),
            (Node::Directory | Node::Link { .. } | Node::File { .. }, _) => None,
        });
        let found = was.and_then(|(_, _, body)| modified.get(&body.id));
        let same = was.is_some_and(|(was_size, was_root, _)| was_size == size && was_root == root);
        if same && found.is_none() {
            continue;
        }
        let told = match was {
            None => true,
            // What lies there is the point's, or as much of a point as this program could write.
            Some((_, _, body)) if found.is_none() || body.torn => true,
            Some((was_size, was_root, body)) => is_told(disk, place, body.id, was_size, was_root)?,
        };
        let before_it = match was {
            Some(_) if same => Before::Same,
            Some((_, _, body)) if !told => Before::Untold(body.data.0),
            Some(_) | None => Before::Told,
        };
        // Of missing files there is nothing to compare with but what the point's hashes tell.
        let gone = found == Some(&None);
        let present = was.filter(|(was_size, _, _)| !gone || told && *was_size > GROUP_BYTES);
        let present = present.map(|(was_size, _, body)| {
            let live_size = match found {
                Some(Some(identity)) => identity.size,
                Some(None) => 0,
                None => was_size,
            };
            let is_modified = found.is_some() && !gone;
            Box::new(Present {
                body: body.clone(),
                path: place.files.join(&entry.path),
                size: was_size,
                live_size,
                index: (was_size > GROUP_BYTES).then(|| place.index_of(body.id)),
                actual: (is_modified && (live_size > GROUP_BYTES || was_size > GROUP_BYTES))
                    .then(|| incoming.actual(body.id)),
                gone,
            })
        });
        let patched = size > GROUP_BYTES
            && present.as_ref().is_some_and(|present| present.size > GROUP_BYTES && present.live_size > GROUP_BYTES);
        let old = before.and_then(|before| before.files.get(&entry.path)).filter(|old| old.staged != patched);
        let id = match (&present, was) {
            (Some(present), _) if patched => present.body.id,
            // The same content under the same number: the points that need it have it again.
            (_, Some((_, _, body))) if same => body.id,
            _ => match old.filter(|old| !kept_id(kept, old.id)) {
                Some(old) => old.id,
                None => {
                    record.next_file += 1;
                    FileId(record.next_file - 1)
                }
            },
        };
        let mut arrival = Arrival::new(id, !patched, entry.path.clone(), size, root);
        arrival.resuming = old.is_some_and(|old| old.id == id);
        arrival.before = before_it;
        arrival.present = present.filter(|present| present.gone || disk.symlink_metadata(&present.path).is_ok());
        let at = u32::try_from(at).map_err(|_| misuse("the source has too many files"))?;
        files.push((at, arrival));
    }
    // Made at once, its nodes are full: entry by entry in order, half of each would stay empty.
    Ok(files.into_iter().collect())
}

/// Whether the hashes of a file as the point had it are here, and are what its root says.
fn is_told(disk: &dyn Disk, place: &ReplicaPlace, id: FileId, size: u64, root: Digest) -> Result<bool, TransferError> {
    if size <= GROUP_BYTES {
        return Ok(false);
    }
    let Some(index) = if_readable(Index::open(disk, &place.index_of(id), Open::Read))?.flatten() else {
        return Ok(false);
    };
    Ok(if_readable(index.is_sound(size, root))? == Some(true))
}

fn kept_id(kept: &KeptManifest, id: FileId) -> bool {
    kept.entries.iter().any(|kept| kept.file.as_ref().is_some_and(|file| file.id == id))
}

/// Removes from `incoming` what the receiving does not know.
fn sweep(disk: &dyn Disk, incoming: &Layer, receiving: &ReceivingRecord) -> Result<(), TransferError> {
    let mut known = BTreeSet::new();
    for arriving in receiving.files.values() {
        known.extend([incoming.data(arriving.id), incoming.table(arriving.id)]);
    }
    known.extend(receiving.modified.keys().map(|id| incoming.actual(*id)));
    for name in disk.read_dir(&incoming.0).map_err(cannot("read the directory", &incoming.0))? {
        let path = incoming.0.join(name);
        if !known.contains(&path) {
            remove_if_there(disk, &path)?;
        }
    }
    Ok(())
}
