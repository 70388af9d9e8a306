//! Who may change roles, and which regions there are: what a region is asked about that, and how control passes.
//!
//! Control counts once every registered region that was not declared gone has accepted it. A half-accepted take-over
//! leaves no controller: neither the old one nor the new one has every region's ear, and anybody may take over above.
//! The same holds of a half-accepted change of the registry: no operation finds every region of one mind before the
//! change was carried through, or back.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::book::Book;
use super::order::Refusal;
use crate::model::failover::{CutOff, Ended, Inert, Met, Part, Standings};
use crate::model::region::{Authority, Controller, Epoch, Role};
use crate::model::{RegionId, ResourceKey};

/// One thing that a region is asked about authority and the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "control", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Have whoever asks as the controller, in place of any of a lower term.
    TakeOver {
        /// Who asks.
        authority: Authority,
    },
    /// Know other regions from now on.
    Register {
        /// Who asks.
        authority: Authority,
        /// The regions so far.
        was: BTreeSet<RegionId>,
        /// The regions from now on.
        now: BTreeSet<RegionId>,
        /// Those of them, and of the ones that leave, that a person declared gone, in that person's words.
        gone: BTreeMap<RegionId, String>,
        /// The regions that have accepted it so far: those that leave are asked first, so that nobody forgets a region
        /// that may still start something.
        accepted: BTreeSet<RegionId>,
    },
    /// Know that a person cuts another region off by hand: first that its fence is about to run, then that it has.
    CutOff {
        /// Who asks.
        authority: Authority,
        /// The region.
        region: RegionId,
        /// When, by whom, why, and whether it is proven stopped.
        cut_off: CutOff,
    },
    /// Have a region in again that was cut off by hand.
    LetIn {
        /// Who asks.
        authority: Authority,
        /// The region.
        region: RegionId,
    },
    /// Know that a person declared this region gone: it takes part in nothing before it is readmitted.
    DeclaredGone {
        /// Who asks.
        authority: Authority,
    },
    /// Take part again, or for the first time, with what the others know.
    Readmit {
        /// Who asks.
        authority: Authority,
        /// What the others know.
        known: Known,
    },
}

/// What a region is told that is readmitted: never by others that it holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The registered regions, this one among them.
    pub registry: BTreeSet<RegionId>,
    /// Those of them that a person declared gone, in that person's words.
    pub gone: BTreeMap<RegionId, String>,
    /// Above every serial in which any region met this one's store.
    pub serial: u64,
    /// The highest epoch that any region saw.
    pub highest_epoch: Epoch,
    /// What it takes part in, as the others know it.
    pub parts: BTreeMap<ResourceKey, Part>,
    /// What of that it holds, as no other region takes part any more that could: see [`Known::alone`].
    #[serde(default)]
    pub holds: BTreeSet<ResourceKey>,
}

impl Known {
    /// What `told` of the other regions make known to `region`; none where not all of them have registered it yet.
    pub fn of(region: &RegionId, told: &[&Standings], takes_part: &BTreeSet<ResourceKey>) -> Option<Self> {
        let others = || told.iter().filter(|told| told.region != *region && told.inert.is_none());
        let first = others().next()?;
        let inert = |other: &RegionId| told.iter().any(|told| told.region == *other && told.inert.is_some());
        let required = first.registry.iter().filter(|other| *other != region && !first.gone.contains_key(*other));
        let mut required = required.filter(|other| !inert(other));
        let agree = |other: &RegionId| others().any(|told| told.region == *other && told.registry == first.registry);
        if !first.registry.contains(region) || !required.all(agree) {
            return None;
        }
        let mut parts: BTreeMap<ResourceKey, Part> = BTreeMap::new();
        for (told, key) in others().flat_map(|told| told.resources.keys().map(move |key| (told, key))) {
            let Some(part) = told.settled(key).filter(|_| takes_part.contains(key)) else { continue };
            if parts.get(key).is_none_or(|known| known.age() < part.age()) {
                parts.insert(key.clone(), Part { role: Role::Replica, ..part.clone() });
            }
        }
        let mut gone = first.gone.clone();
        gone.remove(region);
        let serial = told.iter().filter_map(|told| told.others.get(region)).map(|met| met.serial).max();
        let open = others().flat_map(|told| told.open.values()).map(|open| open.bid.failover.epoch);
        let highest = others().map(|told| told.highest_epoch).chain(open).max();
        Some(Self {
            registry: first.registry.clone(),
            gone,
            serial: serial.unwrap_or_default() + 1,
            // Above all that is known: whoever was declared gone before has not seen this.
            highest_epoch: Epoch(highest.unwrap_or_default().0 + 1),
            parts,
            holds: BTreeSet::new(),
        })
    }

