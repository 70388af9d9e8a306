//! What travels and what is scraped: the envelope of HTTP bodies, the calls between programs, blocks in binary, and
//! the metrics file in Prometheus's text format.
//!
//! Owns the forms and their versions. Leaves to `live` how calls are made, to `serve` how they are answered.
//!
//! Small things travel as JSON in the [`Envelope`]; hashes and blocks as bytes. Whatever may take longer than one
//! request should is an [`Operation`]: begun with one request, asked after with others, so that a cut connection
//! costs a question and not the work.
//!
//! Every request of the program and every answer to it is under a [seal](seal::Seal), but for health probes, which
//! carry nothing but that somebody is there. A request without a seal is taken as it is, and so is an error without one,
//! which a proxy may have given; an answer that brings something is not.

pub mod envelope;
pub mod fault;
pub mod call;
pub mod record;
pub mod region;
pub mod failover;
pub mod operation;
pub mod blocks;
pub mod seal;
mod exposition;
pub mod metrics;
pub mod served;

pub use envelope::{Envelope, EnvelopeStatus};
pub use fault::{Fault, FaultCode};
pub use metrics::{Metrics, RegionMetrics, SyncMetrics};
pub use operation::{Operation, OperationState, Progressed};

/// Where every call begins, after the origin.
pub const API: &str = "/api/v1";
/// The header that names an order; a repeat under the same name does nothing twice.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that names a request in the logs of both sides.
pub const REQUEST_ID: &str = "x-request-id";
/// The content type of hashes and blocks.
pub const BYTES: &str = "application/octet-stream";
