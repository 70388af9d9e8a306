//! What must hold at every moment, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use debvisor_region::failover::{Act, Ending, Order, Progress};
use debvisor_region::model::failover::Hook;
use debvisor_region::model::region::{Epoch, Role};
use debvisor_region::model::{OperationId, RegionId, ResourceKey};

use crate::region::{Region, Worked};

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    highest: BTreeMap<RegionId, Epoch>,
    ages: BTreeMap<(RegionId, ResourceKey), (Epoch, u32)>,
    /// Roles that a region has said that it has taken or given up.
    acknowledged: BTreeMap<(RegionId, ResourceKey), ((Epoch, u32), Role)>,
    /// The highest attempt of an operation that had an effect.
    effects: BTreeMap<OperationId, u32>,
    /// Where an operation brought a resource.
    arrived: BTreeMap<(OperationId, ResourceKey), RegionId>,
    /// Regions that were cut off by hand: by whom they have to be let in yet.
    cut_off: BTreeMap<RegionId, BTreeSet<RegionId>>,
    /// What ran in each region when it was last looked at.
    ran: BTreeMap<RegionId, BTreeSet<ResourceKey>>,
}

impl Watch {
    /// What holds at every moment.
    pub(crate) fn look(&mut self, regions: &BTreeMap<RegionId, Region>) -> Result<(), String> {
        self.started(regions)?;
        let mut running: BTreeMap<&ResourceKey, &RegionId> = BTreeMap::new();
        for (id, region) in regions {
            for key in &region.running {
                if let Some(other) = running.insert(key, id) {
                    return Err(format!("{key} RUNS TWICE: at {other} and {id}"));
                }
            }
            if region.forgot {
                continue;
            }
            let highest = self.highest.entry(id.clone()).or_default();
            if region.book.highest_epoch < *highest {
                return Err(format!("{id} forgot epoch {highest}"));
            }
            *highest = region.book.highest_epoch;
            for (key, part) in &region.book.parts {
                let place = (id.clone(), key.clone());
                if part.role == Role::Holder && part.holder != *id {
                    return Err(format!("{id} holds {key}, and says that {} does", part.holder));
                }
                let age = self.ages.entry(place.clone()).or_default();
                if part.age() < *age {
                    return Err(format!("{id}'s role in {key} grew younger: {:?} after {age:?}", part.age()));
                }
                *age = part.age();
                if let Some((since, role)) = self.acknowledged.get(&place) {
                    let same = match role {
                        Role::Holder => matches!(part.role, Role::Holder | Role::Demoted | Role::Fenced),
                        Role::Demoted => part.role != Role::Holder,
                        Role::Replica | Role::Fenced => true,
                    };
                    if part.age() == *since && !same {
                        return Err(format!("{id} lost the role {role:?} in {key}: {part:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A region that was cut off by hand and not let in starts nothing, be it by itself or by anybody's order.
    fn started(&mut self, regions: &BTreeMap<RegionId, Region>) -> Result<(), String> {
        for (id, region) in regions {
            let ran = self.ran.entry(id.clone()).or_default();
            if *ran == region.running {
                continue;
            }
            // Who was declared gone, as the region itself knows, is not asked to let it in.
            let counts = |keeper: &&RegionId| !region.book.gone.contains_key(*keeper);
            let keepers: Vec<&RegionId> = self.cut_off.get(id).into_iter().flatten().filter(counts).collect();
            if let (Some(key), false) = (region.running.difference(ran).next(), keepers.is_empty()) {
                return Err(format!("{id} was cut off by hand, is not let in by {keepers:?}, and starts {key}"));
            }
            ran.clone_from(&region.running);
        }
        Ok(())
    }

    /// A region was cut off by hand, which these keep.
    pub(crate) fn cut_off(&mut self, region: &RegionId, keepers: BTreeSet<RegionId>) {
        self.fenced(region);
        self.ran.remove(region);
        self.cut_off.insert(region.clone(), keepers);
    }

    /// Whether a region was cut off by hand, and not let in since.
    pub(crate) fn is_cut_off(&self, region: &RegionId) -> bool {
        self.cut_off.get(region).is_some_and(|keepers| !keepers.is_empty())
    }

    /// Machines run, and neither the region nor an order started them.
    pub(crate) fn autostarted(&mut self, region: &RegionId, running: &BTreeSet<ResourceKey>) {
        self.ran.insert(region.clone(), running.clone());
    }

    /// A region was let in by another one, which heard of that or is not asked any more.
    pub(crate) fn let_in(&mut self, region: &RegionId, by: &RegionId) {
        if let Some(keepers) = self.cut_off.get_mut(region) {
            keepers.remove(by);
        }
    }

    /// An act of a region, and what it said of it.
    ///
    /// A promotion that is taken back has started nothing, and nobody was told that it has.
    pub(crate) fn worked(&mut self, region: &Region, worked: &Worked) -> Result<(), String> {
        let Worked { job, act, reply, taken_back } = worked;
        for key in taken_back {
            let place = (region.id.clone(), key.clone());
            let (epoch, _) = self.ages.remove(&place).unwrap_or_default();
            let told = self.acknowledged.get(&place);
            let told = told.is_some_and(|((since, _), role)| *since == epoch && *role == Role::Holder);
            if told || region.running.contains(key) {
                return Err(format!("{} takes a promotion of {key} back that it started something by", region.id));
            }
        }
        if *act == Act::Write && !matches!(reply, Some(Err(_))) {
            self.effect(job.operation, job.attempt);
        }
        if let Some(Ok(_)) = reply {
            let role = if matches!(job.order, Order::Hold { .. }) { Role::Holder } else { Role::Demoted };
            for key in &job.keys {
                if let Some(part) = region.book.parts.get(key).filter(|part| part.role == role) {
                    self.acknowledged.insert((region.id.clone(), key.clone()), (part.age(), role));
                }
            }
        }
        Ok(())
    }

    fn effect(&mut self, operation: OperationId, attempt: u32) {
        let highest = self.effects.entry(operation).or_default();
        *highest = (*highest).max(attempt);
    }

    /// A hook ends.
    pub(crate) fn hook(&mut self, operation: OperationId, attempt: u32, hook: &Hook) -> Result<(), String> {
        if let Some(highest) = self.effects.get(&operation).filter(|highest| **highest > attempt) {
            return Err(format!("{hook:?} of attempt {attempt} ends behind the back of attempt {highest}"));
        }
        self.effect(operation, attempt);
        Ok(())
    }

    /// A region was cut off: an operation may pass it over.
    pub(crate) fn fenced(&mut self, region: &RegionId) {
        self.arrived.retain(|_, at| at != region);
    }

    /// A region has lost what it knew, and others what it told nobody.
    pub(crate) fn forget(&mut self, region: &RegionId) {
        self.arrived.retain(|_, at| at != region);
        self.acknowledged.retain(|(at, _), _| at != region);
        for keepers in self.cut_off.values_mut() {
            keepers.remove(region);
        }
    }

    /// An orchestrator says that an operation has ended: so any region has closed it, and no other orchestrator brought
    /// it elsewhere.
    pub(crate) fn ended(
        &mut self,
        progress: &Progress,
        ending: Ending,
        regions: &BTreeMap<RegionId, Region>,
    ) -> Result<(), String> {
        let keys = match ending {
            Ending::Completed | Ending::Aborted => progress.moved.clone(),
            Ending::Withdrawn | Ending::Past => BTreeSet::new(),
        };
        let (at, id) = (progress.bid.starter(), progress.bid.failover.id);
        let forgot = regions.values().any(|region| region.forgot);
        for key in keys {
            if !forgot && !regions.values().any(|region| region.has_closed(id, &key)) {
                return Err(format!("{id} is said to have ended for {key}, and no region has closed it"));
            }
            let event = (id, key.clone());
            match self.arrived.insert(event, at.clone()) {
                Some(other) if other != *at => {
                    return Err(format!("{key} went to {other} and to {at} in one operation"));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// What holds after calm weather: nothing is open, and everything runs where it is held, and all agree on that.
pub(crate) fn settled(all: &BTreeMap<RegionId, Region>) -> Result<(), String> {
    // Of what never comes back nothing is asked.
    let regions = || all.iter().filter(|(_, region)| !region.dead);
    let mut wrong = Vec::new();
    let mut latest: BTreeMap<&ResourceKey, (Epoch, u32)> = BTreeMap::new();
    for (id, region) in regions() {
        for open in region.book.open.values() {
            wrong.push(format!(
                "{} is still open at {id}: {} {}",
                open.bid.failover.id,
                open.bid.attempt,
                open.bid.direction.as_str()
            ));
        }
        if let Some(inert) = region.book.inert {
            wrong.push(format!("{id} is inert: {inert}"));
        }
        for (key, part) in &region.book.parts {
            let age = latest.entry(key).or_default();
            *age = (*age).max(part.age());
        }
    }
    for (key, age) in latest {
        let known = || regions().filter_map(|(id, region)| Some((id, region, region.book.parts.get(key)?)));
        let Some((_, _, newest)) = known().find(|(_, _, part)| part.age() == age) else { continue };
        let holder = &newest.holder;
        for (id, region, part) in known() {
            if part.holder != *holder {
                wrong.push(format!("{id} believes {} to hold {key}, and not {holder}", part.holder));
            }
            let holds = part.role == Role::Holder;
            if holds != (id == holder) {
                wrong.push(format!("{id} is {} of {key}, which {holder} holds", part.role.as_str()));
            }
            if region.running.contains(key) != (id == holder) {
                wrong.push(format!("{key} {} at {id}", if id == holder { "does not run" } else { "runs" }));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
