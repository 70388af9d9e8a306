//! Why a command could not be carried out at all. A run of which a part failed is a report, not an error.

use std::path::PathBuf;

use crate::config::Problems;
use crate::execute::journal::JournalError;
use crate::live::port::PortError;
use crate::model::listed::listed;
use crate::model::{Address, RegionId};
use crate::plan::{PlanRefusal, RecheckRefusal, RefusalKind};
use crate::state::StateError;

/// One reason for which a run was refused before its first change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The gate's name, such as `stale_plan`, `max_prune`, `lineage`, `declined`.
    pub code: String,
    /// What it found, with its figure.
    pub detail: String,
    /// The override with its price, or the safer way.
    pub help: Option<String>,
    /// The object it is about.
    pub address: Option<Address>,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The state file: locked by another run (exit 4), or not to be used (exit 1).
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal could not be written while the plan was carried out; what was under way has ended.
    #[error("{0}: what is under way has ended, and nothing more was begun")]
    Journal(#[from] JournalError),
    /// All that is wrong with the topology's files, or would be with the edited ones.
    #[error("{0}")]
    Topology(Problems),
    /// A request that no plan can meet.
    #[error(transparent)]
    Request(Box<PlanRefusal>),
    /// Refused for safety before the first change: exit 5.
    #[error("refused: {}", join(.0))]
    Refused(Vec<Gate>),
    /// A signal came before the first change: exit 130.
    #[error("interrupted before the first change")]
    Interrupted,
    /// A region that is not declared.
    #[error("no region `{id}` is declared")]
    UnknownRegion {
        /// What was asked for.
        id: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A resource that is not declared.
    #[error("no resource `{id}` is declared")]
    UnknownResource {
        /// What was asked for.
        id: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A pair that is not declared.
    #[error("no pair `{pair}` is set up")]
    UnknownPair {
        /// What was asked for.
        pair: String,
        /// What there is.
        known: Vec<String>,
    },
    /// An argument that makes no sense.
    #[error("{field}: {reason}")]
    Argument {
        /// Which, by its name in the guide.
        field: &'static str,
        /// Why not.
        reason: String,
    },
    /// Another than what is there under the same name, which it does not become.
    #[error("{reason}")]
    Conflict {
        /// What is there.
        reason: String,
        /// What to do instead.
        help: String,
    },
    /// Something that the command cannot do with these arguments.
    #[error("{reason}")]
    Unfit {
        /// Why not.
        reason: String,
        /// What to do instead.
        help: Option<String>,
    },
    /// A file or directory of this machine that the command needs.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A take-over that stopped halfway: nobody controls.
    #[error("the take-over stopped at {region}: {source}; {}", taken(.accepted))]
    TakeOver {
        /// The region that did not accept.
        region: RegionId,
        /// Those that accepted before it.
        accepted: Vec<RegionId>,
        /// Its words.
        #[source]
        source: Box<PortError>,
    },
    /// A region answered in anger, or not at all.
    #[error("region {region}: {source}")]
    Region {
        /// The region.
        region: RegionId,
        /// The object that it was asked about: its line of the topology is shown.
        address: Address,
        /// Its words.
        #[source]
        source: Box<PortError>,
    },
}

impl FleetError {
    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::State(StateError::Locked { .. }) => 4,
            Self::Refused(_) => 5,
            Self::Interrupted => 130,
            Self::State(_)
            | Self::Journal(_)
            | Self::Topology(_)
            | Self::Request(_)
            | Self::UnknownRegion { .. }
            | Self::UnknownResource { .. }
            | Self::UnknownPair { .. }
            | Self::Argument { .. }
            | Self::Conflict { .. }
            | Self::Unfit { .. }
            | Self::Io { .. }
            | Self::TakeOver { .. }
            | Self::Region { .. } => 1,
        }
    }

    /// What to do about it, where there is something that this room knows. What is wrong with each gate of a refusal
    /// is told by the gate.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::State(error) => Some(error.help()),
            Self::Journal(_) => {
                Some("look at the state file's disk, then run this again: it goes on from what stands".to_owned())
            }
            Self::Request(refusal) => Some(refusal.help()),
            Self::Topology(_) | Self::Refused(_) | Self::Interrupted | Self::Argument { .. } | Self::Io { .. } => None,
            Self::UnknownRegion { known, .. }
            | Self::UnknownResource { known, .. }
            | Self::UnknownPair { known, .. } => {
                (!known.is_empty()).then(|| format!("there are {}", listed(known, 12)))
            }
            Self::Conflict { help, .. } => Some(help.clone()),
            Self::Unfit { help, .. } => help.clone(),
            Self::TakeOver { .. } => {
                Some("look at that region, then run this again: it takes over above what stands".to_owned())
            }
            Self::Region { source, .. } => source.help(),
        }
    }

    /// The object that it is about: its line of the topology is shown.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Region { address, .. } => Some(address),
            Self::Request(refusal) => refusal.address(),
            Self::Refused(gates) => gates.iter().find_map(|gate| gate.address.as_ref()),
            Self::State(_)
            | Self::Journal(_)
            | Self::Topology(_)
            | Self::Interrupted
            | Self::UnknownRegion { .. }
            | Self::UnknownResource { .. }
            | Self::UnknownPair { .. }
            | Self::Argument { .. }
            | Self::Conflict { .. }
            | Self::Unfit { .. }
            | Self::TakeOver { .. }
            | Self::Io { .. } => None,
        }
    }
}

impl FleetError {
    /// Refused by one gate that is about nothing in particular.
    pub(super) fn refused(code: &str, detail: String, help: impl Into<String>) -> Self {
        Self::Refused(vec![Gate { code: code.to_owned(), detail, help: Some(help.into()), address: None }])
    }
}

impl From<Problems> for FleetError {
    fn from(problems: Problems) -> Self {
        Self::Topology(problems)
    }
}

impl From<PlanRefusal> for FleetError {
    fn from(refusal: PlanRefusal) -> Self {
        match refusal.kind() {
            RefusalKind::Request => Self::Request(Box::new(refusal)),
            RefusalKind::Safety => Self::Refused(vec![Gate {
                code: refusal.code().to_owned(),
                detail: refusal.to_string(),
                help: Some(refusal.help()),
                address: refusal.address().cloned(),
            }]),
        }
    }
}

impl From<RecheckRefusal> for FleetError {
    fn from(refusal: RecheckRefusal) -> Self {
        let gate = |detail: String, address| Gate {
            code: refusal.code().to_owned(),
            detail,
            help: Some(refusal.help().to_owned()),
            address,
        };
        Self::Refused(match &refusal {
            RecheckRefusal::Stale(stale) => stale
                .iter()
                .map(|stale| gate(format!("the plan is stale: {stale}"), Some(stale.address.clone())))
                .collect(),
            RecheckRefusal::AnotherLineage { .. } | RecheckRefusal::AnotherTopology { .. } => {
                vec![gate(refusal.to_string(), None)]
            }
        })
    }
}

fn taken(accepted: &[RegionId]) -> String {
    if accepted.is_empty() {
        return "no region has accepted it".to_owned();
    }
    let names: Vec<String> = accepted.iter().map(ToString::to_string).collect();
    format!("nobody controls the regions now, though {} accepted", listed(&names, 12))
}

fn join(gates: &[Gate]) -> String {
    gates.iter().map(|gate| gate.detail.as_str()).collect::<Vec<_>>().join("; ")
}
