//! A person cuts a region off by hand, and lets it in again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use debvisor_region::failover::{Control, FRESH};
use debvisor_region::model::failover::{CutOff, Direction, Open, Standings};
use debvisor_region::model::region::{Authority, Epoch};
use debvisor_region::model::{AttemptOwner, RegionId};

use crate::actor::{Asked, HOOK, Mind};
use crate::admin;
use crate::fleet::{Event, Fleet};
use crate::network::Request;
use crate::region::Region;

/// A region that is being cut off.
#[derive(Debug, Clone)]
pub(crate) struct Cutting {
    pub(crate) region: RegionId,
    cut_off: CutOff,
    witnesses: BTreeSet<RegionId>,
    /// Those of them that keep the present word.
    pub(crate) kept: BTreeSet<RegionId>,
    /// When the first of them was asked.
    asked: Duration,
    runs: bool,
}

/// The program that cuts it off.
#[derive(Debug, Clone)]
pub(crate) struct Hand {
    actor: usize,
    owner: AttemptOwner,
    region: RegionId,
    epoch: Epoch,
    deadline: Duration,
}

fn obeys(told: &Standings, authority: &Authority) -> bool {
    told.inert.is_none() && admin::obeys(told, authority)
}

impl Fleet {
    /// Lets a region in that was cut off, or cuts one off. Says whether there was something to do.
    pub(crate) fn by_hand(&mut self, at: usize, told: &BTreeMap<RegionId, Standings>) -> bool {
        let authority = self.actors[at].authority.clone();
        // Who is inert is asked when it is readmitted, and refuses until then.
        let keepers = || told.values().filter(|told| obeys(told, &authority));
        let cut: BTreeSet<&RegionId> = keepers().flat_map(|told| told.cut_off.keys()).collect();
        // Whoever keeps it and has an operation open that leads away from there refuses.
        let led_away = |region: &RegionId| {
            let leads = |open: &Open| open.bid.failover.from == *region && open.bid.direction == Direction::Forward;
            keepers().filter(|told| told.cut_off.contains_key(region)).flat_map(|told| told.open.values()).any(leads)
        };
        let back = cut.into_iter().find(|region| !self.calm || !led_away(region)).cloned();
        if let Some(region) = back.filter(|_| self.calm || self.chance.percent(20)) {
            let asked = keepers().filter(|told| told.cut_off.contains_key(&region)).map(|told| told.region.clone());
            let asked: Vec<RegionId> = asked.collect();
            self.tell(format!("orchestrator {at} lets {region} in"));
            self.actors[at].mind = Mind::Registering;
            for other in asked {
                let control = Control::LetIn { authority: authority.clone(), region: region.clone() };
                self.ask(at, &other, Request::Control(Box::new(control)), Asked::Control(other.clone()));
            }
            return true;
        }
        if self.calm || !self.weather.by_hand || !self.chance.percent(15) {
            return false;
        }
        let ids: Vec<RegionId> = self.all.iter().cloned().collect();
        let region = self.chance.one(&ids).clone();
        let registry = told.values().filter(|told| told.inert.is_none()).flat_map(|told| told.registry.clone());
        let gone: BTreeSet<&RegionId> = told.values().flat_map(|told| told.gone.keys()).collect();
        let witnesses: BTreeSet<RegionId> =
            registry.filter(|other| *other != region && !gone.contains(other)).collect();
        let all = witnesses.iter().all(|other| told.get(other).is_some_and(|told| obeys(told, &authority)));
        if witnesses.is_empty() || !all {
            return false;
        }
        let epoch = Epoch(told.values().map(|told| told.highest_epoch.0).max().unwrap_or_default() + 1);
        let (at_clock, by) = (self.wall_clock(), "a hand".to_owned());
        let cut_off = CutOff { epoch, at: at_clock, by, reason: None, stopped: false };
        self.tell(format!("orchestrator {at} cuts {region} off by hand, with epoch {epoch}"));
        let cutting = Cutting { region, cut_off, witnesses, kept: BTreeSet::new(), asked: self.now, runs: false };
        self.put_word(at, cutting);
        true
    }

    /// Every witness is asked to keep the present word.
    fn put_word(&mut self, at: usize, cutting: Cutting) {
        let authority = self.actors[at].authority.clone();
        for other in &cutting.witnesses {
            let (region, cut_off) = (cutting.region.clone(), cutting.cut_off.clone());
            let control = Control::CutOff { authority: authority.clone(), region, cut_off };
            self.ask(at, other, Request::Control(Box::new(control)), Asked::Control(other.clone()));
        }
        self.actors[at].mind = Mind::Cutting(Box::new(cutting));
    }

    /// All answers are there: the fence is run or, after it, that is all.
    pub(crate) fn cut(&mut self, at: usize) {
        let Mind::Cutting(cutting) = &mut self.actors[at].mind else { return };
        if cutting.runs {
            return;
        }
        if cutting.cut_off.stopped || cutting.kept != cutting.witnesses {
            self.actors[at].mind = Mind::Idle;
            return;
        }
        cutting.runs = true;
        let (region, epoch, deadline) = (cutting.region.clone(), cutting.cut_off.epoch, cutting.asked + FRESH);
        let late = if self.weather.suspensions { Duration::from_secs(9) } else { Duration::from_secs(1) };
        let begins = self.chance.between(Duration::ZERO, late);
        let hand = Hand { actor: at, owner: self.actors[at].owner, region, epoch, deadline };
        self.at(self.now + begins, Event::HandBegins(hand));
    }

    pub(crate) fn hand_begins(&mut self, hand: Hand) {
        if self.now > hand.deadline {
            self.tally.late_hooks += 1;
            self.hand_reports(&hand, false);
            return;
        }
        let most = if self.weather.long_hooks { HOOK } else { Duration::from_millis(500) };
        let takes = self.chance.between(Duration::from_millis(10), most);
        self.at(self.now + takes, Event::HandEnds(hand));
    }

    pub(crate) fn hand_ends(&mut self, hand: Hand) {
        let fails = self.weather.fence_failures && self.chance.percent(15);
        if !fails {
            self.tally.by_hand += 1;
            self.region(&hand.region).fence();
            let keeps = |(_, other): &(&RegionId, &Region)| {
                other.book.cut_off.get(&hand.region).is_some_and(|kept| kept.epoch == hand.epoch)
            };
            let keepers = self.regions.iter().filter(keeps).map(|(id, _)| id.clone()).collect();
            self.watch.cut_off(&hand.region, keepers);
        }
        let how = if fails { "fails" } else { "has run" };
        self.tell(format!("the fence of {} by hand {how}, with epoch {}", hand.region, hand.epoch));
        self.hand_reports(&hand, !fails);
    }

    fn hand_reports(&mut self, hand: &Hand, stopped: bool) {
        let actor = &self.actors[hand.actor];
        let Mind::Cutting(cutting) = &actor.mind else { return };
        if !actor.alive || actor.owner != hand.owner || cutting.cut_off.epoch != hand.epoch {
            return;
        }
        let mut cutting = (**cutting).clone();
        cutting.runs = false;
        cutting.kept.clear();
        cutting.cut_off.stopped = stopped;
        match stopped {
            true => self.put_word(hand.actor, cutting),
            false => self.actors[hand.actor].mind = Mind::Idle,
        }
    }
}
