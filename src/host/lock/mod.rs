//! Locks between processes: the operating system's own, on a file that says who holds it.
//!
//! The lock is `flock` on the open file, so it ends with its process, however that ends; a killed run leaves none.
//! What the file says is only for people and is never what decides. The file itself is never removed: a name that
//! comes and goes would let two processes lock two files.

mod file;
#[cfg(test)]
mod tests;

pub use file::{FileLock, Holder, LockError, Occupancy};
