//! Registering regions.

use std::collections::BTreeMap;
use std::path::Path;

use uuid::Uuid;

use super::order::{End, Ends, Order, from_region, new};
use crate::config::resolve_endpoint;
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::register::id_of;
use crate::fleet::registry::Registry;
use crate::live::PortError;
use crate::model::region::{Authority, Identity, Record, RecordChange, RegionRecord};
use crate::model::topology::{Endpoint, RegionSpec, Spec};
use crate::model::{Address, Lineage, OperationId, RegionId, Seat};
use crate::wire::region::RegisterRegion;

/// A region that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Whether it was not before.
    pub is_new: bool,
    /// The regions that were not told of it, and why: a repeat tells them.
    pub unheard: BTreeMap<RegionId, String>,
}

impl MultiRegionManager {
    /// Registers a region at every region that is registered, and tells it of all of them; founds it where it is new.
    /// The fleet's own region may be the first one, or among those that follow.
    ///
    /// Where the fleet's own state controls its regions, the new one gets the same controller, and a region that does not
    /// answer is left out and named: it may be the one that is to be replaced. Where nobody controls them, all must answer.
    ///
    /// # Errors
    /// [`FleetError::Argument`]; [`FleetError::Conflict`] with what is registered under the same id, and where another
    /// region is the primary one; [`FleetError::Region`] where a region has another controller, or does not answer.
    pub async fn register_region_as(
        &self,
        operation: OperationId,
        region: &RegisterRegion,
    ) -> Result<Registered, FleetError> {
        let id = id_of(region)?;
        let Some(Endpoint::Http(_)) = resolve_endpoint(&region.api_endpoint, Path::new("/")) else {
            return Err(FleetError::Argument {
                field: "api_endpoint",
                reason: "an endpoint is https://HOST[:PORT] or http://HOST[:PORT]".to_owned(),
            });
        };
        let order = self.order_by_hand(operation)?;
        let Registry { own: own_id, recorded } = order.registry;
        if id != *own_id {
            order.founded()?;
        }
        let RegisterRegion { region_id: _, name, location, api_endpoint, is_primary, capacity_vms } = region.clone();
        let mut spec = RegionSpec {
            name,
            location,
            api_endpoint,
            primary: is_primary,
            capacity_vms,
            labels: BTreeMap::new(),
            policy: recorded.regions.get(own_id).map(|record| record.spec.policy.clone()).unwrap_or_default(),
        };
        let known = recorded.regions.get(&id);
        if let Some(known) = known {
            (spec.labels, spec.policy) = (known.spec.labels.clone(), known.spec.policy.clone());
            if known.spec != spec {
                return Err(otherwise(&id, known));
            }
            let theirs = order.seat.is_none() && recorded.controller.is_some();
            if theirs {
                return Ok(Registered { is_new: false, unheard: BTreeMap::new() });
            }
        }
        order.expect_control(own_id, recorded)?;
        let primary = recorded.regions.iter().find(|(other, record)| **other != id && record.spec.primary);
        if let Some((primary, _)) = primary.filter(|_| spec.primary) {
            return Err(FleetError::Conflict {
                reason: format!("{primary} is the primary region already"),
                help: "register this one without `is_primary`: resources are born at one region by default".to_owned(),
            });
        }
        let unheard = order.spread(&id, spec).await?;
        Ok(Registered { is_new: known.is_none(), unheard })
    }
}

/// Why a registration does not become what is asked for.
fn otherwise(id: &RegionId, known: &RegionRecord) -> FleetError {
    let place = if known.managed_by.is_some() { "the topology that declares it" } else { "a topology file" };
    FleetError::Conflict {
        reason: format!("region {id} is registered already, with other attributes"),
        help: format!("to change them, declare it in {place} and apply that"),
    }
}

impl Order<'_> {
    /// Writes the registration of `id` wherever it is missing, and all others at `id`. Gives the regions that were not
    /// told, and why.
    async fn spread(&self, id: &RegionId, spec: RegionSpec) -> Result<BTreeMap<RegionId, String>, FleetError> {
        let Registry { own, recorded } = self.registry;
        let mut all = recorded.regions.clone();
        all.entry(id.clone()).or_insert_with(|| RegionRecord { spec: spec.clone(), store: None, managed_by: None });
        let registered = all.iter().map(|(region, record)| (region, record.spec.api_endpoint.as_str()));
        let concerned: BTreeMap<&RegionId, &str> = registered.chain([(own, "")]).collect();
        let (mut ends, mut unheard) = (Ends::new(), BTreeMap::new());
        for looked in self.look_at(concerned).await {
            match looked {
                Ok((region, end)) => drop(ends.insert(region, end)),
                Err(FleetError::Region { region, source, .. })
                    if self.seat.is_some() && region != *id && is_silence(&source) =>
                {
                    unheard.insert(region, source.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        for (region, End { recorded, .. }) in &ends {
            self.expect_control(region, recorded)?;
            let record = |known: &RegionRecord| Record::Region(Box::new(known.clone())).spec().fingerprint();
            let told = all.iter().filter(|(told, _)| region == id || *told == id);
            for (told, expected) in told {
                if recorded.regions.get(told).is_some_and(|known| record(known) != record(expected)) {
                    return Err(FleetError::Conflict {
                        reason: format!("{region} records {told} with other attributes"),
                        help: "a topology that declares it, once applied, sets them at all regions".to_owned(),
                    });
                }
            }
        }
        if let Some(end) = ends.get(id) {
            let store = self.found(id, end).await?;
            if let Some(record) = all.get_mut(id) {
                record.store = Some(store);
            }
        }
        for (region, end) in &ends {
            let told = all.iter().filter(|(told, _)| region == id || *told == id);
            let missing = told.filter(|(told, _)| !end.recorded.regions.contains_key(*told));
            let changes: Vec<RecordChange> = missing
                .map(|(told, record)| {
                    let spec = Spec::Region(Box::new(record.spec.clone()));
                    new(Address::Region(told.clone()), spec, record.store)
                })
                .collect();
            if !changes.is_empty() {
                self.bear((region, end), &changes).await?;
            }
        }
        Ok(unheard)
    }

    async fn found(&self, id: &RegionId, end: &End) -> Result<crate::model::StoreId, FleetError> {
        let nobody = Uuid::nil();
        let by_hand = || Authority {
            lineage: Lineage(nobody),
            term: 0,
            seat: Seat(nobody),
            place: format!("by hand at {}", self.registry.own),
            operation: self.operation,
        };
        let authority = self.seat.clone().unwrap_or_else(by_hand);
        let Identity { region_id, store } = end.port.found(&authority).await.map_err(from_region(id))?;
        if region_id == *id {
            return Ok(store);
        }
        Err(FleetError::Unfit {
            reason: format!("region {region_id} answers where {id} is served"),
            help: Some("check the api_endpoint".to_owned()),
        })
    }
}

/// Whether a region said nothing, and may be gone.
const fn is_silence(error: &PortError) -> bool {
    match error {
        PortError::Unreachable { .. } => true,
        PortError::Busy(_)
        | PortError::Conflict { .. }
        | PortError::NotController { .. }
        | PortError::Role(_)
        | PortError::NotFound(_)
        | PortError::Refused { .. }
        | PortError::Failed(_) => false,
    }
}
