//! Objects that are managed and no longer declared. Without `--prune` they are listed as blocked and stay; with it
//! their records are removed, never their data, at most so many at once, and never all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::point::BlockReason;
use crate::model::region::Role;
use crate::model::{Address, RegionId};
use crate::plan::compare::SpecRef;
use crate::plan::document::{Action, Blocked, Change, Kind};
use crate::plan::draft::{Draft, View};
use crate::plan::live::{Holding, holding};
use crate::plan::recording::{list, relied_on};
use crate::plan::refusal::PlanRefusal;
use crate::plan::step::regions::{OpenOperation, open_operation};

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    let orphans: BTreeSet<Address> = orphans(view).filter(|address| view.targeted(address)).cloned().collect();
    if !view.input.options.prune {
        for address in orphans {
            let detail = "no longer declared; `--prune` ends its protection and keeps its data".to_owned();
            draft.blocked.push(Blocked { address, region_id: None, reason: BlockReason::NotDeclared, detail });
        }
        return Ok(());
    }
    let (holds, open) = (still_held(view, &orphans), open_operation(view));
    let mut deletes = Vec::new();
    // What depends on another goes first.
    for kind in [Kind::Resource, Kind::Replication, Kind::Region] {
        for address in orphans.iter().filter(|address| kind_of(address) == kind) {
            deletes.extend(remove(draft, address, &holds, open.as_ref()));
        }
    }
    within_limits(view, &deletes)?;
    for change in deletes {
        draft.change(change);
    }
    Ok(())
}

/// What this lineage manages and the files no longer declare, renamed objects aside.
fn orphans<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Address> {
    (view.undeclared.iter()).filter(|address| view.moves.present(address).is_none()).filter(|address| {
        let ours = |lineage| lineage == Some(view.lineage());
        view.input.recorded.objects.contains_key(*address)
            || view.live.of(address).iter().any(|sighting| ours(sighting.record.managed_by()))
    })
}

/// By region that goes: a resource that it would still hold when all orphans are gone.
fn still_held(view: &View<'_>, orphans: &BTreeSet<Address>) -> BTreeMap<RegionId, Address> {
    let mut held = BTreeMap::new();
    for (address, sightings) in view.live.all().filter(|(address, _)| !orphans.contains(address)) {
        for sighting in sightings {
            let Some(record) = sighting.record.resource() else { continue };
            let holder = if record.role == Role::Holder { sighting.region } else { &record.holder };
            if orphans.contains(&Address::Region(holder.clone())) {
                held.entry(holder.clone()).or_insert_with(|| address.clone());
            }
        }
    }
    held
}

fn remove(
    draft: &mut Draft<'_>,
    address: &Address,
    holds: &BTreeMap<RegionId, Address>,
    open: Option<&OpenOperation<'_>>,
) -> Option<Change> {
    let view = draft.view;
    let sightings = view.live.of(address);
    let applied = view.applied(address);
    if let Address::Region(id) = address
        && let Some(resource) = holds.get(id)
    {
        let detail = format!("no longer declared, but it holds {resource}: a holder is not removed");
        let (region_id, reason) = (Some(id.clone()), BlockReason::NotDeclared);
        draft.blocked.push(Blocked { address: address.clone(), region_id, reason, detail });
        return None;
    }
    if let Address::Region(_) = address
        && let Some(open) = open
    {
        draft.blocked.push(open.blocks(address.clone()));
        return None;
    }
    let foreign = |region: &RegionId| {
        (sightings.iter()).any(|s| s.region == region && s.record.managed_by() != Some(view.lineage()))
    };
    // Whoever holds it keeps a record of it, also where the state could not learn of that.
    let holder = match holding(sightings, &view.sight) {
        Holding::Held(holder) | Holding::Disputed(holder, _) => Some(holder.region),
        Holding::Unborn => None,
    };
    let places: BTreeSet<&RegionId> = (applied.into_iter().flat_map(|applied| &applied.regions))
        .chain(sightings.iter().map(|sighting| sighting.region))
        .chain(&holder)
        .filter(|region| !foreign(region))
        .collect();
    let (seen, mut unseen): (BTreeSet<_>, BTreeSet<_>) = places.into_iter().partition(|region| view.sight.sees(region));
    if let Address::Region(_) | Address::Replication(_) = address {
        // Nobody waits for those that a person declared gone; they may still be the last that know of a resource.
        let gone = view.input.observed.gone();
        unseen.retain(|region| !gone.contains_key(region));
    }
    for region in &unseen {
        draft.defer(region, address);
    }
    // A registry changes everywhere or nowhere, and what may be the last word on who holds a resource stays until the
    // holder is seen. A pair goes where it can.
    let whole = match address {
        Address::Region(_) | Address::Resource(_) => true,
        Address::Replication(_) => false,
    };
    if !unseen.is_empty() && (whole || seen.is_empty()) {
        return None;
    }
    let before = applied
        .map(|applied| SpecRef::from(&applied.spec))
        .or_else(|| sightings.first().map(|sighting| sighting.record.spec()))
        .map(SpecRef::to_json);
    let reason = if seen.is_empty() {
        "no longer declared, and recorded nowhere".to_owned()
    } else {
        format!("no longer declared; its record goes at {}, its data stays", list(seen.iter().copied()))
    };
    Some(Change {
        id: format!("{}:{address}", Action::Delete.as_str()),
        address: address.clone(),
        kind: kind_of(address),
        action: Action::Delete,
        regions: seen.iter().map(|region| (*region).clone()).collect(),
        drops: Vec::new(),
        source: None,
        before,
        after: None,
        reason,
        depends_on: Vec::new(),
        precondition: relied_on(sightings, seen),
    })
}

fn within_limits(view: &View<'_>, deletes: &[Change]) -> Result<(), PlanRefusal> {
    let Some(first) = deletes.first() else { return Ok(()) };
    let live_only = (view.live.all())
        .filter(|(_, sightings)| sightings.iter().any(|s| s.record.managed_by() == Some(view.lineage())))
        .filter(|(address, _)| view.applied(address).is_none())
        .count();
    let count = deletes.len();
    if count >= view.input.recorded.objects.len() + live_only {
        return Err(PlanRefusal::PruneAll { count });
    }
    let max = view.input.options.max_prune;
    if u32::try_from(count).is_ok_and(|count| count <= max) {
        return Ok(());
    }
    Err(PlanRefusal::PruneTooMany { count, max, first: first.address.clone() })
}

/// What kind of object an address names.
pub(crate) const fn kind_of(address: &Address) -> Kind {
    match address {
        Address::Region(_) => Kind::Region,
        Address::Replication(_) => Kind::Replication,
        Address::Resource(_) => Kind::Resource,
    }
}
