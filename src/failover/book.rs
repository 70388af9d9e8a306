//! What a region durably knows of roles and open operations, and which orders it takes.
//!
//! A [`Book`] is a value: a region loads what an order concerns, lets the order change it, and commits the change
//! before it answers. An order that is refused changes nothing; a repeat of one that was taken answers as the first
//! time.
//!
//! What must hold, before what is done:
//! - Roles are changed by the recorded controller alone: lineage, term and seat.
//! - An attempt is accepted once: a lower one, and one of the same number from another owner, is refused.
//! - While an operation is open on a resource, no other one is.
//! - A region that runs a resource, or holds it, agrees to nobody else's operation on it.
//! - A role is written before the machine is started or stopped, so that a crash leaves one that starts nothing.
//! - The highest epoch never goes down, whatever becomes of the operation that raised it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::{Acceptance, Mandate, Order, Refusal, Reply, Taken};
use super::start::{Agent, may_run};
use crate::model::failover::{Attempt, Bid, Direction, Note, Part, Standing, Standings};
use crate::model::region::{Authority, Controller, Epoch, Role};
use crate::model::{Life, OperationId, RegionId, ResourceKey};

/// What a region durably knows of roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Book {
    /// Whose it is.
    pub region: RegionId,
    /// Who may change roles.
    pub controller: Option<Controller>,
    /// The registered regions, this one among them.
    pub registry: BTreeSet<RegionId>,
    /// Those of them that a person declared gone, in that person's words.
    pub gone: BTreeMap<RegionId, String>,
    /// The highest epoch that it ever saw.
    pub highest_epoch: Epoch,
    /// Its part in each resource that it knows.
    pub parts: BTreeMap<ResourceKey, Part>,
    /// What is open.
    pub open: BTreeMap<OperationId, Open>,
    /// What was open, for ever.
    pub ended: BTreeMap<OperationId, Ended>,
}

/// An open operation, as one region records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Open {
    /// The highest attempt that it accepted.
    pub bid: Bid,
    /// What the operation is still open on here.
    pub resources: BTreeSet<ResourceKey>,
    /// What was promoted here under it, and in which attempt.
    pub promoted: BTreeMap<ResourceKey, u32>,
    /// What others left word of.
    pub notes: Vec<Note>,
}

/// How an operation ended at one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// The last attempt that it accepted.
    pub bid: Bid,
}

impl Controller {
    fn speaks(&self, authority: &Authority) -> bool {
        (self.lineage, self.term, self.seat) == (authority.lineage, authority.term, authority.seat)
    }
}

impl Book {
    fn authorize(&self, authority: &Authority) -> Result<(), Refusal> {
        match &self.controller {
            Some(controller) if controller.speaks(authority) => Ok(()),
            other => Err(Refusal::NotController(other.clone())),
        }
    }

    /// Makes whoever gives this order the controller.
    ///
    /// # Errors
    /// [`Refusal::NotController`] where another one has this term or a higher one.
    pub fn take_control(&mut self, authority: &Authority) -> Result<(), Refusal> {
        match &self.controller {
            Some(controller) if controller.speaks(authority) => return Ok(()),
            Some(controller) if authority.term <= controller.term => {
                return Err(Refusal::NotController(Some(controller.clone())));
            }
            Some(_) | None => {}
        }
        let Authority { lineage, term, seat, place, operation: _ } = authority;
        self.controller = Some(Controller { lineage: *lineage, term: *term, seat: *seat, place: place.clone() });
        Ok(())
    }

    /// The operation that is open on a resource.
    pub fn open_on(&self, key: &ResourceKey) -> Option<OperationId> {
        self.open.iter().find(|(_, open)| open.resources.contains(key)).map(|(id, _)| *id)
    }

