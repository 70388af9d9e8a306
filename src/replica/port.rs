//! The two ends of a transfer, without an assumption about where they are: the same driver moves bytes between two
//! directories of this machine and between two programs.
//!
//! A block is 64 KiB, a group 64 blocks. A block's hash is the BLAKE3 of its bytes (the last block of a file is
//! hashed as long as it is); a hole and a block of zeros have the hash [`ZERO`] and never travel. A group's hash is
//! the BLAKE3 of its blocks' hashes, [`ZERO`] where all of them are.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::model::point::{BlockReason, Outline, Point, PointKind, Refusal};
use crate::model::region::SyncOrder;
use crate::model::{ByteCount, Digest, Timestamp};

/// Bytes in a block.
pub const BLOCK_BYTES: u64 = 64 << 10;
/// Blocks in a group.
pub const GROUP_BLOCKS: u64 = 64;
/// A block's or group's hash.
pub type Hash = [u8; 32];
/// The hash of holes and zeros.
pub const ZERO: Hash = [0; 32];

/// One end's name for an open reading or receiving.
pub type SessionId = uuid::Uuid;

/// A block of one file of a reading: the file's place in the manifest and the block's place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct BlockAddress {
    /// Index into the manifest's entries.
    pub file: u32,
    /// Block number within the file.
    pub block: u64,
}

/// What a source opened for a copy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// The source's name for it.
    pub session: SessionId,
    /// All files; both ends and the driver hold the same one where they are one program.
    pub manifest: Arc<Manifest>,
    /// What there is, in short.
    pub outline: Outline,
    /// What the point is dated by: a moment of the source's clock that the copy is not older than. All that was
    /// written until then is in it, so it never claims to be fresher than it is. Of live files, just before the first
    /// of them was read; of files copied within a freeze, while it held, before the first copy; of a snapshot, before
    /// the command that made it was started.
    pub read_at: Timestamp,
    /// What the copy is worth.
    pub kind: PointKind,
    /// The files' stamp as the copy shows them; none where one had changed too recently to be trusted.
    pub stamp: Option<Digest>,
    /// What whoever asked for the copy must be told of how it came about, such as why it is only `quiet`.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How a reading ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadingEnd {
    /// What was read is one moment's content.
    Consistent,
    /// Files changed under the reader: these.
    Changed(Vec<String>),
}

/// Why one end of a transfer could not go on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(tag = "code", content = "detail", rename_all = "snake_case")]
pub enum TransferError {
    /// Safety stopped it before anything changed.
    #[error("{}: {}", .0.reason.as_str(), .0.detail)]
    Blocked(Refusal),
    /// The order is older than what the region has recorded.
    #[error("the order's epoch {ordered} is older than the recorded {recorded}")]
    Stale {
        /// The order's.
        ordered: crate::model::region::Epoch,
        /// The region's.
        recorded: crate::model::region::Epoch,
    },
    /// Stopped on request, at a durable place.
    #[error("interrupted; what was received is kept")]
    Interrupted,
    /// A file could not be read or written.
    #[error("{action} {path}: {detail}")]
    Io {
        /// What was tried, such as `cannot read`.
        action: String,
        /// The file.
        path: String,
        /// The system's words.
        detail: String,
        /// Whether it is this file that fails, by its permissions or its medium, and not the machine that lacks
        /// something: trying again changes nothing.
        bad_file: bool,
        /// Whether it is room that lacks.
        no_space: bool,
        /// Whether it may not be done: by permissions, by an immutable file, or on a file system that is read-only.
        not_permitted: bool,
    },
    /// Bytes that are not what their hash says.
    #[error("{0}")]
    Corrupt(String),
    /// Another program has the region's directory.
    #[error("{0}")]
    Busy(String),
    /// The region behind the port could not be used.
    #[error("{0}")]
    Region(String),
}

impl TransferError {
    /// A refusal for `reason`, in words.
    pub const fn blocked(reason: BlockReason, detail: String, source_stamp: Option<Digest>, at: Timestamp) -> Self {
        Self::Blocked(Refusal { reason, detail, source_stamp, needed: None, lost: None, max_change: None, at })
    }
}

/// The end that is read from.
#[async_trait]
pub trait Source: Send + Sync {
    /// Makes the resource's files readable as one moment's content and hashes what may have changed.
    ///
    /// With `full`, nothing remembered of earlier readings is trusted and every byte is hashed.
    ///
    /// # Errors
    /// [`TransferError::Blocked`] for what cannot be copied; I/O errors by file.
    async fn open_reading(&self, order: &SyncOrder, full: bool) -> Result<Reading, TransferError>;

    /// The hashes of `count` groups of a file, from group `first`.
    ///
    /// # Errors
    /// Where the session or the file is gone.
    async fn group_hashes(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        count: u64,
    ) -> Result<Vec<Hash>, TransferError>;

    /// The hashes of all blocks of the named groups of a file, in the groups' order.
    ///
    /// # Errors
    /// Where the session or the file is gone.
    async fn block_hashes(&self, session: SessionId, file: u32, groups: &[u64]) -> Result<Vec<Hash>, TransferError>;

    /// The bytes of the named blocks, in order; at most 4 MiB together.
    ///
    /// # Errors
    /// Where a file cannot be read or became shorter.
    async fn blocks(&self, session: SessionId, wanted: &[BlockAddress]) -> Result<Vec<Bytes>, TransferError>;

    /// Ends the reading, thaws what was frozen, and says whether it was one moment's content.
    ///
    /// # Errors
    /// Where a file cannot be looked at again.
    async fn close_reading(&self, session: SessionId) -> Result<ReadingEnd, TransferError>;

