//! What remembers that something is held still, for when everybody who knew is gone.
//!
//! - **Guarantee**: the mark is durable before the first command runs, and goes when the second one has succeeded. While
//!   somebody is at it, its lock is held.
//! - **Assumption**: one file for each resource, and one writer of the region.
//! - **A crash here** leaves the mark; whoever opens the region for writing next takes back what it names, and nothing
//!   of that resource is held while somebody else still takes it back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::bracket::{Orders, leave};
use crate::host::disk::replace_file;
use crate::host::{Disk, HostDisk};
use crate::model::region::StillHeld;
use crate::model::{ResourceKey, Timestamp};

/// How often a mark that somebody is at is looked at again.
const POLL: Duration = Duration::from_millis(100);
/// How long the second command may take where others wait for its end.
const SETTLING: Duration = Duration::from_secs(10);

/// How long a program takes at most from writing a mark to being at it.
const STARTING: Duration = Duration::from_millis(250);
/// How much longer than it may a freeze takes with a thaw that is well.
const OVERDUE: Duration = Duration::from_secs(5);
/// Until whoever only looks has let the lock go.
const LOOKING: Duration = Duration::from_millis(2);

/// Writes the mark that `orders` name.
pub(super) fn write(disk: &dyn Disk, orders: &Orders) -> io::Result<()> {
    let Some(path) = &orders.mark else { return Ok(()) };
    let text = serde_json::to_vec(orders).expect("plain data converts to JSON");
    if let Some(directory) = path.parent() {
        disk.create_dir_all(directory)?;
        if let Some(above) = directory.parent() {
            disk.sync_dir(above)?;
        }
    }
    replace_file(disk, path, &text)
}

/// The lock of whoever is about to take back what a mark names.
#[derive(Debug)]
pub(super) struct Claim {
    _locked: Option<File>,
}

impl Claim {
    /// Claims the mark of `orders`. What holds still is taken back all the same where that cannot be done.
    pub(super) fn of(orders: &Orders) -> Self {
        let file = orders.mark.as_deref().and_then(|path| open(path).ok());
        Self { _locked: file.filter(|file| claim(file).is_ok()) }
    }
}

/// It was taken back, or never begun: the mark goes.
pub(super) fn remove(orders: &Orders) {
    if let Some(path) = &orders.mark {
        // One that stays is met by the next writer, who takes back what is not held.
        let _ = HostDisk.remove_file(path);
    }
}

/// What a mark says.
enum Found {
    Nothing,
    /// Somebody is at it.
    Claimed,
    Left(File, Box<Orders>),
}

fn open(path: &Path) -> io::Result<File> {
    // Some file systems lock only what is open for writing.
    File::options().read(true).write(true).open(path)
}

/// Takes the lock, unless somebody is at the mark.
fn claim(file: &File) -> Result<(), Errno> {
    let claimed = || flock(file, FlockOperation::NonBlockingLockExclusive);
    claimed().or_else(|_| {
        std::thread::sleep(LOOKING);
        claimed()
    })
}

fn look(path: &Path) -> Result<Found, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unreadable(&error)),
    };
    match claim(&file) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Found::Claimed),
        Err(error) => return Err(unreadable(&error)),
    }
    match serde_json::from_reader(io::BufReader::new(&file)) {
        Ok(orders) => Ok(Found::Left(file, Box::new(orders))),
        Err(error) => Err(unreadable(&error)),
    }
}

/// Takes back what an earlier program left held, where the mark at `path` says so and nobody is at it.
///
/// # Errors
/// Why it may still be held.
async fn settle(path: &Path) -> Result<(), String> {
    let (_claim, orders) = match look(path)? {
        Found::Nothing | Found::Claimed => return Ok(()),
        Found::Left(claim, orders) => (claim, orders),
    };
    match leave(&orders, 1, SETTLING).await {
        None => {
            remove(&Orders { mark: Some(path.to_owned()), ..*orders });
            Ok(())
        }
        Some(failure) => Err(format!(
            "may still be held since an earlier run: {failure}; it is tried again later, until {} is removed",
            path.display()
        )),
    }
}

/// Waits up to `patience` until nobody takes back what the mark at `path` names, and takes it back where nobody does.
/// What cannot be taken back was told when that was tried first, and is in nobody's way: the next one that is held ends
/// it too. False where somebody is still at it: what is held beside them would not hold.
pub(super) async fn is_free(path: &Path, patience: Duration) -> bool {
    let waiting = async {
        while matches!(look(path), Ok(Found::Claimed)) {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(patience, waiting).await.is_err() {
        return false;
    }
    let _ = settle(path).await;
    true
}

/// Takes back, all at once, what the marks in `directory` name and nobody is at; why some may still be held.
pub async fn settle_all(disk: &dyn Disk, directory: &Path) -> Vec<String> {
    let marks = marks(disk, directory);
    let settling = marks.iter().map(|path| async move {
        let resource = path.file_stem().unwrap_or_default().to_string_lossy();
        settle(path).await.err().map(|failure| format!("{resource} {failure}"))
    });
    futures_util::future::join_all(settling).await.into_iter().flatten().collect()
}

fn marks(disk: &dyn Disk, directory: &Path) -> Vec<PathBuf> {
    let marks = disk.read_dir(directory).unwrap_or_default().into_iter().map(|name| directory.join(name));
    marks.filter(|path| path.extension().is_some_and(|suffix| suffix == "json")).collect()
}

/// What the marks in `directory` name and nobody is at, and what is frozen for longer than it may be: somebody is at it,
/// but its thaw hangs or fails. Writes nothing, and is in nobody's way.
pub(in crate::region) fn still_held(
    disk: &dyn Disk,
    directory: &Path,
    now: Timestamp,
) -> BTreeMap<ResourceKey, StillHeld> {
    let suspect = || -> BTreeMap<PathBuf, i64> {
        let written = |path: &Path| disk.symlink_metadata(path).map(|stat| stat.mtime_ns).ok();
        let marks = marks(disk, directory).into_iter().filter_map(|path| written(&path).map(|at| (path, at)));
        marks.filter(|(path, at)| is_abandoned(path) || is_overdue(path, since(*at), now)).collect()
    };
    let found = suspect();
    if found.is_empty() {
        return BTreeMap::new();
    }
    // A mark is written before anybody is at it: one that is young is looked at again once it is not.
    let youngest = found.values().map(|at| now.since(since(*at))).min().unwrap_or_default();
    let young = STARTING.saturating_sub(youngest);
    if !young.is_zero() {
        std::thread::sleep(young);
    }
    let still = suspect().into_iter().filter(|(path, written)| found.get(path) == Some(written));
    let held = still.filter_map(|(path, written)| {
        let held = StillHeld {
            since: since(written),
            release: read(&path).map(|orders| orders.leaving()),
            remembered: path.display().to_string(),
        };
        Some((path.file_stem()?.to_str()?.parse().ok()?, held))
    });
    held.collect()
}

const fn since(written_ns: i64) -> Timestamp {
    Timestamp::from_micros(written_ns / 1000)
}

fn read(path: &Path) -> Option<Orders> {
    serde_json::from_reader(io::BufReader::new(File::open(path).ok()?)).ok()
}

/// Whether the mark is there and nobody is at it, as far as can be seen.
fn is_abandoned(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether what the mark names should have been taken back by now.
fn is_overdue(path: &Path, since: Timestamp, now: Timestamp) -> bool {
    let longest = read(path).and_then(|orders| orders.longest);
    longest.is_some_and(|longest| now.since(since) > longest.saturating_add(OVERDUE))
}
