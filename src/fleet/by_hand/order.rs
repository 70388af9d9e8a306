//! An order by hand: as whom it is given, and the regions that it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::resolve_endpoint;
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::registry::Registry;
use crate::live::{PortError, RegionPort};
use crate::model::region::{Authority, RecordChange, RecordWrite, RegionSnapshot};
use crate::model::topology::{Endpoint, Spec};
use crate::model::{Address, OperationId, RegionId, StoreId};
use crate::state::{Seating, StateFile};

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made<T> {
    /// What is there now.
    pub data: T,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// A region that an order concerns, with what it has recorded.
#[derive(Debug)]
pub(super) struct End {
    pub(super) port: Arc<dyn RegionPort>,
    pub(super) recorded: RegionSnapshot,
}

/// Regions that were looked at.
pub(super) type Ends = BTreeMap<RegionId, End>;

/// An order, and as whom it is given.
#[derive(Debug)]
pub(super) struct Order<'a> {
    manager: &'a MultiRegionManager,
    pub(super) registry: &'a Registry,
    pub(super) operation: OperationId,
    /// As the regions' controller; none: by hand, as nobody.
    pub(super) seat: Option<Authority>,
}

impl MultiRegionManager {
    /// Begins an order. Nothing is asked or written yet.
    pub(super) fn order_by_hand(&self, operation: OperationId) -> Result<Order<'_>, FleetError> {
        let registry = self.registry.as_deref().ok_or_else(|| FleetError::Unfit {
            reason: "this fleet has files: what they say would be undone by the next `apply`".to_owned(),
            help: Some("declare it in them".to_owned()),
        })?;
        let seat = self.own_seat(operation)?.filter(|seat| is_seat_of(&registry.recorded, seat));
        Ok(Order { manager: self, registry, operation, seat })
    }

    /// What this fleet's own state orders as; none where it never took a controller's place, or lost it.
    fn own_seat(&self, operation: OperationId) -> Result<Option<Authority>, FleetError> {
        let host = &self.settings.host;
        let Some(reader) = StateFile::new(&self.settings.state).read()? else { return Ok(None) };
        let Some(Seating { seat, term }) = reader.seating(host)? else { return Ok(None) };
        Ok(Some(Authority { lineage: reader.lineage()?, term, seat, place: reader.place(host), operation }))
    }
}

/// Whether a region has recorded this as its controller.
fn is_seat_of(recorded: &RegionSnapshot, seat: &Authority) -> bool {
    recorded.controller.as_ref().is_some_and(|controller| controller.gave(seat))
}

/// What a region answered instead of doing it.
pub(super) fn from_region(region: &RegionId) -> impl FnOnce(PortError) -> FleetError {
    let region = region.clone();
    |source| FleetError::Region { address: Address::Region(region.clone()), region, source: Box::new(source) }
}

/// The order to write a record that is not there yet.
pub(super) fn new(address: Address, spec: Spec, store: Option<StoreId>) -> RecordChange {
    let record = RecordWrite { spec, managed_by: None, store, holder: None, former_id: None };
    RecordChange { address, expected: None, record: Some(record) }
}

impl Order<'_> {
    /// What the region has recorded that is asked, which must have been founded.
    pub(super) fn founded(&self) -> Result<&RegionSnapshot, FleetError> {
        let Registry { own, recorded } = self.registry;
        match recorded.identity {
            Some(_) => Ok(recorded),
            None => Err(FleetError::Unfit {
                reason: format!("{own} knows no region yet, not even itself"),
                help: Some("register it first, or apply a topology that declares it".to_owned()),
            }),
        }
    }

    /// Refuses what is not registered.
    pub(super) fn expect_registered(&self, region: &RegionId) -> Result<(), FleetError> {
        let Registry { own, recorded } = self.registry;
        if recorded.regions.contains_key(region) || region == own {
            return Ok(());
        }
        let known = recorded.regions.keys().map(ToString::to_string).collect();
        Err(FleetError::UnknownRegion { id: region.to_string(), known })
    }

    /// Refuses what only a region's controller may do, where that is somebody else.
    pub(super) fn expect_control(&self, region: &RegionId, recorded: &RegionSnapshot) -> Result<(), FleetError> {
        match &recorded.controller {
            None => Ok(()),
            Some(_) if self.seat.as_ref().is_some_and(|seat| is_seat_of(recorded, seat)) => Ok(()),
            Some(controller) => Err(from_region(region)(PortError::NotController {
                region: region.clone(),
                lineage: controller.lineage,
                term: controller.term,
                place: controller.place.clone(),
            })),
        }
    }

    fn port(&self, region: &RegionId, api_endpoint: &str) -> Result<Arc<dyn RegionPort>, FleetError> {
        if let Some(port) = self.manager.at_hand.get(region) {
            return Ok(Arc::clone(port));
        }
        match resolve_endpoint(api_endpoint, Path::new("/")) {
            Some(endpoint @ Endpoint::Http(_)) => Ok(self.manager.open(region, &endpoint)),
            Some(Endpoint::Directory(_)) | None => Err(FleetError::Unfit {
                reason: format!("{region} is not served: {api_endpoint}"),
                help: Some("declare it in a topology, and change it with `apply`".to_owned()),
            }),
        }
    }

    async fn look(&self, region: &RegionId, api_endpoint: &str) -> Result<End, FleetError> {
        let port = self.port(region, api_endpoint)?;
        let recorded = if *region == self.registry.own {
            self.registry.recorded.clone()
        } else {
            port.snapshot().await.map_err(from_region(region))?
        };
        match recorded.identity.as_ref().filter(|identity| identity.region_id != *region) {
            None => Ok(End { port, recorded }),
            Some(other) => Err(FleetError::Unfit {
                reason: format!("region {} answers where {region} is served", other.region_id),
                help: Some("check the region's api_endpoint".to_owned()),
            }),
        }
    }

    /// Looks at registered regions, all at once.
    pub(super) async fn ends(&self, regions: BTreeSet<&RegionId>) -> Result<Ends, FleetError> {
        self.look_at(regions.into_iter().map(|region| (region, "")).collect()).await.into_iter().collect()
    }

    /// Looks at regions where they are said to be served; where that is not said, where they are registered. Gives of
    /// each what it answered.
    pub(super) async fn look_at(&self, regions: BTreeMap<&RegionId, &str>) -> Vec<Result<(RegionId, End), FleetError>> {
        let looks = regions.into_iter().map(|(region, said)| async move {
            let registered = self.registry.recorded.regions.get(region);
            let endpoint = registered.map_or(said, |record| record.spec.api_endpoint.as_str());
            Ok((region.clone(), self.look(region, endpoint).await?))
        });
        join_all(looks).await
    }

    /// Writes what needs no controller: it belongs to nobody.
    pub(super) async fn write(
        &self,
        (region, end): (&RegionId, &End),
        changes: &[RecordChange],
    ) -> Result<(), FleetError> {
        end.port.record_by_hand(self.operation, changes).await.map_err(from_region(region))
    }

    /// Writes what only the controller may; by hand where there is none.
    pub(super) async fn bear(
        &self,
        (region, end): (&RegionId, &End),
        changes: &[RecordChange],
    ) -> Result<(), FleetError> {
        match &self.seat {
            None => self.write((region, end), changes).await,
            Some(seat) => end.port.record(seat, changes).await.map_err(from_region(region)),
        }
    }
}
