//! What is handed to the manager: where things are, what a command asked for, who is asked before anything changes,
//! and who watches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::failover::FailoverReview;
use crate::config::Credentials;
use crate::execute::event::{Event, EventSink};
use crate::failover::Proposal;
use crate::host::{Disk, Host};
use crate::model::Address;
use crate::model::topology::Topology;
use crate::plan::document::Plan;

/// The declared topology and where it was read from.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Validated and expanded.
    pub topology: Topology,
    /// The path as given, for the plan.
    pub path: String,
    /// The directory that it lies in, which relative endpoints of regions that are no longer declared start from.
    pub base: PathBuf,
}

/// What holds for every command of a process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state file.
    pub state: PathBuf,
    /// Effects at once, over all regions.
    pub parallelism: usize,
    /// How long a lock is waited for; zero: not at all.
    pub lock_timeout: Duration,
    /// Who runs it, and where.
    pub host: Host,
    /// The machine's disk.
    pub disk: Arc<dyn Disk>,
    /// The argv of a process that thaws what this program froze and did not thaw (see
    /// [`Opening::guard`](crate::region::Opening)).
    pub guard: Option<Vec<String>>,
    /// The argv of a process that runs a program only while what was confirmed for it is fresh (see
    /// [`process::fresh`](crate::process::fresh)).
    pub exec_guard: Option<Vec<String>>,
    /// The programs that may be run as a policy's hooks; none: any. Whoever wrote the policy on this machine may name
    /// what it runs.
    pub allowed_hooks: Option<Vec<PathBuf>>,
    /// What regions elsewhere may see of this program's secrets.
    pub credentials: Arc<Credentials>,
    /// The command line, for the lock, the history and whoever meets them.
    pub command: String,
}

impl Settings {
    /// Effects at once when the command line names no number.
    pub const DEFAULT_PARALLELISM: usize = 10;
}

/// What a plan is asked for.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Only these objects and what they need; empty: all.
    pub targets: Vec<Address>,
    /// Whether objects that are no longer declared are removed.
    pub prune: bool,
    /// How many at most; none: the default of 10.
    pub max_prune: Option<u32>,
    /// Whether declared objects of another lineage are taken over.
    pub adopt: bool,
    /// Whether `apply` takes the controller's place first.
    pub take_over: bool,
    /// The state's record becomes what is live, and regions are left alone.
    pub refresh_only: bool,
}

/// What applying a saved plan is asked for.
#[derive(Debug, Clone, Default)]
pub struct SavedOptions {
    /// How many objects it may remove at most; none: the default of 10.
    pub max_prune: Option<u32>,
    /// Whether it takes the controller's place first.
    pub take_over: bool,
}

/// What `reconcile` may do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Copy what is due.
    pub sync: bool,
    /// Mend drift.
    pub drift: bool,
    /// Fail over by the policy.
    pub failover: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Self { sync: true, drift: false, failover: false }
    }
}

/// What a reconcile round does when another run has the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnLocked {
    /// It fails with [`crate::state::StateError::Locked`].
    #[default]
    Fail,
    /// It waits for that run to end.
    Wait {
        /// So long, and then it fails as well; none: however long that run takes.
        at_most: Option<Duration>,
    },
    /// It is left out, and that is success.
    Skip,
}

/// What a reconcile round is asked for.
#[derive(Debug, Clone, Default)]
pub struct ReconcileOptions {
    /// What it may do.
    pub allow: Allowed,
    /// What it does when it is locked out.
    pub on_locked: OnLocked,
    /// Whether it is one of many: one that does nothing and ends like the last one is left out of the history.
    pub repeated: bool,
    /// Whether nobody wants its metrics, which take another look at all regions where it did something.
    pub unmeasured: bool,
}

/// What the person (or the flag) says to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// Refused: nothing is changed, and history says so.
    Decline,
    /// A signal came while it was asked.
    Interrupt,
}

/// Sees a plan before its first effect, under the state's lock, and says whether it is carried out. Called once in
/// each run, also for a plan without effects.
#[async_trait]
pub trait Review: Send {
    /// Shows the plan, and asks where that is wanted.
    async fn review(&mut self, plan: &Plan) -> Verdict;
}

/// Lets everything that is asked for be carried out: for programs, whose caller has decided. Gates of a failover are
/// judged all the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Approved;

#[async_trait]
impl Review for Approved {
    async fn review(&mut self, _: &Plan) -> Verdict {
        Verdict::Proceed
    }
}

#[async_trait]
impl FailoverReview for Approved {
    async fn review(&mut self, _: &Proposal) -> Verdict {
        Verdict::Proceed
    }
}

/// Who watches a run, and how it is stopped.
#[derive(Clone)]
pub struct Watch {
    /// Takes the events, in order.
    pub events: Arc<dyn EventSink>,
    /// Cancelled by a signal: syncs stop at the next durable group, record calls under way finish, nothing starts.
    pub cancel: CancellationToken,
}

/// Nobody watches, and nothing stops it.
impl Default for Watch {
    fn default() -> Self {
        Self { events: Arc::new(Unheard), cancel: CancellationToken::new() }
    }
}

/// Hears no events.
struct Unheard;

impl EventSink for Unheard {
    fn emit(&self, _: &Event) {}
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("cancelled", &self.cancel.is_cancelled()).finish_non_exhaustive()
    }
}
