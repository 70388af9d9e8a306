//! Edits of topology files that keep what people wrote: comments, order, layout, ranges.
//!
//! ```text
//!  Loaded + [Edit] ──▶ splices of the texts ──▶ texts ──load──▶ Loaded as it will be, and the files that change
//! ```
//!
//! Pure: texts in, texts out. What is not spoken of keeps its bytes, since an edit replaces, inserts or cuts passages
//! of a text instead of writing it anew. Nothing comes out that does not load: an edit that would make the topology
//! invalid is refused with the report that the edited files would get.
//!
//! One member of a range is changed by a key of its own, which overrides it; where that takes more tables, or a member
//! leaves, the range is split at these members.

mod change;
mod page;
mod list;
mod declared;
mod object;
mod resource;
mod removal;
mod run;
#[cfg(test)]
mod tests;

pub use change::{Edit, Edited, EditedFile, PairEdit, RegionEdit, ResourceEdit};
pub use run::{begun, edit};
