//! What a person may order of this region over the guide's endpoints: the library's orders to a fleet that has no files,
//! with what this region has recorded in their place.
//!
//! Programs that a policy names run here only where the region's own configuration allows them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Failure;
use super::operation::Running;
use super::router::App;
use crate::config::{Credentials, resolve_endpoint};
use crate::fleet::{FleetError, KnownFleet, Made, MultiRegionManager, OrderedCopy, RegionState, Registered, Settings};
use crate::host::HostDisk;
use crate::live::{PortError, RegionPort};
use crate::model::region::RegionSnapshot;
use crate::model::topology::Endpoint;
use crate::model::{OperationId, PairId, RegionId, ResourceId, ResourceType};
use crate::region::layout::Layout;
use crate::replica::transfer::SyncReport;
use crate::state::StateError;
use crate::wire::region::{RegisterRegion, ReplicateVm, ReplicationConfig, ReplicationPair, SyncResource, WhichPair};
use crate::wire::{FaultCode, Progressed};

/// How long another order of this region is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A region that was registered.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RegisteredRegion {
    #[serde(flatten)]
    region: RegionState,
    /// Regions that did not answer and were not told of it, and why; a repeat of the request tells them.
    unheard: BTreeMap<RegionId, String>,
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

impl App {
    /// How this region reaches itself and the regions that it has recorded.
    pub(super) fn ports(&self, recorded: &RegionSnapshot) -> BTreeMap<RegionId, Arc<dyn RegionPort>> {
        let own = self.region.region();
        let others = recorded.regions.iter().filter(|(region, _)| *region != own);
        let mut ports: BTreeMap<RegionId, Arc<dyn RegionPort>> = BTreeMap::new();
        for (region, record) in others {
            if let Some(port) = self.neighbour(region, record) {
                ports.insert(region.clone(), port);
            }
        }
        ports.insert(own.clone(), Arc::new(self.region.clone()));
        ports
    }

    /// The fleet as this region knows it; `others` have said what they have recorded.
    pub(super) async fn manager(
        &self,
        command: &str,
        recorded: RegionSnapshot,
        others: Vec<RegionSnapshot>,
        ports: BTreeMap<RegionId, Arc<dyn RegionPort>>,
    ) -> Result<MultiRegionManager, Failure> {
        let settings = Settings {
            state: Layout::new(self.region.directory()).state(),
            parallelism: Settings::DEFAULT_PARALLELISM,
            lock_timeout: PATIENCE,
            host: self.host.clone(),
            disk: Arc::new(HostDisk),
            guard: None,
            exec_guard: self.region.exec_guard().map(<[String]>::to_vec),
            allowed_hooks: Some(self.region.allowed_hooks().await?),
            // Every port is at hand.
            credentials: Arc::new(Credentials::default()),
            command: format!("POST /api/v1/{command}"),
        };
        let known = KnownFleet { own: self.region.region().clone(), recorded, others, ports };
        Ok(MultiRegionManager::of_region(self.world.clone(), settings, known))
    }

    /// The same, of which nobody else was asked anything.
    async fn ordering(&self, command: &str) -> Result<MultiRegionManager, Failure> {
        let recorded = self.region.recorded().await?;
        let ports = self.ports(&recorded);
        self.manager(command, recorded, Vec::new(), ports).await
    }

    /// Registers a region, and asks after it at once.
    pub(super) async fn register(
        self: &Arc<Self>,
        body: RegisterRegion,
        operation: OperationId,
    ) -> Result<Made<RegisteredRegion>, Failure> {
        let recorded = self.region.recorded().await?;
        let mut ports = self.ports(&recorded);
        // What makes no sense of it is the library's to say.
        if let (Ok(id), Some(Endpoint::Http(origin))) =
            (body.id(), resolve_endpoint(&body.api_endpoint, Path::new("/")))
        {
            let newcomer = || -> Arc<dyn RegionPort> { self.newcomer(&id, &origin, &recorded) };
            ports.entry(id.clone()).or_insert_with(newcomer);
        }
        let manager = self.manager("regions", recorded, Vec::new(), ports).await?;
        let Registered { is_new, unheard } = manager.register_region_as(operation, &body).await?;
        let id = body.id().map_err(|_| Failure::bug())?;
        let neighbourhood = self.region.neighbourhood().await?.unwrap_or_default();
        if let Some(record) = neighbourhood.regions.get(&id) {
            self.ask(&id, record, &neighbourhood.policy).await;
        }
        let region = self.state_of(&id).await?;
        Ok(Made { data: RegisteredRegion { region, unheard }, is_new })
    }

    /// Records a pair at both of its ends.
    pub(super) async fn set_up(
        &self,
        body: ReplicationConfig,
        operation: OperationId,
    ) -> Result<Made<ReplicationPair>, Failure> {
        let manager = self.ordering("replication/setup").await?;
        let made = manager.setup_replication_as(operation, &body).await;
        let (source, target) = (&body.source_region_id, &body.target_region_id);
        made.map_err(|error| naming(error, [("source_region_id", source), ("target_region_id", target)]))
    }

    /// Lets a pair's copies rest, or go on.
    pub(super) async fn pause(
        &self,
        WhichPair { source_region_id: source, target_region_id: target }: WhichPair,
        paused: bool,
        operation: OperationId,
    ) -> Result<ReplicationPair, Failure> {
        let manager = self.ordering(if paused { "replication/pause" } else { "replication/resume" }).await?;
        let pair = PairId { source: source.clone(), target: target.clone() };
        let made = manager.pause_replication_as(operation, &pair, paused).await;
        let named = |error| naming(error, [("source_region_id", &source), ("target_region_id", &target)]);
        Ok(made.map_err(named)?.data)
    }

