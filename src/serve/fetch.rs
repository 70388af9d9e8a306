//! The region fetches resources from their sources by itself, ordered once and then on its own.
//!
//! One fetch of a resource at a time: a new one stops the one under way, waits for its end, and goes on from what it
//! left. At most so many run at once, the most urgent first. Those of one pair share its bandwidth limit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::answer::Failure;
use super::operation::Running;
use super::router::App;
use super::turns::Turns;
use crate::config::resolve_endpoint;
use crate::live::{HttpRegion, RegionPort};
use crate::model::region::SyncOrder;
use crate::model::topology::Endpoint;
use crate::model::{Clock, RegionId, ResourceKey};
use crate::region::LocalRegion;
use crate::replica::pace::Paces;
use crate::replica::port::{Source, TransferError};
use crate::replica::transfer::{Means, SyncFailure, SyncOptions, SyncReport, sync};
use crate::wire::Progressed;

/// How many run at once.
pub(super) const AT_ONCE: usize = 8;

/// Where a source is, as the region's own registry says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought<'a> {
    pub(super) region: &'a RegionId,
    pub(super) origin: &'a str,
    /// The policy's patience with its regions.
    pub(super) timeout: Duration,
    /// For a connection to stand.
    pub(super) connect: Duration,
}

/// Opens other regions.
pub(super) trait Peers: std::fmt::Debug + Send + Sync {
    /// The region that is sought. Nothing is asked of it yet.
    fn region(&self, sought: &Sought<'_>) -> Arc<HttpRegion>;
}

/// All fetches of a server.
#[derive(Debug)]
pub(super) struct Fetches {
    clock: Arc<dyn Clock>,
    peers: Arc<dyn Peers>,
    turns: Arc<Turns>,
    paces: Paces,
    lanes: Mutex<BTreeMap<ResourceKey, Arc<Lane>>>,
}

/// The fetches of one resource.
#[derive(Debug, Default)]
struct Lane {
    /// Stops the one that came last.
    latest: Mutex<CancellationToken>,
    alone: tokio::sync::Mutex<()>,
}

impl From<SyncFailure> for Failure {
    fn from(SyncFailure { error, bytes, notes }: SyncFailure) -> Self {
        Self::from(error).with("bytes", bytes).with("notes", notes)
    }
}

impl App {
    /// Fetches what `order` says into `region`, and counts it.
    pub(super) async fn fetch(
        &self,
        region: &LocalRegion,
        order: &SyncOrder,
        options: &SyncOptions,
        running: &Running,
    ) -> Result<SyncReport, Failure> {
        let fetched = self.fetches.fetch(region, order, options, running).await;
        match &fetched {
            Ok(_) => self.numbers.synced(1),
            Err(_) if running.cancel.is_cancelled() => {}
            Err(_) => self.numbers.sync_failed(),
        }
        fetched
    }
}

impl Fetches {
    pub(super) fn new(clock: Arc<dyn Clock>, peers: Arc<dyn Peers>, at_once: usize) -> Self {
        let turns = Turns::new(Arc::clone(&clock), at_once);
        Self { clock, peers, turns, paces: Paces::default(), lanes: Mutex::default() }
    }

    /// Fetches what `order` says into `region`.
    pub(super) async fn fetch(
        &self,
        region: &LocalRegion,
        order: &SyncOrder,
        options: &SyncOptions,
        running: &Running,
    ) -> Result<SyncReport, Failure> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = Arc::clone(lanes.entry(order.resource.clone()).or_default());
            let mut latest = lane.latest.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *latest, running.cancel.clone()).cancel();
            drop(latest);
            lane
        };
        let done = self.alone(&lane, region, order, options, running).await;
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own and ours: nobody waits.
        if Arc::strong_count(&lane) == 2 {
            lanes.remove(&order.resource);
        }
        done
    }

    async fn alone(
        &self,
        lane: &Lane,
        region: &LocalRegion,
        order: &SyncOrder,
        options: &SyncOptions,
        running: &Running,
    ) -> Result<SyncReport, Failure> {
        let cancel = &running.cancel;
        let turn = async {
            let alone = lane.alone.lock().await;
            (alone, self.turns.take(options.urgency).await)
        };
        let _turn = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(TransferError::Interrupted.into()),
            turn = turn => turn,
        };
        let source = self.source(region, order).await?;
        running.is_about(order.resource.clone(), Some(order.source.clone()));
        let progress = |stage, bytes_done, bytes_total| {
            running.progress(Progressed { stage, bytes_done, bytes_total }, self.clock.since_boot());
        };
        let pace = self.paces.of(order, options.bandwidth_limit);
        let means =
            Means { clock: &*self.clock, pace: pace.as_deref(), progress: &progress, cancel, verified_at: None };
        let report = sync(&*source, region, order, options, &means).await?;
        let measured = region.measured(&order.source, report.carried(), report.travelled_for).await;
        if let Err(error) = measured {
            tracing::warn!(%error, source = %order.source, "a link's speed could not be written");
        }
        Ok(report)
    }

    /// The source, where the region's own registry says it is.
    async fn source(&self, region: &LocalRegion, order: &SyncOrder) -> Result<Arc<dyn Source>, Failure> {
        let refuse = |why: String| Failure::from(TransferError::Region(why));
        let own = region.region();
        if order.target != *own {
            return Err(refuse(format!("the order writes to {}, this is {own}", order.target)));
        }
        let record = region.peer(&order.source).await?;
        let record = record.ok_or_else(|| refuse(format!("{own} has no record of region {}", order.source)))?;
        let endpoint = &record.spec.api_endpoint;
        match resolve_endpoint(endpoint, Path::new("/")) {
            Some(Endpoint::Http(origin)) => {
                let timeout = record.spec.policy.health.timeout;
                let sought = Sought { region: &order.source, origin: &origin, timeout, connect: timeout };
                Ok(self.peers.region(&sought))
            }
            Some(Endpoint::Directory(_)) | None => {
                Err(refuse(format!("{own} cannot fetch from {}: {endpoint} is not served", order.source)))
            }
        }
    }
}
