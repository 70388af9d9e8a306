//! What a region is asked about roles, and what it answers. The same values travel, are judged by a
//! [`Book`](super::Book) and drive the deterministic fleet of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::start::Hold;
use crate::model::failover::{Attempt, Bid, Ended, Inert, Note, Part};
use crate::model::region::{Authority, Controller, Epoch, Role};
use crate::model::{Life, OperationId, RegionId, ResourceKey};

/// One thing that a region is asked for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Accept an attempt.
    Accept {
        /// Who asks.
        authority: Authority,
        /// The attempt.
        bid: Box<Bid>,
    },
    /// Take the acceptance of resources back.
    Withdraw {
        /// Who asks.
        authority: Authority,
        /// The operation.
        operation: OperationId,
        /// The attempt at it.
        attempt: Attempt,
        /// Of which.
        resources: BTreeSet<ResourceKey>,
    },
    /// Say whether the attempt is still the highest that was accepted, and whoever asks still the controller.
    Confirm {
        /// Who asks.
        authority: Authority,
        /// The operation.
        operation: OperationId,
        /// The attempt at it.
        attempt: Attempt,
    },
    /// Keep word of a step.
    Note {
        /// Who asks.
        authority: Authority,
        /// The operation.
        operation: OperationId,
        /// The attempt at it.
        attempt: Attempt,
        /// The word.
        note: Note,
    },
    /// Give resources up, and stop their machines.
    Demote {
        /// Who asks.
        authority: Authority,
        /// The operation.
        operation: OperationId,
        /// The attempt at it.
        attempt: Attempt,
        /// Which.
        resources: BTreeSet<ResourceKey>,
    },
    /// Hold resources, and start their machines: promote them or, where the attempt leads back, take them back.
    Hold {
        /// Who asks.
        authority: Authority,
        /// What makes it safe.
        mandate: Mandate,
        /// Which.
        resources: BTreeSet<ResourceKey>,
    },
    /// End the operation for resources that have arrived.
    Close {
        /// Who asks.
        authority: Authority,
        /// The operation.
        operation: OperationId,
        /// The attempt at it.
        attempt: Attempt,
        /// Which.
        resources: BTreeSet<ResourceKey>,
    },
}

impl Order {
    /// Who asks.
    pub const fn authority(&self) -> &Authority {
        match self {
            Self::Accept { authority, bid: _ }
            | Self::Withdraw { authority, operation: _, attempt: _, resources: _ }
            | Self::Confirm { authority, operation: _, attempt: _ }
            | Self::Note { authority, operation: _, attempt: _, note: _ }
            | Self::Demote { authority, operation: _, attempt: _, resources: _ }
            | Self::Hold { authority, mandate: _, resources: _ }
            | Self::Close { authority, operation: _, attempt: _, resources: _ } => authority,
        }
    }

    /// Whether an effect may follow from it, rather than word of one or the end of the operation.
    pub(super) const fn leads_on(&self) -> bool {
        match self {
            Self::Accept { .. } | Self::Confirm { .. } | Self::Demote { .. } | Self::Hold { .. } => true,
            Self::Note { authority: _, operation: _, attempt: _, note } => match note {
                Note::HookIntended { .. } => true,
                Note::HookDone { .. } | Note::Fenced { .. } | Note::Unproven { .. } => false,
            },
            Self::Withdraw { .. } | Self::Close { .. } => false,
        }
    }

    /// The operation that it belongs to, and the attempt at it.
    pub fn attempt(&self) -> (OperationId, Attempt) {
        match self {
            Self::Accept { authority: _, bid } => (bid.failover.id, bid.attempt),
            Self::Withdraw { authority: _, operation, attempt, resources: _ }
            | Self::Confirm { authority: _, operation, attempt }
            | Self::Note { authority: _, operation, attempt, note: _ }
            | Self::Demote { authority: _, operation, attempt, resources: _ }
            | Self::Close { authority: _, operation, attempt, resources: _ } => (*operation, *attempt),
            Self::Hold { authority: _, mandate, resources: _ } => (mandate.operation, mandate.attempt),
        }
    }
}

