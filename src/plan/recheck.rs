//! Looks again before a saved plan is carried out: each change is at its result already, at what it was made from,
//! or somewhere else, and then nothing of the plan is carried out.
//!
//! The state's serial may have grown since: what a change relies on is its own precondition, not the whole state.

use super::compare::SpecRef;
use super::delta::named;
use super::document::{BasePoint, Change, Kind, Mode, Plan};
use super::draft::View;
use super::input::PlanInput;
use super::live::{Holding, Sighting, holding, under_either};
use super::step::syncs::{base_of, in_step};
use crate::model::region::Epoch;
use crate::model::topology::Spec;
use crate::model::{Address, Digest, Lineage, RegionId};

/// Where one change stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// At its result; there is nothing to write.
    AlreadyDone,
    /// As it was when the plan was made, or on its way to the result.
    Ready,
    /// Neither.
    Stale(Stale),
}

/// How the world differs from what a change was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The object.
    pub address: Address,
    /// Where.
    pub region: RegionId,
    /// In words.
    pub difference: String,
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Address::Region(region) if *region == self.region => write!(f, "{}: {}", self.address, self.difference),
            address => write!(f, "{address} at {}: {}", self.region, self.difference),
        }
    }
}

/// What became of one change since the plan was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The change's id.
    pub id: String,
    /// Where it stands.
    pub standing: Standing,
}

/// Why a saved plan is not carried out. Safety is behind all of them: exit code 5.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecheckRefusal {
    /// It was made for another state.
    #[error("the plan was made for the state of lineage {planned}; this state is of {present}")]
    AnotherLineage {
        /// The plan's.
        planned: Lineage,
        /// The state's.
        present: Lineage,
    },
    /// It was made from other files.
    #[error("the plan was made from other files: their digest was {planned}, now it is {present}")]
    AnotherTopology {
        /// The plan's.
        planned: Digest,
        /// The files'.
        present: Digest,
    },
    /// The world moved on.
    #[error("the plan is stale: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Stale(Vec<Stale>),
}

impl RecheckRefusal {
    /// Its name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AnotherLineage { .. } => "lineage",
            Self::AnotherTopology { .. } => "another_topology",
            Self::Stale(_) => "stale_plan",
        }
    }

    /// What to do.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::AnotherLineage { .. } => "name the state that the plan was made for with `--state`, or plan again",
            Self::AnotherTopology { .. } => "check out the files that the plan was made from, or plan again",
            Self::Stale(_) => "plan again and look at what it says now",
        }
    }
}

/// Compares a plan with a fresh look at what it touches; `fresh.options` are not looked at.
///
/// # Errors
/// Where the plan must not be carried out; nothing has been written then.
pub fn recheck(plan: &Plan, fresh: &PlanInput<'_>) -> Result<Vec<Verdict>, RecheckRefusal> {
    let (planned, present) = (plan.state.lineage, fresh.recorded.lineage);
    if planned != present {
        return Err(RecheckRefusal::AnotherLineage { planned, present });
    }
    let (planned, present) = (plan.topology.digest, fresh.topology.digest);
    if planned != present {
        return Err(RecheckRefusal::AnotherTopology { planned, present });
    }
    let view = View::under(fresh, plan.mode);
    let mut stale = Vec::new();
    let mut verdicts = Vec::new();
    for change in plan.effects() {
        let standing = match change.kind {
            Kind::Sync => of_copy(&view, change),
            Kind::Region | Kind::Replication | Kind::Resource | Kind::Failover | Kind::Fence => {
                of_records(&view, plan.mode, change)
            }
        };
        if let Standing::Stale(found) = &standing
            && !stale.contains(found)
        {
            stale.push(found.clone());
        }
        verdicts.push(Verdict { id: change.id.clone(), standing });
    }
    if stale.is_empty() { Ok(verdicts) } else { Err(RecheckRefusal::Stale(stale)) }
}

fn stale(change: &Change, region: &RegionId, difference: impl Into<String>) -> Standing {
    Standing::Stale(Stale { address: change.address.clone(), region: region.clone(), difference: difference.into() })
}

/// A region that cannot be seen is told as such, and not with each change that needs it.
fn out_of_sight(view: &View<'_>, region: &RegionId) -> Option<Standing> {
    if view.sight.sees(region) {
        return None;
    }
    let reason = view.sight.unseen(region).map_or("it was not asked", |why| why.reason.as_str());
    let difference = format!("cannot be seen any more: {reason}");
    Some(Standing::Stale(Stale { address: Address::Region(region.clone()), region: region.clone(), difference }))
}

