//! Files become a topology, every problem with its place.
//!
//! ```text
//!  files ──load──▶ sources ──read──▶ document ──lower──▶ Topology + origins
//!                     └────────────── report ──────────────▶ Problems
//! ```
//!
//! All problems of a run are gathered over all files, and a mistake is reported once: what could not be read is not
//! missed a second time. Nothing here reaches for the network, and no file is read or program run that a topology
//! names.

pub mod source;
pub mod problem;
mod nearest;
mod report;
mod range;
mod endpoint;
mod reader;
mod document;
pub mod schema;
pub mod loaded;
mod load;
mod read;
mod lower;
mod policy;
mod protect;
mod depend;
mod moves;
pub mod region;
pub mod credentials;
pub mod edit;
pub mod fmt;
mod written;
pub mod init;

pub use credentials::{Credential, Credentials};
pub use endpoint::resolve_endpoint;
pub use load::{load, locate};
pub use loaded::{Loaded, Origin};
pub use nearest::nearest;
pub use problem::{Label, Problem, Problems};
pub use region::RegionConfig;
pub use source::Source;
pub use written::{Alike, alike, text as written};
#[cfg(test)]
mod tests;
