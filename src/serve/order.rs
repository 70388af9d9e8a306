//! What a person may order of this region over the guide's endpoints, and how it is carried out at all regions that it
//! concerns.
//!
//! Owns the order of the steps: every region concerned is looked at first, and only when nothing stands in the way is
//! anything written, in the order of their ids. A repeat finishes what an interruption left, and changes nothing that
//! is there.
//!
//! # Who may
//! What is ordered here belongs to nobody (`managed_by` is none), and makes nobody a controller: a topology that is
//! applied later finds regions without one, binds them, and takes over what it declares. Where one of the regions has
//! a controller, the registry and the birth of resources are that one's alone: 409 with its name and place. A region whose
//! own state is the controller, since it failed over, gives births under its seat. Pairs and copies touch neither, and
//! are taken either way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::answer::Failure;
use super::operation::Running;
use super::router::App;
use crate::config::resolve_endpoint;
use crate::fleet::RegionState;
use crate::live::{HttpRegion, PortError, RegionPort};
use crate::model::region::{
    Authority, Identity, Record, RecordChange, RecordWrite, RegionRecord, RegionSnapshot, SyncOrder,
};
use crate::model::topology::{Endpoint, PairSpec, RegionSpec, ResourceSpec, Spec};
use crate::model::{
    Address, Lineage, OperationId, PairId, RegionId, ResourceId, ResourceKey, ResourceType, Seat, StoreId,
};
use crate::plan::deadline;
use crate::region::LocalRegion;
use crate::region::layout::Layout;
use crate::replica::transfer::{SyncOptions, SyncReport, Urgency};
use crate::state::{Seating, StateFile};
use crate::wire::Progressed;
use crate::wire::region::{RegisterRegion, ReplicateVm, ReplicationConfig, SyncResource};

/// What came of an order.
#[derive(Debug)]
pub(super) struct Made<T> {
    pub(super) data: T,
    /// Whether it was not there before.
    pub(super) is_new: bool,
}

/// A VM whose copies were ordered.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Replicated {
    resource_id: ResourceId,
    resource_type: ResourceType,
    #[serde(flatten)]
    body: ReplicateVm,
}

/// A copy that was ordered and made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Synced {
    #[serde(flatten)]
    body: SyncResource,
    success: bool,
    #[serde(flatten)]
    report: SyncReport,
}

/// A region that an order concerns.
#[derive(Debug)]
enum End {
    Own(LocalRegion),
    Other(Arc<HttpRegion>),
}

impl End {
    async fn look(&self) -> Result<RegionSnapshot, PortError> {
        match self {
            Self::Own(region) => region.recorded().await,
            Self::Other(region) => region.snapshot().await,
        }
    }

    async fn found(&self, authority: &Authority) -> Result<Identity, PortError> {
        match self {
            Self::Own(region) => region.found(authority).await,
            Self::Other(region) => region.found(authority).await,
        }
    }

    async fn record(&self, operation: OperationId, changes: &[RecordChange]) -> Result<(), PortError> {
        match self {
            Self::Own(region) => region.record_by_hand(operation, changes).await,
            Self::Other(region) => region.record_by_hand(operation, changes).await,
        }
    }

    /// Records what only the controller may, as which this region orders; by hand where there is none.
    async fn bear(
        &self,
        (operation, seat): (OperationId, Option<&Authority>),
        changes: &[RecordChange],
    ) -> Result<(), PortError> {
        match (self, seat) {
            (_, None) => self.record(operation, changes).await,
            (Self::Own(region), Some(seat)) => region.record(seat, changes).await,
            (Self::Other(region), Some(seat)) => region.record(seat, changes).await,
        }
    }
}

/// Regions that were looked at, with what they record.
type Ends = BTreeMap<RegionId, (End, RegionSnapshot)>;

fn refused(reason: String, help: &str) -> Failure {
    PortError::Refused { reason, help: Some(help.to_owned()) }.into()
}

fn not_found(field: &str, region: &RegionId) -> Failure {
    Failure::not_found(field, format!("region {region} is not registered here"))
}

