//! Writes down what must not be touched, with the reason, before any step decides what to touch.
//!
//! Unseen regions are known already (`sight`). Here: resources whose holder is in doubt, and those on which an
//! operation is open. They get no change and no sync; they are listed as held.

use crate::model::Address;
use crate::plan::document::{Held, Holder};
use crate::plan::draft::Draft;
use crate::plan::live::{Holding, holding};
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    for (key, spec) in &view.input.topology.resources {
        let address = Address::Resource(key.clone());
        let sightings = view.live.of(&address);
        let open = sightings.iter().find_map(|sighting| {
            let record = sighting.record.resource()?;
            let operation = record.operation?;
            let holder = Holder { region: record.holder.clone(), epoch: record.epoch };
            Some((holder, format!("operation {operation} is open on it at {}", sighting.region)))
        });
        let doubt = match holding(sightings, &view.sight) {
            Holding::Disputed(holder, reason) => Some((holder, reason)),
            Holding::Unborn | Holding::Held(_) => open,
        };
        if let Some((holder, reason)) = doubt {
            let held = Held { address: address.clone(), declared: spec.primary.clone(), holder, reason };
            draft.untouchable.insert(address, held);
        }
    }
    Ok(())
}
