//! Where a state file is, and the two ways to it: reading, which takes no lock, and writing, which does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::StateError;
use super::journal::State;
use super::reader::StateReader;
use super::rebuild::Rebuild;
use super::schema::{APPLICATION_ID, MIGRATIONS};
use crate::host::Host;
use crate::host::lock::{FileLock, Holder, Occupancy};
use crate::host::sqlite::{self, DatabaseError, Mode};
use crate::model::{Lineage, World};

/// A state file by its path, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file's name where no path is given.
    pub const NAME: &str = "debvisor-region.state.db";

    /// Where the state of a topology is kept: in its directory, or beside its file.
    pub fn default_path(topology: &Path, is_directory: bool) -> PathBuf {
        if is_directory { topology.join(Self::NAME) } else { topology.with_file_name(Self::NAME) }
    }

    /// The state file at `path`. Where that is a link, the file that it leads to: two names must not make two locks.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { path: if path.is_symlink() { std::fs::canonicalize(&path).unwrap_or(path) } else { path } }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of its lock.
    pub fn lock_path(&self) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".lock");
        path.into()
    }

    /// Opens it for reading: takes no lock, makes no file. None where there is no state yet.
    ///
    /// # Errors
    /// [`StateError::Database`] for a file that cannot be used.
    pub fn read(&self) -> Result<Option<StateReader>, StateError> {
        let connection = match sqlite::open(&self.path, APPLICATION_ID, MIGRATIONS, Mode::ReadOnly) {
            Ok(connection) => connection,
            Err(DatabaseError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A lock file that this user may not read tells nothing: then a run without an end counts as running.
        let busy = FileLock::occupancy(&self.lock_path()).map_or(true, |lock| lock != Occupancy::Free);
        let reader = StateReader::new(connection, self.path.clone(), busy);
        Ok(if reader.has_lineage()? { Some(reader) } else { None })
    }

    /// Whether a run has it now, and which.
    ///
    /// # Errors
    /// [`StateError::Lock`] where the lock file cannot be read.
    pub fn occupancy(&self) -> Result<Occupancy, StateError> {
        FileLock::occupancy(&self.lock_path()).map_err(|source| StateError::Lock { path: self.path.clone(), source })
    }

    /// Takes its lock now.
    ///
    /// # Errors
    /// [`StateError::Locked`] naming who has it; [`StateError::Lock`] where there is no place for a lock.
    pub fn lock(&self, holder: &Holder) -> Result<Locked, StateError> {
        let lock = FileLock::take(&self.lock_path(), holder).map_err(|error| StateError::of_lock(&self.path, error))?;
        Ok(Locked { file: self.clone(), lock })
    }

    /// Takes its lock, waiting at most `wait` for whoever has it.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub async fn lock_within(&self, holder: &Holder, wait: Duration) -> Result<Locked, StateError> {
        let taken = FileLock::take_within(&self.lock_path(), holder, wait).await;
        let lock = taken.map_err(|error| StateError::of_lock(&self.path, error))?;
        Ok(Locked { file: self.clone(), lock })
    }
}

/// A state file whose lock is held. Nothing is written to the file yet, and it need not be there.
#[derive(Debug)]
pub struct Locked {
    file: StateFile,
    lock: FileLock,
}

impl Locked {
    /// The file.
    pub const fn file(&self) -> &StateFile {
        &self.file
    }

    /// Opens the file for writing. Where there is none, it is made, with the lineage `if_new`.
    ///
    /// Runs that have no end were killed, as the lock was free: they are marked so, with what was under way.
    ///
    /// # Errors
    /// [`StateError::Database`] for a file that cannot be used.
    pub fn open(self, world: &World, host: &Host, if_new: Lineage) -> Result<State, StateError> {
        let connection = sqlite::open(&self.file.path, APPLICATION_ID, MIGRATIONS, Mode::Create)?;
        // This process has the lock, and no run yet: what has no end is not running.
        let reader = StateReader::new(connection, self.file.path, false);
        let mut state = State::new(reader, self.lock, world.clone(), host.clone());
        state.settle_in(if_new)?;
        Ok(state)
    }

    /// Makes a lost state anew from what the regions remember. History begins anew where it was lost too.
    ///
    /// # Errors
    /// [`StateError::Managing`] where the file is there and manages something; as [`Self::open`].
    pub fn rebuild(self, world: &World, host: &Host, from: &Rebuild) -> Result<State, StateError> {
        let mut state = self.open(world, host, from.lineage)?;
        state.become_rebuilt(from)?;
        Ok(state)
    }
}
