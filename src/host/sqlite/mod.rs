//! Opening SQLite databases: durable, versioned, and with errors that say what is wrong with the file.
//!
//! Journal mode is `DELETE`: one file at rest, which can be copied, read from a read-only directory, and lies on any
//! file system. `synchronous = EXTRA`: a commit that returned survives the loss of power, the removal of its journal
//! included. `user_version` counts the migrations that were applied; `application_id` says whose file it is. What
//! stands in the tables belongs to the rooms that own them.

mod open;
mod error;
#[cfg(test)]
mod tests;

pub use error::DatabaseError;
pub use open::{Mode, copy_into, open};
