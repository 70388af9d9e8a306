//! The front door: what a fleet is, and everything that only reads it. Reading takes no lock of the state and writes
//! nothing anywhere.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::compare::compare;
use super::declare::Ground;
use super::error::FleetError;
use super::options::{Desired, PlanOptions, Settings};
use super::registry::Registry;
use super::report::{Planned, PointsAt, ReplicaVerification, Verification};
use super::road::Sight;
use super::status::{
    GlobalStatistics, LastRun, RegionState, RegionStatistics, ReplicationStatus, StateView, StatusReport, Trouble,
    TroubleKind,
};
use super::view::View;
use crate::execute::records;
use crate::execute::schedule::Limits;
use crate::live::Extent;
use crate::live::port::{FileVerdict, PointSelector, PortError, RegionPort};
use crate::model::observed::{Observed, RegionStatus};
use crate::model::point::{Point, PointState};
use crate::model::topology::ResourceSpec;
use crate::model::{Address, RegionId, ResourceId, ResourceKey, World};
use crate::plan::document::{Mode, Plan};
use crate::replica::port::TransferError;
use crate::state::{HistoryFilter, RunOutcome, StateFile};
use std::sync::Arc;

/// A fleet of regions as one topology declares it.
#[derive(Debug, Clone)]
pub struct MultiRegionManager {
    pub(super) world: World,
    pub(super) settings: Settings,
    pub(super) desired: Desired,
    /// Ports that are there already; others are opened by their endpoints.
    pub(super) at_hand: BTreeMap<RegionId, Arc<dyn RegionPort>>,
    /// The files that declaring edits; none: it is handed a topology, and edits none.
    pub(super) ground: Option<Ground>,
    /// What stands for files; none: files do, or the topology that it was handed.
    pub(super) registry: Option<Arc<Registry>>,
}

impl PlanOptions {
    /// As the planner takes them.
    pub(super) fn for_planner(&self) -> crate::plan::PlanOptions {
        crate::plan::PlanOptions {
            mode: if self.refresh_only { Mode::RefreshOnly } else { Mode::Normal },
            targets: self.targets.clone(),
            prune: self.prune,
            max_prune: self.max_prune.unwrap_or(crate::plan::PlanOptions::DEFAULT_MAX_PRUNE),
            adopt: self.adopt,
            ..crate::plan::PlanOptions::default()
        }
    }
}

impl MultiRegionManager {
    /// A manager of the regions that `desired` declares. Opens nothing yet.
    pub fn new(world: World, settings: Settings, desired: Desired) -> Self {
        Self { world, settings, desired, at_hand: BTreeMap::new(), ground: None, registry: None }
    }

    /// The same, which reaches these regions by ports that are there already.
    #[must_use]
    pub fn reaching(self, at_hand: BTreeMap<RegionId, Arc<dyn RegionPort>>) -> Self {
        Self { at_hand, ..self }
    }

    /// How much may run at once.
    pub(super) fn limits(&self) -> Limits {
        Limits { parallelism: self.settings.parallelism.max(1), ..Limits::default() }
    }

    fn view<'a>(&'a self, observed: &'a Observed) -> View<'a> {
        View { topology: &self.desired.topology, observed, now: self.world.clock.now() }
    }

    /// What would be done. Takes no lock and writes nothing.
    ///
    /// Where there is no state file yet the plan carries the nil lineage, so that the same inputs give the same plan;
    /// `apply_saved` takes it as that of the state that it makes.
    ///
    /// # Errors
    /// Unknown targets, a state file that cannot be read, refusals (another lineage's objects), no region answering.
    pub async fn plan(&self, options: &PlanOptions) -> Result<Planned, FleetError> {
        let sight = self.look().await?;
        let mut plan = self.plan_of(&sight, &options.for_planner())?;
        sight.warn(&mut plan, options.adopt);
        let Sight {
            recorded,
            superseded: _,
            observed,
            looked_at: _,
            seating: _,
            ports: _,
            silent: _,
            obeyed: _,
            returned: _,
        } = sight;
        Ok(Planned { plan, observed: Arc::unwrap_or_clone(observed), recorded })
    }

