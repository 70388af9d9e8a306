//! The guide's orders: a person asks this region, and it sees to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::answer::{Begun, Created, Failure};
use super::super::asked::Asked;
use super::super::body::Json;
use super::super::job::Job;
use super::super::operation::Running;
use super::super::order::{RegisteredRegion, Replicated, Synced};
use super::super::router::App;
use crate::fleet::Made;
use crate::live::RegionPort;
use crate::wire::region::{RegisterRegion, ReplicateVm, ReplicationConfig, ReplicationPair, SyncResource, WhichPair};

/// Has the order carried out once for its key, and answers 201 where that made something.
async fn make<B, T, F>(
    app: Arc<App>,
    asked: Asked,
    job: Job,
    Json { value, fingerprint }: Json<B>,
    order: impl FnOnce(Arc<App>, B, Arc<Running>) -> F + Send + 'static,
) -> Result<Created<T>, Failure>
where
    B: DeserializeOwned + Send + 'static,
    F: Future<Output = Result<Made<T>, Failure>> + Send + 'static,
    T: Serialize + Send + 'static,
{
    let (made, shared) = (Arc::new(AtomicBool::new(false)), Arc::clone(&app));
    let tells = Arc::clone(&made);
    let work = |running: Arc<Running>| async move {
        let Made { data, is_new } = order(shared, value, running).await?;
        tells.store(is_new, Ordering::Release);
        Ok(data)
    };
    let mut begun = asked.operation(&app, job, fingerprint, work).await?;
    if begun.0.status() == StatusCode::OK && made.load(Ordering::Acquire) {
        *begun.0.status_mut() = StatusCode::CREATED;
    }
    Ok(Created(begun))
}

pub(in super::super) async fn register(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Json<RegisterRegion>,
) -> Result<Created<RegisteredRegion>, Failure> {
    make(
        app,
        asked,
        Job::RegisterRegion,
        body,
        |app, body, running| async move { app.register(body, running.id).await },
    )
    .await
}

pub(in super::super) async fn set_up(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Json<ReplicationConfig>,
) -> Result<Created<ReplicationPair>, Failure> {
    make(
        app,
        asked,
        Job::SetUpReplication,
        body,
        |app, body, running| async move { app.set_up(body, running.id).await },
    )
    .await
}

pub(in super::super) async fn pause(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Json<WhichPair>,
) -> Result<Begun<ReplicationPair>, Failure> {
    rest(app, asked, body, true).await
}

pub(in super::super) async fn resume(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Json<WhichPair>,
) -> Result<Begun<ReplicationPair>, Failure> {
    rest(app, asked, body, false).await
}

async fn rest(
    app: Arc<App>,
    asked: Asked,
    Json { value, fingerprint }: Json<WhichPair>,
    paused: bool,
) -> Result<Begun<ReplicationPair>, Failure> {
    let shared = Arc::clone(&app);
    let job = if paused { Job::PauseReplication } else { Job::ResumeReplication };
    let work = move |running: Arc<Running>| async move { shared.pause(value, paused, running.id).await };
    asked.operation(&app, job, fingerprint, work).await
}

pub(in super::super) async fn replicate(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Json<ReplicateVm>,
) -> Result<Created<Replicated>, Failure> {
    make(app, asked, Job::ReplicateVm, body, |app, body, running| async move { app.replicate(body, running.id).await })
        .await
}

pub(in super::super) async fn sync(
    State(app): State<Arc<App>>,
    asked: Asked,
    Json { value, fingerprint }: Json<SyncResource>,
) -> Result<Begun<Synced>, Failure> {
    let shared = Arc::clone(&app);
    let job = if value.target_region_id == *app.region.region() { Job::Sync } else { Job::SyncElsewhere };
    let work = |running: Arc<Running>| async move { shared.sync(value, &running).await };
    asked.operation(&app, job, fingerprint, work).await
}
