//! A failover as it would go: which resources move, from which point, at which price, in which order, behind which
//! gates; what becomes of the old side and who feeds whom afterwards.
//!
//! It is what a dry run shows and what execution goes by. The same request and facts give the same proposal; it is made
//! anew, on what the regions answered, once they have accepted the operation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::verdict::Verdict;
use crate::model::failover::Hook;
use crate::model::point::{PointKind, PointSelector};
use crate::model::policy::Strategy;
use crate::model::region::Epoch;
use crate::model::{Digest, PairId, RegionId, ResourceKey, Timestamp, units};

/// Whether it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is nothing to move.
    Nothing,
    /// All of it.
    Goes,
    /// What no gate holds back.
    Partly,
    /// None of it.
    Refused,
}

impl Outcome {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Goes => "goes",
            Self::Partly => "partly",
            Self::Refused => "refused",
        }
    }
}

/// How the source is proven stopped before anything starts elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "by", content = "words")]
pub enum OldSide {
    /// It gives up its role, and its runner says that the machines are stopped.
    Demotion,
    /// It gives up its role; neither side has a runner, so whether its machines run is beyond this program.
    Unwatched,
    /// The fence hook cuts it off.
    Fence,
    /// It was cut off by hand, and not let in since.
    CutOff,
    /// A person knows that it is stopped: how.
    Word(String),
    /// A person declared it gone: how they know.
    Gone(String),
    /// It is not.
    Unproven,
}

/// The region that holds the resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Whether it answers.
    pub answers: bool,
    /// How long ago anybody last saw it; none: nobody knows.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub last_seen: Option<Duration>,
    /// Who did; none: this program.
    pub seen_by: Option<RegionId>,
    /// How it is proven stopped.
    pub stopped: OldSide,
    /// Machines that the fence stops and that are not moved.
    pub collateral: BTreeSet<ResourceKey>,
}

/// A point that is promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChosenPoint {
    /// The region that keeps it now; where that is not the target, it is pulled first.
    pub region: RegionId,
    /// Its number there.
    pub sequence: u64,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its root hash.
    pub data_hash: Digest,
    /// A moment of the source that it is not older than.
    pub read_at: Timestamp,
    /// The last time that the source was seen unchanged since.
    pub verified_at: Timestamp,
    /// What it is worth.
    pub kind: PointKind,
    /// How old it is, by `verified_at`.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub age: Duration,
    /// How execution names it to the region that keeps it.
    pub selector: PointSelector,
}

/// What a promotion loses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpectedLoss {
    /// At the most so much of what was written last.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub at_most: Duration,
    /// So much may be.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub allowed: Duration,
    /// Whether nobody knows when the source was last seen, so that it is counted up to now.
    pub counted_to_now: bool,
}

/// One resource that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// The resource.
    pub resource: ResourceKey,
    /// The epoch that it is held at now.
    pub epoch: Epoch,
    /// The point; none: there is none yet. Where the source answers and nothing is to be lost, the copy that the last
    /// sync starts from.
    pub point: Option<ChosenPoint>,
    /// What is lost; none: that cannot be said without a point.
    pub loss: Option<ExpectedLoss>,
    /// When it goes: all of a lower level go before it.
    pub level: u32,
    /// Those that move too and go before it.
    pub after: BTreeSet<ResourceKey>,
    /// Whether a machine is started for it.
    pub starts: bool,
}

/// A resource that stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldBack {
    /// The resource.
    pub resource: ResourceKey,
    /// Why, in words.
    pub why: String,
}

/// A program that is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedHook {
    /// When.
    pub hook: Hook,
    /// What.
    pub command: Vec<String>,
    /// How long it may take.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
}

/// A region that the new holder feeds afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Feed {
    /// The region.
    pub target: RegionId,
    /// The pair whose settings hold, `SOURCE.TARGET` as declared.
    #[serde(with = "pair_text")]
    #[schemars(with = "String")]
    pub pair: PairId,
    /// How often.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub interval: Duration,
    /// With what.
    pub resources: BTreeSet<ResourceKey>,
    /// Whether that begins at once: the region answers, and is not cut off.
    pub at_once: bool,
}

/// Resources of which there is only one copy afterwards, for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unprotected {
    /// The resource.
    pub resource: ResourceKey,
    /// Until what, in words.
    pub until: String,
}

/// A target that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PassedOver {
    /// The region.
    pub region: RegionId,
    /// Why.
    pub why: String,
}

/// A failover as it would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// When it was made.
    pub at: Timestamp,
    /// The region that holds the resources.
    pub from: RegionId,
    /// The region that is to hold them.
    pub to: RegionId,
    /// How, after all.
    pub strategy: Strategy,
    /// Whether the target is brought up to date from the stopped source, so that nothing is lost.
    pub loses_nothing: bool,
    /// Whether it goes.
    pub outcome: Outcome,
    /// The old side.
    pub source: Source,
    /// What moves, as it would be done: by level, then by name. What a gate holds back is among them.
    pub moves: Vec<Move>,
    /// What stays.
    pub held_back: Vec<HeldBack>,
    /// Each gate that applies.
    pub gates: Vec<Gate>,
    /// Programs, in their order.
    pub hooks: Vec<PlannedHook>,
    /// Who is fed by the target afterwards.
    pub feeds: Vec<Feed>,
    /// What has one copy only then.
    pub unprotected: Vec<Unprotected>,
    /// Targets that come next, should this one refuse or fail.
    pub next: Vec<RegionId>,
    /// Targets that would have come first.
    pub passed_over: Vec<PassedOver>,
    /// Whether the source is down, where that was judged.
    pub verdict: Option<Verdict>,
}

impl Proposal {
    /// What stays, and why.
    pub fn held(&self) -> BTreeMap<ResourceKey, String> {
        self.held_back.iter().map(|held| (held.resource.clone(), held.why.clone())).collect()
    }

    /// What goes, in its order.
    pub fn going(&self) -> impl Iterator<Item = &Move> {
        let held: BTreeSet<&ResourceKey> = self.held_back.iter().map(|held| &held.resource).collect();
        let refused = self.outcome == Outcome::Refused;
        self.moves.iter().filter(move |one| !refused && !held.contains(&one.resource))
    }

    /// Which resources go before which.
    pub fn depends_on(&self) -> BTreeMap<ResourceKey, BTreeSet<ResourceKey>> {
        self.moves.iter().map(|one| (one.resource.clone(), one.after.clone())).collect()
    }

    /// The gates that let nothing pass, and those that hold back a resource.
    pub fn failed_gates(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter(|gate| !gate.passes)
    }
}

/// JSON has pairs as `SOURCE.TARGET`.
mod pair_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::model::PairId;

    pub(super) fn serialize<S: Serializer>(pair: &PairId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{}.{}", pair.source, pair.target))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PairId, D::Error> {
        let text = String::deserialize(from)?;
        let (source, target) = text.split_once('.').ok_or_else(|| D::Error::custom("a pair is SOURCE.TARGET"))?;
        let source = source.parse().map_err(D::Error::custom)?;
        Ok(PairId { source, target: target.parse().map_err(D::Error::custom)? })
    }
}
