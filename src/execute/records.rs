//! What a change of a record means to each region, and what is remembered of it afterwards. Pure.
//!
//! Owns the lowering of create, update and delete to [`RecordChange`]s, and the rule for what the state remembers
//! when only some of the regions accepted. Leaves to the caller the calls themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::Memory;
use crate::model::observed::Observed;
use crate::model::recorded::Applied;
use crate::model::region::{Epoch, RecordChange, RecordWrite};
use crate::model::topology::Spec;
use crate::model::{Address, Lineage, RegionId, ResourceKey, StoreId};
use crate::plan::document::{Action, Change, Holder};

/// A change whose attributes cannot be read: only a plan file that was edited has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan's attributes of {address} cannot be read: {detail}")]
pub struct MalformedChange {
    /// The object.
    pub address: Address,
    /// Why.
    pub detail: String,
}

/// What lowering knows beside the change.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Who manages what is written.
    pub lineage: Lineage,
    /// What the regions answered.
    pub observed: &'a Observed,
    /// The stores of regions, those founded in this run included.
    pub stores: &'a BTreeMap<RegionId, StoreId>,
}

/// The attributes that the change ends at; none: the object is removed.
///
/// # Errors
/// [`MalformedChange`].
pub fn result(change: &Change) -> Result<Option<Spec>, MalformedChange> {
    let malformed = |detail: String| MalformedChange { address: change.address.clone(), detail };
    match change.action {
        Action::Delete => Ok(None),
        Action::Create | Action::Update => {
            let after = change.after.clone().ok_or_else(|| malformed("`after` is missing".to_owned()))?;
            Spec::from_json(&change.address, after).map(Some).map_err(|error| malformed(error.to_string()))
        }
        Action::Sync | Action::Repair | Action::Failover | Action::Fence => {
            Err(malformed(format!("`{}` writes no record", change.action.as_str())))
        }
    }
}

/// What each region of the change is asked for.
///
/// # Errors
/// [`MalformedChange`].
pub fn requests(change: &Change, ground: Ground<'_>) -> Result<Vec<(RegionId, RecordChange)>, MalformedChange> {
    let spec = result(change)?;
    let holder = match &change.address {
        Address::Resource(key) => change.precondition.holder.clone().or_else(|| holder(ground.observed, key)),
        Address::Region(_) | Address::Replication(_) => None,
    };
    let store = match &change.address {
        Address::Region(region) => ground.stores.get(region).copied(),
        Address::Replication(_) | Address::Resource(_) => None,
    };
    let write = |spec: &Spec| RecordWrite {
        spec: spec.clone(),
        managed_by: Some(ground.lineage),
        store,
        holder: holder.as_ref().map(|holder| (holder.region.clone(), holder.epoch)),
        former_id: None,
    };
    let asked = change.regions.iter().map(|region| {
        let record = spec.as_ref().filter(|_| !change.drops.contains(region)).map(write);
        let expected = change.precondition.records.get(region).copied().flatten();
        (region.clone(), RecordChange { address: change.address.clone(), expected, record })
    });
    Ok(asked.collect())
}

/// Who holds a living resource, by the latest word of any region that answered.
pub fn holder(observed: &Observed, key: &ResourceKey) -> Option<Holder> {
    let records = observed.answering().filter_map(|(_, snapshot)| snapshot.resources.get(key));
    let newest = records.max_by_key(|record| record.age())?;
    Some(Holder { region: newest.holder.clone(), epoch: newest.epoch })
}

/// The epoch that a copy of `key` is ordered under: the plan's, else what the regions answered, else its birth.
pub fn epoch(change: &Change, observed: &Observed, key: &ResourceKey) -> Epoch {
    let known = change.precondition.holder.clone().or_else(|| holder(observed, key));
    known.map_or(Epoch::BIRTH, |holder| holder.epoch)
}