/// The order to write a record that is not there yet.
fn new(address: Address, spec: Spec, store: Option<StoreId>) -> RecordChange {
    let record = RecordWrite { spec, managed_by: None, store, holder: None, former_id: None };
    RecordChange { address, expected: None, record: Some(record) }
}

/// Whether a region has recorded `seat` as its controller.
fn is_controlled_by(snapshot: &RegionSnapshot, seat: Option<&Authority>) -> bool {
    snapshot.controller.as_ref().zip(seat).is_some_and(|(controller, seat)| controller.gave(seat))
}

/// Refuses what only a region's controller may do.
fn expect_uncontrolled(region: &RegionId, snapshot: &RegionSnapshot) -> Result<(), Failure> {
    match &snapshot.controller {
        None => Ok(()),
        Some(controller) => Err(PortError::NotController {
            region: region.clone(),
            lineage: controller.lineage,
            term: controller.term,
            place: controller.place.clone(),
        }
        .into()),
    }
}

impl App {
    /// Looks at regions, all at once.
    async fn ends(&self, registry: &BTreeMap<RegionId, RegionRecord>, regions: Vec<RegionId>) -> Result<Ends, Failure> {
        let looked = regions.into_iter().map(|region| async move {
            let end = if region == *self.region.region() {
                End::Own(self.region.clone())
            } else {
                let record = registry.get(&region).ok_or_else(|| not_found("region_id", &region))?;
                let unserved = || refused(format!("{region} is not served"), "change it with `apply`");
                End::Other(self.neighbour(&region, record).ok_or_else(unserved)?)
            };
            let snapshot = end.look().await?;
            if let Some(found) = snapshot.identity.as_ref().filter(|identity| identity.region_id != region) {
                let reason = format!("region {} answers where {region} is served", found.region_id);
                return Err(refused(reason, "check the region's api_endpoint"));
            }
            Ok((region, (end, snapshot)))
        });
        Ok(try_join_all(looked).await?.into_iter().collect())
    }

    /// What this region's own state orders as; none where it never took a controller's place, or lost it.
    fn seat(&self, operation: OperationId) -> Result<Option<Authority>, Failure> {
        let state = StateFile::new(Layout::new(self.region.directory()).state());
        let seat = state.read().and_then(|reader| {
            let Some(reader) = reader else { return Ok(None) };
            let Some(Seating { seat, term }) = reader.seating(&self.host)? else { return Ok(None) };
            Ok(Some(Authority { lineage: reader.lineage()?, term, seat, place: reader.place(&self.host), operation }))
        });
        seat.map_err(|error| PortError::Failed(error.to_string()).into())
    }

    /// What this region has recorded, which must have been founded.
    async fn founded(&self) -> Result<RegionSnapshot, Failure> {
        let own = self.region.recorded().await?;
        if own.identity.is_some() {
            return Ok(own);
        }
        let reason = format!("{} knows no region yet, not even itself", self.region.region());
        Err(refused(reason, "register it first, or apply a topology that declares it"))
    }

