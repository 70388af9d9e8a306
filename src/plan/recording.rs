//! The one decision about a declared object's records, whatever its kind: change, drift, nothing, or later.
//!
//! - Not recorded by the state: a create, wherever it is wanted and can be seen. Records of this lineage that are there
//!   already (an apply that was cut off) are met, not refused; those of nobody are taken over.
//! - Files differ from what was applied, or a region is wanted that has not recorded it yet: an update.
//! - Files agree with what was applied, live does not: drift.
//!
//! One entry per address, whatever the number of regions. What an unseen region should record is deferred; the state
//! knows afterwards where the object is recorded, so the rest follows when the region answers.

use std::collections::BTreeSet;

use super::compare::SpecRef;
use super::delta;
use super::document::{Action, Change, Holder, Kind, Precondition};
use super::draft::Draft;
use super::live::Sighting;
use crate::model::recorded::Applied;
use crate::model::{Address, Lineage, RegionId};

/// A declared object.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) address: Address,
    pub(crate) desired: SpecRef<'a>,
    /// The regions that should record it, in order.
    pub(crate) wanted: Vec<&'a RegionId>,
    /// Of a living resource: who holds it.
    pub(crate) holder: Option<Holder>,
    /// Where it is recorded.
    pub(crate) sightings: &'a [Sighting<'a>],
    /// What the state remembers of it.
    pub(crate) applied: Option<&'a Applied>,
}

/// Decides about one object's records.
pub(crate) fn decide(draft: &mut Draft<'_>, subject: &Subject<'_>) {
    let work = Work::find(draft, subject, subject.sightings, subject.applied);
    for region in &work.deferred {
        draft.defer(region, &subject.address);
    }
    if let Some(change) = work.change {
        draft.change(change);
    } else if let Some(change) = work.drift {
        draft.drift(change);
    }
}

/// What is to be done about one object.
#[derive(Debug, Default)]
struct Work {
    change: Option<Change>,
    drift: Option<Change>,
    deferred: Vec<RegionId>,
}

