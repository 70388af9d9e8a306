//! The gates of a failover: what must hold before the first change, each with what was found, and with what it costs
//! to pass it all the same. A gate about one resource holds back that one and what depends on it; any other one holds
//! back everything.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{RegionId, ResourceKey, units};

/// What a gate is about, in the order in which they are judged and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// Nobody paused automatic failovers.
    Pause,
    /// The source is down. Of automatic failovers; otherwise the fence stands for it.
    Verdict,
    /// No other region is down.
    Breaker,
    /// The last automatic failover is long enough ago.
    Cooldown,
    /// The source answers, where nothing is to be lost.
    Source,
    /// The target answers.
    Target,
    /// Every other registered region can agree.
    Agreement,
    /// The source is proven stopped.
    Fence,
    /// The fence stops nothing that is not moved.
    Collateral,
    /// The target has room.
    Capacity,
    /// One region holds the resource, and no other one claims it.
    Holder,
    /// No other operation is open on it.
    Open,
    /// The target may hold it.
    Compliance,
    /// There is a point to promote.
    Point,
    /// It is the freshest that there is, or that one is pulled first.
    Fresher,
    /// No more is lost than the resource is promised.
    Loss,
}

impl GateKind {
    /// The name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Verdict => "verdict",
            Self::Breaker => "breaker",
            Self::Cooldown => "cooldown",
            Self::Source => "source",
            Self::Target => "target",
            Self::Agreement => "agreement",
            Self::Fence => "fence",
            Self::Collateral => "collateral",
            Self::Capacity => "capacity",
            Self::Holder => "holder",
            Self::Open => "open",
            Self::Compliance => "compliance",
            Self::Point => "point",
            Self::Fresher => "fresher",
            Self::Loss => "loss",
        }
    }
}

/// How a gate is passed though it does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// The option, as it is typed.
    pub option: String,
    /// What it may cost.
    pub price: String,
    /// Whether it was given, and lets it pass.
    pub given: bool,
}

/// One gate as it was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// What it is about.
    pub kind: GateKind,
    /// The resource that it holds back; none: all of them.
    pub subject: Option<ResourceKey>,
    /// Whether it lets it pass, by what was found or because it was overridden.
    pub passes: bool,
    /// What was found, against what is asked for.
    pub figure: String,
    /// How old the evidence is; none: of this moment, or without age.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub evidence_age: Option<Duration>,
    /// How it is passed all the same; none: it is not, or needs not be.
    #[serde(rename = "override")]
    pub way_past: Option<Override>,
    /// The safer way, where it does not hold.
    pub safer: Option<String>,
}

impl Gate {
    /// One that holds.
    pub(super) fn met(kind: GateKind, figure: impl Into<String>) -> Self {
        let figure = figure.into();
        Self { kind, subject: None, passes: true, figure, evidence_age: None, way_past: None, safer: None }
    }

    /// One that does not hold.
    pub(super) fn unmet(kind: GateKind, figure: impl Into<String>, safer: impl Into<String>) -> Self {
        Self { passes: false, safer: Some(safer.into()), ..Self::met(kind, figure) }
    }

    /// Holds back one resource instead of all.
    pub(super) fn about(self, key: &ResourceKey) -> Self {
        Self { subject: Some(key.clone()), ..self }
    }

    pub(super) fn of_age(self, age: Duration) -> Self {
        Self { evidence_age: Some(age), ..self }
    }

    /// May be overridden, and is where that was `given`.
    pub(super) fn unless(self, given: bool, option: impl Into<String>, price: impl Into<String>) -> Self {
        let way_past = Override { option: option.into(), price: price.into(), given };
        Self { passes: self.passes || given, way_past: Some(way_past), ..self }
    }

    /// Whether it passes only because somebody took it upon themselves.
    pub fn is_overridden(&self) -> bool {
        self.way_past.as_ref().is_some_and(|way| way.given)
    }
}

/// `--gone REGION="how you know"`.
pub(super) fn gone_option(region: &RegionId) -> String {
    format!("--gone {region}=\"how you know\"")
}

/// What it costs to declare a region gone that is not.
pub(super) fn gone_price(region: &RegionId) -> String {
    format!("if {region} lives and starts one of these, two copies run and one's writes are lost")
}

/// An age for people: whole seconds, none of them left out: a bound is no bound where it is rounded down.
pub(super) fn age(age: Duration) -> String {
    units::format_duration(Duration::from_secs(age.as_secs()))
}

/// A duration to be typed, not shorter than `least`: whole minutes, of short ones whole seconds.
pub(super) fn at_least(least: Duration) -> String {
    let seconds = least.as_secs() + u64::from(least.subsec_nanos() > 0);
    let step = if seconds > 120 { 60 } else { 1 };
    units::format_duration(Duration::from_secs(seconds.div_ceil(step) * step))
}
