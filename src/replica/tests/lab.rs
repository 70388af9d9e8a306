//! A source, a replica and everything between them, each of which a test may break.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::host::disk::faulty::{Fault, FaultyDisk};
use crate::host::disk::{Disk, HostDisk, Open};
use crate::model::audit::AuditState;
use crate::model::point::{Point, PointKind};
use crate::model::policy::Retention;
use crate::model::region::{Epoch, SyncOrder};
use crate::model::units::Percent;
use crate::model::{Clock, Lineage, OperationId, ResourceKey, Timestamp, World};
use crate::replica::StopCheck;
use crate::replica::catalog::{
    Catalog, CatalogChange, CatalogError, FileId, KeptManifest, Ledger, Phase, ReplicaRecord,
};
use crate::replica::export::{ExportOrder, export};
use crate::replica::hint::Hinting;
use crate::replica::index::Index;
use crate::replica::manifest::Node;
use crate::replica::place::{Place, ReplicaPlace};
use crate::replica::port::{
    BlockAddress, Confirmation, Confirmed, Hash, Published, Reading, ReadingEnd, Receiving, SessionId, Source, Survey,
    Target, TransferError,
};
use crate::replica::receive::ReceiveRules;
use crate::replica::source::{LocalSource, ReadingPlan};
use crate::replica::target::LocalTarget;
use crate::replica::transfer::{Means, SyncFailure, SyncOptions, SyncReport, sync};

pub(super) const BLOCK: usize = 64 << 10;
pub(super) const GROUP: usize = 64 * BLOCK;

/// One resource's records and manifests.
type Records = (ReplicaRecord, BTreeMap<u64, KeptManifest>);

/// Records in memory. After a crash of its disk, or at its own n-th commit, it takes no more.
#[derive(Debug, Default)]
pub(super) struct MemoryCatalog {
    records: Mutex<BTreeMap<ResourceKey, Records>>,
    pub(super) audits: Mutex<BTreeMap<ResourceKey, AuditState>>,
    pub(super) disk: Mutex<Option<FaultyDisk>>,
    pub(super) commits: AtomicU64,
    /// The commit, from 1 on, before which the process is killed; 0: none.
    pub(super) kill_before: AtomicU64,
    dead: AtomicBool,
    /// After how many calls of the disk a phase was committed; none: the receiving ended.
    pub(super) phases: Mutex<Vec<(u64, Option<Phase>)>>,
}

impl MemoryCatalog {
    fn alive(&self) -> Result<(), CatalogError> {
        let crashed = self.disk.lock().unwrap().as_ref().is_some_and(FaultyDisk::crashed);
        if crashed || self.dead.load(Ordering::SeqCst) {
            return Err(CatalogError::Store("the process was killed (test)".to_owned()));
        }
        Ok(())
    }

    pub(super) fn revive(&self) {
        *self.disk.lock().unwrap() = None;
        self.dead.store(false, Ordering::SeqCst);
        self.kill_before.store(0, Ordering::SeqCst);
    }
}

impl Catalog for MemoryCatalog {
    fn load(&self, resource: &ResourceKey) -> Result<ReplicaRecord, CatalogError> {
        self.alive()?;
        Ok(self.records.lock().unwrap().get(resource).map(|(record, _)| record.clone()).unwrap_or_default())
    }

    fn manifest(&self, resource: &ResourceKey, sequence: u64) -> Result<KeptManifest, CatalogError> {
        self.alive()?;
        let records = self.records.lock().unwrap();
        let manifest = records.get(resource).and_then(|(_, manifests)| manifests.get(&sequence)).cloned();
        // As a store would: through its text.
        let text = serde_json::to_string(&manifest).unwrap();
        serde_json::from_str::<Option<KeptManifest>>(&text)
            .unwrap()
            .ok_or_else(|| CatalogError::NoPoint { resource: resource.clone(), sequence })
    }

