//! Recovery points: one complete copy of all of a resource's files, what is known of it, and how far a source or a
//! replica is from it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::AuditState;
use super::digest::Digest;
use super::id::RegionId;
use super::region::Epoch;
use super::time::Timestamp;
use super::units::{ByteCount, Percent};

/// Which of a resource's points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PointSelector {
    /// The newest complete one.
    Newest,
    /// By its sequence.
    Sequence(u64),
    /// By its name (set-aside points have one).
    Name(String),
}

/// What a point's copy is worth to a running machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PointKind {
    /// The machine was stopped.
    Cold,
    /// All disks were paused, snapshotted or cloned within one freeze: crash-consistent across disks.
    Frozen,
    /// No file of the set changed from before the first read to after the last. Writers through `mmap` don't show.
    Quiet,
}

impl PointKind {
    /// The name in files and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Frozen => "frozen",
            Self::Quiet => "quiet",
        }
    }
}

/// Whether all bytes of a point can still be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PointState {
    /// Yes.
    Complete,
    /// No: bytes that it needs were overwritten at the replica by somebody else, or are a machine's to write since it
    /// was promoted there.
    Damaged,
    /// Not of the chain of copies: what was found written at the replica, or what a holder had before a restore; set
    /// aside until somebody discards it.
    SetAside,
    /// The same, and bytes that it shared with the point that it was found beside are a machine's to write since.
    SetAsideDamaged,
}

impl PointState {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Damaged => "damaged",
            Self::SetAside => "set_aside",
            Self::SetAsideDamaged => "set_aside_damaged",
        }
    }

    /// Whether it stands outside the chain of copies.
    pub const fn is_set_aside(self) -> bool {
        match self {
            Self::SetAside | Self::SetAsideDamaged => true,
            Self::Complete | Self::Damaged => false,
        }
    }

    /// Whether bytes of it are lost, or may be at any time.
    pub const fn is_damaged(self) -> bool {
        match self {
            Self::Damaged | Self::SetAsideDamaged => true,
            Self::Complete | Self::SetAside => false,
        }
    }
}

/// One point, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Its number at this replica; grows, is never reused. 0 for a holder's own files that were set aside.
    pub sequence: u64,
    /// Its name where it has one (set-aside points do).
    pub name: Option<String>,
    /// The root hash over all files: paths, kinds, modes, sizes and bytes. Of a holder's own files that were set
    /// aside, whose bytes nobody read, a digest of their metadata.
    pub data_hash: Digest,
    /// A moment of the source's clock that it is not older than: all that was written until then is in it. Before the
    /// first live file was read, within the freeze, or before the snapshot was asked for.
    pub read_at: Timestamp,
    /// The last time that the source was seen unchanged since.
    pub verified_at: Timestamp,
    /// The region it was read from.
    pub source: RegionId,
    /// The epoch of the holder that it was read from.
    pub epoch: Epoch,
    /// What the copy is worth.
    pub kind: PointKind,
    /// Whether it is whole.
    pub state: PointState,
    /// All files together, holes included.
    pub bytes: ByteCount,
    /// How many files.
    pub files: u64,
}

/// A cheap picture of a resource's files, enough to see that something was lost without reading a byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outline {
    /// How many regular files.
    pub files: u64,
    /// Their sizes together, holes included.
    pub bytes: ByteCount,
    /// Of a VM: the files that define it.
    pub definitions: BTreeSet<String>,
    /// Of a VM: its disk images and their sizes.
    pub disks: BTreeMap<String, ByteCount>,
}

/// A file or name that cannot be replicated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRefusal {
    /// The file, below the resource's directory.
    pub path: String,
    /// Why not.
    pub reason: String,
}

/// A resource's own files as a region sees them now, by their metadata alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Content {
    /// What there is.
    pub outline: Outline,
    /// A digest over every file's path, kind, inode, size, mode, mtime and ctime.
    pub stamp: Digest,
    /// What stands in the way of copying them.
    pub refused: Option<FileRefusal>,
}

/// Why a sync was stopped before it changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockReason {
    /// The source lost its definition, a disk or half of its bytes, or changed more than it may at once.
    Suspicious,
    /// The source was written all the while and offers no way to freeze it.
    SourceBusy,
    /// The replica's disk lacks room.
    NoSpace,
    /// The source holds something that cannot be copied: a link that leads out, a device, a name not UTF-8, another
    /// resource's files.
    Unsupported,
    /// Nothing that both sides have to start from.
    NoCommonBase,
    /// Both sides were written apart from each other.
    Diverged,
    /// A disk became smaller.
    Shrunk,
    /// The object is no longer declared; removing its protection takes `--prune`.
    NotDeclared,
    /// It feeds from something that is itself blocked.
    Dependency,
    /// Only the controller's state file may do it.
    NotController,
    /// Which regions there are does not change while an operation is open.
    OpenOperation,
}

impl BlockReason {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspicious => "suspicious",
            Self::SourceBusy => "source_busy",
            Self::NoSpace => "no_space",
            Self::Unsupported => "unsupported",
            Self::NoCommonBase => "no_common_base",
            Self::Diverged => "diverged",
            Self::Shrunk => "shrunk",
            Self::NotDeclared => "not_declared",
            Self::Dependency => "dependency",
            Self::NotController => "not_controller",
            Self::OpenOperation => "open_operation",
        }
    }

    /// The same for people.
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }
}

/// The last refusal of a sync at a replica; kept until a sync succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Why.
    pub reason: BlockReason,
    /// In words, with the figure.
    pub detail: String,
    /// The source's stamp that was refused; the same one is refused again.
    pub source_stamp: Option<Digest>,
    /// For `no_space`: what was needed.
    pub needed: Option<ByteCount>,
    /// What of the last point the source has lost; none: nothing, or that is not the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Loss>,
    /// The share that may change at once, where more than that did; one that was raised since is asked anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_change: Option<Percent>,
    /// When.
    pub at: Timestamp,
}

/// How much of its last point a source has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// All of its files: there is nothing to copy, whatever anybody accepts.
    Everything,
    /// A definition, a disk, or much of its bytes.
    Part,
}

/// A replica's newest complete point as planning sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewestPoint {
    /// The point.
    #[serde(flatten)]
    pub point: Point,
    /// The source's stamp when the copy was read; none where a file had changed too recently to be trusted.
    pub source_stamp: Option<Digest>,
    /// What it holds.
    pub outline: Outline,
}

/// What a region holds of a resource as a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replica {
    /// The newest complete point.
    pub newest: Option<NewestPoint>,
    /// How the replica's files differ from that point, by their metadata; none: they don't.
    pub damage: Option<String>,
    /// How many points can be given back.
    pub points: u32,
    /// How many copies were set aside.
    pub set_aside: u32,
    /// Bytes of an unfinished sync that the next one goes on from.
    pub received: ByteCount,
    /// The last refusal, where no sync succeeded since.
    pub refusal: Option<Refusal>,
    /// How far the reading back of what it holds is; none: it did not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditState>,
}
