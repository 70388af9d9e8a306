//! Work that outlasts a request: begun once for each key, asked after, stopped, remembered for a while.
//!
//! A key that is known again, with the same request, finds the same work: nothing is done twice because an answer got
//! lost. What ended is kept for [`KEPT_TIME`], as far as there is room.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Failure;
use super::body::Fingerprint;
use crate::model::{OperationId, World};
use crate::wire::{Operation, OperationState, Progressed};

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
    kind: &'static str,
    fingerprint: Fingerprint,
    /// Cancelled when somebody wants it to stop.
    pub(super) cancel: CancellationToken,
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
    outcome: Result<Box<RawValue>, Failure>,
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
        kind: &'static str,
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
        if let Some(running) = known.get(&id) {
            if running.fingerprint == fingerprint {
                return Ok(Arc::clone(running));
            }
            let message = format!("the idempotency key {id} is another request's");
            return Err(Failure::own(StatusCode::CONFLICT, "conflict", message));
        }
        if known.values().filter(|running| running.now.borrow().ended.is_none()).count() >= KEPT {
            return Err(Failure::busy("as many operations run as there may be; ask again"));
        }
        let now = Now { version: 1, progress: None, told: Duration::ZERO, ended: None };
        let cancel = CancellationToken::new();
        let running = Arc::new(Running { id, kind, fingerprint, cancel, now: watch::Sender::new(now) });
        known.insert(id, Arc::clone(&running));
        drop(known);

        let work = tokio::spawn(work(Arc::clone(&running)));
        let (entry, clock) = (Arc::clone(&running), Arc::clone(&self.world.clock));
        self.tasks.spawn(async move {
            let outcome = match work.await {
                Ok(Ok(value)) => serde_json::value::to_raw_value(&value).map_err(|error| {
                    tracing::error!(%error, "a result has no form in JSON");
                    Failure::bug()
                }),
                Ok(Err(failure)) => Err(failure),
                Err(error) => {
                    tracing::error!(%error, operation = %entry.id, kind = entry.kind, "an operation met a mistake of the program");
                    Err(Failure::bug())
                }
            };
            if let Err(failure) = &outcome {
                tracing::info!(operation = %entry.id, kind = entry.kind, reason = failure.message(), "an operation failed");
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
        let mut ended: Vec<(Duration, usize, OperationId)> = known
            .values()
            .filter_map(|running| {
                let ended = running.now.borrow().ended.clone()?;
                Some((ended.at, ended.outcome.as_ref().map_or(0, |result| result.get().len()), running.id))
            })
            .collect();
        ended.sort_unstable_by(|a, b| b.cmp(a));
        let (mut count, mut bytes) = (0, 0);
        for (at, size, id) in ended {
            (count, bytes) = (count + 1, bytes + size);
            // The newest one stays however large it is: somebody is about to ask for it.
            let room = count == 1 || (count <= KEPT && bytes <= KEPT_BYTES);
            if !room || now.saturating_sub(at) > KEPT_TIME {
                known.remove(&id);
            }
        }
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

impl Running {
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
        Some(tell(ended.outcome.as_deref()))
    }

    /// How far it is, given to `tell`.
    pub(super) fn shown<A>(&self, tell: impl FnOnce(Operation<&RawValue>) -> A) -> A {
        let Now { version, progress, told: _, ended } = self.now.borrow().clone();
        let outcome = ended.as_ref().map(|ended| ended.outcome.as_deref());
        let (state, result, failure) = match outcome {
            None => (OperationState::Running, None, None),
            Some(Ok(result)) => (OperationState::Done, Some(result), None),
            Some(Err(failure)) => (OperationState::Failed, None, Some(failure)),
        };
        tell(Operation {
            id: self.id,
            kind: self.kind.to_owned(),
            state,
            version,
            progress,
            result,
            error: failure.map(|failure| failure.data().clone()),
            message: failure.map(|failure| failure.message().to_owned()),
        })
    }
}