    fn commit(&self, resource: &ResourceKey, changes: &[CatalogChange]) -> Result<(), CatalogError> {
        self.alive()?;
        let number = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.kill_before.load(Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
            return self.alive();
        }
        let mut records = self.records.lock().unwrap();
        let (record, manifests) = records.entry(resource.clone()).or_default();
        for change in changes {
            match change.clone() {
                CatalogChange::Point { record: point, manifest } => {
                    let sequence = point.point.sequence;
                    if let Some(manifest) = manifest {
                        manifests.insert(sequence, manifest);
                    }
                    assert!(manifests.contains_key(&sequence), "a point without a manifest");
                    record.points.insert(sequence, *point);
                }
                CatalogChange::RemovePoint { sequence } => {
                    record.points.remove(&sequence);
                    manifests.remove(&sequence);
                }
                CatalogChange::Receiving(receiving) => {
                    if let Some(disk) = &*self.disk.lock().unwrap() {
                        let phase = receiving.as_ref().map(|receiving| receiving.phase);
                        self.phases.lock().unwrap().push((disk.count(), phase));
                    }
                    let text = serde_json::to_string(&receiving).unwrap();
                    record.receiving = serde_json::from_str(&text).unwrap();
                }
                CatalogChange::Refusal(refusal) => record.refusal = refusal,
                CatalogChange::Copied => {}
                CatalogChange::Audited(state) => {
                    self.audits.lock().unwrap().insert(resource.clone(), *state);
                }
                CatalogChange::Verified { sequence, at } => {
                    let point = &mut record.points.get_mut(&sequence).unwrap().point;
                    point.verified_at = point.verified_at.max(at);
                }
                CatalogChange::Counters { next_sequence, next_file } => {
                    assert!(next_sequence >= record.next_sequence && next_file >= record.next_file);
                    (record.next_sequence, record.next_file) = (next_sequence, next_file);
                }
            }
        }
        Ok(())
    }
}

/// A clock that a test moves. It is ahead of the machine's, so no file is too new to be trusted.
#[derive(Debug)]
pub(super) struct LabClock(AtomicI64);

impl Clock for LabClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::SeqCst).unsigned_abs())
    }
}

/// How a source misbehaves.
type Bend<T> = Mutex<Option<Box<dyn FnMut(&mut T) + Send>>>;

/// The source's end, which a test may bend.
pub(super) struct LabSource {
    engine: LocalSource,
    plan: ReadingPlan,
    pub(super) bend_reading: Bend<Reading>,
    pub(super) bend_groups: Bend<Vec<Hash>>,
    pub(super) bend_blocks: Bend<Vec<Hash>>,
    pub(super) bend_bytes: Bend<Vec<Vec<u8>>>,
    /// Done before each request for blocks.
    pub(super) before_blocks: Mutex<Option<Box<dyn FnMut() + Send>>>,
    line: Option<Arc<Line>>,
}

/// What a network between the two ends carries, and which questions it loses.
#[derive(Debug, Default)]
pub(super) struct Line {
    came: AtomicU64,
    went: AtomicU64,
    /// Questions for nothing, which only say that somebody is there.
    pub(super) touched_source: AtomicU64,
    pub(super) touched_target: AtomicU64,
    /// Whether such a question is never answered.
    pub(super) touches_hang: AtomicBool,
    /// When group hashes were asked for.
    pub(super) asked: Mutex<Vec<tokio::time::Instant>>,
    /// The question for group hashes, from 1 on, whose answer is an error; 0: none.
    pub(super) fails_at: AtomicU64,
}

