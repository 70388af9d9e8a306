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
}

impl Watch {
    /// What holds at every moment.
    pub(crate) fn look(&mut self, regions: &BTreeMap<RegionId, Region>) -> Result<(), String> {
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

    /// An act of a region, and what it said of it.
    pub(crate) fn worked(&mut self, region: &Region, worked: &Worked) {
        let Worked { job, act, reply } = worked;
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
    }

    /// An orchestrator says that an operation has ended.
    pub(crate) fn ended(&mut self, progress: &Progress, ending: Ending) -> Result<(), String> {
        let keys = match ending {
            Ending::Completed | Ending::Aborted => progress.moved.clone(),
            Ending::Withdrawn | Ending::Past => BTreeSet::new(),
        };
        let at = progress.bid.starter();
        // Whoever was passed over meanwhile does not know where it went.
        let attempt = progress.bid.attempt.number;
        if self.effects.get(&progress.bid.failover.id).is_some_and(|highest| *highest > attempt) {
            return Ok(());
        }
        for key in keys {
            let event = (progress.bid.failover.id, key.clone());
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
pub(crate) fn settled(regions: &BTreeMap<RegionId, Region>) -> Result<(), String> {
    let mut wrong = Vec::new();
    let mut latest: BTreeMap<&ResourceKey, (Epoch, u32)> = BTreeMap::new();
    for (id, region) in regions {
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
        let known = || regions.iter().filter_map(|(id, region)| Some((id, region, region.book.parts.get(key)?)));
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
