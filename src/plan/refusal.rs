//! Why no plan is made. Each refusal names the object and says what to do; exit codes are the edge's business, which
//! learns from [`RefusalKind`] whether safety or a mistake is behind it.

use crate::model::{Address, Lineage, RegionId};

/// What is behind a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Safety, before the first change: exit code 5.
    Safety,
    /// The request cannot be met: exit code 1.
    Request,
}

/// Why no plan is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefusal {
    /// The state file is new, and live objects say that there was another.
    #[error("the state is new, but {address} at {region} is managed by lineage {lineage} ({objects} such objects)")]
    NewState {
        /// The first such object.
        address: Address,
        /// Where it was seen.
        region: RegionId,
        /// Who manages it.
        lineage: Lineage,
        /// How many there are.
        objects: usize,
    },
    /// A declared object is managed by another topology.
    #[error("{address} at {region} is managed by another lineage, {lineage} ({objects} such objects)")]
    AnotherLineage {
        /// The first such object.
        address: Address,
        /// Where it was seen.
        region: RegionId,
        /// Who manages it.
        lineage: Lineage,
        /// How many declared objects are like it.
        objects: usize,
    },
    /// More objects than may be pruned at once.
    #[error("{count} to prune, at most {max} at once: {}", several(first, *count))]
    PruneTooMany {
        /// How many.
        count: usize,
        /// The limit.
        max: u32,
        /// One of them.
        first: Address,
    },
    /// Nothing would be left.
    #[error("all {count} managed objects would be pruned")]
    PruneAll {
        /// How many.
        count: usize,
    },
    /// `reconcile` was given files that were applied once and are not the latest.
    #[error("these files were applied before the last ones; reconcile does not go back")]
    EarlierTopology,
    /// Nothing of that address is declared, recorded or live.
    #[error("{address} is neither declared nor recorded")]
    UnknownTarget {
        /// What was asked for.
        address: Address,
        /// The nearest that there is.
        nearest: Option<Address>,
    },
    /// Nothing can be said of any region.
    #[error("no region answered: {}", .regions.iter().map(|(region, reason)| format!("{region}: {reason}")).collect::<Vec<_>>().join("; "))]
    NoRegionAnswered {
        /// Every declared region with the reason.
        regions: Vec<(RegionId, String)>,
    },
}

impl PlanRefusal {
    /// What is behind it.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::NewState { .. }
            | Self::AnotherLineage { .. }
            | Self::PruneTooMany { .. }
            | Self::PruneAll { .. }
            | Self::EarlierTopology => RefusalKind::Safety,
            Self::UnknownTarget { .. } | Self::NoRegionAnswered { .. } => RefusalKind::Request,
        }
    }

    /// Its name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NewState { .. } => "new_state",
            Self::AnotherLineage { .. } => "lineage",
            Self::PruneTooMany { .. } => "max_prune",
            Self::PruneAll { .. } => "prune_all",
            Self::EarlierTopology => "earlier_topology",
            Self::UnknownTarget { .. } => "unknown_target",
            Self::NoRegionAnswered { .. } => "no_region_answered",
        }
    }

    /// What to do.
    pub fn help(&self) -> String {
        match self {
            Self::NewState { .. } => {
                "`state rebuild` makes the lost state file anew from the regions; if these objects \
                                      belong to another topology, `--adopt` goes on and takes over those declared here"
                    .to_owned()
            }
            Self::AnotherLineage { .. } => "leave it to the topology that manages it, or take it over with `--adopt`: \
                                            the other topology then finds it in foreign hands"
                .to_owned(),
            Self::PruneTooMany { count, .. } => {
                format!("check that the files are complete; then raise the limit with `--max-prune {count}`")
            }
            Self::PruneAll { .. } => {
                "check that the right files were read: a topology is never pruned to nothing".to_owned()
            }
            Self::EarlierTopology => {
                "update the files (a stale checkout?), or go back on purpose with `apply`".to_owned()
            }
            Self::UnknownTarget { nearest: Some(nearest), .. } => format!("did you mean {nearest}?"),
            Self::UnknownTarget { nearest: None, .. } => {
                "an address is region.ID, replication.SOURCE.TARGET or TYPE.ID; `plan` lists them".to_owned()
            }
            Self::NoRegionAnswered { .. } => "see each region's reason; `plan` asks them again".to_owned(),
        }
    }

    /// The object it is about, where it is one.
    pub const fn address(&self) -> Option<&Address> {
        match self {
            Self::NewState { address, .. }
            | Self::AnotherLineage { address, .. }
            | Self::PruneTooMany { first: address, .. }
            | Self::UnknownTarget { address, .. } => Some(address),
            Self::PruneAll { .. } | Self::EarlierTopology | Self::NoRegionAnswered { .. } => None,
        }
    }
}

/// `vm.a`, or `vm.a and 4 more`.
fn several(first: &Address, count: usize) -> String {
    match count.saturating_sub(1) {
        0 => first.to_string(),
        more => format!("{first} and {more} more"),
    }
}
