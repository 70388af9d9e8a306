//! The source's end: readings of a resource's files.
//!
//! Owns open readings, their hashes and their bytes. Leaves to the region who may read, quiescing, and where the
//! files are (the live ones, or copies made within one freeze).
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | open | the manifest says what was read; nothing of the resource is written, but for bitmaps where they are asked for (`hint`) | a scan cache as it was, or newer |
//! | hashes, blocks | reads only; a file that changed shows when the reading is closed | nothing |
//! | close | looks at every file again; anything else than before the first read is named | nothing |
//!
//! Memory is one group per core while hashing, and what a request asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::block::{block_len, blocks_in_group, groups_in, hash_blocks, hash_group};
use super::fault::{Stop, StopCheck, cannot, misuse};
use super::hashing::{lock, read_small};
use super::hint::Hinting;
use super::index::Index;
use super::manifest::{Entry, Manifest, Node};
use super::place::Place;
use super::port::{BLOCK_BYTES, BlockAddress, GROUP_BLOCKS, Hash, Reading, ReadingEnd, SessionId, TransferError};
use super::scan::{self, Scan, ScanOrder, Scanned, scan, settled};
use super::tree::{FoundNode, Tree, check_images, walk};
use crate::host::disk::{Disk, Open};
use crate::model::point::{BlockReason, Loss, PointKind, Refusal};
use crate::model::{ByteCount, Clock, ResourceKey, Timestamp, World};

/// The most bytes that one request may ask for.
const REQUEST_BYTES: u64 = 4 << 20;
/// The most groups or blocks that one request may ask about.
const REQUEST_HASHES: u64 = 1 << 16;

/// Copies of a resource's files, with the same names, that are one moment's content.
#[derive(Debug, Clone)]
pub struct Still {
    /// Where they are.
    pub place: Place,
    /// The live files as they lay at that moment or before it: what is looked at later may be newer than the copies,
    /// and would be taken for copied.
    pub before: Tree,
    /// A moment that the copies are not older than: everything written until then is in them. Within the freeze where
    /// they were made in one, else before their making began.
    pub at: Timestamp,
}

/// Looks at a resource's files, waiting for up to the grain of their clock until each one's last change is old enough
/// to show a later one. What is to be frozen or snapshotted is looked at like this before.
///
/// # Errors
/// Where a directory or a file cannot be looked at.
pub fn look_when_settled(disk: &dyn Disk, clock: &dyn Clock, live: &Place) -> Result<Tree, TransferError> {
    scan::look_when_settled(disk, clock, live)
}

/// What to read, and how.
#[derive(Debug, Clone)]
pub struct ReadingPlan {
    /// Of what.
    pub resource: ResourceKey,
    /// Where the files live.
    pub live: Place,
    /// What to read in their stead; none: the live files are read.
    pub copy: Option<Still>,
    /// Where this region remembers what it has hashed of the resource.
    pub cache: PathBuf,
    /// What the copy is worth.
    pub kind: PointKind,
    /// Whether to read every byte, whatever is remembered.
    pub full: bool,
    /// Whether bitmaps of what was written are used.
    pub hinting: Hinting,
}

/// Readings of this machine's files.
#[derive(Debug)]
pub struct LocalSource {
    disk: Arc<dyn Disk>,
    world: World,
    stop: Stop,
    sessions: Mutex<BTreeMap<SessionId, Arc<Session>>>,
    /// One scan of a resource at a time: the second finds what the first has hashed.
    scans: Mutex<BTreeMap<ResourceKey, Arc<Mutex<()>>>>,
}

/// An open reading.
#[derive(Debug)]
struct Session {
    live: Place,
    before: Tree,
    copied: bool,
    /// By place in the manifest; none for what is no file.
    files: Vec<Option<Scanned>>,
    stop: StopCheck,
}

impl LocalSource {
    /// Reads through `disk`.
    pub fn new(disk: Arc<dyn Disk>, world: World) -> Self {
        Self {
            disk,
            world,
            stop: Stop::default(),
            sessions: Mutex::new(BTreeMap::new()),
            scans: Mutex::new(BTreeMap::new()),
        }
    }

