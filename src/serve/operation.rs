//! Work that outlasts a request: begun once for each key, asked after, stopped, remembered for a while.
//!
//! A key that is known again, with the same request, finds the same work: nothing is done twice because an answer got
//! lost; an order that failed for want of a region is gone on with. What ended is kept for [`KEPT_TIME`], as far as there is room; what nobody was told yet is the last to go.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Failure;
use super::body::Fingerprint;
use super::job::Job;
use super::outcome::{Outcome, outcome};
use crate::model::point::BlockReason;
use crate::model::work::{FailedCopy, Lack, Work};
use crate::model::{OperationId, RegionId, ResourceKey, World};
use crate::replica::port::TransferError;
use crate::wire::{FaultCode, Operation, OperationState, Progressed};

/// How long what ended is remembered.
const KEPT_TIME: Duration = Duration::from_secs(600);
/// How many that ended are remembered, and how many may run.
const KEPT: usize = 1000;
/// How many bytes of results are remembered.
const KEPT_BYTES: usize = 64 << 20;
/// Progress of the same stage is told no more often.
const THINNED: Duration = Duration::from_millis(200);

/// All operations of a server.
#[derive(Debug)]
pub(super) struct Operations {
    world: World,
    known: Mutex<BTreeMap<OperationId, Arc<Running>>>,
    tasks: TaskTracker,
}

/// One operation, under way or over.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: OperationId,
    pub(super) job: Job,
    fingerprint: Fingerprint,
    began: Duration,
    about: OnceLock<(ResourceKey, Option<RegionId>)>,
    /// Cancelled when somebody wants it to stop.
    pub(super) cancel: CancellationToken,
    /// Whether somebody was told how it ended.
    told: AtomicBool,
    now: watch::Sender<Now>,
}

/// How far an operation is.
#[derive(Debug, Clone)]
struct Now {
    version: u64,
    progress: Option<Progressed>,
    /// When progress was last told.
    told: Duration,
    ended: Option<Arc<Ended>>,
}

/// How an operation ended.
#[derive(Debug)]
struct Ended {
    at: Duration,
    outcome: Outcome,
}

