//! Policies that hold for a whole topology: what is retained, how health is judged, how failover may happen.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::RegionId;
use super::units::{self, BitRate};

/// How many recovery points each replica keeps. A point stays when any of the three rules wants it; the newest
/// complete one always stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retention {
    /// The newest so many points.
    pub last: u32,
    /// The newest point of each of the last so many hours that have one.
    pub hourly: u32,
    /// The newest point of each of the last so many days that have one.
    pub daily: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { last: 3, hourly: 24, daily: 7 }
    }
}

/// When a region counts as degraded, and when as a candidate for down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthPolicy {
    /// How long one probe waits for its answer.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
    /// An answer slower than this shows the region as degraded.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub degraded_latency: Duration,
    /// An answer slower than this is displayed as unreachable; it is never counted as down.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub unreachable_latency: Duration,
    /// The time between two probes.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub probe_interval: Duration,
    /// So many probes in a row must have met silence.
    pub failures: u32,
    /// And the silence must have lasted at least this long.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub detect_for: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            degraded_latency: Duration::from_millis(100),
            unreachable_latency: Duration::from_millis(500),
            probe_interval: Duration::from_secs(5),
            failures: 3,
            detect_for: Duration::from_secs(15),
        }
    }
}

/// How a failover goes about its work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// `reconcile` fails over by itself when its evidence suffices.
    Automatic,
    /// A person asks.
    #[default]
    Manual,
    /// A person asks, both sides answer, nothing is lost.
    Graceful,
    /// Automatic, and on to the next candidate when one refuses.
    Cascading,
}

impl Strategy {
    /// The name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
            Self::Graceful => "graceful",
            Self::Cascading => "cascading",
        }
    }
}

/// Who returns a workload to its region of birth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Failback {
    /// A person, with `failover back`.
    #[default]
    Manual,
    /// `reconcile`, when the home region is healthy and in sync.
    Automatic,
}

/// Programs run around a failover, each one command as argv; empty means none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hooks {
    /// Cuts the old side off and prints `fenced REGION EPOCH`.
    pub fence: Vec<String>,
    /// Run before the first change.
    pub before: Vec<String>,
    /// Run after the last promotion.
    pub after: Vec<String>,
    /// How long each may take.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { fence: Vec::new(), before: Vec::new(), after: Vec::new(), timeout: Duration::from_secs(60) }
    }
}

/// When and where a workload may be promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailoverPolicy {
    /// How.
    pub strategy: Strategy,
    /// Where to, in this order; empty: every replica's region, freshest first.
    pub candidates: Vec<RegionId>,
    /// Observers that must agree on a loss; none: the majority rule alone.
    pub quorum: Option<u32>,
    /// The pause between two automatic failovers.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub cooldown: Duration,
    /// The way home.
    pub failback: Failback,
    /// What runs around it.
    pub hooks: Hooks,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            candidates: Vec::new(),
            quorum: None,
            cooldown: Duration::from_secs(3600),
            failback: Failback::default(),
            hooks: Hooks::default(),
        }
    }
}

/// How much of what replicas hold each round of `reconcile` reads back, and compares with what was copied.
///
/// Everything is read once within `period`, a part in each round, in proportion to the time that has passed; never
/// faster than `read_limit`, and for no longer than `round_limit`, at each region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPolicy {
    /// Whether anything is read back at all.
    pub enabled: bool,
    /// The time within which all that a replica holds is read once.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub period: Duration,
    /// The most that is read in a second, at each region.
    pub read_limit: BitRate,
    /// The longest that one round reads, at each region.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub round_limit: Duration,
}

impl AuditPolicy {
    /// The most bytes that one round reads at a region.
    pub fn round_bytes(&self) -> u64 {
        let bytes = u128::from(self.read_limit.bytes_per_second()) * self.round_limit.as_millis() / 1000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Whether it is what holds where nothing is declared.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for AuditPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            period: Duration::from_secs(30 * 86_400),
            read_limit: BitRate(400_000_000),
            round_limit: Duration::from_secs(10),
        }
    }
}

/// All that holds for a topology as a whole; every region keeps a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// Recovery points kept.
    pub retention: Retention,
    /// Health thresholds.
    pub health: HealthPolicy,
    /// Failover rules.
    pub failover: FailoverPolicy,
    /// What is read back of replicas. Left out where it is as by default, as it was before there was such a key.
    #[serde(default, skip_serializing_if = "AuditPolicy::is_default")]
    pub audit: AuditPolicy,
}