    /// Records a VM where it is born and wherever copies of it are kept.
    pub(super) async fn replicate(
        &self,
        body: ReplicateVm,
        operation: OperationId,
    ) -> Result<Made<Replicated>, Failure> {
        let manager = self.ordering("vms/replicate").await?;
        let replicas = body.replica_regions.iter().map(|region| ("replica_regions", region));
        let made = manager.replicate_vm_as(operation, &body).await;
        let Made { data, is_new } = made.map_err(|error| {
            naming(error, [("primary_region_id", &body.primary_region_id)].into_iter().chain(replicas))
        })?;
        Ok(Made { data: Replicated { resource_id: data.id, resource_type: data.kind, body }, is_new })
    }

    /// Copies a resource now, whoever keeps the copy.
    pub(super) async fn sync(&self, body: SyncResource, running: &Running) -> Result<Synced, Failure> {
        let SyncResource { resource_id: _, source_region_id: source, target_region_id: target } = &body;
        let manager = self.ordering("replication/sync").await?;
        let copy = manager.sync_resource_as(running.id, &body).await;
        let named = |error| naming(error, [("source_region_id", source), ("target_region_id", target)]);
        let OrderedCopy { target: port, order, options } = copy.map_err(named)?;
        let report = if target == self.region.region() {
            self.fetch(&self.region, &order, &options, running).await?
        } else {
            running.is_about(order.resource.clone(), Some(source.clone()));
            let progress = |stage, bytes_done, bytes_total| {
                running.progress(Progressed { stage, bytes_done, bytes_total }, self.world.clock.since_boot());
            };
            let fetched = port.fetch(&order, &options, &progress, &running.cancel).await;
            let nothing = || PortError::Refused {
                reason: format!("{target} fetches nothing by itself"),
                help: Some("copy it with `apply`".to_owned()),
            };
            fetched.ok_or_else(nothing)??
        };
        Ok(Synced { body, success: true, report })
    }
}

/// The failure of an order, with the field that named what is not there.
fn naming<'a>(error: FleetError, fields: impl IntoIterator<Item = (&'static str, &'a RegionId)>) -> Failure {
    let field = match &error {
        FleetError::UnknownRegion { id, .. } => {
            fields.into_iter().find(|(_, region)| region.as_str() == id).map(|(field, _)| field)
        }
        FleetError::UnknownResource { .. } => Some("resource_id"),
        FleetError::UnknownPair { .. } => Some("target_region_id"),
        FleetError::State(_)
        | FleetError::Journal(_)
        | FleetError::Topology(_)
        | FleetError::Request(_)
        | FleetError::Refused(_)
        | FleetError::Interrupted
        | FleetError::Argument { .. }
        | FleetError::Conflict { .. }
        | FleetError::Unfit { .. }
        | FleetError::Io { .. }
        | FleetError::TakeOver { .. }
        | FleetError::Region { .. } => None,
    };
    let failure = Failure::from(error);
    field.map_or(failure.clone(), |field| failure.with("field", field))
}

/// Why the library did not do it, as the client is told.
impl From<FleetError> for Failure {
    fn from(error: FleetError) -> Self {
        let (message, help) = (error.to_string(), error.help());
        let failure = match error {
            FleetError::Argument { field, reason } => Self::bad_request(field, reason),
            FleetError::Conflict { .. } => Self::conflict(message),
            FleetError::UnknownRegion { .. } | FleetError::UnknownResource { .. } | FleetError::UnknownPair { .. } => {
                Self::own(FaultCode::NotFound, message)
            }
            FleetError::Unfit { reason, help } => PortError::Refused { reason, help }.into(),
            FleetError::Refused(gates) => {
                let help = gates.into_iter().find_map(|gate| gate.help);
                return PortError::Refused { reason: message, help }.into();
            }
            FleetError::State(StateError::Locked { .. }) | FleetError::Interrupted => Self::busy(&message),
            FleetError::Region { source, .. } => told_by(*source, message),
            FleetError::TakeOver { source, .. } => match *source {
                PortError::NotController { region, lineage, term, place } => {
                    PortError::NotController { region, lineage, term, place }.into()
                }
                PortError::Unreachable { status, reason: _, help } => {
                    PortError::Unreachable { status, reason: message, help }.into()
                }
                PortError::Busy(_)
                | PortError::Conflict { .. }
                | PortError::Role(_)
                | PortError::NotFound(_)
                | PortError::Refused { .. }
                | PortError::Failed(_) => PortError::Failed(message).into(),
            },
            FleetError::State(_)
            | FleetError::Journal(_)
            | FleetError::Topology(_)
            | FleetError::Request(_)
            | FleetError::Io { .. } => PortError::Failed(message).into(),
        };
        failure.helped(help)
    }
}

/// A region's own words; of one that does not answer also which one it is.
fn told_by(error: PortError, message: String) -> Failure {
    match error {
        PortError::Unreachable { status, reason: _, help } => {
            PortError::Unreachable { status, reason: message, help }.into()
        }
        PortError::Busy(_) => PortError::Busy(message).into(),
        PortError::Failed(_) => PortError::Failed(message).into(),
        PortError::Conflict { .. }
        | PortError::NotController { .. }
        | PortError::Role(_)
        | PortError::NotFound(_)
        | PortError::Refused { .. } => error.into(),
    }
}
