//! `--refresh-only`: what the state's record must become to say what is live. No region is touched: an entry's
//! `regions` are those that record the object now, `drops` those of the record that do not, `before` is the state's
//! word and `after` the live one. Where regions disagree, the one that the object is most about has the word.

use std::collections::BTreeSet;

use crate::model::{Address, RegionId};
use crate::plan::compare::SpecRef;
use crate::plan::document::{Action, Change};
use crate::plan::draft::{Draft, View};
use crate::plan::live::{Holding, Sighting, holding};
use crate::plan::recording::{list, relied_on};
use crate::plan::refusal::PlanRefusal;
use crate::plan::step::prune::kind_of;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    let live = view.live.all().map(|(address, _)| address);
    let all: BTreeSet<&Address> = view.input.recorded.objects.keys().chain(live).collect();
    let mut found: Vec<Change> = all.into_iter().filter_map(|address| refresh(draft, address)).collect();
    // Stable: within a kind by address.
    found.sort_by_key(|change| change.kind);
    for change in found {
        draft.drift(change);
    }
    Ok(())
}

/// Whose word counts where regions disagree: that of the region that the object is most about. What others say
/// instead is drift, which refreshing does not mend.
fn witness<'s, 'a>(view: &View<'_>, address: &Address, ours: &[&'s Sighting<'a>]) -> Option<&'s Sighting<'a>> {
    let nearest = match address {
        Address::Region(id) => Some(id.clone()),
        Address::Replication(pair) => Some(pair.source.clone()),
        Address::Resource(_) => match holding(view.live.of(address), &view.sight) {
            Holding::Held(holder) | Holding::Disputed(holder, _) => Some(holder.region),
            Holding::Unborn => None,
        },
    };
    let at = |sighting: &&&Sighting<'_>| nearest.as_ref() == Some(sighting.region);
    ours.iter().find(at).or_else(|| ours.first()).copied()
}

fn refresh(draft: &Draft<'_>, address: &Address) -> Option<Change> {
    let view = draft.view;
    let ours: Vec<&Sighting<'_>> = (view.live.of(address).iter())
        .filter(|sighting| sighting.record.managed_by() == Some(view.lineage()))
        .collect();
    let at: BTreeSet<&RegionId> = ours.iter().map(|sighting| sighting.region).collect();
    let applied = view.applied(address);
    let known: BTreeSet<&RegionId> = applied.into_iter().flat_map(|applied| &applied.regions).collect();
    let gone: BTreeSet<&RegionId> =
        known.iter().copied().filter(|region| view.sight.sees(region) && !at.contains(region)).collect();
    let fresh: BTreeSet<&RegionId> = at.difference(&known).copied().collect();
    let before = applied.map(|applied| SpecRef::from(&applied.spec));
    let differs = (witness(view, address, &ours))
        .filter(|sighting| before.is_none_or(|before| !sighting.record.spec().says(before)));
    let out_of_sight = known.iter().any(|region| !view.sight.sees(region));

    let (action, after, reason) = match (before, differs) {
        (None, None) => return None,
        (None, Some(sighting)) => (
            Action::Create,
            Some(sighting.record.spec()),
            format!("live at {}, unknown to the state", list(at.iter().copied())),
        ),
        (Some(_), _) if ours.is_empty() && !out_of_sight => {
            (Action::Delete, None, "its record is gone everywhere".to_owned())
        }
        (Some(before), Some(sighting)) => {
            let live = sighting.record.spec();
            let names = crate::plan::delta::named(&before.differences(live));
            (Action::Update, Some(live), format!("at {} differs {names}", sighting.region))
        }
        (Some(_), None) if gone.is_empty() && fresh.is_empty() => return None,
        (Some(before), None) if gone.is_empty() => {
            (Action::Update, Some(before), format!("also live at {}", list(fresh.iter().copied())))
        }
        (Some(before), None) => {
            (Action::Update, Some(before), format!("its record is gone at {}", list(gone.iter().copied())))
        }
    };
    let regions: BTreeSet<&RegionId> = at.union(&gone).copied().collect();
    Some(Change {
        id: format!("{}:{address}", action.as_str()),
        address: address.clone(),
        kind: kind_of(address),
        action,
        regions: regions.iter().map(|region| (*region).clone()).collect(),
        drops: match action {
            Action::Delete => Vec::new(),
            _ => gone.iter().map(|region| (*region).clone()).collect(),
        },
        source: None,
        before: before.map(SpecRef::to_json),
        after: after.map(SpecRef::to_json),
        reason,
        depends_on: Vec::new(),
        precondition: relied_on(view.live.of(address), regions),
    })
}
