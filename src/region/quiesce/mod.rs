//! How a resource holds still while it is read.
//!
//! Owns the commands around a reading (freeze and thaw, snapshot and release), the sure end of what they began, and
//! the copies made within a freeze. Leaves the reading itself to the block engine.

pub mod bracket;
mod held;
mod mark;
mod clones;
mod likeness;
mod method;

pub use bracket::{Left, Orders, thaw_guard};
pub(super) use clones::copy_all;
pub use held::{Held, HoldError};
pub use mark::settle_all;
pub(super) use mark::still_held;
pub use method::{Asked, Prepared, Quiescer};

#[cfg(test)]
mod tests;