impl Line {
    async fn touch(&self, touched: &AtomicU64) {
        touched.fetch_add(1, Ordering::SeqCst);
        if self.touches_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    fn came(&self, bytes: usize) {
        self.came.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    fn went(&self, bytes: usize) {
        self.went.fetch_add(bytes as u64, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for LabSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LabSource")
    }
}

fn bend<T>(how: &Bend<T>, mut what: T) -> T {
    if let Some(how) = how.lock().unwrap().as_mut() {
        how(&mut what);
    }
    what
}

#[async_trait]
impl Source for LabSource {
    async fn open_reading(&self, _: &SyncOrder, full: bool) -> Result<Reading, TransferError> {
        let plan = ReadingPlan { full, ..self.plan.clone() };
        self.engine.open_reading(&plan, &CancellationToken::new()).map(|reading| bend(&self.bend_reading, reading))
    }

    async fn group_hashes(&self, s: SessionId, file: u32, first: u64, count: u64) -> Result<Vec<Hash>, TransferError> {
        let hashes = self.engine.group_hashes(s, file, first, count).map(|hashes| bend(&self.bend_groups, hashes))?;
        let Some(line) = &self.line else { return Ok(hashes) };
        line.came(32 * hashes.len());
        let mut asked = line.asked.lock().unwrap();
        asked.push(tokio::time::Instant::now());
        if asked.len() as u64 == line.fails_at.load(Ordering::SeqCst) {
            return Err(TransferError::Region("the line is cut".to_owned()));
        }
        Ok(hashes)
    }

    async fn block_hashes(&self, s: SessionId, file: u32, groups: &[u64]) -> Result<Vec<Hash>, TransferError> {
        if let Some(line) = self.line.as_ref().filter(|_| groups.is_empty()) {
            line.touch(&line.touched_source).await;
        }
        let hashes = self.engine.block_hashes(s, file, groups).map(|hashes| bend(&self.bend_blocks, hashes))?;
        if let Some(line) = &self.line {
            line.came(32 * hashes.len());
        }
        Ok(hashes)
    }

    async fn blocks(&self, s: SessionId, wanted: &[BlockAddress]) -> Result<Vec<Bytes>, TransferError> {
        if let Some(act) = self.before_blocks.lock().unwrap().as_mut() {
            act();
        }
        let blocks: Vec<Vec<u8>> = self.engine.blocks(s, wanted)?.into_iter().map(Vec::from).collect();
        let blocks: Vec<Bytes> = bend(&self.bend_bytes, blocks).into_iter().map(Bytes::from).collect();
        if let Some(line) = &self.line {
            line.came(blocks.iter().map(Bytes::len).sum());
        }
        Ok(blocks)
    }

    async fn close_reading(&self, s: SessionId) -> Result<ReadingEnd, TransferError> {
        self.engine.close_reading(s)
    }

    fn came(&self, _: SessionId) -> Option<u64> {
        self.line.as_ref().map(|line| line.came.load(Ordering::SeqCst))
    }
}

#[derive(Debug)]
struct LabTarget {
    engine: LocalTarget,
    catalog: Arc<MemoryCatalog>,
    place: ReplicaPlace,
    rules: ReceiveRules,
    line: Option<Arc<Line>>,
}

#[async_trait]
impl Target for LabTarget {
    async fn open_receiving(&self, o: &SyncOrder, r: &Reading, accept: bool) -> Result<Receiving, TransferError> {
        let rules = ReceiveRules { accept_change: accept, ..self.rules.clone() };
        let catalog = Arc::clone(&self.catalog) as Arc<dyn Catalog>;
        self.engine.open_receiving(catalog, self.place.clone(), o, r, &rules, &CancellationToken::new())
    }

    async fn differing_groups(&self, s: SessionId, f: u32, first: u64, h: &[Hash]) -> Result<Vec<u64>, TransferError> {
        if let Some(line) = &self.line {
            line.went(64 * h.len());
        }
        self.engine.differing_groups(s, f, first, h)
    }

    async fn expect_blocks(&self, s: SessionId, f: u32, groups: &[u64], h: &[Hash]) -> Result<(), TransferError> {
        match &self.line {
            Some(line) if groups.is_empty() => line.touch(&line.touched_target).await,
            Some(line) => line.went(64 * h.len()),
            None => {}
        }
        self.engine.expect_blocks(s, f, groups, h)
    }

    async fn end_survey(&self, s: SessionId) -> Result<Survey, TransferError> {
        self.engine.end_survey(s)
    }

    async fn next_wanted(&self, s: SessionId) -> Result<Vec<BlockAddress>, TransferError> {
        self.engine.next_wanted(s)
    }

    async fn write_blocks(&self, s: SessionId, blocks: Vec<(BlockAddress, Bytes)>) -> Result<(), TransferError> {
        match &self.line {
            Some(line) if blocks.is_empty() => line.touch(&line.touched_target).await,
            Some(line) => line.went(blocks.iter().map(|(_, block)| block.len()).sum()),
            None => {}
        }
        self.engine.write_blocks(s, &blocks)
    }

    async fn checkpoint(&self, s: SessionId) -> Result<(), TransferError> {
        self.engine.checkpoint(s)
    }

    async fn publish(&self, s: SessionId, verified_at: Timestamp) -> Result<Published, TransferError> {
        self.engine.publish(s, verified_at)
    }

    async fn close_receiving(&self, s: SessionId) -> Result<(), TransferError> {
        self.engine.close_receiving(s)
    }

    fn went(&self, _: SessionId) -> Option<u64> {
        self.line.as_ref().map(|line| line.went.load(Ordering::SeqCst))
    }

    async fn confirm_unchanged(&self, _: &[Confirmed]) -> Result<Vec<Confirmation>, TransferError> {
        unreachable!("no sync does this")
    }
}

/// What stands at a path: kind and mode, content, and of files the time.
pub(super) type Picture = BTreeMap<String, (String, Vec<u8>, i64)>;

/// A source and a replica.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) dir: tempfile::TempDir,
    pub(super) catalog: Arc<MemoryCatalog>,
    pub(super) clock: Arc<LabClock>,
    pub(super) key: ResourceKey,
    pub(super) rules: ReceiveRules,
    pub(super) cancel: CancellationToken,
    /// What lies between the ends; none: they are one program.
    pub(super) line: Option<Arc<Line>>,
    /// Whether bitmaps are used.
    pub(super) hinting: Hinting,
    edits: AtomicI64,
    exports: AtomicU64,
}

impl Lab {
    pub(super) fn new(key: &str) -> Self {
        Self::below(key, tempfile::tempdir().unwrap())
    }

    /// In memory where the machine has such a place: for hundreds of lives in a row.
    pub(super) fn brief(key: &str) -> Self {
        Self::below(key, tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn below(key: &str, dir: tempfile::TempDir) -> Self {
        let now = crate::host::clock::world().clock.now().as_micros();
        let lab = Self {
            dir,
            catalog: Arc::default(),
            // The middle of a day, so that hours and days are the test's.
            clock: Arc::new(LabClock(AtomicI64::new((now / 86_400_000_000 + 1) * 86_400_000_000 + 43_200_000_000))),
            key: key.parse().unwrap(),
            rules: ReceiveRules {
                accept_change: false,
                max_change: Percent(100),
                retention: Retention { last: 100, hourly: 0, daily: 0 },
                owners: false,
            },
            cancel: CancellationToken::new(),
            line: None,
            hinting: Hinting::Off,
            edits: AtomicI64::new(1_000_000_000_000),
            exports: AtomicU64::new(0),
        };
        fs::create_dir_all(lab.source()).unwrap();
        lab
    }

    pub(super) fn pass_time(&self, by: Duration) {
        self.clock.0.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }

    /// Sets the clock to a moment of the machine's.
    pub(super) fn set_time(&self, ns: i64) {
        self.clock.0.store(ns / 1000, Ordering::SeqCst);
    }

    pub(super) fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub(super) fn place(&self) -> ReplicaPlace {
        ReplicaPlace::below(&self.dir.path().join("region"), &self.key)
    }

    /// What is to be told of the resource's points.
    pub(super) fn ledger(&self) -> Ledger {
        let record = self.catalog.load(&self.key).unwrap();
        let newest = record.newest();
        Ledger {
            newest: newest.cloned(),
            manifest: newest.map(|newest| self.catalog.manifest(&self.key, newest.point.sequence).unwrap()),
            complete: record.newest_complete().cloned(),
            points: record.chain().count() as u32,
            set_aside: record.set_aside().count() as u32,
            receiving: record.receiving.clone(),
            refusal: record.refusal.clone(),
        }
    }

    pub(super) fn replica(&self) -> PathBuf {
        self.place().files
    }

    pub(super) fn world(&self) -> World {
        World { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, ids: crate::host::clock::world().ids }
    }

    /// A file's time moves with every edit, whatever the grain of the machine's clock.
    fn touch(&self, path: &Path) {
        let at = self.edits.fetch_add(1_000_000, Ordering::SeqCst);
        HostDisk.set_mtime(path, at).unwrap();
    }

    /// Writes a file of the source, holes where its blocks are zeros.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        let file = fs::File::create(&path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (at, block) in bytes.chunks(BLOCK).enumerate() {
            if !crate::replica::block::is_zero(block) {
                file.write_all_at(block, (at * BLOCK) as u64).unwrap();
            }
        }
        self.touch(&path);
    }

    /// Writes into a file where it is.
    pub(super) fn patch(&self, path: &str, at: usize, bytes: &[u8]) {
        let path = self.source().join(path);
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(bytes, at as u64).unwrap();
        self.touch(&path);
    }

    pub(super) fn resize(&self, path: &str, size: usize) {
        let path = self.source().join(path);
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size as u64).unwrap();
        self.touch(&path);
    }

    pub(super) fn remove(&self, path: &str) {
        fs::remove_file(self.source().join(path)).unwrap();
    }

    /// The two ends, the target's disk with a fault.
    pub(super) fn ends(&self, fault: Fault) -> (LabSource, FaultyDisk, impl Target + use<>) {
        self.ends_on(Arc::new(HostDisk), fault)
    }

    /// The same on another disk.
    pub(super) fn ends_on(&self, disk: Arc<dyn Disk>, fault: Fault) -> (LabSource, FaultyDisk, impl Target + use<>) {
        let disk = FaultyDisk::new(disk, fault);
        *self.catalog.disk.lock().unwrap() = Some(disk.clone());
        let source = LabSource {
            engine: LocalSource::new(Arc::new(HostDisk), self.world()),
            plan: ReadingPlan {
                resource: self.key.clone(),
                live: Place::Directory(self.source()),
                copy: None,
                cache: self.dir.path().join("cache"),
                kind: PointKind::Quiet,
                full: false,
                hinting: self.hinting.clone(),
            },
            bend_reading: Mutex::default(),
            bend_groups: Mutex::default(),
            bend_blocks: Mutex::default(),
            bend_bytes: Mutex::default(),
            before_blocks: Mutex::default(),
            line: self.line.clone(),
        };
        let target = LabTarget {
            engine: LocalTarget::new(Arc::new(disk.clone()), self.world()),
            catalog: Arc::clone(&self.catalog),
            place: self.place(),
            rules: self.rules.clone(),
            line: self.line.clone(),
        };
        (source, disk, target)
    }

    pub(super) fn order(&self) -> SyncOrder {
        SyncOrder {
            lineage: Lineage(uuid::Uuid::nil()),
            term: 1,
            resource: self.key.clone(),
            source: "here".parse().unwrap(),
            target: "there".parse().unwrap(),
            epoch: Epoch::BIRTH,
            operation: OperationId(uuid::Uuid::nil()),
            compress: true,
        }
    }

    pub(super) fn drive(
        &self,
        source: &LabSource,
        target: &impl Target,
        options: &SyncOptions,
    ) -> Result<SyncReport, SyncFailure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(sync(
            source,
            target,
            &self.order(),
            options,
            &Means {
                clock: &*self.clock,
                pace: None,
                progress: &|_, _, _| (),
                cancel: &self.cancel,
                verified_at: None,
            },
        ))
    }

