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

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::block::{block_len, groups_in};
use super::hashing::lock;
use super::manifest::{Manifest, Node};
use super::pace::{Pace, Paid};
use super::port::{
    BlockAddress, GROUP_BLOCKS, Published, Reading, ReadingEnd, Receiving, Source, Survey, Target, TransferError,
};
use crate::model::point::{BlockReason, PointKind};
use crate::model::region::SyncOrder;
use crate::model::{BitRate, ByteCount, Clock, Timestamp, units};

/// Readings of a source that is written all the while.
const PASSES: u32 = 3;
/// Group hashes in one request.
const RUN_GROUPS: u64 = 1024;
/// Groups whose block hashes are in one request.
const RUN_BLOCK_GROUPS: usize = 64;
/// Groups whose block hashes are about what a block is on the network.
const PORTION_BLOCK_GROUPS: usize = 16;
/// Files that are compared at once.
const COMPARED: usize = 8;
/// Requests for blocks in flight; the port allows each 4 MiB.
const IN_FLIGHT: usize = 4;
/// After so many bytes the target makes durable what it has.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Bytes of a hash as it comes from a source over the network, and as it goes to a target.
const CAME_HASH: u64 = 32;
const WENT_HASH: u64 = 64;
/// Whenever a sync has waited so long for its turn, its ends are asked for nothing, so that they know that somebody is
/// there.
const TOUCHED: Duration = Duration::from_secs(3);

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncOptions {
    /// Whether the source reads every byte again, whatever it remembers.
    pub full: bool,
    /// Whether a person has accepted that the source changed a lot.
    pub accept_change: bool,
    /// How fast all syncs from this source to this target may be together.
    pub bandwidth_limit: Option<BitRate>,
    /// When its turn is, where more is to be done than a region does at once.
    #[serde(default)]
    pub urgency: Urgency,
}

/// Whose turn it is: the lower priority's, then the earlier deadline's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Urgency {
    /// The pair's.
    pub priority: u32,
    /// When the recovery point that was promised will be missed, by the clock that dates the target's points; none:
    /// there is no point yet.
    pub deadline: Option<Timestamp>,
}

/// What a sync is done with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// How fast blocks may travel; none: as fast as they can.
    pub pace: Option<&'a Pace>,
    /// Is told how far it is.
    pub progress: Progress<'a>,
    /// Stops it at the next durable place.
    pub cancel: &'a CancellationToken,
    /// What the point is dated, where it is a copy of a point; none: what the reading says.
    pub verified_at: Option<Timestamp>,
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").field("pace", &self.pace).finish_non_exhaustive()
    }
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncReport {
    /// What became of it.
    pub published: Published,
    /// Bytes of blocks that travelled, of all passes.
    pub bytes: ByteCount,
    /// What these and their hashes came to on the network, packed; none: there was no network between.
    #[serde(default)]
    pub wire: Option<ByteCount>,
    /// How long blocks travelled, of all passes.
    #[serde(default, with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub travelled_for: Duration,
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
    means: &'a Means<'a>,
    travelled: &'a AtomicU64,
    travelled_for: &'a Mutex<Duration>,
    wire: &'a Mutex<Option<ByteCount>>,
    notes: &'a Mutex<Vec<String>>,
}

/// Blocks that may be asked for now, and what was paid for them.
type Turn = (Vec<BlockAddress>, Option<Paid>);

/// Weighs what travels in one pass.
struct Scales<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    reading: &'a Reading,
    receiving: &'a Receiving,
    seen: AtomicU64,
    /// Whether the comparison has ended.
    compared: AtomicBool,
}

