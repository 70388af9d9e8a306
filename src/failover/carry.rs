//! What a region's book makes of the orders that carry an accepted attempt out.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Book, role_beside};
use super::order::{Mandate, Refusal};
use super::start::{Agent, may_run};
use crate::model::failover::{Attempt, Direction, Ended, Note, Part};
use crate::model::region::Role;
use crate::model::{OperationId, RegionId, ResourceKey};

impl Book {
    /// Keeps word of a step, once.
    pub(super) fn note(&mut self, id: OperationId, attempt: Attempt, note: &Note) -> Result<(), Refusal> {
        let open = self.at(id, attempt)?;
        if !open.notes.contains(note) {
            open.notes.push(note.clone());
        }
        if let Note::Unproven { region, epoch } = note {
            self.doubt(region, *epoch);
        }
        Ok(())
    }

    /// Takes the holder's role from this region. The caller stops the machine then, and tells nobody that it is
    /// stopped before its runner has said so.
    pub(super) fn demote(
        &mut self,
        id: OperationId,
        attempt: Attempt,
        keys: &BTreeSet<ResourceKey>,
    ) -> Result<(), Refusal> {
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
    pub(super) fn hold(
        &mut self,
        mandate: &Mandate,
        keys: &BTreeSet<ResourceKey>,
        agent: &Agent,
    ) -> Result<(), Refusal> {
        let open = self.at(mandate.operation, mandate.attempt)?;
        if !keys.is_subset(&open.resources) {
            return Err(Refusal::Misfit);
        }
        let (direction, epoch) = (open.bid.direction, open.bid.failover.epoch);
        // Only what gave a role up gets it back; what lost its store never does.
        let returns = |key| self.parts.get(key).is_some_and(|part| matches!(part.role, Role::Holder | Role::Demoted));
        if direction == Direction::Abort && !keys.iter().all(returns) {
            return Err(Refusal::Misfit);
        }
        for key in keys {
            may_run(self, agent, key, Some(mandate)).map_err(|hold| Refusal::Hold(key.clone(), hold))?;
        }
        let part = Part { role: Role::Holder, holder: self.region.clone(), epoch, attempt: mandate.attempt.number };
        let mut replaced = BTreeMap::new();
        for key in keys {
            replaced.extend(self.parts.insert(key.clone(), part.clone()).map(|before| (key.clone(), before)));
        }
        match (direction, self.open.get_mut(&mandate.operation)) {
            (Direction::Forward, Some(open)) => {
                // What an earlier attempt promoted has replaced another part already.
                replaced.retain(|key, _| !open.promoted.contains_key(key));
                open.replaced.extend(replaced);
                open.promoted.extend(keys.iter().map(|key| (key.clone(), mandate.attempt.number)));
            }
            // What is back is not given up once more: the others learn of the end from here.
            (Direction::Abort, Some(_)) => {
                let own = self.region.clone();
                self.end(mandate.operation, keys, Some(&own));
            }
            (Direction::Forward | Direction::Abort, None) => {}
        }
        Ok(())
    }

    /// Ends the operation here for resources that have reached the region that the attempt leads to.
    pub(super) fn close(
        &mut self,
        id: OperationId,
        attempt: Attempt,
        keys: &BTreeSet<ResourceKey>,
    ) -> Result<(), Refusal> {
        if self.ended.get(&id).is_some_and(|ended| keys.iter().all(|key| ended.closed.contains_key(key))) {
            return Ok(());
        }
        let own = self.region.clone();
        let open = self.at(id, attempt)?;
        let (holder, epoch) = (open.bid.starter().clone(), open.bid.failover.epoch);
        let keys: BTreeSet<ResourceKey> = open.resources.intersection(keys).cloned().collect();
        for key in &keys {
            let Some(part) = self.parts.get_mut(key) else { continue };
            let role = role_beside(part.role, holder == own);
            *part = Part { role, holder: holder.clone(), epoch, attempt: attempt.number };
        }
        self.end(id, &keys, Some(&holder));
        Ok(())
    }

    /// Takes back the acceptance for resources that the operation has changed nothing of. Whoever asks knows that it
    /// had no effect anywhere, or will have none any more; a region at which it had one refuses. An operation that
    /// was never open here will not be: what asked for its acceptance may be still on its way.
    ///
    /// Of a first attempt that is taken back as a whole nothing stays, nor that it declared regions gone. Any other one
    /// may have led somebody to start something without their word.
    pub(super) fn withdraw(
        &mut self,
        id: OperationId,
        attempt: Attempt,
        keys: &BTreeSet<ResourceKey>,
    ) -> Result<(), Refusal> {
        if let Some(ended) = self.ended.get(&id) {
            let arrived = keys.iter().find(|key| ended.closed.contains_key(*key));
            return arrived.map_or(Ok(()), |key| Err(Refusal::Effect(key.clone())));
        }
        if !self.open.contains_key(&id) {
            self.ended.insert(id, Ended { attempt, closed: BTreeMap::new() });
            return Ok(());
        }
        let own = self.region.clone();
        let open = self.at(id, attempt)?;
        let from = open.bid.failover.from == own;
        let whole = *keys == open.bid.resources && attempt.number == 1 && open.bid.direction == Direction::Forward;
        let declared = if whole { open.declared_gone.clone() } else { BTreeSet::new() };
        let promoted = open.promoted.clone();
        let touched = keys.iter().find(|key| {
            let demoted = self.parts.get(*key).is_some_and(|part| part.role == Role::Demoted);
            promoted.contains_key(*key) || (from && demoted)
        });
        if let Some(touched) = touched {
            return Err(Refusal::Effect(touched.clone()));
        }
        self.end(id, keys, None);
        let elsewhere = |region: &RegionId| self.open.values().any(|open| open.declared_gone.contains(region));
        let taken_back: Vec<&RegionId> = declared.iter().filter(|region| !elsewhere(region)).collect();
        taken_back.into_iter().for_each(|region| drop(self.gone.remove(region)));
        Ok(())
    }
}