    /// Bytes that came over the network for this open reading, packed as they travelled: hashes and blocks; none: there
    /// is no network between.
    fn came(&self, session: SessionId) -> Option<u64> {
        let _ = session;
        None
    }
}

/// What a target wants of a reading.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Receiving {
    /// The target's name for it.
    pub session: SessionId,
    /// The files whose groups must be compared; the others are at the target already.
    pub compare: Vec<u32>,
    /// Bytes that an interrupted sync left and that need not travel again, as far as known yet.
    pub resumed: ByteCount,
    /// What whoever asked for the copy must be told of the target.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Survey {
    /// Bytes that must travel.
    pub wanted: ByteCount,
    /// Bytes that differ from the base point, zeros included.
    pub changed: ByteCount,
    /// Bytes that an interrupted sync had left and that need not travel again, those of a point that it had sealed
    /// too.
    pub resumed: ByteCount,
}

/// What became of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The newest complete point now.
    pub point: Point,
    /// Whether it is a new one, also where an interrupted sync had sealed it and this one had nothing left to do but
    /// to finish it; false: content, modes, times and owners were the same, and only `verified_at` moved.
    pub new: bool,
    /// Bytes that differed from the base point.
    pub changed: ByteCount,
    /// What was found modified at the replica and set aside, by name.
    pub set_aside: Vec<String>,
}

/// A source that was seen as it was when a point was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// Of what, for whom.
    pub order: SyncOrder,
    /// The point, which must be the newest still.
    pub sequence: u64,
    /// When: no later than that look.
    pub verified_at: Timestamp,
}

/// What became of one of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// The newest point as it is recorded now.
    Point(Box<Point>),
    /// Why nothing was recorded.
    Error(TransferError),
}

impl From<Result<Point, TransferError>> for Confirmation {
    fn from(result: Result<Point, TransferError>) -> Self {
        match result {
            Ok(point) => Self::Point(Box::new(point)),
            Err(error) => Self::Error(error),
        }
    }
}

/// The end that keeps the copy.
#[async_trait]
pub trait Target: Send + Sync {
    /// Opens a receiving: finishes or rolls back what an earlier one left, judges the reading by its outline
    /// (suspicious sources, shrunk disks), checks the replica's own files against its newest point, and says which
    /// files must be compared. With `accept_change` the judgement is left out; its refusal is recorded otherwise.
    ///
    /// # Errors
    /// [`TransferError::Blocked`], [`TransferError::Stale`], I/O errors by file.
    async fn open_receiving(
        &self,
        order: &SyncOrder,
        reading: &Reading,
        accept_change: bool,
    ) -> Result<Receiving, TransferError>;

    /// Takes a run of group hashes of a file, from group `first`; answers with the groups that differ.
    ///
    /// # Errors
    /// Where the session is gone or the index cannot be read.
    async fn differing_groups(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        hashes: &[Hash],
    ) -> Result<Vec<u64>, TransferError>;

    /// Takes the block hashes of differing groups, in the groups' order: from now on these blocks are expected.
    ///
    /// # Errors
    /// As above; [`TransferError::Corrupt`] where they don't hash to the group's hash.
    async fn expect_blocks(
        &self,
        session: SessionId,
        file: u32,
        groups: &[u64],
        hashes: &[Hash],
    ) -> Result<(), TransferError>;

    /// Ends the comparison: checks that the expected blocks hash to the manifest's roots, judges the share of
    /// change, and reserves room.
    ///
    /// # Errors
    /// [`TransferError::Blocked`] for `suspicious` and `no_space`; [`TransferError::Corrupt`] for a lying source.
    async fn end_survey(&self, session: SessionId) -> Result<Survey, TransferError>;

    /// The next blocks that are missing, at most 64, in an order good for reading; empty when none is.
    ///
    /// # Errors
    /// Where the session is gone.
    async fn next_wanted(&self, session: SessionId) -> Result<Vec<BlockAddress>, TransferError>;

    /// Takes blocks, hashes each one and keeps those that are what was expected.
    ///
    /// # Errors
    /// [`TransferError::Corrupt`] for one that is not; I/O errors.
    async fn write_blocks(&self, session: SessionId, blocks: Vec<(BlockAddress, Bytes)>) -> Result<(), TransferError>;

    /// Makes what was written durable, so that a resumed sync goes on from here.
    ///
    /// # Errors
    /// I/O errors.
    async fn checkpoint(&self, session: SessionId) -> Result<(), TransferError>;

    /// Publishes the point: seals what was received, saves the undo of the previous point, patches the replica,
    /// commits, and drops what retention no longer wants.
    ///
    /// # Errors
    /// I/O errors; the newest complete point is then as it was, or the new one.
    async fn publish(&self, session: SessionId, verified_at: Timestamp) -> Result<Published, TransferError>;

    /// Ends a receiving without publishing; what was received stays for the next one.
    ///
    /// # Errors
    /// I/O errors.
    async fn close_receiving(&self, session: SessionId) -> Result<(), TransferError>;

    /// Bytes that went over the network for this open receiving, packed as they travelled: hashes and blocks; none:
    /// there is no network between.
    fn went(&self, session: SessionId) -> Option<u64> {
        let _ = session;
        None
    }

    /// Records of each that its source was seen unchanged since the newest point was read. Answers in the same order.
    /// A repeat moves nothing back.
    ///
    /// # Errors
    /// Where none could be looked at; what is wrong with one of them stands in its answer.
    async fn confirm_unchanged(&self, confirmed: &[Confirmed]) -> Result<Vec<Confirmation>, TransferError>;
}
