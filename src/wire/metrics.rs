//! The metrics file: plain numbers in, Prometheus's text format out.
//!
//! Owns the names, which are a promise to dashboards and alerts. Leaves to others where the numbers come from and how
//! the file is replaced. A run writes what it saw: most values are gauges. What is counted is counted in the state
//! file, and outlives the runs. The same numbers give the same text.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exposition::{Durations, Family, Labels, Values, text};
use super::served::SIGHTINGS;
use crate::model::event::FailoverTally;
use crate::model::sighting::Evidence;
use crate::model::{RegionId, ResourceKey, Timestamp};

/// What is known of one resource at one target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SyncMetrics {
    /// Now minus the newest point's `verified_at`; none where there is no point.
    pub lag: Option<Duration>,
    /// The recovery point that it is promised.
    pub max_lag: Option<Duration>,
    /// The time after which it is due again; none where nothing feeds it.
    pub interval: Option<Duration>,
    /// Whether its copies rest because somebody said so.
    pub paused: bool,
    /// Bytes that travelled in the last sync of this run.
    pub last_sync_bytes: Option<u64>,
    /// How long that sync took.
    pub last_sync_duration: Option<Duration>,
    /// Points that can be given back.
    pub points: Option<u64>,
    /// How long ago the reading back of it began that is under way; none: none is.
    pub audit_age: Option<Duration>,
    /// How often bytes that were read back were not what was copied; none: nothing ever was.
    pub damage_found: Option<u64>,
}

/// What is known of one region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionMetrics {
    /// Whether it answered.
    pub up: bool,
    /// How long its answer took.
    pub latency: Option<Duration>,
    /// Room left for points.
    pub free_bytes: Option<u64>,
    /// How many VMs it holds.
    pub vms: Option<u64>,
    /// How many VMs it can hold.
    pub vm_capacity: u64,
    /// Resources that it may start nothing of.
    pub fenced: Option<u64>,
    /// Copies that runs of this state made there or found to be as their source, ever.
    pub syncs: u64,
}

/// All numbers of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// By resource and target.
    pub syncs: BTreeMap<(ResourceKey, RegionId), SyncMetrics>,
    /// By region.
    pub regions: BTreeMap<RegionId, RegionMetrics>,
    /// By observer and region: what regions know of each other from asking.
    pub sightings: BTreeMap<(RegionId, RegionId), Evidence>,
    /// The time within which all that a replica holds is read back once; none: nothing is.
    pub audit_period: Option<Duration>,
    /// When the last reconcile ended.
    pub reconciled_at: Option<Timestamp>,
    /// Whether all of it succeeded.
    pub reconcile_succeeded: bool,
    /// How long it took.
    pub reconcile_duration: Duration,
    /// Changes never applied.
    pub changes: u64,
    /// Objects that differ from what was applied.
    pub drift: u64,
    /// Syncs that safety stops.
    pub blocked: u64,
    /// Objects where an emergency put them.
    pub held: u64,
    /// Resources that an operation is open on.
    pub open: u64,
    /// Regions that keep a pause of failovers.
    pub paused: u64,
    /// Machines that run at regions that do not hold them.
    pub foreign_starts: u64,
    /// Resources that more than one region says it holds.
    pub held_twice: u64,
    /// Failovers of this state.
    pub failovers: FailoverTally,
    /// Resources that an earlier run may have left frozen or snapshotted.
    pub still_held: u64,
    /// Regions that gave no answer.
    pub unobserved: u64,
    /// Actions of this run that failed.
    pub failed: u64,
}

impl Metrics {
    /// The numbers in Prometheus's text format, as a textfile collector reads it.
    pub fn to_text(&self) -> String {
        text("debvisor_region", &self.families())
    }

