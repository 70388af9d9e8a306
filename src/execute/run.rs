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

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, BatchEnd, Caller};
use super::copy::{Copy, Tick};
use super::event::{DeferReason, Event, EventSink, Outcome};
use super::journal::{Conclusion, Journal, JournalError, Memory};
use super::outcome::{ChangeOutcome, Executed, Tally};
use super::records;
use super::schedule::{Limits, Schedule, is_record};
use crate::live::port::{PortError, RegionPort};
use crate::model::observed::Observed;
use crate::model::point::BlockReason;
use crate::model::recorded::{Applied, Recorded};
use crate::model::region::{Authority, Record, RecordChange, RecordWrite, SyncOrder};
use crate::model::topology::{Spec, Topology};
use crate::model::{Address, ByteCount, OperationId, RegionId, StoreId, Timestamp, World};
use crate::plan::document::{Action, Blocked, Change, Kind, Mode, Plan, PlannedMove, Precondition};
use crate::replica::port::TransferError;
use crate::replica::transfer::{SyncFailure, SyncReport};

/// How long effects under way may still take after a signal.
pub const GRACE: Duration = Duration::from_secs(4);

/// What is to be carried out, and with what.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The files: the settings of the pairs.
    pub topology: &'a Topology,
    /// What the regions answered.
    pub observed: Arc<Observed>,
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
enum End {
    Batch(Vec<usize>, BatchEnd),
    Copy(usize, Result<SyncReport, SyncFailure>),
}

