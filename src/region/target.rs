//! The region as a target: who may write, by which rules, and the engine's receiving.
//!
//! One receiving of a resource at a time: a new one takes the place of one that nobody goes on with, after whatever
//! that one is in the middle of has ended. Looking at a replica's bytes waits for the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::local::{Inner, LocalRegion, Writing};
use super::source::{check_epoch, in_transfer, transfer};
use super::store::{KeptResource, RegionCatalog};
use crate::host::Disk;
use crate::model::point::Point;
use crate::model::region::{Role, SyncOrder};
use crate::model::{ResourceKey, Timestamp, World};
use crate::replica::catalog::{Catalog, CatalogChange};
use crate::replica::port::{
    BlockAddress, Confirmation, Confirmed, Hash, Published, Reading, Receiving, SessionId, Survey, Target,
    TransferError,
};
use crate::replica::receive::ReceiveRules;
use crate::replica::target::LocalTarget;

/// How long a region that just came back may take to hear of what happened without it.
const HEARS_WITHIN: Duration = Duration::from_secs(5);

/// What one resource's receivings go through; inside, the one that is open.
#[derive(Debug, Default)]
pub(super) struct Lane(RwLock<Option<SessionId>>);

impl Lane {
    fn read(&self) -> RwLockReadGuard<'_, Option<SessionId>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Alone with the replica: no receiving is in the middle of anything.
    pub(super) fn alone(&self) -> RwLockWriteGuard<'_, Option<SessionId>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Open receivings.
#[derive(Debug)]
pub(super) struct Receivings {
    engine: LocalTarget,
    lanes: Mutex<BTreeMap<ResourceKey, Arc<Lane>>>,
    sessions: Mutex<BTreeMap<SessionId, Arc<Lane>>>,
}

impl Receivings {
    pub(super) fn new(disk: Arc<dyn Disk>, world: World) -> Self {
        Self { engine: LocalTarget::new(disk, world), lanes: Mutex::default(), sessions: Mutex::default() }
    }

    pub(super) fn lane(&self, resource: &ResourceKey) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(resource.clone()).or_default())
    }

    /// Ends the receiving that is open in a lane, with what it received kept.
    ///
    /// # Errors
    /// Where that cannot be made durable; it is over all the same.
    pub(super) fn end(&self, open: &mut Option<SessionId>) -> Result<(), TransferError> {
        let Some(left) = open.take() else { return Ok(()) };
        self.sessions().remove(&left);
        self.engine.close_receiving(left)
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<SessionId, Arc<Lane>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn interrupt(&self) {
        self.engine.interrupt();
    }
}

impl Inner {
    /// Whether this region may receive under the order.
    fn check_target(&self, writing: &Writing, order: &SyncOrder) -> Result<KeptResource, TransferError> {
        let (region, resource) = (&self.region, &order.resource);
        let refuse = |why: String| Err(TransferError::Region(why));
        let kept = writing.resource(resource).map_err(|error| in_transfer(self.of(error)))?;
        if order.target != *region {
            return refuse(format!("the order writes to {}, this is {region}", order.target));
        }
        let Some(kept) = kept else { return refuse(format!("{region} has no record of {resource}")) };
        check_epoch(&kept, order)?;
        let record = &kept.record;
        if record.role != Role::Replica {
            return refuse(format!("{resource} is {} at {region}, which keeps no copy of it", record.role.as_str()));
        }
        if record.holder != order.source {
            return refuse(format!("{resource} is held by {}, not by {}", record.holder, order.source));
        }
        if let Some(operation) = record.operation.filter(|operation| *operation != order.operation) {
            return refuse(format!("operation {operation} is open on {resource}"));
        }
        if kept.moving {
            return refuse(format!("the directories of {resource} still bear its former name"));
        }
        Ok(kept)
    }

