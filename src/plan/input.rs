//! What a plan is made from. Everything that planning may know comes in here: it reads no clock, no file, no network.

use std::collections::BTreeSet;

use super::document::Mode;
use crate::model::observed::Observed;
use crate::model::recorded::Recorded;
use crate::model::topology::Topology;
use crate::model::{Address, Digest, ResourceKey, Timestamp};

/// All inputs of planning. The same inputs give the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// What the files say.
    pub topology: &'a Topology,
    /// Where they were read from, as given.
    pub topology_path: &'a str,
    /// What the regions answered. A region that is recorded but no longer declared is worth asking too: what it still
    /// records can only be pruned when it answers.
    pub observed: &'a Observed,
    /// What the state file remembers.
    pub recorded: &'a Recorded,
    /// Digests of the topologies that were applied before the last one; only `reconcile` looks at them.
    pub superseded: &'a BTreeSet<Digest>,
    /// The present moment.
    pub now: Timestamp,
    /// The version of the program.
    pub tool_version: &'a str,
    /// What was asked for.
    pub options: &'a PlanOptions,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// What the plan is for.
    pub mode: Mode,
    /// Only these and what they cannot do without; empty: everything.
    pub targets: Vec<Address>,
    /// Whether objects that are no longer declared are removed.
    pub prune: bool,
    /// How many at the most.
    pub max_prune: u32,
    /// Whether declared objects of another lineage are taken over.
    pub adopt: bool,
    /// What `reconcile` may do by itself.
    pub allow: Allow,
    /// Resources whose suspicious change a person has accepted.
    pub accept_change: BTreeSet<ResourceKey>,
}

impl PlanOptions {
    /// How many objects may be pruned at once when nothing else is said.
    pub const DEFAULT_MAX_PRUNE: u32 = 10;
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Normal,
            targets: Vec::new(),
            prune: false,
            max_prune: Self::DEFAULT_MAX_PRUNE,
            adopt: false,
            allow: Allow::default(),
            accept_change: BTreeSet::new(),
        }
    }
}

/// What `reconcile` may do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow {
    /// Sync what is due.
    pub sync: bool,
    /// Mend where live differs from what was applied.
    pub drift: bool,
}

impl Default for Allow {
    fn default() -> Self {
        Self { sync: true, drift: false }
    }
}