impl Scales<'_> {
    /// What travelled since the last look. Where several requests end, one may answer for another.
    fn new_bytes(&self) -> Option<u64> {
        let ends = (self.source.came(self.reading.session), self.target.went(self.receiving.session));
        let now = match ends {
            (None, None) => return None,
            (came, went) => came.unwrap_or(0) + went.unwrap_or(0),
        };
        Some(now.saturating_sub(self.seen.fetch_max(now, Ordering::Relaxed)))
    }

    /// What a hash comes to on the network on its way from the source to the target.
    fn hash_bytes(&self) -> u64 {
        let came = self.source.came(self.reading.session).map_or(0, |_| CAME_HASH);
        came + self.target.went(self.receiving.session).map_or(0, |_| WENT_HASH)
    }

    /// Tells ends that are elsewhere that somebody is there, with a question for nothing.
    async fn touch(&self, file: u32) -> Result<(), TransferError> {
        let source = async { self.source.block_hashes(self.reading.session, file, &[]).await.map(|_| ()) };
        let target = async {
            let session = self.receiving.session;
            match self.target.went(session) {
                None => Ok(()),
                Some(_) if self.compared.load(Ordering::Relaxed) => self.target.write_blocks(session, Vec::new()).await,
                Some(_) => self.target.expect_blocks(session, file, &[], &[]).await,
            }
        };
        tokio::try_join!(source, target).map(|_| ())
    }
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
    means: &Means<'_>,
) -> Result<SyncReport, SyncFailure> {
    let (travelled, travelled_for) = (AtomicU64::new(0), Mutex::default());
    let (wire, notes) = (Mutex::default(), Mutex::default());
    let sync = Driver {
        source,
        target,
        order,
        options,
        means,
        travelled: &travelled,
        travelled_for: &travelled_for,
        wire: &wire,
        notes: &notes,
    };
    let done = sync.passes().await;
    let bytes = ByteCount(travelled.load(Ordering::Relaxed));
    let (wire, notes) = (*lock(&wire), std::mem::take(&mut *lock(&notes)));
    let travelled_for = *lock(&travelled_for);
    match done {
        Ok((published, resumed, passes)) => {
            Ok(SyncReport { published, bytes, wire, travelled_for, resumed, passes, notes })
        }
        Err(error) => Err(SyncFailure { error, bytes, notes }),
    }
}

impl SyncReport {
    /// What travelled between the two ends, packed where it was: with [`travelled_for`](Self::travelled_for) a measure of
    /// the link.
    pub fn carried(&self) -> ByteCount {
        self.wire.unwrap_or(self.bytes)
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
        Err(TransferError::blocked(BlockReason::SourceBusy, detail, stamp, self.means.clock.now()))
    }

    async fn pass(&self, full: bool) -> Result<Pass, TransferError> {
        self.go_on()?;
        (self.means.progress)(Stage::Reading, ByteCount(0), None);
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
        let seen = self.means.clock.now();
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
        (self.means.progress)(Stage::Publishing, survey.wanted, Some(survey.wanted));
        let verified_at = self.means.verified_at.unwrap_or(match reading.kind {
            // What was copied within a freeze says nothing about later.
            PointKind::Frozen => reading.read_at,
            PointKind::Cold | PointKind::Quiet => seen.max(reading.read_at),
        });
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
        if self.means.cancel.is_cancelled() { Err(TransferError::Interrupted) } else { Ok(()) }
    }

    async fn compare_and_copy(&self, reading: &Reading, receiving: &Receiving) -> Result<Survey, TransferError> {
        let (source, target) = (self.source, self.target);
        let (seen, compared) = (AtomicU64::new(0), AtomicBool::new(false));
        let scales = Scales { source, target, reading, receiving, seen, compared };
        let done = self.compare(reading, receiving, &scales).await;
        // Of one that failed: what was in flight, which is paid for.
        self.weigh(&scales);
        done?;
        scales.compared.store(true, Ordering::Relaxed);
        let survey = self.target.end_survey(receiving.session).await?;
        // What came last is made durable by whoever ends the receiving: publishing it, or closing it.
        let began = self.means.clock.since_boot();
        let pumped = self.pump(reading, receiving, &survey, &scales).await;
        *lock(self.travelled_for) += self.means.clock.since_boot().saturating_sub(began);
        self.weigh(&scales);
        pumped?;
        Ok(survey)
    }

