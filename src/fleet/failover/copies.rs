//! Copies around a failover: the last one from a stopped source, the first ones from the new holder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::live::port::RegionPort;
use crate::model::region::{Epoch, SyncOrder};
use crate::model::{ByteCount, Lineage, OperationId, RegionId, ResourceKey, World};
use crate::replica::transfer::{self, Means, SyncFailure, SyncOptions, SyncReport};

/// Copies at once.
const AT_ONCE: usize = 8;

/// Copies that belong to one operation.
#[derive(Debug, Clone)]
pub(super) struct Copies {
    pub(super) lineage: Lineage,
    pub(super) term: u64,
    pub(super) operation: OperationId,
    /// Whether the source reads every byte again, whatever it remembers.
    pub(super) full: bool,
    pub(super) world: World,
    pub(super) cancel: CancellationToken,
}

impl Copies {
    /// Copies each resource; what moved, and what could not be copied and why.
    pub(super) async fn carry_out(
        &self,
        (source, target): (&Arc<dyn RegionPort>, &Arc<dyn RegionPort>),
        resources: &BTreeMap<ResourceKey, Epoch>,
    ) -> (ByteCount, BTreeMap<ResourceKey, String>) {
        let asked: Vec<(ResourceKey, Epoch)> = resources.iter().map(|(key, epoch)| (key.clone(), *epoch)).collect();
        let copies = stream::iter(asked).map(|(key, epoch)| async move {
            let copied = self.one(source, target, &key, epoch).await;
            (key, copied)
        });
        let ended: Vec<(ResourceKey, Result<SyncReport, SyncFailure>)> =
            copies.buffer_unordered(AT_ONCE).collect().await;
        let (mut bytes, mut failed) = (ByteCount(0), BTreeMap::new());
        for (key, copied) in ended {
            match copied {
                Ok(report) => bytes = ByteCount(bytes.0 + report.bytes.0),
                Err(failure) => drop(failed.insert(key, failure.to_string())),
            }
        }
        (bytes, failed)
    }

    async fn one(
        &self,
        source: &Arc<dyn RegionPort>,
        target: &Arc<dyn RegionPort>,
        key: &ResourceKey,
        epoch: Epoch,
    ) -> Result<SyncReport, SyncFailure> {
        let order = SyncOrder {
            lineage: self.lineage,
            term: self.term,
            resource: key.clone(),
            source: source.region().clone(),
            target: target.region().clone(),
            epoch,
            operation: self.operation,
            compress: true,
        };
        let options = SyncOptions { full: self.full, ..SyncOptions::default() };
        let tell = |_, _, _| {};
        if source.is_served()
            && let Some(fetched) = target.fetch(&order, &options, &tell, &self.cancel).await
        {
            return fetched;
        }
        let clock = self.world.clock.as_ref();
        let means = Means { clock, pace: None, progress: &tell, cancel: &self.cancel, verified_at: None };
        transfer::sync(&**source, &**target, &order, &options, &means).await
    }
}

/// The regions that keep a copy of each resource, beside its new holder.
pub(super) fn keepers(
    holder: &RegionId,
    replicas: impl Iterator<Item = (ResourceKey, BTreeSet<RegionId>)>,
) -> BTreeMap<RegionId, BTreeSet<ResourceKey>> {
    let mut keepers: BTreeMap<RegionId, BTreeSet<ResourceKey>> = BTreeMap::new();
    for (key, regions) in replicas {
        for region in regions.into_iter().filter(|region| region != holder) {
            keepers.entry(region).or_default().insert(key.clone());
        }
    }
    keepers
}