    /// The declared regions as they are now, all or those of one status.
    ///
    /// # Errors
    /// Where the state file cannot be read.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let all = manager.list_regions(None).await?;
    /// assert_eq!(all.len(), 2);
    /// let healthy = manager.list_regions(Some(RegionStatus::Healthy)).await?;
    /// assert!(healthy.iter().all(|region| region.latency_ms.is_some()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_regions(&self, status: Option<RegionStatus>) -> Result<Vec<RegionState>, FleetError> {
        let mut states = self.view(&self.look_at_records().await?).regions();
        self.add_heartbeats(&mut states)?;
        states.retain(|state| status.is_none_or(|status| state.status == status));
        Ok(states)
    }

    /// When silent regions answered last, as far as this state or another region remembers.
    fn add_heartbeats(&self, states: &mut [RegionState]) -> Result<(), FleetError> {
        if states.iter().all(|state| state.latency_ms.is_some()) {
            return Ok(());
        }
        let Some(reader) = StateFile::new(&self.settings.state).read()? else { return Ok(()) };
        let answers = reader.last_answers()?;
        for state in states {
            state.last_heartbeat = state.last_heartbeat.max(answers.get(&state.region_id).copied());
        }
        Ok(())
    }

    /// One region as it is now, and how it looks to the others.
    ///
    /// # Errors
    /// Where it is not declared, or the state file cannot be read.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let region = manager.get_region(&"us-east-1".parse()?).await?;
    /// assert_eq!((region.name.as_str(), region.status), ("US East 1", RegionStatus::Healthy));
    /// assert_eq!((region.current_vms, region.capacity_vms, region.utilization_percent()), (Some(1), 1000, Some(0.1)));
    /// assert!(matches!(manager.get_region(&"us-est-1".parse()?).await, Err(FleetError::UnknownRegion { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_region(&self, region: &RegionId) -> Result<RegionState, FleetError> {
        self.declared_region(region)?;
        let observed = self.look_at_records().await?;
        let mut state = self.view(&observed).region(region).ok_or_else(|| self.unknown_region(region))?;
        self.add_heartbeats(std::slice::from_mut(&mut state))?;
        Ok(state)
    }

    /// One region's numbers.
    ///
    /// # Errors
    /// As above.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let east = manager.get_region_statistics(&"us-east-1".parse()?).await?;
    /// assert_eq!((east.resources_primary, east.resources_replica, east.failover_events), (Some(1), Some(0), 0));
    /// // One copy was made within the hour, there where it is kept.
    /// let west = manager.get_region_statistics(&"us-west-1".parse()?).await?;
    /// assert_eq!(west.resources_synced_per_minute, Some(1.0 / 60.0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_region_statistics(&self, region: &RegionId) -> Result<RegionStatistics, FleetError> {
        let state = self.get_region(region).await?;
        Ok(RegionStatistics::of(&state, &self.get_failover_history(Some(region), None)?))
    }

    /// The numbers of all declared regions together.
    ///
    /// # Errors
    /// Where the state file cannot be read.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let all = manager.get_global_statistics().await?;
    /// assert_eq!((all.total_regions, all.healthy_regions, all.total_resources), (2, 2, 1));
    /// assert_eq!((all.failover_events_total, all.failover_events_failed), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_global_statistics(&self) -> Result<GlobalStatistics, FleetError> {
        let states = self.list_regions(None).await?;
        Ok(GlobalStatistics::of(&states, &self.get_failover_history(None, None)?))
    }

    /// One region as it is now; the others are asked to look at it now, too. Those that don't answer say nothing.
    ///
    /// # Errors
    /// Where it is not declared.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let east = manager.check_region_health(&"us-east-1".parse()?).await?;
    /// assert_eq!(east.status, RegionStatus::Healthy);
    /// // A directory is looked at by nobody else.
    /// assert!(east.seen_by.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check_region_health(&self, region: &RegionId) -> Result<RegionState, FleetError> {
        self.declared_region(region)?;
        let port = self.open_one(region)?;
        let ports = std::collections::BTreeMap::from([(region.clone(), port)]);
        let (recorded, ..) = self.remembered()?;
        let others = self.desired.topology.endpoints.iter().filter(|(other, _)| *other != region);
        let views = others.map(|(other, endpoint)| async move {
            let seen = self.open(other, endpoint).look_at(region).await;
            Some((other.clone(), seen.ok().flatten()?.evidence))
        });
        let (observed, views) =
            futures_util::future::join(self.observe(&ports, Extent::Records), join_all(views)).await;
        let observed = self.judge(&recorded, observed);
        let mut state = self.view(&observed).region(region).ok_or_else(|| self.unknown_region(region))?;
        self.add_heartbeats(std::slice::from_mut(&mut state))?;
        state.seen_by.extend(views.into_iter().flatten());
        if state.status == RegionStatus::Healthy || state.status == RegionStatus::Degraded {
            let returning = state.seen_by.values().any(|seen| seen.status == RegionStatus::Recovering);
            state.status = if returning { RegionStatus::Recovering } else { state.status };
        }
        Ok(state)
    }

    /// A resource and its replicas.
    ///
    /// # Errors
    /// Where it is not declared, or the state file cannot be read.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let status = manager.get_replication_status(&"web-1".parse()?).await?;
    /// assert_eq!((status.resource_id.as_str(), status.version), ("web-1", Some(1)));
    /// let west = &status.replicas[&"us-west-1".parse()?];
    /// assert_eq!(west.status, SyncStatus::InSync);
    /// assert!(west.lag.is_some_and(|lag| lag < west.promise));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_replication_status(&self, resource: &ResourceId) -> Result<ReplicationStatus, FleetError> {
        let (key, spec) = self.declared_resource(resource)?;
        let sight = self.look().await?;
        Ok(self.view(&sight.observed).resource(&key, spec))
    }

    /// What is down and why, then lag against promise, then what is held, blocked and waiting.
    ///
    /// Where no plan can be made (no region answers, another lineage's objects), what it would say is left empty and
    /// the reason stands among the troubles.
    ///
    /// # Errors
    /// Where the state file cannot be read.
    pub async fn status(&self) -> Result<StatusReport, FleetError> {
        let sight = self.look().await?;
        let view = self.view(&sight.observed);
        let options = PlanOptions::default().for_planner();
        let (plan, refusal) = match self.plan_of(&sight, &options) {
            Ok(plan) => (Some(plan), None),
            Err(error) => (None, Some(error)),
        };
        let resources: Vec<ReplicationStatus> =
            self.desired.topology.resources.iter().map(|(key, spec)| view.resource(key, spec)).collect();
        let reader = StateFile::new(&self.settings.state).read()?;
        let mut tries = Vec::new();
        if let (Some(reader), Some(plan)) = (&reader, &plan) {
            for change in plan.effects() {
                tries.extend(reader.last_try(&change.address, &change.id)?);
            }
        }
        let mut troubles = view.troubles(&resources, plan.as_ref(), &tries);
        if let Some(refusal @ FleetError::Refused(_)) = refusal {
            let address = refusal.address().cloned();
            let gates = match &refusal {
                FleetError::Refused(gates) => gates.iter().find_map(|gate| gate.help.clone()),
                _ => None,
            };
            let any = self.desired.topology.regions.keys().next().cloned().map(Address::Region);
            troubles.extend(address.or(any).map(|address| Trouble {
                kind: TroubleKind::Run,
                address,
                region_id: None,
                reason: refusal.to_string(),
                help: gates,
            }));
        }
        let last_run = match &reader {
            Some(reader) => reader.history(&HistoryFilter { limit: Some(1), ..HistoryFilter::default() })?.pop(),
            None => None,
        };
        let mut regions = view.regions();
        self.add_heartbeats(&mut regions)?;
        let empty = |plan: Option<&Plan>| plan.map_or_else(Default::default, |plan| plan.summary);
        Ok(StatusReport {
            at: view.now,
            troubles,
            regions,
            resources,
            work: view.work(),
            held: plan.as_ref().map(|plan| plan.held.clone()).unwrap_or_default(),
            blocked: plan.as_ref().map(|plan| plan.blocked.clone()).unwrap_or_default(),
            waiting: plan.as_ref().map(|plan| plan.waiting.clone()).unwrap_or_default(),
            unmanaged: plan.as_ref().map(|plan| plan.unmanaged.clone()).unwrap_or_default(),
            pending: empty(plan.as_ref()),
            state: StateView {
                path: self.settings.state.display().to_string(),
                exists: reader.is_some(),
                lineage: sight.recorded.lineage,
                serial: sight.recorded.serial,
                objects: u32::try_from(sight.recorded.objects.len()).unwrap_or(u32::MAX),
            },
            last_run: last_run.map(|entry| LastRun {
                command: entry.run.command,
                who: entry.run.who,
                at: entry.run.started_at,
                outcome: words(entry.run.outcome, entry.run.message.as_deref()),
            }),
        })
    }

    /// A resource's recovery points at one region, or at every replica's. A region that keeps none has an empty list,
    /// and one that does not answer its reason, as long as another one answers.
    ///
    /// # Errors
    /// Ids that are not declared; where no region answers, the first one's error.
    pub async fn points(&self, resource: &ResourceId, region: Option<&RegionId>) -> Result<Vec<PointsAt>, FleetError> {
        let (key, spec) = self.declared_resource(resource)?;
        let asked = self.places(spec, region)?.into_iter().map(|region| {
            let key = &key;
            async move { (self.points_at(key, &region).await, region) }
        });
        let told = join_all(asked).await;
        let any = told.iter().any(|(points, _)| points.is_ok());
        let listed = told.into_iter().map(|(points, region_id)| match points {
            Err(FleetError::Region { source, .. }) if any => Ok(PointsAt { region_id, points: Err(*source) }),
            points => points.map(|points| PointsAt { region_id, points: Ok(points) }),
        });
        listed.collect()
    }

    /// A resource's recovery points at one region.
    pub(super) async fn points_at(&self, key: &ResourceKey, region: &RegionId) -> Result<Vec<Point>, FleetError> {
        match self.open_one(region)?.points(key).await {
            Ok(points) => Ok(points),
            Err(PortError::NotFound(_)) => Ok(Vec::new()),
            Err(source) => Err(FleetError::Region {
                region: region.clone(),
                address: key.clone().into(),
                source: Box::new(source),
            }),
        }
    }

    /// Reads every byte of the holder's files and of one replica's (or of all replicas') and compares them, file by
    /// file. Writes nothing; what is damaged is repaired by the next `apply`.
    ///
    /// # Errors
    /// Ids that are not declared; a holder that cannot be read. A replica that cannot be read is part of the answer.
    pub async fn verify(&self, resource: &ResourceId, region: Option<&RegionId>) -> Result<Verification, FleetError> {
        let (key, spec) = self.declared_resource(resource)?;
        let sight = self.look().await?;
        let holder = records::holder(&sight.observed, &key).map_or_else(|| spec.primary.clone(), |known| known.region);
        let mut places = self.places(spec, region)?;
        places.retain(|place| *place != holder);
        let read = |region: RegionId| {
            let (port, key) = (self.open_one(&region), key.clone());
            async move {
                let checked = match port {
                    Ok(port) => port.verify(&key).await,
                    Err(error) => Err(PortError::Failed(error.to_string())),
                };
                (region, checked)
            }
        };
        let (source, targets) =
            futures_util::future::join(read(holder.clone()), join_all(places.into_iter().map(read))).await;
        let source = source.1.map_err(|source| FleetError::Region {
            region: holder.clone(),
            address: key.clone().into(),
            source: Box::new(source),
        })?;
        let replicas = targets.into_iter().map(|(region_id, checked)| match checked {
            Ok(check) => {
                let files = compare(&source, &check);
                ReplicaVerification {
                    region_id,
                    equal: files.iter().all(|file| file.equal),
                    intact: check.files.iter().all(|file| file.verdict == FileVerdict::Identical),
                    files,
                    error: None,
                }
            }
            Err(error) => ReplicaVerification {
                region_id,
                equal: false,
                intact: false,
                files: Vec::new(),
                error: Some(error.to_string()),
            },
        });
        let replicas = replicas.collect();
        Ok(Verification { resource: key, holder, source, replicas })
    }

    /// Writes one point's files into `into`, from the region named or else from the replica whose newest point is the
    /// latest. Points are numbered by each replica for itself: one by its number needs its region where several have
    /// that number.
    ///
    /// # Errors
    /// Ids that are not declared; unknown points; a directory that is not empty.
    pub async fn export(
        &self,
        resource: &ResourceId,
        region: Option<&RegionId>,
        point: &PointSelector,
        into: &Path,
        cancel: &CancellationToken,
    ) -> Result<(RegionId, Point), FleetError> {
        let (key, _) = self.declared_resource(resource)?;
        if self.settings.disk.read_dir(into).is_ok_and(|names| !names.is_empty()) {
            let reason = format!("{} is not empty", into.display());
            let help = "name a directory that is empty, or one that is not there yet".to_owned();
            return Err(FleetError::Unfit { reason, help: Some(help) });
        }
        let from = self.region_with(resource, region, point).await?;
        let port = self.open_one(&from)?;
        match export_until(&*port, &key, point, into, cancel).await {
            Ok(point) => Ok((from, point)),
            Err(_) if cancel.is_cancelled() => Err(FleetError::Interrupted),
            Err(source) => Err(FleetError::Region { region: from, address: key.into(), source: Box::new(source) }),
        }
    }

    /// The region that a point is taken from: the one named, or else the replica whose newest point is the latest.
    ///
    /// # Errors
    /// Ids that are not declared; unknown points; several regions that have a point of that number.
    pub async fn region_with(
        &self,
        resource: &ResourceId,
        region: Option<&RegionId>,
        point: &PointSelector,
    ) -> Result<RegionId, FleetError> {
        let (key, spec) = self.declared_resource(resource)?;
        if let Some(region) = region {
            self.declared_region(region)?;
            if self.points_at(&key, region).await?.iter().any(|found| selects(point, found)) {
                return Ok(region.clone());
            }
        }
        let mut having = Vec::new();
        let mut listed = Vec::new();
        let mut silent = Vec::new();
        for place in self.places(spec, None)? {
            match self.points_at(&key, &place).await {
                Ok(points) => {
                    let found = points.iter().find(|found| selects(point, found));
                    having.extend(found.map(|found| (found.verified_at, place.clone())));
                    listed.push((place, points));
                }
                Err(error) => silent.push(format!("{place}: {error}")),
            }
        }
        if let Some(region) = region {
            let which = match point {
                PointSelector::Newest => "no complete point".to_owned(),
                PointSelector::Sequence(number) => format!("no point {number}"),
                PointSelector::Name(name) => format!("nothing named `{name}`"),
            };
            let reason = format!("{region} keeps {which} of {resource}");
            return Err(FleetError::Unfit { reason, help: Some(there_are(&listed, &silent)) });
        }
        // The latest; of equally late ones, the first by name.
        having.sort_by(|(a, first), (b, second)| b.cmp(a).then(first.cmp(second)));
        match (having.first(), point) {
            (Some(_), PointSelector::Sequence(number)) if having.len() > 1 => {
                let places: Vec<&str> = having.iter().map(|(_, place)| place.as_str()).collect();
                Err(FleetError::Unfit {
                    reason: format!(
                        "{} regions have a point {number} of {resource}: {}",
                        places.len(),
                        places.join(", ")
                    ),
                    help: Some("say of which region, with `--region`; of a restore, with `--from`".to_owned()),
                })
            }
            (Some((_, place)), _) => Ok(place.clone()),
            (None, _) => Err(FleetError::Unfit {
                reason: format!("no region that answers has that point of {resource}"),
                help: Some(there_are(&listed, &silent)),
            }),
        }
    }

    /// Where the resource has to do with, or the one region asked for.
    fn places(&self, spec: &ResourceSpec, region: Option<&RegionId>) -> Result<Vec<RegionId>, FleetError> {
        match region {
            Some(region) => {
                self.declared_region(region)?;
                Ok(vec![region.clone()])
            }
            // After a failover the place of birth keeps points too.
            None => Ok(spec.replicas.iter().chain([&spec.primary]).cloned().collect()),
        }
    }

    pub(super) fn declared_region(&self, region: &RegionId) -> Result<(), FleetError> {
        if self.desired.topology.regions.contains_key(region) { Ok(()) } else { Err(self.unknown_region(region)) }
    }

    pub(super) fn unknown_region(&self, region: &RegionId) -> FleetError {
        let known = self.desired.topology.regions.keys().map(ToString::to_string).collect();
        FleetError::UnknownRegion { id: region.to_string(), known }
    }

    pub(super) fn declared_resource(&self, id: &ResourceId) -> Result<(ResourceKey, &ResourceSpec), FleetError> {
        let resources = &self.desired.topology.resources;
        let found = resources.iter().find(|(key, _)| key.id == *id);
        found.map(|(key, spec)| (key.clone(), spec)).ok_or_else(|| FleetError::UnknownResource {
            id: id.to_string(),
            known: resources.keys().map(|key| key.id.to_string()).collect(),
        })
    }

    /// One declared region's port.
    pub(super) fn open_one(&self, region: &RegionId) -> Result<Arc<dyn RegionPort>, FleetError> {
        let endpoint = self.desired.topology.endpoints.get(region).ok_or_else(|| self.unknown_region(region))?;
        Ok(self.open(region, endpoint))
    }

    pub(super) async fn observe(&self, ports: &BTreeMap<RegionId, Arc<dyn RegionPort>>, extent: Extent) -> Observed {
        let policy = &self.desired.topology.policy.health;
        crate::live::observe(self.world.clock.as_ref(), ports, extent, crate::live::OBSERVE_DEADLINE, policy).await
    }
}

