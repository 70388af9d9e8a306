//! `--target`: keeps what was asked for and what that cannot do without, and says nothing of the rest.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Address;
use crate::plan::document::Change;
use crate::plan::draft::Draft;
use crate::plan::refusal::PlanRefusal;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    if view.input.options.targets.is_empty() {
        return Ok(());
    }
    let by_id: BTreeMap<&str, &Change> =
        draft.changes.iter().chain(&draft.drift).map(|change| (change.id.as_str(), change)).collect();
    let mut open: Vec<&Change> = by_id.values().copied().filter(|change| view.targeted(&change.address)).collect();
    let mut kept: BTreeSet<String> = BTreeSet::new();
    let mut addresses: BTreeSet<Address> = BTreeSet::new();
    while let Some(change) = open.pop() {
        if kept.insert(change.id.clone()) {
            addresses.insert(change.address.clone());
            open.extend(change.depends_on.iter().filter_map(|id| by_id.get(id.as_str()).copied()));
        }
    }
    let concerns = |address: &Address| view.targeted(address) || addresses.contains(address);
    draft.changes.retain(|change| kept.contains(&change.id));
    draft.drift.retain(|change| kept.contains(&change.id));
    draft.held.retain(|held| concerns(&held.address));
    draft.blocked.retain(|blocked| concerns(&blocked.address));
    draft.waiting.retain(|waiting| concerns(&waiting.address));
    draft.unmanaged.retain(|unmanaged| concerns(&unmanaged.address));
    draft.warnings.retain(|warning| warning.address.as_ref().is_none_or(concerns));
    for addresses in draft.deferred.values_mut() {
        addresses.retain(concerns);
    }
    draft.deferred.retain(|_, addresses| !addresses.is_empty());
    Ok(())
}
