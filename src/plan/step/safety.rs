//! Writes down what must not be touched, with the reason, before any step decides what to touch.
//!
//! Unseen regions are known already (`sight`). Here: resources whose holder is in doubt and those on which an operation
//! is open, which are listed as held, and those whose place another one's files are in, which are blocked. They get no
//! change and no sync.

use crate::model::point::BlockReason;
use crate::plan::document::{Blocked, Held, Holder, Mode};
use crate::plan::draft::{Draft, KnownResource, Untouchable, View};
use crate::plan::live::Holding;
use crate::plan::refusal::PlanRefusal;
use crate::plan::step::resources::members;

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
        let address = known.address.clone();
        if let Some((holder, reason)) = doubt {
            let declared = known.spec.primary.clone();
            let held = Held { address: address.clone(), declared, holder, reason };
            draft.untouchable.insert(address, Untouchable::Held(held));
        } else if let Some(blocked) = crowded_out(view, known) {
            draft.untouchable.insert(address, Untouchable::Blocked(blocked));
        }
    }
    Ok(())
}

/// A renamed resource's files stay where they lie, in the directory of its former name, until somebody moves them. A
/// new resource of that name cannot be recorded there before: it would take the other's files for its own.
fn crowded_out(view: &View<'_>, known: &KnownResource<'_>) -> Option<Blocked> {
    match view.input.options.mode {
        Mode::Normal => {}
        // Neither records anything new.
        Mode::Reconcile | Mode::RefreshOnly => return None,
    }
    let holder = match &known.holding {
        Holding::Held(holder) => Some(&holder.region),
        Holding::Unborn | Holding::Disputed(..) => None,
    };
    let kind = known.key.kind;
    members(known.spec, holder).into_iter().filter(|region| !known.recorded_at(region)).find_map(|region| {
        let lying = &view.sight.snapshot(region)?.former_ids;
        let (tenant, _) = lying
            .iter()
            .find(|(tenant, former)| tenant.kind == kind && **former == known.key.id && tenant.id != known.key.id)?;
        let directories = format!("resources/{}", kind.as_str());
        Some(Blocked {
            address: known.address.clone(),
            region_id: Some(region.clone()),
            reason: BlockReason::Unsupported,
            detail: format!(
                "{directories}/{} there holds the files of {tenant}, which had that name before: rename the directory \
                 to {directories}/{} while {tenant} is stopped, or give {} another id",
                known.key.id, tenant.id, known.address
            ),
        })
    })
}
