//! Asks the other regions of the registry whether they are there, each at the pace of this region's own policy, and
//! when somebody wants to know now.
//!
//! Owns when they are asked. What an answer or its lack means is [`model::sighting`](crate::model::sighting)'s, what is
//! known and kept is the region's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::fetch::{Peers, Sought};
use super::router::App;
use crate::config::resolve_endpoint;
use crate::live::HttpRegion;
use crate::model::RegionId;
use crate::model::policy::HealthPolicy;
use crate::model::region::RegionRecord;
use crate::model::sighting::Probe;
use crate::model::topology::Endpoint;

/// Answers of one region that are waited for beyond the timeout, at once.
const LATE: usize = 8;
/// What no policy can make it be faster than.
const PACE_MIN: Duration = Duration::from_millis(50);
/// All of them are begun to be asked within this time, not at once.
const SPREAD: Duration = Duration::from_secs(1);
/// How often to look for a registry where there is none yet.
const UNFOUNDED: Duration = Duration::from_millis(500);

/// The ports that other regions are asked through.
#[derive(Debug)]
pub(super) struct Probes {
    peers: Arc<dyn Peers>,
    ports: Mutex<BTreeMap<RegionId, Port>>,
    tasks: TaskTracker,
}

/// One region's, for as long as its endpoint and the policy stay.
#[derive(Debug, Clone)]
struct Port {
    origin: String,
    policy: HealthPolicy,
    region: Arc<HttpRegion>,
    late: Arc<Semaphore>,
}

impl Probes {
    pub(super) fn new(peers: Arc<dyn Peers>) -> Self {
        Self { peers, ports: Mutex::default(), tasks: TaskTracker::new() }
    }

    /// Another region's port, for other questions than whether it is there.
    pub(super) fn region(&self, sought: &Sought<'_>) -> Arc<HttpRegion> {
        self.peers.region(sought)
    }

    fn port(&self, region: &RegionId, record: &RegionRecord, policy: &HealthPolicy) -> Option<Port> {
        let origin = match resolve_endpoint(&record.spec.api_endpoint, Path::new("/")) {
            Some(Endpoint::Http(origin)) => origin,
            Some(Endpoint::Directory(_)) | None => return None,
        };
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = ports.get(region).filter(|port| port.origin == origin && port.policy == *policy) {
            return Some(port.clone());
        }
        // A connection that takes long is no silence either.
        let sought = Sought { region, origin: &origin, timeout: policy.timeout, connect: patience(policy) };
        let made = Port {
            region: self.peers.region(&sought),
            late: Arc::new(Semaphore::new(LATE)),
            policy: policy.clone(),
            origin,
        };
        ports.insert(region.clone(), made.clone());
        Some(made)
    }
}

/// How long an answer is waited for: less than that is no silence that counts.
fn patience(policy: &HealthPolicy) -> Duration {
    policy.detect_for.max(policy.timeout)
}

impl App {
    /// Asks all of them, again and again, until the server is to end.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            let pace = self.round().await;
            tokio::select! {
                () = self.drain.cancelled() => break,
                () = tokio::time::sleep(pace) => {}
            }
        }
        self.probes.tasks.close();
        self.probes.tasks.wait().await;
        if let Err(error) = self.region.keep_sightings(true).await {
            tracing::warn!(%error, "what was last seen of other regions could not be written");
        }
    }

    /// Begins to ask all of them, one after the other; gives the time to the next round.
    async fn round(self: &Arc<Self>) -> Duration {
        let neighbourhood = match self.region.neighbourhood().await {
            Ok(Some(neighbourhood)) => neighbourhood,
            Ok(None) => return UNFOUNDED,
            Err(error) => {
                tracing::warn!(%error, "the registry cannot be read");
                return UNFOUNDED;
            }
        };
        let policy = Arc::new(neighbourhood.policy);
        let pace = policy.probe_interval.max(PACE_MIN);
        let all = u32::try_from(neighbourhood.regions.len()).unwrap_or(u32::MAX);
        for (place, (region, record)) in (0..all).zip(neighbourhood.regions) {
            let (app, policy) = (Arc::clone(self), Arc::clone(&policy));
            self.probes.tasks.spawn(async move {
                tokio::select! {
                    () = app.drain.cancelled() => return,
                    () = tokio::time::sleep(pace.min(SPREAD) / all * place) => {}
                }
                app.ask(&region, &record, &policy).await;
            });
        }
        pace
    }

    /// Asks one region now; comes back when there is an answer or the timeout has passed. None where it is not served.
    pub(super) async fn ask(
        self: &Arc<Self>,
        region: &RegionId,
        record: &RegionRecord,
        policy: &HealthPolicy,
    ) -> Option<()> {
        let Port { region: port, late, policy, origin: _ } = self.probes.port(region, record, policy)?;
        let began = self.world.clock.since_boot();
        let place = late.try_acquire_owned();
        let patience = if place.is_ok() { patience(&policy) } else { policy.timeout };
        let (timeout, asked) = (policy.timeout, policy.clone());
        let probed = Arc::clone(&port);
        let mut asking = Box::pin(async move { probed.probe_for(&asked, patience).await });
        let probe = tokio::select! {
            () = self.drain.cancelled() => return Some(()),
            probe = tokio::time::timeout(timeout, &mut asking) => probe,
        };
        match probe {
            Ok(probe) => {
                self.met(region, &probe, began, &policy).await;
                if self.region.is_returning(region) && matches!(probe, Probe::Answered { .. }) {
                    self.ask_whether_caught_up(region, record).await;
                }
            }
            Err(_) => {
                self.met(region, &port.not_within(timeout), began, &policy).await;
                let (app, region) = (Arc::clone(self), region.clone());
                self.probes.tasks.spawn(async move {
                    let _place = place;
                    let late = tokio::select! {
                        () = app.drain.cancelled() => return,
                        late = asking => late,
                    };
                    // That it was silent is known.
                    if matches!(late, Probe::Answered { .. }) {
                        app.met(&region, &late, began, &policy).await;
                    }
                });
            }
        }
        Some(())
    }

    /// A region that came back is recovering until its copies are newer than its return.
    async fn ask_whether_caught_up(&self, region: &RegionId, record: &RegionRecord) {
        let Some(port) = self.neighbour(region, record) else { return };
        // One that says nothing of itself is judged by what is kept here.
        let numbers = self.numbers(&port, region).await.unwrap_or_default();
        let it_keeps = numbers.replication_lag_seconds.and_then(|lag| Duration::try_from_secs_f64(lag).ok());
        if let Err(error) = self.region.caught_up(region, it_keeps).await {
            tracing::warn!(%error, %region, "whether a region has caught up could not be told");
        }
    }

    async fn met(&self, region: &RegionId, probe: &Probe, began: Duration, policy: &HealthPolicy) {
        if let Err(error) = self.region.met(region, probe, began, policy).await {
            tracing::warn!(%error, %region, "what was seen of a region could not be written");
        }
    }
}