/// Exports a point, or stops it when `cancel` is; then `into` is as it was.
pub(super) async fn export_until(
    port: &dyn RegionPort,
    resource: &ResourceKey,
    point: &PointSelector,
    into: &Path,
    cancel: &CancellationToken,
) -> Result<Point, PortError> {
    if cancel.is_cancelled() {
        return Err(PortError::Failed(TransferError::Interrupted.to_string()));
    }
    let exporting = port.export(resource, point, into);
    tokio::pin!(exporting);
    tokio::select! {
        // What has not begun cannot be stopped.
        biased;
        exported = &mut exporting => exported,
        () = cancel.cancelled() => {
            port.interrupt();
            exporting.await
        }
    }
}

/// Whether the selector means this point.
fn selects(selector: &PointSelector, point: &Point) -> bool {
    match selector {
        PointSelector::Newest => point.state == PointState::Complete,
        // What a restore set aside has a name only.
        PointSelector::Sequence(number) => *number > 0 && point.sequence == *number,
        PointSelector::Name(name) => point.name.as_ref() == Some(name),
    }
}

/// The points that can be asked for, region by region.
pub(super) fn there_are(listed: &[(RegionId, Vec<Point>)], silent: &[String]) -> String {
    const SHOWN: usize = 12;
    let of = |(region, points): &(RegionId, Vec<Point>)| {
        let name = |point: &Point| point.name.clone().unwrap_or_else(|| point.sequence.to_string());
        let mut names = points.iter().take(SHOWN).map(name).collect::<Vec<_>>().join(", ");
        if points.len() > SHOWN {
            names.push_str(&format!(" and {} more", points.len() - SHOWN));
        }
        format!("{names} at {region}")
    };
    let known: Vec<String> = listed.iter().filter(|(_, points)| !points.is_empty()).map(of).collect();
    let known = match known.as_slice() {
        [] if silent.is_empty() => "no region keeps a point of it; `apply` makes the first ones".to_owned(),
        [] => "no region that answers keeps a point of it".to_owned(),
        known => format!("known: {}", known.join("; ")),
    };
    std::iter::once(known).chain(silent.iter().cloned()).collect::<Vec<_>>().join("; ")
}

fn words(outcome: RunOutcome, message: Option<&str>) -> String {
    let outcome = match outcome {
        RunOutcome::Running => "running",
        RunOutcome::Done => "done",
        RunOutcome::Partial => "partly done",
        RunOutcome::Failed => "failed",
        RunOutcome::Refused => "refused",
        RunOutcome::Interrupted => "interrupted",
        RunOutcome::Abandoned => "killed",
    };
    // The message of a refusal begins with that word already.
    let again = format!("{outcome}: ");
    message.map_or_else(
        || outcome.to_owned(),
        |message| format!("{again}{}", message.strip_prefix(&again).unwrap_or(message)),
    )
}
