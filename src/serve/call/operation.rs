//! Operations that outlast their request: asked after, stopped.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::{Failure, Reply};
use super::super::asked::{Queried, Session, WAIT_MAX};
use super::super::operation::Running;
use super::super::router::App;
use super::ok;
use crate::model::OperationId;
use crate::wire::{FaultCode, Operation};

/// How long the answer may wait, and for what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Waiting {
    /// Wait for a higher version than this.
    after: Option<u64>,
    /// Wait at most so many seconds, and no longer than 20.
    wait: Option<u64>,
}

pub(in super::super) async fn show(
    State(app): State<Arc<App>>,
    Session(id): Session,
    Queried(Waiting { after, wait }): Queried<Waiting>,
) -> Result<Reply<Operation>, Failure> {
    let running = find(&app, id)?;
    let wait = Duration::from_secs(wait.unwrap_or(0)).min(WAIT_MAX);
    running.wait(after, Some(wait), &app.drain).await;
    Ok(running.shown(|operation| ok(&app, &operation).of_any()))
}

pub(in super::super) async fn cancel(
    State(app): State<Arc<App>>,
    Session(id): Session,
) -> Result<Reply<Operation>, Failure> {
    let running = find(&app, id)?;
    running.stop()?;
    Ok(running.shown(|operation| ok(&app, &operation).of_any()))
}

fn find(app: &App, id: uuid::Uuid) -> Result<Arc<Running>, Failure> {
    let unknown = || Failure::own(FaultCode::NotFound, format!("there is no operation {id}"));
    app.operations.find(OperationId(id)).ok_or_else(unknown)
}
