//! How far one attempt has come, as its orderer knows it.
//!
//! Everything here is either the attempt itself or what regions answered to it; whoever goes on after a crash makes a
//! new attempt and learns it anew. What must outlive an orderer is noted at the regions and in its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::next::{Impasse, Step};
use super::order::{Acceptance, Refusal, Taken};
use crate::model::failover::{Attempt, Bid, Direction, Hook, Note, Proof};
use crate::model::region::Role;
use crate::model::{Life, RegionId, ResourceKey};

/// A region's answer to one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It did what was asked.
    Done(T),
    /// It did nothing.
    Refused(Refusal),
    /// It did not answer: it may have done what was asked.
    Silent(String),
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Of meeting the starter.
    Met(Answer<Life>),
    /// Of a bid.
    Bid(Answer<Acceptance>),
    /// Of an order: what it was done for.
    Did(Answer<BTreeSet<ResourceKey>>),
    /// Of a hook.
    Ran(Result<(), String>),
    /// Of the gates: what they hold back, and why.
    Judged(BTreeMap<ResourceKey, String>),
}

/// One attempt in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The attempt.
    pub bid: Bid,
    /// Which resources must run before which.
    pub depends_on: BTreeMap<ResourceKey, BTreeSet<ResourceKey>>,
    /// The hooks that the policy names, but for the fence.
    pub hooks: BTreeSet<Hook>,
    /// Regions that are cut off where they are silent: the source, and targets that are passed over.
    pub cut: BTreeSet<RegionId>,
    /// Whether a fence hook is there to be run.
    pub fence: bool,
    /// The starter's life, learned before anybody was asked to accept.
    pub life: Option<Life>,
    /// What regions answered to the bid.
    pub accepted: BTreeMap<RegionId, Answer<Acceptance>>,
    /// When each region last said that the attempt is its highest, by this machine's boot clock.
    pub confirmed: BTreeMap<RegionId, Duration>,
    /// Regions that are proven stopped.
    pub stopped: BTreeMap<RegionId, Proof>,
    /// What every region that takes part has been given word of.
    pub noted: BTreeMap<RegionId, Vec<Note>>,
    /// What was left word of in this attempt and earlier ones.
    pub notes: Vec<Note>,
    /// Resources that the source has given up, and whose machines its runner saw stopped.
    pub demoted: BTreeSet<ResourceKey>,
    /// Resources that the starter holds and has started.
    pub started: BTreeSet<ResourceKey>,
    /// Resources that go no further in this attempt, and why.
    pub left: BTreeMap<ResourceKey, String>,
    /// Of those, the regions that took their acceptance back.
    pub withdrawn: BTreeMap<RegionId, BTreeSet<ResourceKey>>,
    /// Regions at which the operation is closed.
    pub closed: BTreeSet<RegionId>,
    /// Hooks that ended well.
    pub ran: BTreeSet<Hook>,
    /// Whether the gates were judged on these answers and let it pass.
    pub judged: bool,
}

impl Progress {
    /// An attempt of which nothing is known yet but what earlier ones left word of.
    pub fn new(bid: Bid, notes: Vec<Note>) -> Self {
        let cut = match bid.direction {
            Direction::Forward => BTreeSet::from([bid.failover.from.clone()]),
            Direction::Abort => BTreeSet::new(),
        };
        let mut progress = Self {
            bid,
            depends_on: BTreeMap::new(),
            hooks: BTreeSet::new(),
            cut,
            fence: false,
            life: None,
            accepted: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            stopped: BTreeMap::new(),
            noted: BTreeMap::new(),
            notes: Vec::new(),
            demoted: BTreeSet::new(),
            started: BTreeSet::new(),
            left: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            closed: BTreeSet::new(),
            ran: BTreeSet::new(),
            judged: false,
        };
        notes.into_iter().for_each(|note| progress.keep(note));
        progress
    }

    /// The next attempt of the same orderer, with another target if need be. What it saw cut off stays cut off.
    #[must_use]
    pub fn again(&self, attempt: Attempt, to: RegionId) -> Self {
        let bid = Bid { attempt, to, ..self.bid.clone() };
        let next = Self::new(bid, self.notes.clone());
        Self {
            depends_on: self.depends_on.clone(),
            hooks: self.hooks.clone(),
            cut: self.cut.clone(),
            fence: self.fence,
            stopped: self.stopped.clone(),
            ..next
        }
    }

