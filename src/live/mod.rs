//! The port to a region and those who use it: the fan-out that observes, the client for regions served elsewhere.

pub mod port;
pub mod observe;
pub mod silence;
pub mod http;

pub use http::{Deadlines, HttpRegion, OBSERVE_DEADLINE};
pub use observe::{Extent, observe};
pub use port::{PortError, RegionPort, Replaced};

#[cfg(test)]
mod tests;
