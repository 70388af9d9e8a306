//! The steps of planning, in the order in which they run.

pub(super) mod refuse;
pub(super) mod safety;
pub(super) mod moved;
pub(super) mod regions;
pub(super) mod pairs;
pub(super) mod resources;
pub(super) mod held;
pub(super) mod prune;
pub(super) mod syncs;
pub(super) mod verdict;
pub(super) mod refresh;
pub(super) mod unmanaged;
pub(super) mod stillness;
pub(super) mod warnings;
pub(super) mod dependencies;
pub(super) mod targets;
