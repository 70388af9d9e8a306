//! The port to a region and those who use it: the fan-out that observes, the client for regions served elsewhere.

pub mod port;
