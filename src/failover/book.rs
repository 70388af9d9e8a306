//! What a region durably knows of roles and open operations.
//!
//! A [`Book`] is a value: a region loads what an order concerns, lets the order change it, and commits the change
//! before it answers. An order that is refused changes nothing; a repeat of one that was taken answers as the first
//! time, or is refused.
//!
//! What must hold, before what is done:
//! - Roles are changed by the recorded controller alone: lineage, term and seat.
//! - An attempt is accepted once: a lower one, and one of the same number from another owner, is refused.
//! - While an operation is open on a resource, no other one is. One that ended here is never open here again.
//! - A region that runs a resource, or holds it, agrees to nobody else's operation on it.
//! - A role is written before the machine is started or stopped, so that a crash leaves one that starts nothing.
//! - A promotion is taken back by its region alone, and only while nothing was put in place for it.
//! - The highest epoch never goes down, whatever becomes of the operation that raised it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::{Order, Refusal, Reply};
use super::start::Agent;
use crate::model::failover::{Attempt, CutOff, Ended, Inert, Met, Open, Part, Standing, Standings};
use crate::model::region::{Controller, Epoch, Role};
use crate::model::{OperationId, RegionId, ResourceKey, StoreId};

/// What a region durably knows of roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Book {
    /// Whose it is.
    pub region: RegionId,
    /// Its store.
    pub store: StoreId,
    /// Raised with every change that is committed, so that others see when the store went back.
    pub serial: u64,
    /// Why it takes no part in anything; none: it does.
    pub inert: Option<Inert>,
    /// Who may change roles.
    pub controller: Option<Controller>,
    /// The registered regions, this one among them.
    pub registry: BTreeSet<RegionId>,
    /// Those of them that a person declared gone, in that person's words.
    pub gone: BTreeMap<RegionId, String>,
    /// Those of them that a person cut off by hand, and did not let in since.
    pub cut_off: BTreeMap<RegionId, CutOff>,
    /// Up to which epoch no word that a region was cut off by hand proves it stopped any more, whoever keeps it.
    pub unproven: BTreeMap<RegionId, Epoch>,
    /// The highest epoch that it ever saw.
    pub highest_epoch: Epoch,
    /// Its part in each resource that it knows.
    pub parts: BTreeMap<ResourceKey, Part>,
    /// What is open.
    pub open: BTreeMap<OperationId, Open>,
    /// What was open, for ever.
    pub ended: BTreeMap<OperationId, Ended>,
}

impl Book {
    /// Does the book's part of an order. `running`: what runs here, or may. `busy`: whether a step of an earlier attempt
    /// at the operation is still under way here.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was changed then.
    pub fn take(
        &mut self,
        agent: &Agent,
        running: &BTreeSet<ResourceKey>,
        busy: bool,
        order: &Order,
    ) -> Result<Reply, Refusal> {
        let done = |keys: &BTreeSet<ResourceKey>| Reply::Done(keys.clone());
        self.authorize(order.authority())?;
        if let Some(inert) = self.inert {
            return Err(Refusal::Inert(inert));
        }
        let (operation, attempt) = order.attempt();
        if let Some(later) = agent.overtaken(self, operation, attempt).filter(|_| order.leads_on()) {
            return Err(Refusal::Attempt(Box::new(later.clone())));
        }
        match order {
            Order::Accept { authority: _, bid } => self.accept(bid, running, busy).map(Reply::Accepted),
            Order::Withdraw { authority: _, operation, attempt, resources } => {
                self.withdraw(*operation, *attempt, resources).map(|()| done(resources))
            }
            Order::Confirm { authority: _, operation, attempt } => {
                self.at(*operation, *attempt).map(|_| done(&BTreeSet::new()))
            }
            Order::Note { authority: _, operation, attempt, note } => {
                self.note(*operation, *attempt, note).map(|()| done(&BTreeSet::new()))
            }
            Order::Demote { authority: _, operation, attempt, resources } => {
                self.demote(*operation, *attempt, resources).map(|()| done(resources))
            }
            Order::Hold { authority: _, mandate, resources } => {
                self.hold(mandate, resources, agent).map(|()| done(resources))
            }
            Order::Close { authority: _, operation, attempt, resources } => {
                self.close(*operation, *attempt, resources).map(|()| done(resources))
            }
        }
    }

    /// The operation that is open on a resource.
    pub fn open_on(&self, key: &ResourceKey) -> Option<OperationId> {
        self.open.iter().find(|(_, open)| open.resources.contains(key)).map(|(id, _)| *id)
    }

    /// The open operation, at exactly this attempt.
    pub(super) fn at(&mut self, id: OperationId, attempt: Attempt) -> Result<&mut Open, Refusal> {
        let open = self.open.get_mut(&id).ok_or(Refusal::NotOpen)?;
        if open.bid.attempt == attempt { Ok(open) } else { Err(Refusal::Attempt(Box::new(open.bid.clone()))) }
    }