    /// What travelled since the last look; none: there is no network between.
    fn weigh(&self, scales: &Scales<'_>) -> Option<u64> {
        let new = scales.new_bytes()?;
        let mut wire = lock(self.wire);
        *wire = Some(ByteCount(wire.map_or(0, |wire| wire.0) + new));
        Some(new)
    }

    async fn compare(
        &self,
        reading: &Reading,
        receiving: &Receiving,
        scales: &Scales<'_>,
    ) -> Result<(), TransferError> {
        let files: BTreeSet<u32> = receiving.compare.iter().copied().collect();
        let sizes = files.into_iter().map(|file| Ok((file, size_of(&reading.manifest, file)?)));
        let sizes: Vec<(u32, u64)> = sizes.collect::<Result<_, TransferError>>()?;
        let total = ByteCount(sizes.iter().map(|(_, size)| size).sum());
        let done = AtomicU64::new(0);
        (self.means.progress)(Stage::Comparing, ByteCount(0), Some(total));
        let mut files = futures_util::stream::iter(sizes)
            .map(|(file, size)| self.compare_file(reading, receiving, scales, (file, size)))
            .buffer_unordered(COMPARED);
        while let Some(size) = files.try_next().await? {
            let done = done.fetch_add(size, Ordering::Relaxed) + size;
            (self.means.progress)(Stage::Comparing, ByteCount(done), Some(total));
        }
        Ok(())
    }

    async fn compare_file(
        &self,
        reading: &Reading,
        receiving: &Receiving,
        scales: &Scales<'_>,
        (file, size): (u32, u64),
    ) -> Result<u64, TransferError> {
        let groups = groups_in(size);
        let mut first = 0;
        while first < groups {
            let count = (groups - first).min(RUN_GROUPS);
            let question = async {
                let hashes = self.source.group_hashes(reading.session, file, first, count).await?;
                if hashes.len() as u64 != count {
                    return Err(TransferError::Corrupt("the source gave too few group hashes".to_owned()));
                }
                self.target.differing_groups(receiving.session, file, first, &hashes).await
            };
            let differing = self.paid_for(scales, file, count, question).await?;
            let run = self.means.pace.map_or(RUN_BLOCK_GROUPS, |pace| {
                RUN_BLOCK_GROUPS.min(pace.portion().saturating_mul(PORTION_BLOCK_GROUPS))
            });
            for groups in differing.chunks(run) {
                let question = async {
                    let hashes = self.source.block_hashes(reading.session, file, groups).await?;
                    self.target.expect_blocks(receiving.session, file, groups, &hashes).await
                };
                self.paid_for(scales, file, groups.len() as u64 * GROUP_BLOCKS, question).await?;
            }
            first += count;
        }
        Ok(size)
    }

    /// Asks a question about so many hashes, at the pace.
    async fn paid_for<T>(
        &self,
        scales: &Scales<'_>,
        file: u32,
        hashes: u64,
        question: impl Future<Output = Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        self.go_on()?;
        let paid = match (self.means.pace, hashes * scales.hash_bytes()) {
            (None, _) | (Some(_), 0) => None,
            (Some(pace), bytes) => Some((pace, self.wait_for(scales, file, pace.pay_for_hashes(bytes)).await?)),
        };
        let answer = question.await;
        let weighed = self.weigh(scales);
        if let Some((pace, paid)) = paid {
            pace.settle(paid, weighed.unwrap_or(0));
        }
        answer
    }

