//! What an attempt may do next, from what is known of it.
//!
//! [`Progress::next`] reads as the order of events: learn the starter's life, have every region accept, judge, cut the
//! source off or have it give up, start level by level, close everywhere; or, where the attempt leads back, take back
//! what had no effect, and start again at the source what it gave up. Each step says what it waits for. It never asks
//! what was done before a crash: what regions answer is what is known.

use std::collections::BTreeSet;
use std::time::Duration;

use super::order::Refusal;
use super::progress::{Answer, FRESH, Progress};
use super::recourse::Impasse;
use crate::model::failover::{Direction, Hook, Note};
use crate::model::{RegionId, ResourceKey};

/// One thing to be done. Steps that come together may be done at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Learn which life the agent of the region that is to start the resources is in.
    Meet(RegionId),
    /// Put the bid to a region.
    Accept(RegionId),
    /// Take the acceptance of resources back.
    Withdraw(RegionId, BTreeSet<ResourceKey>),
    /// Ask a region whether the attempt is still the highest that it accepted.
    Confirm(RegionId),
    /// Judge the gates, on what regions answered.
    Judge,
    /// Leave word at a region.
    Note(RegionId, Note),
    /// Run a hook; a fence proves a region stopped.
    Run(Hook),
    /// Have the source give up resources, and stop their machines.
    Demote(RegionId, BTreeSet<ResourceKey>),
    /// Have the starter hold resources, and start their machines.
    Start(RegionId, BTreeSet<ResourceKey>),
    /// Close the operation at a region.
    Close(RegionId, BTreeSet<ResourceKey>),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These.
    Do(Vec<Step>),
    /// Nothing before this moment of this machine's boot clock.
    Wait(Duration),
    /// Nothing: it is done.
    Ended(Ending),
    /// Nothing, for this reason.
    Stuck(Impasse),
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Resources arrived where it led.
    Completed,
    /// It was led back to where it came from.
    Aborted,
    /// It was taken back without any effect.
    Withdrawn,
    /// It had ended before.
    Past,
}

impl Progress {
    /// What may be done next. `now`: this machine's boot clock.
    pub fn next(&self, now: Duration) -> Next {
        if self.retreating {
            return self.retreated();
        }
        let starter = self.bid.starter();
        // Nothing is started at a region that is gone; who has not heard of the end is told it all the same.
        let nobody = self.bid.gone.contains_key(starter);
        let unmet = self.life.is_none() && !self.accepted.contains_key(starter);
        if unmet && !nobody {
            return Next::Do(vec![Step::Meet(starter.clone())]);
        }
        if now < self.not_before {
            return Next::Wait(self.not_before);
        }
        if let Some(next) = self.acceptance() {
            return next;
        }
        if now < self.hooks_over {
            return Next::Wait(self.hooks_over);
        }
        match self.bid.direction {
            Direction::Forward => self.forward(now),
            Direction::Abort => self.back(now),
        }
    }

    /// Every region that may have accepted is told that nothing comes of it.
    fn retreated(&self) -> Next {
        let told = |region: &&RegionId| self.withdrawn.contains_key(*region);
        let asked =
            self.accepted.iter().filter(|(region, answer)| !matches!(answer, Answer::Refused(_)) && !told(region));
        let steps: Vec<Step> =
            asked.map(|(region, _)| Step::Withdraw(region.clone(), self.bid.resources.clone())).collect();
        if steps.is_empty() { Next::Ended(Ending::Withdrawn) } else { Next::Do(steps) }
    }

