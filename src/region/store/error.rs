//! Why the store could not answer, or would not write.

use crate::host::sqlite::DatabaseError;
use crate::live::port::PortError;
use crate::model::region::Controller;
use crate::model::{Digest, RegionId};

/// Why the store could not answer, or would not write.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A row that means nothing to this program.
    #[error("the record of {what} cannot be read: {detail}")]
    Unreadable {
        /// Whose.
        what: String,
        /// Why.
        detail: String,
    },
    /// The database belongs to another store than the identity names.
    #[error("region.db belongs to another store ({found}) than .debvisor/region.json names ({expected})")]
    OtherStore {
        /// The database's.
        found: String,
        /// The identity's.
        expected: String,
    },
    /// A record is not as the change expects.
    #[error("{address} is not as it was: {detail}")]
    Conflict {
        /// The object.
        address: String,
        /// What differs.
        detail: String,
        /// The fingerprint that it has.
        current: Option<Digest>,
    },
    /// Another state file controls the region.
    #[error("another state file controls this region: {}", .0.place)]
    NotController(Box<Controller>),
    /// The change breaks a rule.
    #[error("{reason}")]
    Refused {
        /// Which.
        reason: String,
        /// What to do.
        help: Option<String>,
    },
}

impl StoreError {
    pub(super) fn refused(reason: impl Into<String>, help: &str) -> Self {
        Self::Refused { reason: reason.into(), help: Some(help.to_owned()) }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Database(error) => Some(error.help()),
            Self::Unreadable { .. } => Some("a newer program may have written it; nothing was changed".to_owned()),
            Self::OtherStore { .. } => {
                Some("one of the two files was copied from elsewhere; restore both from one backup".to_owned())
            }
            Self::Refused { help, .. } => help.clone(),
            Self::Conflict { .. } | Self::NotController(_) => None,
        }
    }

    /// The error as the region's port answers it.
    pub fn into_port(self, region: &RegionId) -> PortError {
        match self {
            Self::Conflict { address, detail, current } => PortError::Conflict { address, detail, current },
            Self::NotController(controller) => PortError::NotController {
                region: region.clone(),
                lineage: controller.lineage,
                term: controller.term,
                place: controller.place,
            },
            Self::Refused { reason, help } => PortError::Refused { reason, help },
            error @ (Self::Database(_) | Self::Unreadable { .. } | Self::OtherStore { .. }) => {
                PortError::Failed(error.to_string())
            }
        }
    }
}
