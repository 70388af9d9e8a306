//! What a region's server counts, in Prometheus's text format. The names are a promise to dashboards and alerts.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::model::RegionId;
use crate::model::sighting::Evidence;

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
    /// Operations under way.
    pub operations: u64,
    /// Open readings of others.
    pub readings: u64,
    /// Open receivings of others.
    pub receivings: u64,
    /// What the region knows of the others from asking them.
    pub sightings: BTreeMap<RegionId, Evidence>,
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
        let ServedMetrics { region, requests, sent, received, operations, readings, receivings, sightings } = &self.0;
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
        for (name, help, bytes) in [
            ("blocks_sent_bytes", "Bytes of blocks that others took", sent),
            ("blocks_received_bytes", "Bytes of blocks that others gave", received),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(*bytes).encode(metric.encode_family(&own)?)?;
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
        Ok(())
    }
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
            sightings: BTreeMap::from([("west".parse().unwrap(), evidence()), ("north".parse().unwrap(), never())]),
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
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
        }
        assert!(!text.contains(r#"last_seen_seconds{observer="east",region="north"}"#), "never is no age: {text}");
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
