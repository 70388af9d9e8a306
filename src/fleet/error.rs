//! Why a command could not be carried out at all. A run of which a part failed is a report, not an error.

use std::path::PathBuf;

use crate::live::port::PortError;
use crate::model::{Address, RegionId};
use crate::replica::port::TransferError;

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
    /// Another run has the state: exit 4.
    #[error("the state is locked: {holder}")]
    Locked {
        /// The state file.
        path: PathBuf,
        /// Who, where, since when and which command.
        holder: String,
    },
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
    /// An object that the command cannot be about.
    #[error("{0}")]
    Unfit(String),
    /// Not one region answered.
    #[error("no region answered")]
    NoRegionAnswered(Vec<(RegionId, String)>),
    /// A region answered in anger, or not at all.
    #[error("region {region}: {source}")]
    Region {
        /// The region.
        region: RegionId,
        /// The object that it was asked about: its line of the topology is shown.
        address: Address,
        /// Its words.
        #[source]
        source: PortError,
    },
    /// A copy failed.
    #[error("{address}: {source}")]
    Transfer {
        /// The object.
        address: Address,
        /// Why.
        #[source]
        source: TransferError,
    },
}

impl FleetError {
    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Locked { .. } => 4,
            Self::Refused(_) => 5,
            Self::Interrupted => 130,
            Self::UnknownRegion { .. }
            | Self::UnknownResource { .. }
            | Self::Unfit(_)
            | Self::NoRegionAnswered(_)
            | Self::Region { .. }
            | Self::Transfer { .. } => 1,
        }
    }
}

fn join(gates: &[Gate]) -> String {
    gates.iter().map(|gate| gate.detail.as_str()).collect::<Vec<_>>().join("; ")
}
