//! Taking a lock file, saying who has it, and reading who that is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Who holds a lock, as the holder wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// `user@host`
    pub who: String,
    /// The process.
    pub pid: u32,
    /// The command that it runs.
    pub command: String,
    /// Since when.
    pub since: Timestamp,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { who, pid, command, since } = self;
        write!(f, "{who} (process {pid}) since {}, running `{command}`", since.for_people())
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is locked by {}", .path.display(), .holder.as_deref().map_or_else(|| "another process".to_owned(), ToString::to_string))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who; none where the holder has not said so yet.
        holder: Option<Box<Holder>>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whether a lock is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupancy {
    /// By nobody.
    Free,
    /// By a living process; none where it has not said who it is yet.
    Held(Option<Box<Holder>>),
}

/// A lock that is held; dropping it lets it go.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

/// A look at who holds a lock takes it for a moment too, which must not turn a taker away; and a holder needs a
/// moment to write who it is.
const PATIENCE: u32 = 20;
const BREATH: Duration = Duration::from_millis(5);
/// How often a waiting taker looks again.
const POLL: Duration = Duration::from_millis(50);

impl FileLock {
    /// Takes the lock at `path` now, making the file where there is none.
    ///
    /// Guarantees that no other process on this machine holds it until the answer is dropped. A crash leaves the
    /// file with its words, and no lock.
    ///
    /// # Errors
    /// [`LockError::Held`] naming the holder; [`LockError::Io`] where the file cannot be made or locked.
    pub fn take(path: &Path, holder: &Holder) -> Result<Self, LockError> {
        let mut tries = 0;
        loop {
            match Self::attempt(path, holder) {
                Err(LockError::Held { .. }) if tries < PATIENCE => {
                    tries += 1;
                    std::thread::sleep(BREATH);
                }
                done => return done,
            }
        }
    }

    /// Takes the lock at `path`, waiting for it at most `wait`.
    ///
    /// # Errors
    /// As [`Self::take`]; [`LockError::Held`] once the time is over.
    pub async fn take_within(path: &Path, holder: &Holder, wait: Duration) -> Result<Self, LockError> {
        let polling = async {
            loop {
                match Self::attempt(path, holder) {
                    Err(LockError::Held { .. }) => tokio::time::sleep(POLL).await,
                    done => return done,
                }
            }
        };
        match tokio::time::timeout(wait, polling).await {
            Ok(done) => done,
            Err(_elapsed) => Self::take(path, holder),
        }
    }

    pub(super) fn attempt(path: &Path, holder: &Holder) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held { path: path.to_owned(), holder: words(&file).map(Box::new) });
            }
            Err(error) => return Err(io(error.into())),
        }
        let mut lock = Self { file, path: path.to_owned() };
        lock.say(holder).map_err(io)?;
        Ok(lock)
    }

    fn say(&mut self, holder: &Holder) -> io::Result<()> {
        let text = serde_json::to_string(holder).expect("plain data converts to JSON");
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.write_all(b"\n")
    }

    /// What a program that is being started has of it.
    #[cfg(test)]
    pub(super) fn inherited(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it: another program would meet this lock there.
    pub fn is_in_place(&self) -> bool {
        let there = std::fs::symlink_metadata(&self.path).ok();
        let held = self.file.metadata().ok();
        there.zip(held).is_some_and(|(there, held)| (there.dev(), there.ino()) == (held.dev(), held.ino()))
    }

    /// Whether the lock at `path` is held now, and by whom. Writes nothing and makes no file.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn occupancy(path: &Path) -> io::Result<Occupancy> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupancy::Free),
            Err(error) => return Err(error),
        };
        let mut tries = 0;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {
                    let_go(&file)?;
                    return Ok(Occupancy::Free);
                }
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
            let holder = words(&file);
            if holder.is_some() || tries == PATIENCE {
                return Ok(Occupancy::Held(holder.map(Box::new)));
            }
            tries += 1;
            std::thread::sleep(BREATH);
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Words without a lock mislead nobody but a reader of the file.
        let _ = self.file.set_len(0);
        let _ = let_go(&self.file);
    }
}

/// Lets a lock go at once. Its file's closing alone would leave it to a program that is being started by another thread:
/// until that runs it has all files of this one.
fn let_go(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::Unlock).map_err(io::Error::from)
}

/// What the holder wrote; none where it has not finished writing.
fn words(mut file: &File) -> Option<Holder> {
    // Far longer than any holder's words: a file that is no lock file is not read to its end.
    const LIMIT: u64 = 64 << 10;
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LIMIT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
