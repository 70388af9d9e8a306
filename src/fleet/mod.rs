//! `MultiRegionManager`, the front door of the library.