    /// Waits for the turn to pay. Meanwhile the ends are told now and then that somebody is there; beside it, because
    /// whoever has the turn and does not look keeps it from all others.
    async fn wait_for(
        &self,
        scales: &Scales<'_>,
        file: u32,
        paying: impl Future<Output = Paid>,
    ) -> Result<Paid, TransferError> {
        let touching = async {
            loop {
                tokio::time::sleep(TOUCHED).await;
                if let Err(error) = scales.touch(file).await {
                    break error;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.means.cancel.cancelled() => Err(TransferError::Interrupted),
            paid = paying => Ok(paid),
            error = touching => Err(error),
        }
    }

    async fn pump(
        &self,
        reading: &Reading,
        receiving: &Receiving,
        survey: &Survey,
        scales: &Scales<'_>,
    ) -> Result<(), TransferError> {
        /// What was waited for.
        enum Step {
            Copied(u64),
            Durable,
        }
        let total = Some(survey.wanted);
        let mut done = 0;
        (self.means.progress)(Stage::Copying, ByteCount(0), total);
        let mut steps: FuturesUnordered<BoxFuture<'_, Result<Step, TransferError>>> = FuturesUnordered::new();
        // The next request, which waits for its turn.
        let mut turn: Option<BoxFuture<'_, Result<Turn, TransferError>>> = None;
        let mut wanted: VecDeque<BlockAddress> = VecDeque::new();
        let (mut requests, mut unsafe_bytes, mut checkpointing, mut more) = (0, 0, false, true);
        let mut result = Ok(());
        loop {
            if result.is_ok() {
                result = self.go_on();
            }
            if result.is_err() {
                // What is in flight is waited for, because it may still be written; nothing else.
                (turn, more) = (None, false);
                wanted.clear();
            }
            let room = requests < IN_FLIGHT && !(checkpointing && unsafe_bytes >= CHECKPOINT_BYTES);
            if room && turn.is_none() {
                if more && wanted.is_empty() {
                    match self.target.next_wanted(receiving.session).await {
                        Ok(next) if next.is_empty() => more = false,
                        Ok(next) => wanted.extend(next),
                        Err(error) => {
                            result = Err(error);
                            continue;
                        }
                    }
                }
                let portion = self.means.pace.map_or(wanted.len(), Pace::portion).min(wanted.len());
                if portion > 0 {
                    turn = Some(Box::pin(self.turn(scales, wanted.drain(..portion).collect())));
                }
            }
            if unsafe_bytes >= CHECKPOINT_BYTES && !checkpointing && result.is_ok() {
                (checkpointing, unsafe_bytes) = (true, 0);
                steps.push(Box::pin(
                    async move { self.target.checkpoint(receiving.session).await.map(|()| Step::Durable) },
                ));
            }
            let waits = turn.is_some();
            tokio::select! {
                biased;
                next = async { match &mut turn { Some(turn) => turn.await, None => std::future::pending().await } },
                    if waits => {
                    turn = None;
                    match next {
                        Ok((wanted, paid)) => {
                            requests += 1;
                            steps.push(Box::pin(async move {
                                let copied = self.copy_blocks(reading, receiving, wanted).await;
                                let weighed = self.weigh(scales);
                                if let (Some(pace), Some(paid)) = (self.means.pace, paid) {
                                    pace.settle(paid, weighed.unwrap_or(copied.as_ref().map_or(0, |bytes| *bytes)));
                                }
                                copied.map(Step::Copied)
                            }));
                        }
                        Err(error) => result = Err(error),
                    }
                }
                Some(step) = steps.next() => match step {
                    Ok(Step::Copied(bytes)) => {
                        requests -= 1;
                        done += bytes;
                        unsafe_bytes += bytes;
                        self.travelled.fetch_add(bytes, Ordering::Relaxed);
                        (self.means.progress)(Stage::Copying, ByteCount(done), total);
                    }
                    Ok(Step::Durable) => checkpointing = false,
                    Err(error) => result = result.and(Err(error)),
                },
                else => return result,
            }
        }
    }

    /// Waits until these blocks may be asked for.
    async fn turn(&self, scales: &Scales<'_>, wanted: Vec<BlockAddress>) -> Result<Turn, TransferError> {
        let (Some(pace), Some(first)) = (self.means.pace, wanted.first()) else { return Ok((wanted, None)) };
        let mut bytes = 0;
        for address in &wanted {
            bytes += block_len(size_of(&scales.reading.manifest, address.file)?, address.block) as u64;
        }
        let paid = self.wait_for(scales, first.file, pace.pay(bytes)).await?;
        Ok((wanted, Some(paid)))
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