struct Runner<'a> {
    job: &'a Job<'a>,
    changes: Vec<&'a Change>,
    journal: &'a mut dyn Journal,
    events: &'a dyn EventSink,
    cancel: CancellationToken,
    schedule: Schedule,
    tasks: JoinSet<End>,
    /// What each task was given, to account for one that broke off.
    given: BTreeMap<Id, Vec<usize>>,
    started: BTreeMap<usize, (Timestamp, Duration)>,
    stores: BTreeMap<RegionId, StoreId>,
    objects: BTreeMap<Address, Applied>,
    done: Executed,
    ticks: mpsc::UnboundedSender<Tick>,
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
    let (ticks, mut ticking) = mpsc::unbounded_channel();
    let mut runner = Runner {
        job,
        schedule: Schedule::new(&changes, job.limits),
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

impl Runner<'_> {
    /// Gives renamed resources their new names, at the regions and then in the state.
    ///
    /// Guarantee: a region that has done it answers a repeat with success. A crash in between leaves some regions with
    /// the new name and the state with the former one: the next plan finds the object under either, and the rename
    /// among those that are still to be recorded.
    async fn rename(&mut self) -> Result<(), JournalError> {
        let moves = &self.job.plan.moved;
        if moves.is_empty() {
            return Ok(());
        }
        let started = self.job.world.clock.now();
        let began = self.job.world.clock.since_boot();
        let changes: Vec<Change> = moves.iter().map(renaming).collect();
        self.journal.intend(&changes.iter().collect::<Vec<_>>(), started)?;
        let mut asked: BTreeMap<RegionId, Vec<(usize, RecordChange)>> = BTreeMap::new();
        for (at, (planned, change)) in moves.iter().zip(&changes).enumerate() {
            self.events.emit(&begun(change, started));
            for region in &planned.regions {
                if let Some(request) = self.rename_request(&planned.from, &planned.to, region) {
                    asked.entry(region.clone()).or_default().push((at, request));
                }
            }
        }
        let caller = self.caller();
        let refused: Vec<_> = join_all(asked.into_iter().map(|(region, part)| caller.write(region, part)))
            .await
            .into_iter()
            .flatten()
            .collect();
        let pairs: Vec<_> = moves.iter().map(|planned| (planned.from.clone(), planned.to.clone())).collect();
        self.journal.renamed(&pairs)?;
        for (from, to) in &pairs {
            if let Some(applied) = self.objects.remove(from) {
                self.objects.insert(to.clone(), applied);
            }
        }
        let now = self.job.world.clock.now();
        let duration = self.job.world.clock.since_boot().saturating_sub(began);
        let outcomes: Vec<ChangeOutcome> = (moves.iter().zip(&changes).enumerate())
            .map(|(at, (planned, change))| {
                let refused: Vec<_> = (refused.iter().filter(|(of, ..)| *of == at))
                    .map(|(_, region, error)| (region.clone(), error.clone()))
                    .collect();
                let mut outcome = record_outcome(change, &refused);
                outcome.message = Some(match &outcome.message {
                    None => change.reason.clone(),
                    Some(words) => format!("not everywhere {}: {words}", change.reason),
                });
                ChangeOutcome { duration, renamed_from: Some(planned.from.clone()), ..outcome }
            })
            .collect();
        let conclusions: Vec<_> = (changes.iter().zip(&outcomes))
            .map(|(change, ended)| Conclusion {
                change,
                outcome: ended.outcome,
                started: Some(started),
                ended: now,
                duration,
                bytes: ByteCount(0),
                message: ended.message.clone(),
                memory: Memory::Kept,
            })
            .collect();
        let journalled = self.journal.conclude(&conclusions);
        for outcome in outcomes {
            self.events.emit(&finished(&outcome, now));
            self.done.outcomes.push(outcome);
        }
        journalled
    }

    /// What a region is asked for to rename a resource: its record as it is there, under the new name.
    fn rename_request(&self, from: &Address, to: &Address, region: &RegionId) -> Option<RecordChange> {
        let (Address::Resource(former), Address::Resource(_)) = (from, to) else { return None };
        let record = self.job.observed.snapshot(region)?.resources.get(former)?;
        let write = RecordWrite {
            spec: Spec::Resource(record.spec.clone()),
            managed_by: record.managed_by,
            store: None,
            holder: Some((record.holder.clone(), record.epoch)),
            former_id: Some(former.id.clone()),
        };
        let expected = Some(Record::Resource(record.clone()).fingerprint());
        Some(RecordChange { address: to.clone(), expected, record: Some(write) })
    }

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
            outcomes.push((
                at,
                match records::result(change) {
                    Ok(Some(spec)) => {
                        let gone = |region: &&RegionId| !change.drops.contains(region);
                        let regions = change.regions.iter().filter(gone).cloned().collect();
                        (ended, Memory::Applied(Applied { spec, regions }))
                    }
                    Ok(None) => (ended, Memory::Forgotten),
                    Err(malformed) => (
                        ChangeOutcome { outcome: Outcome::Failed, ..ended }.saying(malformed.to_string()),
                        Memory::Kept,
                    ),
                },
            ));
        }
        self.conclude_started(outcomes)
    }

    fn caller(&self) -> Caller {
        Caller {
            ports: Arc::clone(&self.job.ports),
            authority: self.job.authority.clone(),
            world: self.job.world.clone(),
        }
    }

    fn spawn_batch(&mut self, members: Vec<usize>) {
        let changes: Vec<Change> = members.iter().map(|at| self.changes[*at].clone()).collect();
        let batch = Batch {
            prior: changes.iter().map(|change| self.objects.get(&change.address).cloned()).collect(),
            changes,
            observed: Arc::clone(&self.job.observed),
            stores: self.stores.clone(),
            caller: self.caller(),
        };
        let given = members.clone();
        let handle = self.tasks.spawn(async move { End::Batch(given, batch.carry_out().await) });
        self.given.insert(handle.id(), members);
    }

    fn spawn_copy(&mut self, at: usize) -> Result<(), JournalError> {
        let change = self.changes[at];
        match self.prepare_copy(at, change) {
            Ok(copy) => {
                let handle = self.tasks.spawn(async move { End::Copy(at, copy.carry_out().await) });
                self.given.insert(handle.id(), vec![at]);
                Ok(())
            }
            Err(words) => {
                let ended = ChangeOutcome::new(change, Outcome::Failed).saying(words);
                self.conclude_started(vec![(at, (ended, Memory::Kept))])
            }
        }
    }

    fn prepare_copy(&self, at: usize, change: &Change) -> Result<Copy, String> {
        let malformed = |what: &str| format!("the plan's change {} {what}", change.id);
        match change.action {
            Action::Sync | Action::Repair => {}
            Action::Create | Action::Update | Action::Delete | Action::Failover | Action::Fence => {
                return Err(malformed("is no copy"));
            }
        }
        let Address::Resource(resource) = &change.address else { return Err(malformed("is about no resource")) };
        let target = change.regions.first().ok_or_else(|| malformed("names no target"))?;
        let source = change.source.as_ref().ok_or_else(|| malformed("names no source"))?;
        let port = |region: &RegionId| {
            self.job.ports.get(region).cloned().ok_or_else(|| format!("region {region} has no endpoint"))
        };
        let pair = self.job.topology.feeding_pair(source, target, resource.kind).map(|(_, pair)| pair);
        Ok(Copy {
            at,
            order: SyncOrder {
                lineage: self.job.authority.lineage,
                term: self.job.authority.term,
                resource: resource.clone(),
                source: source.clone(),
                target: target.clone(),
                epoch: records::epoch(change, &self.job.observed, resource),
                operation: OperationId(self.job.world.ids.ordered()),
            },
            source: port(source)?,
            target: port(target)?,
            accept_change: self.job.accept_change,
            bandwidth_limit: pair.and_then(|pair| pair.bandwidth_limit),
            ticks: self.ticks.clone(),
            cancel: self.cancel.clone(),
            world: self.job.world.clone(),
        })
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
            Ok((id, End::Copy(at, end))) => {
                self.given.remove(&id);
                let outcome = copy_outcome(self.changes[at], &end);
                if let Ok(copied) = end {
                    self.done.published.insert(self.changes[at].id.clone(), copied.published);
                }
                self.conclude_started(vec![(at, (outcome, Memory::Kept))])
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
    fn conclude_started(&mut self, ended: Vec<(usize, (ChangeOutcome, Memory))>) -> Result<(), JournalError> {
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

/// A rename as journal and history know it.
fn renaming(planned: &PlannedMove) -> Change {
    Change {
        id: format!("move:{}", planned.to),
        address: planned.to.clone(),
        kind: match &planned.to {
            Address::Region(_) => Kind::Region,
            Address::Replication(_) => Kind::Replication,
            Address::Resource(_) => Kind::Resource,
        },
        action: Action::Update,
        regions: planned.regions.clone(),
        drops: Vec::new(),
        source: None,
        before: None,
        after: None,
        reason: format!("renamed from {}", planned.from),
        depends_on: Vec::new(),
        precondition: Precondition::default(),
    }
}

fn begun(change: &Change, at: Timestamp) -> Event {
    Event::ActionStarted {
        at,
        id: change.id.clone(),
        address: change.address.clone(),
        kind: change.kind,
        action: change.action,
        regions: change.regions.clone(),
    }
}

fn finished(outcome: &ChangeOutcome, at: Timestamp) -> Event {
    Event::ActionFinished {
        at,
        id: outcome.id.clone(),
        address: outcome.address.clone(),
        kind: outcome.kind,
        action: outcome.action,
        regions: outcome.regions.clone(),
        outcome: outcome.outcome,
        bytes: outcome.bytes,
        duration: outcome.duration,
        message: outcome.message.clone(),
    }
}

/// What a region says to do next.
fn help_of(error: &PortError) -> Option<String> {
    match error {
        PortError::Unreachable { help, .. } | PortError::Refused { help, .. } => help.clone(),
        PortError::Busy(_)
        | PortError::Conflict { .. }
        | PortError::NotController { .. }
        | PortError::NotFound(_)
        | PortError::Failed(_) => None,
    }
}

/// How a change of records ended: done where every region took it. One that only some took says which.
fn record_outcome(change: &Change, refused: &[(RegionId, PortError)]) -> ChangeOutcome {
    let Some((region, error)) = refused.first() else { return ChangeOutcome::new(change, Outcome::Done) };
    let mut words: Vec<String> = refused.iter().map(|(region, error)| format!("{region}: {error}")).collect();
    let took = |region: &&RegionId| !refused.iter().any(|(refusing, _)| refusing == *region);
    let done_at: Vec<RegionId> = change.regions.iter().filter(took).cloned().collect();
    if !done_at.is_empty() {
        let places = done_at.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ");
        words.push(match change.action {
            Action::Delete => format!("removed at {places}"),
            Action::Create | Action::Update => format!("it stands at {places}"),
            Action::Sync | Action::Repair | Action::Failover | Action::Fence => format!("done at {places}"),
        });
    }
    let failed = ChangeOutcome::new(change, Outcome::Failed).saying(words.join("; "));
    ChangeOutcome { help: help_of(error), region: Some(region.clone()), done_at, ..failed }
}

/// How a copy ended. What safety stops is not a failure.
fn copy_outcome(change: &Change, end: &Result<SyncReport, SyncFailure>) -> ChangeOutcome {
    let ended = |outcome| ChangeOutcome::new(change, outcome);
    match end {
        Ok(SyncReport { published, bytes, resumed, passes }) => {
            let outcome = if published.new { Outcome::Done } else { Outcome::Unchanged };
            let mut notes = Vec::new();
            if resumed.0 > 0 {
                notes.push(format!("{resumed} had arrived before"));
            }
            if *passes > 1 {
                notes.push(format!("read {passes} times, because it was written meanwhile"));
            }
            if !published.set_aside.is_empty() {
                let names = published.set_aside.join(", ");
                notes.push(format!("what was found modified at the replica is kept as {names}"));
            }
            let message = (!notes.is_empty()).then(|| notes.join("; "));
            ChangeOutcome { bytes: *bytes, message, ..ended(outcome) }
        }
        Err(SyncFailure { error, bytes }) => {
            let outcome = match error {
                TransferError::Blocked(_) => Outcome::Blocked,
                TransferError::Interrupted => Outcome::Interrupted,
                TransferError::Stale { .. }
                | TransferError::Io { .. }
                | TransferError::Corrupt(_)
                | TransferError::Region(_) => Outcome::Failed,
            };
            let help = match error {
                TransferError::Blocked(refusal) => way_on(refusal.reason, change),
                TransferError::Interrupted
                | TransferError::Stale { .. }
                | TransferError::Io { .. }
                | TransferError::Corrupt(_)
                | TransferError::Region(_) => None,
            };
            let region = change.regions.first().cloned();
            ChangeOutcome { region, help, bytes: *bytes, ..ended(outcome) }.saying(error.to_string())
        }
    }
}

/// What an operator can do about a copy that safety stopped.
fn way_on(reason: BlockReason, change: &Change) -> Option<String> {
    match reason {
        BlockReason::Suspicious | BlockReason::Shrunk => {
            let (Address::Resource(key), Some(source), [target]) =
                (&change.address, &change.source, change.regions.as_slice())
            else {
                return None;
            };
            let command = format!("replication sync {} {source} {target} --accept-change", key.id);
            Some(format!("look at its files at {source}; if the change is meant, `{command}` copies it"))
        }
        BlockReason::SourceBusy => Some(
            "name a `snapshot` or a `freeze` and a `thaw` command in its region's configuration, or sync it when it rests"
                .to_owned(),
        ),
        BlockReason::NoSpace => Some("make room at the target, or let `[retention]` keep fewer points".to_owned()),
        BlockReason::Unsupported => Some("move it out of the resource's directory".to_owned()),
        BlockReason::NoCommonBase
        | BlockReason::Diverged
        | BlockReason::NotDeclared
        | BlockReason::Dependency => None,
    }
}
