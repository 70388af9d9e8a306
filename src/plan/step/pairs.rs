//! Records of replication pairs: both ends keep one.

use crate::model::{Address, RegionId};
use crate::plan::compare::SpecRef;
use crate::plan::draft::Draft;
use crate::plan::recording::{Subject, decide};
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    for (pair, spec) in &view.input.topology.pairs {
        let mut wanted: Vec<&RegionId> = vec![&pair.source, &pair.target];
        wanted.sort_unstable();
        let address = Address::Replication(pair.clone());
        let (sightings, applied) = (view.live.of(&address), view.applied(&address));
        let subject =
            Subject { address, sightings, applied, desired: SpecRef::Replication(spec), wanted, holder: None };
        decide(draft, &subject);
    }
    Ok(())
}
