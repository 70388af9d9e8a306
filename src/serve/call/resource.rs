//! Of one resource: its points, its files by content, copies that were set aside.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;

use super::super::answer::{Begun, Failure, Reply};
use super::super::asked::{Asked, Named, SetAside};
use super::super::body::{Empty, Json};
use super::super::job::Job;
use super::super::operation::Running;
use super::super::router::App;
use super::ok;
use crate::live::RegionPort;
use crate::live::port::{ContentCheck, Drilled, Replaced};
use crate::model::point::Point;
use crate::wire::call::{Drill, Ordered, Restore};

/// The longest that a drill's machine runs.
const DRILL_MAX: Duration = Duration::from_secs(3600);

pub(in super::super) async fn points(
    State(app): State<Arc<App>>,
    Named(resource): Named,
) -> Result<Reply<Vec<Point>>, Failure> {
    Ok(ok(&app, &app.region.points(&resource).await?))
}

pub(in super::super) async fn verify(
    State(app): State<Arc<App>>,
    asked: Asked,
    Named(resource): Named,
    Empty { fingerprint }: Empty,
) -> Result<Begun<ContentCheck>, Failure> {
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
) -> Result<Begun<Replaced>, Failure> {
    let shared = Arc::clone(&app);
    let work = |running: Arc<Running>| async move { shared.restore(&resource, &order, &running).await };
    asked.operation(&app, Job::Restore, fingerprint, work).await
}

pub(in super::super) async fn drill(
    State(app): State<Arc<App>>,
    asked: Asked,
    Named(resource): Named,
    Json { value: Drill { watched }, fingerprint }: Json<Drill>,
) -> Result<Begun<Drilled>, Failure> {
    if watched > DRILL_MAX {
        return Err(Failure::bad_request("watched", "a drill takes an hour at most".to_owned()));
    }
    let region = app.region.clone();
    let work = |running: Arc<Running>| async move {
        running.is_about(resource.clone(), None);
        Ok(region.drill(&resource, watched, &running.cancel).await?)
    };
    asked.operation(&app, Job::Drill, fingerprint, work).await
}

pub(in super::super) async fn discard(
    State(app): State<Arc<App>>,
    SetAside { resource, name }: SetAside,
    Json { value: Ordered { authority }, .. }: Json<Ordered>,
) -> Result<Reply<()>, Failure> {
    Ok(ok(&app, &app.region.discard(&authority, &resource, &name).await?))
}
