//! Every request's way: its name, who asks, whether there is room, its call, and the line in the log.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{self, Next};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Failure};
use super::auth::Access;
use super::fetch::Fetches;
use super::limits::REQUEST_TIME;
use super::numbers::Numbers;
use super::operation::Operations;
use super::probe::Probes;
use super::restore::Restores;
use super::route::OPEN;
use super::routes::routes;
use super::seal::Sealing;
use super::session::{Kind, Sessions};
use crate::host::Host;
use crate::model::World;
use crate::region::LocalRegion;
use crate::replica::port::{SessionId, Source, Target};
use crate::wire::{FaultCode, REQUEST_ID};

/// What all requests share.
#[derive(Debug)]
pub(super) struct App {
    pub(super) region: LocalRegion,
    pub(super) world: World,
    /// Who acts here for the region.
    pub(super) host: Host,
    pub(super) access: Access,
    pub(super) operations: Operations,
    pub(super) sessions: Arc<Sessions>,
    pub(super) fetches: Fetches,
    pub(super) restores: Restores,
    pub(super) probes: Probes,
    pub(super) numbers: Numbers,
    /// Cancelled when the server is to end.
    pub(super) drain: CancellationToken,
    pub(super) room: Semaphore,
}

impl App {
    /// Closes sessions that nobody goes on with.
    pub(super) async fn close(&self, sessions: Vec<(Kind, SessionId)>) {
        for (kind, session) in sessions {
            let closed = match kind {
                Kind::Reading => self.region.close_reading(session).await.map(drop),
                Kind::Receiving => self.region.close_receiving(session).await,
            };
            if let Err(error) = closed {
                tracing::info!(%session, ?kind, %error, "a session that nobody closed did not end well");
            }
        }
    }

    /// Closes sessions whose lease runs out, until the server is to end.
    pub(super) async fn sweep(&self) {
        loop {
            tokio::select! {
                () = self.drain.cancelled() => return,
                () = tokio::time::sleep(self.sessions.pace()) => {}
            }
            let expired = self.sessions.expired();
            if !expired.is_empty() {
                tracing::info!(sessions = expired.len(), "leases ran out");
            }
            self.close(expired).await;
        }
    }
}

/// How a request's connection was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected {
    /// From where.
    pub(super) peer: SocketAddr,
    /// Whether a certificate of the client authority was shown.
    pub(super) certificate: bool,
}

/// Who asks after an operation mostly waits, and takes no room from those who work.
const WAITING: &str = "/api/v1/operations/{id}";

/// Answers what the table has.
pub(super) fn router(app: &Arc<App>) -> Router {
    let table = routes().into_iter().fold(Router::new(), |router, route| {
        let is_short = route.is_short();
        let (path, handler) = route.into_parts();
        let handler = if is_short { handler.layer(middleware::from_fn(in_time)) } else { handler };
        router.route(&path, handler)
    });
    table.layer(middleware::from_fn_with_state(Arc::clone(app), around)).with_state(Arc::clone(app))
}

/// Ends a request that takes too long. What it began goes on where it cannot be stopped.
async fn in_time(request: Request, next: Next) -> Answer {
    use axum::response::IntoResponse;
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let message = "the region did not get it done in time".to_owned();
            Failure::own(FaultCode::Timeout, message).into_response()
        }
    }
}

async fn around(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Answer {
    let began = app.world.clock.since_boot();
    let id = request_id(request.headers()).unwrap_or_else(|| app.world.ids.random().to_string());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let connected = request.extensions().get::<Connected>().copied();
    let open = OPEN.contains(&path.as_str());
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());

    let certificate = connected.is_some_and(|connected| connected.certificate);
    let admitted = if open { None } else { Some(app.access.admit(request.headers(), certificate)) };
    let who = match &admitted {
        Some(Ok(who)) => who.to_string(),
        Some(Err(_)) | None => "nobody".to_owned(),
    };
    let (sealing, whole) = Sealing::of(&request);
    let answer = match (admitted, whole) {
        (Some(Err(failure)), _) | (_, Err(failure)) => Err(failure),
        (Some(Ok(_)) | None, Ok(())) => {
            request.extensions_mut().insert(Arc::clone(&sealing));
            let works = route.as_deref() != Some(WAITING);
            run(&app, works, request, next).await
        }
    };
    let now = app.world.clock.now();
    let answer = match answer {
        Ok(answer) => told(answer, now),
        Err(failure) => failure.answer(now),
    };
    let mut answer = sealing.seal(answer).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }

    let took = app.world.clock.since_boot().saturating_sub(began);
    let status = answer.status().as_u16();
    let from = connected.map(|connected| connected.peer.to_string()).unwrap_or_default();
    let (path, duration_ms) = (shown(&path), took.as_micros() as f64 / 1e3);
    // Whoever is not let in, or asks for what is not there, makes no rows of its own.
    let route = route.unwrap_or_else(|| "none".to_owned());
    app.numbers.request(method.as_str(), &route, status, took);
    if open {
        tracing::debug!(request_id = id, %method, path, status, duration_ms, who, from, route, "request");
    } else {
        tracing::info!(request_id = id, %method, path, status, duration_ms, who, from, route, "request");
    }
    answer
}

async fn run(app: &App, works: bool, request: Request, next: Next) -> Result<Answer, Failure> {
    let room = works.then(|| app.room.try_acquire()).transpose();
    let Ok(_room) = room else {
        return Err(Failure::busy("the region's server answers as many requests as it can; ask again"));
    };
    AssertUnwindSafe(next.run(request)).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(panic = text, "a request met a mistake of the program");
        Failure::bug()
    })
}

/// Gives an answer that failed its words.
fn told(mut answer: Answer, now: crate::model::Timestamp) -> Answer {
    let status = answer.status();
    if let Some(failure) = answer.extensions_mut().remove::<Failure>() {
        return failure.answer(now);
    }
    if !status.is_client_error() && !status.is_server_error() {
        return answer;
    }
    let mut words = Failure::of_status(status).answer(now);
    // Such as `Allow`.
    for (name, value) in answer.headers() {
        if !words.headers().contains_key(name) && name != "content-length" {
            words.headers_mut().insert(name, value.clone());
        }
    }
    words
}

/// The client's own name for its request, where it can stand in a log.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    sane.then(|| text.to_owned())
}

/// As much of a path as a line of the log takes.
fn shown(path: &str) -> String {
    const SHOWN: usize = 200;
    if path.len() <= SHOWN { path.to_owned() } else { path.chars().take(SHOWN).chain(['…']).collect() }
}
