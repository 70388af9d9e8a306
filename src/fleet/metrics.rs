//! The numbers of a reconcile round, for the metrics file. Pure; the caller replaces the file.

use std::time::Duration;

use super::report::{ExitClass, RunReport};
use super::view::{View, record_changes};
use crate::execute::event::Outcome;
use crate::model::observed::Observation;
use crate::model::{Address, ResourceKey};
use crate::plan::document::{Kind, Plan};
use crate::wire::metrics::{Metrics, RegionMetrics, SyncMetrics};

/// Fills the metrics from what the regions answer after the round, from what a plan would do then, and from the
/// round's report.
pub(super) fn metrics(view: View<'_>, plan: &Plan, report: &RunReport) -> Metrics {
    let regions = view.topology.regions.keys().map(|id| {
        let metrics = match view.observed.regions.get(id) {
            Some(Observation::Answered { snapshot, latency }) => {
                RegionMetrics { up: true, latency: Some(*latency), free_bytes: Some(snapshot.free.0) }
            }
            Some(Observation::Silent(_)) | None => RegionMetrics::default(),
        };
        (id.clone(), metrics)
    });
    let answered = view.observed.regions.iter().filter_map(|(observer, observation)| match observation {
        Observation::Answered { snapshot, .. } => Some((observer, &snapshot.sightings)),
        Observation::Silent(_) => None,
    });
    let sightings = answered.flat_map(|(observer, sightings)| {
        sightings.iter().map(move |(region, known)| ((observer.clone(), region.clone()), known.clone()))
    });
    let mut metrics = Metrics {
        syncs: std::collections::BTreeMap::new(),
        regions: regions.collect(),
        sightings: sightings.collect(),
        reconciled_at: Some(view.now),
        reconcile_succeeded: report.class == ExitClass::Done,
        reconcile_duration: report.duration,
        changes: record_changes(plan) as u64,
        drift: plan.drift.len() as u64,
        blocked: plan.blocked.len() as u64,
        held: plan.held.len() as u64,
        open: view.open().len() as u64,
        paused: view.pauses().count() as u64,
        foreign_starts: view.foreign_starts().count() as u64,
        still_held: view.still_held().count() as u64,
        unobserved: view.observed.regions.values().filter(|o| matches!(o, Observation::Silent(_))).count() as u64,
        failed: u64::from(report.counts.failed),
    };
    for (key, spec) in &view.topology.resources {
        for (region, replica) in view.resource(key, spec).replicas {
            let (last_sync_bytes, last_sync_duration) = last_sync(report, key, &region).unzip();
            let sync = SyncMetrics {
                lag: replica.lag,
                max_lag: Some(replica.promise),
                last_sync_bytes,
                last_sync_duration,
                points: replica.points.map(u64::from),
            };
            metrics.syncs.insert((key.clone(), region), sync);
        }
    }
    metrics
}

/// What the round's copy of the resource to the region moved, and how long it took.
fn last_sync(report: &RunReport, key: &ResourceKey, region: &crate::model::RegionId) -> Option<(u64, Duration)> {
    let copied = report.outcomes.iter().find(|ended| {
        ended.kind == Kind::Sync
            && ended.address == Address::Resource(key.clone())
            && ended.regions.contains(region)
            && matches!(ended.outcome, Outcome::Done | Outcome::Unchanged)
    })?;
    Some((copied.bytes.0, copied.duration))
}
