//! What comes first: pairs after the regions that they create, resources after their regions and pairs, copies after
//! their resource, removals last.
//!
//! Only what must exist first is waited for: a resource does not wait for a mere change of a region's attributes, so
//! that a failure there does not hold its copies back.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::topology::ResourceSpec;
use crate::model::{Address, PairId, RegionId, ResourceKey};
use crate::plan::document::{Action, Change, Kind};
use crate::plan::draft::{Draft, View};
use crate::plan::refusal::PlanRefusal;
use crate::plan::step::syncs::feeding;

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let links = Links::of(draft);
    let view = draft.view;
    for change in draft.changes.iter_mut().chain(&mut draft.drift) {
        let mut first = links.before(view, change);
        first.remove(&change.id);
        change.depends_on = first.into_iter().collect();
    }
    Ok(())
}

/// The changes that others may have to wait for.
struct Links {
    /// Objects that this plan makes: the change's id.
    made: BTreeMap<Address, String>,
    /// Records of resources that this plan writes.
    written: BTreeMap<Address, String>,
    /// By region, the resources and pairs whose records change or go there.
    touching: BTreeMap<RegionId, BTreeSet<String>>,
    /// The pairs that go.
    pairs_going: Vec<(PairId, String)>,
}

impl Links {
    fn of(draft: &Draft<'_>) -> Self {
        let mut links = Self {
            made: BTreeMap::new(),
            written: BTreeMap::new(),
            touching: BTreeMap::new(),
            pairs_going: Vec::new(),
        };
        let removals = draft.changes.iter().any(|change| change.action == Action::Delete);
        for change in draft.changes.iter().chain(&draft.drift) {
            let (address, id) = (&change.address, &change.id);
            let founds = matches!(address, Address::Region(region) if draft.view.sight.is_vacant(region));
            match (change.kind, change.action) {
                (Kind::Sync | Kind::Failover | Kind::Fence, _) => continue,
                (_, Action::Delete) => {
                    if let Address::Replication(pair) = address {
                        links.pairs_going.push((pair.clone(), id.clone()));
                    }
                }
                (Kind::Resource, _) => {
                    links.written.insert(address.clone(), id.clone());
                }
                (Kind::Region | Kind::Replication, Action::Create) => {
                    links.made.insert(address.clone(), id.clone());
                }
                (Kind::Region | Kind::Replication, _) if founds => {
                    links.made.insert(address.clone(), id.clone());
                }
                (Kind::Region | Kind::Replication, _) => {}
            }
            if removals && change.kind == Kind::Resource {
                for region in &change.regions {
                    links.touching.entry(region.clone()).or_default().insert(id.clone());
                }
            }
        }
        links
    }

    fn region(&self, region: &RegionId) -> Option<&String> {
        self.made.get(&Address::Region(region.clone()))
    }

    fn before(&self, view: &View<'_>, change: &Change) -> BTreeSet<String> {
        match (change.kind, change.action, &change.address) {
            (Kind::Region, Action::Delete, Address::Region(region)) => {
                let pairs =
                    self.pairs_going.iter().filter(|(pair, _)| pair.source == *region || pair.target == *region);
                pairs.map(|(_, id)| id).chain(self.touching.get(region).into_iter().flatten()).cloned().collect()
            }
            (Kind::Replication, Action::Delete, Address::Replication(pair)) => {
                let (Some(source), Some(target)) = (self.touching.get(&pair.source), self.touching.get(&pair.target))
                else {
                    return BTreeSet::new();
                };
                source.intersection(target).cloned().collect()
            }
            (_, Action::Delete, _) | (Kind::Region, _, _) => BTreeSet::new(),
            (Kind::Resource, _, Address::Resource(key)) => {
                let regions = change.regions.iter().filter_map(|region| self.region(region));
                let spec = view.input.topology.resources.get(key);
                let pairs = spec.into_iter().flat_map(|spec| self.feeding(view, key, spec, change));
                regions.cloned().chain(pairs).collect()
            }
            (Kind::Sync | Kind::Failover | Kind::Fence, _, Address::Resource(key)) => {
                let record = self.written.get(&change.address).cloned();
                let spec = view.input.topology.resources.get(key);
                let pair = spec.into_iter().flat_map(|spec| self.feeding(view, key, spec, change));
                record.into_iter().chain(pair).collect()
            }
            (_, _, Address::Region(_) | Address::Replication(_) | Address::Resource(_)) => {
                change.regions.iter().filter_map(|region| self.region(region)).cloned().collect()
            }
        }
    }

    /// The pairs that this plan makes and that feed the change's regions.
    fn feeding(&self, view: &View<'_>, key: &ResourceKey, spec: &ResourceSpec, change: &Change) -> Vec<String> {
        let holder = change.precondition.holder.as_ref().map_or(&spec.primary, |holder| &holder.region);
        (change.regions.iter())
            .filter_map(|target| feeding(view.input.topology, key, spec, holder, target))
            .filter_map(|(pair, _)| self.made.get(&Address::Replication(pair)).cloned())
            .collect()
    }
}
