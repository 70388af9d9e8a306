//! Records of regions: every region keeps one of every declared region.

use crate::model::point::BlockReason;
use crate::model::{Address, OperationId, RegionId};
use crate::plan::compare::SpecRef;
use crate::plan::document::Blocked;
use crate::plan::draft::{Draft, View};
use crate::plan::recording::{Subject, decide};
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    let open = open_operation(view);
    let everywhere: Vec<&RegionId> = view.input.topology.regions.keys().collect();
    for (id, spec) in &view.input.topology.regions {
        let address = Address::Region(id.clone());
        let (sightings, applied) = (view.live.of(&address), view.applied(&address));
        let recorded_at = |region: &RegionId| sightings.iter().any(|sighting| sighting.region == region);
        let comes = everywhere.iter().any(|region| view.sight.sees(region) && !recorded_at(region));
        if let Some(open) = open.as_ref().filter(|_| comes) {
            // What comes is told, and not each of those that do not get to know it.
            draft.blocked.extend(sightings.is_empty().then(|| open.blocks(address)));
            continue;
        }
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

/// What keeps regions from coming or going: an operation was put to all that there were, and is agreed to by them.
pub(super) struct OpenOperation<'a> {
    operation: OperationId,
    region: &'a RegionId,
}

/// The first operation that is open anywhere.
pub(super) fn open_operation<'a>(view: &View<'a>) -> Option<OpenOperation<'a>> {
    view.live.all().flat_map(|(_, sightings)| sightings).find_map(|sighting| {
        let operation = sighting.record.resource()?.operation?;
        Some(OpenOperation { operation, region: sighting.region })
    })
}

impl OpenOperation<'_> {
    /// A region that neither comes nor goes.
    pub(super) fn blocks(&self, address: Address) -> Blocked {
        let Self { operation, region } = self;
        let detail = format!("operation {operation} is open at {region}: no region comes or goes before it has ended");
        Blocked { address, region_id: None, reason: BlockReason::OpenOperation, detail }
    }
}