    /// Name, help and values of every metric, in the order in which they stand in the file.
    fn families(&self) -> Vec<Family> {
        let Self {
            syncs,
            regions,
            sightings,
            audit_period,
            reconciled_at,
            reconcile_succeeded,
            reconcile_duration,
            changes,
            drift,
            blocked,
            held,
            open,
            paused,
            foreign_starts,
            held_twice,
            failovers,
            still_held,
            unobserved,
            failed,
        } = self;
        let per_sync = |name, help, value: fn(&SyncMetrics) -> Option<f64>| {
            let values = syncs
                .iter()
                .filter_map(|((resource, target), sync)| value(sync).map(|value| (of_sync(resource, target), value)));
            Family { name, help, values: Values::Gauge(values.collect()) }
        };
        let per_region = |name, help, value: fn(&RegionMetrics) -> Option<f64>| {
            let values =
                regions.iter().filter_map(|(region, metrics)| value(metrics).map(|value| (of_region(region), value)));
            Family { name, help, values: Values::Gauge(values.collect()) }
        };
        let single = |name, help, value| Family { name, help, values: Values::Gauge(vec![(Vec::new(), value)]) };
        let damage = syncs
            .iter()
            .filter_map(|((resource, target), sync)| Some((of_sync(resource, target), sync.damage_found? as f64)));
        let syncs_made = regions.iter().map(|(region, metrics)| (of_region(region), metrics.syncs as f64));
        let FailoverTally { succeeded, failed: in_vain, refused, open: _, durations } = failovers;
        let ended = [("succeeded", succeeded), ("failed", in_vain), ("refused", refused)];
        let ended = ended.map(|(outcome, number)| (vec![("outcome", outcome.to_owned())], *number as f64));
        let seconds = |duration: Duration| duration.as_secs_f64();
        let mut families = vec![
            per_sync("replication_lag_seconds", "Time since the replica was last known to equal its source", |sync| {
                sync.lag.map(|lag| lag.as_secs_f64())
            }),
            per_sync("replication_max_lag_seconds", "The lag that the resource is promised at most", |sync| {
                sync.max_lag.map(|lag| lag.as_secs_f64())
            }),
            per_sync("replication_interval_seconds", "The time after which the replica is due for a copy", |sync| {
                sync.interval.map(|interval| interval.as_secs_f64())
            }),
            per_sync("replication_paused", "Whether the replica's pair is paused", |sync| {
                Some(f64::from(u8::from(sync.paused)))
            }),
            per_sync("last_sync_bytes", "Bytes that travelled in the last sync", |sync| {
                sync.last_sync_bytes.map(|bytes| bytes as f64)
            }),
            per_sync("last_sync_duration_seconds", "How long the last sync took", |sync| {
                sync.last_sync_duration.map(|duration| duration.as_secs_f64())
            }),
            per_sync("recovery_points", "Points that can be given back", |sync| {
                sync.points.map(|points| points as f64)
            }),
            per_sync(
                "audit_age_seconds",
                "Time since the reading back of all that the replica holds began that is under way",
                |sync| sync.audit_age.map(|age| age.as_secs_f64()),
            ),
            Family {
                name: "audit_damage_total",
                help: "How often bytes that were read back were not what was copied",
                values: Values::Counter(damage.collect()),
            },
            per_region("up", "Whether the region answered", |region| Some(f64::from(u8::from(region.up)))),
            per_region("latency_seconds", "How long the region's answer took", |region| {
                region.latency.map(|latency| latency.as_secs_f64())
            }),
            per_region("free_bytes", "Room left for the region's points", |region| {
                region.free_bytes.map(|bytes| bytes as f64)
            }),
            per_region("vms", "VMs that the region holds", |region| region.vms.map(|vms| vms as f64)),
            per_region("vm_capacity", "VMs that the region can hold", |region| Some(region.vm_capacity as f64)),
            per_region("fenced_resources", "Resources that the region may start nothing of", |region| {
                region.fenced.map(|fenced| fenced as f64)
            }),
            Family {
                name: "resource_syncs_total",
                help: "Copies that were made at the region, or found to be as their source",
                values: Values::Counter(syncs_made.collect()),
            },
            Family {
                name: "failovers_total",
                help: "Failovers that ended, by how; refused ones attempted nothing",
                values: Values::Counter(ended.into()),
            },
            Family {
                name: "failover_duration_seconds",
                help: "How long failovers took that led resources where they were to go",
                values: Values::Histogram(Durations::of(durations)),
            },
            single("changes", "Changes that were never applied", *changes as f64),
            single("drift", "Objects whose live state differs from what was applied", *drift as f64),
            single("blocked", "Syncs that safety stops", *blocked as f64),
            single("held", "Objects that an emergency put where they are", *held as f64),
            single("failover_open", "Resources that an operation is open on", *open as f64),
            single("failover_paused", "Regions that keep that nothing fails over without a person", *paused as f64),
            single("foreign_starts", "Machines that run at regions that do not hold them", *foreign_starts as f64),
            single("held_twice", "Resources that more than one region says it holds", *held_twice as f64),
            single("still_held", "Resources whose writers an earlier run may have left frozen", *still_held as f64),
            single("unobserved_regions", "Regions of which nothing can be said", *unobserved as f64),
            single("failed_actions", "Actions of the last reconcile that failed", *failed as f64),
        ];
        families.extend(SIGHTINGS.map(|(name, help, value)| {
            let values = sightings.iter().filter_map(|((observer, region), known)| {
                let labels = vec![("observer", observer.to_string()), ("region", region.to_string())];
                value(known).map(|value| (labels, value))
            });
            Family { name, help, values: Values::Gauge(values.collect()) }
        }));
        let last = failovers.last_duration().map(|took| (Vec::new(), seconds(took)));
        families.push(Family {
            name: "last_failover_duration_seconds",
            help: "How long the last failover took",
            values: Values::Gauge(last.into_iter().collect()),
        });
        families.push(Family {
            name: "audit_period_seconds",
            help: "The time within which all that a replica holds is read back once",
            values: Values::Gauge(audit_period.iter().map(|period| (Vec::new(), seconds(*period))).collect()),
        });
        if let Some(at) = reconciled_at {
            families.extend([
                single("reconcile_timestamp_seconds", "When the last reconcile ended", at.as_micros() as f64 / 1e6),
                single(
                    "reconcile_success",
                    "Whether everything in the last reconcile succeeded",
                    f64::from(u8::from(*reconcile_succeeded)),
                ),
                single("reconcile_duration_seconds", "How long the last reconcile took", seconds(*reconcile_duration)),
            ]);
        }
        families
    }
}

