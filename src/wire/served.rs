//! What a region's server counts, and what the region has recorded when it is asked, in Prometheus's text format. The
//! names are a promise to dashboards and alerts.
//!
//! It is answered without a token, so it names regions and no resources; those stand in the metrics file.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::exposition::Durations;
use crate::model::event::FailoverTally;
use crate::model::sighting::Evidence;
use crate::model::{RegionId, ResourceType};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One number of what a region knows of another: its name with its unit, its help, and its value where there is one.
pub(super) type OfSighting = (&'static str, &'static str, fn(&Evidence) -> Option<f64>);

/// What is told of every region that another one asks after, here and in the metrics file.
pub(super) const SIGHTINGS: [OfSighting; 5] = [
    (
        "sighting_last_seen_seconds",
        "Time since the region last answered the observer; missing where it never did",
        |known| known.last_seen.map(|age| age.as_secs_f64()),
    ),
    ("sighting_silence_seconds", "How long the region has been silent to the observer; 0 where it is not", |known| {
        Some(known.silent_for.unwrap_or_default().as_secs_f64())
    }),
    ("sighting_failures", "How many probes of the observer in a row met silence", |known| {
        Some(f64::from(known.failures))
    }),
    ("sighting_lost", "Whether the silence is enough for the observer to count the region as lost", |known| {
        Some(f64::from(u8::from(known.lost)))
    }),
    ("sighting_latency_seconds", "How long the region's last answer to the observer took", |known| {
        known.latency.map(|latency| latency.as_secs_f64())
    }),
];

/// By method, route and status: how many, and how long they took together.
pub type Requests = BTreeMap<(String, String, u16), (u64, Duration)>;

/// The copies that a region keeps of one region's resources of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptCopies {
    /// How many.
    pub replicas: u64,
    /// How many of them have no point.
    pub without_points: u64,
    /// The age of the one that was longest not known to equal its source; none where there is no point.
    pub lag: Option<Duration>,
    /// The shortest time after which one of them is due again; none where nothing feeds them.
    pub interval: Option<Duration>,
    /// Whether all of their pairs are paused.
    pub paused: bool,
    /// How long ago the reading back of one of them began that is under way, of the one that began first.
    pub audit_age: Option<Duration>,
    /// How often bytes of them that were read back were not what was copied.
    pub damage_found: u64,
}

/// What a region has recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedMetrics {
    /// VMs that it holds.
    pub vms: u64,
    /// VMs that it can hold; none where it is not registered itself.
    pub vm_capacity: Option<u64>,
    /// Room left for points.
    pub free_bytes: u64,
    /// Resources that it may start nothing of.
    pub fenced: u64,
    /// Resources that an operation is open on.
    pub open: u64,
    /// Whether it keeps a pause of failovers.
    pub paused: bool,
    /// Machines that run there though it does not hold them.
    pub foreign_starts: u64,
    /// By the region that holds them, and what they are.
    pub copies: BTreeMap<(RegionId, ResourceType), KeptCopies>,
    /// Failovers that it knows.
    pub failovers: FailoverTally,
}

/// A server's numbers since it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedMetrics {
    /// The region that is served.
    pub region: RegionId,
    /// What was asked.
    pub requests: Requests,
    /// Bytes of blocks that others took, as they travelled.
    pub sent: u64,
    /// Bytes of blocks that others gave, as they travelled.
    pub received: u64,
    /// Copies that arrived here, or were found to be as their source.
    pub syncs: u64,
    /// Copies that this region tried to fetch, and could not.
    pub failed_syncs: u64,
    /// Operations under way.
    pub operations: u64,
    /// Open readings of others.
    pub readings: u64,
    /// Open receivings of others.
    pub receivings: u64,
    /// What the region knows of the others from asking them.
    pub sightings: BTreeMap<RegionId, Evidence>,
    /// What it has recorded; none where it was not founded, or cannot be read.
    pub recorded: Option<RecordedMetrics>,
}

