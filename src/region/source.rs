//! The region as a source: who may read, how the files hold still, and the engine's reading of them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use super::local::{Inner, LocalRegion};
use super::place::unsupported;
use super::quiesce::{Asked, Prepared};
use super::store::KeptResource;
use crate::host::Disk;
use crate::live::port::PortError;
use crate::model::region::{Role, SyncOrder};
use crate::model::{ResourceKey, World};
use crate::replica::place::scan_cache;
use crate::replica::port::{BlockAddress, Hash, Reading, ReadingEnd, SessionId, Source, TransferError};
use crate::replica::source::{LocalSource, ReadingPlan};

/// Open readings: the engine's part, and what holds still for them.
#[derive(Debug)]
pub(super) struct Readings {
    engine: Arc<LocalSource>,
    held: Mutex<BTreeMap<SessionId, Prepared>>,
    lanes: Mutex<BTreeMap<ResourceKey, Arc<tokio::sync::Mutex<()>>>>,
}

impl Readings {
    pub(super) fn new(disk: Arc<dyn Disk>, world: World) -> Self {
        Self { engine: Arc::new(LocalSource::new(disk, world)), held: Mutex::default(), lanes: Mutex::default() }
    }

    /// What keeps two readings of a resource from holding it still at once.
    fn lane(&self, resource: &ResourceKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(resource.clone()).or_default())
    }

    pub(super) fn engine(&self) -> &Arc<LocalSource> {
        &self.engine
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<SessionId, Prepared>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn interrupt(&self) {
        self.engine.interrupt();
    }
}

/// Runs what waits for disks where waiting harms nobody.
pub(super) async fn transfer<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|error| Err(TransferError::Region(error.to_string())))
}

/// A port's error at a transfer's end.
pub(super) fn in_transfer(error: PortError) -> TransferError {
    match error {
        PortError::Busy(who) => TransferError::Busy(who),
        error => TransferError::Region(error.to_string()),
    }
}

/// Refuses an order that is older than the region's record, or that knows more than it.
pub(super) fn check_epoch(kept: &KeptResource, order: &SyncOrder) -> Result<(), TransferError> {
    let recorded = kept.record.epoch;
    match order.epoch.cmp(&recorded) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(TransferError::Stale { ordered: order.epoch, recorded }),
        std::cmp::Ordering::Greater => Err(TransferError::Region(format!(
            "this region has not heard of epoch {} of {} (it knows {recorded})",
            order.epoch, order.resource
        ))),
    }
}

/// Why nothing that is missing from the region's directory is missing from the region: it is another directory now.
fn gone(disk: &dyn Disk, layout: &Layout) -> Option<TransferError> {
    let looked = disk.symlink_metadata(&layout.identity());
    looked.is_err_and(|error| error.kind() == ErrorKind::NotFound).then(|| {
        let root = layout.root().display();
        TransferError::Region(format!("the region in {root} is not there any more: is a disk not mounted?"))
    })
}

impl Inner {
    /// Whether this region may be read from under the order.
    fn check_source(&self, kept: Option<KeptResource>, order: &SyncOrder) -> Result<KeptResource, TransferError> {
        let region = &self.region;
        let refuse = |why: String| Err(TransferError::Region(why));
        if order.source != *region {
            return refuse(format!("the order reads from {}, this is {region}", order.source));
        }
        let Some(kept) = kept else { return refuse(format!("{region} has no record of {}", order.resource)) };
        check_epoch(&kept, order)?;
        match kept.record.role {
            Role::Holder => Ok(kept),
            // What it wrote last goes to the region that takes over, under the operation that stopped it.
            Role::Demoted if kept.record.operation == Some(order.operation) => Ok(kept),
            role @ (Role::Replica | Role::Demoted | Role::Fenced) => {
                refuse(format!("{} is {} at {region}, which is not its holder", order.resource, role.as_str()))
            }
        }
    }

