//! Which way a resource is held still: a stopped machine as it is, then the region's `snapshot` command, then freeze
//! and clone, then freeze and copy where little enough is there, else the files as they are, watched.
//!
//! A way that fails is not the end: the next one is tried, and what failed is told with what came of it. But a freeze
//! that cannot be taken back ends the reading: somebody must look at it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::bracket::Orders;
use super::clones::{self, Copied};
use super::held::{Held, HoldError};
use super::likeness::difference;
use super::mark;
use crate::config::RegionConfig;
use crate::config::region::{Freeze, Quiesce, Snapshot};
use crate::host::{Disk, remove_tree};
use crate::model::point::PointKind;
use crate::model::region::Epoch;
use crate::model::running::RunState;
use crate::model::{Clock, RegionId, ResourceKey, ResourceType};
use crate::process::Placeholders;
use crate::region::runner::{Machines, placeholders};
use crate::replica::place::Place;
use crate::replica::port::TransferError;
use crate::replica::source::{Still, look_when_settled};
use crate::replica::tree::{Tree, identity, walk};

/// Holds resources still.
#[derive(Debug, Clone)]
pub struct Quiescer {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// What copies are dated by.
    pub clock: Arc<dyn Clock>,
    /// The argv of a process that runs [`super::thaw_guard`].
    pub guard: Option<Vec<String>>,
    /// The region.
    pub region: RegionId,
    /// Its own configuration.
    pub config: Arc<RegionConfig>,
    /// Its machines.
    pub machines: Machines,
}

/// What is to hold still.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What.
    pub resource: ResourceKey,
    /// Its holder's epoch.
    pub epoch: Epoch,
    /// The directory that commands are told.
    pub dir: PathBuf,
    /// Where its files live.
    pub live: Place,
    /// Where copies may be made; not there yet.
    pub clones: PathBuf,
    /// What remembers that it is held still.
    pub mark: PathBuf,
    /// Shared by all who hold this resource still: the end of one would be the end of the other.
    pub lane: Arc<Mutex<()>>,
}

/// How a resource holds still.
#[derive(Debug)]
pub struct Prepared {
    /// What a copy is worth that is read now.
    pub kind: PointKind,
    /// What to read; none: the live files.
    pub copy: Option<Still>,
    /// The ways that failed: which command, and how.
    pub trouble: Vec<String>,
    held: Option<Held>,
    clones: Option<PathBuf>,
    /// Given back after what is held.
    alone: Option<OwnedMutexGuard<()>>,
}

impl Prepared {
    fn live(kind: PointKind, trouble: Vec<String>) -> Self {
        Self { kind, copy: None, trouble, held: None, clones: None, alone: None }
    }

    /// What whoever asked for the copy must be told; none where all went as configured.
    pub fn note(&self) -> Option<String> {
        if self.trouble.is_empty() {
            return None;
        }
        let trouble = self.trouble.join("; ");
        Some(match self.kind {
            PointKind::Quiet => format!("read without holding it still, so only quiet: {trouble}"),
            PointKind::Frozen | PointKind::Cold => format!("held still another way than the first: {trouble}"),
        })
    }

    /// Ends it: gives the snapshot back and removes the copies. Says whether it held until now.
    ///
    /// # Errors
    /// Where what was held cannot be given back.
    pub async fn end(self, disk: &Arc<dyn Disk>) -> Result<bool, TransferError> {
        if let Some(clones) = self.clones {
            discard(disk, clones).await;
        }
        let _alone = self.alone;
        match self.held {
            Some(held) => held.release().await.map_err(|error| TransferError::Region(error.to_string())),
            None => Ok(true),
        }
    }
}

/// When files are looked at.
#[derive(Clone, Copy)]
enum Look {
    Now,
    /// As soon as a later change would show.
    Settled,
}

/// Why a way was not taken.
enum Passed {
    /// It failed.
    Failed(String),
    /// Nothing else may be tried.
    Fatal(TransferError),
}

impl From<HoldError> for Passed {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::NoGuard { .. } | HoldError::Enter(_) => Self::Failed(error.to_string()),
            HoldError::Leave(_) => Self::Fatal(TransferError::Region(error.to_string())),
        }
    }
}

