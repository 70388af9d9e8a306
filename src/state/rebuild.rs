//! A lost state, made anew from what the regions remember.
//!
//! Every region keeps its copy of what concerns it, each object with the lineage that manages it. What the regions
//! cannot give back is the history, the topologies that were applied, and the controller's place, which a state made
//! anew has to take like any other.

use std::collections::{BTreeMap, BTreeSet};

use super::error::StateError;
use super::journal::State;
use super::memory::{Remember, grow_serial, remember_object, write_store};
use crate::model::recorded::Applied;
use crate::model::region::RegionSnapshot;
use crate::model::topology::Spec;
use crate::model::{Address, Lineage, RegionId, StoreId};

/// What a state is made anew from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// The lineage that the objects carry.
    pub lineage: Lineage,
    /// The objects. Where regions record different attributes, those that most regions have; the others then differ
    /// from what is remembered, and the next plan shows it.
    pub objects: BTreeMap<Address, Applied>,
    /// The objects that regions record with different attributes.
    pub differing: BTreeSet<Address>,
    /// The stores: of the regions that answered, their own; of the others, what their peers know.
    pub stores: BTreeMap<RegionId, StoreId>,
}

/// What one region says of one object.
struct Testimony<'a> {
    region: &'a RegionId,
    spec: Spec,
    managed_by: Option<Lineage>,
}

fn testimonies(snapshots: &BTreeMap<RegionId, RegionSnapshot>) -> BTreeMap<Address, Vec<Testimony<'_>>> {
    let mut found: BTreeMap<Address, Vec<Testimony<'_>>> = BTreeMap::new();
    for (region, snapshot) in snapshots {
        let mut say = |address, spec, managed_by| {
            found.entry(address).or_default().push(Testimony { region, spec, managed_by });
        };
        for (id, record) in &snapshot.regions {
            say(Address::Region(id.clone()), Spec::Region(Box::new(record.spec.clone())), record.managed_by);
        }
        for (id, record) in &snapshot.pairs {
            say(Address::Replication(id.clone()), Spec::Replication(record.spec.clone()), record.managed_by);
        }
        for (key, record) in &snapshot.resources {
            say(Address::Resource(key.clone()), Spec::Resource(record.spec.clone()), record.managed_by);
        }
    }
    found
}

impl Rebuild {
    /// Learns a state from the regions that answered: that of `lineage`, or of the only one that there is.
    ///
    /// # Errors
    /// [`StateError::ManyLineages`] where there are several and none was named; [`StateError::NothingManaged`].
    pub fn learn(snapshots: &BTreeMap<RegionId, RegionSnapshot>, lineage: Option<Lineage>) -> Result<Self, StateError> {
        let testimonies = testimonies(snapshots);
        let mut found: BTreeMap<Lineage, BTreeSet<RegionId>> = BTreeMap::new();
        for testimony in testimonies.values().flatten() {
            if let Some(lineage) = testimony.managed_by {
                found.entry(lineage).or_default().insert(testimony.region.clone());
            }
        }
        let lineage = match lineage {
            Some(lineage) if found.contains_key(&lineage) => lineage,
            Some(_) => return Err(StateError::NothingManaged { lineage }),
            None => {
                let mut only = found.keys().copied();
                match (only.next(), only.next()) {
                    (Some(lineage), None) => lineage,
                    (Some(_), Some(_)) => return Err(StateError::ManyLineages { found }),
                    (None, _) => return Err(StateError::NothingManaged { lineage: None }),
                }
            }
        };
        let mut objects = BTreeMap::new();
        let mut differing = BTreeSet::new();
        for (address, testimonies) in testimonies {
            let ours: Vec<_> = testimonies.into_iter().filter(|said| said.managed_by == Some(lineage)).collect();
            let Some((applied, all_agree)) = majority(&ours) else { continue };
            if !all_agree {
                differing.insert(address.clone());
            }
            objects.insert(address, applied);
        }
        Ok(Self { lineage, objects, differing, stores: stores(snapshots) })
    }
}

/// What most regions record; of equally many, what the first of them does. None where no region records it.
fn majority(said: &[Testimony<'_>]) -> Option<(Applied, bool)> {
    let mut best: Option<Applied> = None;
    for candidate in said {
        let regions: BTreeSet<RegionId> =
            said.iter().filter(|other| other.spec == candidate.spec).map(|other| other.region.clone()).collect();
        if best.as_ref().is_none_or(|best| regions.len() > best.regions.len()) {
            best = Some(Applied { spec: candidate.spec.clone(), regions });
        }
    }
    best.map(|best| {
        let all_agree = best.regions.len() == said.len();
        (best, all_agree)
    })
}

fn stores(snapshots: &BTreeMap<RegionId, RegionSnapshot>) -> BTreeMap<RegionId, StoreId> {
    let known = snapshots.values().flat_map(|snapshot| &snapshot.regions);
    let mut stores: BTreeMap<_, _> =
        known.filter_map(|(region, record)| record.store.map(|store| (region.clone(), store))).collect();
    // What a region says of itself counts more than what its peers remember.
    let own = snapshots.values().filter_map(|snapshot| snapshot.identity.as_ref());
    stores.extend(own.map(|identity| (identity.region_id.clone(), identity.store)));
    stores
}

impl State {
    /// Becomes what was learnt. The seat is nobody's afterwards.
    pub(super) fn become_rebuilt(&mut self, from: &Rebuild) -> Result<(), StateError> {
        let recorded = self.reader.recorded()?;
        if !recorded.objects.is_empty() {
            let path = self.reader.path.clone();
            return Err(StateError::Managing { path, objects: recorded.objects.len() });
        }
        let now = self.now();
        self.change(|transaction| {
            if recorded.lineage != from.lineage {
                // What another lineage applied says nothing about this one.
                transaction.execute("DELETE FROM topologies", [])?;
            }
            transaction.execute("DELETE FROM stores", [])?;
            for (region, store) in &from.stores {
                write_store(transaction, region, *store, None, now.as_micros())?;
            }
            for (address, applied) in &from.objects {
                remember_object(transaction, None, now, address, &Remember::Applied(applied.clone()))?;
            }
            let sql = "UPDATE meta SET lineage = ?1, seat = NULL, seat_term = NULL, seat_machine = NULL, \
                       seat_inode = NULL, seat_born = NULL";
            transaction.execute(sql, [from.lineage.to_string()])?;
            grow_serial(transaction)
        })
    }
}
