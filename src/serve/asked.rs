//! What headers, paths and queries ask.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{Answer, Begun, Failure, Reply, success};
use super::body::Fingerprint;
use super::job::Job;
use super::operation::Running;
use super::router::App;
use super::session::Kind;
use crate::model::id::is_id;
use crate::model::{OperationId, ResourceKey};
use crate::replica::port::SessionId;
use crate::wire::{API, IDEMPOTENCY_KEY};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest that a request is held.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);

/// Under which key work is asked for, and how long its end is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    key: Option<OperationId>,
    /// None: until the end.
    wait: Option<Duration>,
}

impl FromRequestParts<Arc<App>> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Failure> {
        Ok(Self { key: key(&parts.headers)?, wait: preferred(&parts.headers) })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<OperationId>, Failure> {
    let Some(text) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = text.to_str().ok().and_then(|text| text.trim_matches('"').parse().ok());
    key.map(Some).ok_or_else(|| Failure::bad_request(IDEMPOTENCY_KEY, "the key is no UUID".to_owned()))
}

/// Under which key a question is asked that is answered at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed(Option<OperationId>);

impl FromRequestParts<Arc<App>> for Keyed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Failure> {
        key(&parts.headers).map(Self)
    }
}

impl Keyed {
    /// Has a question to an open session answered; a repeat under its key is told the same.
    pub(super) async fn on_session<W, F, T>(
        self,
        app: &Arc<App>,
        (kind, session): (Kind, SessionId),
        fingerprint: Fingerprint,
        work: W,
    ) -> Result<Reply<T>, Failure>
    where
        W: FnOnce(Arc<App>) -> F,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let open = app.sessions.take(kind, session)?;
        let Some(key) = self.0 else {
            let found = work(Arc::clone(app)).await?;
            drop(open);
            return Ok(Reply::new(app.world.clock.now(), &found));
        };
        let questions = Arc::clone(&open.questions);
        let work = || {
            let work = work(Arc::clone(app));
            async move {
                let _open = open;
                work.await
            }
        };
        let question = questions.begin(key, fingerprint, work)?;
        match question.outcome().await {
            Ok(found) => Ok(Reply::again(app.world.clock.now(), found)),
            Err(failure) => Err(failure.clone()),
        }
    }
}

/// How long the client prefers to wait, where it would rather be told later.
fn preferred(headers: &HeaderMap) -> Option<Duration> {
    let all = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let wishes: Vec<&str> = all.flat_map(|value| value.split([',', ';'])).map(str::trim).collect();
    if !wishes.iter().any(|wish| wish.eq_ignore_ascii_case("respond-async")) {
        return None;
    }
    let seconds = wishes.iter().find_map(|wish| wish.strip_prefix("wait=")?.parse().ok());
    Some(Duration::from_secs(seconds.unwrap_or(0)).min(WAIT_MAX))
}

const fn begun<T>(answer: Answer) -> Begun<T> {
    Begun(answer, PhantomData)
}

impl Asked {
    /// The same, whose end nobody waits for.
    pub(super) const fn at_once(self) -> Self {
        Self { wait: Some(Duration::ZERO), ..self }
    }

    /// Has work done, and answers with its result or with where to ask for it.
    pub(super) async fn operation<W, F, T>(
        self,
        app: &App,
        job: Job,
        fingerprint: Fingerprint,
        work: W,
    ) -> Result<Begun<T>, Failure>
    where
        W: FnOnce(Arc<Running>) -> F,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let running = app.operations.begin(self.key, job, fingerprint, work)?;
        running.wait(None, self.wait, &app.drain).await;
        let at = app.world.clock.now();
        let ended = running.ended(|outcome| match outcome {
            Ok(result) => Ok(success(StatusCode::OK, at, &result)),
            Err(failure) => Err(failure.clone()),
        });
        if let Some(ended) = ended {
            return ended.map(begun);
        }
        let mut answer = running.shown(|operation| success(StatusCode::ACCEPTED, at, &operation));
        if let Ok(place) = HeaderValue::from_str(&format!("{API}/operations/{}", running.id)) {
            answer.headers_mut().insert(LOCATION, place);
        }
        Ok(begun(answer))
    }

    /// The same on an open session, which the work counts as use of.
    pub(super) async fn on_session<W, F, T>(
        self,
        app: &Arc<App>,
        (kind, session): (Kind, SessionId),
        job: Job,
        fingerprint: Fingerprint,
        work: W,
    ) -> Result<Begun<T>, Failure>
    where
        W: FnOnce(Arc<App>) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let shared = Arc::clone(app);
        let work = |_| async move {
            let _open = shared.sessions.take(kind, session)?;
            work(Arc::clone(&shared)).await
        };
        self.operation(app, job, fingerprint, work).await
    }
}

