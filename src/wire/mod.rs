//! What travels and what is scraped: the envelope of HTTP bodies, and the metrics file in Prometheus's text format.

pub mod envelope;
pub mod metrics;

pub use envelope::{Envelope, EnvelopeStatus};
pub use metrics::{Metrics, RegionMetrics, SyncMetrics};
