//! Of one resource: its points, its files by content, copies that were set aside.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};

use super::super::answer::{Answer, Failure};
use super::super::asked::{Asked, Named};
use super::super::body::{Empty, Json};
use super::super::job::Job;
use super::super::operation::Running;
use super::super::router::App;
use super::ok;
use crate::live::RegionPort;
use crate::model::id::is_id;
use crate::wire::call::{Ordered, Restore};

pub(in super::super) async fn points(State(app): State<Arc<App>>, Named(resource): Named) -> Result<Answer, Failure> {
    Ok(ok(&app, &app.region.points(&resource).await?))
}

pub(in super::super) async fn verify(
    State(app): State<Arc<App>>,
    asked: Asked,
    Named(resource): Named,
    Empty { fingerprint }: Empty,
) -> Result<Answer, Failure> {
    let region = app.region.clone();
    let work = |running: Arc<Running>| async move {
        running.is_about(resource.clone(), None);
        Ok(region.until(&running.cancel).verify(&resource).await?)
    };
    asked.operation(&app, Job::Verify, fingerprint, work).await
}

pub(in super::super) async fn restore(
    State(app): State<Arc<App>>,
    asked: Asked,
    Named(resource): Named,
    Json { value: order, fingerprint }: Json<Restore>,
) -> Result<Answer, Failure> {
    let shared = Arc::clone(&app);
    let work = |running: Arc<Running>| async move { shared.restore(&resource, &order, &running).await };
    asked.operation(&app, Job::Restore, fingerprint, work).await
}

pub(in super::super) async fn discard(
    State(app): State<Arc<App>>,
    Named(resource): Named,
    Path(parts): Path<BTreeMap<String, String>>,
    Json { value: Ordered { authority }, .. }: Json<Ordered>,
) -> Result<Answer, Failure> {
    let name = parts.get("name").filter(|name| is_id(name));
    let name = name.ok_or_else(|| Failure::bad_request("name", "the path's name is wrong".to_owned()))?;
    Ok(ok(&app, &app.region.discard(&authority, &resource, name).await?))
}