    pub(super) fn sync_with(&self, fault: Fault) -> (Result<SyncReport, SyncFailure>, FaultyDisk) {
        self.sync_on(Arc::new(HostDisk), fault)
    }

    /// The same with the target on another disk.
    pub(super) fn sync_on(&self, disk: Arc<dyn Disk>, fault: Fault) -> (Result<SyncReport, SyncFailure>, FaultyDisk) {
        let (source, disk, target) = self.ends_on(disk, fault);
        (self.drive(&source, &target, &SyncOptions::default()), disk)
    }

    pub(super) fn sync(&self) -> SyncReport {
        self.sync_with(Fault::None).0.unwrap()
    }

    pub(super) fn try_sync(&self) -> Result<SyncReport, SyncFailure> {
        self.sync_with(Fault::None).0
    }

    pub(super) fn record(&self) -> ReplicaRecord {
        self.catalog.load(&self.key).unwrap()
    }

    pub(super) fn points(&self) -> Vec<Point> {
        crate::replica::points::list(&self.record())
    }

    /// The number of a file of the newest point.
    pub(super) fn catalog_file(&self, path: &str) -> FileId {
        let manifest = self.catalog.manifest(&self.key, self.newest().unwrap()).unwrap();
        let kept = manifest.entries.into_iter().find(|kept| kept.entry.path == path);
        kept.and_then(|kept| kept.file).unwrap().id
    }