impl Operations {
    pub(super) fn new(world: World) -> Self {
        Self { world, known: Mutex::default(), tasks: TaskTracker::new() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<OperationId, Arc<Running>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins `work`, or finds what was begun under the same key.
    ///
    /// # Errors
    /// Where the key is another request's, or too much is under way.
    pub(super) fn begin<W, F, T>(
        &self,
        key: Option<OperationId>,
        job: Job,
        fingerprint: Fingerprint,
        work: W,
    ) -> Result<Arc<Running>, Failure>
    where
        W: FnOnce(Arc<Running>) -> F,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let id = key.unwrap_or_else(|| OperationId(self.world.ids.random()));
        let mut known = self.known();
        self.forget(&mut known);
        match known.get(&id) {
            Some(running) if running.fingerprint != fingerprint => {
                return Err(Failure::conflict(format!("the idempotency key {id} is another request's")));
            }
            Some(running) if !running.is_to_be_taken_up() => return Ok(Arc::clone(running)),
            Some(_) | None => {}
        }
        if known.values().filter(|running| running.now.borrow().ended.is_none()).count() >= KEPT {
            return Err(Failure::busy("as many operations run as there may be; ask again"));
        }
        let now = Now { version: 1, progress: None, told: Duration::ZERO, ended: None };
        let cancel = CancellationToken::new();
        let running = Arc::new(Running {
            id,
            job,
            fingerprint,
            began: self.world.clock.since_boot(),
            about: OnceLock::new(),
            cancel,
            told: AtomicBool::new(false),
            now: watch::Sender::new(now),
        });
        known.insert(id, Arc::clone(&running));
        drop(known);

        let work = tokio::spawn(work(Arc::clone(&running)));
        let (entry, clock) = (Arc::clone(&running), Arc::clone(&self.world.clock));
        self.tasks.spawn(async move {
            let outcome = outcome(work, entry.job.as_str(), entry.id).await;
            if let Err(failure) = &outcome {
                tracing::info!(operation = %entry.id, kind = entry.job.as_str(), reason = failure.message(), "an operation failed");
            }
            let ended = Arc::new(Ended { at: clock.since_boot(), outcome });
            entry.now.send_modify(|now| {
                now.version += 1;
                now.ended = Some(ended);
            });
        });
        Ok(running)
    }

    /// An operation by its name.
    pub(super) fn find(&self, id: OperationId) -> Option<Arc<Running>> {
        let mut known = self.known();
        self.forget(&mut known);
        known.get(&id).cloned()
    }

    /// Drops what ended too long ago, and the oldest of what there is no room for.
    fn forget(&self, known: &mut BTreeMap<OperationId, Arc<Running>>) {
        let now = self.world.clock.since_boot();
        let mut ended: Vec<(bool, Duration, usize, OperationId)> = known
            .values()
            .filter_map(|running| {
                let ended = running.now.borrow().ended.clone()?;
                let bytes = ended.outcome.as_ref().map_or(0, |result| result.get().len());
                Some((!running.told.load(Ordering::Relaxed), ended.at, bytes, running.id))
            })
            .collect();
        ended.sort_unstable_by(|a, b| b.cmp(a));
        let (mut count, mut bytes) = (0, 0);
        for (_, at, size, id) in ended {
            (count, bytes) = (count + 1, bytes + size);
            // One stays however large it is: somebody is about to ask for it.
            let room = count == 1 || (count <= KEPT && bytes <= KEPT_BYTES);
            if !room || now.saturating_sub(at) > KEPT_TIME {
                known.remove(&id);
            }
        }
    }

    /// What is under way, the longest first.
    pub(super) fn work(&self) -> Vec<Work> {
        let now = self.world.clock.since_boot();
        let known = self.known();
        let running = known.values().filter(|running| running.now.borrow().ended.is_none());
        let mut work: Vec<Work> = running
            .map(|running| {
                let progress = running.now.borrow().progress;
                let (resource, source) = running.about.get().cloned().unzip();
                Work {
                    id: running.id,
                    kind: running.job.as_str().to_owned(),
                    resource,
                    source: source.flatten(),
                    age: now.saturating_sub(running.began),
                    bytes_done: progress.map(|progress| progress.bytes_done),
                    bytes_total: progress.and_then(|progress| progress.bytes_total),
                }
            })
            .collect();
        work.sort_by_key(|work| std::cmp::Reverse(work.age));
        work
    }

    /// The last copies of resources to this region that failed, and were not stopped.
    pub(super) fn failed_copies(&self) -> BTreeMap<ResourceKey, FailedCopy> {
        let now = self.world.clock.since_boot();
        let mut last: BTreeMap<ResourceKey, (Duration, Option<(String, Lack)>)> = BTreeMap::new();
        for running in self.known().values().filter(|running| running.job == Job::Sync) {
            let ended = running.now.borrow().ended.clone();
            let (Some(ended), Some((resource, _))) = (ended, running.about.get()) else { continue };
            let why = ended.outcome.as_ref().err().filter(|_| !running.cancel.is_cancelled());
            let this = (ended.at, why.map(|failure| (failure.message().to_owned(), lack(failure))));
            match last.get(resource) {
                Some((at, _)) if *at > ended.at => {}
                Some(_) | None => drop(last.insert(resource.clone(), this)),
            }
        }
        let failed = |(key, (at, why)): (ResourceKey, (Duration, Option<(String, Lack)>))| {
            why.map(|(reason, lack)| (key, FailedCopy { reason, lack, age: now.saturating_sub(at) }))
        };
        last.into_iter().filter_map(failed).collect()
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.tasks.len()
    }

    /// Stops what can be stopped.
    pub(super) fn stop(&self) {
        for running in self.known().values() {
            running.cancel.cancel();
        }
    }

    /// Waits for the end of all.
    pub(super) async fn drain(&self) {
        self.stop();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What a copy lacked that failed so.
fn lack(failure: &Failure) -> Lack {
    match TransferError::deserialize(failure.data()) {
        Ok(TransferError::Io { no_space: true, .. }) => Lack::Space,
        Ok(TransferError::Io { not_permitted: true, .. }) => Lack::Permission,
        Ok(TransferError::Blocked(refused)) if refused.reason == BlockReason::NoSpace => Lack::Space,
        Ok(_) | Err(_) => Lack::Other,
    }
}

impl Running {
    /// Says what it is about: a resource, and of a sync where it comes from.
    pub(super) fn is_about(&self, resource: ResourceKey, source: Option<RegionId>) {
        // It is about one thing for all its life.
        let _ = self.about.set((resource, source));
    }

    /// Tells how far it is, as often as somebody may want to know.
    pub(super) fn progress(&self, progress: Progressed, at: Duration) {
        self.now.send_if_modified(|now| {
            let staged = now.progress.is_some_and(|last| last.stage == progress.stage);
            if now.ended.is_some() || (staged && at.saturating_sub(now.told) < THINNED) {
                return false;
            }
            (now.version, now.progress, now.told) = (now.version + 1, Some(progress), at);
            true
        });
    }

    /// Waits until it has ended, or is further than `after`; at most `wait`, or until `drain` is asked for.
    pub(super) async fn wait(&self, after: Option<u64>, wait: Option<Duration>, drain: &CancellationToken) {
        let mut now = self.now.subscribe();
        let news = now.wait_for(|now| now.ended.is_some() || after.is_some_and(|after| now.version > after));
        match wait {
            Some(wait) => tokio::select! {
                _ = news => {}
                () = tokio::time::sleep(wait) => {}
                () = drain.cancelled() => {}
            },
            // What is drained ends, and then there is an answer.
            None => drop(news.await),
        }
    }

    /// How it ended, given to `tell`; none while it is under way.
    pub(super) fn ended<A>(&self, tell: impl FnOnce(Result<&RawValue, &Failure>) -> A) -> Option<A> {
        let ended = self.now.borrow().ended.clone()?;
        self.told.store(true, Ordering::Relaxed);
        Some(tell(ended.outcome.as_deref()))
    }

    /// Whether it failed for want of somebody else, and a repeat is to go on with it.
    fn is_to_be_taken_up(&self) -> bool {
        let ended = self.now.borrow().ended.clone();
        let failed = ended.is_some_and(|ended| {
            ended.outcome.as_ref().is_err_and(|failure| failure.status() == StatusCode::SERVICE_UNAVAILABLE)
        });
        failed && self.job.is_taken_up_again()
    }

    /// Stops it at the next place where that is safe; nothing where it has ended.
    ///
    /// # Errors
    /// Where it cannot be stopped: 409, and why.
    pub(super) fn stop(&self) -> Result<(), Failure> {
        match (self.now.borrow().ended.is_some(), self.job.unstoppable()) {
            (true, _) => Ok(()),
            (false, None) => {
                self.cancel.cancel();
                Ok(())
            }
            (false, Some(why)) => Err(Failure::own(FaultCode::Unstoppable, why.to_owned())),
        }
    }

    /// How far it is, given to `tell`.
    pub(super) fn shown<A>(&self, tell: impl FnOnce(Operation<&RawValue>) -> A) -> A {
        let Now { version, progress, told: _, ended } = self.now.borrow().clone();
        let outcome = ended.as_ref().map(|ended| ended.outcome.as_deref());
        self.told.fetch_or(outcome.is_some(), Ordering::Relaxed);
        let (state, result, failure) = match outcome {
            None => (OperationState::Running, None, None),
            Some(Ok(result)) => (OperationState::Done, Some(result), None),
            Some(Err(failure)) => (OperationState::Failed, None, Some(failure)),
        };
        tell(Operation {
            id: self.id,
            kind: self.job.as_str().to_owned(),
            state,
            version,
            progress,
            result,
            error: failure.map(|failure| failure.data().clone()),
            message: failure.map(|failure| failure.message().to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    const FINGERPRINT: Fingerprint = Fingerprint::from_bytes([7; 32]);

    fn operations() -> Arc<Operations> {
        Arc::new(Operations::new(host::world()))
    }

    async fn ended(operations: &Operations, number: usize, told: bool) -> OperationId {
        let id = OperationId(uuid::Uuid::from_u128(number as u128));
        let running = operations.begin(Some(id), Job::Verify, FINGERPRINT, |_| async move { Ok(number) }).unwrap();
        running.wait(None, None, &CancellationToken::new()).await;
        if told {
            let result = running.ended(|outcome| outcome.unwrap().get().to_owned());
            assert_eq!(result, Some(number.to_string()));
        }
        id
    }

    #[tokio::test]
    async fn what_was_told_goes_before_what_was_not() {
        let operations = operations();
        let untold = ended(&operations, 1, false).await;
        let told = ended(&operations, 2, true).await;
        for number in 3..KEPT + 10 {
            ended(&operations, number, true).await;
        }
        assert!(operations.find(told).is_none(), "there is no room for all");
        let running = operations.find(untold).unwrap();
        assert!(running.shown(|operation| operation.result.is_some()));
        for number in KEPT + 10..KEPT * 2 + 10 {
            ended(&operations, number, true).await;
        }
        assert!(operations.find(untold).is_none(), "told, it goes too");
    }

    #[tokio::test]
    async fn a_panic_is_an_operations_failure_and_no_more() {
        let operations = operations();
        let work = |_| async move { if true { panic!("a mistake") } else { Ok(1) } };
        let running = operations.begin(None, Job::Verify, FINGERPRINT, work).unwrap();
        running.wait(None, None, &CancellationToken::new()).await;
        let shown = running.shown(|operation| (operation.state, operation.error.map(|error| error["code"].clone())));
        assert_eq!(shown, (OperationState::Failed, Some("bug".into())));
        ended(&operations, 1, true).await;
        operations.drain().await;
        assert_eq!(operations.under_way(), 0);
    }

    #[tokio::test]
    async fn progress_is_thinned_but_no_stage_is_left_out() {
        use crate::model::ByteCount;
        use crate::replica::transfer::Stage;
        let operations = operations();
        let stop = CancellationToken::new();
        let (ending, working) = (stop.clone(), stop);
        let work = |_| async move {
            working.cancelled().await;
            Ok(())
        };
        let running = operations.begin(None, Job::Verify, FINGERPRINT, work).unwrap();
        let version = || running.shown(|operation| operation.version);
        let at = |stage, bytes, millis| {
            let progress = Progressed { stage, bytes_done: ByteCount(bytes), bytes_total: None };
            running.progress(progress, Duration::from_millis(millis));
            version()
        };
        assert_eq!(at(Stage::Reading, 0, 1000), 2);
        assert_eq!(at(Stage::Reading, 1, 1100), 2);
        assert_eq!(at(Stage::Copying, 1, 1110), 3);
        assert_eq!(at(Stage::Copying, 2, 1320), 4);
        ending.cancel();
        running.wait(None, None, &CancellationToken::new()).await;
        assert_eq!(at(Stage::Publishing, 2, 9000), 5, "what has ended tells no more");
    }
}