impl Work {
    fn find(draft: &Draft<'_>, subject: &Subject<'_>, sightings: &[Sighting<'_>], applied: Option<&Applied>) -> Self {
        match applied {
            None => Self::first(draft, subject, sightings),
            Some(applied) => Self::again(draft, subject, sightings, applied),
        }
    }

    /// The state does not know the object.
    fn first(draft: &Draft<'_>, subject: &Subject<'_>, sightings: &[Sighting<'_>]) -> Self {
        let view = draft.view;
        let (seen, unseen): (Vec<_>, Vec<_>) =
            subject.wanted.iter().copied().partition(|region| view.sight.sees(region));
        let deferred = unseen.into_iter().cloned().collect();
        if seen.is_empty() {
            return Self { deferred, ..Self::default() };
        }
        let foreign = sightings.iter().find(|sighting| sighting.record.managed_by() != Some(view.lineage()));
        let surplus = match &subject.holder {
            Some(holder) if !view.sight.sees(&holder.region) => Vec::new(),
            Some(_) | None => surplus(view.lineage(), subject, sightings, None),
        };
        let regions: BTreeSet<&RegionId> = seen.into_iter().chain(surplus.iter().copied()).collect();
        let (action, before, reason) = match (sightings.first(), foreign) {
            (None, _) => (Action::Create, None, "declared, and not recorded yet".to_owned()),
            (Some(met), None) => {
                let by = "by an apply that did not finish, or by another state of this lineage";
                (Action::Create, None, format!("recorded at {} and not in this state: {by}", met.region))
            }
            (Some(_), Some(foreign)) => {
                let owner = owner(foreign.record.managed_by());
                let reason = format!("taken over: at {} it is managed by {owner}", foreign.region);
                (Action::Update, Some(foreign.record.spec()), reason)
            }
        };
        let mut change = change(subject, sightings, action, (before, subject.desired), &regions, reason);
        change.drops = surplus.into_iter().cloned().collect();
        Self { change: Some(change), drift: None, deferred }
    }

    /// The state knows the object.
    fn again(draft: &Draft<'_>, subject: &Subject<'_>, sightings: &[Sighting<'_>], applied: &Applied) -> Self {
        let view = draft.view;
        let before = SpecRef::from(&applied.spec);
        let changed = !subject.desired.says(before);
        let fresh: Vec<&RegionId> =
            subject.wanted.iter().copied().filter(|region| !applied.regions.contains(*region)).collect();
        let mut surplus = surplus(view.lineage(), subject, sightings, Some(applied));
        let mut waits_for = None;
        // While the holder cannot be seen, what goes may be the only copy in sight, and the only word on who holds it.
        if let Some(holder) = &subject.holder
            && !view.sight.sees(&holder.region)
            && !surplus.is_empty()
        {
            surplus.clear();
            waits_for = Some(holder.region.clone());
        }
        let drifted: Vec<&Sighting<'_>> = sightings
            .iter()
            .filter(|sighting| applied.regions.contains(sighting.region) && subject.wanted.contains(&sighting.region))
            .filter(|sighting| {
                sighting.record.managed_by() != Some(view.lineage()) || !sighting.record.spec().says(before)
            })
            .collect();
        let missing: Vec<&RegionId> = subject
            .wanted
            .iter()
            .copied()
            .filter(|region| applied.regions.contains(*region) && view.sight.sees(region))
            .filter(|region| !sightings.iter().any(|sighting| sighting.region == *region))
            .collect();
        if !changed && fresh.is_empty() && surplus.is_empty() && drifted.is_empty() && missing.is_empty() {
            return Self { deferred: waits_for.into_iter().collect(), ..Self::default() };
        }

        // A change of attributes concerns every region; anything else only those where something is amiss. A region
        // that is recorded at its own place for the first time has a store that its peers should learn.
        let founded = matches!(&subject.address, Address::Region(id) if fresh.contains(&id) && view.sight.sees(id));
        let mut regions: BTreeSet<&RegionId> = surplus.iter().copied().collect();
        if changed || founded {
            regions.extend(subject.wanted.iter().copied());
        } else {
            regions.extend(fresh.iter().copied());
            regions.extend(missing.iter().copied());
            regions.extend(drifted.iter().map(|sighting| sighting.region));
        }
        let (seen, unseen): (BTreeSet<_>, BTreeSet<_>) =
            regions.into_iter().partition(|region| view.sight.sees(region));
        let mut work = Self { deferred: unseen.into_iter().cloned().chain(waits_for).collect(), ..Self::default() };
        if seen.is_empty() {
            return work;
        }
        let drops: Vec<RegionId> = surplus.iter().copied().filter(|region| seen.contains(region)).cloned().collect();
        let asked_for = changed
            || fresh.iter().any(|region| view.sight.sees(region))
            || surplus.iter().any(|region| view.sight.sees(region));
        let reason = why(subject, before, changed, &fresh, &drops, &drifted, &missing, view.lineage());
        let action = if !asked_for && sightings.is_empty() { Action::Create } else { Action::Update };
        let shown = match (action, asked_for, drifted.first()) {
            (Action::Create, _, _) => None,
            // Drift is told from what is live.
            (_, false, Some(drifted)) => Some(drifted.record.spec()),
            (_, _, _) => Some(before),
        };
        // What only follows what was applied before is written as it was applied, so that all regions keep the same.
        let goal = if changed { subject.desired } else { before };
        let mut change = change(subject, sightings, action, (shown, goal), &seen, reason);
        change.drops = drops;
        if asked_for {
            work.change = Some(change);
        } else {
            work.drift = Some(change);
        }
        work
    }
}

/// Regions that record a resource, by the state's word or by their own, and should not any more. Regions and pairs have
/// none: a pair's ends are its name, and a region that is removed keeps its last registry.
fn surplus<'a>(
    lineage: Lineage,
    subject: &Subject<'_>,
    sightings: &[Sighting<'a>],
    applied: Option<&'a Applied>,
) -> Vec<&'a RegionId> {
    match subject.desired.kind() {
        Kind::Resource => {}
        Kind::Region | Kind::Replication | Kind::Sync | Kind::Failover | Kind::Fence => return Vec::new(),
    }
    let known = applied.into_iter().flat_map(|applied| &applied.regions);
    let found = sightings
        .iter()
        .filter(|sighting| sighting.record.managed_by() == Some(lineage))
        .filter(|sighting| applied.is_none_or(|applied| !applied.regions.contains(sighting.region)))
        .map(|sighting| sighting.region);
    known.chain(found).filter(|region| !subject.wanted.contains(region)).collect()
}

#[expect(clippy::too_many_arguments, reason = "one sentence from everything that was found")]
fn why(
    subject: &Subject<'_>,
    before: SpecRef<'_>,
    changed: bool,
    fresh: &[&RegionId],
    drops: &[RegionId],
    drifted: &[&Sighting<'_>],
    missing: &[&RegionId],
    lineage: Lineage,
) -> String {
    let mut parts = Vec::new();
    if changed {
        parts.push(format!("the files change {}", delta::named(&before.differences(subject.desired))));
    }
    if !fresh.is_empty() {
        parts.push(format!("not yet recorded at {}", list(fresh.iter().copied())));
    }
    if !drops.is_empty() {
        parts.push(format!("no longer kept at {}", list(drops)));
    }
    for sighting in drifted {
        let live = sighting.record.spec();
        if sighting.record.managed_by() != Some(lineage) {
            parts.push(format!("at {} it is managed by {}", sighting.region, owner(sighting.record.managed_by())));
        }
        // What is as the files want it already needs no word.
        if !live.says(before) && !live.says(subject.desired) {
            parts.push(format!("at {} differs {}", sighting.region, delta::named(&live.differences(before))));
        }
    }
    if !missing.is_empty() {
        parts.push(format!("its record is gone at {}", list(missing.iter().copied())));
    }
    parts.join("; ")
}

pub(crate) fn owner(managed_by: Option<Lineage>) -> String {
    managed_by.map_or_else(|| "nobody".to_owned(), |lineage| format!("lineage {lineage}"))
}

pub(crate) fn list<'a>(regions: impl IntoIterator<Item = &'a RegionId>) -> String {
    regions.into_iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ")
}

/// The fingerprints of an object's records at some regions.
pub(crate) fn relied_on<'r>(
    sightings: &[Sighting<'_>],
    regions: impl IntoIterator<Item = &'r RegionId>,
) -> Precondition {
    let records = regions
        .into_iter()
        .map(|region| {
            let found = sightings.iter().find(|sighting| sighting.region == region);
            (region.clone(), found.map(|sighting| sighting.record.fingerprint()))
        })
        .collect();
    Precondition { records, base: None, holder: None }
}

fn change(
    subject: &Subject<'_>,
    sightings: &[Sighting<'_>],
    action: Action,
    attributes: (Option<SpecRef<'_>>, SpecRef<'_>),
    regions: &BTreeSet<&RegionId>,
    reason: String,
) -> Change {
    let (before, after) = attributes;
    let mut precondition = relied_on(sightings, regions.iter().copied());
    precondition.holder = subject.holder.clone();
    Change {
        id: format!("{}:{}", action.as_str(), subject.address),
        address: subject.address.clone(),
        kind: subject.desired.kind(),
        action,
        regions: regions.iter().map(|region| (*region).clone()).collect(),
        drops: Vec::new(),
        source: None,
        before: before.map(SpecRef::to_json),
        after: Some(after.to_json()),
        reason,
        depends_on: Vec::new(),
        precondition,
    }
}
