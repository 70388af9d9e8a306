//! Of the regions together, as this one knows them: the guide's questions.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::{Failure, Reply};
use super::super::asked::{Called, Queried};
use super::super::body::Empty;
use super::super::neighbour::unknown_region;
use super::super::router::App;
use super::ok;
use crate::fleet::{GlobalStatistics, RegionState, RegionStatistics, ReplicationStatus};
use crate::live::RegionPort;
use crate::model::observed::RegionStatus;
use crate::model::region::RegionSnapshot;
use crate::model::{RegionId, ResourceId};
use crate::wire::FaultCode;
use crate::wire::region::{RegionHealth, ReplicationPair};

/// Which regions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Filter {
    /// Only those that look like this from here.
    #[schemars(with = "Option<RegionStatus>")]
    status: Option<String>,
}

pub(in super::super) async fn list(
    State(app): State<Arc<App>>,
    Queried(Filter { status }): Queried<Filter>,
) -> Result<Reply<Vec<RegionState>>, Failure> {
    let status = status.map(|text| {
        let known = RegionStatus::ALL.into_iter().find(|status| status.as_str() == text);
        let names = RegionStatus::ALL.map(RegionStatus::as_str).join(", ");
        known.ok_or_else(|| Failure::bad_request("status", format!("a status is one of {names}")))
    });
    let status = status.transpose()?;
    let mut states = all(&app).await?;
    states.retain(|state| status.is_none_or(|status| state.status == status));
    Ok(ok(&app, &states))
}

pub(in super::super) async fn pairs(State(app): State<Arc<App>>) -> Result<Reply<Vec<ReplicationPair>>, Failure> {
    let recorded = app.region.recorded().await?;
    let pairs: Vec<ReplicationPair> =
        recorded.pairs.iter().map(|(pair, record)| ReplicationPair::of(pair, &record.spec)).collect();
    Ok(ok(&app, &pairs))
}

pub(in super::super) async fn show(
    State(app): State<Arc<App>>,
    Called(region): Called<RegionId>,
) -> Result<Reply<RegionState>, Failure> {
    Ok(ok(&app, &app.state_of(&region).await?))
}

pub(in super::super) async fn stats(
    State(app): State<Arc<App>>,
    Called(region): Called<RegionId>,
) -> Result<Reply<RegionStatistics>, Failure> {
    let state = app.state_of(&region).await?;
    Ok(ok(&app, &RegionStatistics::of(&state, &app.failover_history(Some(&region), usize::MAX).await?)))
}

pub(in super::super) async fn global(State(app): State<Arc<App>>) -> Result<Reply<GlobalStatistics>, Failure> {
    let states = all(&app).await?;
    Ok(ok(&app, &GlobalStatistics::of(&states, &app.failover_history(None, usize::MAX).await?)))
}

/// Asks now.
pub(in super::super) async fn health(
    State(app): State<Arc<App>>,
    Called(region): Called<RegionId>,
    _: Empty,
) -> Result<Reply<RegionHealth>, Failure> {
    let neighbourhood = app.region.neighbourhood().await?.unwrap_or_default();
    if let Some(record) = neighbourhood.regions.get(&region) {
        app.ask(&region, record, &neighbourhood.policy).await;
    }
    let (witness, _) = app.witness().await?;
    Ok(ok(&app, &witness.health(&region).ok_or_else(|| unknown_region(&region))?))
}

async fn all(app: &App) -> Result<Vec<RegionState>, Failure> {
    let (witness, registry) = app.witness().await?;
    let regions: Vec<RegionId> = witness.registered().cloned().collect();
    Ok(app.states(&witness, &registry, &regions).await)
}

pub(in super::super) async fn replication(
    State(app): State<Arc<App>>,
    Called(resource): Called<ResourceId>,
) -> Result<Reply<ReplicationStatus>, Failure> {
    let unknown = || {
        let message = format!("{} has no record of resource {resource}", app.region.region());
        Failure::own(FaultCode::NotFound, message)
    };
    // Whether a copy is what its source is now, only a look at the files tells.
    let (mut witness, registry) = app.witness().await?;
    let key = witness.resource(&resource).cloned().ok_or_else(unknown)?;
    let own = app.region.snapshot_of(&key).await?;
    let (work, failed_copies) = (app.operations.work(), app.operations.failed_copies());
    witness.says(RegionSnapshot { work, failed_copies, ..own });
    let reached = |region: RegionId| Some((region.clone(), app.neighbour(&region, registry.get(&region)?)?));
    let ports = witness.concerned(&key).into_iter().filter_map(reached);
    witness.ask(ports, &key, &*app.world.clock).await;
    Ok(ok(&app, &witness.replication(&key).ok_or_else(unknown)?))
}
