//! Machines: their birth.

use std::collections::{BTreeMap, BTreeSet};

use super::order::{Made, new};
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::model::topology::{ResourceSpec, Spec};
use crate::model::{Address, OperationId, PairId, RegionId, ResourceKey, ResourceType};
use crate::wire::region::ReplicateVm;

impl MultiRegionManager {
    /// Records a VM where it is born and wherever copies of it are kept. One that lives already keeps its holder.
    ///
    /// # Errors
    /// [`FleetError::Argument`]; [`FleetError::UnknownRegion`]; [`FleetError::Unfit`] where no pair carries VMs to one of the
    /// regions; [`FleetError::Conflict`] with what is recorded under the same id; [`FleetError::Region`] where a region
    /// has another controller, or does not answer.
    pub async fn replicate_vm_as(
        &self,
        operation: OperationId,
        vm: &ReplicateVm,
    ) -> Result<Made<ResourceKey>, FleetError> {
        let order = self.order_by_hand(operation)?;
        order.founded()?;
        let ReplicateVm { vm_id, primary_region_id: primary, replica_regions } = vm;
        order.expect_registered(primary)?;
        replica_regions.iter().try_for_each(|region| order.expect_registered(region))?;
        if replica_regions.is_empty() || replica_regions.contains(primary) {
            return Err(FleetError::Argument {
                field: "replica_regions",
                reason: "copies are kept at least at one other region than the primary".to_owned(),
            });
        }
        let key = ResourceKey::new(ResourceType::Vm, vm_id.clone());
        let spec = ResourceSpec {
            primary: primary.clone(),
            replicas: replica_regions.clone(),
            depends_on: BTreeSet::new(),
            max_lag: None,
            allowed_regions: BTreeMap::new(),
            labels: BTreeMap::new(),
            max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
        };
        let ends = order.ends(spec.regions().collect()).await?;
        let mut living = None;
        for (region, end) in &ends {
            match end.recorded.resources.get(&key) {
                Some(known) if known.spec.primary != spec.primary || known.spec.replicas != spec.replicas => {
                    return Err(FleetError::Conflict {
                        reason: format!("{region} records {key} otherwise"),
                        help: "declare it in a topology file to change it: `vm replicate` there, and `apply`"
                            .to_owned(),
                    });
                }
                Some(known) => living = living.max(Some((known.epoch, known.holder.clone()))),
                None => order.expect_control(region, &end.recorded)?,
            }
            let carries = |source: &RegionId, target: &RegionId, both: bool| {
                let pair = end.recorded.pairs.get(&PairId { source: source.clone(), target: target.clone() });
                let spec = pair.map(|pair| &pair.spec).filter(|spec| spec.enabled && (!both || spec.bidirectional));
                spec.is_some_and(|spec| spec.resource_types.contains(&ResourceType::Vm))
            };
            if region != primary && !carries(primary, region, false) && !carries(region, primary, true) {
                return Err(FleetError::Unfit {
                    reason: format!("no pair carries VMs from {primary} to {region}"),
                    help: Some("set the replication of the two up first".to_owned()),
                });
            }
        }
        let mut is_new = false;
        for (region, end) in ends.iter().filter(|(_, end)| !end.recorded.resources.contains_key(&key)) {
            let mut change = new(Address::Resource(key.clone()), Spec::Resource(spec.clone()), None);
            if let Some(record) = &mut change.record {
                record.holder = living.clone().map(|(epoch, holder)| (holder, epoch));
            }
            order.bear((region, end), &[change]).await?;
            is_new = true;
        }
        Ok(Made { data: key, is_new })
    }
}
