//! An operation that moves resources from one region to another, and the attempts at it, as every region records them.
//!
//! An operation has one epoch, above every one that any region ever recorded. Whoever carries it out does so in an
//! *attempt*; another process that takes over from it makes a higher one. What regions compare is (epoch, attempt).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Seconds;
use super::id::{AttemptOwner, Life, OperationId, RegionId, ResourceKey, StoreId};
use super::policy::Strategy;
use super::region::{Controller, Epoch, Role};
use super::time::Timestamp;
use super::units;

/// One attempt at an operation: its number, and who makes it. Two attempts of one number are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Grows with every take-over of the operation, from 1.
    pub number: u32,
    /// Who makes it.
    pub owner: AttemptOwner,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}", self.number)
    }
}

/// Where an attempt leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the other region.
    Forward,
    /// Back to where the resources came from; nothing of them was promoted yet.
    Abort,
}

/// What of an operation is the same in all attempts at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failover {
    /// Its name.
    pub id: OperationId,
    /// The epoch that its resources will have.
    pub epoch: Epoch,
    /// The region that holds them.
    pub from: RegionId,
    /// How it goes about its work.
    pub strategy: Strategy,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// Whether the policy asked, and no person.
    #[serde(default)]
    pub automatic: bool,
    /// When it was opened, by the clock of whoever did.
    pub opened_at: Timestamp,
}

/// One attempt as it is put to every registered region, and as each that accepts it records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bid {
    /// The operation.
    pub failover: Failover,
    /// The attempt.
    pub attempt: Attempt,
    /// Where it leads.
    pub direction: Direction,
    /// Whether a person asked for just that. Then no round of `reconcile` leads it the other way.
    #[serde(default)]
    pub by_person: bool,
    /// The region that is to hold the resources, where it leads forward.
    pub to: RegionId,
    /// What it is about.
    pub resources: BTreeSet<ResourceKey>,
    /// The registered regions, as the orderer knows them: a region that knows others refuses.
    pub registry: BTreeSet<RegionId>,
    /// Regions that a person declared gone, in that person's words.
    pub gone: BTreeMap<RegionId, String>,
    /// What is promoted in place of the newest points.
    #[serde(default)]
    pub points: BTreeMap<ResourceKey, PromotedPoint>,
}

/// A point that is promoted in place of the newest, at the one region that keeps it under this number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PromotedPoint {
    /// The region.
    pub region: RegionId,
    /// The point's number there.
    pub sequence: u64,
}

impl Bid {
    /// The region that starts the resources where the attempt succeeds.
    pub const fn starter(&self) -> &RegionId {
        match self.direction {
            Direction::Forward => &self.to,
            Direction::Abort => &self.failover.from,
        }
    }
}

/// A region's part in a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Its role.
    pub role: Role,
    /// Who holds the resource, as far as this region knows.
    pub holder: RegionId,
    /// Since which epoch.
    pub epoch: Epoch,
    /// The attempt of that epoch's operation that succeeded; 0: it was born there.
    pub attempt: u32,
}

impl Part {
    /// What two regions' knowledge is compared by: the higher one is right.
    pub const fn age(&self) -> (Epoch, u32) {
        (self.epoch, self.attempt)
    }
}

/// Why a region counts as stopped without its own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The fence hook said so.
    Hook,
    /// It did when a person had cut the region off by hand, at this epoch.
    Hand(Epoch),
    /// An operator did, and said how they know.
    Word(String),
}

/// What every region that takes part keeps of the steps of an operation, for whoever goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A program is about to run.
    HookIntended {
        /// The attempt that runs it.
        attempt: Attempt,
        /// Which.
        hook: Hook,
        /// How long it may take at most.
        #[serde(with = "units::duration")]
        #[schemars(with = "units::DurationText")]
        limit: Duration,
    },
    /// It ended as it should.
    HookDone {
        /// Which.
        hook: Hook,
    },
    /// A region is proven stopped.
    Fenced {
        /// Which.
        region: RegionId,
        /// How that is known.
        proof: Proof,
    },
    /// What proved a region stopped, at this epoch or a lower one, counts no more: it was let in since, or runs.
    Unproven {
        /// Which.
        region: RegionId,
        /// Up to which epoch.
        epoch: Epoch,
    },
}

/// A program that an operation runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// The so-manieth before the first change.
    Before(u32),
    /// That cuts a region off.
    Fence(RegionId),
    /// The so-manieth after the last promotion.
    After(u32),
}

impl Note {
    /// The region that it says the fence hook has stopped.
    pub const fn cut_off(&self) -> Option<&RegionId> {
        match self {
            Self::HookDone { hook: Hook::Fence(region) }
            | Self::Fenced { region, proof: Proof::Hook | Proof::Hand(_) } => Some(region),
            Self::HookDone { hook: Hook::Before(_) | Hook::After(_) }
            | Self::Fenced { region: _, proof: Proof::Word(_) }
            | Self::HookIntended { .. }
            | Self::Unproven { .. } => None,
        }
    }

