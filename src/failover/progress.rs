//! How far one attempt has come, as its orderer knows it.
//!
//! Everything here is either the attempt itself or what regions answered to it; whoever goes on after a crash makes a
//! new attempt and learns it anew. What must outlive an orderer is noted at the regions and in its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::next::Step;
use super::order::{Acceptance, Over, Refusal, Taken};
use super::recourse::Impasse;
use crate::model::failover::{Attempt, Bid, Direction, Hook, Note, Proof};
use crate::model::region::{Epoch, Role};
use crate::model::{Life, RegionId, ResourceKey};

/// How old a region's word may be, at most, when a hook is run or a machine is started on it.
pub const FRESH: Duration = Duration::from_secs(5);
/// How long to wait before a region is asked again that is busy.
const BUSY: Duration = Duration::from_secs(1);

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
    /// How long a hook may run.
    pub hook_limit: Duration,
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
    /// Regions that this run has proven stopped; of the source, what was noted may do it, too.
    pub stopped: BTreeMap<RegionId, Proof>,
    /// Whether what an earlier attempt did to stop the source lies too far back: nobody carried the operation on since, and
    /// who is silent may have come back meanwhile. A hook cuts it off once more; that a person did by hand still counts.
    pub proof_is_old: bool,
    /// Whether the source itself has spoken since, so that nothing counts for it that was noted before.
    pub doubted: bool,
    /// What every region that takes part has been given word of.
    pub noted: BTreeMap<RegionId, Vec<Note>>,
    /// What was left word of in this attempt and earlier ones.
    pub notes: Vec<Note>,
    /// Nobody is asked before, as a region was busy; by this machine's boot clock.
    pub(super) not_before: Duration,
    /// Until when a hook of an earlier attempt may still run, by this machine's boot clock: regions accept meanwhile, and
    /// nothing else is done before.
    pub(super) hooks_over: Duration,
    /// Resources that the source has given up.
    pub given_up: BTreeSet<ResourceKey>,
    /// Resources that the source does not hold, and whose machines its runner saw stopped, or need not: see
    /// `Progress::unwatched`.
    pub demoted: BTreeSet<ResourceKey>,
    /// Resources that were promoted at the region that the attempt leads to.
    pub promoted: BTreeSet<ResourceKey>,
    /// Resources that the starter holds and has started.
    pub started: BTreeSet<ResourceKey>,
    /// Resources for which the operation has ended somewhere, and the region that holds them since.
    pub arrived: BTreeMap<ResourceKey, RegionId>,
    /// Resources that go no further in this attempt, and why.
    pub left: BTreeMap<ResourceKey, String>,
    /// The regions that took their acceptance of resources back.
    pub withdrawn: BTreeMap<RegionId, BTreeSet<ResourceKey>>,
    /// Resources that this attempt has brought to where it leads, as a region has said that closed it for them.
    pub moved: BTreeSet<ResourceKey>,
    /// Regions that were asked to close the operation: who misses that learns it from one that has.
    pub closed: BTreeSet<RegionId>,
    /// The last one that would not, and why.
    pub unclosed: Option<(RegionId, Refusal)>,
    /// Hooks that ended well, and are not run again.
    pub ran: BTreeSet<Hook>,
    /// Hooks after the last promotion that failed: they hold nothing up.
    pub failed: BTreeMap<Hook, String>,
    /// Why the source may not start again yet what it gave up.
    pub unclear: Option<Refusal>,
    /// Whether a person says for this very run that the source is stopped.
    pub vouched: bool,
    /// Whether the gates were judged on these answers and let it pass.
    pub judged: bool,
    /// Whether this attempt may have changed something already.
    pub touched: bool,
    /// Whether all that was accepted is being taken back.
    pub retreating: bool,
}

