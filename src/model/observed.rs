//! What regions answered when they were asked. A region that did not answer is data, not an error.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{RegionId, ResourceKey};
use super::region::{RegionSnapshot, ResourceRecord};

/// A region's health, as displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegionStatus {
    /// Answers in time.
    Healthy,
    /// Answers slowly.
    Degraded,
    /// Does not answer.
    Unreachable,
    /// Answers again, but is not yet in sync.
    Recovering,
    /// Never probed, or its answer says nothing: a TLS or DNS error.
    Unknown,
}

impl RegionStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Degraded, Self::Unreachable, Self::Recovering, Self::Unknown];

    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unreachable => "unreachable",
            Self::Recovering => "recovering",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for RegionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why nothing can be said of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unobserved {
    /// The status to display: unreachable, or unknown where it may well be alive.
    pub status: RegionStatus,
    /// In words, for the operator.
    pub reason: String,
    /// What to do next.
    pub help: Option<String>,
}

/// One region's answer, or the lack of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It answered.
    Answered {
        /// What it said.
        snapshot: Box<RegionSnapshot>,
        /// How long it took.
        latency: Duration,
    },
    /// It did not.
    Silent(Unobserved),
}

/// What all regions answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// By region.
    pub regions: BTreeMap<RegionId, Observation>,
}

impl Observed {
    /// The region's answer, where it gave one.
    pub fn snapshot(&self, region: &RegionId) -> Option<&RegionSnapshot> {
        match self.regions.get(region)? {
            Observation::Answered { snapshot, .. } => Some(snapshot),
            Observation::Silent(_) => None,
        }
    }

    /// The regions that answered, and what they said.
    pub fn answering(&self) -> impl Iterator<Item = (&RegionId, &RegionSnapshot)> + Clone {
        self.regions.keys().filter_map(|region| Some((region, self.snapshot(region)?)))
    }

    /// The regions that a person declared gone, in that person's words, as any region keeps that answers.
    pub fn gone(&self) -> BTreeMap<&RegionId, &str> {
        let kept = self.answering().flat_map(|(_, snapshot)| &snapshot.gone);
        kept.map(|(region, words)| (region, words.as_str())).collect()
    }

    /// The latest word on each resource that any region has recorded; of equally late ones, the first by region.
    pub fn latest(&self) -> BTreeMap<&ResourceKey, &ResourceRecord> {
        let mut latest: BTreeMap<&ResourceKey, &ResourceRecord> = BTreeMap::new();
        for (key, record) in self.answering().flat_map(|(_, snapshot)| &snapshot.resources) {
            let known = latest.entry(key).or_insert(record);
            if record.age() > known.age() {
                *known = record;
            }
        }
        latest
    }
}
