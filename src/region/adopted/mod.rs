//! Putting a point's files in place of adopted ones: each at a place of its own, maybe on a file system of its own.
//!
//! No single rename does it, so there is an exchange, in steps of which every one can be cut off. Below
//! `.debvisor/replaced/TYPE/ID` lie, all named after the restore:
//!
//! | | |
//! | --- | --- |
//! | `NAME.ready` | the new files, complete |
//! | `NAME.places` | where each goes, and what lies beside that place meanwhile |
//! | `NAME.kept` | copies of present files that are on another file system |
//! | `NAME` | what was set aside: there is one as soon as the exchange may begin |
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | the places are written, the new files brought beside their places, hidden, durable | all that is undone: no present file was touched |
//! | what cannot be renamed aside is copied | the same |
//! | it is asked again whether something runs | the same |
//! | `NAME` is made; every present file is moved there; then every new one to its place | a file missing somewhere, which nobody takes for a whole resource; the next writer goes on, once nothing runs |
//! | what remains is removed, the places last | rests, which the next writer removes |
//!
//! - **Guarantee**: of every file the present content or the new one is at its place or on its way there, durable; the
//!   present one is never gone before it lies aside. New and present files are never all at their places together. What
//!   somebody else put at a place meanwhile is not overwritten.
//! - **Assumption**: nothing runs from the files while the exchange goes on, which is renames alone. A failure in it, as
//!   of a file that may not be renamed, is undone at once.

mod exchange;
mod places;
#[cfg(test)]
mod tests;

pub(super) use exchange::Exchange;
pub(super) use places::{PLACES, expect_names};
