//! What a replica's region remembers of points, and where it remembers it.
//!
//! Owns: the records (points with their manifests, an unfinished receiving, the last refusal, the counters) and the
//! trait that keeps them. Leaves to the implementation: tables, transactions, and the check that whoever writes may
//! still do so; an implementation that is bound to an order's epoch refuses [`Catalog::commit`] once the region has
//! recorded a higher one, which is what stops a sync that lost its right.
//!
//! Invariants: numbers of points and files grow and are never reused; at most one point is sealed, and only while a
//! receiving names it; every record that names a file's number has it from a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::{Entry, Manifest};
use crate::model::audit::AuditState;
use crate::model::point::{NewestPoint, Outline, Point, PointState, Refusal};
use crate::model::{ByteCount, Digest, ResourceKey, Timestamp};

/// The number of one file's body at one replica: what overlays and indexes are named by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(pub u64);

/// By what a file is recognised as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the bytes, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of bytes or metadata, in nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// A regular file's body as a replica keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its number.
    pub id: FileId,
    /// How it lay on the disk when it was published; none: not to be trusted, it is read again by the next sync.
    pub identity: Option<FileIdentity>,
    /// Bytes of its blocks that are not zeros.
    pub data: ByteCount,
    /// Whether this program could not write all of it: what lies there is nobody's work, and not worth keeping.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub torn: bool,
}

/// One path of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEntry {
    /// As the source had it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Of a regular file: its body here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<KeptFile>,
    /// Its mode and time here, where the file system keeps other ones than it was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lies: Option<Attributes>,
}

/// What a path was given and a hand may change without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// Everything that a point holds, and how it is kept here; sorted as the manifest is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptManifest {
    /// The entries.
    pub entries: Vec<KeptEntry>,
}

impl KeptManifest {
    /// The entries without what is only this replica's.
    pub fn to_manifest(&self) -> Manifest {
        Manifest { entries: self.entries.iter().map(|kept| kept.entry.clone()).collect() }
    }
}

/// How far a point's record counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// All of it is here and durable, but the files still show the point before it. Never listed.
    Sealed,
    /// It can be listed, exported, promoted.
    Published,
    /// Given up: its bytes are being merged into its neighbour or removed. Never listed.
    Dropping,
}

impl Standing {
    /// The name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Published => "published",
            Self::Dropping => "dropping",
        }
    }
}

/// One point as a replica remembers it, beside its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointRecord {
    /// As listed.
    pub point: Point,
    /// The source's stamp when the copy was read.
    pub source_stamp: Option<Digest>,
    /// What it holds, in short.
    pub outline: Outline,
    /// How far it counts.
    pub standing: Standing,
    /// Of a set-aside point: the point whose files were found modified, and whose other bytes it shares; none where
    /// there was no point yet.
    pub base: Option<u64>,
    /// Whether it is no copy: what this region held itself, taken for a point where it lay. Copies are compared with
    /// it, and it is never taken for one.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub adopted: bool,
}

/// How far a receiving came. Each phase is committed before its first effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Blocks arrive; nothing of the newest point is touched.
    Receiving,
    /// All is here: from now on it is finished without the source. The previous point's undo is being saved.
    Sealed,
    /// Files that leave their paths are moved into the previous point's undo.
    TakingOut,
    /// New files are moved in and changed ones patched.
    PuttingIn,
}

/// A file that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arriving {
    /// The number that what arrived of it is named by.
    pub id: FileId,
    /// Whether all of it is put together beside the replica and moved in; else the replica's file is patched.
    pub staged: bool,
}

/// A receiving that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivingRecord {
    /// How far it came.
    pub phase: Phase,
    /// The newest point when it began; none: the first copy.
    pub base: Option<u64>,
    /// From `Sealed` on, the point that is being published.
    pub sequence: Option<u64>,
    /// Files that arrive, by path. They are settled when it begins, and each commit takes a copy of the record.
    pub files: Arc<BTreeMap<String, Arriving>>,
    /// Files of the newest point that were found modified here, and how they lay when they were read again; none:
    /// missing.
    pub modified: BTreeMap<FileId, Option<FileIdentity>>,
    /// Files of the newest point whose mode, time or owner was changed here, and that are dressed again.
    #[serde(default)]
    pub undressed: BTreeSet<FileId>,
    /// Whether owners are set: the program runs as root.
    pub owners: bool,
    /// Points that lose bytes for good when this one is published, because somebody else overwrote them here.
    pub damaged: Vec<u64>,
    /// Bytes received and durable.
    pub received: ByteCount,
    /// Bytes that differ from the base.
    pub changed: ByteCount,
}

/// All that a replica's region remembers of one resource's points, without the manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Points by number.
    pub points: BTreeMap<u64, PointRecord>,
    /// A receiving that is not finished.
    pub receiving: Option<ReceivingRecord>,
    /// The last refusal, where no sync succeeded since.
    pub refusal: Option<Refusal>,
    /// The number that the next point gets.
    pub next_sequence: u64,
    /// The number that the next file's body gets.
    pub next_file: u64,
}

