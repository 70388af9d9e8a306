//! The port of a region in a directory: each order in a few lines, the work elsewhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::local::{Inner, LocalRegion, blocking};
use super::restore;
use super::store::{Ground, RegionCatalog, Store};
use crate::failover::{Control, Order};
use crate::live::port::{Carried, ContentCheck, Drilled, PeerRecords, PointSelector, PortError, RegionPort};
use crate::model::audit::Audited;
use crate::model::failover::Standings;
use crate::model::point::Point;
use crate::model::policy::HealthPolicy;
use crate::model::region::{Authority, Identity, Pause, RecordChange, RegionSnapshot};
use crate::model::running::Running;
use crate::model::sighting::Probe;
use crate::model::{Address, ByteCount, OperationId, RegionId, ResourceKey};
use crate::replica::catalog::Catalog;
use crate::replica::export::{ExportOrder, export};
use crate::replica::points::{self, PointChoice};
use crate::replica::port::TransferError;
use crate::replica::verify::note_damage;
use crate::wire::region::RegionHealth;

impl Inner {
    /// The store for looking: no lock, nothing written.
    pub(super) fn reading(&self) -> Result<Store, PortError> {
        let identity = self.identity()?.ok_or_else(|| self.not_founded())?;
        Store::open_reading(&self.layout.database(), &identity).map_err(|error| self.of(error))
    }

    /// The store for reading a replica's files, which no other program should write meanwhile. A place that cannot be
    /// written is one that nobody writes: it needs no lock.
    pub(super) async fn undisturbed(self: &Arc<Self>) -> Result<Arc<Store>, PortError> {
        match self.writing().await {
            Ok(writing) => Ok(Arc::clone(&writing.store)),
            Err(PortError::Failed(_)) => {
                let inner = Arc::clone(self);
                blocking(move || inner.reading().map(Arc::new)).await
            }
            Err(error) => Err(error),
        }
    }

    async fn record(self: &Arc<Self>, authority: &Authority, changes: &[RecordChange]) -> Result<(), PortError> {
        let writing = self.writing().await?;
        let (inner, authority, changes) = (Arc::clone(self), authority.clone(), changes.to_vec());
        blocking(move || {
            // A receiving under the former name would go on in directories that are not there any more. What it
            // received moves with them, for the next one under the present name.
            let former: BTreeSet<ResourceKey> = changes.iter().filter_map(former_name).collect();
            let lanes: Vec<_> = former.iter().map(|former| inner.receivings.lane(former)).collect();
            let mut alone: Vec<_> = lanes.iter().map(|lane| lane.alone()).collect();
            let lies = |key: &ResourceKey| inner.disk.symlink_metadata(&inner.layout.files(key)).is_ok();
            let ground = Ground { identity: &writing.identity, at: inner.world.clock.now(), lies: &lies };
            if !former.is_empty() {
                // What is refused ends nothing.
                writing.store.expect_recordable(&ground, &authority, &changes).map_err(|error| inner.of(error))?;
            }
            for open in &mut alone {
                // What could not be made durable travels again.
                let _ = inner.receivings.end(open);
            }
            writing.store.record(&ground, &authority, &changes).map_err(|error| inner.of(error))?;
            inner.roles.stir();
            for rename in writing.store.pending_renames().map_err(|error| inner.of(error))? {
                inner.carry_out(&writing, &rename)?;
            }
            Ok(())
        })
        .await
    }

    async fn record_by_hand(
        self: &Arc<Self>,
        operation: OperationId,
        changes: &[RecordChange],
    ) -> Result<(), PortError> {
        let writing = self.writing().await?;
        let (inner, changes) = (Arc::clone(self), changes.to_vec());
        blocking(move || {
            let lies = |key: &ResourceKey| inner.disk.symlink_metadata(&inner.layout.files(key)).is_ok();
            let ground = Ground { identity: &writing.identity, at: inner.world.clock.now(), lies: &lies };
            writing.store.record_by_hand(&ground, operation, &changes).map_err(|error| inner.of(error))
        })
        .await
    }
}

