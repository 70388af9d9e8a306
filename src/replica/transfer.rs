//! The driver: one sync, between two ends that it knows nothing about.
//!
//! Owns the order of the steps, how much is in flight, passes and their end. Leaves to the ends everything that is
//! durable: this driver may die at any of its steps.
//!
//! 1. The source opens a reading, the target a receiving.
//! 2. Group hashes of the files in question go to the target, block hashes of the groups that differ.
//! 3. The target asks for what it lacks; a few requests are in flight; now and then it makes durable what it has.
//! 4. The source says whether what was read is one moment's content. If so, the target publishes. If not, both start
//!    again, and what has arrived stays: after three passes the source is too busy.
//!
//! Guarantee: whatever happens, a reading that was opened is closed, so what was frozen is thawed. The driver's
//! future must be polled to its end for that: to stop it, cancel its token and go on waiting.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::block::{block_len, groups_in};
use super::hashing::lock;
use super::manifest::{Manifest, Node};
use super::port::{BlockAddress, Published, Reading, ReadingEnd, Receiving, Source, Survey, Target, TransferError};
use crate::model::point::{BlockReason, PointKind};
use crate::model::region::SyncOrder;
use crate::model::{BitRate, ByteCount, Clock, Timestamp};

/// Readings of a source that is written all the while.
const PASSES: u32 = 3;
/// Group hashes in one request.
const RUN_GROUPS: u64 = 1024;
/// Groups whose block hashes are in one request.
const RUN_BLOCK_GROUPS: usize = 64;
/// Files that are compared at once.
const COMPARED: usize = 8;
/// Requests for blocks in flight; the port allows each 4 MiB.
const IN_FLIGHT: usize = 4;
/// After so many bytes the target makes durable what it has.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// What a sync is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The source hashes what may have changed.
    Reading,
    /// Hashes are compared.
    Comparing,
    /// Blocks travel.
    Copying,
    /// The point is made the newest.
    Publishing,
}

/// How a sync is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncOptions {
    /// Whether the source reads every byte again, whatever it remembers.
    pub full: bool,
    /// Whether a person has accepted that the source changed a lot.
    pub accept_change: bool,
    /// How fast blocks may travel.
    pub bandwidth_limit: Option<BitRate>,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// What became of it.
    pub published: Published,
    /// Bytes of blocks that travelled, of all passes.
    pub bytes: ByteCount,
    /// Bytes that an interrupted sync had left and that did not travel again.
    pub resumed: ByteCount,
    /// How often the source was read.
    pub passes: u32,
    /// What the two ends have to tell, such as why the point is only `quiet`.
    pub notes: Vec<String>,
}

/// How a sync failed.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct SyncFailure {
    /// Why.
    #[source]
    pub error: TransferError,
    /// Bytes that travelled nevertheless; the target keeps them for the next sync.
    pub bytes: ByteCount,
    /// What the two ends have to tell besides.
    pub notes: Vec<String>,
}

/// Is told how far a sync is: the stage, bytes done, bytes in all where known.
pub type Progress<'a> = &'a (dyn Fn(Stage, ByteCount, Option<ByteCount>) + Send + Sync);

/// A sync with all that it needs.
#[derive(Clone, Copy)]
struct Driver<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    order: &'a SyncOrder,
    options: &'a SyncOptions,
    clock: &'a dyn Clock,
    progress: Progress<'a>,
    cancel: &'a CancellationToken,
    travelled: &'a AtomicU64,
    notes: &'a Mutex<Vec<String>>,
}

/// How a pass ended.
enum Pass {
    Published {
        published: Box<Published>,
        resumed: ByteCount,
    },
    /// These files changed under the reader.
    Changed {
        paths: Vec<String>,
        stamp: Option<crate::model::Digest>,
    },
    /// The source's hashes contradict each other: what it remembers of its files is damaged.
    Contradicted(TransferError),
}

