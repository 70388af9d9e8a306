//! What this region can say of the fleet, and how it gets at the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;

use super::answer::Failure;
use super::fetch::Sought;
use super::router::App;
use crate::config::resolve_endpoint;
use crate::fleet::{RegionState, Witness};
use crate::live::{HttpRegion, RegionPort};
use crate::model::RegionId;
use crate::model::policy::HealthPolicy;
use crate::model::region::{RegionRecord, RegionSnapshot};
use crate::model::topology::Endpoint;
use crate::wire::FaultCode;
use crate::wire::region::RegionNumbers;

/// What is not registered.
pub(super) fn unknown_region(region: &RegionId) -> Failure {
    Failure::own(FaultCode::NotFound, format!("region {region} is not registered here"))
}

impl App {
    /// The port to another region; none where it is not served.
    pub(super) fn neighbour(&self, region: &RegionId, record: &RegionRecord) -> Option<Arc<HttpRegion>> {
        match resolve_endpoint(&record.spec.api_endpoint, Path::new("/")) {
            Some(Endpoint::Http(origin)) => {
                let timeout = record.spec.policy.health.timeout;
                Some(self.probes.region(&Sought { region, origin: &origin, timeout, connect: timeout }))
            }
            Some(Endpoint::Directory(_)) | None => None,
        }
    }

    /// The port to a region that is not registered yet. It is waited for as this region's own policy says.
    pub(super) fn newcomer(&self, region: &RegionId, origin: &str, own: &RegionSnapshot) -> Arc<HttpRegion> {
        let policy = own.regions.get(self.region.region()).map(|record| record.spec.policy.health.timeout);
        let timeout = policy.unwrap_or_else(|| HealthPolicy::default().timeout);
        self.probes.region(&Sought { region, origin, timeout, connect: timeout })
    }

    /// What this region knows without asking.
    pub(super) async fn witness(&self) -> Result<(Witness, BTreeMap<RegionId, RegionRecord>), Failure> {
        let recorded = self.region.recorded().await?;
        let registry = recorded.regions.clone();
        Ok((Witness::new(self.region.region().clone(), recorded, self.world.clock.now()), registry))
    }

    /// The regions `asked`, with what those that answer say of themselves.
    pub(super) async fn states(
        &self,
        witness: &Witness,
        registry: &BTreeMap<RegionId, RegionRecord>,
        asked: &[RegionId],
    ) -> Vec<RegionState> {
        let asked = asked.iter().map(|region| async move {
            let numbers = match registry.get(region).and_then(|record| self.neighbour(region, record)) {
                Some(port) if region != self.region.region() && witness.expects_answers_of(region) => {
                    self.numbers(&port, region).await
                }
                Some(_) | None => None,
            };
            witness.region(region, numbers.as_ref())
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// One of them.
    pub(super) async fn state_of(&self, region: &RegionId) -> Result<RegionState, Failure> {
        let (witness, registry) = self.witness().await?;
        let mut states = self.states(&witness, &registry, std::slice::from_ref(region)).await;
        states.pop().ok_or_else(|| unknown_region(region))
    }

    /// What a region says of itself; none where it does not say.
    pub(super) async fn numbers(&self, port: &HttpRegion, region: &RegionId) -> Option<RegionNumbers> {
        port.numbers()
            .await
            .inspect_err(|error| tracing::info!(%region, %error, "a region says nothing of itself"))
            .ok()
    }
}
