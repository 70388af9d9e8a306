//! Writes down what must not be touched, with the reason, before any step decides what to touch.
//!
//! Unseen regions are known already (`sight`). Here: resources whose holder is in doubt, and those on which an
//! operation is open. They get no change and no sync; they are listed as held.

use crate::plan::document::{Held, Holder};
use crate::plan::draft::Draft;
use crate::plan::live::Holding;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    for known in &view.resources {
        let open = known.sightings.iter().find_map(|sighting| {
            let record = sighting.record.resource()?;
            let operation = record.operation?;
            let holder = Holder { region: record.holder.clone(), epoch: record.epoch };
            Some((holder, format!("operation {operation} is open on it at {}", sighting.region)))
        });
        let doubt = match &known.holding {
            Holding::Disputed(holder, reason) => Some((holder.clone(), reason.clone())),
            Holding::Unborn | Holding::Held(_) => open,
        };
        if let Some((holder, reason)) = doubt {
            let (address, declared) = (known.address.clone(), known.spec.primary.clone());
            draft.untouchable.insert(address.clone(), Held { address, declared, holder, reason });
        }
    }
    Ok(())
}
