//! The server's numbers, for Prometheus.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::{Failure, Numbers};
use super::super::router::App;
use super::super::session::Kind;
use crate::live::RegionPort;
use crate::model::event::FailoverTally;
use crate::wire::served::RecordedMetrics;

pub(in super::super) async fn show(State(app): State<Arc<App>>) -> Numbers {
    let mut served = app.numbers.served(app.region.region());
    served.operations = app.operations.under_way() as u64;
    served.readings = app.sessions.count(Kind::Reading) as u64;
    served.receivings = app.sessions.count(Kind::Receiving) as u64;
    served.sightings = app.region.sightings();
    let now = app.world.clock.since_boot();
    served.recorded = app.numbers.recorded(now, || recorded(&app)).await;
    Numbers(served.to_text())
}

/// None where the region's records cannot be read: what the server counts is told all the same.
async fn recorded(app: &App) -> Option<RecordedMetrics> {
    let read = async {
        let (witness, _) = app.witness().await?;
        let failovers = app.failover_history(None, usize::MAX).await?;
        Ok(witness.recorded(FailoverTally::of(&failovers)))
    };
    let read: Result<_, Failure> = read.await;
    read.inspect_err(|error| tracing::warn!(?error, "the region's records cannot be read for its numbers")).ok()?
}
