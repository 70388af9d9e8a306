//! What is under way at a region, and how fast its links are, as others are told.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{OperationId, RegionId, ResourceKey};
use super::units::{self, BitRate, ByteCount};

/// An operation that is under way at a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Work {
    /// Its name.
    pub id: OperationId,
    /// Of what kind, such as `sync` or `verify`.
    pub kind: String,
    /// What it is about.
    pub resource: Option<ResourceKey>,
    /// Of a sync: where from.
    pub source: Option<RegionId>,
    /// How long it has been running.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub age: Duration,
    /// Bytes done, where that is known.
    pub bytes_done: Option<ByteCount>,
    /// Bytes in all, where that is known.
    pub bytes_total: Option<ByteCount>,
}

/// What a copy lacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Room, on the disk or in the quota of whoever writes.
    Space,
    /// The permission to do it there: by a file's rights, or on a file system that is read-only.
    Permission,
    /// Something else, or nobody knows.
    #[default]
    Other,
}

/// A copy that was tried and did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedCopy {
    /// Why.
    pub reason: String,
    /// What lacked, where the system said.
    #[serde(default)]
    pub lack: Lack,
    /// How long ago it ended.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub age: Duration,
}

/// One transfer of blocks, as a measurement of the link that it came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// What travelled.
    pub bytes: ByteCount,
    /// From the first block to the last.
    pub micros: u64,
}

/// So many transfers are remembered of each link.
const REMEMBERED: usize = 16;
/// Less than this says more of the way to and fro than of the link's width.
const SMALLEST: ByteCount = ByteCount::mib(1);

/// The last transfers over one link, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Link(Vec<Transfer>);

impl Link {
    /// Adds a transfer, where it is large enough to say something; gives whether it was.
    pub fn add(&mut self, bytes: ByteCount, took: Duration) -> bool {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if bytes < SMALLEST || micros == 0 {
            return false;
        }
        if self.0.len() >= REMEMBERED {
            self.0.drain(..=self.0.len() - REMEMBERED);
        }
        self.0.push(Transfer { bytes, micros });
        true
    }

    /// Bytes over time of all of them; none: nothing was measured.
    pub fn rate(&self) -> Option<BitRate> {
        let bits: u128 = self.0.iter().map(|transfer| u128::from(transfer.bytes.0) * 8).sum();
        let micros: u128 = self.0.iter().map(|transfer| u128::from(transfer.micros)).sum();
        let rate = (bits * 1_000_000).checked_div(micros)?;
        Some(BitRate(u64::try_from(rate).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_as_fast_as_its_last_transfers() {
        let mut link = Link::default();
        assert_eq!(link.rate(), None);
        assert!(!link.add(ByteCount::kib(900), Duration::from_millis(1)), "too small to say something");
        assert!(!link.add(ByteCount::mib(900), Duration::ZERO));
        assert!(link.add(ByteCount(2_000_000), Duration::from_secs(1)));
        assert_eq!(link.rate(), Some(BitRate(16_000_000)));
        assert!(link.add(ByteCount(4_000_000), Duration::from_secs(2)));
        assert_eq!(link.rate(), Some(BitRate(16_000_000)));
        for _ in 0..REMEMBERED {
            link.add(ByteCount(10_000_000), Duration::from_secs(1));
        }
        assert_eq!(link.rate(), Some(BitRate(80_000_000)), "what is long ago does not count");
        assert_eq!(link.0.len(), REMEMBERED);
    }
}
