//! Operations that outlast their request: asked after, stopped.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::super::answer::{Answer, Failure};
use super::super::asked::{Session, WAIT_MAX};
use super::super::operation::Running;
use super::super::router::App;
use super::ok;
use crate::model::OperationId;

/// How long the answer may wait, and for what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Waiting {
    /// For a higher version than this.
    after: Option<u64>,
    /// At most so many seconds.
    wait: Option<u64>,
}

pub(in super::super) async fn show(
    State(app): State<Arc<App>>,
    Session(id): Session,
    waiting: Result<Query<Waiting>, QueryRejection>,
) -> Result<Answer, Failure> {
    let Query(Waiting { after, wait }) = waiting.map_err(|error| Failure::bad_request("query", error.body_text()))?;
    let running = find(&app, id)?;
    let wait = Duration::from_secs(wait.unwrap_or(0)).min(WAIT_MAX);
    running.wait(after, Some(wait), &app.drain).await;
    Ok(running.shown(|operation| ok(&app, &operation)))
}

pub(in super::super) async fn cancel(State(app): State<Arc<App>>, Session(id): Session) -> Result<Answer, Failure> {
    let running = find(&app, id)?;
    running.stop()?;
    Ok(running.shown(|operation| ok(&app, &operation)))
}

fn find(app: &App, id: uuid::Uuid) -> Result<Arc<Running>, Failure> {
    let unknown = || Failure::own(StatusCode::NOT_FOUND, "not_found", format!("there is no operation {id}"));
    app.operations.find(OperationId(id)).ok_or_else(unknown)
}