impl ServedMetrics {
    /// The numbers as text.
    pub fn to_text(&self) -> String {
        let mut registry = Registry::with_prefix("debvisor_region_server");
        registry.register_collector(Box::new(Numbers(self.clone())));
        let mut written = String::new();
        // Writing to a string cannot fail; what was written is the better answer if it ever did.
        if let Err(error) = text::encode(&mut written, &registry) {
            let _ = writeln!(written, "# {error}");
        }
        written
    }
}

#[derive(Debug)]
struct Numbers(ServedMetrics);

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let ServedMetrics {
            region,
            requests,
            sent,
            received,
            syncs,
            failed_syncs,
            operations,
            readings,
            receivings,
            sightings,
            recorded,
        } = &self.0;
        let own = [("region", region.to_string())];
        let mut asked = encoder.encode_descriptor("requests", "Requests answered", None, MetricType::Counter)?;
        for ((method, route, status), (count, _)) in requests {
            let labels = [("method", method.clone()), ("route", route.clone()), ("status", status.to_string())];
            ConstCounter::new(*count).encode(asked.encode_family(&labels)?)?;
        }
        let help = "Time that requests took together";
        let mut took = encoder.encode_descriptor("request_seconds", help, None, MetricType::Counter)?;
        for ((method, route, status), (_, time)) in requests {
            let labels = [("method", method.clone()), ("route", route.clone()), ("status", status.to_string())];
            ConstCounter::new(time.as_secs_f64()).encode(took.encode_family(&labels)?)?;
        }
        for (name, help, count) in [
            ("blocks_sent_bytes", "Bytes of blocks that others took", sent),
            ("blocks_received_bytes", "Bytes of blocks that others gave", received),
            ("resource_syncs", "Copies that arrived here, or were found to be as their source", syncs),
            ("failed_resource_syncs", "Copies that this region tried to fetch, and could not", failed_syncs),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(*count).encode(metric.encode_family(&own)?)?;
        }
        for (name, help, count) in [
            ("operations", "Operations under way", operations),
            ("readings", "Open readings of other programs", readings),
            ("receivings", "Open receivings of other programs", receivings),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(*count as f64).encode(metric.encode_family(&own)?)?;
        }
        for (name, help, value) in SIGHTINGS {
            let found: Vec<_> = sightings.iter().filter_map(|(seen, known)| Some((seen, value(known)?))).collect();
            if found.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (seen, value) in found {
                let labels = [("observer", region.to_string()), ("region", seen.to_string())];
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
        recorded.as_ref().map_or(Ok(()), |recorded| tell(recorded, region, &mut encoder))
    }
}

/// One number of what a region has recorded of itself.
type OfRecord<'a> = (&'a str, &'a str, Option<f64>);

/// One number of the copies that a region keeps.
type OfCopies<'a> = (&'a str, &'a str, fn(&KeptCopies) -> Option<f64>);