impl Progress {
    /// An attempt of which nothing is known yet.
    pub fn new(bid: Bid) -> Self {
        let cut = match bid.direction {
            Direction::Forward => BTreeSet::from([bid.failover.from.clone()]),
            Direction::Abort => BTreeSet::new(),
        };
        Self {
            bid,
            depends_on: BTreeMap::new(),
            hooks: BTreeSet::new(),
            hook_limit: Duration::ZERO,
            cut,
            fence: false,
            life: None,
            accepted: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            stopped: BTreeMap::new(),
            proof_is_old: false,
            doubted: false,
            noted: BTreeMap::new(),
            notes: Vec::new(),
            not_before: Duration::ZERO,
            hooks_over: Duration::ZERO,
            given_up: BTreeSet::new(),
            demoted: BTreeSet::new(),
            promoted: BTreeSet::new(),
            started: BTreeSet::new(),
            arrived: BTreeMap::new(),
            left: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            moved: BTreeSet::new(),
            closed: BTreeSet::new(),
            unclosed: None,
            ran: BTreeSet::new(),
            failed: BTreeMap::new(),
            unclear: None,
            vouched: false,
            judged: false,
            touched: false,
            retreating: false,
        }
    }

    /// The next attempt of the same orderer. That a passed-over target is cut off still counts, unless another attempt
    /// may have come between: such a one may have started it again. Of the source the regions' own word is asked anew.
    #[must_use]
    pub fn again(&self, attempt: Attempt, direction: Direction, to: RegionId) -> Self {
        let by_person = self.bid.by_person && self.bid.direction == direction;
        let next = Self::new(Bid { attempt, direction, by_person, to, ..self.bid.clone() });
        let forward = self.bid.direction == Direction::Forward && direction == Direction::Forward;
        let unbroken = forward && attempt.number == self.bid.attempt.number + 1;
        let kept = |region: &&RegionId| **region != next.bid.to && **region != next.bid.failover.from;
        let cut = self.cut.iter().filter(|_| forward).filter(kept).cloned();
        let stopped = self.stopped.iter().filter(|(region, _)| unbroken && kept(region));
        let refuted = self.notes.iter().filter(|note| matches!(note, Note::Unproven { .. }));
        Self {
            depends_on: self.depends_on.clone(),
            hooks: self.hooks.clone(),
            hook_limit: self.hook_limit,
            cut: next.cut.iter().cloned().chain(cut).collect(),
            fence: self.fence,
            stopped: stopped.map(|(region, proof)| (region.clone(), proof.clone())).collect(),
            notes: refuted.cloned().chain(self.refutation()).collect(),
            ran: self.ran.iter().filter(|hook| !matches!(hook, Hook::Fence(_))).cloned().collect(),
            proof_is_old: self.proof_is_old && !self.stopped.contains_key(&self.bid.failover.from),
            vouched: self.vouched,
            ..next
        }
    }

    /// The next attempt to the same region, without what it could not start. What it is still promoted of goes on all the
    /// same.
    #[must_use]
    pub fn without(&self, attempt: Attempt, keys: &BTreeSet<ResourceKey>) -> Self {
        let next = self.again(attempt, self.bid.direction, self.bid.to.clone());
        let why = format!("{} could not start it, and took its promotion back", self.bid.to);
        Self { left: keys.iter().map(|key| (key.clone(), why.clone())).collect(), ..next }
    }

    /// Takes what the orderer's own journal says of earlier attempts: which hooks need not run again.
    pub fn remember(&mut self, journal: &[Note]) {
        for note in journal {
            if let Note::HookDone { hook: hook @ (Hook::Before(_) | Hook::After(_)) } = note {
                self.ran.insert(hook.clone());
            }
        }
    }

