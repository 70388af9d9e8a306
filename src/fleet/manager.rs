//! The front door: one method per thing that can be asked of a fleet.

use std::path::Path;
use std::sync::Arc;

use super::error::FleetError;
use super::options::{Desired, PlanOptions, ReconcileOptions, Review, SavedOptions, Settings, Watch};
use super::report::{Planned, Rebuilt, Restored, Round, RunReport, SyncReport, Verification};
use super::status::{RegionState, ReplicationStatus, StatusReport};
use crate::live::port::PointSelector;
use crate::model::observed::RegionStatus;
use crate::model::point::Point;
use crate::model::{RegionId, ResourceId, RunId, World};
use crate::plan::document::Plan;

/// A fleet of regions as one topology declares it.
#[derive(Debug)]
pub struct MultiRegionManager {
    world: World,
    settings: Settings,
    desired: Arc<Desired>,
}

/// What the road's missing pieces answer until they are in.
fn soon<T>() -> Result<T, FleetError> {
    Err(FleetError::Unfit("not built yet".to_owned()))
}

#[expect(clippy::unused_async, reason = "the bodies come in the next commits")]
impl MultiRegionManager {
    /// A manager of the regions that `desired` declares. Opens nothing yet.
    pub fn new(world: World, settings: Settings, desired: Desired) -> Self {
        Self { world, settings, desired: Arc::new(desired) }
    }

    /// What would be done. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// Unknown targets, a state file that cannot be read, refusals (another lineage's objects).
    pub async fn plan(&self, options: &PlanOptions) -> Result<Planned, FleetError> {
        let _ = (options, &self.world, &self.settings, &self.desired);
        soon()
    }

    /// Plans under the state's lock, lets `review` see the plan, and carries it out.
    ///
    /// # Errors
    /// Where the run was refused, locked out, or could not begin.
    pub async fn apply(
        &self,
        options: &PlanOptions,
        review: &mut dyn Review,
        watch: &Watch,
    ) -> Result<RunReport, FleetError> {
        let _ = (options, review, watch);
        soon()
    }

    /// Carries a saved plan out, after looking again at everything that it touches.
    ///
    /// # Errors
    /// As above; a stale plan is [`FleetError::Refused`].
    pub async fn apply_saved(
        &self,
        plan: Plan,
        options: &SavedOptions,
        review: &mut dyn Review,
        watch: &Watch,
    ) -> Result<RunReport, FleetError> {
        let _ = (plan, options, review, watch);
        soon()
    }

    /// One round: syncs what is due, and mends what it may.
    ///
    /// # Errors
    /// As above.
    pub async fn reconcile(&self, options: &ReconcileOptions, watch: &Watch) -> Result<Round, FleetError> {
        let _ = (options, watch);
        soon()
    }

    /// Copies one resource now, whatever its interval; `accept_change` takes a suspicious source for what it is.
    ///
    /// # Errors
    /// As above; ids that are not declared.
    pub async fn sync_resource(
        &self,
        resource: &ResourceId,
        source: &RegionId,
        target: &RegionId,
        accept_change: bool,
        watch: &Watch,
    ) -> Result<SyncReport, FleetError> {
        let _ = (resource, source, target, accept_change, watch);
        soon()
    }

    /// A resource and its replicas.
    ///
    /// # Errors
    /// Where it is not declared, or no region answers.
    pub async fn get_replication_status(&self, resource: &ResourceId) -> Result<ReplicationStatus, FleetError> {
        let _ = resource;
        soon()
    }

    /// A resource's recovery points at one region, or at every replica's: newest first, set-aside ones last.
    ///
    /// # Errors
    /// Ids that are not declared; a region that does not answer.
    pub async fn points(
        &self,
        resource: &ResourceId,
        region: Option<&RegionId>,
    ) -> Result<Vec<(RegionId, Vec<Point>)>, FleetError> {
        let _ = (resource, region);
        soon()
    }

    /// Reads every byte of the holder's files and of a replica's (or of all replicas') and compares them.
    ///
    /// # Errors
    /// Ids that are not declared; a holder that cannot be read.
    pub async fn verify(
        &self,
        resource: &ResourceId,
        region: Option<&RegionId>,
        watch: &Watch,
    ) -> Result<Verification, FleetError> {
        let _ = (resource, region, watch);
        soon()
    }

    /// Writes one point's files into `into`, from the region named or else from the freshest replica that has it.
    ///
    /// # Errors
    /// Ids that are not declared; unknown points; a directory that is not empty.
    pub async fn export(
        &self,
        resource: &ResourceId,
        region: Option<&RegionId>,
        point: &PointSelector,
        into: &Path,
    ) -> Result<(RegionId, Point), FleetError> {
        let _ = (resource, region, point, into);
        soon()
    }

    /// Discards a copy that was set aside at a region.
    ///
    /// # Errors
    /// Ids that are not declared; an unknown name.
    pub async fn discard(
        &self,
        resource: &ResourceId,
        region: &RegionId,
        name: &str,
        watch: &Watch,
    ) -> Result<RunId, FleetError> {
        let _ = (resource, region, name, watch);
        soon()
    }

    /// Puts a point's files in place of the holder's, which are set aside.
    ///
    /// # Errors
    /// Ids that are not declared; unknown points; a resource that runs.
    pub async fn restore_vm(
        &self,
        resource: &ResourceId,
        from_region: Option<&RegionId>,
        point: &PointSelector,
        watch: &Watch,
    ) -> Result<Restored, FleetError> {
        let _ = (resource, from_region, point, watch);
        soon()
    }

    /// Makes a lost state file anew from what the regions remember.
    ///
    /// # Errors
    /// Where there is one already, or the regions disagree about the lineage.
    pub async fn state_rebuild(&self, watch: &Watch) -> Result<Rebuilt, FleetError> {
        let _ = watch;
        soon()
    }

    /// The declared regions as they are now, all or those of one status.
    ///
    /// # Errors
    /// Where the state file cannot be read.
    pub async fn list_regions(&self, status: Option<RegionStatus>) -> Result<Vec<RegionState>, FleetError> {
        let _ = status;
        soon()
    }

    /// One region as it is now.
    ///
    /// # Errors
    /// Where it is not declared.
    pub async fn check_region_health(&self, region: &RegionId) -> Result<RegionState, FleetError> {
        let _ = region;
        soon()
    }

    /// What is down and why, then lag against promise, then what is held, blocked and waiting.
    ///
    /// # Errors
    /// Where the state file cannot be read.
    pub async fn status(&self) -> Result<StatusReport, FleetError> {
        soon()
    }
}