/// What is to be told of one resource's points, however many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The newest point of the chain of copies: what the replica's files show.
    pub newest: Option<PointRecord>,
    /// Its manifest, where files are to be compared with it.
    pub manifest: Option<KeptManifest>,
    /// The newest point of the chain that has all of its bytes.
    pub complete: Option<PointRecord>,
    /// How many points the chain has.
    pub points: u32,
    /// How many were set aside.
    pub set_aside: u32,
    /// A receiving that is not finished.
    pub receiving: Option<ReceivingRecord>,
    /// The last refusal, where no sync succeeded since.
    pub refusal: Option<Refusal>,
}

impl Ledger {
    /// The point that planning counts with: the newest complete one, or the newest where none is. What the region held
    /// itself is none.
    pub fn shown(&self) -> Option<NewestPoint> {
        let copy = self.complete.as_ref().or(self.newest.as_ref()).filter(|record| !record.adopted);
        copy.map(|record| NewestPoint {
            point: record.point.clone(),
            source_stamp: record.source_stamp,
            outline: record.outline.clone(),
        })
    }
}

impl ReplicaRecord {
    /// The newest point of the chain of copies: what the replica's files show.
    pub fn newest(&self) -> Option<&PointRecord> {
        self.chain().next_back()
    }

    /// The newest point of the chain of copies that has all of its bytes.
    pub fn newest_complete(&self) -> Option<&PointRecord> {
        self.chain().rev().find(|record| record.point.state == PointState::Complete)
    }

    /// The published points of the chain of copies, oldest first; damaged ones too.
    pub fn chain(&self) -> impl DoubleEndedIterator<Item = &PointRecord> {
        self.points.values().filter(|record| record.standing == Standing::Published && !record.is_set_aside())
    }

    /// What was set aside, oldest first.
    pub fn set_aside(&self) -> impl Iterator<Item = &PointRecord> {
        self.points.values().filter(|record| record.standing == Standing::Published && record.is_set_aside())
    }
}

impl PointRecord {
    /// Whether it is what was found written here, and not a copy.
    pub fn is_set_aside(&self) -> bool {
        self.point.state.is_set_aside()
    }
}

/// One change of a resource's records.
#[derive(Debug, Clone, PartialEq)]
pub enum CatalogChange {
    /// Adds a point or replaces its record.
    Point {
        /// The record.
        record: Box<PointRecord>,
        /// Its manifest; none: the one that is there stays.
        manifest: Option<KeptManifest>,
    },
    /// Removes a point's record and manifest.
    RemovePoint {
        /// Its number.
        sequence: u64,
    },
    /// Replaces the unfinished receiving; none: there is none any more.
    Receiving(Option<ReceivingRecord>),
    /// Replaces the last refusal; none: a sync succeeded.
    Refusal(Option<Refusal>),
    /// Moves a point's `verified_at`.
    Verified {
        /// Its number.
        sequence: u64,
        /// To when. An earlier time than the recorded one changes nothing.
        at: Timestamp,
    },
    /// A copy was made, or found to be as its source.
    Copied,
    /// Replaces how far the reading back of it is.
    Audited(Box<AuditState>),
    /// Moves the counters.
    Counters {
        /// The number that the next point gets.
        next_sequence: u64,
        /// The number that the next file's body gets.
        next_file: u64,
    },
}

/// Records could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// The store failed.
    #[error("{0}")]
    Store(String),
    /// Whoever writes may no longer do so: the region has recorded a higher epoch.
    #[error("the order's epoch {ordered} is older than the recorded {recorded}")]
    Stale {
        /// The order's.
        ordered: crate::model::region::Epoch,
        /// The region's.
        recorded: crate::model::region::Epoch,
    },
    /// A record that should be there is not.
    #[error("{resource} has no record of point {sequence}")]
    NoPoint {
        /// Of what.
        resource: ResourceKey,
        /// The number asked for.
        sequence: u64,
    },
}

/// Where a region remembers the points of its replicas.
pub trait Catalog: Send + Sync + std::fmt::Debug {
    /// All records of `resource` but the manifests; an empty record where none of it is kept.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn load(&self, resource: &ResourceKey) -> Result<ReplicaRecord, CatalogError>;

    /// A point's manifest.
    ///
    /// # Errors
    /// [`CatalogError::NoPoint`]; where the store cannot be read.
    fn manifest(&self, resource: &ResourceKey, sequence: u64) -> Result<KeptManifest, CatalogError>;

    /// Makes all changes, or none: durable when it returns. A crash leaves the records as they were or as they
    /// become.
    ///
    /// # Errors
    /// [`CatalogError::Stale`]; where the store cannot be written.
    fn commit(&self, resource: &ResourceKey, changes: &[CatalogChange]) -> Result<(), CatalogError>;
}
