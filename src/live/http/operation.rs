//! Work that outlasts a request: begun, asked after, stopped.
//!
//! Guarantee: whatever happens on the way, the region does the work once: it is begun under one key however often.
//! Assumption: a region that forgot an operation had no more of it under way, because it was started anew. Dropping
//! the future leaves the region at work.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{CallError, data, failed, senseless};
use super::client::{Answer, Ask, Asked, Body, Client, Repeat};
use crate::wire::{Operation, OperationState};

/// The most that is read of an answer in JSON: the list of 100,000 files.
pub(super) const JSON_BYTES: usize = 64 << 20;
/// How often an operation is begun that the region forgot.
const BEGINNINGS: u32 = 4;

/// An operation before it is begun.
pub(super) struct Work<'a> {
    pub(super) path: String,
    pub(super) body: Body,
    /// What it gives, in words.
    pub(super) wanted: &'static str,
    /// Is told how it goes.
    pub(super) told: &'a (dyn Fn(&Operation) + Send + Sync),
    /// Stops it at the next durable place; none: it is not to be stopped.
    pub(super) stop: Option<&'a CancellationToken>,
}

/// A body of JSON.
pub(super) fn json<T: Serialize>(body: &T) -> Body {
    // These types have nothing that JSON has not: no maps by other keys than texts, no failing writers.
    Body::Json(serde_json::to_vec(body).unwrap_or_default().into())
}

impl Client {
    /// A question that is answered at once.
    pub(super) fn short(&self, method: Method, path: impl Into<String>, body: Body, wanted: &'static str) -> Ask {
        Ask {
            method,
            path: path.into(),
            about: None,
            body,
            key: None,
            prefer: None,
            deadline: self.deadlines.call,
            most: JSON_BYTES,
            wanted,
            blocks: false,
            repeat: Repeat::Few,
            counted: None,
        }
    }

    /// Has the region do `work`, and waits for its end.
    pub(super) async fn operate<T: DeserializeOwned>(&self, work: &Work<'_>) -> Result<T, CallError> {
        let key = self.world.ids.ordered();
        let mut beginnings = 0;
        loop {
            beginnings += 1;
            let forgotten = match self.begin_and_wait(work, key).await? {
                End::Answered(answer) => return data(self, answer),
                End::Ended(operation, asked) => return self.ended(*operation, asked),
                End::Forgotten(error) => error,
            };
            if beginnings == BEGINNINGS {
                return Err(forgotten);
            }
        }
    }

    async fn begin_and_wait(&self, work: &Work<'_>, key: Uuid) -> Result<End, CallError> {
        let begin = Ask {
            key: Some(key),
            prefer: Some(self.deadlines.begin),
            deadline: self.deadlines.call + self.deadlines.begin,
            ..self.short(Method::POST, work.path.clone(), work.body.clone(), work.wanted)
        };
        let stopped = stopped(work.stop);
        tokio::pin!(stopped);
        let answer = tokio::select! {
            biased;
            // It may have begun all the same.
            () = &mut stopped => return self.stop(work, key).await,
            answer = self.ask(&begin) => answer?,
        };
        if answer.status != StatusCode::ACCEPTED {
            return Ok(End::Answered(answer));
        }
        let (mut operation, mut asked) = self.operation(answer, key)?;
        loop {
            (work.told)(&operation);
            if operation.state != OperationState::Running {
                return Ok(End::Ended(Box::new(operation), asked));
            }
            let next = tokio::select! {
                biased;
                () = &mut stopped => return self.stop(work, key).await,
                next = self.after(work, key, operation.version, self.deadlines.wait, Repeat::Patiently) => next,
            };
            (operation, asked) = match next {
                Err(error) if error.is_not_found() => return Ok(End::Forgotten(error)),
                next => next?,
            };
        }
    }

    /// Asks after an operation; the region answers when there is something newer than `version`, or after `wait`.
    async fn after(
        &self,
        work: &Work<'_>,
        key: Uuid,
        version: u64,
        wait: Duration,
        repeat: Repeat,
    ) -> Result<(Operation, Asked), CallError> {
        // Less than a second of waiting is none.
        let path = format!("operations/{key}?after={version}&wait={}", wait.as_secs());
        let ask = Ask {
            about: Some(format!("POST {}", work.path)),
            deadline: wait + self.deadlines.call,
            repeat,
            ..self.short(Method::GET, path, Body::Nothing, "an operation")
        };
        let answer = self.ask(&ask).await?;
        self.operation(answer, key)
    }

    /// Stops it, and waits until it has: not for ever, the region does it by itself.
    async fn stop(&self, work: &Work<'_>, key: Uuid) -> Result<End, CallError> {
        let ask = self.short(Method::DELETE, format!("operations/{key}"), Body::Nothing, "an operation");
        let ending = async {
            let (mut operation, mut asked) = self.operation(self.ask(&ask).await?, key)?;
            while operation.state == OperationState::Running {
                let wait = self.deadlines.wait.min(Duration::from_secs(2));
                (operation, asked) = self.after(work, key, operation.version, wait, Repeat::Few).await?;
            }
            Ok::<_, CallError>(End::Ended(Box::new(operation), asked))
        };
        match tokio::time::timeout(self.deadlines.call, ending).await {
            Ok(Ok(end)) => Ok(end),
            // Whatever the reason: nobody asked for more than that it stops.
            Ok(Err(_)) | Err(_) => Err(CallError::Interrupted),
        }
    }

    fn operation(&self, answer: Answer, key: Uuid) -> Result<(Operation, Asked), CallError> {
        let asked = answer.asked.clone();
        let operation: Operation = data(self, answer)?;
        if operation.id.0 == key {
            return Ok((operation, asked));
        }
        let error = crate::live::silence::unknown(format!("{} answered with another operation", self.origin), None);
        Err(CallError::unclear(error, Some(&asked)))
    }

    fn ended<T: DeserializeOwned>(&self, operation: Operation, asked: Asked) -> Result<T, CallError> {
        match operation.state {
            OperationState::Failed => Err(failed(self, operation, asked)),
            OperationState::Done | OperationState::Running => {
                let result = operation.result.unwrap_or(Value::Null);
                let shown = result.to_string().into();
                serde_json::from_value(result).map_err(|_| {
                    let asked = Asked { wanted: "what it was asked for", ..asked };
                    let answer = Answer { status: StatusCode::OK, is_bytes: false, body: shown, blocks: None, asked };
                    senseless(self, answer)
                })
            }
        }
    }
}

/// Where the waiting for an operation ended.
enum End {
    /// It was done before the region would have answered that it had begun.
    Answered(Answer),
    /// It ended.
    Ended(Box<Operation>, Asked),
    /// The region knows nothing of it.
    Forgotten(CallError),
}

/// Comes back when it is to be stopped.
async fn stopped(stop: Option<&CancellationToken>) {
    match stop {
        Some(stop) => stop.cancelled().await,
        None => std::future::pending().await,
    }
}
