//! Records of resources: the region where one is born, its replicas and its holder keep one.
//!
//! Held back: a resource that nothing may touch; one that is to be born at a region that was not seen; one that the
//! state knows and no seen region does while some region is unseen, because that one may be holding it and writing it
//! anew would give it a second birth.

use crate::model::RegionId;
use crate::model::topology::ResourceSpec;
use crate::plan::compare::SpecRef;
use crate::plan::draft::{Draft, KnownResource};
use crate::plan::live::Holding;
use crate::plan::recording::{Subject, decide};
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    for known in &view.resources {
        if draft.untouchable.contains_key(&known.address) {
            continue;
        }
        let holder = match &known.holding {
            Holding::Held(holder) => Some(holder),
            Holding::Unborn => {
                if born_out_of_sight(draft, known) {
                    continue;
                }
                None
            }
            Holding::Disputed(..) => continue,
        };
        let subject = Subject {
            address: known.address.clone(),
            sightings: &known.sightings,
            applied: known.applied,
            desired: SpecRef::Resource(known.spec),
            wanted: members(known.spec, holder.map(|holder| &holder.region)),
            holder: holder.cloned(),
        };
        decide(draft, &subject);
    }
    Ok(())
}

/// Every region that has to do with the resource, its holder included, in order.
pub(crate) fn members<'a>(spec: &'a ResourceSpec, holder: Option<&'a RegionId>) -> Vec<&'a RegionId> {
    let mut members: Vec<&RegionId> = spec.regions().chain(holder).collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// Defers a resource that no seen region knows and that may live at one that was not seen.
///
/// One that the state does not know either is born where it is declared, as soon as that region is seen. One that it
/// does know has a holder somewhere: any unseen region may be it.
fn born_out_of_sight(draft: &mut Draft<'_>, known: &KnownResource<'_>) -> bool {
    let view = draft.view;
    let waits_for: Vec<RegionId> = if known.applied.is_some() {
        view.sight.all_unseen().map(|(region, _)| region.clone()).collect()
    } else {
        view.sight.unseen(&known.spec.primary).map(|_| known.spec.primary.clone()).into_iter().collect()
    };
    for region in &waits_for {
        draft.defer(region, &known.address);
    }
    !waits_for.is_empty()
}
