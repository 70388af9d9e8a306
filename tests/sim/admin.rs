//! What people have orchestrators do about regions themselves: remove, add and readmit them.

use std::collections::{BTreeMap, BTreeSet};

use debvisor_region::failover::{Control, Known};
use debvisor_region::model::RegionId;
use debvisor_region::model::failover::{Inert, Standings};
use debvisor_region::model::region::Authority;

use crate::actor::{Asked, Mind};
use crate::fleet::Fleet;
use crate::network::Request;

type Told = BTreeMap<RegionId, Standings>;

impl Fleet {
    /// Readmits regions that are inert or have lost their store, and brings the registry into order, or changes it.
    /// Says whether there was something to do.
    pub(crate) fn administer(&mut self, at: usize, told: &Told) -> bool {
        let authority = self.actors[at].authority.clone();
        let controls = told.values().any(|told| obeys(told, &authority));
        let open = told.values().any(|told| told.inert.is_none() && !told.open.is_empty());
        if self.calm && controls && !open && self.mourn(at, told) {
            return true;
        }
        if !controls || told.len() < self.all.len() {
            return false;
        }
        let changes = !self.calm && self.weather.registry && !open;
        let mut asked = Vec::new();
        if changes && self.chance.percent(10) {
            asked = self.remove(&authority, told);
        } else if self.calm || self.chance.percent(30) {
            asked = self.readmit(&authority, told);
            if asked.is_empty() {
                asked = self.register(&authority, told);
            }
        }
        if asked.is_empty() {
            return false;
        }
        self.actors[at].mind = Mind::Registering;
        for (region, control) in asked {
            let request = Request::Control(Box::new(control));
            self.tell(format!("orchestrator {at} asks {region}: {}", request.words()));
            self.ask(at, &region, request, Asked::Control(region.clone()));
        }
        true
    }

    /// Whoever is left is told that a region never comes back. Says whether anybody had to be.
    fn mourn(&mut self, at: usize, told: &Told) -> bool {
        let Some(lost) = self.regions.iter().find(|(_, region)| region.dead).map(|(id, _)| id.clone()) else {
            return false;
        };
        let authority = self.actors[at].authority.clone();
        let knows =
            |told: &Standings| told.inert.is_some() || told.gone.contains_key(&lost) || !obeys(told, &authority);
        let asked: Vec<&Standings> = told.values().filter(|told| !knows(told)).collect();
        if asked.is_empty() {
            return false;
        }
        self.actors[at].mind = Mind::Registering;
        for standings in asked {
            let registry = standings.registry.clone();
            let (authority, gone) = (authority.clone(), BTreeMap::from([(lost.clone(), "it is lost".to_owned())]));
            let control =
                Control::Register { authority, was: registry.clone(), now: registry, gone, accepted: BTreeSet::new() };
            let (region, request) = (standings.region.clone(), Request::Control(Box::new(control)));
            self.tell(format!("orchestrator {at} asks {region}: {}", request.words()));
            self.ask(at, &region, request, Asked::Control(region.clone()));
        }
        true
    }

    fn readmit(&mut self, authority: &Authority, told: &Told) -> Vec<(RegionId, Control)> {
        let all: Vec<&Standings> = told.values().collect();
        let mut asked = Vec::new();
        for (id, standings) in told {
            let elsewhere = |other: &&Standings| {
                let met = other.others.get(id);
                met.is_some_and(|met| met.store != standings.met.store && met.serial >= standings.met.serial)
            };
            let unknown = standings.registry.len() < 2;
            let lost = standings.inert.is_some() || unknown || all.iter().any(elsewhere);
            // Of others that take part in nothing it says no more than what else they know.
            let gone = all.iter().any(|told| told.inert.is_none() && told.gone.contains_key(id));
            if !lost || gone {
                continue;
            }
            if !obeys(standings, authority) {
                asked.push((id.clone(), Control::TakeOver { authority: authority.clone() }));
                continue;
            }
            let Some(known) = Known::of(id, &all, &self.takes_part[id]) else { continue };
            // Somebody goes there and looks that nothing runs.
            self.region(id).running.clear();
            asked.push((id.clone(), Control::Readmit { authority: authority.clone(), known }));
        }
        asked
    }