    /// Registers a region here and at every region that is registered, and tells it of all of them.
    pub(super) async fn register(
        self: &Arc<Self>,
        body: RegisterRegion,
        operation: OperationId,
    ) -> Result<Made<RegionState>, Failure> {
        let RegisterRegion { region_id, name, location, api_endpoint, is_primary, capacity_vms } = body;
        let id = match region_id {
            Some(id) => id,
            None => location.parse().map_err(|error| {
                Failure::bad_request("location", format!("it is no id, so give a region_id too: {error}"))
            })?,
        };
        let Some(Endpoint::Http(_)) = resolve_endpoint(&api_endpoint, Path::new("/")) else {
            let message = "an endpoint is https://HOST[:PORT] or http://HOST[:PORT]".to_owned();
            return Err(Failure::bad_request("api_endpoint", message));
        };
        let own_id = self.region.region().clone();
        let own = if id == own_id { self.region.recorded().await? } else { self.founded().await? };
        let policy = own.regions.get(&own_id).map(|record| record.spec.policy.clone()).unwrap_or_default();
        let spec = RegionSpec {
            name,
            location,
            api_endpoint,
            primary: is_primary,
            capacity_vms,
            labels: BTreeMap::new(),
            policy,
        };
        let known = own.regions.get(&id);
        if let Some(known) = known {
            let same = RegionSpec { labels: spec.labels.clone(), policy: spec.policy.clone(), ..known.spec.clone() };
            if same != spec {
                return Err(Failure::conflict(format!("region {id} is registered already, with other attributes")));
            }
        }
        let is_new = known.is_none();
        if is_new || own.controller.is_none() {
            expect_uncontrolled(&own_id, &own)?;
            let primary = own.regions.iter().find(|(other, record)| **other != id && record.spec.primary);
            if let Some((primary, _)) = primary.filter(|_| spec.primary) {
                return Err(Failure::conflict(format!("{primary} is the primary region already")));
            }
            self.spread(&id, known.map_or(spec, |known| known.spec.clone()), own.regions.clone(), operation).await?;
        }
        // It has answered just now, and is one of those that are asked after from now on.
        let neighbourhood = self.region.neighbourhood().await?.unwrap_or_default();
        if let Some(record) = neighbourhood.regions.get(&id) {
            self.ask(&id, record, &neighbourhood.policy).await;
        }
        let (witness, registry) = self.witness().await?;
        let mut states = self.states(&witness, &registry, std::slice::from_ref(&id)).await;
        let data = states.pop().ok_or_else(|| not_found("region_id", &id))?;
        Ok(Made { data, is_new })
    }

    /// Writes the registration of `id` wherever it is missing, and all others at `id`.
    async fn spread(
        &self,
        id: &RegionId,
        spec: RegionSpec,
        mut registry: BTreeMap<RegionId, RegionRecord>,
        operation: OperationId,
    ) -> Result<(), Failure> {
        registry.entry(id.clone()).or_insert(RegionRecord { spec, store: None, managed_by: None });
        let mut concerned: Vec<RegionId> = registry.keys().cloned().chain([self.region.region().clone()]).collect();
        concerned.sort();
        concerned.dedup();
        let ends = self.ends(&registry, concerned).await?;
        for (region, (_, snapshot)) in &ends {
            expect_uncontrolled(region, snapshot)?;
            let record = |known: &RegionRecord| Record::Region(Box::new(known.clone())).spec().fingerprint();
            let told = if region == id { registry.keys().collect() } else { vec![id] };
            for told in told {
                if snapshot.regions.get(told).is_some_and(|known| record(known) != record(&registry[told])) {
                    return Err(Failure::conflict(format!("{region} records {told} with other attributes")));
                }
            }
        }
        let nobody = Uuid::nil();
        let authority = Authority {
            lineage: Lineage(nobody),
            term: 0,
            seat: Seat(nobody),
            place: format!("by hand at {}", self.region.region()),
            operation,
        };
        if let Some((end, _)) = ends.get(id) {
            let Identity { region_id, store } = end.found(&authority).await?;
            if region_id != *id {
                return Err(refused(
                    format!("region {region_id} answers where {id} is served"),
                    "check the api_endpoint",
                ));
            }
            if let Some(record) = registry.get_mut(id) {
                record.store = Some(store);
            }
        }
        for (region, (end, snapshot)) in &ends {
            let told = registry.iter().filter(|(told, _)| region == id || *told == id);
            let missing = told.filter(|(told, _)| !snapshot.regions.contains_key(*told));
            let changes: Vec<RecordChange> = missing
                .map(|(told, record)| {
                    let spec = Spec::Region(Box::new(record.spec.clone()));
                    new(Address::Region(told.clone()), spec, record.store)
                })
                .collect();
            if !changes.is_empty() {
                end.record(operation, &changes).await?;
            }
        }
        Ok(())
    }

