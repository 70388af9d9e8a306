//! Refuses to plan at all: where the request cannot be met, and where going on could take what belongs to others.

use std::collections::BTreeSet;

use crate::model::{Address, Lineage, RegionId};
use crate::plan::document::Mode;
use crate::plan::draft::{Draft, View};
use crate::plan::nearest::nearest;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    nobody_answered(view)?;
    unknown_target(view)?;
    earlier_topology(view)?;
    new_state(view)?;
    another_lineage(view)
}

fn nobody_answered(view: &View<'_>) -> Result<(), PlanRefusal> {
    let declared = &view.input.topology.regions;
    let unseen = || declared.keys().filter_map(|id| Some((id.clone(), view.sight.unseen(id)?.reason.clone())));
    if declared.is_empty() || unseen().count() < declared.len() {
        return Ok(());
    }
    Err(PlanRefusal::NoRegionAnswered { regions: unseen().collect() })
}

fn unknown_target(view: &View<'_>) -> Result<(), PlanRefusal> {
    let known = |address: &Address| {
        view.declares(address)
            || view.applied(address).is_some()
            || !view.live.of(address).is_empty()
            || view.moves.present(address).is_some()
    };
    let Some(unknown) = view.input.options.targets.iter().find(|address| !known(address)) else {
        return Ok(());
    };
    let topology = view.input.topology;
    let all: BTreeSet<Address> = (topology.regions.keys().cloned().map(Address::Region))
        .chain(topology.pairs.keys().cloned().map(Address::Replication))
        .chain(topology.resources.keys().cloned().map(Address::Resource))
        .chain(view.input.recorded.objects.keys().cloned())
        .collect();
    Err(PlanRefusal::UnknownTarget { address: unknown.clone(), nearest: nearest(unknown, all) })
}

fn earlier_topology(view: &View<'_>) -> Result<(), PlanRefusal> {
    let digest = view.input.topology.digest;
    let reconciles = match view.input.options.mode {
        Mode::Reconcile => true,
        Mode::Normal | Mode::RefreshOnly => false,
    };
    let latest = view.input.recorded.topology == Some(digest);
    if reconciles && !latest && view.input.superseded.contains(&digest) {
        return Err(PlanRefusal::EarlierTopology);
    }
    Ok(())
}

/// The records that carry a lineage for which `wanted` holds: the first one and how many there are.
fn managed<'a>(
    view: &'a View<'_>,
    wanted: impl Fn(&Address, Lineage) -> bool,
) -> Option<(&'a Address, &'a RegionId, Lineage, usize)> {
    let mut first = None;
    let mut objects = 0;
    for (address, sightings) in view.live.all() {
        let found = sightings.iter().find_map(|sighting| {
            let lineage = sighting.record.managed_by().filter(|lineage| wanted(address, *lineage))?;
            Some((address, sighting.region, lineage))
        });
        objects += usize::from(found.is_some());
        first = first.or(found);
    }
    first.map(|(address, region, lineage)| (address, region, lineage, objects))
}

/// A new state beside managed objects is a lost state, unless the operator says that they are to be taken over.
fn new_state(view: &View<'_>) -> Result<(), PlanRefusal> {
    if view.input.recorded.existed || view.input.options.adopt {
        return Ok(());
    }
    // Objects of this very lineage are from an apply that was killed before its first result was remembered.
    match managed(view, |_, lineage| lineage != view.lineage()) {
        None => Ok(()),
        Some((address, region, lineage, objects)) => {
            Err(PlanRefusal::NewState { address: address.clone(), region: region.clone(), lineage, objects })
        }
    }
}

/// What another topology manages is left to it, unless the operator says that it is to be taken over.
fn another_lineage(view: &View<'_>) -> Result<(), PlanRefusal> {
    if view.input.options.adopt {
        return Ok(());
    }
    match managed(view, |address, lineage| lineage != view.lineage() && view.declares(address)) {
        None => Ok(()),
        Some((address, region, lineage, objects)) => {
            Err(PlanRefusal::AnotherLineage { address: address.clone(), region: region.clone(), lineage, objects })
        }
    }
}
