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
    Ok(())
}