impl Quiescer {
    /// Holds the resource still by the first way that works.
    ///
    /// # Errors
    /// Where the files cannot be looked at, or what was begun cannot be taken back.
    pub async fn prepare(&self, asked: &Asked) -> Result<Prepared, TransferError> {
        let mut trouble = Vec::new();
        if asked.resource.kind == ResourceType::Vm {
            match self.machines.status(&asked.resource, &asked.dir, asked.epoch).await {
                RunState::Stopped => return Ok(Prepared::live(PointKind::Cold, trouble)),
                RunState::Running | RunState::NoRunner => {}
                RunState::Unknown(reason) => trouble.push(reason),
            }
        }
        let Some(quiesce) = &self.config.quiesce else { return Ok(Prepared::live(PointKind::Quiet, trouble)) };
        let alone = Arc::clone(&asked.lane).lock_owned().await;
        let before = self.look(&asked.live, Look::Settled).await?;
        if before.is_empty() || before.refused.is_some() {
            // The reading itself says so; there is nothing to hold still for.
            return Ok(Prepared::live(PointKind::Quiet, trouble));
        }
        if let Some(snapshot) = &quiesce.snapshot {
            match self.snapshot(asked, quiesce, snapshot, before).await {
                Ok(prepared) => return Ok(Prepared { trouble, alone: Some(alone), ..prepared }),
                Err(Passed::Failed(reason)) => trouble.push(format!("snapshot: {reason}")),
                Err(Passed::Fatal(error)) => return Err(error),
            }
        }
        if let Some(freeze) = &quiesce.freeze {
            match self.freeze(asked, quiesce, freeze).await {
                Ok(prepared) => return Ok(Prepared { trouble, ..prepared }),
                Err(Passed::Failed(reason)) => trouble.push(format!("freeze: {reason}")),
                Err(Passed::Fatal(error)) => return Err(error),
            }
        }
        Ok(Prepared::live(PointKind::Quiet, trouble))
    }

    /// The region's `snapshot` command, which prints where the copy is.
    async fn snapshot(
        &self,
        asked: &Asked,
        quiesce: &Quiesce,
        commands: &Snapshot,
        mut before: Tree,
    ) -> Result<Prepared, Passed> {
        let orders = self.orders(asked, &commands.snapshot, &commands.release, quiesce.timeout, None)?;
        self.mark(&orders, quiesce.timeout).await?;
        // The command takes its snapshot somewhere between its start and its end.
        let at = self.clock.now();
        let held = self.begin(orders).await?;
        let prepared = async {
            let root = printed_directory(&held.printed)?;
            let copy =
                self.look(&Place::Directory(root.clone()), Look::Now).await.map_err(|error| error.to_string())?;
            let after = self.look(&asked.live, Look::Now).await.map_err(|error| error.to_string())?;
            if let Some(words) = difference(&before, &after, &copy) {
                return Err(format!("the snapshot {} {words}", root.display()));
            }
            distrust_changed(&mut before, &after);
            Ok::<_, String>(root)
        };
        match prepared.await {
            Ok(root) => Ok(Prepared {
                kind: PointKind::Frozen,
                copy: Some(Still { place: Place::Directory(root), before, at }),
                trouble: Vec::new(),
                held: Some(held),
                clones: None,
                alone: None,
            }),
            Err(reason) => {
                held.release().await?;
                Err(Passed::Failed(reason))
            }
        }
    }