    /// What `own` begins with where no other region takes part: the regions that it remembers, and of what it has a part
    /// in the latest holder that anybody remembers, in `others` too, whose word counts for nothing else. `gone`: the
    /// regions that never come back. What such a one held last, and `own` before it, `own` holds again, as what it held
    /// last itself: above all that is known, as after a failover.
    pub fn alone(own: &Standings, others: &[&Standings], gone: &BTreeMap<RegionId, String>) -> Self {
        let all = || std::iter::once(own).chain(others.iter().copied());
        let serials = others.iter().filter_map(|told| told.others.get(&own.region)).map(|met| met.serial);
        let open = all().flat_map(|told| told.open.values()).map(|open| open.bid.failover.epoch);
        let highest = all().map(|told| told.highest_epoch).chain(open).max();
        let highest_epoch = Epoch(highest.unwrap_or_default().0 + 1);
        let (mut parts, mut holds) = (BTreeMap::new(), BTreeSet::new());
        for (key, standing) in &own.resources {
            let known = all().filter_map(|told| told.resources.get(key)?.part.as_ref());
            let Some(latest) = known.max_by_key(|part| part.age()) else { continue };
            let held = standing.part.as_ref().is_some_and(|part| part.role != Role::Replica);
            let mut part = Part { role: Role::Replica, ..latest.clone() };
            if held && (part.holder == own.region || gone.contains_key(&part.holder)) {
                part = Part { role: Role::Holder, holder: own.region.clone(), epoch: highest_epoch, attempt: 0 };
                holds.insert(key.clone());
            }
            parts.insert(key.clone(), part);
        }
        let registered = |(id, _): &(&RegionId, &String)| own.registry.contains(*id);
        Self {
            registry: own.registry.clone(),
            gone: gone.iter().filter(registered).map(|(id, how)| (id.clone(), how.clone())).collect(),
            serial: serials.chain([own.met.serial]).max().unwrap_or_default() + 1,
            highest_epoch,
            parts,
            holds,
        }
    }
}

impl Book {
    pub(super) fn authorize(&self, authority: &Authority) -> Result<(), Refusal> {
        match &self.controller {
            Some(controller) if controller.gave(authority) => Ok(()),
            other => Err(Refusal::NotController(other.clone())),
        }
    }

    /// Does as it is asked about authority and the registry. `running`: what runs here, or may.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was changed then.
    pub fn obey(&mut self, running: &BTreeSet<ResourceKey>, control: &Control) -> Result<(), Refusal> {
        match control {
            Control::TakeOver { authority } => self.take_control(authority),
            Control::Register { authority, was, now, gone, accepted } => {
                self.register(authority, (was, now), gone, accepted)
            }
            Control::CutOff { authority, region, cut_off } => self.keep_cut_off(authority, region, cut_off),
            Control::LetIn { authority, region } => self.let_in(authority, region),
            Control::DeclaredGone { authority } => {
                self.authorize(authority)?;
                self.inert.get_or_insert(Inert::DeclaredGone);
                Ok(())
            }
            Control::Readmit { authority, known } => self.readmit(authority, known, running),
        }
    }

    /// Makes whoever gives this order the controller.
    ///
    /// # Errors
    /// [`Refusal::NotController`] where another one has this term or a higher one.
    pub fn take_control(&mut self, authority: &Authority) -> Result<(), Refusal> {
        match &self.controller {
            Some(controller) if controller.gave(authority) => return Ok(()),
            Some(controller) if authority.term <= controller.term => {
                return Err(Refusal::NotController(Some(controller.clone())));
            }
            Some(_) | None => {}
        }
        let Authority { lineage, term, seat, place, operation: _ } = authority;
        self.controller = Some(Controller { lineage: *lineage, term: *term, seat: *seat, place: place.clone() });
        Ok(())
    }

