//! Carries a plan out: starts what may start, journals before and after, and tells one ordered stream of events.
//!
//! It owns the loop. One task drives it and is the only one that journals and emits; the effects are tasks of their
//! own and only report to it. So what the journal, the events and the memory of objects say is in one order.
//!
//! On a signal nothing new starts; copies stop at their next durable group, records under way finish; what takes
//! longer than [`GRACE`] is left to the next run, which goes on from what is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::batch::BatchEnd;
use super::confirm;
use super::copy::Tick;
use super::ending::{begun, copy_outcome, finished, record_outcome};
use super::event::{DeferReason, Event, EventSink, Outcome};
use super::journal::{Conclusion, Journal, JournalError, Memory};
use super::outcome::{ChangeOutcome, Executed, Tally};
use super::records;
use super::schedule::{Batch, Limits, Schedule, is_record};
use crate::live::port::RegionPort;
use crate::model::observed::Observed;
use crate::model::recorded::{Applied, Recorded};
use crate::model::region::Authority;
use crate::model::topology::Topology;
use crate::model::{Address, ByteCount, RegionId, StoreId, Timestamp, World};
use crate::plan::document::{Blocked, Change, Mode, Plan};
use crate::replica::pace::Paces;
use crate::replica::transfer::{SyncFailure, SyncReport};

/// How long effects under way may still take after a signal.
pub const GRACE: Duration = Duration::from_secs(4);
/// First copies of so much take long.
const LARGE: ByteCount = ByteCount(1 << 30);

/// What is to be carried out, and with what.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The files: the settings of the pairs.
    pub topology: &'a Topology,
    /// What the regions answered.
    pub observed: Arc<Observed>,
    /// When they were asked, before any of them answered.
    pub looked_at: Timestamp,
    /// What the state remembers.
    pub recorded: &'a Recorded,
    /// The regions.
    pub ports: Arc<BTreeMap<RegionId, Arc<dyn RegionPort>>>,
    /// Under whose authority; every call has an operation of its own.
    pub authority: Authority,
    /// How much at once.
    pub limits: Limits,
    /// Changes that the second look at a saved plan found at their result: they are remembered, not carried out.
    pub settled: BTreeSet<String>,
    /// Whether suspicious sources are taken for what they are.
    pub accept_change: bool,
    /// Time and ids.
    pub world: World,
}

/// What a task reports.
pub(super) enum End {
    Batch(Vec<usize>, BatchEnd),
    Copies(Vec<(usize, Result<SyncReport, SyncFailure>)>),
}

/// A run under way.
pub(super) struct Runner<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) changes: Vec<&'a Change>,
    pub(super) journal: &'a mut dyn Journal,
    pub(super) events: &'a dyn EventSink,
    pub(super) cancel: CancellationToken,
    pub(super) schedule: Schedule,
    /// Copies of which only a date has to be written.
    pub(super) batches: BTreeMap<usize, Batch>,
    pub(super) tasks: JoinSet<End>,
    /// What each task was given, to account for one that broke off.
    pub(super) given: BTreeMap<Id, Vec<usize>>,
    pub(super) started: BTreeMap<usize, (Timestamp, Duration)>,
    pub(super) stores: BTreeMap<RegionId, StoreId>,
    pub(super) objects: BTreeMap<Address, Applied>,
    pub(super) done: Executed,
    pub(super) ticks: mpsc::UnboundedSender<Tick>,
    /// Of the pairs whose bytes this run carries.
    pub(super) paces: Paces,
}

