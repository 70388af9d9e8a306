//! The fleet as one region knows it: its registry stands for the files, what it saw of the others for their answers.
//!
//! The region's own records, what it knows from asking, and what others said of themselves go in; the same views as
//! those of a topology come out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::registry::{learn_pairs, topology_of};
use super::status::{RegionState, ReplicationStatus};
use super::view::View;
use crate::live::RegionPort;
use crate::model::observed::{Observation, Observed, RegionStatus, Unobserved};
use crate::model::region::RegionSnapshot;
use crate::model::sighting::{Evidence, Observer};
use crate::model::topology::Topology;
use crate::model::{Clock, RegionId, ResourceId, ResourceKey, Timestamp};
use crate::wire::region::{RegionHealth, RegionNumbers};

/// One region's knowledge of the fleet.
#[derive(Debug)]
pub struct Witness {
    own: RegionId,
    topology: Topology,
    observed: Observed,
    sightings: BTreeMap<RegionId, Evidence>,
    now: Timestamp,
}

impl Witness {
    /// What the region `own` knows, which has just said `snapshot` of itself.
    pub fn new(own: RegionId, snapshot: RegionSnapshot, now: Timestamp) -> Self {
        let topology = topology_of(&own, &snapshot);
        let sightings = snapshot.sightings.clone();
        let answer = Observation::Answered { snapshot: Box::new(snapshot), latency: Duration::ZERO };
        Self { observed: Observed { regions: BTreeMap::from([(own.clone(), answer)]) }, own, topology, sightings, now }
    }

    /// The region whose knowledge this is.
    pub(super) const fn own(&self) -> &RegionId {
        &self.own
    }

    /// When it was asked.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// What stands for the files.
    pub(super) const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What it said of itself.
    pub(super) fn snapshot(&self) -> Option<&RegionSnapshot> {
        self.observed.snapshot(&self.own)
    }

    /// The regions that are registered.
    pub fn registered(&self) -> impl Iterator<Item = &RegionId> {
        self.topology.regions.keys()
    }

    /// What it says of itself besides.
    pub fn says(&mut self, snapshot: RegionSnapshot) {
        let answer = Observation::Answered { snapshot: Box::new(snapshot), latency: Duration::ZERO };
        self.observed.regions.insert(self.own.clone(), answer);
    }

    /// Asks others of a resource, all at once. What they know of pairs that feed each other is learned, too.
    pub async fn ask<P: RegionPort>(
        &mut self,
        others: impl IntoIterator<Item = (RegionId, Arc<P>)>,
        resource: &ResourceKey,
        clock: &dyn Clock,
    ) {
        let asked = others.into_iter().map(|(region, port)| async move {
            let began = clock.since_boot();
            let observation = match port.snapshot_of(resource).await {
                Ok(snapshot) => Observation::Answered {
                    snapshot: Box::new(snapshot),
                    latency: clock.since_boot().saturating_sub(began),
                },
                Err(error) => Observation::Silent(Unobserved {
                    status: RegionStatus::Unknown,
                    reason: error.to_string(),
                    help: error.help(),
                }),
            };
            (region, observation)
        });
        for (region, observation) in join_all(asked).await {
            if let Observation::Answered { snapshot, .. } = &observation {
                learn_pairs(&mut self.topology, snapshot);
            }
            self.observed.regions.insert(region, observation);
        }
    }

    /// Whether it is worth asking a region something now.
    pub fn expects_answers_of(&self, region: &RegionId) -> bool {
        let status = self.sightings.get(region).map_or(RegionStatus::Unknown, |seen| seen.status);
        // One that is displayed as unreachable for its slowness does answer.
        let answers = self.sightings.get(region).is_some_and(|seen| seen.silent_for.is_none());
        answers && status != RegionStatus::Unknown
    }

    /// One region, with what it said of itself in short; none where it is not registered.
    pub fn region(&self, id: &RegionId, numbers: Option<&RegionNumbers>) -> Option<RegionState> {
        let mut state = View { topology: &self.topology, observed: &self.observed, now: self.now }.region(id)?;
        if *id == self.own {
            return Some(state);
        }
        if let Some(seen) = self.sightings.get(id) {
            state.status = seen.status;
            state.latency_ms =
                seen.latency.filter(|_| seen.silent_for.is_none()).map(|latency| latency.as_secs_f64() * 1e3);
            state.last_heartbeat = seen.last_seen.map(|age| self.now.before(age));
            state.reason = seen.failure.clone().filter(|_| is_down(seen.status));
        }
        if let Some(numbers) = numbers {
            let RegionNumbers {
                current_vms,
                resources_primary,
                resources_replica,
                free_bytes,
                replication_lag_seconds,
                resources_synced_per_minute,
                bandwidth_mbps,
            } = numbers;
            state.bandwidth_mbps = state.bandwidth_mbps.or(*bandwidth_mbps);
            state.current_vms = *current_vms;
            state.resources_primary = *resources_primary;
            state.resources_replica = *resources_replica;
            state.free_bytes = *free_bytes;
            state.replication_lag_seconds = *replication_lag_seconds;
            state.resources_synced_per_minute = *resources_synced_per_minute;
        }
        Some(state)
    }

    /// How a region looks; none where it is not registered.
    pub fn health(&self, id: &RegionId) -> Option<RegionHealth> {
        let state = self.region(id, None)?;
        let unseen = || Evidence {
            status: state.status,
            last_seen: (*id == self.own).then_some(Duration::ZERO),
            silent_for: None,
            failures: 0,
            lost: false,
            latency: (*id == self.own).then_some(Duration::ZERO),
            last_probe: (*id == self.own).then_some(Duration::ZERO),
            failure: (*id != self.own).then(|| format!("{} does not ask after it: it is not served", self.own)),
        };
        let evidence = self.sightings.get(id).filter(|_| *id != self.own).cloned().unwrap_or_else(unseen);
        let Observer { evidence, sees } = Observer::new(evidence, &self.sightings, &self.topology.policy.health);
        Some(RegionHealth {
            region_id: id.clone(),
            observer: self.own.clone(),
            latency_ms: state.latency_ms,
            last_heartbeat: state.last_heartbeat,
            evidence,
            sees,
        })
    }

    /// A resource that this region has recorded.
    pub fn resource(&self, id: &ResourceId) -> Option<&ResourceKey> {
        self.topology.resources.keys().find(|key| key.id == *id)
    }

    /// The regions whose answers [`Witness::replication`] rests on.
    pub fn concerned(&self, key: &ResourceKey) -> Vec<RegionId> {
        let Some(spec) = self.topology.resources.get(key) else { return Vec::new() };
        let recorded = self.observed.snapshot(&self.own).and_then(|own| own.resources.get(key));
        let mut regions: Vec<RegionId> = spec.regions().chain(recorded.map(|record| &record.holder)).cloned().collect();
        regions.sort();
        regions.dedup();
        regions.retain(|region| *region != self.own);
        regions
    }

    /// A resource and its replicas, as far as those who were asked have said.
    pub fn replication(&self, key: &ResourceKey) -> Option<ReplicationStatus> {
        let spec = self.topology.resources.get(key)?;
        Some(View { topology: &self.topology, observed: &self.observed, now: self.now }.resource(key, spec))
    }
}

const fn is_down(status: RegionStatus) -> bool {
    match status {
        RegionStatus::Unreachable | RegionStatus::Unknown => true,
        RegionStatus::Healthy | RegionStatus::Degraded | RegionStatus::Recovering => false,
    }
}
