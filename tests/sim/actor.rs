//! An orchestrator: reads what regions know, plans or takes over an operation, and drives its attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use debvisor_region::failover::{Ending, Mandate, Order, Progress, Recourse, Step};
use debvisor_region::model::failover::{Attempt, Bid, Direction, Failover, Hook, Note, Open, Standings};
use debvisor_region::model::policy::Strategy;
use debvisor_region::model::region::{Authority, Epoch, Role};
use debvisor_region::model::{AttemptOwner, OperationId, RegionId, ResourceKey, Timestamp};

use crate::admin::{TakeOver, obeys};
use crate::by_hand::Cutting;
use crate::chance::Chance;
use crate::network::Request;
use crate::weather::Weather;

/// How long a hook may take.
pub(crate) const HOOK: Duration = Duration::from_secs(10);

/// A question that waits for its reply.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// For the attempt.
    Step(Step),
    /// What a region knows, to plan from.
    Read(RegionId),
    /// Control, or the registry.
    Control(RegionId),
}

/// What an orchestrator is about.
#[derive(Debug)]
pub(crate) enum Mind {
    Idle,
    /// Reading what regions know, and what came of it.
    Reading(BTreeMap<RegionId, Standings>),
    /// Taking over control.
    TakingOver(Box<TakeOver>),
    /// Changing the registry, or readmitting: nothing to be kept of it.
    Registering,
    /// Cutting a region off by hand.
    Cutting(Box<Cutting>),
    Working(Box<Progress>),
}

/// What a state file keeps of operations.
pub(crate) type Journal = BTreeMap<OperationId, Vec<Note>>;

#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) authority: Authority,
    pub(crate) owner: AttemptOwner,
    pub(crate) journal: Journal,
    pub(crate) mind: Mind,
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    /// Not scheduled before: it is suspended.
    pub(crate) asleep: Duration,
    pub(crate) alive: bool,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) asked: Asked,
    pub(crate) began: Duration,
    pub(crate) until: Duration,
}

/// What an orchestrator wants to do next, from what it read.
#[derive(Debug)]
pub(crate) enum Plan {
    Nothing,
    TakeOver,
    Drive(Box<Progress>),
}

impl Actor {
    pub(crate) fn new(authority: Authority, journal: Journal, chance: &mut Chance) -> Self {
        Self {
            authority,
            owner: AttemptOwner(chance.uuid()),
            journal,
            mind: Mind::Idle,
            waiting: BTreeMap::new(),
            asleep: Duration::ZERO,
            alive: true,
        }
    }

    /// The request that a step is, and the region that it goes to; none: it is the orchestrator's own.
    pub(crate) fn request(&self, progress: &Progress, step: &Step) -> Option<(RegionId, Request)> {
        let (authority, attempt) = (self.authority.clone(), progress.bid.attempt);
        let operation = progress.bid.failover.id;
        let (region, order) = match step {
            Step::Meet(region) => return Some((region.clone(), Request::Standings)),
            Step::Accept(region) => (region, Order::Accept { authority, bid: Box::new(progress.bid.clone()) }),
            Step::Withdraw(region, keys) => {
                (region, Order::Withdraw { authority, operation, attempt, resources: keys.clone() })
            }
            Step::Confirm(region) => (region, Order::Confirm { authority, operation, attempt }),
            Step::Note(region, note) => (region, Order::Note { authority, operation, attempt, note: note.clone() }),
            Step::Demote(region, keys) => {
                (region, Order::Demote { authority, operation, attempt, resources: keys.clone() })
            }
            Step::Start(region, keys) => {
                let life = progress.life.expect("met before anything else");
                let accepted = progress.takers().cloned().collect();
                let mandate = Mandate { operation, attempt, life, accepted };
                (region, Order::Hold { authority, mandate, resources: keys.clone() })
            }
            Step::Close(region, keys) => {
                (region, Order::Close { authority, operation, attempt, resources: keys.clone() })
            }
            Step::Judge | Step::Run(_) => return None,
        };
        Some((region.clone(), Request::Order(Box::new(order))))
    }

