//! `region.db`: all that a region must not forget, in one SQLite file.
//!
//! Owns its tables. Roles, the registry, the controller and the serial change in one transaction each, which is
//! durable before it is answered. What the block engine remembers of points is kept in the same file, so that a point
//! is published and its region's epoch checked in one transaction.

mod schema;
mod error;
mod open;
mod read;
mod record;
mod rename;
mod sighting;
mod copies;
mod catalog;
mod audit;
mod book;
mod history;
mod placed;

pub use catalog::RegionCatalog;
pub use error::StoreError;
pub use open::Store;
pub use read::{KeptResource, Records};
pub use record::Ground;
pub use rename::Rename;

#[cfg(test)]
mod tests;