/// Carries the plan out.
///
/// Guarantee: every change of the plan has exactly one outcome, journalled and told. What could not be done is an
/// outcome, not an error.
///
/// # Errors
/// Where the journal cannot be written: nothing more was begun, and what was under way has ended.
pub async fn run(
    job: &Job<'_>,
    journal: &mut dyn Journal,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<Executed, JournalError> {
    let began = job.world.clock.since_boot();
    let changes: Vec<&Change> = job.plan.effects().collect();
    let batches = confirm::batches(job, &changes);
    let (ticks, mut ticking) = mpsc::unbounded_channel();
    let mut runner = Runner {
        job,
        schedule: Schedule::new(&changes, job.limits).with_large(large(job, &changes)).with_batches(&batches),
        batches,
        changes,
        journal,
        events,
        // Copies also stop when the journal fails, which is no signal.
        cancel: cancel.child_token(),
        tasks: JoinSet::new(),
        given: BTreeMap::new(),
        started: BTreeMap::new(),
        stores: job.recorded.stores.clone(),
        objects: job.recorded.objects.clone(),
        done: Executed::default(),
        ticks,
        paces: Paces::default(),
    };
    let result = match runner.rename().await {
        Ok(()) => runner.drive(&mut ticking, cancel).await,
        Err(error) => Err(error),
    };
    let mut done = std::mem::take(&mut runner.done);
    done.duration = job.world.clock.since_boot().saturating_sub(began);
    done.interrupted = cancel.is_cancelled();
    tell_stopped(job, events);
    let tally = Tally::of(&done.outcomes);
    events.emit(&Event::Summary {
        at: job.world.clock.now(),
        done: tally.done,
        renamed: tally.renamed,
        unchanged: tally.unchanged,
        failed: tally.failed,
        blocked: tally.blocked.saturating_add(count(job.plan.blocked.len())),
        deferred: count(job.plan.deferred().len()),
        skipped: tally.skipped,
        interrupted: tally.interrupted,
        bytes: done.bytes(),
        duration: done.duration,
    });
    result.map(|()| done)
}

/// The copies that will take long, as far as can be known: first ones of much.
fn large(job: &Job<'_>, changes: &[&Change]) -> Vec<usize> {
    let is_large = |change: &&Change| {
        let (Address::Resource(key), Some(source)) = (&change.address, &change.source) else { return false };
        let content = job.observed.snapshot(source).and_then(|snapshot| snapshot.contents.get(key));
        let is_first = change.precondition.base.as_ref().is_none_or(|base| base.sequence.is_none());
        is_first && content.is_some_and(|content| content.outline.bytes >= LARGE)
    };
    (0..changes.len()).filter(|at| is_large(&changes[*at])).collect()
}

impl Runner<'_> {
    async fn drive(
        &mut self,
        ticking: &mut mpsc::UnboundedReceiver<Tick>,
        cancel: &CancellationToken,
    ) -> Result<(), JournalError> {
        let mut deadline = None;
        let mut result = Ok(());
        loop {
            if deadline.is_none() && (cancel.is_cancelled() || result.is_err()) {
                // Others than this run use the ports too, but nobody else within this program at this time.
                self.cancel.cancel();
                self.job.ports.values().for_each(|port| port.interrupt());
                deadline = Some(tokio::time::Instant::now() + GRACE);
            }
            if deadline.is_none()
                && let Err(error) = self.start()
            {
                result = Err(error);
                continue;
            }
            if self.tasks.is_empty() {
                break;
            }
            let ended = tokio::select! {
                biased;
                // First, so that a copy's progress is told before its end.
                Some(tick) = ticking.recv() => {
                    self.tell(tick);
                    continue;
                }
                Some(ended) = self.tasks.join_next_with_id() => ended,
                () = cancel.cancelled(), if deadline.is_none() => continue,
                () = tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)), if deadline.is_some() => {
                    // Left to themselves, not dropped: a reading must still be closed, and what it froze thawed.
                    self.tasks.detach_all();
                    self.break_off(cancel.is_cancelled(), result.is_ok())?;
                    break;
                }
            };
            if let Err(error) = self.end(ended) {
                result = result.and(Err(error));
            }
        }
        let left = self.schedule.stop();
        if result.is_ok() {
            let outcomes = left.into_iter().map(|at| (at, self.never_started(at, cancel.is_cancelled())));
            let outcomes: Vec<_> = outcomes.collect();
            result = self.conclude(outcomes);
        }
        result
    }

    /// Starts all that may start now.
    fn start(&mut self) -> Result<(), JournalError> {
        while !self.cancel.is_cancelled() {
            let members = self.schedule.start();
            let Some(first) = members.first().copied() else { return Ok(()) };
            let changes: Vec<&Change> = members.iter().map(|at| self.changes[*at]).collect();
            let now = self.job.world.clock.now();
            if let Err(error) = self.journal.intend(&changes, now) {
                // Not begun: they count as never started.
                for at in members {
                    self.schedule.end(at, false);
                }
                return Err(error);
            }
            let boot = self.job.world.clock.since_boot();
            for at in &members {
                self.started.insert(*at, (now, boot));
                let change = self.changes[*at];
                self.events.emit(&begun(change, now));
            }
            let (settled, members): (Vec<usize>, Vec<usize>) =
                members.into_iter().partition(|at| self.job.settled.contains(&self.changes[*at].id));
            let settled = settled.into_iter().map(|at| (at, self.remember_settled(at))).collect();
            self.conclude_started(settled)?;
            if members.is_empty() {
                continue;
            }
            if self.job.plan.mode == Mode::RefreshOnly {
                self.refresh(members)?;
            } else if is_record(self.changes[first].action) {
                self.spawn_batch(members);
            } else if self.batches.contains_key(&first) {
                self.spawn_confirmation(members)?;
            } else {
                self.spawn_copy(first)?;
            }
        }
        Ok(())
    }

    /// What a change at its result already comes to: it is remembered as if it had been carried out.
    fn remember_settled(&self, at: usize) -> (ChangeOutcome, Memory) {
        let change = self.changes[at];
        let ended = ChangeOutcome::new(change, Outcome::Unchanged).saying("at its result already");
        let memory = match records::result(change) {
            Ok(spec) => {
                let all = change.regions.iter().cloned().collect();
                records::memory(change, spec.as_ref(), self.objects.get(&change.address), &all)
            }
            // A copy, of which nothing is remembered.
            Err(_) => Memory::Kept,
        };
        (ended, memory)
    }

    /// The state's record becomes what the plan found live; no region is asked for anything.
    fn refresh(&mut self, members: Vec<usize>) -> Result<(), JournalError> {
        let mut outcomes = Vec::new();
        for at in members {
            let change = self.changes[at];
            let ended = ChangeOutcome::new(change, Outcome::Done);
            let all = change.regions.iter().cloned().collect();
            let ended = match records::result(change) {
                Ok(spec) => (ended, records::memory(change, spec.as_ref(), self.objects.get(&change.address), &all)),
                Err(malformed) => {
                    (ChangeOutcome { outcome: Outcome::Failed, ..ended }.saying(malformed.to_string()), Memory::Kept)
                }
            };
            outcomes.push((at, ended));
        }
        self.conclude_started(outcomes)
    }

    fn tell(&self, tick: Tick) {
        let change = self.changes[tick.at];
        self.events.emit(&Event::Progress {
            at: self.job.world.clock.now(),
            id: change.id.clone(),
            address: change.address.clone(),
            stage: tick.stage,
            bytes_done: tick.done,
            bytes_total: tick.total,
        });
    }

    /// Takes a task's report.
    fn end(&mut self, ended: Result<(Id, End), JoinError>) -> Result<(), JournalError> {
        match ended {
            Ok((id, End::Batch(members, end))) => {
                self.given.remove(&id);
                let mut result = Ok(());
                if !end.stores.is_empty() {
                    result = self.journal.met(&end.stores);
                    self.stores.extend(end.stores);
                }
                let outcomes = members.into_iter().zip(end.written);
                let outcomes = outcomes
                    .map(|(at, written)| (at, (record_outcome(self.changes[at], &written.refused), written.memory)));
                let outcomes = outcomes.collect();
                result.and(self.conclude_started(outcomes))
            }
            Ok((id, End::Copies(ends))) => {
                self.given.remove(&id);
                let mut outcomes = Vec::with_capacity(ends.len());
                for (at, end) in ends {
                    outcomes.push((at, (copy_outcome(self.changes[at], &end), Memory::Kept)));
                    if let Ok(copied) = end {
                        self.done.published.insert(self.changes[at].id.clone(), copied.published);
                    }
                }
                self.conclude_started(outcomes)
            }
            Err(error) => {
                let members = self.given.remove(&error.id()).unwrap_or_default();
                let (outcome, words) = if error.is_cancelled() {
                    (Outcome::Interrupted, "stopped before it ended; what was received is kept".to_owned())
                } else {
                    (Outcome::Failed, format!("a defect of this program: {error}"))
                };
                let ended = |at: &usize| ChangeOutcome::new(self.changes[*at], outcome).saying(words.clone());
                let outcomes = members.iter().map(|at| (*at, (ended(at), Memory::Kept))).collect();
                self.conclude_started(outcomes)
            }
        }
    }

    /// Gives every task that still runs an outcome.
    fn break_off(&mut self, signal: bool, journal: bool) -> Result<(), JournalError> {
        let members: Vec<usize> = std::mem::take(&mut self.given).into_values().flatten().collect();
        let words = if signal { "did not stop in time; the next run goes on from what is durable" } else { "stopped" };
        let ended = |at: usize| ChangeOutcome::new(self.changes[at], Outcome::Interrupted).saying(words);
        let outcomes: Vec<_> = members.into_iter().map(|at| (at, (ended(at), Memory::Kept))).collect();
        if journal { self.conclude_started(outcomes) } else { Ok(()) }
    }

    fn never_started(&self, at: usize, signal: bool) -> (ChangeOutcome, Memory) {
        let change = self.changes[at];
        let ended = if signal {
            ChangeOutcome::new(change, Outcome::Interrupted).saying("not begun")
        } else {
            ChangeOutcome::new(change, Outcome::Failed)
                .saying("waits for itself: the plan's dependencies form a circle")
        };
        (ended, Memory::Kept)
    }

    /// Concludes changes that had begun, and those that can no longer begin because of them.
    pub(super) fn conclude_started(
        &mut self,
        ended: Vec<(usize, (ChangeOutcome, Memory))>,
    ) -> Result<(), JournalError> {
        let boot = self.job.world.clock.since_boot();
        let mut all = Vec::with_capacity(ended.len());
        let mut skipped = Vec::new();
        for (at, (mut outcome, memory)) in ended {
            if let Some((_, began)) = self.started.get(&at) {
                outcome.duration = boot.saturating_sub(*began);
            }
            let succeeded = match outcome.outcome {
                Outcome::Done | Outcome::Unchanged => true,
                Outcome::Failed | Outcome::Blocked | Outcome::Skipped | Outcome::Interrupted => false,
            };
            for lost in self.schedule.end(at, succeeded) {
                let words = format!("{} did not succeed", outcome.address);
                let change = self.changes[lost];
                skipped.push((lost, (ChangeOutcome::new(change, Outcome::Skipped).saying(words), Memory::Kept)));
            }
            all.push((at, (outcome, memory)));
        }
        all.extend(skipped);
        self.conclude(all)
    }

    /// Journals and tells how changes ended.
    fn conclude(&mut self, ended: Vec<(usize, (ChangeOutcome, Memory))>) -> Result<(), JournalError> {
        if ended.is_empty() {
            return Ok(());
        }
        let now = self.job.world.clock.now();
        let conclusions: Vec<Conclusion<'_>> = ended
            .iter()
            .map(|(at, (outcome, memory))| Conclusion {
                change: self.changes[*at],
                outcome: outcome.outcome,
                started: self.started.get(at).map(|(when, _)| *when),
                ended: now,
                duration: outcome.duration,
                bytes: outcome.bytes,
                message: outcome.message.clone(),
                memory: memory.clone(),
            })
            .collect();
        let journalled = self.journal.conclude(&conclusions);
        for (at, (outcome, memory)) in ended {
            match memory {
                Memory::Kept => {}
                Memory::Applied(applied) => {
                    self.objects.insert(self.changes[at].address.clone(), applied);
                }
                Memory::Forgotten => {
                    self.objects.remove(&self.changes[at].address);
                }
            }
            self.events.emit(&finished(&outcome, now));
            self.done.outcomes.push(outcome);
        }
        journalled
    }
}

/// Says what the plan could not even try, and why: the counts alone explain nothing to whoever sees no plan.
fn tell_stopped(job: &Job<'_>, events: &dyn EventSink) {
    let at = job.world.clock.now();
    for Blocked { address, region_id, reason, detail } in &job.plan.blocked {
        let (address, region_id, detail) = (address.clone(), region_id.clone(), detail.clone());
        events.emit(&Event::Blocked { at, address, region_id, reason: *reason, detail });
    }
    for region in &job.plan.unobserved {
        for address in &region.deferred {
            let (address, region_id) = (address.clone(), region.region_id.clone());
            let detail = region.reason.clone();
            events.emit(&Event::Deferred { at, address, region_id, reason: DeferReason::Unobserved, detail });
        }
    }
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
