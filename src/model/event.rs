//! Failovers as history tells them.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::failover::Bid;
use super::id::{OperationId, RegionId, ResourceKey};
use super::policy::Strategy;
use super::region::Epoch;
use super::time::Timestamp;
use super::units;

/// How a failover ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailoverOutcome {
    /// Resources arrived where it led.
    Completed,
    /// It was led back to where it came from.
    Aborted,
    /// It was taken back without any effect.
    Withdrawn,
    /// It was refused before any region was asked.
    Refused,
}

impl FailoverOutcome {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Withdrawn => "withdrawn",
            Self::Refused => "refused",
        }
    }
}

/// One failover, from its first step on. An operation has one event, however many attempts it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailoverEvent {
    /// Its name in tables: `evt-` and the operation.
    pub event_id: String,
    /// The operation, as the regions know it.
    pub operation: OperationId,
    /// When it began.
    pub timestamp: Timestamp,
    /// The region that held the resources.
    pub from_region_id: RegionId,
    /// The region that was to hold them; the same one where it was cut off by hand, and nothing was to move.
    pub to_region_id: RegionId,
    /// How it went about its work.
    pub strategy: Strategy,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// Who asked, and from where.
    pub by: String,
    /// Whether the policy asked, and no person.
    pub automatic: bool,
    /// The epoch of the resources that moved; none where it was refused.
    pub epoch: Option<Epoch>,
    /// The last attempt at it.
    pub attempt: u32,
    /// Whether all that was asked for arrived and runs.
    pub success: bool,
    /// How it ended; none: it is open.
    pub outcome: Option<FailoverOutcome>,
    /// How many resources arrived.
    pub affected_resources: u64,
    /// The resources that arrived.
    pub resources: Vec<ResourceKey>,
    /// Resources that did not, or do not run, and why.
    pub failed: BTreeMap<ResourceKey, String>,
    /// The most that may be lost of one of them.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub loss: Option<Duration>,
    /// From its beginning to its end, or to the last that was seen of it.
    pub duration_seconds: Seconds,
    /// What there is to tell: gates that were overridden, refusals, what is left to do.
    pub notes: Vec<String>,
}

impl FailoverEvent {
    /// One that begins: nothing is known of what it does.
    pub fn new(
        operation: OperationId,
        (from, to): (RegionId, RegionId),
        strategy: Strategy,
        at: Timestamp,
        by: String,
    ) -> Self {
        Self {
            event_id: Self::id_of(operation),
            operation,
            timestamp: at,
            from_region_id: from,
            to_region_id: to,
            strategy,
            reason: None,
            by,
            automatic: false,
            epoch: None,
            attempt: 0,
            success: false,
            outcome: None,
            affected_resources: 0,
            resources: Vec::new(),
            failed: BTreeMap::new(),
            loss: None,
            duration_seconds: Seconds::default(),
            notes: Vec::new(),
        }
    }

    /// When it ended, or was last seen.
    pub fn ended_at(&self) -> Timestamp {
        self.timestamp.plus(self.duration_seconds.0)
    }

    /// That of an operation, as a region that accepted it knows it.
    pub fn of(bid: &Bid, by: String) -> Self {
        let Bid { failover, attempt, direction: _, by_person: _, to, resources: _, registry: _, gone: _, points: _ } =
            bid;
        let ends = (failover.from.clone(), to.clone());
        Self {
            reason: failover.reason.clone(),
            automatic: failover.automatic,
            epoch: Some(failover.epoch),
            attempt: attempt.number,
            ..Self::new(failover.id, ends, failover.strategy, failover.opened_at, by)
        }
    }

    /// The event's name.
    pub fn id_of(operation: OperationId) -> String {
        format!("evt-{operation}")
    }

    /// Whether a region was cut off by hand, and nothing was to move.
    pub fn is_fence(&self) -> bool {
        self.from_region_id == self.to_region_id
    }
}

/// A duration as dashboards read it: seconds, to the millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Milliseconds of a century are far below what the number holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let seconds = self.0.as_millis() as f64 / 1000.0;
        to.serialize_f64(seconds)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0 })
    }
}

/// One step of a failover, as the program that took it wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// The attempt that it belongs to.
    pub attempt: u32,
    /// What was to be done.
    pub step: String,
    /// When it was written down, before its effect.
    pub began_at: Timestamp,
    /// When it ended; none: nobody saw that.
    pub ended_at: Option<Timestamp>,
    /// What became of it.
    pub outcome: Option<String>,
}

/// How the failovers of a history went, all together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailoverTally {
    /// All that was asked for arrived and runs.
    pub succeeded: u64,
    /// They ended, and not all of it did.
    pub failed: u64,
    /// A gate refused them before any region was asked: nothing was attempted.
    pub refused: u64,
    /// They have not ended.
    pub open: u64,
    /// How long those took that led resources where they were to go, in the order in which they began.
    pub durations: Vec<Duration>,
}

impl FailoverTally {
    /// Counts them.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a FailoverEvent>) -> Self {
        let mut tally = Self::default();
        let mut took = Vec::new();
        for event in events {
            let counted = match (event.outcome, event.success) {
                (None, _) => &mut tally.open,
                (Some(FailoverOutcome::Refused), _) => &mut tally.refused,
                (Some(FailoverOutcome::Completed), true) => &mut tally.succeeded,
                (Some(FailoverOutcome::Completed), false)
                | (Some(FailoverOutcome::Aborted | FailoverOutcome::Withdrawn), _) => &mut tally.failed,
            };
            *counted += 1;
            if event.outcome == Some(FailoverOutcome::Completed) {
                took.push((event.timestamp, event.duration_seconds.0));
            }
        }
        took.sort_unstable();
        tally.durations = took.into_iter().map(|(_, duration)| duration).collect();
        tally
    }

    /// Those that some region was asked for.
    pub const fn begun(&self) -> u64 {
        self.succeeded + self.failed + self.open
    }

    /// Those that succeeded among those that ended, from 0 to 1; none where none ended.
    pub fn success_ratio(&self) -> Option<f64> {
        let ended = self.succeeded + self.failed;
        // Counts of a history are far below what the number holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        (ended > 0).then(|| self.succeeded as f64 / ended as f64)
    }

    /// How long the last one took.
    pub fn last_duration(&self) -> Option<Duration> {
        self.durations.last().copied()
    }

    /// How long one took on average.
    pub fn mean_duration(&self) -> Option<Duration> {
        let number = u32::try_from(self.durations.len()).ok().filter(|number| *number > 0)?;
        Some(self.durations.iter().sum::<Duration>() / number)
    }
}
