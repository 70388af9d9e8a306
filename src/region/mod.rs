//! What a region is: its identity, its store of roles and points, how its resources hold still, and the port served
//! in-process for a directory of this machine.

pub mod layout;
pub mod identity;
pub mod store;
pub mod place;
pub mod runner;
mod running;
mod foreign;
pub mod quiesce;
mod restore;
mod adopted;
mod replacement;
mod promotion;
mod returning;
mod observe;
mod watch;
pub mod local;
mod hints;
mod source;
mod target;
mod verify;
mod audit;
mod giving;
mod heard;
mod drill;
mod history;
mod roles;
mod control;
mod agent;
mod port;

pub use local::{LocalRegion, Opening};
pub use promotion::Placed;
pub use returning::Settled;
pub use runner::{Machines, RunnerError};
pub use watch::Neighbourhood;

#[cfg(test)]
mod tests;