    /// Keeps word of a step, and of what follows from it.
    fn keep(&mut self, note: Note) {
        if let Note::HookDone { hook } = &note {
            self.ran.insert(hook.clone());
        }
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Takes what came of a step that was begun at `began`, `now`, both by this machine's boot clock. A step whose
    /// report is not waited for any more counts as one that met silence.
    ///
    /// # Errors
    /// [`Impasse`]: the attempt ends here.
    pub fn apply(&mut self, step: &Step, report: Report, began: Duration, now: Duration) -> Result<(), Impasse> {
        self.touched |= matches!(step, Step::Run(_) | Step::Demote(..) | Step::Start(..));
        match (step, report) {
            // That it leads back, the others are to hear all the same.
            (Step::Meet(region), Report::Met(Answer::Silent(why))) if self.bid.direction == Direction::Abort => {
                self.accepted.insert(region.clone(), Answer::Silent(why));
            }
            (Step::Meet(region), Report::Met(answer)) => self.life = Some(expect(region, answer)?),
            (Step::Accept(region), Report::Bid(answer)) => self.take(region.clone(), answer, began, now),
            (Step::Withdraw(region, keys), Report::Did(answer)) => {
                // Who has not heard of a retreat is led back by whoever finds the operation open there.
                if !self.retreating {
                    expect(region, answer)?;
                }
                self.withdrawn.entry(region.clone()).or_default().extend(keys.iter().cloned());
            }
            (Step::Confirm(region), Report::Did(answer)) => {
                expect(region, answer)?;
                self.confirmed.insert(region.clone(), began);
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
                    let unwatched = self.unwatched(keys);
                    let passes = |key: &&ResourceKey| self.is_unwatched(region, key) && !unwatched.contains(*key);
                    let (given_up, loose): (BTreeSet<&ResourceKey>, BTreeSet<&ResourceKey>) =
                        keys.difference(&stopped).partition(passes);
                    let loose: BTreeSet<ResourceKey> = loose.into_iter().cloned().collect();
                    let given_up: BTreeSet<ResourceKey> = given_up.into_iter().cloned().collect();
                    self.demoted.extend(stopped);
                    self.demoted.extend(given_up);
                    if !loose.is_empty() {
                        return Err(Impasse::NotStopped(region.clone(), loose));
                    }
                }
                Answer::Refused(refusal) => return Err(Impasse::Refused(region.clone(), refusal)),
                // From here on it counts as any silent source.
                Answer::Silent(why) => {
                    self.stopped.remove(region);
                    self.doubted = true;
                    self.ran.remove(&Hook::Fence(region.clone()));
                    self.accepted.insert(region.clone(), Answer::Silent(why));
                }
            },
            (Step::Start(region, keys), Report::Did(answer)) => match answer {
                Answer::Done(started) => {
                    let idle: BTreeSet<ResourceKey> = keys.difference(&started).cloned().collect();
                    self.started.extend(started);
                    if !idle.is_empty() {
                        return Err(Impasse::NotStarted(region.clone(), idle));
                    }
                }
                Answer::Refused(refusal @ Refusal::Hold(..)) if self.bid.direction == Direction::Abort => {
                    self.unclear = Some(refusal);
                }
                Answer::Refused(refusal) => return Err(Impasse::Refused(region.clone(), refusal)),
                Answer::Silent(why) => return Err(Impasse::StarterSilent(region.clone(), why)),
            },
            (Step::Close(region, keys), Report::Did(answer)) => {
                self.closed.insert(region.clone());
                match answer {
                    Answer::Done(_) => self.moved.extend(keys.iter().cloned()),
                    Answer::Refused(refusal) => self.unclosed = Some((region.clone(), refusal)),
                    Answer::Silent(_) => {}
                }
            }
            (step, report) => unreachable!("{report:?} is no report of {step:?}"),
        }
        Ok(())
    }

    fn hook_ended(&mut self, hook: &Hook, ended: Result<(), String>) -> Result<(), Impasse> {
        match (hook, ended) {
            (Hook::After(_), Err(why)) => {
                self.failed.insert(hook.clone(), why);
            }
            (Hook::Before(_) | Hook::Fence(_), Err(why)) => return Err(Impasse::HookFailed(hook.clone(), why)),
            (hook, Ok(())) => {
                self.keep(Note::HookDone { hook: hook.clone() });
                if let Hook::Fence(region) = hook {
                    self.stopped.insert(region.clone(), Proof::Hook);
                }
            }
        }
        Ok(())
    }

    /// Takes a region's answer to the bid.
    fn take(&mut self, region: RegionId, answer: Answer<Acceptance>, began: Duration, now: Duration) {
        match &answer {
            Answer::Done(acceptance) => {
                self.confirmed.insert(region.clone(), began);
                self.noted.insert(region.clone(), acceptance.notes.clone());
                for note in &acceptance.notes {
                    self.keep(note.clone());
                    self.wait_out(note, now);
                }
                for (key, taken) in &acceptance.resources {
                    self.weigh(&region, key, taken, acceptance.unwatched.contains(key));
                }
            }
            Answer::Refused(Refusal::Busy) => {
                self.not_before = self.not_before.max(now + BUSY);
                return;
            }
            Answer::Refused(Refusal::Over(over)) => {
                let closed = over.ended.iter().flat_map(|ended| &ended.closed);
                let closed = closed.filter(|(key, _)| self.bid.resources.contains(*key));
                self.arrived.extend(closed.map(|(key, holder)| (key.clone(), holder.clone())));
            }
            Answer::Refused(_) | Answer::Silent(_) => {}
        }
        self.accepted.insert(region, answer);
    }