    /// Every registered region accepts, in the order of their ids, so that two attempts meet at the first one. Only
    /// the source may be silent, where it can be cut off, and regions that are proven stopped or gone. That an operation
    /// leads back all others hear, too, so that whoever goes on with it knows.
    fn acceptance(&self) -> Option<Next> {
        let mut missing = None;
        for region in self.bid.registry.iter().filter(|region| !self.bid.gone.contains_key(*region)) {
            match self.accepted.get(region) {
                None => return Some(Next::Do(vec![Step::Accept(region.clone())])),
                // Nothing of a first attempt can be over but by one that came before it: it yields at the first region,
                // and so the other one meets it at none.
                Some(Answer::Refused(Refusal::Over(_))) if self.bid.attempt.number == 1 => {
                    return Some(Next::Stuck(Impasse::Over(region.clone())));
                }
                Some(Answer::Done(_) | Answer::Refused(Refusal::Over(_))) => {}
                Some(Answer::Refused(refusal)) if !self.excused(region) => {
                    return Some(Next::Stuck(Impasse::Refused(region.clone(), refusal.clone())));
                }
                Some(Answer::Silent(why)) if !self.excused(region) && !self.cut.contains(region) => {
                    missing.get_or_insert(Impasse::Missing(region.clone(), why.clone()));
                    if self.bid.direction == Direction::Forward {
                        break;
                    }
                }
                Some(Answer::Refused(_) | Answer::Silent(_)) => {}
            }
        }
        missing.map(Next::Stuck)
    }

    fn forward(&self, now: Duration) -> Next {
        let others: Vec<&RegionId> = self.takers().filter(|region| **region != self.bid.failover.from).collect();
        let refuted = self.refutation().map(|refutation| self.untold(&others, &refutation));
        if let Some(untold) = refuted.filter(|untold| !untold.is_empty()) {
            return Next::Do(untold);
        }
        // A resource that was promoted in an earlier attempt stays where it was promoted.
        if let Some((region, _)) = self.promoted_at().filter(|(region, _)| *region != self.bid.to) {
            return Next::Stuck(Impasse::NewAttempt(region));
        }
        let (going, reached) = (self.going(), self.reached());
        if going.is_empty() && self.bid.resources.iter().all(|key| self.arrived.contains_key(key)) {
            return self.past();
        }
        if self.life.is_none() {
            return Next::Stuck(Impasse::Missing(self.bid.to.clone(), "it was declared gone".to_owned()));
        }
        let over = || self.over().map(|(region, _)| region);
        if let Some(region) = over().find(|region| !self.excused(region) || !reached.is_empty()) {
            // Nothing more is started; what was promoted before is brought to its end, the rest taken back.
            if reached.is_empty() {
                return Next::Stuck(Impasse::Over(region.clone()));
            }
            let rest = self.bid.resources.difference(&reached).cloned().collect();
            let withdrawals = self.withdrawals(&rest, |_| true);
            if !withdrawals.is_empty() {
                return Next::Do(withdrawals);
            }
            return self.closing(&reached).unwrap_or_else(|| self.closed(Ending::Completed));
        }
        // What the source has given up already is left open: it is led back, or elsewhere, in an attempt of its own. So is
        // all of it as long as a silent region may have given it up, or run it.
        let hidden = self.silence_hides_something();
        let stays = |key: &&ResourceKey| !hidden && !going.contains(*key) && !self.given_up.contains(*key);
        let left = self.bid.resources.iter().filter(stays).cloned().collect();
        let withdrawals = self.withdrawals(&left, |_| true);
        if !withdrawals.is_empty() {
            return Next::Do(withdrawals);
        }
        if going.is_empty() {
            return Next::Stuck(Impasse::NothingLeft);
        }
        if self.starter_is_cut_off() && !going.is_subset(&self.started) {
            return Next::Stuck(Impasse::CutOff(self.bid.to.clone()));
        }
        if !self.judged {
            return Next::Do(vec![Step::Judge]);
        }
        let next = self.before(&going, now).or_else(|| self.level(&going, now));
        let next = next.or_else(|| self.hook(|hook| matches!(hook, Hook::After(_)), now));
        next.or_else(|| self.closing(&going)).unwrap_or_else(|| self.closed(Ending::Completed))
    }

