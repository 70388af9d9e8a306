//! Of the region as a whole: whether it answers, what it holds, its founding, who controls it.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::answer::{Failure, Reply};
use super::super::body::Json;
use super::super::router::App;
use super::ok;
use crate::live::RegionPort;
use crate::model::region::{Identity, RegionSnapshot};
use crate::wire::call::Ordered;

/// What `health` says.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Health {
    /// Which service this is: `multi-region`.
    service: &'static str,
    /// How it is: `operational`.
    status: &'static str,
}

pub(in super::super) async fn health(State(app): State<Arc<App>>) -> Reply<Health> {
    ok(&app, &Health { service: "multi-region", status: "operational" })
}

pub(in super::super) async fn snapshot(State(app): State<Arc<App>>) -> Result<Reply<RegionSnapshot>, Failure> {
    let snapshot = RegionSnapshot { work: app.operations.work(), ..app.region.snapshot().await? };
    // Of a large region it takes a while, in which others are answered.
    let written = tokio::task::spawn_blocking(move || ok(&app, &snapshot));
    written.await.map_err(|_| Failure::bug())
}

pub(in super::super) async fn found(
    State(app): State<Arc<App>>,
    Json { value: Ordered { authority }, .. }: Json<Ordered>,
) -> Result<Reply<Identity>, Failure> {
    Ok(ok(&app, &app.region.found(&authority).await?))
}

pub(in super::super) async fn take_control(
    State(app): State<Arc<App>>,
    Json { value: Ordered { authority }, .. }: Json<Ordered>,
) -> Result<Reply<()>, Failure> {
    Ok(ok(&app, &app.region.take_control(&authority).await?))
}
