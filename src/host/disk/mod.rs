//! Files and directories behind one trait, so that a test can fail any call, or stop the world at it.
//!
//! # Durability, in this order
//! What a caller must do so that a change survives the loss of power, and what [`replace_file`] does:
//! 1. write the bytes, then [`DiskFile::sync_data`] (or [`DiskFile::sync_all`] where mode, times or size matter);
//! 2. rename the file to its final name, or create it there in the first place;
//! 3. [`Disk::sync_dir`] of every directory that gained or lost a name, the new one before the old one.
//!
//! Between 1 and 3 a crash leaves the old name, the new one, or (for a rename between directories) both; never a
//! file under the new name with other bytes than were synced. Without 1 it may leave an empty or torn file.
//! A process that is killed loses nothing that a call has returned from; only the machine does.

mod port;
mod machine;
mod removal;
pub mod faulty;
#[cfg(test)]
pub(crate) mod volatile;
#[cfg(test)]
mod tests;

pub use machine::HostDisk;
pub use port::{Disk, DiskFile, FileKind, FileStat, Listed, Open, replace_file};
pub use removal::remove_tree;
