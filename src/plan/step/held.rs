//! Lists what an emergency decided: resources that another region holds than the files say, and those that nothing
//! may touch now. Cron never fights either.

use crate::model::Address;
use crate::model::region::Epoch;
use crate::plan::document::Held;
use crate::plan::draft::Draft;
use crate::plan::live::{Holding, holding};
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    for (key, spec) in &view.input.topology.resources {
        let address = Address::Resource(key.clone());
        if let Some(held) = draft.untouchable.get(&address) {
            draft.held.push(held.clone());
            continue;
        }
        let Holding::Held(holder) = holding(view.live.of(&address), &view.sight) else { continue };
        if holder.region == spec.primary {
            continue;
        }
        let reason = if holder.epoch > Epoch::BIRTH {
            format!(
                "{} holds it since epoch {}, the files say {}: with `primary = \"{}\"` they say what is",
                holder.region, holder.epoch, spec.primary, holder.region
            )
        } else {
            format!(
                "it was born at {}, and `primary` moves nothing that lives: with `primary = \"{}\"` the files say what is",
                holder.region, holder.region
            )
        };
        draft.held.push(Held { address, declared: spec.primary.clone(), holder, reason });
    }
    Ok(())
}
