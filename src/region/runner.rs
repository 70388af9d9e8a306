//! Starts, stops and asks after the machines of a region, by the commands of its `[runner]`.
//!
//! | act | guarantee | assumption | a crash here leaves behind |
//! | --- | --- | --- | --- |
//! | status | only `stopped` and exit code 0 mean stopped, and only while nobody here is starting it | the runner tells the truth about every machine that it can start | nothing |
//! | start | it begins at most 5 s after the call; done: the runner said `running` after it | what `start` leaves in its process group is no machine, and what else it leaves is found by `status` | a mark, by which the next life finds the command, kills it and trusts no `stopped` for a while |
//! | stop | done: the runner said `stopped` after it | `stop` stops what `start` started | a machine that may run |
//!
//! Only a VM has a machine. What else a region holds neither runs nor is started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::Instant;

use crate::config::region::{Argv, Runner};
use crate::model::region::Epoch;
use crate::model::running::{RunState, Running};
use crate::model::units::format_duration;
use crate::model::{Clock, RegionId, ResourceKey, ResourceType};
use crate::process::{self, Command, FRESHNESS, Finished, Fresh, Mark, Marked, Occasion, Outcome, Placeholders};

/// How long runners are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For `status`; one that takes longer doesn't know.
    pub status: Duration,
    /// For `start`, and then for the machine until it runs.
    pub start: Duration,
    /// Of that: how long after `start` has ended a machine may still be said to be stopped, though it comes to run.
    pub rising: Duration,
    /// For `stop` and the machine's end after it, together.
    pub stop: Duration,
}

impl Patience {
    /// What a region has with its runner.
    pub const DEFAULT: Self = Self {
        status: Duration::from_secs(10),
        start: Duration::from_secs(60),
        rising: Duration::from_secs(10),
        stop: Duration::from_secs(90),
    };
}

/// So many runners are asked at the same time. Each costs a process and two pipes.
const QUESTIONS: usize = 32;

/// So many machines are started or stopped at the same time: most of them only wait for their guests.
const ACTS: usize = 128;

/// The pauses between two questions about a machine that comes or goes.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why a machine was not started, or is not known to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    /// The region starts and stops nothing.
    #[error("the region has no runner: it starts and stops nothing")]
    NoRunner,
    /// The command did not end well.
    #[error("the runner's {command} {how}")]
    Command {
        /// `start` or `stop`.
        command: &'static str,
        /// How it ended, and what it printed.
        how: String,
    },
    /// Whoever asked did so too long ago by the time that it would have begun: it did not.
    #[error("it was not started: what was confirmed for it was too old by then")]
    TooLate,
    /// An earlier start of it is not over.
    #[error("{0}")]
    Earlier(String),
    /// It was started, but does not run, or is not known to.
    #[error("it was started, and {0}")]
    NotRunning(String),
    /// It was stopped, but runs, or may.
    #[error("it was told to stop, and {0}")]
    NotStopped(String),
}

/// What a region's machines are started, stopped and asked after by.
#[derive(Debug, Clone)]
pub struct Means {
    /// The region.
    pub region: RegionId,
    /// Its commands; without them it starts and stops nothing.
    pub runner: Option<Runner>,
    /// How long they are waited for.
    pub patience: Patience,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What runs a command only while it is fresh (see [`process::fresh`]); none: nobody looks at the clock right before
    /// a start, and nobody remembers one.
    pub guard: Option<Vec<String>>,
    /// Where starts are remembered; none: nowhere.
    pub marks: Option<PathBuf>,
    /// Whether the region is this program's alone, so that what is remembered of others' starts is left of dead ones.
    pub alone: bool,
}

impl Means {
    /// Those of a region that remembers nothing.
    pub fn new(region: RegionId, runner: Option<Runner>, clock: Arc<dyn Clock>) -> Self {
        Self { region, runner, patience: Patience::DEFAULT, clock, guard: None, marks: None, alone: true }
    }
}

/// The machines of one region.
#[derive(Debug, Clone)]
pub struct Machines {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    means: Means,
    questions: Semaphore,
    acts: Semaphore,
    /// Nobody stops what somebody else starts.
    lanes: Mutex<BTreeMap<ResourceKey, Arc<tokio::sync::Mutex<()>>>>,
    /// What is being started: it may run, whatever its runner says meanwhile.
    starting: Mutex<BTreeSet<ResourceKey>>,
}

/// A machine that is being started, until this is dropped.
struct Starting<'a> {
    machines: &'a Inner,
    resource: &'a ResourceKey,
    mark: Option<PathBuf>,
    /// The command ended by itself, or was never begun.
    ended: bool,
}

impl<'a> Starting<'a> {
    fn new(machines: &'a Inner, resource: &'a ResourceKey) -> Self {
        machines.starting.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.clone());
        Self { machines, resource, mark: None, ended: false }
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(mark) = &self.mark {
            // What resists is seen to be over by the next one who looks, later.
            let _ = if self.ended { Mark::remove(mark) } else { Mark::write(mark, self.machines.risen()) };
        }
        self.machines.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(self.resource);
    }
}

