//! Starts, stops and asks after the machines of a region, by the commands of its `[runner]`.
//!
//! | act | guarantee | assumption | a crash here leaves behind |
//! | --- | --- | --- | --- |
//! | status | only `stopped` and exit code 0 mean stopped, and only while nobody here is starting it | the runner tells the truth about every machine that it can start | nothing |
//! | start | done: the runner said `running` after it | what `start` leaves is found by `status` | a machine that may run, or come to |
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
use crate::process::{self, Command, Finished, Occasion, Placeholders};

/// How long runners are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For `status`; one that takes longer doesn't know.
    pub status: Duration,
    /// For `start`, and then for the machine until it runs.
    pub start: Duration,
    /// Of that: how long after `start` has ended a machine may still be said to be stopped.
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
    /// It was started, but does not run, or is not known to.
    #[error("it was started, and {0}")]
    NotRunning(String),
    /// It was stopped, but runs, or may.
    #[error("it was told to stop, and {0}")]
    NotStopped(String),
}

/// The machines of one region.
#[derive(Debug, Clone)]
pub struct Machines {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    region: RegionId,
    runner: Option<Runner>,
    patience: Patience,
    clock: Arc<dyn Clock>,
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
}

impl<'a> Starting<'a> {
    fn new(machines: &'a Inner, resource: &'a ResourceKey) -> Self {
        machines.starting.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.clone());
        Self { machines, resource }
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.machines.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(self.resource);
    }
}

impl Machines {
    /// The machines of `region`, which its `runner` starts and stops; nobody does where there is none.
    pub fn new(region: RegionId, runner: Option<Runner>, clock: Arc<dyn Clock>) -> Self {
        Self::with_patience(region, runner, clock, Patience::DEFAULT)
    }

    /// The same with a patience of its own.
    pub fn with_patience(region: RegionId, runner: Option<Runner>, clock: Arc<dyn Clock>, patience: Patience) -> Self {
        let inner = Inner {
            region,
            runner,
            patience,
            clock,
            questions: Semaphore::new(QUESTIONS),
            acts: Semaphore::new(ACTS),
            lanes: Mutex::default(),
            starting: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether this region starts and stops anything.
    pub fn has_runner(&self) -> bool {
        self.inner.runner.is_some()
    }

    /// Asks whether the resource runs, whose files are in `dir` and whose epoch is `epoch` here.
    pub async fn status(&self, resource: &ResourceKey, dir: &Path, epoch: Epoch) -> RunState {
        if resource.kind != ResourceType::Vm {
            return RunState::Stopped;
        }
        let Some(runner) = &self.inner.runner else { return RunState::NoRunner };
        let answer = self.ask(runner, &self.inner.places(resource, dir, epoch)).await;
        if answer != RunState::Running && self.inner.is_starting(resource) {
            return RunState::Unknown("it is being started".to_owned());
        }
        answer
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
        let runner = self.inner.runner.as_ref().ok_or(RunnerError::NoRunner)?;
        let _alone = self.inner.alone(resource).await;
        let places = self.inner.places(resource, dir, epoch);
        let _starting = Starting::new(&self.inner, resource);
        if self.ask(runner, &places).await == RunState::Running {
            return Ok(());
        }
        let Patience { start, rising, .. } = self.inner.patience;
        let began = Instant::now();
        self.act("start", (&runner.start, start), &places, occasion).await?;
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
        let runner = self.inner.runner.as_ref().ok_or(RunnerError::NoRunner)?;
        let _alone = self.inner.alone(resource).await;
        let places = self.inner.places(resource, dir, epoch);
        if self.ask(runner, &places).await == RunState::Stopped {
            return Ok(());
        }
        let patience = self.inner.patience.stop;
        let until = Instant::now() + patience;
        self.act("stop", (&runner.stop, patience), &places, occasion).await?;
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
        let finished = process::run(&Command::new(&runner.status, self.inner.patience.status).expanded(places)).await;
        if !finished.success() {
            return RunState::Unknown(format!("the runner's status {}", finished.describe()));
        }
        match finished.stdout.text.trim() {
            "running" => RunState::Running,
            "stopped" => RunState::Stopped,
            other => RunState::Unknown(format!(
                "the runner's status printed `{}`, neither `running` nor `stopped`",
                first_line(other)
            )),
        }
    }

    async fn act(
        &self,
        command: &'static str,
        (argv, deadline): (&Argv, Duration),
        places: &Placeholders,
        occasion: Option<&Occasion>,
    ) -> Result<(), RunnerError> {
        let _turn = self.inner.acts.acquire().await;
        let mut order = Command::new(argv, deadline).expanded(places);
        if let Some(occasion) = occasion {
            order = order.on(occasion, self.inner.clock.now());
        }
        let finished = process::run(&order).await;
        if finished.success() { Ok(()) } else { Err(RunnerError::Command { command, how: told(&finished) }) }
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
        placeholders(resource, dir, &self.region, epoch)
    }

    fn is_starting(&self, resource: &ResourceKey) -> bool {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner).contains(resource)
    }

    async fn alone(&self, resource: &ResourceKey) -> OwnedMutexGuard<()> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lanes.entry(resource.clone()).or_default())
        };
        lane.lock_owned().await
    }
}

/// How a command ended, with what it printed where it complained of nothing.
fn told(finished: &Finished) -> String {
    let ending = finished.describe();
    let silent = finished.stderr.text.trim().is_empty();
    match first_line(finished.stdout.text.trim()) {
        printed if silent && !printed.is_empty() => format!("{ending}: {printed}"),
        _ => ending,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(80).collect()
}

/// What the region's commands may ask for.
pub(super) fn placeholders(resource: &ResourceKey, dir: &Path, region: &RegionId, epoch: Epoch) -> Placeholders {
    Placeholders::new().id(resource.id.as_str()).dir(dir).region(region.as_str()).epoch(epoch.0)
}
