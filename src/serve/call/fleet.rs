//! Of the regions together, as this one knows them: the guide's questions.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::Deserialize;

use super::super::answer::{Answer, Failure};
use super::super::asked::Called;
use super::super::body::Empty;
use super::super::neighbour::unknown_region;
use super::super::router::App;
use super::ok;
use crate::fleet::{GlobalStatistics, RegionState, RegionStatistics, Witness};
use crate::live::RegionPort;
use crate::model::observed::{Observation, RegionStatus, Unobserved};
use crate::model::{RegionId, ResourceId};

/// Which regions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Filter {
    status: Option<String>,
}

pub(in super::super) async fn list(
    State(app): State<Arc<App>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Answer, Failure> {
    let Query(Filter { status }) = filter.map_err(|error| Failure::bad_request("query", error.body_text()))?;
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

pub(in super::super) async fn show(
    State(app): State<Arc<App>>,
    Called(region): Called<RegionId>,
) -> Result<Answer, Failure> {
    Ok(ok(&app, &one(&app, &region).await?))
}

pub(in super::super) async fn stats(
    State(app): State<Arc<App>>,
    Called(region): Called<RegionId>,
) -> Result<Answer, Failure> {
    Ok(ok(&app, &RegionStatistics::from(&one(&app, &region).await?)))
}

pub(in super::super) async fn global(State(app): State<Arc<App>>) -> Result<Answer, Failure> {
    Ok(ok(&app, &GlobalStatistics::of(&all(&app).await?)))
}

/// Asks now.
pub(in super::super) async fn health(
    State(app): State<Arc<App>>,
    Called(region): Called<RegionId>,
    _: Empty,
) -> Result<Answer, Failure> {
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

async fn one(app: &App, region: &RegionId) -> Result<RegionState, Failure> {
    let (witness, registry) = app.witness().await?;
    let mut states = app.states(&witness, &registry, std::slice::from_ref(region)).await;
    states.pop().ok_or_else(|| unknown_region(region))
}

pub(in super::super) async fn replication(
    State(app): State<Arc<App>>,
    Called(resource): Called<ResourceId>,
) -> Result<Answer, Failure> {
    let unknown = || {
        let message = format!("{} has no record of resource {resource}", app.region.region());
        Failure::own(StatusCode::NOT_FOUND, "not_found", message)
    };
    // Whether a copy is what its source is now, only a look at the files tells.
    let snapshot = app.region.snapshot().await?;
    let registry = snapshot.regions.clone();
    let mut witness = Witness::new(app.region.region().clone(), snapshot, app.world.clock.now());
    let key = witness.resource(&resource).cloned().ok_or_else(unknown)?;
    let (concerned, shared) = (witness.concerned(&key), &app);
    let asked = concerned.into_iter().filter_map(|region| {
        let port = shared.neighbour(&region, registry.get(&region)?)?;
        Some(async move {
            let began = shared.world.clock.since_boot();
            let observation = match port.snapshot().await {
                Ok(snapshot) => Observation::Answered {
                    snapshot: Box::new(snapshot),
                    latency: shared.world.clock.since_boot().saturating_sub(began),
                },
                Err(error) => Observation::Silent(Unobserved {
                    status: RegionStatus::Unknown,
                    reason: error.to_string(),
                    help: None,
                }),
            };
            (region, observation)
        })
    });
    let answers = join_all(asked).await;
    witness.learn(answers);
    Ok(ok(&app, &witness.replication(&key).ok_or_else(unknown)?))
}