/// What is remembered of the object when the regions `accepted` did what they were asked.
///
/// A change that all its regions accepted is remembered as applied, with the regions that now record these very
/// attributes: one that the plan could not reach is left out, so that the next plan has work for it. Of an update
/// that only some accepted the old attributes stay, so that the next plan asks for it again; of a creation, the
/// regions that have it.
pub fn memory(change: &Change, spec: Option<&Spec>, prior: Option<&Applied>, accepted: &BTreeSet<RegionId>) -> Memory {
    let all = change.regions.iter().all(|region| accepted.contains(region));
    if accepted.is_empty() && !change.regions.is_empty() {
        return Memory::Kept;
    }
    let Some(spec) = spec else {
        let left = prior.map(|prior| prior.regions.difference(accepted).cloned().collect()).unwrap_or_default();
        return match prior {
            Some(prior) if !all => Memory::Applied(Applied { spec: prior.spec.clone(), regions: left }),
            _ => Memory::Forgotten,
        };
    };
    let written = || accepted.iter().filter(|region| !change.drops.contains(region)).cloned();
    match prior {
        Some(prior) if prior.spec == *spec || !all => {
            let mut regions = prior.regions.clone();
            regions.extend(written().filter(|_| prior.spec == *spec));
            regions.retain(|region| !(change.drops.contains(region) && accepted.contains(region)));
            Memory::Applied(Applied { spec: prior.spec.clone(), regions })
        }
        Some(_) | None => Memory::Applied(Applied { spec: spec.clone(), regions: written().collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::topology::ResourceSpec;
    use crate::plan::document::{Kind, Precondition};

    fn regions(ids: &[&str]) -> BTreeSet<RegionId> {
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    fn vm(labels: &[(&str, &str)]) -> Spec {
        Spec::Resource(ResourceSpec {
            primary: "a".parse().unwrap(),
            replicas: regions(&["b"]),
            depends_on: BTreeSet::new(),
            max_lag: None,
            allowed_regions: BTreeMap::new(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
        })
    }

    fn change(action: Action, spec: Option<&Spec>, ids: &[&str], drops: &[&str]) -> Change {
        Change {
            id: "x".into(),
            address: "vm.v".parse().unwrap(),
            kind: Kind::Resource,
            action,
            regions: regions(ids).into_iter().collect(),
            drops: regions(drops).into_iter().collect(),
            source: None,
            before: None,
            after: spec.map(Spec::to_json),
            reason: String::new(),
            depends_on: Vec::new(),
            precondition: Precondition::default(),
        }
    }

    fn applied(spec: &Spec, ids: &[&str]) -> Applied {
        Applied { spec: spec.clone(), regions: regions(ids) }
    }

    #[test]
    fn a_creation_is_remembered_where_it_was_accepted() {
        let spec = vm(&[]);
        let create = change(Action::Create, Some(&spec), &["a", "b"], &[]);
        assert_eq!(memory(&create, Some(&spec), None, &regions(&[])), Memory::Kept);
        for accepted in [&["a"][..], &["a", "b"]] {
            let expected = Memory::Applied(applied(&spec, accepted));
            assert_eq!(memory(&create, Some(&spec), None, &regions(accepted)), expected);
        }
    }

    #[test]
    fn an_update_that_only_some_accepted_is_asked_for_again() {
        let (old, new) = (vm(&[]), vm(&[("tier", "web")]));
        let prior = applied(&old, &["a", "b", "c"]);
        let update = change(Action::Update, Some(&new), &["a", "b"], &[]);
        let half = memory(&update, Some(&new), Some(&prior), &regions(&["a"]));
        assert_eq!(half, Memory::Applied(prior.clone()));
        // `c` could not be reached by the plan: it does not record the new attributes.
        let whole = memory(&update, Some(&new), Some(&prior), &regions(&["a", "b"]));
        assert_eq!(whole, Memory::Applied(applied(&new, &["a", "b"])));
        // Later it can: the same attributes reach one more region.
        let rest = change(Action::Update, Some(&new), &["c"], &[]);
        let after = memory(&rest, Some(&new), Some(&applied(&new, &["a", "b"])), &regions(&["c"]));
        assert_eq!(after, Memory::Applied(applied(&new, &["a", "b", "c"])));
    }

    #[test]
    fn a_region_that_an_update_drops_is_asked_to_forget() {
        let (old, new) = (vm(&[]), vm(&[("tier", "web")]));
        let update = change(Action::Update, Some(&new), &["a", "b", "c"], &["c"]);
        let stores = BTreeMap::new();
        let ground = Ground { lineage: Lineage(uuid::Uuid::nil()), observed: &Observed::default(), stores: &stores };
        let asked = requests(&update, ground).unwrap();
        let removed: Vec<_> = asked.iter().map(|(region, change)| (region.as_str(), change.record.is_none())).collect();
        assert_eq!(removed, [("a", false), ("b", false), ("c", true)]);
        let prior = applied(&old, &["a", "b", "c"]);
        let after = memory(&update, Some(&new), Some(&prior), &regions(&["a", "b", "c"]));
        assert_eq!(after, Memory::Applied(applied(&new, &["a", "b"])));
        let half = memory(&update, Some(&new), Some(&prior), &regions(&["c"]));
        assert_eq!(half, Memory::Applied(applied(&old, &["a", "b"])));
    }

    #[test]
    fn a_removal_is_forgotten_only_when_all_forgot() {
        let spec = vm(&[]);
        let delete = change(Action::Delete, None, &["a", "b"], &[]);
        let prior = applied(&spec, &["a", "b"]);
        let half = memory(&delete, None, Some(&prior), &regions(&["b"]));
        assert_eq!(half, Memory::Applied(applied(&spec, &["a"])));
        assert_eq!(memory(&delete, None, Some(&prior), &regions(&["a", "b"])), Memory::Forgotten);
    }

    #[test]
    fn an_edited_plan_is_no_request() {
        let stores = BTreeMap::new();
        let ground = Ground { lineage: Lineage(uuid::Uuid::nil()), observed: &Observed::default(), stores: &stores };
        assert!(requests(&change(Action::Create, None, &["a"], &[]), ground).is_err());
        assert!(requests(&change(Action::Sync, Some(&vm(&[])), &["a"], &[]), ground).is_err());
    }
}
