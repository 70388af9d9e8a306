//! A region that a person cuts off by hand, and lets in again: what the other regions keep of that.
//!
//! Every other region is told before the fence runs, and again once it has. From the first word on, a life of the
//! region's agent that begins starts nothing by itself, as long as any of them says so. The second word proves the
//! region stopped: whoever keeps it kept the first one since before the fence, so that no life of the agent after that
//! can have heard it say otherwise. An operation that leads away from the region takes that proof from any region that
//! accepts it, unless another one knows better: that the region runs something all the same; or that a third one was
//! declared gone, which nobody asked to let it in, and which may return with such a word. No word up to that epoch counts
//! then, for ever.
//!
//! No operation starts anything there either, be it that it leads there, or back: every region that accepts an attempt
//! says whether it keeps such a word of the region that is to start something.
//!
//! What ends it: that the region is let in. That is refused while an operation leads away from there, which may rest on
//! the proof; where it leads back, it starts nothing there before the region is in.

use std::collections::{BTreeMap, BTreeSet};

use super::book::Book;
use super::order::{Over, Refusal};
use crate::model::RegionId;
use crate::model::failover::{CutOff, Direction, Note, Open, Proof, Standings};
use crate::model::region::{Authority, Epoch};

impl Book {
    /// Keeps that a region is about to be cut off by hand or, at the same epoch, that it is.
    pub(super) fn keep_cut_off(
        &mut self,
        authority: &Authority,
        region: &RegionId,
        cut_off: &CutOff,
    ) -> Result<(), Refusal> {
        self.may_keep(authority, region)?;
        match self.cut_off.get_mut(region).filter(|kept| kept.epoch == cut_off.epoch) {
            Some(kept) => kept.stopped |= cut_off.stopped,
            // It was let in meanwhile, or somebody else cuts it off.
            None if cut_off.stopped => return Err(Refusal::Misfit),
            None if cut_off.epoch <= self.highest_epoch => {
                let over = Over { ended: None, highest_epoch: self.highest_epoch, running: BTreeSet::new() };
                return Err(Refusal::Over(Box::new(over)));
            }
            None => {
                self.highest_epoch = cut_off.epoch;
                self.cut_off.insert(region.clone(), cut_off.clone());
            }
        }
        Ok(())
    }

    /// Forgets that a region was cut off by hand.
    pub(super) fn let_in(&mut self, authority: &Authority, region: &RegionId) -> Result<(), Refusal> {
        self.may_keep(authority, region)?;
        // What leads away from there may rest on it. What leads back does not, as this region has accepted.
        let leads_away = |open: &Open| open.bid.failover.from == *region && open.bid.direction == Direction::Forward;
        if let Some((id, _)) = self.open.iter().find(|(_, open)| leads_away(open)) {
            return Err(Refusal::Open(*id));
        }
        let kept = self.cut_off.remove(region);
        // Nobody asks who was declared gone to let it in, too.
        if let Some(kept) = kept.filter(|_| !self.gone.is_empty()) {
            self.doubt(region, kept.epoch);
        }
        Ok(())
    }

    fn may_keep(&self, authority: &Authority, region: &RegionId) -> Result<(), Refusal> {
        self.authorize(authority)?;
        if let Some(inert) = self.inert {
            return Err(Refusal::Inert(inert));
        }
        if *region == self.region {
            return Err(Refusal::Misfit);
        }
        if self.registry.contains(region) { Ok(()) } else { Err(Refusal::Registry(self.registry.clone())) }
    }

    /// Has an operation know that the region it leads away from was cut off by hand.
    pub(super) fn tell_cut_off(&self, from: &RegionId, open: &mut Open) {
        let unproven = self.unproven.get(from).map(|epoch| Note::Unproven { region: from.clone(), epoch: *epoch });
        let stopped = self.cut_off.get(from).filter(|kept| kept.stopped);
        let stopped = stopped.map(|kept| Note::Fenced { region: from.clone(), proof: Proof::Hand(kept.epoch) });
        for note in unproven.into_iter().chain(stopped) {
            if !open.notes.contains(&note) {
                open.notes.push(note);
            }
        }
    }

    /// No word of this epoch or an earlier one proves a region stopped any more.
    pub(super) fn doubt(&mut self, region: &RegionId, epoch: Epoch) {
        let unproven = self.unproven.entry(region.clone()).or_default();
        *unproven = epoch.max(*unproven);
    }

    /// Whatever proved a region stopped, it says that something runs there.
    pub(super) fn doubt_what_runs(&mut self, told: &Standings) {
        let kept = self.cut_off.get(&told.region).filter(|kept| kept.stopped);
        if let Some(epoch) = kept.map(|kept| kept.epoch).filter(|_| told.resources.values().any(|it| it.running)) {
            self.doubt(&told.region, epoch);
        }
    }

    /// Declares regions gone. Such a one may have been the last to keep that another was cut off, and may keep it still
    /// when it returns: nobody waits for it to let that one in.
    pub(super) fn give_up(&mut self, gone: &BTreeMap<RegionId, String>) {
        if gone.keys().all(|region| self.gone.contains_key(region)) {
            return;
        }
        // What an open operation has done about its source has its own epoch, which is no fence's by hand.
        let own = |epoch: &Epoch| self.open.values().any(|open| open.bid.failover.epoch == *epoch);
        let Some(epoch) = (0..=self.highest_epoch.0).rev().map(Epoch).find(|epoch| !own(epoch)) else { return };
        let free: Vec<RegionId> = self.registry.iter().filter(|it| !self.cut_off.contains_key(*it)).cloned().collect();
        free.iter().for_each(|region| self.doubt(region, epoch));
    }
}