    /// The open operation, at exactly this attempt.
    fn at(&mut self, id: OperationId, attempt: Attempt) -> Result<&mut Open, Refusal> {
        if let Some(ended) = self.ended.get(&id).filter(|_| !self.open.contains_key(&id)) {
            return Err(Refusal::Ended(Box::new(ended.clone())));
        }
        let open = self.open.get_mut(&id).ok_or(Refusal::NotOpen)?;
        if open.bid.attempt == attempt { Ok(open) } else { Err(Refusal::Attempt(Box::new(open.bid.clone()))) }
    }

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
        match order {
            Order::Accept { authority, bid } => self.accept(authority, bid, running, busy).map(Reply::Accepted),
            Order::Withdraw { authority, operation, attempt, resources } => {
                self.withdraw(authority, *operation, *attempt, resources).map(|()| done(resources))
            }
            Order::Confirm { authority, operation, attempt } => {
                self.confirm(authority, *operation, *attempt).map(|()| done(&BTreeSet::new()))
            }
            Order::Note { authority, operation, attempt, note } => {
                self.note(authority, *operation, *attempt, note).map(|()| done(&BTreeSet::new()))
            }
            Order::Demote { authority, operation, attempt, resources } => {
                self.demote(authority, *operation, *attempt, resources).map(|()| done(resources))
            }
            Order::Hold { authority, mandate, resources } => {
                self.hold(authority, mandate, resources, agent).map(|()| done(resources))
            }
            Order::Close { authority, operation, attempt, resources } => {
                self.close(authority, *operation, *attempt, resources).map(|()| done(resources))
            }
        }
    }

    /// Says whether the attempt is the highest that was accepted here.
    ///
    /// # Errors
    /// [`Refusal`]: why it is not.
    pub fn confirm(&mut self, authority: &Authority, id: OperationId, attempt: Attempt) -> Result<(), Refusal> {
        self.authorize(authority)?;
        self.at(id, attempt).map(|_| ())
    }

    /// Accepts an attempt, for each resource that nothing speaks against.
    ///
    /// `running`: what runs here, or may. `busy`: whether a step of an earlier attempt is still under way here.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was changed then.
    pub fn accept(
        &mut self,
        authority: &Authority,
        bid: &Bid,
        running: &BTreeSet<ResourceKey>,
        busy: bool,
    ) -> Result<Acceptance, Refusal> {
        self.authorize(authority)?;
        if bid.registry != self.registry {
            return Err(Refusal::Registry(self.registry.clone()));
        }
        let id = bid.failover.id;
        let known = self.open.get(&id);
        match known {
            Some(open) if open.bid.attempt == bid.attempt && open.bid == *bid => {}
            Some(open) if open.bid.attempt.number >= bid.attempt.number => {
                return Err(Refusal::Attempt(Box::new(open.bid.clone())));
            }
            Some(_) if busy => return Err(Refusal::Busy),
            Some(_) => {}
            None => {
                if let Some(ended) = self.ended.get(&id) {
                    return Err(Refusal::Ended(Box::new(ended.clone())));
                }
                if bid.failover.epoch <= self.highest_epoch {
                    return Err(Refusal::Epoch(self.highest_epoch));
                }
            }
        }
        let promoted = known.map(|open| open.promoted.clone()).unwrap_or_default();
        let mine = known.map(|open| open.resources.clone()).unwrap_or_default();
        let taken: BTreeMap<ResourceKey, Taken> = (bid.resources.iter())
            .map(|key| (key.clone(), self.weigh(bid, key, &mine, promoted.get(key).copied(), running)))
            .collect();
        let accepted = |taken: &Taken| matches!(taken, Taken::Accepted { .. });
        let resources: BTreeSet<ResourceKey> =
            taken.iter().filter(|(_, taken)| accepted(taken)).map(|(key, _)| key.clone()).collect();
        let notes = known.map(|open| open.notes.clone()).unwrap_or_default();
        self.highest_epoch = self.highest_epoch.max(bid.failover.epoch);
        if !resources.is_empty() || !mine.is_empty() {
            self.gone.extend(bid.gone.clone());
            let resources = resources.into_iter().chain(mine).collect();
            let open = Open { bid: bid.clone(), resources, promoted, notes: notes.clone() };
            self.open.insert(id, open);
        }
        Ok(Acceptance { resources: taken, notes })
    }

    /// What becomes of one resource of a bid.
    fn weigh(
        &self,
        bid: &Bid,
        key: &ResourceKey,
        mine: &BTreeSet<ResourceKey>,
        promoted: Option<u32>,
        running: &BTreeSet<ResourceKey>,
    ) -> Taken {
        let from = bid.failover.from == self.region;
        let running = running.contains(key);
        let part = self.parts.get(key);
        if let Some(other) = self.open_on(key).filter(|other| *other != bid.failover.id) {
            return Taken::OpenElsewhere(other);
        }
        match promoted {
            Some(attempt) if bid.direction == Direction::Abort => return Taken::Promoted(attempt),
            Some(_) => {}
            None if running && !from => return Taken::Running,
            None => {
                let holds = part.is_some_and(|part| part.role == Role::Holder);
                // What came in under an earlier attempt was looked at then, and may have been demoted since.
                let fits = if from { holds || mine.contains(key) } else { !holds };
                if let Some(part) = part.filter(|_| !fits) {
                    return Taken::Held(part.clone());
                }
            }
        }
        if !mine.contains(key) && part.is_some_and(|part| part.epoch >= bid.failover.epoch) {
            return part.map_or(Taken::Running, |part| Taken::Held(part.clone()));
        }
        Taken::Accepted { role: part.map(|part| part.role), promoted, running }
    }

    /// Keeps word of a step, once.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn note(
        &mut self,
        authority: &Authority,
        id: OperationId,
        attempt: Attempt,
        note: &Note,
    ) -> Result<(), Refusal> {
        self.authorize(authority)?;
        let open = self.at(id, attempt)?;
        if !open.notes.contains(note) {
            open.notes.push(note.clone());
        }
        Ok(())
    }

    /// Takes the holder's role from this region. The caller stops the machine then, and tells nobody that it is
    /// stopped before its runner has said so.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn demote(
        &mut self,
        authority: &Authority,
        id: OperationId,
        attempt: Attempt,
        keys: &BTreeSet<ResourceKey>,
    ) -> Result<(), Refusal> {
        self.authorize(authority)?;
        let own = self.region.clone();
        let open = self.at(id, attempt)?;
        let fits = open.bid.failover.from == own && open.bid.direction == Direction::Forward;
        if !fits || !keys.is_subset(&open.resources) {
            return Err(Refusal::Misfit);
        }
        for key in keys {
            if let Some(part) = self.parts.get_mut(key).filter(|part| part.role == Role::Holder) {
                part.role = Role::Demoted;
            }
        }
        Ok(())
    }

    /// Makes this region the holder, by promotion or, where the attempt leads back, by giving the role back. The
    /// caller starts the machine then.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn hold(
        &mut self,
        authority: &Authority,
        mandate: &Mandate,
        keys: &BTreeSet<ResourceKey>,
        agent: &Agent,
    ) -> Result<(), Refusal> {
        self.authorize(authority)?;
        let open = self.at(mandate.operation, mandate.attempt)?;
        if !keys.is_subset(&open.resources) {
            return Err(Refusal::Misfit);
        }
        let (direction, epoch) = (open.bid.direction, open.bid.failover.epoch);
        for key in keys {
            may_run(self, agent, key, Some(mandate)).map_err(|hold| Refusal::Hold(key.clone(), hold))?;
        }
        let part = Part { role: Role::Holder, holder: self.region.clone(), epoch, attempt: mandate.attempt.number };
        for key in keys {
            self.parts.insert(key.clone(), part.clone());
        }
        if let (Direction::Forward, Some(open)) = (direction, self.open.get_mut(&mandate.operation)) {
            open.promoted.extend(keys.iter().map(|key| (key.clone(), mandate.attempt.number)));
        }
        Ok(())
    }

    /// Ends the operation here for resources that have reached the region that the attempt leads to.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn close(
        &mut self,
        authority: &Authority,
        id: OperationId,
        attempt: Attempt,
        keys: &BTreeSet<ResourceKey>,
    ) -> Result<(), Refusal> {
        self.authorize(authority)?;
        if self.is_repeat_of_end(id, attempt) {
            return Ok(());
        }
        let own = self.region.clone();
        let open = self.at(id, attempt)?;
        let (holder, epoch) = (open.bid.starter().clone(), open.bid.failover.epoch);
        for key in keys {
            let Some(part) = self.parts.get_mut(key) else { continue };
            let role = match part.role {
                Role::Holder if holder == own => Role::Holder,
                Role::Holder | Role::Demoted => Role::Demoted,
                Role::Replica => Role::Replica,
                Role::Fenced => Role::Fenced,
            };
            *part = Part { role, holder: holder.clone(), epoch, attempt: attempt.number };
        }
        self.end(id, keys);
        Ok(())
    }

    /// Takes back the acceptance for resources that the operation has changed nothing of, and for which no hook ran.
    ///
    /// # Errors
    /// [`Refusal::Effect`] where it has.
    pub fn withdraw(
        &mut self,
        authority: &Authority,
        id: OperationId,
        attempt: Attempt,
        keys: &BTreeSet<ResourceKey>,
    ) -> Result<(), Refusal> {
        self.authorize(authority)?;
        if self.is_repeat_of_end(id, attempt) {
            return Ok(());
        }
        let own = self.region.clone();
        let open = self.at(id, attempt)?;
        let from = open.bid.failover.from == own;
        // Whoever aborts has decided that the hooks ran for nothing.
        let hooks = !open.notes.is_empty() && open.bid.direction == Direction::Forward;
        let promoted = open.promoted.clone();
        let touched = keys.iter().find(|key| {
            let demoted = self.parts.get(*key).is_some_and(|part| part.role == Role::Demoted);
            hooks || promoted.contains_key(*key) || (from && demoted)
        });
        if let Some(touched) = touched {
            return Err(Refusal::Effect(touched.clone()));
        }
        self.end(id, keys);
        Ok(())
    }

    fn is_repeat_of_end(&self, id: OperationId, attempt: Attempt) -> bool {
        let ended = self.ended.get(&id).filter(|_| !self.open.contains_key(&id));
        ended.is_some_and(|ended| ended.bid.attempt == attempt)
    }

    fn end(&mut self, id: OperationId, keys: &BTreeSet<ResourceKey>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.resources.retain(|key| !keys.contains(key));
        open.promoted.retain(|key, _| !keys.contains(key));
        if open.resources.is_empty() {
            let ended = Ended { bid: open.bid.clone() };
            self.open.remove(&id);
            self.ended.insert(id, ended);
        }
    }

    /// What others are told before they start something. `life`: of this region's agent. `running`: what runs here, or
    /// may.
    pub fn standings(&self, life: Life, running: &BTreeSet<ResourceKey>) -> Standings {
        let opened = self.open.values().flat_map(|open| open.resources.iter());
        let keys: BTreeSet<&ResourceKey> = self.parts.keys().chain(opened).chain(running).collect();
        let standing = |key: &ResourceKey| Standing {
            part: self.parts.get(key).cloned(),
            operation: self.open_on(key),
            running: running.contains(key),
        };
        let resources = keys.into_iter().map(|key| (key.clone(), standing(key))).collect();
        Standings { life, controller: self.controller.clone(), highest_epoch: self.highest_epoch, resources }
    }

    /// Learns what another region knows better, where no operation is open there on it: an operation that ended
    /// without this region ends here too, and a role that passed to another region is this one's no more. Gives what
    /// it lost.
    pub fn learn(&mut self, told: &Standings) -> BTreeSet<ResourceKey> {
        let mut lost = BTreeSet::new();
        self.highest_epoch = self.highest_epoch.max(told.highest_epoch);
        for (key, standing) in &told.resources {
            let (Some(theirs), None) = (&standing.part, standing.operation) else { continue };
            let open = self.open_on(key);
            if let Some((id, open)) = open.and_then(|id| Some((id, self.open.get(&id)?))) {
                if theirs.age() < (open.bid.failover.epoch, open.bid.attempt.number) {
                    continue;
                }
                self.end(id, &BTreeSet::from([key.clone()]));
            }
            let Some(part) = self.parts.get_mut(key).filter(|part| part.age() < theirs.age()) else { continue };
            let stays = part.role == Role::Holder && theirs.holder == self.region;
            let role = match part.role {
                Role::Holder if stays => Role::Holder,
                Role::Holder | Role::Demoted => Role::Demoted,
                // Others say that it holds what it does not: its own memory was lost.
                Role::Replica if theirs.holder == self.region => Role::Fenced,
                Role::Replica => Role::Replica,
                Role::Fenced => Role::Fenced,
            };
            if part.role == Role::Holder && role != Role::Holder {
                lost.insert(key.clone());
            }
            *part = Part { role, ..theirs.clone() };
        }
        lost
    }
}