/// What makes an order to hold resources safe, as its orderer vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    /// The operation.
    pub operation: OperationId,
    /// The attempt at it.
    pub attempt: Attempt,
    /// The region's life as the orderer knew it before the first region was asked to accept the attempt: all that the
    /// others answered is younger than it.
    pub life: Life,
    /// The regions that accepted this very attempt.
    pub accepted: BTreeSet<RegionId>,
}

/// What a region answers to an order that it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Order::Accept`].
    Accepted(Acceptance),
    /// To the others: what the order was carried out for. Of what is given up, what was seen stopped since.
    Done(BTreeSet<ResourceKey>),
}

/// A region's answer to a bid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acceptance {
    /// By resource of the bid.
    pub resources: BTreeMap<ResourceKey, Taken>,
    /// What it kept of earlier attempts.
    pub notes: Vec<Note>,
    /// Whether it keeps that a person cut off the region that the attempt would have start the resources, and did not let
    /// it in since: nothing is started there.
    #[serde(default)]
    pub cut_off: bool,
    /// Machines that nothing there starts, stops or asks after: that they don't run is not known, and that one was given
    /// up says nothing of whether it stopped.
    #[serde(default)]
    pub unwatched: BTreeSet<ResourceKey>,
}

/// What a region did with one resource of a bid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// The operation is open on it here.
    Accepted {
        /// This region's role in it; none: it does not know it.
        role: Option<Role>,
        /// The attempt in which it was promoted here.
        promoted: Option<u32>,
        /// Whether it runs here, or may.
        running: bool,
    },
    /// Another operation is open on it.
    OpenElsewhere(OperationId),
    /// It runs here, or may.
    Running,
    /// It is to come here, and there is no copy of it here.
    NoCopy,
    /// Another region holds it than the one it is to come from.
    Held(Part),
    /// It was promoted here, so that the operation leads only forward.
    Promoted(u32),
    /// It has arrived already: the operation was closed for it here, and that region holds it since.
    Closed(RegionId),
}

/// Why a region takes an order as a whole not at all. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Somebody else controls it, or nobody does.
    #[error("the order does not come from the controller")]
    NotController(Option<Controller>),
    /// It takes no part in anything before it is readmitted.
    #[error("{0}")]
    Inert(Inert),
    /// It never accepts this operation, whatever the attempt.
    #[error("{0}")]
    Over(Box<Over>),
    /// It knows other regions than the orderer.
    #[error("the orderer does not know the same regions: `apply` has all of them record each other")]
    Registry(BTreeSet<RegionId>),
    /// It accepted another attempt.
    #[error("{} was accepted", .0.attempt)]
    Attempt(Box<Bid>),
    /// The operation is not open here.
    #[error("the operation is not open here")]
    NotOpen,
    /// A step of a lower attempt still runs here.
    #[error("a step of an earlier attempt is still under way")]
    Busy,
    /// The order is for another region, or for another direction.
    #[error("the order does not fit the attempt")]
    Misfit,
    /// It may not start the resource.
    #[error("{0} may not start: {1}")]
    Hold(ResourceKey, Hold),
    /// The operation had an effect here: it leads on.
    #[error("the operation has changed {0} here")]
    Effect(ResourceKey),
    /// An operation is open.
    #[error("operation {0} is open")]
    Open(OperationId),
    /// A region that is to leave holds a resource.
    #[error("{0} is held by {1}")]
    Holder(ResourceKey, RegionId),
    /// A region that is to leave has not accepted that yet.
    #[error("{0} has not accepted that it leaves")]
    Stays(RegionId),
    /// Machines run here, or may.
    #[error("machines run here")]
    Running(BTreeSet<ResourceKey>),
}

/// What a region that never accepts an operation knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Over {
    /// How it ended here; none: it was never open here.
    pub ended: Option<Ended>,
    /// The highest epoch that this region saw.
    pub highest_epoch: Epoch,
    /// Of what the operation is about, what runs here, or may.
    pub running: BTreeSet<ResourceKey>,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ended {
            Some(_) => f.write_str("the operation has ended"),
            None => write!(f, "epoch {} was seen already", self.highest_epoch),
        }
    }
}

impl fmt::Display for Inert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewStore => "the region has a new store",
            Self::WentBack => "the region's store went back to an earlier state",
            Self::DeclaredGone => "the region was declared gone",
            Self::Removed => "the region was removed",
        })
    }
}