    /// Opens a reading: looks at all files, hashes what may have changed. `cancel` stops it, and the reading.
    ///
    /// # Errors
    /// [`TransferError::Blocked`] for what cannot be copied; I/O errors; [`TransferError::Interrupted`].
    pub fn open_reading(&self, plan: &ReadingPlan, cancel: &CancellationToken) -> Result<Reading, TransferError> {
        let stop = self.stop.check().until(cancel);
        let disk = &*self.disk;
        let lane = Arc::clone(lock(&self.scans).entry(plan.resource.clone()).or_default());
        let _alone = lock(&lane);
        let clock = &*self.world.clock;
        let begun = match &plan.hinting {
            Hinting::By(hints) if plan.copy.is_none() && !plan.full => {
                let tree = walk(disk, &plan.live)?;
                scan::begin_bitmaps(disk, &plan.cache, hints, &tree, || self.world.ids.random())
            }
            Hinting::By(_) | Hinting::Off | Hinting::Refused(_) => BTreeMap::new(),
        };
        let (mut before, read_at, mut copy) = match &plan.copy {
            Some(still) => (still.before.clone(), still.at, Some(walk(disk, &still.place)?)),
            // The tuple's order matters: looked at first, then dated, then read.
            None => (look_when_settled(disk, clock, &plan.live)?, clock.now(), None),
        };
        let read = copy.as_mut().unwrap_or(&mut before);
        check_images(disk, plan.resource.kind, read)?;
        if let Some(refused) = &read.refused {
            let detail = format!("{} {}", refused.path, refused.reason);
            return Err(TransferError::blocked(BlockReason::Unsupported, detail, Some(before.stamp()), read_at));
        }
        if read.is_empty() && plan.copy.is_some() {
            // Says nothing of the resource's own files.
            return Err(TransferError::Region("the copies that were to be read are gone".to_owned()));
        }
        if read.is_empty() {
            return Err(TransferError::Blocked(Refusal {
                reason: BlockReason::Suspicious,
                detail: "all of its files are gone".to_owned(),
                source_stamp: Some(before.stamp()),
                needed: None,
                lost: Some(Loss::Everything),
                max_change: None,
                at: read_at,
            }));
        }
        let in_use: BTreeSet<PathBuf> = lock(&self.sessions)
            .values()
            .flat_map(|open| open.files.iter().flatten().filter_map(|file| file.index.clone()))
            .collect();
        let grain = scan::grain(disk, &before);
        let order = ScanOrder {
            cache: &plan.cache,
            live: &before,
            copy: copy.as_ref(),
            began: read_at,
            grain,
            full: plan.full,
            hinting: &plan.hinting,
            begun: &begun,
        };
        let Scan { files: scanned, notes } = scan(disk, &order, &in_use, &stop)?;

        let mut by_path: BTreeMap<&str, &Scanned> =
            scanned.iter().map(|scanned| (scanned.path.as_str(), scanned)).collect();
        let read = copy.as_ref().unwrap_or(&before);
        let mut manifest = Manifest::default();
        let mut files = Vec::with_capacity(read.found.len());
        for found in &read.found {
            let scanned = by_path.remove(found.path.as_str());
            let node = match (&found.node, scanned) {
                (FoundNode::Directory, _) => Node::Directory,
                (FoundNode::Link(to), _) => Node::Link { to: to.clone() },
                (FoundNode::File, Some(scanned)) => Node::File { size: ByteCount(scanned.size), root: scanned.root },
                (FoundNode::File, None) => return Err(misuse(format!("{} was not hashed", found.path))),
            };
            files.push(scanned.cloned());
            manifest.entries.push(Entry {
                path: found.path.clone(),
                node,
                mode: found.stat.mode,
                mtime_ns: found.stat.mtime_ns,
                owner: (found.stat.uid, found.stat.gid),
            });
        }
        let outline = read.outline(plan.resource.kind);
        let trusted = settled(before.latest_change_ns(), read_at, grain);
        let stamp = trusted.then(|| before.stamp());
        let session = self.world.ids.random();
        let copied = copy.is_some();
        let open = Session { live: plan.live.clone(), before, copied, files, stop };
        lock(&self.sessions).insert(session, Arc::new(open));
        Ok(Reading { session, manifest: Arc::new(manifest), outline, read_at, kind: plan.kind, stamp, notes })
    }

    fn session(&self, session: SessionId) -> Result<Arc<Session>, TransferError> {
        let open = lock(&self.sessions).get(&session).cloned();
        let open = open.ok_or_else(|| TransferError::Region("the reading is not open any more".to_owned()))?;
        open.stop.go_on()?;
        Ok(open)
    }

    /// The hashes of `count` groups of a file, from group `first`.
    ///
    /// # Errors
    /// Where the session or the file is gone.
    pub fn group_hashes(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        count: u64,
    ) -> Result<Vec<Hash>, TransferError> {
        let open = self.session(session)?;
        let scanned = open.file(file)?;
        let groups = groups_in(scanned.size);
        if count > REQUEST_HASHES || first.checked_add(count).is_none_or(|end| end > groups) {
            return Err(misuse(format!("{} has no groups {first} to {}", scanned.path, first.saturating_add(count))));
        }
        match self.index(scanned)? {
            Some(index) => {
                let mut hashes = Vec::with_capacity(count as usize);
                let mut at = first;
                while at < first + count {
                    let some = (first + count - at).min(64);
                    hashes.extend(index.read(at, some as usize)?.iter().map(|record| record.group));
                    at += some;
                }
                Ok(hashes)
            }
            None => {
                Ok(self.small(scanned)?.chunks(GROUP_BLOCKS as usize).map(hash_group).take(count as usize).collect())
            }
        }
    }