fn of_sync(resource: &ResourceKey, target: &RegionId) -> Labels {
    vec![("resource", resource.id.to_string()), ("type", resource.kind.to_string()), ("target", target.to_string())]
}

fn of_region(region: &RegionId) -> Labels {
    vec![("region", region.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::RegionStatus;

    #[test]
    fn the_text_is_what_dashboards_read() {
        let sync = SyncMetrics {
            lag: Some(Duration::from_millis(1500)),
            max_lag: Some(Duration::from_secs(900)),
            interval: Some(Duration::from_secs(300)),
            paused: true,
            last_sync_bytes: Some(1 << 40),
            last_sync_duration: Some(Duration::from_secs(2)),
            points: Some(3),
            audit_age: Some(Duration::from_secs(86_400)),
            damage_found: Some(1),
        };
        let never = SyncMetrics { max_lag: Some(Duration::from_secs(900)), ..SyncMetrics::default() };
        let metrics = Metrics {
            syncs: BTreeMap::from([
                (("vm.web-1".parse().unwrap(), "west".parse().unwrap()), sync),
                (("vm.db".parse().unwrap(), "west".parse().unwrap()), never),
            ]),
            regions: BTreeMap::from([
                (
                    "west".parse().unwrap(),
                    RegionMetrics {
                        up: true,
                        latency: Some(Duration::from_micros(1200)),
                        free_bytes: Some(10),
                        vms: Some(7),
                        vm_capacity: 1000,
                        fenced: Some(1),
                        syncs: 12,
                    },
                ),
                ("east".parse().unwrap(), RegionMetrics::default()),
            ]),
            sightings: BTreeMap::from([(
                ("west".parse().unwrap(), "east".parse().unwrap()),
                Evidence {
                    status: RegionStatus::Unreachable,
                    last_seen: Some(Duration::from_secs(90)),
                    silent_for: Some(Duration::from_secs(60)),
                    failures: 12,
                    lost: true,
                    latency: None,
                    last_probe: None,
                    failure: None,
                },
            )]),
            reconciled_at: Some(Timestamp::from_micros(1_700_000_000_500_000)),
            reconcile_succeeded: true,
            reconcile_duration: Duration::from_secs(4),
            audit_period: Some(Duration::from_secs(2_592_000)),
            drift: 2,
            held_twice: 1,
            failovers: FailoverTally {
                succeeded: 3,
                failed: 1,
                refused: 2,
                open: 1,
                durations: vec![Duration::from_secs(4), Duration::from_millis(1500)],
            },
            ..Metrics::default()
        };
        let text = metrics.to_text();
        for line in [
            "# HELP debvisor_region_replication_lag_seconds Time since the replica was last known to equal its source",
            "# TYPE debvisor_region_replication_lag_seconds gauge",
            r#"debvisor_region_replication_lag_seconds{resource="web-1",type="vm",target="west"} 1.5"#,
            r#"debvisor_region_replication_max_lag_seconds{resource="db",type="vm",target="west"} 900.0"#,
            r#"debvisor_region_last_sync_bytes{resource="web-1",type="vm",target="west"} 1099511627776.0"#,
            r#"debvisor_region_replication_interval_seconds{resource="web-1",type="vm",target="west"} 300.0"#,
            r#"debvisor_region_replication_paused{resource="web-1",type="vm",target="west"} 1.0"#,
            r#"debvisor_region_replication_paused{resource="db",type="vm",target="west"} 0.0"#,
            r#"debvisor_region_audit_age_seconds{resource="web-1",type="vm",target="west"} 86400.0"#,
            "# TYPE debvisor_region_audit_damage_total counter",
            r#"debvisor_region_audit_damage_total{resource="web-1",type="vm",target="west"} 1.0"#,
            "debvisor_region_audit_period_seconds 2592000.0",
            r#"debvisor_region_vms{region="west"} 7.0"#,
            r#"debvisor_region_vm_capacity{region="west"} 1000.0"#,
            r#"debvisor_region_fenced_resources{region="west"} 1.0"#,
            "# TYPE debvisor_region_resource_syncs_total counter",
            r#"debvisor_region_resource_syncs_total{region="west"} 12.0"#,
            r#"debvisor_region_failovers_total{outcome="succeeded"} 3.0"#,
            r#"debvisor_region_failovers_total{outcome="failed"} 1.0"#,
            r#"debvisor_region_failovers_total{outcome="refused"} 2.0"#,
            "# TYPE debvisor_region_failover_duration_seconds histogram",
            r#"debvisor_region_failover_duration_seconds_bucket{le="2.5"} 1"#,
            "debvisor_region_failover_duration_seconds_count 2",
            "debvisor_region_last_failover_duration_seconds 1.5",
            "debvisor_region_held_twice 1.0",
            r#"debvisor_region_up{region="east"} 0.0"#,
            r#"debvisor_region_latency_seconds{region="west"} 0.0012"#,
            r#"debvisor_region_sighting_last_seen_seconds{observer="west",region="east"} 90.0"#,
            r#"debvisor_region_sighting_silence_seconds{observer="west",region="east"} 60.0"#,
            r#"debvisor_region_sighting_failures{observer="west",region="east"} 12.0"#,
            r#"debvisor_region_sighting_lost{observer="west",region="east"} 1.0"#,
            "debvisor_region_drift 2.0",
            "debvisor_region_reconcile_timestamp_seconds 1700000000.5",
            "debvisor_region_reconcile_success 1.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
        }
        assert!(!text.contains(r#"lag_seconds{resource="db",type="vm",target="west"} 0"#), "no point is no lag");
        assert_eq!(text, metrics.to_text());
    }

    #[test]
    fn nothing_known_is_still_a_file() {
        let text = Metrics::default().to_text();
        assert!(text.contains("debvisor_region_changes 0.0\n"), "{text}");
        assert!(!text.contains("reconcile_timestamp"), "a reconcile that never ended has no time: {text}");
    }
}
