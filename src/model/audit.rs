//! How far the reading back of replicas is, and what it found.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{RegionId, ResourceKey};
use super::time::Timestamp;
use super::units::{self, ByteCount};

/// A place in what a replica holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPlace {
    /// The older point whose own bytes are read; none: the files, which show the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<u64>,
    /// The file, below the resource's directory.
    pub path: String,
    /// The part of the file, in units of 4 MiB.
    pub group: u64,
}

/// Bytes that are not what was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditFinding {
    /// When they were read.
    pub at: Timestamp,
    /// The newest point that needs them.
    pub point: u64,
    /// The file, below the resource's directory.
    pub path: String,
    /// What is wrong with it, in words.
    pub detail: String,
}

/// How far the reading back of one replica is. Kept by its region; read in passes over all that the replica holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditState {
    /// When the pass that is under way began.
    pub began: Timestamp,
    /// Where it goes on; none: at the beginning.
    pub next: Option<AuditPlace>,
    /// Passes that came to their end.
    pub passes: u64,
    /// Bytes read, in all of them.
    pub read: ByteCount,
    /// Bytes of older points that the last pass read: what the next one counts with.
    pub older: ByteCount,
    /// How often something was found.
    pub found: u64,
    /// What was found last.
    pub last: Option<AuditFinding>,
}

impl AuditState {
    /// One that begins.
    pub const fn new(began: Timestamp) -> Self {
        Self { began, next: None, passes: 0, read: ByteCount(0), older: ByteCount(0), found: 0, last: None }
    }
}

/// What a region read back in one round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audited {
    /// The region.
    pub region: RegionId,
    /// Bytes read.
    pub read: ByteCount,
    /// How long that took.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub took: Duration,
    /// What is not what was copied, in the order in which it was found.
    pub found: Vec<(ResourceKey, AuditFinding)>,
}

impl Audited {
    /// Nothing was due.
    pub const fn nothing(region: RegionId) -> Self {
        Self { region, read: ByteCount(0), took: Duration::ZERO, found: Vec::new() }
    }
}
