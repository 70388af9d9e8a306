//! One copy, now.

use std::sync::Arc;

use uuid::Uuid;

use crate::fleet::act::expect_source;
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::registry::topology_of;
use crate::live::RegionPort;
use crate::model::region::SyncOrder;
use crate::model::{Lineage, OperationId};
use crate::plan::deadline;
use crate::replica::transfer::{SyncOptions, Urgency};
use crate::wire::region::SyncResource;

/// A copy that may be made: what its target is to be asked for.
#[derive(Debug, Clone)]
pub struct OrderedCopy {
    /// The region that is to fetch it.
    pub target: Arc<dyn RegionPort>,
    /// The order.
    pub order: SyncOrder,
    /// With the settings of the pair that feeds the target.
    pub options: SyncOptions,
}

impl MultiRegionManager {
    /// Looks whether a copy may be made, whatever its interval and whether its pair is paused. Nothing is copied yet.
    ///
    /// # Errors
    /// [`FleetError::UnknownRegion`]; [`FleetError::UnknownResource`] where the target records none of it;
    /// [`FleetError::Unfit`] for a source that does not hold it; [`FleetError::Region`] where the target does not answer.
    pub async fn sync_resource_as(
        &self,
        operation: OperationId,
        copy: &SyncResource,
    ) -> Result<OrderedCopy, FleetError> {
        let order = self.order_by_hand(operation)?;
        order.founded()?;
        let SyncResource { resource_id, source_region_id: source, target_region_id: target } = copy;
        order.expect_registered(source)?;
        order.expect_registered(target)?;
        let ends = order.ends([target].into()).await?;
        let unknown = || FleetError::UnknownResource { id: resource_id.to_string(), known: Vec::new() };
        let end = ends.into_values().next().ok_or_else(unknown)?;
        let at = &end.recorded;
        let (key, record) = at.resources.iter().find(|(key, _)| key.id == *resource_id).ok_or_else(unknown)?;
        expect_source(key, &record.holder, (source, target))?;
        let topology = topology_of(target, at);
        let fed_by = topology.settings_between(&record.spec.primary, source, target, key.kind).map(|(_, pair)| pair);
        let urgency = fed_by.map_or_else(Urgency::default, |pair| Urgency {
            priority: pair.priority,
            deadline: deadline(record.spec.max_lag, pair, at.replicas.get(key)),
        });
        let bandwidth_limit = fed_by.and_then(|pair| pair.bandwidth_limit);
        let order = SyncOrder {
            lineage: record.managed_by.unwrap_or(Lineage(Uuid::nil())),
            term: at.controller.as_ref().map_or(0, |controller| controller.term),
            resource: key.clone(),
            source: source.clone(),
            target: target.clone(),
            epoch: record.epoch,
            operation,
            compress: fed_by.is_none_or(|pair| pair.compression),
        };
        let options = SyncOptions { bandwidth_limit, urgency, ..SyncOptions::default() };
        Ok(OrderedCopy { target: end.port, order, options })
    }
}