/// Copies a resource.
///
/// # Errors
/// Why it could not go on; the newest complete point at the target is then as it was, or the new one.
pub async fn sync(
    source: &dyn Source,
    target: &dyn Target,
    order: &SyncOrder,
    options: &SyncOptions,
    clock: &dyn Clock,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<SyncReport, SyncFailure> {
    let (travelled, notes) = (AtomicU64::new(0), Mutex::default());
    let sync = Driver { source, target, order, options, clock, progress, cancel, travelled: &travelled, notes: &notes };
    let done = sync.passes().await;
    let bytes = ByteCount(travelled.load(Ordering::Relaxed));
    let notes = std::mem::take(&mut *lock(&notes));
    match done {
        Ok((published, resumed, passes)) => Ok(SyncReport { published, bytes, resumed, passes, notes }),
        Err(error) => Err(SyncFailure { error, bytes, notes }),
    }
}

impl Driver<'_> {
    async fn passes(&self) -> Result<(Published, ByteCount, u32), TransferError> {
        let mut full = self.options.full;
        let mut changed = (Vec::new(), None);
        for pass in 1..=PASSES {
            match self.pass(full).await? {
                Pass::Published { published, resumed } => return Ok((*published, resumed, pass)),
                Pass::Changed { paths, stamp } => changed = (paths, stamp),
                Pass::Contradicted(error) if full => return Err(error),
                Pass::Contradicted(_) => full = true,
            }
        }
        let (paths, stamp) = changed;
        let names = match paths.as_slice() {
            [] => "its files".to_owned(),
            [path] => path.clone(),
            [path, more @ ..] => format!("{path} and {} more", more.len()),
        };
        let mut detail = format!("{names} changed during each of {PASSES} readings");
        for note in lock(self.notes).drain(..) {
            detail = format!("{detail}; {note}");
        }
        Err(TransferError::blocked(BlockReason::SourceBusy, detail, stamp, self.clock.now()))
    }

    async fn pass(&self, full: bool) -> Result<Pass, TransferError> {
        self.go_on()?;
        (self.progress)(Stage::Reading, ByteCount(0), None);
        let reading = self.source.open_reading(self.order, full).await?;
        self.note(&reading.notes);
        let opened = match self.go_on() {
            Ok(()) => self.target.open_receiving(self.order, &reading, self.options.accept_change).await,
            Err(error) => Err(error),
        };
        let receiving = match opened {
            Ok(receiving) => receiving,
            Err(error) => {
                // The first error is what matters.
                let _ = self.source.close_reading(reading.session).await;
                return Err(error);
            }
        };
        self.note(&receiving.notes);
        let copied = self.compare_and_copy(&reading, &receiving).await;
        let seen = self.clock.now();
        let end = self.source.close_reading(reading.session).await;
        let result = self.conclude(&reading, &receiving, copied, end, seen).await;
        if !matches!(result, Ok(Pass::Published { .. })) {
            let closed = self.target.close_receiving(receiving.session).await;
            if result.is_ok() {
                closed?;
            }
        }
        result
    }

    async fn conclude(
        &self,
        reading: &Reading,
        receiving: &Receiving,
        copied: Result<Survey, TransferError>,
        end: Result<ReadingEnd, TransferError>,
        seen: Timestamp,
    ) -> Result<Pass, TransferError> {
        let survey = match (copied, end) {
            (
                Err(error @ (TransferError::Blocked(_) | TransferError::Stale { .. } | TransferError::Interrupted)),
                _,
            ) => {
                return Err(error);
            }
            // A file that changed explains bytes that are not their hash's, and its being gone; not a full disk.
            (Err(error), Ok(ReadingEnd::Changed(paths))) if !explains(&paths, &error) => return Err(error),
            (_, Ok(ReadingEnd::Changed(paths))) => return Ok(Pass::Changed { paths, stamp: reading.stamp }),
            (Err(error @ TransferError::Corrupt(_)), _) => return Ok(Pass::Contradicted(error)),
            (Err(error), _) | (Ok(_), Err(error)) => return Err(error),
            (Ok(survey), Ok(ReadingEnd::Consistent)) => survey,
        };
        self.go_on()?;
        (self.progress)(Stage::Publishing, survey.wanted, Some(survey.wanted));
        let verified_at = match reading.kind {
            // What was copied within a freeze says nothing about later.
            PointKind::Frozen => reading.read_at,
            PointKind::Cold | PointKind::Quiet => seen.max(reading.read_at),
        };
        let published = self.target.publish(receiving.session, verified_at).await?;
        Ok(Pass::Published { published: Box::new(published), resumed: survey.resumed })
    }

    /// Each is told once, however many passes say it.
    fn note(&self, told: &[String]) {
        let mut notes = lock(self.notes);
        for note in told {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
    }

    fn go_on(&self) -> Result<(), TransferError> {
        if self.cancel.is_cancelled() { Err(TransferError::Interrupted) } else { Ok(()) }
    }

    async fn compare_and_copy(&self, reading: &Reading, receiving: &Receiving) -> Result<Survey, TransferError> {
        self.compare(reading, receiving).await?;
        let survey = self.target.end_survey(receiving.session).await?;
        // What came last is made durable by whoever ends the receiving: publishing it, or closing it.
        self.pump(reading, receiving, &survey).await?;
        Ok(survey)
    }

    async fn compare(&self, reading: &Reading, receiving: &Receiving) -> Result<(), TransferError> {
        let files: BTreeSet<u32> = receiving.compare.iter().copied().collect();
        let sizes = files.into_iter().map(|file| Ok((file, size_of(&reading.manifest, file)?)));
        let sizes: Vec<(u32, u64)> = sizes.collect::<Result<_, TransferError>>()?;
        let total = ByteCount(sizes.iter().map(|(_, size)| size).sum());
        let done = AtomicU64::new(0);
        (self.progress)(Stage::Comparing, ByteCount(0), Some(total));
        let mut files = futures_util::stream::iter(sizes)
            .map(|(file, size)| self.compare_file(reading, receiving, (file, size)))
            .buffer_unordered(COMPARED);
        while let Some(size) = files.try_next().await? {
            let done = done.fetch_add(size, Ordering::Relaxed) + size;
            (self.progress)(Stage::Comparing, ByteCount(done), Some(total));
        }
        Ok(())
    }

    async fn compare_file(
        &self,
        reading: &Reading,
        receiving: &Receiving,
        (file, size): (u32, u64),
    ) -> Result<u64, TransferError> {
        let groups = groups_in(size);
        let mut first = 0;
        while first < groups {
            self.go_on()?;
            let count = (groups - first).min(RUN_GROUPS);
            let hashes = self.source.group_hashes(reading.session, file, first, count).await?;
            if hashes.len() as u64 != count {
                return Err(TransferError::Corrupt("the source gave too few group hashes".to_owned()));
            }
            let differing = self.target.differing_groups(receiving.session, file, first, &hashes).await?;
            for groups in differing.chunks(RUN_BLOCK_GROUPS) {
                self.go_on()?;
                let hashes = self.source.block_hashes(reading.session, file, groups).await?;
                self.target.expect_blocks(receiving.session, file, groups, &hashes).await?;
            }
            first += count;
        }
        Ok(size)
    }

    async fn pump(&self, reading: &Reading, receiving: &Receiving, survey: &Survey) -> Result<(), TransferError> {
        /// What was waited for.
        enum Step {
            Copied(u64),
            Durable,
        }
        let total = Some(survey.wanted);
        let mut done = 0;
        (self.progress)(Stage::Copying, ByteCount(0), total);
        let began = self.clock.since_boot();
        let mut steps: FuturesUnordered<BoxFuture<'_, Result<Step, TransferError>>> = FuturesUnordered::new();
        let (mut requests, mut unsafe_bytes, mut checkpointing, mut more) = (0, 0, false, true);
        let mut result = Ok(());
        loop {
            if result.is_ok() {
                result = self.go_on();
            }
            more &= result.is_ok();
            while more && requests < IN_FLIGHT && !(checkpointing && unsafe_bytes >= CHECKPOINT_BYTES) {
                match self.target.next_wanted(receiving.session).await {
                    Ok(wanted) if wanted.is_empty() => more = false,
                    Ok(wanted) => {
                        requests += 1;
                        steps.push(Box::pin(async move {
                            self.copy_blocks(reading, receiving, wanted).await.map(Step::Copied)
                        }));
                    }
                    Err(error) => {
                        more = false;
                        result = result.and(Err(error));
                    }
                }
            }
            if unsafe_bytes >= CHECKPOINT_BYTES && !checkpointing && result.is_ok() {
                (checkpointing, unsafe_bytes) = (true, 0);
                steps.push(Box::pin(
                    async move { self.target.checkpoint(receiving.session).await.map(|()| Step::Durable) },
                ));
            }
            match steps.next().await {
                None => return result,
                Some(Ok(Step::Copied(bytes))) => {
                    requests -= 1;
                    done += bytes;
                    unsafe_bytes += bytes;
                    self.travelled.fetch_add(bytes, Ordering::Relaxed);
                    (self.progress)(Stage::Copying, ByteCount(done), total);
                    if result.is_ok() && more {
                        self.hold_back(began, done).await;
                    }
                }
                Some(Ok(Step::Durable)) => checkpointing = false,
                // What is in flight is waited for: it may still be written.
                Some(Err(error)) => result = result.and(Err(error)),
            }
        }
    }

    async fn copy_blocks(
        &self,
        reading: &Reading,
        receiving: &Receiving,
        wanted: Vec<BlockAddress>,
    ) -> Result<u64, TransferError> {
        let blocks = self.source.blocks(reading.session, &wanted).await?;
        if blocks.len() != wanted.len() {
            return Err(TransferError::Corrupt(
                "the source gave another number of blocks than was asked for".to_owned(),
            ));
        }
        let mut bytes = 0;
        for (address, block) in wanted.iter().zip(&blocks) {
            if block.len() != block_len(size_of(&reading.manifest, address.file)?, address.block) {
                return Err(TransferError::Corrupt("the source gave a block of another length".to_owned()));
            }
            bytes += block.len() as u64;
        }
        self.target.write_blocks(receiving.session, wanted.into_iter().zip(blocks).collect()).await?;
        Ok(bytes)
    }

    /// Waits until so many bytes may have travelled.
    async fn hold_back(&self, began: Duration, done: u64) {
        let Some(limit) = self.options.bandwidth_limit else { return };
        let due = Duration::from_secs_f64(done as f64 / limit.bytes_per_second().max(1) as f64);
        let early = due.saturating_sub(self.clock.since_boot().saturating_sub(began));
        if !early.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(early) => {}
                () = self.cancel.cancelled() => {}
            }
        }
    }
}

/// Whether files that changed under the reader explain the error.
fn explains(changed: &[String], error: &TransferError) -> bool {
    match error {
        TransferError::Corrupt(_) => true,
        TransferError::Io { path, .. } => changed.iter().any(|changed| path.ends_with(changed.as_str())),
        TransferError::Blocked(_)
        | TransferError::Stale { .. }
        | TransferError::Interrupted
        | TransferError::Busy(_)
        | TransferError::Region(_) => false,
    }
}

fn size_of(manifest: &Manifest, file: u32) -> Result<u64, TransferError> {
    match manifest.entries.get(file as usize).map(|entry| &entry.node) {
        Some(Node::File { size, root: _ }) => Ok(size.0),
        Some(Node::Directory | Node::Link { .. }) | None => {
            Err(TransferError::Corrupt(format!("the target asked for file {file}, which the source does not have")))
        }
    }
}
