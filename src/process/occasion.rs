//! The operation that a hook or a runner is called for, as its environment tells it.

use std::time::Duration;

use super::command::Command;
use crate::model::region::Epoch;
use crate::model::{OperationId, RegionId, ResourceKey, Timestamp};

/// The system takes at most 128 KiB as one variable.
const LONGEST: usize = 120 << 10;

/// An operation as its programs are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// `DEBVISOR_OPERATION`.
    pub operation: OperationId,
    /// `DEBVISOR_EPOCH`: the one that the operation has.
    pub epoch: Epoch,
    /// `DEBVISOR_ATTEMPT`: the attempt's number.
    pub attempt: u32,
    /// `DEBVISOR_FROM`.
    pub from: RegionId,
    /// `DEBVISOR_TO`.
    pub to: RegionId,
    /// `DEBVISOR_RESOURCES`: all of the operation's, as addresses with a space between them. Where they are longer
    /// than the system takes, the variable is not set.
    pub resources: Vec<ResourceKey>,
}

impl Command {
    /// With the variables that tell of `occasion`, and `DEBVISOR_DEADLINE`, the time at which it is killed if it starts
    /// `now`.
    #[must_use]
    pub fn on(self, occasion: &Occasion, now: Timestamp) -> Self {
        let Occasion { operation, epoch, attempt, from, to, resources } = occasion;
        let resources = resources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let deadline: Duration = self.deadline();
        let told = self
            .variable("DEBVISOR_OPERATION", operation.to_string())
            .variable("DEBVISOR_EPOCH", epoch.to_string())
            .variable("DEBVISOR_ATTEMPT", attempt.to_string())
            .variable("DEBVISOR_DEADLINE", now.plus(deadline).to_string())
            .variable("DEBVISOR_FROM", from.as_str())
            .variable("DEBVISOR_TO", to.as_str());
        if resources.len() <= LONGEST { told.variable("DEBVISOR_RESOURCES", resources) } else { told }
    }
}