    /// Keeps word of a step, and of what follows from it.
    pub fn keep(&mut self, note: Note) {
        if let Note::HookDone { hook } = &note {
            self.ran.insert(hook.clone());
            if let Hook::Fence(region) = hook {
                self.stopped.insert(region.clone(), Proof::Hook);
            }
        }
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Takes what came of a step.
    ///
    /// # Errors
    /// [`Impasse`]: the attempt ends here.
    pub fn apply(&mut self, step: &Step, report: Report, now: Duration) -> Result<(), Impasse> {
        match (step, report) {
            (Step::Meet(region), Report::Met(answer)) => self.life = Some(expect(region, answer)?),
            (Step::Accept(region), Report::Bid(answer)) => self.take(region.clone(), answer, now),
            (Step::Withdraw(region, keys), Report::Did(answer)) => {
                expect(region, answer)?;
                self.withdrawn.entry(region.clone()).or_default().extend(keys.iter().cloned());
            }
            (Step::Confirm(region), Report::Did(answer)) => {
                expect(region, answer)?;
                self.confirmed.insert(region.clone(), now);
            }
            (Step::Judge, Report::Judged(held)) => {
                self.judged = true;
                self.left.extend(held);
            }
            (Step::Note(region, note), Report::Did(answer)) => {
                expect(region, answer)?;
                self.noted.entry(region.clone()).or_default().push(note.clone());
                self.keep(note.clone());
            }
            (Step::Run(hook), Report::Ran(ended)) => self.hook_ended(hook, ended)?,
            (Step::Demote(region, keys), Report::Did(answer)) => match answer {
                Answer::Done(stopped) => {
                    let loose: BTreeSet<ResourceKey> = keys.difference(&stopped).cloned().collect();
                    self.demoted.extend(stopped);
                    if !loose.is_empty() {
                        return Err(Impasse::NotStopped(region.clone(), loose));
                    }
                }
                Answer::Refused(refusal) => return Err(Impasse::Refused(region.clone(), refusal)),
                // From here on it counts as any silent source.
                Answer::Silent(why) => {
                    self.accepted.insert(region.clone(), Answer::Silent(why));
                }
            },
            (Step::Start(region, _), Report::Did(answer)) => match answer {
                Answer::Done(started) => self.started.extend(started),
                Answer::Refused(refusal) => return Err(Impasse::Refused(region.clone(), refusal)),
                Answer::Silent(why) => return Err(Impasse::StarterSilent(region.clone(), why)),
            },
            // Who misses the end learns it from the others.
            (Step::Close(region, _), Report::Did(_)) => {
                self.closed.insert(region.clone());
            }
            (step, report) => unreachable!("{report:?} is no report of {step:?}"),
        }
        Ok(())
    }

    fn hook_ended(&mut self, hook: &Hook, ended: Result<(), String>) -> Result<(), Impasse> {
        if let Err(why) = ended {
            return Err(Impasse::HookFailed(hook.clone(), why));
        }
        self.keep(Note::HookDone { hook: hook.clone() });
        Ok(())
    }

    /// Takes a region's answer to the bid.
    fn take(&mut self, region: RegionId, answer: Answer<Acceptance>, at: Duration) {
        if let Answer::Done(acceptance) = &answer {
            self.confirmed.insert(region.clone(), at);
            for note in acceptance.notes.clone() {
                self.keep(note);
            }
            self.noted.insert(region.clone(), acceptance.notes.clone());
            let mut left = Vec::new();
            for (key, taken) in &acceptance.resources {
                match taken {
                    Taken::Accepted { promoted: Some(_), running: true, .. } if region == *self.bid.starter() => {
                        self.started.insert(key.clone());
                    }
                    Taken::Accepted { role: Some(Role::Demoted), running: false, .. }
                        if region == self.bid.failover.from =>
                    {
                        self.demoted.insert(key.clone());
                    }
                    Taken::Accepted { .. } => {}
                    Taken::OpenElsewhere(id) => left.push((key, format!("operation {id} is open on it at {region}"))),
                    Taken::Running => left.push((key, format!("it runs at {region}, or may"))),
                    Taken::Held(part) => {
                        let (holder, epoch) = (&part.holder, part.epoch);
                        left.push((key, format!("{region} knows {holder} as its holder since epoch {epoch}")));
                    }
                    Taken::Promoted(_) => left.push((key, format!("it was promoted at {region}"))),
                }
            }
            for (key, why) in left {
                self.left.entry(key.clone()).or_insert(why);
            }
        }
        self.accepted.insert(region, answer);
    }

    /// Whether a region need not accept: it was declared gone or, where the attempt leads forward, is proven stopped.
    pub fn excused(&self, region: &RegionId) -> bool {
        let stopped = self.bid.direction == Direction::Forward && self.stopped.contains_key(region);
        stopped || self.bid.gone.contains_key(region)
    }

    /// What is to be taken back next where the attempt cannot go on; a region at which it changed something refuses
    /// that. The source first, so that nothing was changed there once another one has taken its word back; and where
    /// an earlier attempt may have changed something at a source that says nothing now, nothing at all.
    pub fn retreat(&self) -> Vec<Step> {
        let from = &self.bid.failover.from;
        let ended = matches!(self.accepted.get(from), Some(Answer::Refused(Refusal::Ended(_))));
        if !self.has_accepted(from) && !ended && self.bid.attempt.number > 1 {
            return Vec::new();
        }
        let open = |region: &&RegionId| self.has_accepted(region) && !self.withdrawn.contains_key(*region);
        let first = [from, self.bid.starter()].into_iter().find(open);
        let regions: Vec<&RegionId> = match first {
            Some(first) => vec![first],
            None => self.takers().filter(open).collect(),
        };
        regions.into_iter().map(|region| Step::Withdraw(region.clone(), self.bid.resources.clone())).collect()
    }

    /// Whether a region accepted.
    pub fn has_accepted(&self, region: &RegionId) -> bool {
        matches!(self.accepted.get(region), Some(Answer::Done(_)))
    }

    /// The regions that accepted.
    pub fn takers(&self) -> impl Iterator<Item = &RegionId> {
        self.accepted.iter().filter(|(_, answer)| matches!(answer, Answer::Done(_))).map(|(region, _)| region)
    }

    /// The resources that go on.
    pub fn going(&self) -> BTreeSet<ResourceKey> {
        let mut going = self.bid.resources.clone();
        loop {
            let stays = |key: &ResourceKey| {
                self.left.contains_key(key)
                    || self
                        .depends_on
                        .get(key)
                        .into_iter()
                        .flatten()
                        .any(|first| self.bid.resources.contains(first) && !going.contains(first))
            };
            let next: BTreeSet<ResourceKey> = going.iter().filter(|key| !stays(key)).cloned().collect();
            if next == going {
                return going;
            }
            going = next;
        }
    }

    /// Where a resource of this operation was promoted in an earlier attempt, the latest first.
    pub fn promoted_at(&self) -> Option<(RegionId, u32)> {
        let promoted = self.accepted.iter().filter_map(|(region, answer)| {
            let Answer::Done(acceptance) = answer else { return None };
            let attempts = acceptance.resources.values().filter_map(|taken| match taken {
                Taken::Accepted { promoted, .. } => *promoted,
                Taken::Promoted(attempt) => Some(*attempt),
                Taken::OpenElsewhere(_) | Taken::Running | Taken::Held(_) => None,
            });
            attempts.max().map(|attempt| (region.clone(), attempt))
        });
        promoted.max_by_key(|(_, attempt)| *attempt)
    }
}

/// A region's answer, where it is needed to go on.
fn expect<T>(region: &RegionId, answer: Answer<T>) -> Result<T, Impasse> {
    match answer {
        Answer::Done(done) => Ok(done),
        Answer::Refused(refusal) => Err(Impasse::Refused(region.clone(), refusal)),
        Answer::Silent(why) => Err(Impasse::Missing(region.clone(), why)),
    }
}