/// The name that a change takes from a resource.
fn former_name(change: &RecordChange) -> Option<ResourceKey> {
    let (Address::Resource(present), Some(record)) = (&change.address, &change.record) else { return None };
    record.former_id.as_ref().map(|former| ResourceKey::new(present.kind, former.clone()))
}

#[async_trait]
impl RegionPort for LocalRegion {
    fn region(&self) -> &RegionId {
        &self.inner.region
    }

    async fn snapshot(&self) -> Result<RegionSnapshot, PortError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.with_sightings(inner.observe(None)?))).await
    }

    async fn snapshot_of(&self, resource: &ResourceKey) -> Result<RegionSnapshot, PortError> {
        let (inner, resource) = (Arc::clone(&self.inner), resource.clone());
        blocking(move || inner.observe(Some(&resource))).await
    }

    async fn snapshot_of_records(&self) -> Result<RegionSnapshot, PortError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.with_sightings(inner.observe_records()?))).await
    }

    async fn probe(&self, _: &HealthPolicy) -> Probe {
        let (inner, clock) = (Arc::clone(&self.inner), &self.inner.world.clock);
        let began = clock.since_boot();
        match blocking(move || inner.identity()).await {
            Ok(_) => Probe::Answered { latency: clock.since_boot().saturating_sub(began), complaint: None },
            Err(error) => Probe::Unclear(error.to_string().into()),
        }
    }

    async fn learn(&self, told: &Standings) -> Result<bool, PortError> {
        self.inner.learn(told).await
    }

    async fn running(&self) -> Result<Running, PortError> {
        self.inner.all_running().await
    }

    async fn look_at(&self, _: &RegionId) -> Result<Option<RegionHealth>, PortError> {
        Ok(None)
    }

    async fn found(&self, _: &Authority) -> Result<Identity, PortError> {
        self.inner.found().await
    }

    async fn control(&self, control: &Control, peers: &PeerRecords) -> Result<(), PortError> {
        self.inner.obey(control, peers).await
    }

    async fn standings(&self, machines: &BTreeSet<ResourceKey>) -> Result<Standings, PortError> {
        self.inner.standings(machines).await
    }

    async fn keep_pause(&self, pause: Option<&Pause>) -> Result<(), PortError> {
        let writing = self.inner.writing().await?;
        let (inner, pause) = (Arc::clone(&self.inner), pause.cloned());
        blocking(move || writing.store.keep_pause(pause.as_ref()).map_err(|error| inner.of(error))).await
    }

    async fn order(&self, order: &Order) -> Result<Carried, PortError> {
        self.inner.order(order).await
    }

    async fn record(&self, authority: &Authority, changes: &[RecordChange]) -> Result<(), PortError> {
        self.inner.record(authority, changes).await
    }

    async fn record_by_hand(&self, operation: OperationId, changes: &[RecordChange]) -> Result<(), PortError> {
        self.inner.record_by_hand(operation, changes).await
    }

    async fn points(&self, resource: &ResourceKey) -> Result<Vec<Point>, PortError> {
        let (inner, resource) = (Arc::clone(&self.inner), resource.clone());
        blocking(move || {
            let store = Arc::new(inner.reading()?);
            let kept = store.resource(&resource).map_err(|error| inner.of(error))?;
            let catalog = RegionCatalog::own(store);
            let record = catalog.load(&resource).map_err(|error| PortError::Failed(error.to_string()))?;
            let mut listed = points::list(&record);
            let epoch = kept.map(|kept| kept.record.epoch).unwrap_or_default();
            listed.extend(restore::list(&*inner.disk, &inner.layout, &resource, &inner.region, epoch)?);
            if listed.is_empty() {
                return Err(PortError::NotFound(format!("{} keeps no point of {resource}", inner.region)));
            }
            Ok(listed)
        })
        .await
    }

    async fn verify(&self, resource: &ResourceKey) -> Result<ContentCheck, PortError> {
        self.inner.verify(resource, &self.cancel).await
    }

    async fn audit(&self, cancel: &CancellationToken) -> Result<Audited, PortError> {
        self.inner.audit(cancel).await
    }

    async fn drill(
        &self,
        resource: &ResourceKey,
        watched: Duration,
        cancel: &CancellationToken,
    ) -> Result<Drilled, PortError> {
        self.inner.drill(resource, watched, cancel).await
    }

    async fn export(&self, resource: &ResourceKey, point: &PointSelector, into: &Path) -> Result<Point, PortError> {
        // What stops it may come while the region is opened.
        let stop = self.inner.stop.check().until(&self.cancel);
        let store = self.inner.undisturbed().await?;
        let writable = self.inner.is_open_for_writing().await;
        let (inner, resource, point, into) =
            (Arc::clone(&self.inner), resource.clone(), point.clone(), into.to_owned());
        blocking(move || {
            let kept = store.resource(&resource).map_err(|error| inner.of(error))?;
            let config = inner.config()?;
            let place = inner.places(&config).replica(&resource, kept.as_ref());
            let catalog = RegionCatalog::own(store);
            let record = catalog.load(&resource).map_err(|error| PortError::Failed(error.to_string()))?;
            let choice = match &point {
                PointSelector::Newest => PointChoice::Newest,
                PointSelector::Sequence(sequence) => PointChoice::Sequence(*sequence),
                PointSelector::Name(name) => PointChoice::Name(name),
            };
            let Some(sequence) = points::find(&record, choice) else {
                if let PointSelector::Name(name) = &point
                    && restore::export(&*inner.disk, &inner.layout, &resource, name, (&into, &stop))?
                {
                    let epoch = kept.map(|kept| kept.record.epoch).unwrap_or_default();
                    let mut listed = restore::list(&*inner.disk, &inner.layout, &resource, &inner.region, epoch)?;
                    listed.retain(|listed| listed.name.as_ref() == Some(name));
                    return listed
                        .pop()
                        .ok_or_else(|| PortError::NotFound(format!("`{name}` was discarded meanwhile")));
                }
                let which = match &point {
                    PointSelector::Newest => "no point".to_owned(),
                    PointSelector::Sequence(sequence) => format!("no point {sequence}"),
                    PointSelector::Name(name) => format!("no point named `{name}`"),
                };
                return Err(PortError::NotFound(format!("{} keeps {which} of {resource}", inner.region)));
            };
            let owners = rustix::process::geteuid().is_root();
            let lane = inner.receivings.lane(&resource);
            let _alone = lane.alone();
            let order = ExportOrder { sequence, into: &into, owners };
            export(&*inner.disk, &catalog, &place, &order, &stop).map_err(|error| {
                if writable && matches!(error, TransferError::Corrupt(_)) {
                    // The damage is what there is to tell; noting it is tried again by the next export.
                    let _ = note_damage(&*inner.disk, &catalog, &place, sequence);
                }
                PortError::Refused { reason: error.to_string(), help: None }
            })
        })
        .await
    }

    async fn replace_files(
        &self,
        authority: &Authority,
        resource: &ResourceKey,
        from: &Path,
    ) -> Result<Option<String>, PortError> {
        self.inner.replace_files(authority, resource, from).await
    }

    async fn discard(&self, authority: &Authority, resource: &ResourceKey, name: &str) -> Result<(), PortError> {
        self.inner.discard(authority, resource, name).await
    }

    async fn measured(&self, source: &RegionId, bytes: ByteCount, took: Duration) -> Result<(), PortError> {
        self.measured(source, bytes, took).await
    }

    /// As long as a server holds it.
    fn is_served(&self) -> bool {
        self.inner.is_held()
    }

    fn interrupt(&self) {
        self.inner.stop.now();
        self.inner.readings.interrupt();
        self.inner.receivings.interrupt();
    }
}
