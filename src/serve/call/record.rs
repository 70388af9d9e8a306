//! Writes of records.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::{Answer, Failure};
use super::super::body::Json;
use super::super::limits::LARGE;
use super::super::router::App;
use super::ok;
use crate::live::RegionPort;
use crate::model::region::RecordChange;
use crate::wire::call::Recording;

pub(in super::super) async fn write(
    State(app): State<Arc<App>>,
    Json { value: Recording { authority, changes }, .. }: Json<Recording, LARGE>,
) -> Result<Answer, Failure> {
    let changes = changes.into_iter().enumerate().map(|(place, body)| {
        RecordChange::try_from(body).map_err(|error| {
            Failure::bad_request(&format!("changes[{place}].record.spec"), format!("the body is wrong: {error}"))
        })
    });
    let changes = changes.collect::<Result<Vec<_>, _>>()?;
    Ok(ok(&app, &app.region.record(&authority, &changes).await?))
}