    /// What had no effect at the source is taken back, there first; what the source gave up is started there again,
    /// once every region has said that it was promoted nowhere, and closed everywhere.
    fn back(&self, now: Duration) -> Next {
        if let Some((region, _)) = self.promoted_at() {
            return Next::Stuck(Impasse::Promoted(region));
        }
        if self.bid.resources.iter().all(|key| self.arrived.contains_key(key)) {
            return self.past();
        }
        let from = &self.bid.failover.from;
        let withdrawals = self.withdrawals(&self.bid.resources, |region| region == from);
        if !withdrawals.is_empty() {
            return Next::Do(withdrawals);
        }
        let returns = |key: &&ResourceKey| !self.left.contains_key(*key) && !self.arrived.contains_key(*key);
        let returning: BTreeSet<ResourceKey> = self.given_up.iter().filter(returns).cloned().collect();
        let elsewhere = self.over().find(|(_, over)| returning.iter().any(|key| over.running.contains(key)));
        if let Some((region, _)) = elsewhere {
            return Next::Stuck(Impasse::Over(region.clone()));
        }
        if let Some(refusal) = &self.unclear {
            // Once the operation is open nowhere else, the source may find by itself that nothing speaks against it.
            let withdrawals = self.withdrawals(&self.bid.resources, |region| region != from);
            let stuck = || Next::Stuck(Impasse::Refused(from.clone(), refusal.clone()));
            return if withdrawals.is_empty() { stuck() } else { Next::Do(withdrawals) };
        }
        let cut_off = self.starter_is_cut_off() && !returning.is_subset(&self.started);
        if let Some(next) = self.level(&returning, now).filter(|_| !cut_off) {
            return next;
        }
        let rest: BTreeSet<ResourceKey> = self.bid.resources.difference(&self.given_up).cloned().collect();
        let withdrawals = self.withdrawals(&rest, |_| true);
        if !withdrawals.is_empty() {
            return Next::Do(withdrawals);
        }
        if returning.is_empty() {
            return if self.given_up.is_empty() {
                Next::Ended(Ending::Aborted)
            } else {
                Next::Stuck(Impasse::NothingLeft)
            };
        }
        if cut_off {
            return Next::Stuck(Impasse::CutOff(from.clone()));
        }
        self.closing(&returning).unwrap_or_else(|| self.closed(Ending::Aborted))
    }

    /// It had ended before. Whoever has it open still is told where it led, by an attempt that leads there.
    fn past(&self) -> Next {
        if self.takers().next().is_none() {
            return Next::Ended(Ending::Past);
        }
        let here = |(_, holder): &(&ResourceKey, &RegionId)| *holder == self.bid.starter();
        let here: BTreeSet<ResourceKey> = self.arrived.iter().filter(here).map(|(key, _)| key.clone()).collect();
        match self.arrived.values().next().filter(|_| here.is_empty()) {
            Some(elsewhere) => Next::Stuck(Impasse::NewAttempt(elsewhere.clone())),
            None => self.closing(&here).unwrap_or(Next::Ended(Ending::Past)),
        }
    }

    /// What is still to be given back of these, at the regions `at`, where the operation is open on it and changed
    /// nothing of it.
    fn withdrawals(&self, of: &BTreeSet<ResourceKey>, at: impl Fn(&RegionId) -> bool) -> Vec<Step> {
        let open = |region: &RegionId| {
            let done = self.withdrawn.get(region);
            let mut open = self.untouched_at(region);
            open.retain(|key| of.contains(key) && !done.is_some_and(|done| done.contains(key)));
            open
        };
        let steps =
            self.takers().filter(|region| at(region)).map(|region| Step::Withdraw(region.clone(), open(region)));
        steps.filter(|step| matches!(step, Step::Withdraw(_, keys) if !keys.is_empty())).collect()
    }

    /// Regions whose word is too old to act on.
    fn stale(&self, of: &[&RegionId], now: Duration) -> Vec<Step> {
        let fresh = |region: &RegionId| self.confirmed.get(region).is_some_and(|at| now.saturating_sub(*at) <= FRESH);
        of.iter().filter(|region| !fresh(region)).map(|region| Step::Confirm((*region).clone())).collect()
    }

    /// A hook is run once, on fresh word, after every region that takes part knows that it will be.
    fn hook(&self, which: impl Fn(&Hook) -> bool, now: Duration) -> Option<Next> {
        let waits = |hook: &&Hook| which(hook) && !self.ran.contains(*hook) && !self.failed.contains_key(*hook);
        let hook = self.hooks.iter().find(waits)?.clone();
        Some(self.run(hook, now))
    }

    fn run(&self, hook: Hook, now: Duration) -> Next {
        let party = self.party(&hook);
        let intent = Note::HookIntended { attempt: self.bid.attempt, hook: hook.clone(), limit: self.hook_limit };
        let untold = self.untold(&party, &intent);
        if !untold.is_empty() {
            return Next::Do(untold);
        }
        let stale = self.stale(&party, now);
        if stale.is_empty() { Next::Do(vec![Step::Run(hook)]) } else { Next::Do(stale) }
    }

