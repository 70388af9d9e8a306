//! What a reader of the plan should know besides: that failovers are paused, what runs where it is not held, regions that
//! were cut off by hand, what an earlier run may have left frozen, regions over their capacity, pairs that rest, resources
//! kept in one place only, what `reconcile` leaves to others.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::units::grouped;
use crate::model::{Address, RegionId, ResourceType};
use crate::plan::document::Warning;
use crate::plan::draft::Draft;
use crate::plan::live::Holding;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    failovers_paused(draft);
    foreign_starts(draft);
    cut_off(draft);
    still_held(draft);
    over_capacity(draft);
    paused(draft);
    one_place_only(draft);
    left_to_others(draft);
    Ok(())
}

fn failovers_paused(draft: &mut Draft<'_>) {
    for (region, snapshot) in draft.view.sight.seen() {
        if let Some(pause) = &snapshot.paused {
            let message = format!("nothing fails over without a person, as it keeps: paused {}", pause.words());
            draft.warnings.push(Warning { address: Some(Address::Region(region.clone())), message });
        }
    }
}

fn foreign_starts(draft: &mut Draft<'_>) {
    for (region, snapshot) in draft.view.sight.seen() {
        for key in snapshot.foreign_starts.keys() {
            let message = format!("runs at {region}, which does not hold it: `vm where` shows who does");
            draft.warnings.push(Warning { address: Some(Address::Resource(key.clone())), message });
        }
    }
}

fn cut_off(draft: &mut Draft<'_>) {
    let seen = draft.view.sight.seen().flat_map(|(_, snapshot)| snapshot.cut_off.keys());
    let regions: BTreeSet<&RegionId> = seen.collect();
    for region in regions {
        let message =
            format!("was cut off by hand, and starts nothing by itself: `failover unfence {region}` lets it in");
        draft.warnings.push(Warning { address: Some(Address::Region(region.clone())), message });
    }
}

fn still_held(draft: &mut Draft<'_>) {
    for (region, snapshot) in draft.view.sight.seen() {
        for (key, held) in &snapshot.still_held {
            let since = held.since.for_people();
            let message = format!(
                "may still be frozen or snapshotted at {region}, since {since}: `status` says how to let it go"
            );
            draft.warnings.push(Warning { address: Some(Address::Resource(key.clone())), message });
        }
    }
}

fn over_capacity(draft: &mut Draft<'_>) {
    let view = draft.view;
    let mut machines: BTreeMap<&RegionId, u32> = BTreeMap::new();
    for known in view.resources.iter().filter(|known| known.key.kind == ResourceType::Vm) {
        let region = match &known.holding {
            Holding::Held(holder) | Holding::Disputed(holder, _) => &holder.region,
            Holding::Unborn => &known.spec.primary,
        };
        *machines.entry(region).or_default() += 1;
    }
    for (id, spec) in &view.input.topology.regions {
        let held = machines.get(id).copied().unwrap_or(0);
        if held > spec.capacity_vms {
            let message = {
                let [held, room] = [held, spec.capacity_vms].map(|vms| grouped(vms.into()));
                format!("holds {held} VMs, more than its capacity_vms of {room}")
            };
            draft.warnings.push(Warning { address: Some(Address::Region(id.clone())), message });
        }
    }
}

fn paused(draft: &mut Draft<'_>) {
    for (id, _) in draft.view.input.topology.pairs.iter().filter(|(_, pair)| pair.enabled && pair.paused) {
        let message = format!("paused, what it feeds grows older: `replication resume {} {}`", id.source, id.target);
        draft.warnings.push(Warning { address: Some(Address::Replication(id.clone())), message });
    }
}

fn one_place_only(draft: &mut Draft<'_>) {
    for (key, spec) in &draft.view.input.topology.resources {
        if spec.replicas.is_empty() {
            let message = format!("kept at {} only: nothing protects it", spec.primary);
            draft.warnings.push(Warning { address: Some(Address::Resource(key.clone())), message });
        }
    }
}

fn left_to_others(draft: &mut Draft<'_>) {
    let entries = |count: usize, what: &str, remedy: &str| {
        let noun = if count == 1 { "entry" } else { "entries" };
        (count > 0)
            .then(|| Warning { address: None, message: format!("{count} {noun} of {what} left alone: {remedy}") })
    };
    let left = draft.left;
    draft.warnings.extend(entries(left.changes, "changes never applied", "`apply` carries them out"));
    draft.warnings.extend(entries(left.drift, "drift", "`--allow sync,drift` mends them"));
}
