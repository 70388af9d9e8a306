//! `--refresh-only`: what the state's record must become to say what is live. No region is touched: an entry's
//! `regions` are those that record the object now, `drops` those of the record that do not or that say otherwise,
//! `before` is the state's word and `after` the live one. Where regions disagree, the one that the object is most about
//! has the word.

use std::collections::BTreeSet;

use crate::model::{Address, RegionId};
use crate::plan::compare::SpecRef;
use crate::plan::delta::named;
use crate::plan::document::{Action, Change};
use crate::plan::draft::{Draft, View};
use crate::plan::live::{Holding, Sighting, holding};
use crate::plan::recording::{list, owner, relied_on};
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

/// Whose word counts where regions disagree: that of the region that the object is most about.
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
    let (ours, foreign): (Vec<&Sighting<'_>>, Vec<&Sighting<'_>>) =
        (view.live.of(address).iter()).partition(|sighting| sighting.record.managed_by() == Some(view.lineage()));
    let applied = view.applied(address);
    let known: BTreeSet<&RegionId> = applied.into_iter().flat_map(|applied| &applied.regions).collect();
    let out_of_sight = known.iter().any(|region| !view.sight.sees(region));
    let before = applied.map(|applied| SpecRef::from(&applied.spec));
    let witness = witness(view, address, &ours);
    let after = match (witness, before) {
        (Some(witness), Some(before)) if witness.record.spec().says(before) => before,
        (Some(witness), _) => witness.record.spec(),
        (None, before) => before?,
    };
    // The record says of a region that the object is there as the record has it. Where it is otherwise it is left out,
    // and the next plan writes it anew.
    let (agreeing, odd): (Vec<&Sighting<'_>>, Vec<&Sighting<'_>>) =
        ours.into_iter().partition(|sighting| sighting.record.spec().says(after));
    let at: BTreeSet<&RegionId> = agreeing.iter().map(|sighting| sighting.region).collect();
    let drops: BTreeSet<&RegionId> =
        known.iter().copied().filter(|region| view.sight.sees(region) && !at.contains(region)).collect();
    let fresh: BTreeSet<&RegionId> = at.difference(&known).copied().collect();

    let (action, reason) = match before {
        None => (Action::Create, format!("live at {}, unknown to the state", list(at.iter().copied()))),
        Some(_) if witness.is_none() && !out_of_sight => (Action::Delete, "its record is gone everywhere".to_owned()),
        Some(before) => {
            let mut parts = Vec::new();
            if let Some(witness) = witness.filter(|_| !after.says(before)) {
                let names = named(&before.differences(after));
                parts.push(format!("at {} differs {names}", witness.region));
            }
            for odd in odd.iter().filter(|odd| drops.contains(odd.region)) {
                let names = named(&after.differences(odd.record.spec()));
                let word = witness.map_or_else(String::new, |witness| format!(" from what {} says", witness.region));
                parts.push(format!("at {} differs {names}{word}, so it is left out", odd.region));
            }
            for foreign in foreign.iter().filter(|foreign| drops.contains(foreign.region)) {
                parts.push(format!("at {} it is managed by {}", foreign.region, owner(foreign.record.managed_by())));
            }
            let seen = |region: &RegionId| odd.iter().chain(&foreign).any(|sighting| sighting.region == region);
            let gone = list(drops.iter().copied().filter(|region| !seen(region)));
            if !gone.is_empty() {
                parts.push(format!("its record is gone at {gone}"));
            }
            if !fresh.is_empty() {
                parts.push(format!("also live at {}", list(fresh.iter().copied())));
            }
            if parts.is_empty() {
                return None;
            }
            (Action::Update, parts.join("; "))
        }
    };
    let (after, drops_told) = match action {
        Action::Delete => (None, BTreeSet::new()),
        _ => (Some(after), drops.clone()),
    };
    let regions: BTreeSet<&RegionId> = at.union(&drops).copied().collect();
    Some(Change {
        id: format!("{}:{address}", action.as_str()),
        address: address.clone(),
        kind: kind_of(address),
        action,
        regions: regions.iter().map(|region| (*region).clone()).collect(),
        drops: drops_told.into_iter().cloned().collect(),
        source: None,
        before: before.map(SpecRef::to_json),
        after: after.map(SpecRef::to_json),
        reason,
        depends_on: Vec::new(),
        precondition: relied_on(view.live.of(address), regions),
    })
}
