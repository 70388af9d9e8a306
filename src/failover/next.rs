//! What an attempt may do next, from what is known of it.
//!
//! [`Progress::next`] reads as the order of events: learn the starter's life, have every region accept, judge, cut the
//! source off or have it give up, bring the target up to date, start level by level, close everywhere. Each step says
//! what it waits for. It never asks what was done before a crash: what regions answer is what is known.

use std::collections::BTreeSet;
use std::time::Duration;

use super::order::Refusal;
use super::progress::{Answer, Progress};
use crate::model::failover::{Direction, Hook, Note};
use crate::model::{RegionId, ResourceKey};

/// How old a region's word may be, at most, when a hook is run or a machine is started on it.
pub const FRESH: Duration = Duration::from_secs(5);

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

/// Why an attempt cannot go on. What was accepted stays open until it is withdrawn, aborted or resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Impasse {
    /// A region that must accept did not answer.
    Missing(RegionId, String),
    /// A region refused the bid.
    Refused(RegionId, Refusal),
    /// The operation has ended at a region.
    Ended(RegionId),
    /// The starter did not answer: where it was to start something it may have.
    StarterSilent(RegionId, String),
    /// The starter has a new life, or another region was promoted before: it takes a new attempt.
    NewAttempt(RegionId),
    /// A hook failed.
    HookFailed(Hook, String),
    /// The source did not stop what it was asked to.
    NotStopped(RegionId, BTreeSet<ResourceKey>),
    /// A region must be cut off, and nothing can do that.
    NotFenced(RegionId),
    /// An abort meets a resource that was promoted: it leads only forward.
    Promoted(RegionId),
    /// Nothing of it may go on.
    NothingLeft,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These.
    Do(Vec<Step>),
    /// Nothing: it is done.
    Ended,
    /// Nothing, for this reason.
    Stuck(Impasse),
}

impl Progress {
    /// What may be done next. `now`: this machine's boot clock.
    pub fn next(&self, now: Duration) -> Next {
        if self.life.is_none() {
            return Next::Do(vec![Step::Meet(self.bid.starter().clone())]);
        }
        if let Some(next) = self.acceptance() {
            return next;
        }
        if let Some(next) = self.adoption() {
            return next;
        }
        let withdrawals = self.withdrawals();
        if !withdrawals.is_empty() {
            return Next::Do(withdrawals);
        }
        let going = self.going();
        if going.is_empty() {
            return Next::Stuck(Impasse::NothingLeft);
        }
        if !self.judged {
            return Next::Do(vec![Step::Judge]);
        }
        if let Some(next) = self.forward(&going, now) {
            return next;
        }
        if let Some(next) = self.level(&going, now) {
            return next;
        }
        if let Some(next) = self.closing(&going) {
            return next;
        }
        self.hook(|hook| matches!(hook, Hook::After(_)), now).unwrap_or(Next::Ended)
    }

    /// Every registered region accepts, in the order of their ids, so that two attempts meet at the first one. Only
    /// the source may be silent, where it can be cut off, and regions that are proven stopped or gone.
    fn acceptance(&self) -> Option<Next> {
        for region in &self.bid.registry {
            match self.accepted.get(region) {
                None if self.excused(region) => {}
                None => return Some(Next::Do(vec![Step::Accept(region.clone())])),
                Some(Answer::Done(_)) => {}
                // It has seen a later epoch of an operation that went no further: it will never accept this one.
                Some(Answer::Refused(Refusal::Epoch(_))) if self.cut.contains(region) => {}
                // Whoever has it open still is to close it, too.
                Some(Answer::Refused(Refusal::Ended(_))) => {}
                Some(Answer::Refused(refusal)) if !self.excused(region) => {
                    return Some(Next::Stuck(Impasse::Refused(region.clone(), refusal.clone())));
                }
                Some(Answer::Silent(why)) if !self.excused(region) => {
                    if !self.cut.contains(region) {
                        return Some(Next::Stuck(Impasse::Missing(region.clone(), why.clone())));
                    }
                }
                Some(Answer::Refused(_) | Answer::Silent(_)) => {}
            }
        }
        let ended = |answer: &Answer<_>| matches!(answer, Answer::Refused(Refusal::Ended(_)));
        let ended = self.accepted.iter().find(|(_, answer)| ended(answer));
        ended.map(|(region, _)| Next::Stuck(Impasse::Ended(region.clone())))
    }