    /// Records a pair at both of its ends.
    pub(super) async fn set_up(
        &self,
        body: ReplicationConfig,
        operation: OperationId,
    ) -> Result<Made<ReplicationConfig>, Failure> {
        let own = self.founded().await?;
        if body.resource_types.is_empty() {
            return Err(Failure::bad_request("resource_types", "a pair carries at least one type".to_owned()));
        }
        if body.sync_interval_seconds == 0 {
            return Err(Failure::bad_request("sync_interval_seconds", "it is at least one second".to_owned()));
        }
        if body.source_region_id == body.target_region_id {
            return Err(Failure::bad_request("target_region_id", "a pair has two ends".to_owned()));
        }
        for (field, region) in
            [("source_region_id", &body.source_region_id), ("target_region_id", &body.target_region_id)]
        {
            if !own.regions.contains_key(region) {
                return Err(not_found(field, region));
            }
        }
        let pair = PairId { source: body.source_region_id.clone(), target: body.target_region_id.clone() };
        let spec = PairSpec {
            resource_types: body.resource_types.clone(),
            sync_interval: Duration::from_secs(body.sync_interval_seconds),
            batch_size: body.batch_size,
            priority: body.priority,
            enabled: body.enabled,
            bidirectional: body.bidirectional,
            compression: body.compression,
            bandwidth_limit: None,
            paused: false,
        };
        let ends = self.ends(&own.regions, vec![pair.source.clone(), pair.target.clone()]).await?;
        for (region, (_, snapshot)) in &ends {
            if snapshot.pairs.get(&pair).is_some_and(|known| known.spec != spec) {
                let message = format!("{region} records the pair from {} to {} otherwise", pair.source, pair.target);
                return Err(Failure::conflict(message));
            }
        }
        let mut is_new = false;
        for (end, _) in ends.values().filter(|(_, snapshot)| !snapshot.pairs.contains_key(&pair)) {
            let change = new(Address::Replication(pair.clone()), Spec::Replication(spec.clone()), None);
            end.record(operation, &[change]).await?;
            is_new = true;
        }
        Ok(Made { data: body, is_new })
    }

    /// Records a VM where it is born and wherever copies of it are kept.
    pub(super) async fn replicate(
        &self,
        body: ReplicateVm,
        operation: OperationId,
    ) -> Result<Made<Replicated>, Failure> {
        let own = self.founded().await?;
        let ReplicateVm { vm_id, primary_region_id, replica_regions } = &body;
        if !own.regions.contains_key(primary_region_id) {
            return Err(not_found("primary_region_id", primary_region_id));
        }
        if let Some(region) = replica_regions.iter().find(|region| !own.regions.contains_key(*region)) {
            return Err(not_found("replica_regions", region));
        }
        if replica_regions.is_empty() || replica_regions.contains(primary_region_id) {
            let message = "copies are kept at least at one other region than the primary".to_owned();
            return Err(Failure::bad_request("replica_regions", message));
        }
        let key = ResourceKey::new(ResourceType::Vm, vm_id.clone());
        let spec = ResourceSpec {
            primary: primary_region_id.clone(),
            replicas: replica_regions.clone(),
            depends_on: Default::default(),
            max_lag: None,
            allowed_regions: BTreeMap::new(),
            labels: BTreeMap::new(),
            max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
        };
        let ends = self.ends(&own.regions, spec.regions().cloned().collect()).await?;
        let seat = self.seat(operation)?;
        let mut living = None;
        for (region, (_, snapshot)) in &ends {
            match snapshot.resources.get(&key) {
                Some(known) if known.spec.primary != spec.primary || known.spec.replicas != spec.replicas => {
                    return Err(Failure::conflict(format!("{region} records {key} otherwise")));
                }
                Some(known) => living = living.max(Some((known.epoch, known.holder.clone()))),
                None if is_controlled_by(snapshot, seat.as_ref()) => {}
                None => expect_uncontrolled(region, snapshot)?,
            }
            let carries = |source: &RegionId, target: &RegionId, both: bool| {
                let pair = snapshot.pairs.get(&PairId { source: source.clone(), target: target.clone() });
                let spec = pair.map(|pair| &pair.spec).filter(|spec| spec.enabled && (!both || spec.bidirectional));
                spec.is_some_and(|spec| spec.resource_types.contains(&ResourceType::Vm))
            };
            let fed = carries(primary_region_id, region, false) || carries(region, primary_region_id, true);
            if region != primary_region_id && !fed {
                let reason = format!("no pair carries VMs from {primary_region_id} to {region}");
                return Err(refused(reason, "set the replication of the two up first"));
            }
        }
        let mut is_new = false;
        for (end, snapshot) in ends.values().filter(|(_, snapshot)| !snapshot.resources.contains_key(&key)) {
            let mut change = new(Address::Resource(key.clone()), Spec::Resource(spec.clone()), None);
            if let Some(record) = &mut change.record {
                record.holder = living.clone().map(|(epoch, holder)| (holder, epoch));
            }
            let seat = seat.as_ref().filter(|seat| is_controlled_by(snapshot, Some(seat)));
            end.bear((operation, seat), &[change]).await?;
            is_new = true;
        }
        Ok(Made { data: Replicated { resource_id: key.id, resource_type: key.kind, body }, is_new })
    }

