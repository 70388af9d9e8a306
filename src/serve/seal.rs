//! Whether a request is the one that was sent, and the answer's own seal.
//!
//! A request that carries no seal is taken as it is: that of a person, or of another program. Its answer is sealed all
//! the same.

use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::HeaderValue;

use super::answer::{Answer, Failure};
use crate::wire::seal::{SEAL, Seal};
use crate::wire::{FaultCode, IDEMPOTENCY_KEY};

/// What the seal of an answer of blocks is over.
#[derive(Debug, Clone)]
pub(super) struct Heads(pub(super) Bytes);

/// A request's line and its seal.
#[derive(Debug)]
pub(super) struct Sealing {
    method: String,
    path: String,
    query: Option<String>,
    key: Option<Vec<u8>>,
    given: Option<HeaderValue>,
    /// Known when the body is.
    found: OnceLock<Seal>,
}

impl Sealing {
    /// Of a request whose path is whole yet. Where it has no body it is checked at once; else, whoever reads the body
    /// checks it.
    pub(super) fn of(request: &Request) -> (Arc<Self>, Result<(), Failure>) {
        let sealing = Self {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            key: request.headers().get(IDEMPOTENCY_KEY).map(|key| key.as_bytes().to_vec()),
            given: request.headers().get(SEAL).cloned(),
            found: OnceLock::new(),
        };
        let checked = if request.body().is_end_stream() { sealing.check(&[]) } else { Ok(()) };
        (Arc::new(sealing), checked)
    }

    /// Whether `body` is what was sent, and all else of the request; of blocks, what their seal is over.
    pub(super) fn check(&self, body: &[u8]) -> Result<(), Failure> {
        let Self { method, path, query, key, given, found } = self;
        let found = *found.get_or_init(|| Seal::of_request(method, path, query.as_deref(), key.as_deref(), body));
        match given {
            Some(given) if given.to_str().ok().and_then(|given| given.parse().ok()) != Some(found) => Err(changed()),
            Some(_) | None => Ok(()),
        }
    }

    /// The same of a body of blocks that does not read as such, which nobody seals.
    pub(super) fn check_unreadable(&self, body: &[u8]) -> Result<(), Failure> {
        self.check(body)?;
        if self.given.is_some() { Err(changed()) } else { Ok(()) }
    }

    /// Seals the answer, where all of the request is known.
    pub(super) async fn seal(&self, answer: Answer) -> Answer {
        let Some(found) = self.found.get() else { return answer };
        let (mut parts, body) = answer.into_parts();
        let status = parts.status.as_u16();
        let (seal, body) = match parts.extensions.remove::<Heads>() {
            Some(Heads(heads)) => (found.of_answer(status, &heads), body),
            None => {
                // It lies in memory as a whole.
                let Ok(body) = to_bytes(body, usize::MAX).await else {
                    return Answer::from_parts(parts, Body::empty());
                };
                (found.of_answer(status, &body), Body::from(body))
            }
        };
        if let Ok(seal) = HeaderValue::from_str(&seal.to_string()) {
            parts.headers.insert(SEAL, seal);
        }
        Answer::from_parts(parts, body)
    }
}

fn changed() -> Failure {
    Failure::own(FaultCode::Changed, "the request was changed on its way here".to_owned())
}
