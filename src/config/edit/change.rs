//! What is asked of the files, and what comes of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Loaded;
use crate::model::{BitRate, PairId, RegionId, ResourceKey, ResourceType};

/// One change of what is declared. What is none stays as it stands, or as it is by default. In one call each object
/// is spoken of once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The region is declared so.
    Region(RegionEdit),
    /// The region is declared no more. `cascade`: neither are its pairs, and it keeps no replicas and is no candidate.
    NoRegion {
        /// Which.
        id: RegionId,
        /// Whether what speaks of it goes, too.
        cascade: bool,
    },
    /// The pair is declared so.
    Pair(PairEdit),
    /// The pair is declared no more.
    NoPair(PairId),
    /// The resource is declared so.
    Resource(ResourceEdit),
    /// The resource is declared no more.
    NoResource(ResourceKey),
}

/// A region as it is to be declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionEdit {
    /// Which.
    pub id: RegionId,
    /// The name for people.
    pub name: Option<String>,
    /// Geographic location.
    pub location: Option<String>,
    /// Where it is reached. A region that is not declared yet needs it.
    pub api_endpoint: Option<String>,
    /// Whether resources are born there that name no region.
    pub primary: Option<bool>,
    /// How many VMs it can hold.
    pub capacity_vms: Option<u32>,
}

/// A pair as it is to be declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairEdit {
    /// Which.
    pub id: PairId,
    /// What it carries, exactly. A pair that is not declared yet needs it.
    pub resource_types: Option<BTreeSet<ResourceType>>,
    /// The time after which a resource is due again.
    pub sync_interval: Option<Duration>,
    /// Resources per request.
    pub batch_size: Option<u32>,
    /// Lower goes first.
    pub priority: Option<u32>,
    /// Whether it carries anything at all.
    pub enabled: Option<bool>,
    /// Whether it also serves resources born at its target.
    pub bidirectional: Option<bool>,
    /// Whether blocks are compressed on the way.
    pub compression: Option<bool>,
    /// The most of the link that it may use.
    pub bandwidth_limit: Option<BitRate>,
    /// Whether its copies rest for now.
    pub paused: Option<bool>,
}

impl PairEdit {
    /// Says nothing of the pair yet.
    pub const fn of(id: PairId) -> Self {
        Self {
            id,
            resource_types: None,
            sync_interval: None,
            batch_size: None,
            priority: None,
            enabled: None,
            bidirectional: None,
            compression: None,
            bandwidth_limit: None,
            paused: None,
        }
    }
}

/// A resource as it is to be declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceEdit {
    /// Which.
    pub key: ResourceKey,
    /// Where it is born.
    pub primary: Option<RegionId>,
    /// The regions that keep a copy, exactly; in the order in which new ones are written.
    pub replicas: Option<Vec<RegionId>>,
}

/// One file that an edit changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it held when it was loaded; none: there is no such file yet.
    pub before: Option<String>,
    /// What it is to hold.
    pub after: String,
}

/// What comes of edits.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The files that change, in the order of their names; none where the files say all of it already.
    pub files: Vec<EditedFile>,
    /// The topology that they will declare.
    pub loaded: Loaded,
}
