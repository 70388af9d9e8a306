//! Lists live objects that this lineage never managed and the files do not declare. They are shown and left alone.

use crate::plan::document::Unmanaged;
use crate::plan::draft::Draft;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    for (address, sightings) in view.live.all() {
        let ours = sightings.iter().any(|sighting| sighting.record.managed_by() == Some(view.lineage()));
        let Some(first) = sightings.first().filter(|_| !ours && !view.declares(address)) else { continue };
        draft.unmanaged.push(Unmanaged {
            address: address.clone(),
            regions: sightings.iter().map(|sighting| sighting.region.clone()).collect(),
            managed_by: first.record.managed_by(),
        });
    }
    Ok(())
}
