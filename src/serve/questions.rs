//! Questions to an open session that are carried out once each: a repeat under the same key is told what the first one
//! is told.
//!
//! A receiving goes on with every question, so that it would refuse the same one when its answer got lost and it is
//! asked again. The repeat may even come before the first has ended, whose connection broke: what was begun goes on, and
//! both wait for its end. That the region was busy is not remembered: then nothing was begun.
//!
//! Assumption: who asks has a few questions under way at once, and gives a lost one up before [`KEPT`] others are
//! answered. What was forgotten is asked as if it were new. The session's end forgets all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::SetOnce;

use super::answer::Failure;
use super::body::Fingerprint;
use super::outcome::{Outcome, outcome};
use crate::model::OperationId;
use crate::wire::FaultCode;

/// How many answers of a session are remembered. Most are empty: together they are less than the session's own tables.
/// A lost answer may be noticed as late as in two minutes, in which other questions of the same transfer go on.
const KEPT: usize = 16 << 10;
/// How many bytes of answers.
const KEPT_BYTES: usize = 4 << 20;

/// The questions of one session.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    questions: BTreeMap<OperationId, Arc<Question>>,
    /// Those that are answered, the oldest first.
    answered: VecDeque<OperationId>,
    bytes: usize,
}

/// One question, answered or not yet.
#[derive(Debug)]
pub(super) struct Question {
    fingerprint: Fingerprint,
    outcome: SetOnce<Outcome>,
}

impl Question {
    /// How it was answered, once it is.
    pub(super) async fn outcome(&self) -> &Outcome {
        self.outcome.wait().await
    }

    fn bytes(&self) -> usize {
        match self.outcome.get() {
            None => 0,
            Some(Ok(answer)) => answer.get().len(),
            Some(Err(failure)) => failure.message().len(),
        }
    }
}

impl Questions {
    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has `work` done, or finds what was begun under the same key. It goes on whoever still waits for it.
    ///
    /// # Errors
    /// Where the key is another question's.
    pub(super) fn begin<W, F, T>(
        self: &Arc<Self>,
        key: OperationId,
        fingerprint: Fingerprint,
        work: W,
    ) -> Result<Arc<Question>, Failure>
    where
        W: FnOnce() -> F,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let question = Arc::new(Question { fingerprint, outcome: SetOnce::new() });
        let found = self.known(|known| match known.questions.get(&key) {
            Some(found) => Some(Arc::clone(found)),
            None => {
                known.questions.insert(key, Arc::clone(&question));
                None
            }
        });
        if let Some(found) = found {
            if found.fingerprint == fingerprint {
                return Ok(found);
            }
            return Err(Failure::conflict(format!("the idempotency key {key} is another request's")));
        }
        let (questions, asked) = (Arc::clone(self), Arc::clone(&question));
        let work = tokio::spawn(work());
        tokio::spawn(async move {
            let outcome = outcome(work, "question", key).await;
            let busy = outcome.as_ref().is_err_and(|failure| failure.is(FaultCode::Busy));
            // Nobody else gives its answer.
            let _ = asked.outcome.set(outcome);
            questions.known(|known| known.answered(key, &asked, busy));
        });
        Ok(question)
    }
}

impl Known {
    /// Remembers an answer, and forgets the oldest of which there is no room for.
    fn answered(&mut self, key: OperationId, question: &Question, forget: bool) {
        if forget {
            self.questions.remove(&key);
            return;
        }
        self.bytes += question.bytes();
        self.answered.push_back(key);
        while self.answered.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.answered.pop_front() else { return };
            let gone = self.questions.remove(&oldest);
            self.bytes -= gone.map_or(0, |gone| gone.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const FINGERPRINT: Fingerprint = Fingerprint::from_bytes([7; 32]);

    fn key(number: usize) -> OperationId {
        OperationId(uuid::Uuid::from_u128(number as u128))
    }

    /// Asks, and gives the answer.
    async fn ask(questions: &Arc<Questions>, number: usize, work: impl FnOnce() -> Result<usize, Failure>) -> String {
        let answer = work();
        let question = questions.begin(key(number), FINGERPRINT, || async { answer }).unwrap();
        match question.outcome().await {
            Ok(answer) => answer.get().to_owned(),
            Err(failure) => failure.message().to_owned(),
        }
    }

    #[tokio::test]
    async fn a_repeat_waits_for_what_was_begun_though_nobody_else_does() {
        let (questions, runs, go) =
            (Arc::<Questions>::default(), Arc::<AtomicUsize>::default(), Arc::new(Notify::new()));
        let begin = || {
            let (runs, go) = (Arc::clone(&runs), Arc::clone(&go));
            let work = || async move {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Ok(run)
            };
            questions.begin(key(1), FINGERPRINT, work).unwrap()
        };
        let first = begin();
        let waiting = tokio::spawn(async move { first.outcome().await.is_ok() });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled(), "it is under way, and its connection broke");
        let repeats = [begin(), begin()];
        assert!(repeats.iter().all(|repeat| repeat.outcome.get().is_none()));
        go.notify_one();
        for repeat in repeats {
            assert_eq!(repeat.outcome().await.as_ref().unwrap().get(), "0");
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_answer_is_remembered_unless_nothing_was_begun() {
        let questions = Arc::<Questions>::default();
        assert_eq!(ask(&questions, 1, || Ok(5)).await, "5");
        assert_eq!(ask(&questions, 1, || Ok(6)).await, "5");
        assert_eq!(ask(&questions, 2, || Err(Failure::conflict("no".to_owned()))).await, "no");
        assert_eq!(ask(&questions, 2, || Ok(6)).await, "no", "what failed is not tried again either");
        assert_eq!(ask(&questions, 3, || Err(Failure::busy("later"))).await, "later");
        // It is forgotten right after it is told.
        while questions.known(|known| known.questions.contains_key(&key(3))) {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&questions, 3, || Ok(6)).await, "6");
        let other = questions.begin(key(1), Fingerprint::from_bytes([8; 32]), || async { Ok(7) });
        assert_eq!(other.unwrap_err().message(), format!("the idempotency key {} is another request's", key(1)));
    }

    #[tokio::test]
    async fn there_is_an_end_to_what_is_remembered() {
        let questions = Arc::<Questions>::default();
        for number in 0..KEPT + 10 {
            ask(&questions, number, || Ok(number)).await;
        }
        let kept = || questions.known(|known| (known.questions.len(), known.answered.len()));
        while kept() != (KEPT, KEPT) {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&questions, KEPT, || Ok(0)).await, KEPT.to_string(), "the last ones are known");
        assert_eq!(ask(&questions, 0, || Ok(1)).await, "1", "the first ones are not");
        for number in KEPT * 2..KEPT * 2 + 10 {
            let question = questions.begin(key(number), FINGERPRINT, || async { Ok("x".repeat(KEPT_BYTES / 4)) });
            question.unwrap().outcome().await;
        }
        while questions.known(|known| known.answered.len() > 4 || known.bytes > KEPT_BYTES) {
            tokio::task::yield_now().await;
        }
        assert_eq!(questions.known(|known| known.questions.len()), 3);
    }
}