    fn weigh(&mut self, region: &RegionId, key: &ResourceKey, taken: &Taken, unwatched: bool) {
        let why = match taken {
            Taken::Accepted { role, promoted, running } => {
                if *region == self.bid.to && promoted.is_some() {
                    self.promoted.insert(key.clone());
                    if *running {
                        self.started.insert(key.clone());
                    }
                }
                if *region == self.bid.failover.from {
                    if *role == Some(Role::Demoted) {
                        self.given_up.insert(key.clone());
                    }
                    if *running {
                        // Whoever said that it is stopped spoke of another time.
                        self.stopped.remove(region);
                        self.doubted = true;
                        self.ran.remove(&Hook::Fence(region.clone()));
                    } else if *role != Some(Role::Holder) && !unwatched {
                        self.demoted.insert(key.clone());
                    }
                }
                return;
            }
            Taken::Closed(holder) => {
                self.arrived.insert(key.clone(), holder.clone());
                return;
            }
            Taken::OpenElsewhere(id) => format!("operation {id} is open on it at {region}"),
            Taken::Running => format!("it runs at {region}, or may"),
            Taken::NoCopy => format!("{region} keeps no copy of it"),
            Taken::Held(part) => {
                // What it neither holds nor runs it need not give up.
                if *region == self.bid.failover.from && part.role != Role::Holder {
                    self.demoted.insert(key.clone());
                }
                format!("{region} knows {} as its holder since epoch {}", part.holder, part.epoch)
            }
            Taken::Promoted(_) => format!("it was promoted at {region}"),
        };
        self.left.entry(key.clone()).or_insert(why);
    }

    /// A hook that another orderer began on fresh word may still run: no region's word is fresh to it any more once that
    /// region has accepted this attempt.
    fn wait_out(&mut self, note: &Note, now: Duration) {
        let Note::HookIntended { attempt, hook, limit } = note else { return };
        let done = self.notes.contains(&Note::HookDone { hook: hook.clone() });
        if attempt.owner != self.bid.attempt.owner && !done {
            self.hooks_over = self.hooks_over.max(now + FRESH + *limit + FRESH);
        }
    }

    /// Whether a region need not accept: it was declared gone or, where the attempt leads forward, is proven stopped. No
    /// proof outweighs what the region itself says: where the operation is over, it may have started something since.
    pub fn excused(&self, region: &RegionId) -> bool {
        let over = self.over().any(|(other, _)| other == region);
        let proven =
            self.stopped.contains_key(region) || (*region == self.bid.failover.from && self.is_noted_stopped());
        let stopped = self.bid.direction == Direction::Forward && proven;
        (stopped && !over) || self.bid.gone.contains_key(region)
    }

    /// Whether any region keeps word that the source is stopped, and none knows better. What was noted of a passed-over
    /// target may be long past: only this run's own word of it counts.
    fn is_noted_stopped(&self) -> bool {
        let counts = |note: &Note| !self.proof_is_old || matches!(note, Note::Fenced { proof: Proof::Hand(_), .. });
        !self.doubted && self.noted_proof(counts) > self.unproven()
    }

    /// The highest epoch of what proves the source stopped, as noted, and counts; what this operation itself did for it has
    /// its own.
    fn noted_proof(&self, counts: impl Fn(&Note) -> bool) -> Option<Epoch> {
        let from = &self.bid.failover.from;
        let proofs = self.notes.iter().filter(|note| note.stopped() == Some(from) && counts(note));
        let epochs = proofs.map(|note| match note {
            Note::Fenced { region: _, proof: Proof::Hand(epoch) } => *epoch,
            Note::Fenced { .. } | Note::HookDone { .. } | Note::HookIntended { .. } | Note::Unproven { .. } => {
                self.bid.failover.epoch
            }
        });
        epochs.max()
    }

    /// Up to which epoch nothing that was noted proves the source stopped any more.
    fn unproven(&self) -> Option<Epoch> {
        let epochs = self.notes.iter().filter_map(|note| match note {
            Note::Unproven { region, epoch } if *region == self.bid.failover.from => Some(*epoch),
            Note::Unproven { .. } | Note::Fenced { .. } | Note::HookDone { .. } | Note::HookIntended { .. } => None,
        });
        epochs.max()
    }

