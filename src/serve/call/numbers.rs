//! The server's numbers, for Prometheus.

use std::sync::Arc;

use axum::extract::State;

use super::super::answer::Numbers;
use super::super::router::App;
use super::super::session::Kind;
use crate::live::RegionPort;

pub(in super::super) async fn show(State(app): State<Arc<App>>) -> Numbers {
    let mut served = app.numbers.served(app.region.region());
    served.operations = app.operations.under_way() as u64;
    served.readings = app.sessions.count(Kind::Reading) as u64;
    served.receivings = app.sessions.count(Kind::Receiving) as u64;
    served.sightings = app.region.sightings();
    Numbers(served.to_text())
}
