//! How a region answers a bid.

use std::collections::{BTreeMap, BTreeSet};

use super::book::Book;
use super::order::{Acceptance, Over, Refusal, Taken};
use crate::model::failover::{Bid, Direction, Open};
use crate::model::region::Role;
use crate::model::{RegionId, ResourceKey};

impl Book {
    /// Accepts an attempt, for each resource that nothing speaks against.
    pub(super) fn accept(
        &mut self,
        bid: &Bid,
        running: &BTreeSet<ResourceKey>,
        busy: bool,
    ) -> Result<Acceptance, Refusal> {
        if bid.registry != self.registry {
            return Err(Refusal::Registry(self.registry.clone()));
        }
        let id = bid.failover.id;
        let known = self.open.get(&id);
        match known {
            Some(open) if open.bid == *bid => {}
            Some(open) if open.bid.attempt.number >= bid.attempt.number => {
                return Err(Refusal::Attempt(Box::new(open.bid.clone())));
            }
            Some(_) if busy => return Err(Refusal::Busy),
            Some(_) => {}
            None => {
                let ended = self.ended.get(&id).cloned();
                if ended.is_some() || bid.failover.epoch <= self.highest_epoch {
                    let running = bid.resources.intersection(running).cloned().collect();
                    let highest_epoch = self.highest_epoch;
                    return Err(Refusal::Over(Box::new(Over { ended, highest_epoch, running })));
                }
            }
        }
        let mut open = known.cloned().unwrap_or_else(|| Open {
            bid: bid.clone(),
            resources: BTreeSet::new(),
            promoted: BTreeMap::new(),
            replaced: BTreeMap::new(),
            closed: BTreeMap::new(),
            notes: Vec::new(),
            declared_gone: BTreeSet::new(),
        });
        let weighed = bid.resources.iter().map(|key| (key.clone(), self.weigh(bid, key, &open, running)));
        let taken: BTreeMap<ResourceKey, Taken> = weighed.collect();
        let accepted = taken.iter().filter(|(_, taken)| matches!(taken, Taken::Accepted { .. }));
        open.resources.extend(accepted.map(|(key, _)| key.clone()));
        open.bid = bid.clone();
        let accepts = !open.resources.is_empty();
        if accepts {
            self.give_up(&bid.gone);
            let new = bid.gone.keys().filter(|region| !self.is_gone_for_good(region)).cloned();
            open.declared_gone.extend(new);
            self.gone.extend(bid.gone.clone());
            self.highest_epoch = self.highest_epoch.max(bid.failover.epoch);
        }
        match bid.direction {
            // This attempt may start the source again.
            Direction::Abort => open.notes.retain(|note| note.stopped() != Some(&bid.failover.from)),
            Direction::Forward => self.tell_cut_off(&bid.failover.from, &mut open),
        }
        let notes = open.notes.clone();
        if accepts {
            self.open.insert(id, open);
        }
        let cut_off = self.cut_off.contains_key(bid.starter());
        // Whether anything here can tell what runs is not written in the book.
        Ok(Acceptance { resources: taken, notes, cut_off, unwatched: BTreeSet::new() })
    }

    /// Whether a region stays declared gone, whatever becomes of what is open here.
    fn is_gone_for_good(&self, region: &RegionId) -> bool {
        self.gone.contains_key(region) && !self.open.values().any(|open| open.declared_gone.contains(region))
    }

    /// What becomes of one resource of a bid. `open`: the operation as it is open here so far.
    fn weigh(&self, bid: &Bid, key: &ResourceKey, open: &Open, running: &BTreeSet<ResourceKey>) -> Taken {
        let from = bid.failover.from == self.region;
        let running = running.contains(key);
        let part = self.parts.get(key);
        let promoted = open.promoted.get(key).copied();
        if let Some(holder) = open.closed.get(key) {
            return Taken::Closed(holder.clone());
        }
        if let Some(other) = self.open_on(key).filter(|other| *other != bid.failover.id) {
            return Taken::OpenElsewhere(other);
        }
        if part.is_none() && bid.direction == Direction::Forward && bid.to == self.region {
            return Taken::NoCopy;
        }
        let mine = open.resources.contains(key);
        match promoted {
            Some(attempt) if bid.direction == Direction::Abort => return Taken::Promoted(attempt),
            Some(_) => {}
            None if running && !from => return Taken::Running,
            None => {
                let holds = part.is_some_and(|part| part.role == Role::Holder || part.holder == self.region);
                // What came in under an earlier attempt was looked at then, and may have been demoted since.
                let fits = if from { holds || mine } else { !holds };
                if let Some(part) = part.filter(|_| !fits) {
                    return if running { Taken::Running } else { Taken::Held(part.clone()) };
                }
            }
        }
        if let Some(part) = part.filter(|part| !mine && part.epoch >= bid.failover.epoch) {
            return Taken::Held(part.clone());
        }
        Taken::Accepted { role: part.map(|part| part.role), promoted, running }
    }
}
