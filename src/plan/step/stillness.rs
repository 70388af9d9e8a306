//! Machines that are copied while they run, at regions that cannot hold them still: what a reader of the plan should
//! know of the points that come of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::point::PointKind;
use crate::model::{Address, RegionId, ResourceKey, ResourceType};
use crate::plan::document::{Action, Kind, Mode, Warning};
use crate::plan::draft::Draft;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    match view.input.options.mode {
        Mode::Normal => {}
        // Rounds would say the same for ever.
        Mode::Reconcile | Mode::RefreshOnly => return Ok(()),
    }
    let mut running: BTreeMap<&RegionId, BTreeSet<&ResourceKey>> = BTreeMap::new();
    for change in &draft.changes {
        let (Kind::Sync, Action::Sync, Address::Resource(key), Some(source), [target]) =
            (change.kind, change.action, &change.address, &change.source, change.regions.as_slice())
        else {
            continue;
        };
        let (Some(holder), Some(keeper)) = (view.sight.snapshot(source), view.sight.snapshot(target)) else { continue };
        let last = keeper.replicas.get(key).and_then(|replica| replica.newest.as_ref());
        // Written since a copy of which nobody knew that it was stopped: nothing says more plainly that it runs.
        let runs = last.is_some_and(|last| match last.point.kind {
            PointKind::Quiet => true,
            PointKind::Cold | PointKind::Frozen => false,
        });
        if key.kind == ResourceType::Vm && runs && !holder.freezes {
            running.entry(source).or_default().insert(key);
        }
    }
    let warnings: Vec<Warning> = running
        .into_iter()
        .map(|(region, machines)| {
            let message = match machines.first() {
                Some(only) if machines.len() == 1 => {
                    format!("{only} runs here without a freeze method: its points are quiet at best")
                }
                _ => format!("{} VMs run here without a freeze method: their points are quiet at best", machines.len()),
            };
            Warning { address: Some(Address::Region(region.clone())), message }
        })
        .collect();
    draft.warnings.extend(warnings);
    Ok(())
}
