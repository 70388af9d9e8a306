//! The machine under us, handed in: clock, ids, who and where we are, disk, database, lock.
//!
//! The only room that asks the machine for time, chance, names and files on its own account. All others take what
//! they need as [`World`](crate::model::World), as a [`Disk`], or as an opened database, so that a test can put
//! another world in their place.

pub mod clock;
pub mod identity;
pub mod disk;
pub mod sqlite;
pub mod lock;
mod arena;
mod replace;
#[cfg(test)]
pub(crate) mod ordinary;

pub use arena::share_memory;
pub use clock::world;
pub use disk::{Disk, DiskFile, FileKind, FileStat, HostDisk, Open, remove_tree};
pub use identity::{Host, boot_id};
pub use lock::{FileLock, Holder, LockError};
pub use replace::replace;