    /// Copies a resource now, whoever keeps the copy.
    pub(super) async fn sync(self: Arc<Self>, body: SyncResource, running: &Running) -> Result<Synced, Failure> {
        let own = self.founded().await?;
        let SyncResource { resource_id, source_region_id: source, target_region_id: target } = &body;
        for (field, region) in [("source_region_id", source), ("target_region_id", target)] {
            if !own.regions.contains_key(region) && region != self.region.region() {
                return Err(not_found(field, region));
            }
        }
        let mut ends = self.ends(&own.regions, vec![target.clone()]).await?;
        let (end, at) = ends.remove(target).ok_or_else(|| not_found("target_region_id", target))?;
        let recorded = at.resources.iter().find(|(key, _)| key.id == *resource_id);
        let (key, record) = recorded.ok_or_else(|| {
            let message = format!("{target} has no record of resource {resource_id}");
            Failure::not_found("resource_id", message)
        })?;
        if record.holder != *source || source == target {
            let reason = format!("{key} is held by {}, and copied from there", record.holder);
            return Err(refused(reason, "name its holder as the source"));
        }
        let pair = at.pairs.get(&PairId { source: source.clone(), target: target.clone() });
        let pair = pair.or_else(|| at.pairs.get(&PairId { source: target.clone(), target: source.clone() }));
        let order = SyncOrder {
            lineage: record.managed_by.unwrap_or(Lineage(Uuid::nil())),
            term: at.controller.as_ref().map_or(0, |controller| controller.term),
            resource: key.clone(),
            source: source.clone(),
            target: target.clone(),
            epoch: record.epoch,
            operation: running.id,
            compress: pair.is_none_or(|pair| pair.spec.compression),
        };
        let bandwidth_limit = pair.and_then(|pair| pair.spec.bandwidth_limit);
        let urgency = pair.map_or_else(Urgency::default, |pair| Urgency {
            priority: pair.spec.priority,
            deadline: deadline(record.spec.max_lag, &pair.spec, at.replicas.get(key)),
        });
        let options = SyncOptions { bandwidth_limit, urgency, ..SyncOptions::default() };
        let report = match end {
            End::Own(region) => self.fetch(&region, &order, &options, running).await?,
            End::Other(region) => {
                running.is_about(order.resource.clone(), Some(source.clone()));
                let progress = |stage, bytes_done, bytes_total| {
                    running.progress(Progressed { stage, bytes_done, bytes_total }, self.world.clock.since_boot());
                };
                let fetched = region.fetch(&order, &options, &progress, &running.cancel).await;
                let nothing = || refused(format!("{target} fetches nothing by itself"), "copy it with `apply`");
                fetched.ok_or_else(nothing)??
            }
        };
        Ok(Synced { body, success: true, report })
    }
}