    /// The hashes of all blocks of the named groups of a file, in the groups' order.
    ///
    /// # Errors
    /// Where the session or the file is gone.
    pub fn block_hashes(&self, session: SessionId, file: u32, groups: &[u64]) -> Result<Vec<Hash>, TransferError> {
        let open = self.session(session)?;
        let scanned = open.file(file)?;
        if groups.len() as u64 * GROUP_BLOCKS > REQUEST_HASHES {
            return Err(misuse("too many groups in one request"));
        }
        let index = self.index(scanned)?;
        let small = if index.is_none() { self.small(scanned)? } else { Vec::new() };
        let mut hashes = Vec::new();
        for group in groups {
            let count = blocks_in_group(scanned.size, *group);
            match &index {
                Some(index) => hashes.extend_from_slice(&index.record(*group)?.blocks[..count]),
                None => hashes.extend(small.iter().skip((group * GROUP_BLOCKS) as usize).take(count)),
            }
        }
        Ok(hashes)
    }

    /// The bytes of the named blocks, in order.
    ///
    /// # Errors
    /// Where a file cannot be read or became shorter.
    pub fn blocks(&self, session: SessionId, wanted: &[BlockAddress]) -> Result<Vec<Bytes>, TransferError> {
        let open = self.session(session)?;
        if wanted.len() as u64 * BLOCK_BYTES > REQUEST_BYTES {
            return Err(misuse("too many blocks in one request"));
        }
        let length = |address: &BlockAddress| Ok(block_len(open.file(address.file)?.size, address.block));
        let lengths = wanted.iter().map(length).collect::<Result<Vec<usize>, TransferError>>()?;
        // One buffer for all: whoever sends them takes them as they lie.
        let mut buffer = vec![0; lengths.iter().sum()];
        let mut rest = buffer.as_mut_slice();
        for run in wanted.chunk_by(|a, b| a.file == b.file && a.block + 1 == b.block) {
            let scanned = open.file(run[0].file)?;
            let start = run[0].block.saturating_mul(BLOCK_BYTES);
            let end = start.saturating_add(run.len() as u64 * BLOCK_BYTES).min(scanned.size);
            if start >= end || end.div_ceil(BLOCK_BYTES) != run[0].block + run.len() as u64 {
                return Err(misuse(format!("{} has no block {}", scanned.path, run[run.len() - 1].block)));
            }
            let file = self.disk.open(&scanned.at, Open::Read).map_err(cannot("open", &scanned.at))?;
            let bytes = rest.split_off_mut(..(end - start) as usize).unwrap_or_default();
            let read = file.read_at(bytes, start).map_err(cannot("read", &scanned.at))?;
            if read != bytes.len() {
                let shorter = std::io::Error::other("the file became shorter while it was read");
                return Err(cannot("read", &scanned.at)(shorter));
            }
        }
        let mut buffer = Bytes::from(buffer);
        Ok(lengths.into_iter().map(|length| buffer.split_to(length)).collect())
    }

    /// Ends the reading and says whether what was read is one moment's content.
    ///
    /// # Errors
    /// Where a file cannot be looked at again.
    pub fn close_reading(&self, session: SessionId) -> Result<ReadingEnd, TransferError> {
        let open = lock(&self.sessions).remove(&session);
        let open = open.ok_or_else(|| TransferError::Region("the reading is not open any more".to_owned()))?;
        if open.copied {
            return Ok(ReadingEnd::Consistent);
        }
        let now = walk(&*self.disk, &open.live)?;
        let changed = changed(&open.before, &now);
        Ok(if changed.is_empty() { ReadingEnd::Consistent } else { ReadingEnd::Changed(changed) })
    }

    /// Stops what runs.
    pub fn interrupt(&self) {
        self.stop.now();
    }

    fn index(&self, scanned: &Scanned) -> Result<Option<Index>, TransferError> {
        let Some(path) = &scanned.index else { return Ok(None) };
        let gone = || TransferError::Corrupt(format!("the index {} is damaged", path.display()));
        Index::open(&*self.disk, path, Open::Read)?.ok_or_else(gone).map(Some)
    }

    fn small(&self, scanned: &Scanned) -> Result<Vec<Hash>, TransferError> {
        let file = self.disk.open(&scanned.at, Open::Read).map_err(cannot("open", &scanned.at))?;
        let (bytes, _) = read_small(&*file, &scanned.at, scanned.size)?;
        Ok(hash_blocks(&bytes))
    }
}

impl Session {
    fn file(&self, file: u32) -> Result<&Scanned, TransferError> {
        let scanned = self.files.get(file as usize).and_then(Option::as_ref);
        scanned.ok_or_else(|| misuse(format!("the reading has no file {file}")))
    }
}

/// The paths at which two looks at the same files differ.
fn changed(before: &Tree, now: &Tree) -> Vec<String> {
    let keys = |tree: &Tree| -> BTreeMap<String, (FoundNode, u32, Option<super::catalog::FileIdentity>)> {
        let figures = |found: &super::tree::Found| {
            let identity = (found.node == FoundNode::File).then(|| super::tree::identity(&found.stat));
            (found.node.clone(), found.stat.mode, identity)
        };
        tree.found.iter().map(|found| (found.path.clone(), figures(found))).collect()
    };
    let (before, now) = (keys(before), keys(now));
    let paths: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    paths.into_iter().filter(|path| before.get(*path) != now.get(*path)).cloned().collect()
}
