//! Failovers over the guide's endpoints: what is asked for, what came of it, and why one was not begun.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failover::Proposal;
use crate::model::event::{FailoverEvent, FailoverOutcome, Seconds};
use crate::model::policy::Strategy;
use crate::model::region::Controller;
use crate::model::{RegionId, ResourceId, ResourceKey, Timestamp, units};

/// `POST /failover/execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteFailover {
    /// The region that holds the resources.
    pub from_region_id: RegionId,
    /// The region that is to hold them.
    pub to_region_id: RegionId,
    /// How; by default `automatic`: gracefully where the source answers, else `manual`.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Why, for the history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only these; none: all that the region holds.
    #[serde(default)]
    pub resources: BTreeSet<ResourceId>,
    /// How you know that the source is stopped: lets the gate `fence` pass.
    #[serde(default)]
    pub fenced: Option<String>,
    /// Regions that never come back as they were, and how you know: lets the gate `agreement` pass.
    #[serde(default)]
    pub gone: BTreeMap<RegionId, String>,
    /// Lose up to this much of what was written last: lets the gate `loss` pass.
    #[serde(default, with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub accept_data_loss: Option<Duration>,
    /// Let the fence stop machines that are not moved: lets the gate `collateral` pass.
    #[serde(default)]
    pub accept_collateral: bool,
    /// Let the target hold more than it is declared for: lets the gate `capacity` pass.
    #[serde(default)]
    pub ignore_capacity: bool,
    /// Let the pause after the last automatic failover count for nothing: lets the gate `cooldown` pass.
    #[serde(default)]
    pub ignore_cooldown: bool,
    /// Have this region take the controller's place first. Whoever had it changes roles no more. Where nobody has it, it
    /// is taken unasked.
    #[serde(default)]
    pub take_over: bool,
    /// Say what would be done, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether the answer waits for the end; otherwise it is the operation, to be asked after.
    #[serde(default = "yes")]
    pub wait: bool,
}

const fn yes() -> bool {
    true
}

/// What came of a failover, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedOver {
    /// Its name in the history; none: there was nothing to do, or nothing was to be done.
    pub event_id: Option<String>,
    /// When it began.
    pub timestamp: Timestamp,
    /// The region that held the resources.
    pub from_region_id: RegionId,
    /// The region that was to hold them.
    pub to_region_id: RegionId,
    /// How it went about its work.
    pub strategy: Strategy,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// Whether all that was asked for arrived and runs. Of a dry run: whether all of it would be tried.
    pub success: bool,
    /// How it ended; none: it is open, or there was nothing to do.
    pub outcome: Option<FailoverOutcome>,
    /// From its beginning to its end, or to the last that was seen of it.
    pub duration_seconds: Seconds,
    /// How many resources arrived.
    pub affected_resources: u64,
    /// The resources that arrived.
    pub resources: Vec<ResourceKey>,
    /// Resources that did not, or do not run, and why.
    pub failed: BTreeMap<ResourceKey, String>,
    /// What there is to tell: gates that were overridden, what is left to do.
    pub notes: Vec<String>,
    /// Regions that learned nothing of the end, and why.
    pub unheard: BTreeMap<RegionId, String>,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// What was decided, and what it rests on; none: it was begun before.
    pub proposal: Option<Proposal>,
}

impl FailedOver {
    /// As history has it.
    pub fn told(event: FailoverEvent, unheard: BTreeMap<RegionId, String>, proposal: Option<Proposal>) -> Self {
        let FailoverEvent {
            event_id,
            operation: _,
            timestamp,
            from_region_id,
            to_region_id,
            strategy,
            reason,
            by: _,
            automatic: _,
            epoch: _,
            attempt: _,
            success,
            outcome,
            affected_resources,
            resources,
            failed,
            loss: _,
            duration_seconds,
            notes,
        } = event;
        Self {
            event_id: Some(event_id),
            timestamp,
            from_region_id,
            to_region_id,
            strategy,
            reason,
            success,
            outcome,
            duration_seconds,
            affected_resources,
            resources,
            failed,
            notes,
            unheard,
            dry_run: false,
            proposal,
        }
    }

    /// Of which nothing is in the history: there was nothing to do, or nothing was to be done.
    pub fn without_event(proposal: Proposal, reason: Option<String>, dry_run: bool) -> Self {
        let Proposal { at, from, to, strategy, .. } = &proposal;
        Self {
            event_id: None,
            timestamp: *at,
            from_region_id: from.clone(),
            to_region_id: to.clone(),
            strategy: *strategy,
            reason,
            success: proposal.held_back.is_empty(),
            outcome: None,
            duration_seconds: Seconds::default(),
            affected_resources: 0,
            resources: Vec::new(),
            failed: proposal.held(),
            notes: Vec::new(),
            unheard: BTreeMap::new(),
            dry_run,
            proposal: Some(proposal),
        }
    }
}

/// Why a failover was not begun, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailoverFault {
    /// This region is not the controller, or nobody is.
    NotController,
    /// Gates do not hold.
    Gates,
    /// It was taken back before it changed anything.
    Withdrawn,
    /// What was asked for makes no sense.
    Unfit,
}

impl FailoverFault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NotController, Self::Gates, Self::Withdrawn, Self::Unfit];

    /// The status that it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotController | Self::Gates | Self::Withdrawn => 409,
            Self::Unfit => 422,
        }
    }

    /// The name as it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotController => "not_controller",
            Self::Gates => "gates",
            Self::Withdrawn => "withdrawn",
            Self::Unfit => "unfit",
        }
    }
}

/// How a gate is passed though it does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldOverride {
    /// The field of the request.
    pub field: String,
    /// The option of the command line that it stands for, with a value that would do.
    pub option: String,
    /// What it may cost.
    pub price: String,
}

/// A gate that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedGate {
    /// Its name.
    pub gate: String,
    /// What was found, against what is asked for.
    pub figure: String,
    /// The object that it holds back; none: all of them.
    pub address: Option<String>,
    /// How old the evidence is; none: of this moment, or without age.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub evidence_age: Option<Duration>,
    /// How it is passed all the same; none: it is not.
    #[serde(rename = "override")]
    pub way_past: Option<FieldOverride>,
    /// The safer way.
    pub safer: Option<String>,
}

/// A failover that was not begun, in an error's `data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailoverRefused {
    /// Why, for programs.
    pub code: FailoverFault,
    /// In words; the same as the envelope's message.
    pub detail: String,
    /// The gates that do not hold.
    pub gates: Vec<FailedGate>,
    /// The controller, as this region knows it.
    pub controller: Option<Controller>,
    /// What was judged; none: it was refused before.
    pub proposal: Option<Proposal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_travel() {
        for code in FailoverFault::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(matches!(code.status(), 409 | 422));
        }
    }

    #[test]
    fn the_guides_request_is_whole() {
        let guide = r#"{"from_region_id": "us-east-1", "to_region_id": "us-west-1", "strategy": "automatic",
                        "reason": "Primary region failure"}"#;
        let read: ExecuteFailover = serde_json::from_str(guide).unwrap();
        assert_eq!((read.strategy, read.wait, read.take_over), (Some(Strategy::Automatic), true, false));
        assert_eq!(serde_json::from_str::<ExecuteFailover>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
    }
}
