//! What can go wrong with a state file, and what to do about it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::host::lock::{Holder, LockError};
use crate::host::sqlite::DatabaseError;
use crate::model::{Address, Lineage, RegionId, RunId};

/// What is wrong with a state file, or with what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another run has it: exit code 4.
    #[error("the state {} is locked by {}", .path.display(), holder_words(.holder.as_deref()))]
    Locked {
        /// The state file.
        path: PathBuf,
        /// Who has it, where, since when and for which command; none: it has not said so yet.
        holder: Option<Box<Holder>>,
    },
    /// Its lock cannot be taken at all.
    #[error("cannot lock the state {}: {source}", .path.display())]
    Lock {
        /// The state file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be used.
    #[error("the state cannot be used: {0}")]
    Database(#[from] DatabaseError),
    /// An object was to be renamed to an address that another one has.
    #[error("{to} is managed already, so {from} cannot take its place")]
    Taken {
        /// The former address.
        from: Address,
        /// The one that is taken.
        to: Address,
    },
    /// No such run.
    #[error("no run {0} in this history")]
    UnknownRun(RunId),
    /// A rebuild was asked for where there is something to lose.
    #[error("the state {} manages {objects} objects", .path.display())]
    Managing {
        /// The state file.
        path: PathBuf,
        /// How many.
        objects: usize,
    },
    /// Objects of more than one state file were found.
    #[error("the regions hold objects of {} lineages: {}", .found.len(), lineages_words(.found))]
    ManyLineages {
        /// Each lineage, and the regions that know it.
        found: BTreeMap<Lineage, BTreeSet<RegionId>>,
    },
    /// No region records an object that a state file manages, or none of the one asked for.
    #[error("no region that answers records an object of {}", lineage_words(*.lineage))]
    NothingManaged {
        /// The lineage that was asked for.
        lineage: Option<Lineage>,
    },
}

fn holder_words(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), ToString::to_string)
}

fn lineage_words(lineage: Option<Lineage>) -> String {
    lineage.map_or_else(|| "any state file".to_owned(), |lineage| format!("lineage {lineage}"))
}

fn lineages_words(found: &BTreeMap<Lineage, BTreeSet<RegionId>>) -> String {
    let words = found.iter().map(|(lineage, regions)| {
        let regions: Vec<&str> = regions.iter().map(RegionId::as_str).collect();
        format!("{lineage} (in {})", regions.join(", "))
    });
    words.collect::<Vec<_>>().join("; ")
}

impl StateError {
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> Self {
        Self::Database(DatabaseError::of(path, error))
    }

    pub(super) fn of_lock(path: &Path, error: LockError) -> Self {
        match error {
            LockError::Held { path: _, holder } => Self::Locked { path: path.to_owned(), holder },
            LockError::Io { path: _, source } => Self::Lock { path: path.to_owned(), source },
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Locked { .. } => "wait for it to end, or run this again with --lock-timeout 5m".to_owned(),
            Self::Lock { .. } => {
                "the directory of the state file must be there and writable for this user; --state names another place"
                    .to_owned()
            }
            Self::Database(DatabaseError::NotADatabase { .. } | DatabaseError::Foreign { .. }) => {
                "name the right file with --state, or move this one away and run `state rebuild`; it was not touched"
                    .to_owned()
            }
            Self::Database(DatabaseError::Damaged { .. }) => {
                "put a backup in its place, or move it away and run `state rebuild`".to_owned()
            }
            Self::Database(error) => error.help(),
            Self::Taken { .. } => "remove the [[moved]] entry, or stop declaring one of the two".to_owned(),
            Self::UnknownRun(_) => "`history` lists the runs".to_owned(),
            Self::Managing { .. } => {
                "a rebuild is for a lost state: move this file away first if it is to be made anew".to_owned()
            }
            Self::ManyLineages { .. } => {
                "name the one to rebuild; objects of the others stay with their own state files".to_owned()
            }
            Self::NothingManaged { .. } => {
                "check that the topology names the right regions and that they answer; a new topology needs no rebuild"
                    .to_owned()
            }
        }
    }
}