    /// The region's `freeze` command, clones within it, `thaw`.
    async fn freeze(&self, asked: &Asked, quiesce: &Quiesce, commands: &Freeze) -> Result<Prepared, Passed> {
        let longest = Some(quiesce.timeout);
        let orders = self.orders(asked, &commands.freeze, &commands.thaw, quiesce.timeout, longest)?;
        self.mark(&orders, quiesce.timeout).await?;
        let held = self.begin(orders).await?;
        // Whatever writes the files stands still by now, and until the copies are made.
        let at = self.clock.now();
        let copied = self.copy_frozen(asked, quiesce.timeout).await;
        let in_time = held.release().await;
        let outcome = match (in_time, copied) {
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(reason)) => Err(Passed::Failed(reason)),
            (Ok(false), Ok((Copied::Done | Copied::TooMuch, _))) => {
                Err(Passed::Failed("it did not hold until the copy was done".to_owned()))
            }
            (Ok(_), Ok((Copied::Stopped, _))) => Err(Passed::Failed(format!(
                "the copy was not done within {}",
                crate::model::units::format_duration(quiesce.timeout)
            ))),
            (Ok(true), Ok((Copied::TooMuch, _))) => Err(Passed::Failed(format!(
                "the file system cannot clone, and more than {} is too much to copy within a freeze",
                clones::SMALL
            ))),
            (Ok(true), Ok((Copied::Done, before))) => Ok(Prepared {
                kind: PointKind::Frozen,
                copy: Some(Still { place: Place::Directory(asked.clones.clone()), before, at }),
                trouble: Vec::new(),
                held: None,
                clones: Some(asked.clones.clone()),
                alone: None,
            }),
        };
        if outcome.is_err() {
            discard(&self.disk, asked.clones.clone()).await;
        }
        outcome
    }

    /// Remembers what is about to be held, after what an earlier program left held was taken back.
    async fn mark(&self, orders: &Orders, patience: Duration) -> Result<(), Passed> {
        if let Some(path) = &orders.mark
            && !mark::is_free(path, patience).await
        {
            return Err(Passed::Failed("what was held earlier is still being taken back".to_owned()));
        }
        let (disk, orders) = (Arc::clone(&self.disk), orders.clone());
        let written = tokio::task::spawn_blocking(move || mark::write(&*disk, &orders)).await;
        written
            .map_err(|error| Passed::Failed(error.to_string()))?
            .map_err(|error| Passed::Failed(format!("nothing could be noted of it: {error}")))
    }

    async fn begin(&self, orders: Orders) -> Result<Held, Passed> {
        let held = Held::begin(self.guard.as_deref(), orders.clone()).await;
        if let Err(HoldError::NoGuard { .. }) = held {
            mark::remove(&orders);
        }
        Ok(held?)
    }

    /// Copies the files, and the picture of them that the copy shows. Stops when `longest` is over.
    async fn copy_frozen(&self, asked: &Asked, longest: Duration) -> Result<(Copied, Tree), String> {
        /// However this future ends, the thread that copies learns of it.
        struct StopAtEnd(Arc<AtomicBool>);
        impl Drop for StopAtEnd {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = StopAtEnd(Arc::new(AtomicBool::new(false)));
        let (disk, live, into, told) =
            (Arc::clone(&self.disk), asked.live.clone(), asked.clones.clone(), Arc::clone(&stop.0));
        let mut copying = tokio::task::spawn_blocking(move || {
            let before = walk(&*disk, &live).map_err(|error| error.to_string())?;
            let copied = clones::copy(&*disk, &before, &into, &told).map_err(|error| error.to_string())?;
            if copied == Copied::Done {
                let after = walk(&*disk, &live).map_err(|error| error.to_string())?;
                if after.stamp() != before.stamp() {
                    return Err("files changed within the freeze: it does not stop their writers".to_owned());
                }
            }
            Ok((copied, before))
        });
        let done = tokio::select! {
            done = &mut copying => done,
            () = tokio::time::sleep(longest) => {
                stop.0.store(true, Ordering::Relaxed);
                copying.await
            }
        };
        done.map_err(|error| error.to_string())?
    }

    async fn look(&self, live: &Place, when: Look) -> Result<Tree, TransferError> {
        let (disk, clock, live) = (Arc::clone(&self.disk), Arc::clone(&self.clock), live.clone());
        let look = move || match when {
            Look::Now => walk(&*disk, &live),
            Look::Settled => look_when_settled(&*disk, &*clock, &live),
        };
        tokio::task::spawn_blocking(look).await.map_err(|error| TransferError::Region(error.to_string()))?
    }

    fn orders(
        &self,
        asked: &Asked,
        enter: &[String],
        leave: &[String],
        entering: Duration,
        longest: Option<Duration>,
    ) -> Result<Orders, Passed> {
        let places = placeholders(&asked.resource, &asked.dir, &self.region, asked.epoch);
        let (enter, leave) = (expanded(&places, enter)?, expanded(&places, leave)?);
        let mark = Some(asked.mark.clone());
        Ok(Orders { enter, leave, variables: Default::default(), entering, longest, mark })
    }
}

fn expanded(places: &Placeholders, argv: &[String]) -> Result<Vec<String>, Passed> {
    let texts = argv.iter().map(|argument| places.expand(argument.as_ref()).into_string());
    texts
        .collect::<Result<_, _>>()
        .map_err(|name| Passed::Failed(format!("a command cannot be told the path {}", name.display())))
}

/// The one directory that a snapshot command printed, free of links.
fn printed_directory(printed: &str) -> Result<PathBuf, String> {
    let mut lines = printed.lines().map(str::trim).filter(|line| !line.is_empty());
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err("the snapshot command did not print one directory".to_owned());
    };
    let path = Path::new(line);
    if !path.is_absolute() {
        return Err(format!("the snapshot command printed `{line}`, which is no absolute path"));
    }
    let root = path.canonicalize().map_err(|error| format!("the snapshot {line}: {error}"))?;
    if root.is_dir() { Ok(root) } else { Err(format!("the snapshot {line} is not a directory")) }
}

/// A file that changed while the snapshot was made may be in it as it was, or as it became: neither picture of it may
/// be taken for the copy's. A time of change in the far future is believed by nobody.
fn distrust_changed(before: &mut Tree, after: &Tree) {
    for found in &mut before.found {
        let same = after
            .found
            .binary_search_by(|other| other.path.cmp(&found.path))
            .is_ok_and(|at| identity(&after.found[at].stat) == identity(&found.stat));
        if !same {
            found.stat.ctime_ns = i64::MAX;
        }
    }
}

/// Removes copies; one that resists is removed by the next writer.
async fn discard(disk: &Arc<dyn Disk>, clones: PathBuf) {
    let disk = Arc::clone(disk);
    let _ = tokio::task::spawn_blocking(move || remove_tree(&*disk, &clones)).await;
}
