//! Lists the renames that the next apply records: in the state, and at the regions that still use the former name.

use std::collections::BTreeSet;

use crate::model::RegionId;
use crate::plan::document::{Mode, PlannedMove};
use crate::plan::draft::Draft;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    draft.warnings.extend(view.moves.warnings.iter().cloned());
    for (from, to) in view.moves.all() {
        if !view.targeted(to) {
            continue;
        }
        let regions: BTreeSet<RegionId> = (view.live.of(to).iter())
            .filter(|sighting| sighting.former)
            .map(|sighting| sighting.region.clone())
            .collect();
        // A region that was not seen may still use the former name.
        for region in view.applied(to).into_iter().flat_map(|applied| &applied.regions) {
            if !view.sight.sees(region) {
                draft.defer(region, to);
            }
        }
        match view.input.options.mode {
            Mode::Reconcile => draft.left.changes += 1,
            Mode::Normal | Mode::RefreshOnly => {
                let regions = regions.into_iter().collect();
                draft.moved.push(PlannedMove { from: from.clone(), to: to.clone(), regions });
            }
        }
    }
    Ok(())
}