    fn register(
        &mut self,
        authority: &Authority,
        (was, now): (&BTreeSet<RegionId>, &BTreeSet<RegionId>),
        gone: &BTreeMap<RegionId, String>,
        accepted: &BTreeSet<RegionId>,
    ) -> Result<(), Refusal> {
        self.authorize(authority)?;
        let leaves = !now.contains(&self.region);
        if let Some(inert) = self.inert {
            return if leaves { Ok(()) } else { Err(Refusal::Inert(inert)) };
        }
        let still = |(region, _): &(&RegionId, &String)| now.contains(*region);
        let still: BTreeMap<RegionId, String> =
            gone.iter().filter(still).map(|(region, words)| (region.clone(), words.clone())).collect();
        if self.registry == *now && self.gone == still {
            return Ok(());
        }
        if self.registry != *was && self.registry != *now {
            return Err(Refusal::Registry(self.registry.clone()));
        }
        if let Some(id) = self.open.keys().next() {
            return Err(Refusal::Open(*id));
        }
        let held = self.parts.iter().find(|(_, part)| was.contains(&part.holder) && !now.contains(&part.holder));
        if let Some((key, part)) = held {
            return Err(Refusal::Holder(key.clone(), part.holder.clone()));
        }
        let unasked = |region: &&RegionId| !accepted.contains(*region) && !gone.contains_key(*region);
        if let Some(region) = self.registry.difference(now).filter(|_| !leaves).find(unasked) {
            return Err(Refusal::Stays(region.clone()));
        }
        self.registry = now.clone();
        self.give_up(gone);
        self.gone = still;
        self.cut_off.retain(|region, _| now.contains(region));
        if leaves {
            self.inert = Some(Inert::Removed);
        }
        Ok(())
    }

    /// Takes part again. What this region held, or had open, it does not any more, but for what it is told to hold.
    fn readmit(
        &mut self,
        authority: &Authority,
        known: &Known,
        running: &BTreeSet<ResourceKey>,
    ) -> Result<(), Refusal> {
        self.authorize(authority)?;
        // A region that was just founded knows nobody but itself; one of which others met a later state went back,
        // though nobody told it yet.
        let went_back = known.serial > self.serial + 1;
        if self.inert.is_none() && self.registry.len() > 1 && !went_back {
            if self.registry != known.registry {
                return Err(Refusal::Registry(self.registry.clone()));
            }
            self.serial = self.serial.max(known.serial);
            return Ok(());
        }
        if !running.is_empty() {
            return Err(Refusal::Running(running.clone()));
        }
        let Known { registry, gone, serial, highest_epoch, parts, holds } = known;
        for (id, open) in std::mem::take(&mut self.open) {
            self.ended.insert(id, Ended { attempt: open.bid.attempt, closed: open.closed });
        }
        self.registry = registry.clone();
        self.gone = gone.clone();
        // Of what it remembers of others' fences nobody knows how old it is.
        self.cut_off.clear();
        self.serial = self.serial.max(*serial);
        self.highest_epoch = self.highest_epoch.max(*highest_epoch);
        for (key, part) in parts {
            if self.parts.get(key).is_none_or(|own| own.age() <= part.age()) {
                self.parts.insert(key.clone(), part.clone());
            }
        }
        for (_, part) in self.parts.iter_mut().filter(|(key, _)| !holds.contains(*key)) {
            let holds = part.holder == self.region || part.role == Role::Holder;
            // What lies here may be anything: it becomes a copy as what a former holder left does.
            part.role = if holds { Role::Fenced } else { Role::Demoted };
        }
        self.inert = None;
        Ok(())
    }

    /// Notices what others know of this region's own store.
    pub(super) fn notice(&mut self, told: &Standings) {
        if self.inert.is_some() || self.outlives(told) {
            return;
        }
        let met = told.others.get(&self.region);
        self.inert = match met {
            _ if told.gone.contains_key(&self.region) => Some(Inert::DeclaredGone),
            Some(Met { store, serial }) if *store != self.store && *serial >= self.serial => Some(Inert::NewStore),
            Some(Met { store, serial }) if *store == self.store && *serial > self.serial => Some(Inert::WentBack),
            Some(_) | None => None,
        };
    }

    /// Whether nothing counts that a region says of this one: it was declared gone, and has not seen since what this one
    /// has, be it a later take-over, failover or readmission. Of two that were declared gone by each other one goes on so:
    /// if both took part in nothing, nobody would be left to readmit them.
    fn outlives(&self, told: &Standings) -> bool {
        let term = |controller: &Option<Controller>| controller.as_ref().map(|controller| controller.term);
        let own = (term(&self.controller), self.highest_epoch, &self.region);
        self.gone.contains_key(&told.region) && own > (term(&told.controller), told.highest_epoch, &told.region)
    }
}