    /// The region that it says is stopped.
    pub const fn stopped(&self) -> Option<&RegionId> {
        match self {
            Self::HookDone { hook: Hook::Fence(region) } | Self::Fenced { region, proof: _ } => Some(region),
            Self::HookDone { hook: Hook::Before(_) | Hook::After(_) }
            | Self::HookIntended { .. }
            | Self::Unproven { .. } => None,
        }
    }
}

/// An open operation, as one region records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Open {
    /// The highest attempt that it accepted.
    pub bid: Bid,
    /// What the operation is still open on here.
    pub resources: BTreeSet<ResourceKey>,
    /// What was promoted here under it, and in which attempt.
    pub promoted: BTreeMap<ResourceKey, u32>,
    /// The part in it that a promotion here replaced, should it be taken back.
    #[serde(default)]
    pub replaced: BTreeMap<ResourceKey, Part>,
    /// What it was closed for here, and the region that holds it since.
    pub closed: BTreeMap<ResourceKey, RegionId>,
    /// What others left word of.
    pub notes: Vec<Note>,
    /// The regions that nobody had declared gone here before it did.
    #[serde(default)]
    pub declared_gone: BTreeSet<RegionId>,
}

/// How an operation ended at one region, which never accepts it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// The last attempt that it knows of.
    pub attempt: Attempt,
    /// What arrived, and the region that holds it since; whatever else the operation was about was withdrawn.
    pub closed: BTreeMap<ResourceKey, RegionId>,
}

/// Why a region takes no part in anything before it is readmitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Inert {
    /// Others know it by another store.
    NewStore,
    /// Others saw a later state of its store.
    WentBack,
    /// A person declared it gone.
    DeclaredGone,
    /// It was removed from the registry.
    Removed,
}

/// That a person cut a region off by hand: it starts nothing by itself before it is let in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutOff {
    /// What its fence was told: above every epoch that any region had seen.
    pub epoch: Epoch,
    /// When it was about to be cut off, by the clock of whoever did it.
    pub at: Timestamp,
    /// Who did, and from where.
    pub by: String,
    /// Why, in their words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether the fence said that it is stopped. Without that it may run.
    pub stopped: bool,
}

/// The state in which a region's store was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Met {
    /// The store.
    pub store: StoreId,
    /// Its serial.
    pub serial: u64,
}

/// What a region knows of one resource, as others are told before they start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Its part in it; none: it only knows of an operation.
    pub part: Option<Part>,
    /// The operation that is open on it.
    pub operation: Option<OperationId>,
    /// Whether it runs there, or may: a runner that doesn't know counts.
    pub running: bool,
}

/// What a region knows, as others are told before they start anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standings {
    /// Who says so.
    pub region: RegionId,
    /// The state of its store.
    pub met: Met,
    /// Why it takes no part in anything; none: it does.
    pub inert: Option<Inert>,
    /// The life that its agent is in.
    pub life: Life,
    /// Who may change roles there.
    pub controller: Option<Controller>,
    /// The regions that it knows, itself among them.
    pub registry: BTreeSet<RegionId>,
    /// Those of them that a person declared gone, in that person's words.
    pub gone: BTreeMap<RegionId, String>,
    /// Those of them that a person cut off by hand, and did not let in since.
    #[serde(default)]
    pub cut_off: BTreeMap<RegionId, CutOff>,
    /// In which state it met the others' stores, at their latest, since its agent started.
    pub others: BTreeMap<RegionId, Met>,
    /// The highest epoch that it ever saw.
    pub highest_epoch: Epoch,
    /// By resource.
    pub resources: BTreeMap<ResourceKey, Standing>,
    /// What is open there.
    pub open: BTreeMap<OperationId, Open>,
    /// How long ago it heard of whoever carries out what is open.
    #[serde(default)]
    pub heard: BTreeMap<OperationId, Seconds>,
    /// The highest attempts at what is open elsewhere that it heard of: it refuses every lower one.
    #[serde(default)]
    pub later: BTreeMap<OperationId, u32>,
}

impl Standings {
    /// The highest attempt at an operation that it accepted, or heard of.
    pub fn highest_attempt(&self, id: OperationId) -> Option<u32> {
        let accepted = self.open.get(&id).map(|open| open.bid.attempt.number);
        accepted.max(self.later.get(&id).copied())
    }

    /// Its part in a resource, unless an operation that is still open has a hand in it.
    pub fn settled(&self, key: &ResourceKey) -> Option<&Part> {
        let Standing { part, operation, running: _ } = self.resources.get(key)?;
        let open = operation.and_then(|id| self.open.get(&id));
        part.as_ref().filter(|part| open.is_none_or(|open| part.epoch < open.bid.failover.epoch))
    }
}