    /// A resource that was promoted in an earlier attempt stays where it was promoted.
    fn adoption(&self) -> Option<Next> {
        let (region, _) = self.promoted_at()?;
        match self.bid.direction {
            Direction::Abort => Some(Next::Stuck(Impasse::Promoted(region))),
            Direction::Forward if region != self.bid.to => Some(Next::Stuck(Impasse::NewAttempt(region))),
            Direction::Forward => None,
        }
    }

    /// What does not go on is given back, where it was accepted.
    fn withdrawals(&self) -> Vec<Step> {
        let going = self.going();
        let left: BTreeSet<ResourceKey> = self.bid.resources.difference(&going).cloned().collect();
        let open = |region: &RegionId| {
            let done = self.withdrawn.get(region);
            left.iter().filter(|key| !done.is_some_and(|done| done.contains(*key))).cloned().collect::<BTreeSet<_>>()
        };
        let steps = self.takers().map(|region| Step::Withdraw(region.clone(), open(region)));
        steps.filter(|step| matches!(step, Step::Withdraw(_, keys) if !keys.is_empty())).collect()
    }

    /// Regions whose word is too old to act on.
    fn stale(&self, now: Duration) -> Vec<Step> {
        let fresh = |region: &&RegionId| self.confirmed.get(*region).is_some_and(|at| now.saturating_sub(*at) <= FRESH);
        self.takers().filter(|region| !fresh(region)).map(|region| Step::Confirm(region.clone())).collect()
    }

    /// A hook is run once, on fresh word, after every region that takes part knows that it will be.
    fn hook(&self, which: impl Fn(&Hook) -> bool, now: Duration) -> Option<Next> {
        let hook = self.hooks.iter().find(|hook| which(hook) && !self.ran.contains(*hook))?.clone();
        Some(self.run(hook, now))
    }

    fn run(&self, hook: Hook, now: Duration) -> Next {
        let intent = Note::HookIntended { attempt: self.bid.attempt.number, hook: hook.clone() };
        let untold = self.untold(&intent);
        if !untold.is_empty() {
            return Next::Do(untold);
        }
        let stale = self.stale(now);
        if stale.is_empty() { Next::Do(vec![Step::Run(hook)]) } else { Next::Do(stale) }
    }

    /// The regions that have no word of this yet.
    fn untold(&self, note: &Note) -> Vec<Step> {
        let knows = |region: &&RegionId| self.noted.get(*region).is_some_and(|notes| notes.contains(note));
        self.takers().filter(|region| !knows(region)).map(|region| Step::Note(region.clone(), note.clone())).collect()
    }

    /// What leads forward before the first machine is started: hooks, and the end of the source.
    fn forward(&self, going: &BTreeSet<ResourceKey>, now: Duration) -> Option<Next> {
        if self.bid.direction == Direction::Abort {
            return None;
        }
        let unknown: Vec<Step> = self.notes.iter().flat_map(|note| self.untold(note)).collect();
        if !unknown.is_empty() {
            return Some(Next::Do(unknown));
        }
        if let Some(next) = self.hook(|hook| matches!(hook, Hook::Before(_)), now) {
            return Some(next);
        }
        let loose = self.cut.iter().find(|region| !self.excused(region) && !self.has_accepted(region));
        if let Some(region) = loose {
            let hook = Hook::Fence(region.clone());
            return Some(if self.fence {
                self.run(hook, now)
            } else {
                Next::Stuck(Impasse::NotFenced(region.clone()))
            });
        }
        let from = &self.bid.failover.from;
        let held: BTreeSet<ResourceKey> = going.difference(&self.demoted).cloned().collect();
        let demotes = self.has_accepted(from) && !self.excused(from) && !held.is_empty();
        demotes.then(|| Next::Do(vec![Step::Demote(from.clone(), held)]))
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
        let stale = self.stale(now);
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
        (!self.closed.contains(starter)).then(|| Next::Do(vec![Step::Close(starter.clone(), going.clone())]))
    }
}
