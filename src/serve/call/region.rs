//! Of the region as a whole: whether it answers, what it holds, its founding, who controls it.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::answer::{Begun, Failure, Reply};
use super::super::asked::{Asked, Queried};
use super::super::body::{Empty, Json};
use super::super::job::Job;
use super::super::operation;
use super::super::router::App;
use super::ok;
use crate::failover::Order;
use crate::live::RegionPort;
use crate::live::port::Carried;
use crate::model::audit::Audited;
use crate::model::region::{Identity, RegionSnapshot};
use crate::model::running::Running;
use crate::model::{Digest, ResourceKey};
use crate::wire::call::{Controlling, Inquiry, Ordered, Pausing, Told};

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

/// Of what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Only {
    /// Only of this resource: no other's files are looked at, and regions are left out.
    resource: Option<ResourceKey>,
    /// With `true`, only what the region has recorded: no resource's files are looked at. Not together with `resource`.
    #[serde(default)]
    records: bool,
}

pub(in super::super) async fn snapshot(
    State(app): State<Arc<App>>,
    Queried(Only { resource, records }): Queried<Only>,
) -> Result<Reply<RegionSnapshot>, Failure> {
    let snapshot = match &resource {
        Some(_) if records => {
            return Err(Failure::bad_request(
                "records",
                "ask for `resource`, or for `records`, not for both".to_owned(),
            ));
        }
        Some(resource) => {
            let own = app.region.snapshot_of(resource).await?;
            let work = app.operations.work();
            let work = work.into_iter().filter(|work| work.resource.as_ref() == Some(resource)).collect();
            let mut failed_copies = app.operations.failed_copies();
            failed_copies.retain(|key, _| key == resource);
            RegionSnapshot { work, failed_copies, ..own }
        }
        None => {
            let own = if records { app.region.snapshot_of_records().await? } else { app.region.snapshot().await? };
            let (work, failed_copies) = (app.operations.work(), app.operations.failed_copies());
            RegionSnapshot { work, failed_copies, ..own }
        }
    };
    // Of a large region it takes a while, in which others are answered.
    let written = tokio::task::spawn_blocking(move || ok(&app, &snapshot));
    written.await.map_err(|_| Failure::bug())
}

pub(in super::super) async fn standings(
    State(app): State<Arc<App>>,
    Json { value: Inquiry { machines, known }, .. }: Json<Inquiry>,
) -> Result<Reply<Told>, Failure> {
    let standings = app.region.standings(&machines).await?;
    let digest = Digest::of(&serde_json::to_vec(&standings).expect("plain data with text keys converts to JSON"));
    Ok(ok(&app, &Told { digest, standings: (known != Some(digest)).then_some(standings) }))
}

pub(in super::super) async fn keep_pause(
    State(app): State<Arc<App>>,
    Json { value: Pausing { pause }, .. }: Json<Pausing>,
) -> Result<Reply<()>, Failure> {
    Ok(ok(&app, &app.region.keep_pause(pause.as_ref()).await?))
}

pub(in super::super) async fn order(
    State(app): State<Arc<App>>,
    asked: Asked,
    Json { value: order, fingerprint }: Json<Order>,
) -> Result<Begun<Carried>, Failure> {
    let region = app.region.clone();
    let work = |_| async move { Ok(region.order(&order).await?) };
    asked.operation(&app, Job::Order, fingerprint, work).await
}

pub(in super::super) async fn audit(
    State(app): State<Arc<App>>,
    asked: Asked,
    Empty { fingerprint }: Empty,
) -> Result<Begun<Audited>, Failure> {
    let region = app.region.clone();
    let work = |running: Arc<operation::Running>| async move { Ok(region.audit(&running.cancel).await?) };
    asked.operation(&app, Job::Audit, fingerprint, work).await
}

pub(in super::super) async fn running(State(app): State<Arc<App>>) -> Result<Reply<Running>, Failure> {
    Ok(ok(&app, &app.region.running().await?))
}

pub(in super::super) async fn found(
    State(app): State<Arc<App>>,
    Json { value: Ordered { authority }, .. }: Json<Ordered>,
) -> Result<Reply<Identity>, Failure> {
    Ok(ok(&app, &app.region.found(&authority).await?))
}

pub(in super::super) async fn control(
    State(app): State<Arc<App>>,
    Json { value: Controlling { control, peers }, .. }: Json<Controlling>,
) -> Result<Reply<()>, Failure> {
    Ok(ok(&app, &app.region.control(&control, &peers).await?))
}
