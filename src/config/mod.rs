//! Files become a topology, every problem with its place.

pub mod source;
pub mod problem;
pub mod loaded;
pub mod region;

pub use loaded::{Loaded, Origin};
pub use problem::{Label, Problem, Problems};
pub use region::RegionConfig;
pub use source::Source;
