//! How the system's errors become the engine's: with what was tried, and on which file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::catalog::CatalogError;
use super::port::TransferError;

/// What the system says of a single file that fails: no permission, a bad medium, a damaged file system.
const BAD_FILE: [Errno; 7] =
    [Errno::ACCESS, Errno::PERM, Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN, Errno::REMOTEIO];

/// What it says where room lacks, on the disk or in the quota of whoever writes.
const NO_SPACE: [Errno; 2] = [Errno::NOSPC, Errno::DQUOT];

/// What it says where nothing may be done there, whoever's the file is.
const NOT_PERMITTED: [Errno; 3] = [Errno::ACCESS, Errno::PERM, Errno::ROFS];

/// Turns the system's error into the engine's.
pub(super) fn cannot<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> TransferError + 'a {
    move |error| {
        let errno = Errno::from_io_error(&error);
        TransferError::Io {
            action: format!("cannot {action}"),
            path: path.display().to_string(),
            detail: error.to_string(),
            bad_file: errno.is_some_and(|errno| BAD_FILE.contains(&errno)),
            no_space: errno.is_some_and(|errno| NO_SPACE.contains(&errno)),
            not_permitted: errno.is_some_and(|errno| NOT_PERMITTED.contains(&errno)),
        }
    }
}

/// What was read; none where it is the file that fails.
///
/// # Errors
/// All others: a full disk, too many open files, a store that fails.
pub(super) fn if_readable<T>(result: Result<T, TransferError>) -> Result<Option<T>, TransferError> {
    match result {
        Ok(read) => Ok(Some(read)),
        Err(TransferError::Io { bad_file: true, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for what concerns the file at `path` alone.
///
/// # Errors
/// All others, and those of other files.
pub(super) fn if_readable_at<T>(path: &Path, result: Result<T, TransferError>) -> Result<Option<T>, TransferError> {
    match &result {
        Err(TransferError::Io { path: other, .. }) if *other != path.display().to_string() => result.map(Some),
        _ => if_readable(result),
    }
}

/// A mistake of whoever drives the transfer.
pub(super) fn misuse(what: impl Into<String>) -> TransferError {
    TransferError::Corrupt(what.into())
}

impl From<CatalogError> for TransferError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Stale { ordered, recorded } => Self::Stale { ordered, recorded },
            error @ (CatalogError::Store(_) | CatalogError::NoPoint { .. }) => Self::Region(error.to_string()),
        }
    }
}

/// Stops what runs. What begins later is not stopped by an earlier call.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicU64>);

/// One piece of work's view of a [`Stop`], and of what stops this work alone.
#[derive(Debug, Clone)]
pub struct StopCheck {
    stop: Stop,
    began: u64,
    alone: Option<CancellationToken>,
}

impl Stop {
    /// Stops all that runs.
    pub fn now(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// For work that begins.
    pub fn check(&self) -> StopCheck {
        StopCheck { stop: self.clone(), began: self.0.load(Ordering::SeqCst), alone: None }
    }
}

impl StopCheck {
    /// For work that nobody stops.
    pub fn never() -> Self {
        Stop::default().check()
    }

    /// The same, stopped by `alone` too.
    #[must_use]
    pub fn until(self, alone: &CancellationToken) -> Self {
        Self { alone: Some(alone.clone()), ..self }
    }

    /// Whether to stop.
    pub fn stopped(&self) -> bool {
        self.stop.0.load(Ordering::SeqCst) != self.began
            || self.alone.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// An error where to stop.
    ///
    /// # Errors
    /// [`TransferError::Interrupted`].
    pub(super) fn go_on(&self) -> Result<(), TransferError> {
        if self.stopped() { Err(TransferError::Interrupted) } else { Ok(()) }
    }
}