impl Machines {
    /// A region's machines.
    pub fn new(means: Means) -> Self {
        let inner = Inner {
            means,
            questions: Semaphore::new(QUESTIONS),
            acts: Semaphore::new(ACTS),
            lanes: Mutex::default(),
            starting: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether this region starts and stops anything.
    pub fn has_runner(&self) -> bool {
        self.inner.means.runner.is_some()
    }

    /// Asks whether the resource runs, whose files are in `dir` and whose epoch is `epoch` here.
    pub async fn status(&self, resource: &ResourceKey, dir: &Path, epoch: Epoch) -> RunState {
        if resource.kind != ResourceType::Vm {
            return RunState::Stopped;
        }
        let Some(runner) = &self.inner.means.runner else { return RunState::NoRunner };
        // A start that is over by the time of the answer may not have been when it was given.
        let before = self.inner.start_under_way(resource);
        let answer = self.ask(runner, &self.inner.places(resource, dir, epoch)).await;
        match before.or_else(|| self.inner.start_under_way(resource)) {
            Some(why) if answer != RunState::Running => RunState::Unknown(why),
            Some(_) | None => answer,
        }
    }

    /// Starts it, and waits until its runner says that it runs. One that runs is left alone.
    ///
    /// # Errors
    /// Whatever it is, the machine may run, or come to.
    pub async fn start(
        &self,
        resource: &ResourceKey,
        dir: &Path,
        epoch: Epoch,
        occasion: Option<&Occasion>,
    ) -> Result<(), RunnerError> {
        if resource.kind != ResourceType::Vm {
            return Ok(());
        }
        let runner = self.inner.means.runner.as_ref().ok_or(RunnerError::NoRunner)?;
        let until = self.inner.means.clock.since_boot() + FRESHNESS;
        let _alone = self.inner.alone(resource).await?;
        let places = self.inner.places(resource, dir, epoch);
        let mut starting = Starting::new(&self.inner, resource);
        if self.ask(runner, &places).await == RunState::Running {
            return Ok(());
        }
        let Patience { start, rising, .. } = self.inner.means.patience;
        let began = Instant::now();
        let command = self.inner.command((&runner.start, start), &places, occasion);
        let finished = self.act(self.inner.fresh(command, until, &mut starting)?).await;
        starting.ended = match finished.outcome {
            Outcome::Exited(_) | Outcome::NotStarted(_) | Outcome::TooLate => true,
            Outcome::Signalled(_) | Outcome::TimedOut(_) => false,
        };
        expect_done("start", &finished)?;
        let until = (began + start).min(Instant::now() + rising);
        match self.wait_for(runner, &places, &RunState::Running, until).await {
            RunState::Running => Ok(()),
            RunState::Stopped => Err(RunnerError::NotRunning("the runner's status says stopped".to_owned())),
            RunState::Unknown(why) => Err(RunnerError::NotRunning(why)),
            RunState::NoRunner => Err(RunnerError::NoRunner),
        }
    }

    /// Stops it, and waits until its runner says that it is stopped. One that is stopped is left alone.
    ///
    /// # Errors
    /// Whatever it is, the machine may run.
    pub async fn stop(
        &self,
        resource: &ResourceKey,
        dir: &Path,
        epoch: Epoch,
        occasion: Option<&Occasion>,
    ) -> Result<(), RunnerError> {
        if resource.kind != ResourceType::Vm {
            return Ok(());
        }
        let runner = self.inner.means.runner.as_ref().ok_or(RunnerError::NoRunner)?;
        let _alone = self.inner.alone(resource).await?;
        let places = self.inner.places(resource, dir, epoch);
        if self.ask(runner, &places).await == RunState::Stopped {
            return Ok(());
        }
        let patience = self.inner.means.patience.stop;
        let until = Instant::now() + patience;
        expect_done("stop", &self.act(self.inner.command((&runner.stop, patience), &places, occasion)).await)?;
        match self.wait_for(runner, &places, &RunState::Stopped, until).await {
            RunState::Stopped => Ok(()),
            RunState::Running => Err(RunnerError::NotStopped(format!(
                "the runner's status still says running after {}",
                format_duration(patience)
            ))),
            RunState::Unknown(why) => Err(RunnerError::NotStopped(why)),
            RunState::NoRunner => Err(RunnerError::NoRunner),
        }
    }

    /// Asks after many machines at the same time: each with the directory of its files and its epoch here.
    pub async fn running(&self, machines: Vec<(ResourceKey, PathBuf, Epoch)>) -> Running {
        if !self.has_runner() {
            return Running::default();
        }
        let vms = machines.into_iter().filter(|(resource, ..)| resource.kind == ResourceType::Vm);
        let asked = stream::iter(vms).map(|(resource, dir, epoch)| async move {
            let state = self.status(&resource, &dir, epoch).await;
            (resource, state)
        });
        Running { runner: true, machines: asked.buffer_unordered(QUESTIONS).collect().await }
    }

    async fn ask(&self, runner: &Runner, places: &Placeholders) -> RunState {
        let _turn = self.inner.questions.acquire().await;
        let finished =
            process::run(&Command::new(&runner.status, self.inner.means.patience.status).expanded(places)).await;
        if !finished.success() {
            return RunState::Unknown(format!("the runner's status {}", finished.describe()));
        }
        match finished.stdout.text.trim() {
            "running" => RunState::Running,
            "stopped" => RunState::Stopped,
            _ => RunState::Unknown(format!(
                "the runner's status printed `{}`, neither `running` nor `stopped`",
                finished.stdout.first_line()
            )),
        }
    }

    async fn act(&self, command: Command) -> Finished {
        let _turn = self.inner.acts.acquire().await;
        process::run(&command).await
    }

    /// Asks until the answer is `wanted`, or `until` is over; gives the last answer.
    async fn wait_for(&self, runner: &Runner, places: &Placeholders, wanted: &RunState, until: Instant) -> RunState {
        let mut pause = PAUSE;
        loop {
            let answer = self.ask(runner, places).await;
            if answer == *wanted || Instant::now() + pause > until {
                return answer;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Inner {
    fn places(&self, resource: &ResourceKey, dir: &Path, epoch: Epoch) -> Placeholders {
        placeholders(resource, dir, &self.means.region, epoch)
    }

    fn command(
        &self,
        (argv, deadline): (&Argv, Duration),
        places: &Placeholders,
        occasion: Option<&Occasion>,
    ) -> Command {
        let command = Command::new(argv, deadline).expanded(places);
        match occasion {
            Some(occasion) => command.on(occasion, self.means.clock.now()),
            None => command,
        }
    }

    /// A start that begins no later than `until`, and that is remembered.
    fn fresh(&self, command: Command, until: Duration, starting: &mut Starting<'_>) -> Result<Command, RunnerError> {
        let Some(guard) = self.means.guard.clone() else { return Ok(command) };
        let mark = self.mark(starting.resource);
        if let Some(mark) = &mark {
            Mark::write(mark, until)
                .map_err(|error| RunnerError::Earlier(format!("no start can be remembered: {error}")))?;
            starting.mark = Some(mark.clone());
        }
        Ok(command.while_fresh(Fresh { guard, until, mark }))
    }

    fn mark(&self, resource: &ResourceKey) -> Option<PathBuf> {
        self.means.marks.as_ref().map(|marks| marks.join(resource.to_string()))
    }

    /// The time since boot from which on a start that is over shows.
    fn risen(&self) -> Duration {
        self.means.clock.since_boot() + self.means.patience.rising
    }

    /// Why a machine may come to run though it does not: somebody is starting it, or was.
    fn start_under_way(&self, resource: &ResourceKey) -> Option<String> {
        if self.starting.lock().unwrap_or_else(PoisonError::into_inner).contains(resource) {
            return Some("it is being started".to_owned());
        }
        self.earlier_start(&self.mark(resource)?)
    }

    /// What is left of an earlier program's start. One that is still at it is killed where that program is dead.
    fn earlier_start(&self, mark: &Path) -> Option<String> {
        let now = self.means.clock.since_boot();
        match Mark::read(mark, now) {
            Ok(Marked::Over) => {
                if self.means.alone {
                    // What resists says the same to the next one.
                    let _ = Mark::remove(mark);
                }
                None
            }
            Ok(Marked::Runs(leader)) if self.means.alone => {
                Mark::kill(leader);
                let _ = Mark::write(mark, self.risen());
                Some("an earlier start of it was cut off just now".to_owned())
            }
            Ok(Marked::Runs(_)) => Some("another program is starting it".to_owned()),
            Ok(Marked::Until(_)) => Some("an earlier start of it may still show".to_owned()),
            Err(error) => Some(format!("what is remembered of its last start cannot be read: {error}")),
        }
    }

    /// Waits until nobody else starts or stops the machine, and nothing is left of an earlier start.
    async fn alone(&self, resource: &ResourceKey) -> Result<OwnedMutexGuard<()>, RunnerError> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lanes.entry(resource.clone()).or_default())
        };
        let alone = lane.lock_owned().await;
        let until = Instant::now() + self.means.patience.start;
        while let Some(why) = self.mark(resource).and_then(|mark| self.earlier_start(&mark)) {
            if Instant::now() > until {
                return Err(RunnerError::Earlier(why));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(alone)
    }
}

fn expect_done(command: &'static str, finished: &Finished) -> Result<(), RunnerError> {
    match finished.outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::TooLate => Err(RunnerError::TooLate),
        Outcome::Exited(_) | Outcome::Signalled(_) | Outcome::TimedOut(_) | Outcome::NotStarted(_) => {
            Err(RunnerError::Command { command, how: finished.describe_all() })
        }
    }
}

/// What the region's commands may ask for.
pub(super) fn placeholders(resource: &ResourceKey, dir: &Path, region: &RegionId, epoch: Epoch) -> Placeholders {
    Placeholders::new().id(resource.id.as_str()).dir(dir).region(region.as_str()).epoch(epoch.0)
}
