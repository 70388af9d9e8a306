//! What the state file remembers of the world: what was last applied, and which stores were met.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::Digest;
use super::id::{Address, Lineage, RegionId, StoreId};
use super::topology::Spec;

/// An object as it was last applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The attributes that were applied.
    pub spec: Spec,
    /// The regions that recorded it.
    pub regions: BTreeSet<RegionId>,
}

/// The state file's memory, as planning takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The state's line of descent; in a new state freshly minted.
    pub lineage: Lineage,
    /// Grows when managed objects change, and only then.
    pub serial: u64,
    /// Whether there was a state file at all.
    pub existed: bool,
    /// What is managed.
    pub objects: BTreeMap<Address, Applied>,
    /// The stores of the regions that were met.
    pub stores: BTreeMap<RegionId, StoreId>,
    /// The highest serial that each of them was seen with.
    pub serials: BTreeMap<RegionId, u64>,
    /// The digest of the topology that was applied last.
    pub topology: Option<Digest>,
    /// The regions without which this state took control, where that counted: they may know an earlier controller.
    pub left_out: BTreeSet<RegionId>,
}

impl Recorded {
    /// The memory of a state file that does not exist yet.
    pub const fn new(lineage: Lineage) -> Self {
        Self {
            lineage,
            serial: 0,
            existed: false,
            objects: BTreeMap::new(),
            stores: BTreeMap::new(),
            serials: BTreeMap::new(),
            topology: None,
            left_out: BTreeSet::new(),
        }
    }
}
