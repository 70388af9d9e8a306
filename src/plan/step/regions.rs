//! Records of regions: every region keeps one of every declared region.

use crate::model::{Address, RegionId};
use crate::plan::compare::SpecRef;
use crate::plan::draft::Draft;
use crate::plan::recording::{Subject, decide};
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    let everywhere: Vec<&RegionId> = view.input.topology.regions.keys().collect();
    for (id, spec) in &view.input.topology.regions {
        let address = Address::Region(id.clone());
        let (sightings, applied) = (view.live.of(&address), view.applied(&address));
        let subject = Subject {
            address,
            sightings,
            applied,
            desired: SpecRef::Region(spec),
            wanted: everywhere.clone(),
            holder: None,
        };
        decide(draft, &subject);
    }
    controlled_by_us(draft)
}

/// A registry is changed by its controller alone. Taking over objects takes over the registry with them.
fn controlled_by_us(draft: &Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    if view.input.options.adopt {
        return Ok(());
    }
    let writes = draft.changes.iter().chain(&draft.drift).filter(|change| view.targeted(&change.address));
    for region in writes.flat_map(|change| &change.regions) {
        let controller = view.sight.snapshot(region).and_then(|snapshot| snapshot.controller.as_ref());
        if let Some(controller) = controller.filter(|controller| controller.lineage != view.lineage()) {
            return Err(PlanRefusal::AnotherController {
                region: region.clone(),
                lineage: controller.lineage,
                place: controller.place.clone(),
            });
        }
    }
    Ok(())
}