    /// Everybody is to know everybody; or, while an operation is open, the regions that it was put to.
    fn register(&self, authority: &Authority, told: &Told) -> Vec<(RegionId, Control)> {
        let dead = self.regions.values().any(|region| region.dead);
        let mut opens = told.values().filter(|told| told.inert.is_none()).flat_map(|told| told.open.values());
        let open = opens.next();
        let now = open.map_or(&self.all, |open| &open.bid.registry);
        let left: BTreeSet<RegionId> =
            told.values().filter(|told| told.inert.is_some()).map(|told| told.region.clone()).collect();
        let forgives = |told: &Standings| open.is_none() && !dead && !told.gone.is_empty();
        let apart = |told: &&Standings| {
            let bound = told.inert.is_none() && obeys(told, authority) && told.open.is_empty();
            bound && (told.registry != *now || forgives(told))
        };
        let change = |told: &Standings| Control::Register {
            authority: authority.clone(),
            was: told.registry.clone(),
            now: now.clone(),
            gone: if dead || open.is_some() { told.gone.clone() } else { BTreeMap::new() },
            accepted: left.clone(),
        };
        told.values().filter(apart).map(|told| (told.region.clone(), change(told))).collect()
    }

    /// One region is to leave: it is asked first.
    fn remove(&mut self, authority: &Authority, told: &Told) -> Vec<(RegionId, Control)> {
        let left: Vec<RegionId> =
            (told.iter()).filter(|(_, told)| told.inert == Some(Inert::Removed)).map(|(id, _)| id.clone()).collect();
        let ids: Vec<RegionId> = self.all.iter().cloned().collect();
        let leaving = left.first().cloned().unwrap_or_else(|| self.chance.one(&ids).clone());
        let asked = told.values().filter(|told| (told.region == leaving) == left.is_empty());
        let change = |told: &Standings| {
            let now = told.registry.iter().filter(|id| **id != leaving).cloned().collect();
            Control::Register {
                authority: authority.clone(),
                was: told.registry.clone(),
                now,
                gone: told.gone.clone(),
                accepted: left.iter().cloned().collect(),
            }
        };
        asked.map(|told| (told.region.clone(), change(told))).collect()
    }
}

/// Whether a region has this one as its controller.
pub(crate) fn obeys(told: &Standings, authority: &Authority) -> bool {
    told.controller.as_ref().is_some_and(|controller| controller.gave(authority))
}

/// A take-over of control in progress: every region is asked, and it counts once all have accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakeOver {
    /// Who takes over.
    pub(crate) authority: Authority,
    /// The regions that must accept: those of every registry that was read, but for the gone ones.
    pub(crate) regions: BTreeSet<RegionId>,
    /// Those that did.
    pub(crate) accepted: BTreeSet<RegionId>,
    /// A region that was fenced by hook in the same run: it may be missing.
    pub(crate) fenced: Option<RegionId>,
}

impl TakeOver {
    /// Above every term that was read.
    pub(crate) fn new(authority: Authority, told: &[&Standings]) -> Self {
        let highest = told.iter().filter_map(|told| told.controller.as_ref()).map(|controller| controller.term).max();
        let term = highest.unwrap_or_default() + 1;
        // What takes no part in anything has nobody gone.
        let takes_part = || told.iter().filter(|told| told.inert.is_none());
        let gone: BTreeSet<&RegionId> = takes_part().flat_map(|told| told.gone.keys()).collect();
        let regions = told.iter().flat_map(|told| &told.registry).filter(|region| !gone.contains(region)).cloned();
        Self {
            authority: Authority { term, ..authority },
            regions: regions.collect(),
            accepted: BTreeSet::new(),
            fenced: None,
        }
    }

    /// The regions that are still to be asked.
    pub(crate) fn missing(&self) -> BTreeSet<RegionId> {
        let missing = |region: &&RegionId| !self.accepted.contains(*region) && self.fenced.as_ref() != Some(*region);
        self.regions.iter().filter(missing).cloned().collect()
    }

    /// Whether it counts.
    pub(crate) fn counts(&self) -> bool {
        !self.accepted.is_empty() && self.missing().is_empty()
    }
}
