//! Lists what an emergency decided: resources that another region holds than the files say, and those that nothing
//! may touch now, with the reason. Cron never fights either.

use crate::model::region::Epoch;
use crate::plan::document::Held;
use crate::plan::draft::{Draft, KnownResource, Untouchable};
use crate::plan::live::Holding;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    for KnownResource { address, spec, holding, .. } in &view.resources {
        match draft.untouchable.get(address) {
            Some(Untouchable::Held(held)) => draft.held.push(held.clone()),
            Some(Untouchable::Blocked(blocked)) => draft.blocked.push(blocked.clone()),
            None => {}
        }
        if draft.untouchable.contains_key(address) {
            continue;
        }
        let Holding::Held(holder) = holding else { continue };
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
        let (address, declared, holder) = (address.clone(), spec.primary.clone(), holder.clone());
        draft.held.push(Held { address, declared, holder, reason });
    }
    Ok(())
}
