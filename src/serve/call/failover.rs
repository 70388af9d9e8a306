//! The guide's failovers: carried out by this region, and told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::{Created, Failure, Reply};
use super::super::asked::{Asked, Queried};
use super::super::body::Json;
use super::super::job::Job;
use super::super::operation::Running;
use super::super::router::App;
use super::ok;
use crate::model::RegionId;
use crate::model::event::FailoverEvent;
use crate::wire::failover::{ExecuteFailover, FailedOver};

/// Events that are told where nobody says how many.
const SHOWN: u32 = 50;
/// And at most.
const SHOWN_MAX: u32 = 1000;

/// Which failovers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Past {
    /// Only those from or to this region.
    region_id: Option<RegionId>,
    /// So many at most: 50 by default, 1000 at the most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// Answers 201 where something was done or tried, 200 where there was nothing to do.
pub(in super::super) async fn execute(
    State(app): State<Arc<App>>,
    asked: Asked,
    Json { value, fingerprint }: Json<ExecuteFailover>,
) -> Result<Created<FailedOver>, Failure> {
    let asked = if value.wait { asked } else { asked.at_once() };
    let (made, shared) = (Arc::new(AtomicBool::new(false)), Arc::clone(&app));
    let tells = Arc::clone(&made);
    let work = |running: Arc<Running>| async move {
        let done = shared.fail_over(value, &running).await?;
        tells.store(done.event_id.is_some(), Ordering::Release);
        Ok(done)
    };
    let mut begun = asked.operation(&app, Job::Failover, fingerprint, work).await?;
    if begun.0.status() == StatusCode::OK && made.load(Ordering::Acquire) {
        *begun.0.status_mut() = StatusCode::CREATED;
    }
    Ok(Created(begun))
}

pub(in super::super) async fn history(
    State(app): State<Arc<App>>,
    Queried(Past { region_id, limit }): Queried<Past>,
) -> Result<Reply<Vec<FailoverEvent>>, Failure> {
    let limit = limit.unwrap_or(SHOWN);
    if !(1..=SHOWN_MAX).contains(&limit) {
        return Err(Failure::bad_request("limit", format!("a limit is 1 to {SHOWN_MAX}")));
    }
    let events = app.failover_history(region_id.as_ref(), limit as usize).await?;
    Ok(ok(&app, &events))
}