    /// That nothing of what was noted proves the source stopped, where it says that something runs there: for whoever
    /// goes on with this when it is silent again.
    pub(super) fn refutation(&self) -> Option<Note> {
        let from = &self.bid.failover.from;
        let runs = match self.accepted.get(from)? {
            Answer::Done(acceptance) => {
                acceptance.resources.values().any(|taken| matches!(taken, Taken::Accepted { running: true, .. }))
            }
            Answer::Refused(Refusal::Over(over)) => !over.running.is_empty(),
            Answer::Refused(_) | Answer::Silent(_) => false,
        };
        let epoch = self.noted_proof(|_| true).filter(|_| runs)?;
        (Some(epoch) > self.unproven()).then(|| Note::Unproven { region: from.clone(), epoch })
    }

    /// The regions whose fresh word a hook runs on, and which know that it will.
    pub(super) fn party(&self, hook: &Hook) -> Vec<&RegionId> {
        match hook {
            Hook::Before(_) | Hook::Fence(_) => self.takers().collect(),
            // After the last promotion nobody but the starter can put anything in the way.
            Hook::After(_) => self.takers().filter(|region| *region == self.bid.starter()).collect(),
        }
    }

    /// Until when, by this machine's boot clock, what regions said is fresh enough to run a hook on.
    pub fn fresh_until(&self, hook: &Hook) -> Duration {
        let confirmed = |region| self.confirmed.get(region).copied().unwrap_or_default();
        self.party(hook).into_iter().map(confirmed).min().unwrap_or_default() + FRESH
    }

    /// Whether a region that accepted has nothing that could tell whether a machine runs there.
    fn is_unwatched(&self, region: &RegionId, key: &ResourceKey) -> bool {
        matches!(self.accepted.get(region), Some(Answer::Done(acceptance)) if acceptance.unwatched.contains(key))
    }

    /// Of these, machines that the source cannot prove stopped though it takes part: nothing there could stop them or
    /// see them stopped, while the target would start them. A proof of an earlier time is none: it answers now.
    pub(super) fn unwatched(&self, keys: &BTreeSet<ResourceKey>) -> BTreeSet<ResourceKey> {
        let (from, to) = (&self.bid.failover.from, &self.bid.to);
        let unwatched = |key: &&ResourceKey| self.is_unwatched(from, key) && !self.is_unwatched(to, key);
        if self.vouched { BTreeSet::new() } else { keys.iter().filter(unwatched).cloned().collect() }
    }

    /// Of these, what the source runs, or holds as others do not know it, and did not accept to give up.
    pub(super) fn kept_by_source(&self, keys: &BTreeSet<ResourceKey>) -> BTreeSet<ResourceKey> {
        let Some(Answer::Done(acceptance)) = self.accepted.get(&self.bid.failover.from) else { return BTreeSet::new() };
        let kept = |key: &&ResourceKey| {
            let taken = acceptance.resources.get(*key);
            taken.is_some_and(|taken| match taken {
                Taken::Running => true,
                Taken::Held(part) => part.role == Role::Holder,
                Taken::Accepted { .. }
                | Taken::OpenElsewhere(_)
                | Taken::NoCopy
                | Taken::Promoted(_)
                | Taken::Closed(_) => false,
            })
        };
        keys.iter().filter(kept).cloned().collect()
    }

    /// Takes an operator's word that a region is stopped.
    pub fn vouch(&mut self, region: RegionId, words: String) {
        self.vouched |= region == self.bid.failover.from;
        let proof = Proof::Word(words);
        self.stopped.insert(region.clone(), proof.clone());
        self.notes.push(Note::Fenced { region, proof });
    }

    /// Whether any region keeps that the starter was cut off by hand, and not let in since.
    pub fn starter_is_cut_off(&self) -> bool {
        self.accepted.values().any(|answer| matches!(answer, Answer::Done(acceptance) if acceptance.cut_off))
    }

    /// Whether a region accepted.
    pub fn has_accepted(&self, region: &RegionId) -> bool {
        self.accepted.get(region).is_some_and(accepts)
    }

    /// The regions that accepted.
    pub fn takers(&self) -> impl Iterator<Item = &RegionId> {
        self.accepted.iter().filter(|(_, answer)| accepts(answer)).map(|(region, _)| region)
    }