    pub(super) fn newest(&self) -> Option<u64> {
        self.record().newest().map(|newest| newest.point.sequence)
    }

    /// A point by export.
    pub(super) fn export(&self, sequence: u64) -> Result<Picture, TransferError> {
        let number = self.exports.fetch_add(1, Ordering::SeqCst);
        let into = self.dir.path().join(format!("export-{number}"));
        let order = ExportOrder { sequence, into: &into, owners: false };
        export(&HostDisk, &*self.catalog, &self.place(), &order, &StopCheck::never())?;
        let picture = picture(&into);
        fs::remove_dir_all(&into).unwrap();
        Ok(picture)
    }

    pub(super) fn assert_converged(&self) {
        let source = picture(&self.source());
        assert_same(&source, &picture(&self.replica()), "the replica's files");
        assert_same(&source, &self.export(self.newest().unwrap()).unwrap(), "the newest point");
        for kept in self.catalog.manifest(&self.key, self.newest().unwrap()).unwrap().entries {
            let (Node::File { size, root }, Some(body)) = (kept.entry.node, kept.file) else { continue };
            assert!(body.identity.is_some(), "{} is trusted", kept.entry.path);
            let index = Index::open(&HostDisk, &self.place().index_of(body.id), Open::Read).unwrap();
            assert_eq!(index.is_some(), size.0 > GROUP as u64, "{} has an index", kept.entry.path);
            assert!(index.is_none_or(|index| index.is_sound(size.0, root).unwrap()), "{}'s index", kept.entry.path);
            let data = fs::read(self.replica().join(&kept.entry.path)).unwrap();
            let blocks = data.chunks(BLOCK).filter(|block| !crate::replica::block::is_zero(block));
            assert_eq!(body.data.0, blocks.map(|block| block.len() as u64).sum::<u64>(), "{}'s data", kept.entry.path);
        }
        let indexes = fs::read_dir(self.place().index).map_or(0, Iterator::count);
        let large = picture(&self.replica()).values().filter(|(_, bytes, _)| bytes.len() > GROUP).count();
        assert_eq!(indexes, large, "no index without its file");
        let again = self.sync();
        assert!(!again.published.new && again.bytes.0 == 0, "a second sync has nothing to do: {again:?}");
        assert!(!self.place().incoming.exists(), "nothing is left of what arrived");
    }
}

