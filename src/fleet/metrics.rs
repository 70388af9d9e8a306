//! The numbers of a reconcile round, for the metrics file, and those of what one region has recorded. Pure; the caller
//! replaces the file, or answers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{ExitClass, RunReport};
use super::view::{View, record_changes};
use super::witness::Witness;
use crate::execute::event::Outcome;
use crate::model::event::FailoverTally;
use crate::model::observed::Observation;
use crate::model::region::{RegionSnapshot, Role};
use crate::model::{Address, RegionId, ResourceKey, ResourceType};
use crate::plan::document::{Kind, Plan};
use crate::wire::metrics::{Metrics, RegionMetrics, SyncMetrics};
use crate::wire::served::{KeptCopies, RecordedMetrics};

/// What the state file counts.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Copies made or found to be as their source, by the region that keeps them.
    pub(super) syncs: BTreeMap<RegionId, u64>,
    /// Its failovers.
    pub(super) failovers: FailoverTally,
}

fn vms(snapshot: &RegionSnapshot) -> u64 {
    let held = snapshot.resources.iter().filter(|(_, record)| record.role == Role::Holder);
    held.filter(|(key, _)| key.kind == ResourceType::Vm).count() as u64
}

fn fenced(snapshot: &RegionSnapshot) -> u64 {
    snapshot.resources.values().filter(|record| record.role == Role::Fenced).count() as u64
}

/// Fills the metrics from what the regions answer after the round, from what a plan would do then, from the round's
/// report, and from what the state counts.
pub(super) fn metrics(view: View<'_>, plan: &Plan, report: &RunReport, counted: Counted) -> Metrics {
    let Counted { syncs, failovers } = counted;
    let regions = view.topology.regions.iter().map(|(id, spec)| {
        let known = RegionMetrics {
            vm_capacity: spec.capacity_vms.into(),
            syncs: syncs.get(id).copied().unwrap_or(0),
            ..RegionMetrics::default()
        };
        let metrics = match view.observed.regions.get(id) {
            Some(Observation::Answered { snapshot, latency }) => RegionMetrics {
                up: true,
                latency: Some(*latency),
                free_bytes: Some(snapshot.free.0),
                vms: Some(vms(snapshot)),
                fenced: Some(fenced(snapshot)),
                ..known
            },
            Some(Observation::Silent(_)) | None => known,
        };
        (id.clone(), metrics)
    });
    let sightings = view.observed.answering().flat_map(|(observer, seen)| {
        seen.sightings.iter().map(move |(region, known)| ((observer.clone(), region.clone()), known.clone()))
    });
    let mut metrics = Metrics {
        syncs: BTreeMap::new(),
        regions: regions.collect(),
        sightings: sightings.collect(),
        audit_period: Some(&view.topology.policy.audit).filter(|audit| audit.enabled).map(|audit| audit.period),
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
        held_twice: view.held_twice().count() as u64,
        failovers,
        still_held: view.still_held().count() as u64,
        unobserved: view.observed.regions.values().filter(|o| matches!(o, Observation::Silent(_))).count() as u64,
        failed: u64::from(report.counts.failed),
    };
    let last_syncs = last_syncs(report);
    for (key, spec) in &view.topology.resources {
        let status = view.resource(key, spec);
        let holder = status.primary_region.unwrap_or_else(|| spec.primary.clone());
        for (region, replica) in status.replicas {
            let pair = view.topology.settings_between(&spec.primary, &holder, &region, key.kind);
            let (last_sync_bytes, last_sync_duration) = last_syncs.get(&(key, &region)).copied().unzip();
            let kept = view.observed.snapshot(&region).and_then(|seen| seen.replicas.get(key));
            let audit = kept.and_then(|kept| kept.audit.as_ref());
            let sync = SyncMetrics {
                lag: replica.lag,
                max_lag: Some(replica.promise),
                interval: pair.as_ref().map(|(_, pair)| pair.sync_interval),
                paused: pair.is_some_and(|(_, pair)| pair.paused),
                last_sync_bytes,
                last_sync_duration,
                points: replica.points.map(u64::from),
                audit_age: audit.map(|audit| view.now.since(audit.began)),
                damage_found: audit.map(|audit| audit.found),
            };
            metrics.syncs.insert((key.clone(), region), sync);
        }
    }
    metrics
}

/// What the round's copies moved, and how long they took, by resource and the region that was copied to.
fn last_syncs(report: &RunReport) -> BTreeMap<(&ResourceKey, &RegionId), (u64, Duration)> {
    let mut last = BTreeMap::new();
    for ended in report.outcomes.iter().filter(|ended| ended.kind == Kind::Sync) {
        let (Address::Resource(key), Outcome::Done | Outcome::Unchanged) = (&ended.address, ended.outcome) else {
            continue;
        };
        for region in &ended.regions {
            last.entry((key, region)).or_insert((ended.bytes.0, ended.duration));
        }
    }
    last
}

impl Witness {
    /// The numbers of what the region itself has recorded, beside the failovers that it knows; none where it was not
    /// founded.
    pub fn recorded(&self, failovers: FailoverTally) -> Option<RecordedMetrics> {
        let (own, topology, now) = (self.own(), self.topology(), self.now());
        let snapshot = self.snapshot().filter(|snapshot| snapshot.identity.is_some())?;
        let mut copies: BTreeMap<(RegionId, ResourceType), KeptCopies> = BTreeMap::new();
        for (key, record) in snapshot.resources.iter().filter(|(_, record)| record.role == Role::Replica) {
            let pair = topology.settings_between(&record.spec.primary, &record.holder, own, key.kind);
            let newest = snapshot.replicas.get(key).and_then(|replica| replica.newest.as_ref());
            let lag = newest.map(|newest| now.since(newest.point.verified_at));
            let interval = pair.as_ref().map(|(_, pair)| pair.sync_interval);
            let paused = pair.is_some_and(|(_, pair)| pair.paused);
            let place = (record.holder.clone(), key.kind);
            let kept = copies.entry(place).or_insert_with(|| KeptCopies { paused, ..KeptCopies::default() });
            kept.replicas += 1;
            kept.without_points += u64::from(newest.is_none());
            let audit = snapshot.replicas.get(key).and_then(|replica| replica.audit.as_ref());
            kept.audit_age = kept.audit_age.max(audit.map(|audit| now.since(audit.began)));
            kept.damage_found += audit.map_or(0, |audit| audit.found);
            kept.lag = kept.lag.max(lag);
            kept.interval = kept.interval.into_iter().chain(interval).min();
            kept.paused &= paused;
        }
        Some(RecordedMetrics {
            vms: vms(snapshot),
            vm_capacity: topology.regions.get(own).map(|spec| spec.capacity_vms.into()),
            free_bytes: snapshot.free.0,
            fenced: fenced(snapshot),
            open: snapshot.resources.values().filter(|record| record.operation.is_some()).count() as u64,
            paused: snapshot.paused.is_some(),
            foreign_starts: snapshot.foreign_starts.len() as u64,
            copies,
            failovers,
        })
    }
}