    /// The regions that have no word of this yet.
    fn untold(&self, party: &[&RegionId], note: &Note) -> Vec<Step> {
        let knows = |region: &RegionId| self.noted.get(region).is_some_and(|notes| notes.contains(note));
        party.iter().filter(|region| !knows(region)).map(|region| Step::Note((*region).clone(), note.clone())).collect()
    }

    /// What leads forward before the first machine is started: hooks, and the end of the source.
    fn before(&self, going: &BTreeSet<ResourceKey>, now: Duration) -> Option<Next> {
        if going.is_subset(&self.started) {
            return None;
        }
        let takers: Vec<&RegionId> = self.takers().collect();
        let unknown: Vec<Step> = self.notes.iter().flat_map(|note| self.untold(&takers, note)).collect();
        if !unknown.is_empty() {
            return Some(Next::Do(unknown));
        }
        if let Some(next) = self.hook(|hook| matches!(hook, Hook::Before(_)), now) {
            return Some(next);
        }
        let silent = |region| matches!(self.accepted.get(region), Some(Answer::Silent(_)));
        let loose = self.cut.iter().find(|region| !self.excused(region) && silent(*region));
        if let Some(region) = loose {
            let hook = Hook::Fence(region.clone());
            return Some(if self.fence {
                self.run(hook, now)
            } else {
                Next::Stuck(Impasse::NotFenced(region.clone()))
            });
        }
        let from = &self.bid.failover.from;
        let held: BTreeSet<ResourceKey> =
            going.iter().filter(|key| !self.demoted.contains(*key) && !self.started.contains(*key)).cloned().collect();
        if held.is_empty() {
            return None;
        }
        let kept = self.kept_by_source(&held);
        if !kept.is_empty() {
            return Some(Next::Stuck(Impasse::NotStopped(from.clone(), kept)));
        }
        if !self.has_accepted(from) {
            return None;
        }
        let unwatched = self.unwatched(&held);
        Some(match unwatched.is_empty() {
            true => Next::Do(vec![Step::Demote(from.clone(), held)]),
            false => Next::Stuck(Impasse::Unwatched(from.clone(), unwatched)),
        })
    }

    /// The next resources to start: those whose dependencies run.
    fn level(&self, going: &BTreeSet<ResourceKey>, now: Duration) -> Option<Next> {
        let waits = |key: &ResourceKey| {
            let first = self.depends_on.get(key).into_iter().flatten();
            first.filter(|first| going.contains(*first)).any(|first| !self.started.contains(first))
        };
        let level: BTreeSet<ResourceKey> =
            going.iter().filter(|key| !self.started.contains(*key) && !waits(key)).cloned().collect();
        if level.is_empty() {
            return None;
        }
        let stale = self.stale(&self.takers().collect::<Vec<_>>(), now);
        Some(Next::Do(if stale.is_empty() { vec![Step::Start(self.bid.starter().clone(), level)] } else { stale }))
    }

    /// Closed everywhere; at the starter last, so that as long as anybody may still be asked to go on, it knows.
    fn closing(&self, going: &BTreeSet<ResourceKey>) -> Option<Next> {
        let starter = self.bid.starter();
        let others: Vec<Step> = (self.takers())
            .filter(|region| *region != starter && !self.closed.contains(*region))
            .map(|region| Step::Close(region.clone(), going.clone()))
            .collect();
        if !others.is_empty() {
            return Some(Next::Do(others));
        }
        let starts = self.has_accepted(starter) && !self.closed.contains(starter);
        starts.then(|| Next::Do(vec![Step::Close(starter.clone(), going.clone())]))
    }

    /// It has ended where any region closed it. Where none did, somebody else may have gone on with it.
    fn closed(&self, ending: Ending) -> Next {
        if !self.moved.is_empty() {
            return Next::Ended(ending);
        }
        Next::Stuck(match &self.unclosed {
            Some((region, refusal)) => Impasse::Refused(region.clone(), refusal.clone()),
            None => Impasse::NotClosed(self.bid.starter().clone()),
        })
    }
}