/// What stands below a directory.
pub(super) fn picture(root: &Path) -> Picture {
    fn enter(root: &Path, directory: &Path, picture: &mut Picture) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_symlink() {
                let to = fs::read_link(&path).unwrap().to_str().unwrap().as_bytes().to_vec();
                picture.insert(name, ("link".to_owned(), to, 0));
            } else if metadata.is_dir() {
                picture.insert(name, (format!("dir {mode:o}"), Vec::new(), 0));
                enter(root, &path, picture);
            } else {
                let time = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
                picture.insert(name, (format!("file {mode:o}"), fs::read(&path).unwrap(), time));
            }
        }
    }
    let mut found = Picture::new();
    enter(root, root, &mut found);
    found
}

/// The first path at which two pictures differ.
pub(super) fn difference(a: &Picture, b: &Picture) -> Option<String> {
    let paths: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let path = paths.into_iter().find(|path| a.get(*path) != b.get(*path))?;
    let words = |picture: &Picture| match picture.get(path) {
        Some((kind, bytes, time)) => format!("{kind}, {} bytes, at {time}", bytes.len()),
        None => "nothing".to_owned(),
    };
    let at = match (a.get(path), b.get(path)) {
        (Some((_, a, _)), Some((_, b, _))) => {
            let chunk = a.chunks(4096).zip(b.chunks(4096)).position(|(a, b)| a != b).unwrap_or(0) * 4096;
            a[chunk..].iter().zip(&b[chunk..]).position(|(a, b)| a != b).map(|at| chunk + at)
        }
        _ => None,
    };
    Some(format!("{path}: {} against {}, first at {at:?}", words(a), words(b)))
}

pub(super) fn assert_same(expected: &Picture, found: &Picture, what: &str) {
    if let Some(difference) = difference(expected, found) {
        panic!("{what}: {difference}");
    }
}

/// Bytes that are no zeros and tell their place and `seed`.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Room that a file takes.
pub(super) fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}
