//! A region that a person cuts off by hand, and lets in again: what the other regions keep of that.
//!
//! Every other region is told before the fence runs, and again once it has. From the first word on, a life of the
//! region's agent that begins starts nothing by itself, as long as any of them says so. The second word proves the
//! region stopped: whoever keeps it kept the first one since before the fence, so that no life of the agent after that
//! can have heard it say otherwise. An operation that leads away from the region takes that proof from any region that
//! accepts it.
//!
//! What ends it: that the region is let in, which is refused while an operation from there is open; and that an
//! attempt is accepted that may start something there, which needs every region's word.

use std::collections::BTreeSet;

use super::book::Book;
use super::order::{Over, Refusal};
use crate::model::RegionId;
use crate::model::failover::{CutOff, Note, Open, Proof};
use crate::model::region::Authority;

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
        // What leads away from there may rest on it.
        if let Some((id, _)) = self.open.iter().find(|(_, open)| open.bid.failover.from == *region) {
            return Err(Refusal::Open(*id));
        }
        self.cut_off.remove(region);
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
        if !self.cut_off.get(from).is_some_and(|kept| kept.stopped) {
            return;
        }
        let note = Note::Fenced { region: from.clone(), proof: Proof::Hook };
        if !open.notes.contains(&note) {
            open.notes.push(note);
        }
    }
}