    /// Waits for the agent to hear of an epoch that the order knows and this region does not: a region that just came
    /// back is about to.
    async fn catch_up(self: &Arc<Self>, writing: &Writing, order: &SyncOrder) -> Result<(), TransferError> {
        let until = self.world.clock.since_boot() + HEARS_WITHIN;
        while self.roles.is_attended() {
            let heard = self.roles.heard();
            tokio::pin!(heard);
            heard.as_mut().enable();
            let kept = writing.resource(&order.resource).map_err(|error| in_transfer(self.of(error)))?;
            let left = until.saturating_sub(self.world.clock.since_boot());
            if left.is_zero() || kept.is_none_or(|kept| kept.record.epoch >= order.epoch) {
                break;
            }
            self.roles.stir();
            // Whatever comes of it, the order is judged.
            let _ = tokio::time::timeout(left, heard).await;
        }
        Ok(())
    }

    /// What a former holder is brought from its successor makes it a replica first: a region in a directory has no agent
    /// that did so before. Says what became of its own files.
    async fn settle_for(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        order: &SyncOrder,
    ) -> Result<Option<String>, TransferError> {
        let kept = writing.resource(&order.resource).map_err(|error| in_transfer(self.of(error)))?;
        let successor = |kept: &KeptResource| {
            kept.record.role == Role::Demoted && kept.record.holder == order.source && order.target == self.region
        };
        if !kept.as_ref().is_some_and(successor) {
            return Ok(None);
        }
        let settled = match self.settle(writing, &order.resource).await {
            Ok(settled) => settled,
            Err(error) => {
                // The agent may have done it at the same time.
                let kept = writing.resource(&order.resource).map_err(|error| in_transfer(self.of(error)))?;
                return match kept {
                    Some(kept) if kept.record.role == Role::Replica => Ok(None),
                    _ => Err(in_transfer(error)),
                };
            }
        };
        Ok(settled.set_aside.is_some().then(|| settled.to_string()))
    }

    fn open_receiving(
        &self,
        writing: &Writing,
        order: &SyncOrder,
        reading: &Reading,
        accept_change: bool,
        cancel: &CancellationToken,
    ) -> Result<Receiving, TransferError> {
        let lane = self.receivings.lane(&order.resource);
        let mut open = lane.alone();
        // Once it is alone: a rename that went before has taken the directories away.
        let kept = self.check_target(writing, order)?;
        let own = writing.store.region(&self.region).map_err(|error| in_transfer(self.of(error)))?;
        let rules = ReceiveRules {
            accept_change,
            max_change: kept.record.spec.max_change,
            retention: own.map(|record| record.spec.policy.retention.clone()).unwrap_or_default(),
            owners: rustix::process::geteuid().is_root(),
        };
        let place = self.places(&writing.config).replica(&order.resource, Some(&kept));
        let catalog: Arc<dyn Catalog> =
            Arc::new(RegionCatalog::bound(Arc::clone(&writing.store), order.epoch, Arc::clone(&self.world.clock)));
        // Nobody goes on with it; what it received stays for the one that begins now.
        self.receivings.end(&mut open)?;
        let engine = &self.receivings.engine;
        let mut receiving = engine.open_receiving(catalog, place, order, reading, &rules, cancel)?;
        receiving.notes.extend(self.remarks());
        *open = Some(receiving.session);
        drop(open);
        self.receivings.sessions().insert(receiving.session, lane);
        Ok(receiving)
    }