    /// What it makes of what regions know: goes on with what is open, or opens something new.
    pub(crate) fn plan(
        &self,
        told: &BTreeMap<RegionId, Standings>,
        view: &View<'_>,
        chance: &mut Chance,
        now: Timestamp,
    ) -> Plan {
        // What takes no part in anything is none of an operation's business before it is readmitted.
        let gone = gone(told, view, view.weather.returns && chance.percent(50));
        let told: BTreeMap<RegionId, Standings> = (told.iter())
            .filter(|(id, told)| told.inert.is_none() && told.registry.len() > 1 && !gone.contains_key(*id))
            .map(|(id, told)| (id.clone(), told.clone()))
            .collect();
        let Some(first) = told.values().next() else { return Plan::Nothing };
        if !told.values().all(|told| obeys(told, &self.authority)) {
            return if view.calm || (view.weather.take_overs && chance.percent(10)) {
                Plan::TakeOver
            } else {
                Plan::Nothing
            };
        }
        let opens: Vec<&Open> = told.values().flat_map(|told| told.open.values()).collect();
        let mut progress = match opens.first() {
            Some(_) => {
                let id = chance.one(&opens).bid.failover.id;
                let opens = opens.iter().filter(|open| open.bid.failover.id == id).copied().collect();
                let highest = told.values().filter_map(|told| told.highest_attempt(id)).max().unwrap_or_default();
                self.adopt(opens, highest, &gone, view, chance)
            }
            None => match self.open(&told, first, gone, view, chance, now) {
                Some(progress) => progress,
                None => return Plan::Nothing,
            },
        };
        progress.depends_on = view.depends.clone();
        progress.fence = view.calm || !view.weather.fence_failures || chance.percent(85);
        progress.proof_is_old = progress.fence && progress.bid.attempt.number > 1 && chance.percent(30);
        progress.hook_limit = HOOK;
        if let Some(journal) = self.journal.get(&progress.bid.failover.id) {
            progress.remember(journal);
        }
        if progress.bid.direction == Direction::Forward {
            progress.hooks = BTreeSet::from([Hook::Before(0), Hook::After(0)]);
        }
        Plan::Drive(Box::new(progress))
    }

    /// A higher attempt at an operation, as far as it is known.
    fn adopt(
        &self,
        opens: Vec<&Open>,
        highest: u32,
        gone: &BTreeMap<RegionId, String>,
        view: &View<'_>,
        chance: &mut Chance,
    ) -> Progress {
        let latest = opens.iter().max_by_key(|open| open.bid.attempt.number).expect("it is open somewhere");
        let promoted = opens.iter().any(|open| !open.promoted.is_empty());
        let mut bid = latest.bid.clone();
        let abort = bid.direction == Direction::Abort;
        let abort = if view.weather.whims { abort != chance.percent(35) } else { abort || chance.percent(20) };
        bid.attempt = Attempt { number: highest + 1, owner: self.owner };
        bid.direction = if abort && !promoted { Direction::Abort } else { Direction::Forward };
        bid.resources = opens.iter().flat_map(|open| &open.resources).cloned().collect();
        bid.gone.extend(gone.clone());
        let other = |region: &&RegionId| **region != bid.failover.from && !bid.gone.contains_key(*region);
        let others: Vec<_> = bid.registry.iter().filter(other).collect();
        let whim = view.weather.whims && chance.percent(30) || bid.gone.contains_key(&bid.to);
        if whim && !others.is_empty() {
            bid.to = (*chance.one(&others)).clone();
        }
        Progress::new(bid)
    }