fn tell(recorded: &RecordedMetrics, region: &RegionId, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let RecordedMetrics {
        vms,
        vm_capacity,
        free_bytes,
        fenced,
        open,
        paused,
        foreign_starts,
        copies,
        failovers: FailoverTally { succeeded, failed, refused, open: _, durations },
    } = recorded;
    let own = [("region", region.to_string())];
    let numbers: [OfRecord<'_>; 7] = [
        ("vms", "VMs that the region holds", Some(*vms as f64)),
        ("vm_capacity", "VMs that the region can hold", vm_capacity.map(|vms| vms as f64)),
        ("free_bytes", "Room left for the region's points", Some(*free_bytes as f64)),
        ("fenced_resources", "Resources that the region may start nothing of", Some(*fenced as f64)),
        ("failover_open", "Resources that an operation is open on", Some(*open as f64)),
        ("failover_paused", "Whether nothing fails over without a person", Some(f64::from(u8::from(*paused)))),
        ("foreign_starts", "Machines that run there though it does not hold them", Some(*foreign_starts as f64)),
    ];
    for (name, help, value) in numbers {
        if let Some(value) = value {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric.encode_family(&own)?)?;
        }
    }
    let of_copies: [OfCopies<'_>; 6] = [
        ("replicas", "Copies that the region keeps", |kept| Some(kept.replicas as f64)),
        ("replicas_without_points", "Copies of which there is no complete point yet", |kept| {
            Some(kept.without_points as f64)
        }),
        (
            "replication_lag_seconds",
            "Time since the oldest of these copies was last known to equal its source",
            |kept| kept.lag.map(|lag| lag.as_secs_f64()),
        ),
        ("replication_interval_seconds", "The time after which these copies are due again", |kept| {
            kept.interval.map(|interval| interval.as_secs_f64())
        }),
        ("replication_paused", "Whether the pairs of these copies are paused", |kept| {
            Some(f64::from(u8::from(kept.paused)))
        }),
        (
            "audit_age_seconds",
            "Time since the oldest reading back of one of these copies began that is under way",
            |kept| kept.audit_age.map(|age| age.as_secs_f64()),
        ),
    ];
    for (name, help, value) in of_copies {
        let found: Vec<_> = copies.iter().filter_map(|(key, kept)| Some((key, value(kept)?))).collect();
        if found.is_empty() {
            continue;
        }
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for ((source, kind), value) in found {
            let labels = [("region", region.to_string()), ("source", source.to_string()), ("type", kind.to_string())];
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
    }
    let help = "How often bytes of these copies that were read back were not what was copied";
    let mut metric = encoder.encode_descriptor("audit_damage", help, None, MetricType::Counter)?;
    for ((source, kind), kept) in copies {
        let labels = [("region", region.to_string()), ("source", source.to_string()), ("type", kind.to_string())];
        ConstCounter::new(kept.damage_found).encode(metric.encode_family(&labels)?)?;
    }
    let help = "Failovers that the region knows and that ended, by how; refused ones attempted nothing";
    let mut metric = encoder.encode_descriptor("failovers", help, None, MetricType::Counter)?;
    for (outcome, number) in [("succeeded", succeeded), ("failed", failed), ("refused", refused)] {
        let labels = [("region", region.to_string()), ("outcome", outcome.to_owned())];
        ConstCounter::new(*number).encode(metric.encode_family(&labels)?)?;
    }
    let help = "How long failovers took that led resources where they were to go";
    let mut metric = encoder.encode_descriptor("failover_duration_seconds", help, None, MetricType::Histogram)?;
    let Durations { sum, count, buckets } = Durations::of(durations);
    let without = None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>;
    metric.encode_family(&own)?.encode_histogram(sum, count, &buckets, without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::RegionStatus;

    #[test]
    fn the_text_is_what_dashboards_read() {
        let key = ("GET".to_owned(), "/api/v1/snapshot".to_owned(), 200);
        let metrics = ServedMetrics {
            region: "east".parse().unwrap(),
            requests: BTreeMap::from([(key, (3, Duration::from_millis(1500)))]),
            sent: 7,
            received: 8,
            operations: 1,
            readings: 2,
            receivings: 0,
            syncs: 5,
            failed_syncs: 1,
            sightings: BTreeMap::from([("west".parse().unwrap(), evidence()), ("north".parse().unwrap(), never())]),
            recorded: Some(recorded()),
        };
        let text = metrics.to_text();
        for line in [
            "# TYPE debvisor_region_server_requests counter",
            r#"debvisor_region_server_requests_total{method="GET",route="/api/v1/snapshot",status="200"} 3"#,
            r#"debvisor_region_server_request_seconds_total{method="GET",route="/api/v1/snapshot",status="200"} 1.5"#,
            r#"debvisor_region_server_blocks_sent_bytes_total{region="east"} 7"#,
            r#"debvisor_region_server_blocks_received_bytes_total{region="east"} 8"#,
            r#"debvisor_region_server_operations{region="east"} 1.0"#,
            r#"debvisor_region_server_readings{region="east"} 2.0"#,
            "# HELP debvisor_region_server_sighting_failures How many probes of the observer in a row met silence",
            r#"debvisor_region_server_sighting_last_seen_seconds{observer="east",region="west"} 90.5"#,
            r#"debvisor_region_server_sighting_silence_seconds{observer="east",region="west"} 61.0"#,
            r#"debvisor_region_server_sighting_silence_seconds{observer="east",region="north"} 0.0"#,
            r#"debvisor_region_server_sighting_failures{observer="east",region="west"} 4.0"#,
            r#"debvisor_region_server_sighting_lost{observer="east",region="west"} 1.0"#,
            r#"debvisor_region_server_sighting_latency_seconds{observer="east",region="west"} 0.25"#,
            r#"debvisor_region_server_resource_syncs_total{region="east"} 5"#,
            r#"debvisor_region_server_failed_resource_syncs_total{region="east"} 1"#,
            r#"debvisor_region_server_vms{region="east"} 850.0"#,
            r#"debvisor_region_server_vm_capacity{region="east"} 1000.0"#,
            r#"debvisor_region_server_free_bytes{region="east"} 4096.0"#,
            r#"debvisor_region_server_fenced_resources{region="east"} 1.0"#,
            r#"debvisor_region_server_failover_open{region="east"} 2.0"#,
            r#"debvisor_region_server_failover_paused{region="east"} 1.0"#,
            r#"debvisor_region_server_foreign_starts{region="east"} 0.0"#,
            r#"debvisor_region_server_replicas{region="east",source="west",type="vm"} 2.0"#,
            r#"debvisor_region_server_replicas_without_points{region="east",source="west",type="vm"} 1.0"#,
            r#"debvisor_region_server_replication_lag_seconds{region="east",source="west",type="vm"} 61.5"#,
            r#"debvisor_region_server_replication_interval_seconds{region="east",source="west",type="vm"} 300.0"#,
            r#"debvisor_region_server_replication_paused{region="east",source="west",type="vm"} 0.0"#,
            r#"debvisor_region_server_audit_age_seconds{region="east",source="west",type="vm"} 86400.0"#,
            r#"debvisor_region_server_audit_damage_total{region="east",source="west",type="vm"} 2"#,
            r#"debvisor_region_server_failovers_total{region="east",outcome="succeeded"} 2"#,
            r#"debvisor_region_server_failovers_total{region="east",outcome="failed"} 1"#,
            "# TYPE debvisor_region_server_failover_duration_seconds histogram",
            r#"debvisor_region_server_failover_duration_seconds_bucket{le="60.0",region="east"} 2"#,
            r#"debvisor_region_server_failover_duration_seconds_bucket{le="+Inf",region="east"} 2"#,
            r#"debvisor_region_server_failover_duration_seconds_count{region="east"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
        }
        assert!(!text.contains(r#"last_seen_seconds{observer="east",region="north"}"#), "never is no age: {text}");
        assert!(!text.contains(r#"lag_seconds{region="east",source="north""#), "no point is no lag: {text}");
        let unread = ServedMetrics { recorded: None, ..metrics }.to_text();
        assert!(unread.contains("server_resource_syncs_total") && !unread.contains("server_vms"), "{unread}");
    }

    fn recorded() -> RecordedMetrics {
        let copies = KeptCopies {
            replicas: 2,
            without_points: 1,
            lag: Some(Duration::from_millis(61_500)),
            interval: Some(Duration::from_secs(300)),
            paused: false,
            audit_age: Some(Duration::from_secs(86_400)),
            damage_found: 2,
        };
        let first = KeptCopies { replicas: 1, without_points: 1, ..KeptCopies::default() };
        RecordedMetrics {
            vms: 850,
            vm_capacity: Some(1000),
            free_bytes: 4096,
            fenced: 1,
            open: 2,
            paused: true,
            foreign_starts: 0,
            copies: BTreeMap::from([
                (("west".parse().unwrap(), ResourceType::Vm), copies),
                (("north".parse().unwrap(), ResourceType::Vm), first),
            ]),
            failovers: FailoverTally {
                succeeded: 2,
                failed: 1,
                refused: 0,
                open: 1,
                durations: vec![Duration::from_secs(45), Duration::from_millis(300)],
            },
        }
    }

    fn evidence() -> Evidence {
        Evidence {
            status: RegionStatus::Unreachable,
            last_seen: Some(Duration::from_millis(90_500)),
            silent_for: Some(Duration::from_secs(61)),
            failures: 4,
            lost: true,
            latency: Some(Duration::from_millis(250)),
            last_probe: None,
            failure: None,
        }
    }

    fn never() -> Evidence {
        Evidence { last_seen: None, silent_for: None, failures: 0, lost: false, latency: None, ..evidence() }
    }
}