    /// The regions that never accept the operation any more, and what they know of it.
    pub fn over(&self) -> impl Iterator<Item = (&RegionId, &Over)> {
        self.accepted.iter().filter_map(|(region, answer)| match answer {
            Answer::Refused(Refusal::Over(over)) => Some((region, &**over)),
            Answer::Done(_) | Answer::Refused(_) | Answer::Silent(_) => None,
        })
    }

    /// Of a region's acceptance, the resources that the operation is open on there, and changed nothing of.
    pub fn untouched_at(&self, region: &RegionId) -> BTreeSet<ResourceKey> {
        let Some(Answer::Done(acceptance)) = self.accepted.get(region) else { return BTreeSet::new() };
        let from = *region == self.bid.failover.from;
        let untouched = |(key, taken): (&ResourceKey, &Taken)| match taken {
            Taken::Accepted { role: _, promoted: None, running: _ } if !(from && self.given_up.contains(key)) => {
                Some(key.clone())
            }
            _ => None,
        };
        acceptance.resources.iter().filter_map(untouched).collect()
    }

    /// The resources that go on where the attempt leads forward: what was promoted here before goes on to its end.
    pub fn going(&self) -> BTreeSet<ResourceKey> {
        let reached = self.reached();
        let arrived = |key: &ResourceKey| self.arrived.contains_key(key) && !reached.contains(key);
        let goes = |key: &&ResourceKey| reached.contains(*key) || !(self.left.contains_key(*key) || arrived(key));
        let mut going: BTreeSet<ResourceKey> = self.bid.resources.iter().filter(goes).cloned().collect();
        loop {
            let stays = |key: &ResourceKey| {
                let first = self.depends_on.get(key).into_iter().flatten();
                first
                    .filter(|first| self.bid.resources.contains(*first))
                    .any(|first| !going.contains(first) && !arrived(first))
            };
            let next: BTreeSet<ResourceKey> =
                going.iter().filter(|key| reached.contains(*key) || !stays(key)).cloned().collect();
            if next == going {
                return going;
            }
            going = next;
        }
    }

    /// What the source has given up and the attempt left there, so that the operation is open on it.
    pub fn left_behind(&self) -> BTreeSet<ResourceKey> {
        let going = self.going();
        let left = |key: &&ResourceKey| !going.contains(*key) && !self.arrived.contains_key(*key);
        self.given_up.iter().filter(left).cloned().collect()
    }

    /// Of what was promoted at the target, what did not arrive elsewhere since: the target may have been passed over.
    pub fn reached(&self) -> BTreeSet<ResourceKey> {
        let here = |key: &&ResourceKey| self.arrived.get(*key).is_none_or(|holder| *holder == self.bid.to);
        self.promoted.iter().filter(here).cloned().collect()
    }

    /// Where a resource of this operation was promoted in an earlier attempt, the latest first.
    pub fn promoted_at(&self) -> Option<(RegionId, u32)> {
        let promoted = self.accepted.iter().filter_map(|(region, answer)| {
            let Answer::Done(acceptance) = answer else { return None };
            let elsewhere = |key| self.arrived.get(key).is_some_and(|holder| holder != region);
            let open = acceptance.resources.iter().filter(|(key, _)| !elsewhere(*key));
            let attempts = open.filter_map(|(_, taken)| match taken {
                Taken::Accepted { role: _, promoted, running: _ } => *promoted,
                Taken::Promoted(attempt) => Some(*attempt),
                Taken::OpenElsewhere(_) | Taken::Running | Taken::NoCopy | Taken::Held(_) | Taken::Closed(_) => None,
            });
            attempts.max().map(|attempt| (region.clone(), attempt))
        });
        promoted.max_by_key(|(_, attempt)| *attempt)
    }
}

/// Whether the operation is open where this was answered.
fn accepts(answer: &Answer<Acceptance>) -> bool {
    let Answer::Done(acceptance) = answer else { return false };
    acceptance.resources.values().any(|taken| matches!(taken, Taken::Accepted { .. }))
}

/// A region's answer, where it is needed to go on.
fn expect<T>(region: &RegionId, answer: Answer<T>) -> Result<T, Impasse> {
    match answer {
        Answer::Done(done) => Ok(done),
        Answer::Refused(refusal) => Err(Impasse::Refused(region.clone(), refusal)),
        Answer::Silent(why) => Err(Impasse::Missing(region.clone(), why)),
    }
}