/// The parts of a path by their names.
async fn parts_of(parts: &mut Parts, app: &Arc<App>) -> Result<BTreeMap<String, String>, Failure> {
    let found = Path::<BTreeMap<String, String>>::from_request_parts(parts, app).await;
    found.map(|found| found.0).map_err(|error| Failure::bad_request("path", error.body_text()))
}

fn named<'a>(parts: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    parts.get(name).map(String::as_str).unwrap_or_default()
}

/// One part of a path.
fn part<T>(name: &str, text: &str) -> Result<T, Failure>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|error: T::Err| Failure::bad_request(name, format!("the path's {name} is wrong: {error}")))
}

/// A resource in a path.
#[derive(Debug)]
pub(super) struct Named(pub(super) ResourceKey);

impl FromRequestParts<Arc<App>> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        resource(&parts_of(parts, app).await?).map(Self)
    }
}

fn resource(parts: &BTreeMap<String, String>) -> Result<ResourceKey, Failure> {
    Ok(ResourceKey::new(part("type", named(parts, "type"))?, part("id", named(parts, "id"))?))
}

/// A point of a resource in a path.
#[derive(Debug)]
pub(super) struct AtPoint {
    pub(super) resource: ResourceKey,
    pub(super) sequence: u64,
}

impl FromRequestParts<Arc<App>> for AtPoint {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let parts = parts_of(parts, app).await?;
        Ok(Self { resource: resource(&parts)?, sequence: part("sequence", named(&parts, "sequence"))? })
    }
}

/// A copy of a resource that was set aside, in a path.
#[derive(Debug)]
pub(super) struct SetAside {
    pub(super) resource: ResourceKey,
    pub(super) name: String,
}

impl FromRequestParts<Arc<App>> for SetAside {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let parts = parts_of(parts, app).await?;
        let name = named(&parts, "name");
        if !is_id(name) {
            return Err(Failure::bad_request("name", "the path's name is wrong".to_owned()));
        }
        Ok(Self { resource: resource(&parts)?, name: name.to_owned() })
    }
}

/// What a query asks.
#[derive(Debug)]
pub(super) struct Queried<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Queried<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let found = Query::<T>::from_request_parts(parts, app).await;
        found.map(|found| Self(found.0)).map_err(|error| Failure::bad_request("query", error.body_text()))
    }
}

/// Whatever has the one id in a path.
#[derive(Debug)]
pub(super) struct Called<T>(pub(super) T);

impl<T> FromRequestParts<Arc<App>> for Called<T>
where
    T: FromStr<Err: Display>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let found = Path::<String>::from_request_parts(parts, app).await;
        let found = found.map_err(|error| Failure::bad_request("path", error.body_text()))?;
        Ok(Self(part("id", &found.0)?))
    }
}

/// A session, or an operation, in a path.
#[derive(Debug)]
pub(super) struct Session(pub(super) uuid::Uuid);

impl FromRequestParts<Arc<App>> for Session {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let found = Path::<String>::from_request_parts(parts, app).await;
        let found = found.map_err(|error| Failure::bad_request("path", error.body_text()))?;
        Ok(Self(part("id", &found.0)?))
    }
}