fn of_records(view: &View<'_>, mode: Mode, change: &Change) -> Standing {
    let sightings = view.live.of(&change.address);
    let after = change.after.clone().and_then(|after| Spec::from_json(&change.address, after).ok());
    let writes = match mode {
        Mode::Normal | Mode::Reconcile => true,
        // The state alone is written, from what the plan saw.
        Mode::RefreshOnly => false,
    };
    let mut done = writes;
    for region in &change.regions {
        if let Some(standing) = out_of_sight(view, region) {
            return standing;
        }
        let found = sightings.iter().find(|sighting| sighting.region == region);
        let goal = after.as_ref().filter(|_| !change.drops.contains(region));
        if writes && at_result(view, found, goal) {
            continue;
        }
        done = false;
        let expected = change.precondition.records.get(region).copied().flatten();
        let present = found.map(|sighting| sighting.record.fingerprint());
        if expected != present {
            return stale(change, region, difference(change, expected.is_some(), found));
        }
    }
    if done { Standing::AlreadyDone } else { Standing::Ready }
}

/// Whether the record is what the change makes of it.
fn at_result(view: &View<'_>, found: Option<&Sighting<'_>>, goal: Option<&Spec>) -> bool {
    match (found, goal) {
        (None, None) => true,
        (Some(sighting), Some(goal)) => {
            !sighting.former
                && sighting.record.managed_by() == Some(view.lineage())
                && sighting.record.spec().says(SpecRef::from(goal))
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn difference(change: &Change, expected: bool, found: Option<&Sighting<'_>>) -> String {
    let Some(sighting) = found else {
        return "its record is gone since".to_owned();
    };
    if !expected {
        return "it was recorded since".to_owned();
    }
    let before = change.before.clone().and_then(|before| Spec::from_json(&change.address, before).ok());
    let changed = before.map(|before| SpecRef::from(&before).differences(sighting.record.spec())).unwrap_or_default();
    if !changed.is_empty() {
        return format!("changed since: {}", named(&changed));
    }
    match sighting.record.resource() {
        Some(record) => format!(
            "its role changed since: {} there, held by {} since epoch {}",
            record.role.as_str(),
            record.holder,
            record.epoch
        ),
        None => "who manages it changed since".to_owned(),
    }
}

fn of_copy(view: &View<'_>, change: &Change) -> Standing {
    let (Address::Resource(key), Some(source), Some(target)) =
        (&change.address, &change.source, change.regions.first())
    else {
        // The linter refuses such a plan; nothing can be checked, so nothing is done.
        let region = change.regions.first().or(change.source.as_ref()).cloned();
        return region.map_or(Standing::Ready, |region| stale(change, &region, "the copy has no source or no target"));
    };
    if let Some(standing) = out_of_sight(view, source).or_else(|| out_of_sight(view, target)) {
        return standing;
    }
    let planned = change.precondition.holder.as_ref();
    match holding(view.live.of(&change.address), &view.sight) {
        Holding::Held(holder) if Some(&holder) == planned => {}
        Holding::Held(holder) => {
            let difference =
                format!("held by {} since epoch {}, the plan reads it at {source}", holder.region, holder.epoch);
            return stale(change, source, difference);
        }
        // It is born by this plan, or was lost since.
        Holding::Unborn if planned.is_some_and(|holder| holder.epoch == Epoch::BIRTH) => {}
        Holding::Unborn => return stale(change, source, "no region records it any more"),
        Holding::Disputed(_, reason) => return stale(change, source, reason),
    }
    let former = match view.moves.former(&change.address) {
        Some(Address::Resource(former)) => Some(former),
        Some(Address::Region(_) | Address::Replication(_)) | None => None,
    };
    let content = (view.sight.snapshot(source))
        .and_then(|snapshot| under_either(snapshot, key, former, |snapshot, key| snapshot.contents.get(key)));
    let replica = (view.sight.snapshot(target))
        .and_then(|snapshot| under_either(snapshot, key, former, |snapshot, key| snapshot.replicas.get(key)));
    let base = base_of(replica);
    if change.precondition.base.as_ref() == Some(&base) {
        Standing::Ready
    } else if in_step(content, replica) {
        Standing::AlreadyDone
    } else {
        let difference = format!(
            "{} is its newest now, the plan goes from {}",
            point(Some(&base)),
            point(change.precondition.base.as_ref())
        );
        stale(change, target, difference)
    }
}

fn point(base: Option<&BasePoint>) -> String {
    base.and_then(|base| base.sequence).map_or_else(|| "no point".to_owned(), |sequence| format!("point {sequence}"))
}
