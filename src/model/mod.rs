//! The vocabulary that every other room speaks: names, units, what people declare, what regions hold, what was
//! applied. Plain data with its invariants in its constructors; no files, no network, no clock of its own.

pub mod id;
pub mod listed;
pub mod units;
pub mod time;
pub mod digest;
pub mod topology;
pub mod policy;
pub mod audit;
pub mod point;
pub mod region;
pub mod failover;
pub mod event;
pub mod recorded;
pub mod observed;
pub mod sighting;
pub mod running;
pub mod work;

pub use digest::Digest;
pub use id::{
    Address, AttemptOwner, IdError, Life, Lineage, OperationId, PairId, RegionId, ResourceId, ResourceKey,
    ResourceType, RunId, Seat, StoreId,
};
pub use time::{Clock, IdSource, Timestamp, World};
pub use units::{BitRate, ByteCount};