    /// Lets the engine go on with a receiving, while nobody opens another one.
    async fn receiving<T: Send + 'static>(
        self: &Arc<Self>,
        session: SessionId,
        act: impl FnOnce(&LocalTarget) -> Result<T, TransferError> + Send + 'static,
    ) -> Result<T, TransferError> {
        let inner = Arc::clone(self);
        transfer(move || {
            let lane = inner.receivings.sessions().get(&session).cloned();
            // One that was closed has no lane; the engine says so.
            let lane = lane.unwrap_or_default();
            let _open = lane.read();
            act(&inner.receivings.engine)
        })
        .await
    }

    /// The receiving is over: its lane is free.
    fn forget(&self, session: SessionId) {
        let lane = self.receivings.sessions().remove(&session);
        if let Some(lane) = lane {
            lane.alone().take_if(|open| *open == session);
        }
    }

    fn confirm_unchanged(&self, writing: &Writing, confirmed: &Confirmed) -> Result<Point, TransferError> {
        let Confirmed { order, sequence, verified_at } = confirmed;
        self.check_target(writing, order)?;
        let catalog = RegionCatalog::bound(Arc::clone(&writing.store), order.epoch, Arc::clone(&self.world.clock));
        let newest = |catalog: &RegionCatalog| {
            let record = catalog.load(&order.resource)?;
            let newest = record.newest().filter(|newest| newest.point.sequence == *sequence);
            newest.map(|newest| newest.point.clone()).ok_or_else(|| {
                let words = format!("point {sequence} of {} is not the newest at {}", order.resource, self.region);
                TransferError::Region(words)
            })
        };
        newest(&catalog)?;
        // Another machine's clock may be ahead; what is to come has not been seen.
        let at = self.world.clock.now().min(*verified_at);
        let verified = CatalogChange::Verified { sequence: *sequence, at };
        catalog.commit(&order.resource, &[verified, CatalogChange::Copied])?;
        newest(&catalog)
    }
}

#[async_trait]
impl Target for LocalRegion {
    async fn open_receiving(
        &self,
        order: &SyncOrder,
        reading: &Reading,
        accept_change: bool,
    ) -> Result<Receiving, TransferError> {
        let writing = self.inner.writing().await.map_err(in_transfer)?;
        self.inner.catch_up(&writing, order).await?;
        let settled = self.inner.settle_for(&writing, order).await?;
        let (inner, order, reading) = (Arc::clone(&self.inner), order.clone(), reading.clone());
        let cancel = self.cancel.clone();
        let mut receiving =
            transfer(move || inner.open_receiving(&writing, &order, &reading, accept_change, &cancel)).await?;
        receiving.notes.extend(settled);
        Ok(receiving)
    }

    async fn differing_groups(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        hashes: &[Hash],
    ) -> Result<Vec<u64>, TransferError> {
        let hashes = hashes.to_vec();
        self.inner.receiving(session, move |engine| engine.differing_groups(session, file, first, &hashes)).await
    }

    async fn expect_blocks(
        &self,
        session: SessionId,
        file: u32,
        groups: &[u64],
        hashes: &[Hash],
    ) -> Result<(), TransferError> {
        let (groups, hashes) = (groups.to_vec(), hashes.to_vec());
        self.inner.receiving(session, move |engine| engine.expect_blocks(session, file, &groups, &hashes)).await
    }

    async fn end_survey(&self, session: SessionId) -> Result<Survey, TransferError> {
        self.inner.receiving(session, move |engine| engine.end_survey(session)).await
    }

    async fn next_wanted(&self, session: SessionId) -> Result<Vec<BlockAddress>, TransferError> {
        self.inner.receiving(session, move |engine| engine.next_wanted(session)).await
    }

    async fn write_blocks(&self, session: SessionId, blocks: Vec<(BlockAddress, Bytes)>) -> Result<(), TransferError> {
        self.inner.receiving(session, move |engine| engine.write_blocks(session, &blocks)).await
    }

    async fn checkpoint(&self, session: SessionId) -> Result<(), TransferError> {
        self.inner.receiving(session, move |engine| engine.checkpoint(session)).await
    }

    async fn publish(&self, session: SessionId, verified_at: Timestamp) -> Result<Published, TransferError> {
        let published = self.inner.receiving(session, move |engine| engine.publish(session, verified_at)).await?;
        self.inner.forget(session);
        Ok(published)
    }

    async fn close_receiving(&self, session: SessionId) -> Result<(), TransferError> {
        let closed = self.inner.receiving(session, move |engine| engine.close_receiving(session)).await;
        self.inner.forget(session);
        closed
    }

    async fn confirm_unchanged(&self, confirmed: &[Confirmed]) -> Result<Vec<Confirmation>, TransferError> {
        let writing = self.inner.writing().await.map_err(in_transfer)?;
        let (inner, confirmed) = (Arc::clone(&self.inner), confirmed.to_vec());
        transfer(move || Ok(confirmed.iter().map(|one| inner.confirm_unchanged(&writing, one).into()).collect())).await
    }
}