    async fn open_reading(
        self: &Arc<Self>,
        order: &SyncOrder,
        full: bool,
        cancel: &CancellationToken,
    ) -> Result<Reading, TransferError> {
        let cancel = cancel.clone();
        let writing = self.writing().await.map_err(in_transfer)?;
        let key = order.resource.clone();
        let (inner, open, asked_for) = (Arc::clone(self), Arc::clone(&writing), order.clone());
        let asked = transfer(move || {
            let kept = open.resource(&asked_for.resource).map_err(|error| in_transfer(inner.of(error)))?;
            let kept = inner.check_source(kept, &asked_for)?;
            let places = inner.places(&open.config);
            let at = inner.world.clock.now();
            let live = places.own_files(&key, Some(&kept)).map_err(|refused| unsupported(&refused, at))?;
            let dir = places.directory(&key, Some(&kept));
            let dir = std::path::absolute(&dir).unwrap_or(dir);
            let clones = inner.layout.clones().join(inner.world.ids.random().to_string());
            // A guard runs in another directory.
            let mark = inner.layout.mark(&key);
            let mark = std::path::absolute(&mark).unwrap_or(mark);
            let lane = inner.readings.lane(&key);
            Ok(Asked { epoch: kept.record.epoch, resource: key, dir, live, clones, mark, lane })
        })
        .await?;

        let prepared = self.quiescer(&writing).prepare(&asked).await?;
        let plan = ReadingPlan {
            cache: scan_cache(self.layout.root(), &asked.resource),
            resource: asked.resource,
            live: asked.live,
            copy: prepared.copy.clone(),
            kind: prepared.kind,
            full,
            hinting: self.hinting(&writing, prepared.kind).await?,
        };
        let (engine, disk, layout) = (Arc::clone(self.readings.engine()), Arc::clone(&self.disk), self.layout.clone());
        let opened = transfer(move || {
            let opened = engine.open_reading(&plan, &cancel);
            // Asked after the files were looked at: a region that goes away takes some of them with it, or all.
            let Some(gone) = gone(&*disk, &layout) else { return opened };
            if let Ok(reading) = &opened {
                engine.close_reading(reading.session)?;
            }
            Err(gone)
        });
        match opened.await {
            Ok(mut reading) => {
                reading.notes.extend(self.remarks());
                reading.notes.extend(prepared.note());
                self.readings.held().insert(reading.session, prepared);
                Ok(reading)
            }
            Err(error) => {
                // The reading's own error is the one to tell.
                let _ = prepared.end(&self.disk).await;
                Err(error)
            }
        }
    }

    async fn close_reading(self: &Arc<Self>, session: SessionId) -> Result<ReadingEnd, TransferError> {
        let prepared = self.readings.held().remove(&session);
        let engine = Arc::clone(self.readings.engine());
        let end = transfer(move || engine.close_reading(session)).await;
        let Some(prepared) = prepared else { return end };
        let held = prepared.end(&self.disk).await?;
        match end? {
            ReadingEnd::Consistent if !held => {
                Err(TransferError::Region("what held the files still ended before the reading did".to_owned()))
            }
            end @ (ReadingEnd::Consistent | ReadingEnd::Changed(_)) => Ok(end),
        }
    }
}

#[async_trait]
impl Source for LocalRegion {
    async fn open_reading(&self, order: &SyncOrder, full: bool) -> Result<Reading, TransferError> {
        self.inner.open_reading(order, full, &self.cancel).await
    }

    async fn group_hashes(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        count: u64,
    ) -> Result<Vec<Hash>, TransferError> {
        let engine = Arc::clone(self.inner.readings.engine());
        transfer(move || engine.group_hashes(session, file, first, count)).await
    }

    async fn block_hashes(&self, session: SessionId, file: u32, groups: &[u64]) -> Result<Vec<Hash>, TransferError> {
        let (engine, groups) = (Arc::clone(self.inner.readings.engine()), groups.to_vec());
        transfer(move || engine.block_hashes(session, file, &groups)).await
    }

    async fn blocks(&self, session: SessionId, wanted: &[BlockAddress]) -> Result<Vec<Bytes>, TransferError> {
        let (engine, wanted) = (Arc::clone(self.inner.readings.engine()), wanted.to_vec());
        transfer(move || engine.blocks(session, &wanted)).await
    }

    async fn close_reading(&self, session: SessionId) -> Result<ReadingEnd, TransferError> {
        self.inner.close_reading(session).await
    }
}
