//! A region's server: HTTP over the port of a region in a directory.
//!
//! Owns connections, TLS, who may ask, limits, the forms of answers, operations that outlast a request, the leases of
//! sessions, and the end. Holds no rule of regions: a call between programs is one method of
//! [`RegionPort`](crate::live::RegionPort), [`Source`](crate::replica::port::Source) or
//! [`Target`](crate::replica::port::Target), in one of the files of `call`; what people and their programs ask of a region,
//! failovers included, is answered by `fleet`, as in the command line.
//!
//! ```text
//!  listen ──▶ router (request id, auth, limits, log) ──▶ call ──▶ LocalRegion
//!               │                                         │
//!            routes ──▶ openapi                operation, session, fetch, order, failover ──▶ fleet
//!  probe ──▶ other regions of the registry ──▶ what LocalRegion knows of them
//! ```
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | a call | the region's own, of the same order in-process | as there |
//! | an operation | one effect for one key, as long as it is remembered | forgotten with the program: whoever asks again begins it again, under the region's own guards |
//! | a restore | the holder's files are those of before or of the point | a part of the point, removed by the next start; an exchange that the next writer ends |
//! | a failover | the fleet's own; an operation that has begun is gone on with by a repeat under its key | an open operation, which every region shows |
//! | a session | it ends with its lease at the latest; what was frozen is thawed | the guard process thaws; what was received stays |
//! | the end | running requests end; transfers stop at the next durable place | as a crash would, after thirty seconds |

mod options;
mod error;
mod log;
mod validity;
mod tls;
mod auth;
mod limits;
mod answer;
mod seal;
mod body;
mod asked;
mod job;
mod outcome;
mod operation;
mod questions;
mod session;
mod turns;
mod fetch;
mod restore;
mod peer;
mod probe;
mod agent;
mod neighbour;
mod order;
mod failover;
mod numbers;
mod route;
mod routes;
mod openapi;
mod router;
mod call;
mod steady;
mod listen;
pub mod supervise;

pub use error::ServeError;
pub use listen::Server;
pub use log::{LineSink, install as install_log};
pub use openapi::openapi;
pub use options::{Given, ServeOptions, TlsFiles};

#[cfg(test)]
mod tests;
