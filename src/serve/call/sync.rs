//! The region fetches a resource by itself.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::{Begun, Failure};
use super::super::asked::Asked;
use super::super::body::Json;
use super::super::job::Job;
use super::super::operation::Running;
use super::super::router::App;
use crate::replica::transfer::SyncReport;
use crate::wire::call::Fetch;

pub(in super::super) async fn begin(
    State(app): State<Arc<App>>,
    asked: Asked,
    Json { value: Fetch { order, options }, fingerprint }: Json<Fetch>,
) -> Result<Begun<SyncReport>, Failure> {
    let shared = Arc::clone(&app);
    let work = |running: Arc<Running>| async move { shared.fetch(&shared.region, &order, &options, &running).await };
    asked.operation(&app, Job::Sync, fingerprint, work).await
}