    /// Ends an operation for some of what it is open on, which a region holds since; none: it was withdrawn.
    pub(super) fn end(&mut self, id: OperationId, keys: &BTreeSet<ResourceKey>, holder: Option<&RegionId>) {
        if let (Some(_), Some(open)) = (holder, self.open.get(&id)) {
            // It came about, without the word of whom it was told is gone.
            let gone: BTreeSet<RegionId> = open.bid.gone.keys().cloned().collect();
            self.open.values_mut().for_each(|open| open.declared_gone.retain(|region| !gone.contains(region)));
        }
        let Some(open) = self.open.get_mut(&id) else { return };
        if let Some(holder) = holder {
            open.closed.extend(open.resources.intersection(keys).map(|key| (key.clone(), holder.clone())));
        }
        open.resources.retain(|key| !keys.contains(key));
        open.promoted.retain(|key, _| !keys.contains(key));
        open.replaced.retain(|key, _| !keys.contains(key));
        if open.resources.is_empty() {
            let ended = Ended { attempt: open.bid.attempt, closed: open.closed.clone() };
            self.open.remove(&id);
            self.ended.insert(id, ended);
        }
    }

    /// What others are told before they start something. `running`: what runs here, or may.
    pub fn standings(&self, agent: &Agent, running: &BTreeSet<ResourceKey>) -> Standings {
        let opened = self.open.values().flat_map(|open| open.resources.iter());
        let keys: BTreeSet<&ResourceKey> = self.parts.keys().chain(opened).chain(running).collect();
        let standing = |key: &ResourceKey| Standing {
            part: self.parts.get(key).cloned(),
            operation: self.open_on(key),
            running: running.contains(key),
        };
        Standings {
            region: self.region.clone(),
            met: Met { store: self.store, serial: self.serial },
            inert: self.inert,
            life: agent.life,
            controller: self.controller.clone(),
            registry: self.registry.clone(),
            gone: self.gone.clone(),
            cut_off: self.cut_off.clone(),
            others: agent.met(),
            highest_epoch: self.highest_epoch,
            resources: keys.into_iter().map(|key| (key.clone(), standing(key))).collect(),
            open: self.open.clone(),
            heard: BTreeMap::new(),
            later: agent.heard_of(self),
        }
    }

    /// Learns what another region knows better, where no operation is open there on it: an operation that ended
    /// without this region ends here too, and a role that passed to another region is this one's no more. Gives what
    /// it lost. From what others know of this region itself it learns whether it may take part in anything.
    pub fn learn(&mut self, told: &Standings) -> BTreeSet<ResourceKey> {
        let mut lost = BTreeSet::new();
        self.doubt_what_runs(told);
        if told.inert.is_some() {
            return lost;
        }
        self.notice(told);
        for (key, standing) in &told.resources {
            let Some(theirs) = told.settled(key) else { continue };
            if let Some((id, epoch)) =
                self.open_on(key).and_then(|id| Some((id, self.open.get(&id)?.bid.failover.epoch)))
            {
                if theirs.epoch < epoch || standing.operation.is_some() {
                    self.came_back_later(key, theirs);
                    continue;
                }
                self.end(id, &BTreeSet::from([key.clone()]), Some(&theirs.holder));
            }
            let Some(part) = self.parts.get_mut(key).filter(|part| part.age() < theirs.age()) else { continue };
            let role = role_beside(part.role, theirs.holder == self.region);
            if part.role == Role::Holder && role != Role::Holder {
                lost.insert(key.clone());
            }
            *part = Part { role, ..theirs.clone() };
            self.highest_epoch = self.highest_epoch.max(theirs.epoch);
        }
        lost
    }

    /// A resource that an earlier operation gave back to this region: others may have closed that in a later attempt than
    /// this region heard of. What is open since leads back to the same.
    fn came_back_later(&mut self, key: &ResourceKey, theirs: &Part) {
        let Some(part) = self.parts.get_mut(key) else { return };
        let ours = part.holder == self.region && matches!(part.role, Role::Holder | Role::Demoted);
        if ours && theirs.holder == self.region && theirs.epoch == part.epoch {
            part.attempt = part.attempt.max(theirs.attempt);
        }
    }
}

/// The role of a region that learns who holds a resource: whether it does itself.
pub(super) const fn role_beside(role: Role, holds: bool) -> Role {
    match role {
        Role::Holder if holds => Role::Holder,
        // Others say that it holds what it does not: its own memory was lost.
        Role::Replica | Role::Demoted | Role::Fenced if holds => Role::Fenced,
        Role::Holder | Role::Demoted | Role::Fenced => Role::Demoted,
        Role::Replica => Role::Replica,
    }
}