    /// Something new: a region's resources go elsewhere.
    fn open(
        &self,
        told: &BTreeMap<RegionId, Standings>,
        first: &Standings,
        gone: BTreeMap<RegionId, String>,
        view: &View<'_>,
        chance: &mut Chance,
        now: Timestamp,
    ) -> Option<Progress> {
        let known: Vec<(&ResourceKey, RegionId)> =
            latest(told).into_iter().map(|(key, part)| (key, part.holder.clone())).collect();
        // What was asked for has come about: only what has lost its holder, or the holder's data, is moved once more.
        let lost = |(key, holder): &&(&ResourceKey, RegionId)| {
            if gone.contains_key(holder) {
                return true;
            }
            let part = told.get(holder).and_then(|told| told.resources.get(*key)).and_then(|it| it.part.as_ref());
            part.is_some_and(|part| part.role == Role::Fenced)
        };
        let wanting: Vec<_> = known.iter().filter(|known| !view.calm || lost(known)).collect();
        if wanting.is_empty() {
            return None;
        }
        let from = chance.one(&wanting).1.clone();
        let resources: BTreeSet<ResourceKey> =
            wanting.iter().filter(|(_, holder)| *holder == from).map(|(key, _)| (*key).clone()).collect();
        let takes_part = |region: &&RegionId| {
            let told = told.get(*region);
            **region != from
                && told.is_some_and(|told| {
                    resources.iter().all(|key| told.resources.get(key).is_some_and(|standing| standing.part.is_some()))
                })
        };
        let others: Vec<_> = first.registry.iter().filter(takes_part).collect();
        if others.is_empty() {
            return None;
        }
        let epoch = told.values().map(|told| told.highest_epoch).max()?;
        let failover = Failover {
            id: OperationId(chance.uuid()),
            epoch: Epoch(epoch.0 + 1),
            from,
            strategy: Strategy::Manual,
            reason: None,
            automatic: false,
            opened_at: now,
        };
        Some(Progress::new(Bid {
            failover,
            attempt: Attempt { number: 1, owner: self.owner },
            direction: Direction::Forward,
            by_person: false,
            to: (*chance.one(&others)).clone(),
            resources,
            registry: first.registry.clone(),
            gone,
            points: BTreeMap::new(),
        }))
    }

    /// What it does where its attempt cannot go on: another attempt, or nothing more.
    pub(crate) fn despair(
        &self,
        progress: &Progress,
        recourse: &Recourse,
        view: &View<'_>,
        chance: &mut Chance,
    ) -> Option<Progress> {
        let number = progress.bid.attempt.number;
        let attempt = Attempt { number: number + 1, owner: self.owner };
        if number > 40 {
            return None;
        }
        match recourse {
            Recourse::Retreat => {
                let mut back = progress.clone();
                back.retreat();
                Some(back)
            }
            Recourse::Forward(region) => Some(progress.again(attempt, Direction::Forward, region.clone())),
            Recourse::LeaveOut(keys) => Some(progress.without(attempt, keys)),
            Recourse::PassOver(silent) => {
                let from = &progress.bid.failover.from;
                let other = |other: &&RegionId| *other != silent && *other != from;
                let others: Vec<_> = progress.bid.registry.iter().filter(other).collect();
                if view.calm || others.is_empty() || chance.percent(30) {
                    return None;
                }
                let mut next = progress.again(attempt, Direction::Forward, (*chance.one(&others)).clone());
                next.cut.insert(silent.clone());
                Some(next)
            }
            Recourse::Abort if view.calm || chance.percent(80) => {
                Some(progress.again(attempt, Direction::Abort, progress.bid.to.clone()))
            }
            Recourse::Abort | Recourse::Leave => None,
        }
    }
}

/// The regions that people declared gone, as whoever takes part remembers.
fn gone(told: &BTreeMap<RegionId, Standings>, view: &View<'_>, forgetful: bool) -> BTreeMap<RegionId, String> {
    let burned = view.dead.iter().map(|region| (region.clone(), "it burned".to_owned()));
    let known = told.values().filter(|told| told.inert.is_none()).flat_map(|told| told.gone.clone());
    let known = known.filter(|_| !forgetful || view.calm);
    known.chain(burned).collect()
}

/// Each resource's part of the highest age.
pub(crate) fn latest(
    told: &BTreeMap<RegionId, Standings>,
) -> BTreeMap<&ResourceKey, &debvisor_region::model::failover::Part> {
    let mut latest: BTreeMap<&ResourceKey, &debvisor_region::model::failover::Part> = BTreeMap::new();
    for (key, standing) in told.values().flat_map(|told| &told.resources) {
        let Some(part) = &standing.part else { continue };
        if latest.get(key).is_none_or(|known| known.age() < part.age()) {
            latest.insert(key, part);
        }
    }
    latest
}

/// What planning knows besides what regions say.
pub(crate) struct View<'a> {
    pub(crate) calm: bool,
    pub(crate) weather: &'a Weather,
    pub(crate) depends: &'a BTreeMap<ResourceKey, BTreeSet<ResourceKey>>,
    /// Regions whose hosts are off for good, as far as people know.
    pub(crate) dead: BTreeSet<RegionId>,
}

pub(crate) const fn words(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "completed",
        Ending::Aborted => "aborted",
        Ending::Withdrawn => "withdrawn",
        Ending::Past => "it had ended before",
    }
}
