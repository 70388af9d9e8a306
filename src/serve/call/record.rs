//! Writes of records.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::{Failure, Reply};
use super::super::body::Json;
use super::super::limits::LARGE;
use super::super::router::App;
use super::ok;
use crate::live::RegionPort;
use crate::model::region::RecordChange;
use crate::wire::call::{ByHand, Recording};
use crate::wire::record::RecordChangeBody;

pub(in super::super) async fn write(
    State(app): State<Arc<App>>,
    Json { value: Recording { authority, changes }, .. }: Json<Recording, LARGE>,
) -> Result<Reply<()>, Failure> {
    let changes = understood(changes)?;
    Ok(ok(&app, &app.region.record(&authority, &changes).await?))
}

pub(in super::super) async fn write_by_hand(
    State(app): State<Arc<App>>,
    Json { value: ByHand { operation, changes }, .. }: Json<ByHand, LARGE>,
) -> Result<Reply<()>, Failure> {
    let changes = understood(changes)?;
    if let Some(place) =
        changes.iter().position(|change| change.record.as_ref().is_some_and(|it| it.managed_by.is_some()))
    {
        let field = format!("changes[{place}].record.managed_by");
        return Err(Failure::bad_request(&field, "what is written by hand belongs to nobody".to_owned()));
    }
    Ok(ok(&app, &app.region.record_by_hand(operation, &changes).await?))
}

fn understood(changes: Vec<RecordChangeBody>) -> Result<Vec<RecordChange>, Failure> {
    let changes = changes.into_iter().enumerate().map(|(place, body)| {
        RecordChange::try_from(body).map_err(|error| {
            Failure::bad_request(&format!("changes[{place}].record.spec"), format!("the body is wrong: {error}"))
        })
    });
    changes.collect()
}
