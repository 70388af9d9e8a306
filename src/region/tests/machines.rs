//! Machines started and stopped for real: little scripts that keep in a file whether each of them runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::region::Runner;
use crate::model::region::Epoch;
use crate::model::running::{RunState, Running};
use crate::model::{OperationId, ResourceKey};
use crate::process::Occasion;
use crate::region::runner::{Machines, Means, Patience, RunnerError};

/// What the scripts do where a test says nothing else.
const START: &str = "echo running > $here/$1";
const STOP: &str = "echo stopped > $here/$1";
const STATUS: &str = "cat $here/$1 2>/dev/null || echo stopped";

struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn argv(&self, name: &str, body: &str) -> Vec<String> {
        let path = self.path(&format!("{name}.sh"));
        let text = format!("#!/bin/sh\nhere={}\necho {name} >> $here/log\n{body}\n", self.0.path().display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        [path.to_str().unwrap(), "{id}", "{dir}", "{region}", "{epoch}"].map(str::to_owned).into()
    }

    fn machines(&self, start: &str, stop: &str, status: &str) -> Machines {
        let runner = Runner {
            start: self.argv("start", start),
            stop: self.argv("stop", stop),
            status: self.argv("status", status),
            drill_start: None,
        };
        let patience = Patience {
            status: Duration::from_secs(5),
            start: Duration::from_secs(5),
            rising: Duration::from_millis(300),
            stop: Duration::from_millis(600),
        };
        Machines::new(Means {
            patience,
            ..Means::new("west".parse().unwrap(), Some(runner), crate::host::world().clock)
        })
    }

    async fn start(&self, machines: &Machines) -> Result<(), RunnerError> {
        machines.start(&web(), &self.path("web"), Epoch(3), None).await
    }

    async fn stop(&self, machines: &Machines) -> Result<(), RunnerError> {
        machines.stop(&web(), &self.path("web"), Epoch(3), None).await
    }

    async fn status(&self, machines: &Machines) -> RunState {
        machines.status(&web(), &self.path("web"), Epoch(3)).await
    }
}

fn web() -> ResourceKey {
    "vm.web".parse().unwrap()
}

#[tokio::test]
async fn a_machine_is_started_until_it_runs_and_stopped_until_it_does_not() {
    let ground = Ground::new();
    // Each takes a while after the command that asks for it.
    let machines = ground.machines(
        "{ sleep 0.1; echo running > $here/$1; } >/dev/null 2>&1 &",
        "{ sleep 0.1; echo stopped > $here/$1; } >/dev/null 2>&1 &",
        STATUS,
    );
    assert_eq!(ground.status(&machines).await, RunState::Stopped);
    ground.start(&machines).await.unwrap();
    assert_eq!((ground.text("web").as_str(), ground.status(&machines).await), ("running\n", RunState::Running));
    ground.stop(&machines).await.unwrap();
    assert_eq!((ground.text("web").as_str(), ground.status(&machines).await), ("stopped\n", RunState::Stopped));
}

#[tokio::test]
async fn what_is_so_already_is_left_alone() {
    let ground = Ground::new();
    let machines = ground.machines(START, STOP, STATUS);
    ground.stop(&machines).await.unwrap();
    assert_eq!(ground.text("log"), "status\n");
    ground.start(&machines).await.unwrap();
    fs::remove_file(ground.path("log")).unwrap();
    ground.start(&machines).await.unwrap();
    assert_eq!(ground.text("log"), "status\n");
}

#[tokio::test]
async fn the_commands_are_told_of_the_operation() {
    let ground = Ground::new();
    let machines = ground.machines(&format!("{START}; echo \"$@\" > $here/told; env >> $here/told"), STOP, STATUS);
    let occasion = Occasion {
        operation: OperationId(uuid::Uuid::nil()),
        epoch: Epoch(4),
        attempt: 2,
        from: "east".parse().unwrap(),
        to: "west".parse().unwrap(),
        resources: vec!["vm.db".parse().unwrap(), web()],
    };
    machines.start(&web(), &ground.path("web"), Epoch(4), Some(&occasion)).await.unwrap();
    let told = ground.text("told");
    let dir = ground.path("web").display().to_string();
    assert_eq!(told.lines().next().unwrap(), format!("web {dir} west 4"));
    for line in [
        "DEBVISOR_OPERATION=00000000-0000-0000-0000-000000000000",
        "DEBVISOR_EPOCH=4",
        "DEBVISOR_ATTEMPT=2",
        "DEBVISOR_FROM=east",
        "DEBVISOR_TO=west",
        "DEBVISOR_RESOURCES=vm.db vm.web",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in\n{told}");
    }
    let deadline = told.lines().find_map(|line| line.strip_prefix("DEBVISOR_DEADLINE=")).unwrap();
    let left = deadline.parse::<crate::model::Timestamp>().unwrap().since(crate::host::world().clock.now());
    assert!(left > Duration::from_secs(2) && left < Duration::from_secs(5), "{left:?}");
}

#[tokio::test]
async fn a_start_that_fails_says_what_was_printed() {
    let ground = Ground::new();
    let machines = ground.machines("echo no such domain; exit 7", STOP, STATUS);
    let how = "exited with 7: no such domain".to_owned();
    let failed = Err(RunnerError::Command { command: "start", how });
    assert_eq!(ground.start(&machines).await, failed);
    let machines = ground.machines("exit 0", STOP, STATUS);
    let error = ground.start(&machines).await.unwrap_err();
    assert_eq!(error.to_string(), "it was started, and the runner's status says stopped");
    let machines = ground.machines("echo sleeping > $here/$1", STOP, STATUS);
    let error = ground.start(&machines).await.unwrap_err().to_string();
    let said = "it was started, and the runner's status printed `sleeping`, neither `running` nor `stopped`";
    assert_eq!(error, said);
}

#[tokio::test]
async fn only_a_runner_that_says_stopped_has_stopped_it() {
    let ground = Ground::new();
    for (stop, said) in [
        (":", "it was told to stop, and the runner's status still says running after 600ms"),
        (
            "echo off > $here/$1",
            "it was told to stop, and the runner's status printed `off`, neither `running` nor `stopped`",
        ),
        ("echo stopped > $here/$1; echo locked >&2; exit 1", "the runner's stop exited with 1: locked"),
        ("sleep 5", "the runner's stop took longer than 600ms and was killed"),
    ] {
        fs::write(ground.path("web"), "running\n").unwrap();
        let machines = ground.machines(START, stop, STATUS);
        let error = ground.stop(&machines).await.unwrap_err();
        assert_eq!(error.to_string(), said, "{stop}");
    }
    // A word of trust with a bad end is none.
    let machines = ground.machines(START, STOP, "echo stopped; exit 1");
    let unknown = RunState::Unknown("the runner's status exited with 1".to_owned());
    assert_eq!(ground.status(&machines).await, unknown);
    assert!(ground.stop(&machines).await.is_err());
}

#[tokio::test]
async fn what_is_being_started_may_run() {
    let ground = Ground::new();
    let machines = ground.machines(
        "touch $here/begun; until [ -e $here/go ]; do sleep 0.01; done; echo running > $here/$1",
        STOP,
        STATUS,
    );
    let starting = tokio::spawn({
        let (machines, dir) = (machines.clone(), ground.path("web"));
        async move { machines.start(&web(), &dir, Epoch(3), None).await }
    });
    while !ground.path("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ground.status(&machines).await, RunState::Unknown("it is being started".to_owned()));
    // Nor is it stopped before it was started.
    let stopping = tokio::spawn({
        let (machines, dir) = (machines.clone(), ground.path("web"));
        async move { machines.stop(&web(), &dir, Epoch(3), None).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!stopping.is_finished());
    fs::write(ground.path("go"), "").unwrap();
    starting.await.unwrap().unwrap();
    stopping.await.unwrap().unwrap();
    assert_eq!(ground.status(&machines).await, RunState::Stopped);
}

#[tokio::test]
async fn a_region_without_a_runner_starts_and_stops_nothing() {
    let ground = Ground::new();
    let machines = Machines::new(Means::new("west".parse().unwrap(), None, crate::host::world().clock));
    assert_eq!(ground.start(&machines).await, Err(RunnerError::NoRunner));
    assert_eq!(ground.stop(&machines).await, Err(RunnerError::NoRunner));
    assert_eq!(ground.status(&machines).await, RunState::NoRunner);
    let asked = vec![(web(), ground.path("web"), Epoch(1))];
    assert_eq!(machines.running(asked).await, Running::default());
}

#[tokio::test]
async fn what_is_no_machine_never_runs() {
    let ground = Ground::new();
    let machines = ground.machines(START, STOP, STATUS);
    let config: ResourceKey = "config.web".parse().unwrap();
    machines.start(&config, &ground.path("web"), Epoch(1), None).await.unwrap();
    assert_eq!(machines.status(&config, &ground.path("web"), Epoch(1)).await, RunState::Stopped);
    assert_eq!(ground.text("log"), "");
}

#[tokio::test]
async fn many_machines_are_asked_at_the_same_time() {
    let ground = Ground::new();
    let machines = ground.machines(START, STOP, "sleep 0.2; echo running");
    let all: Vec<_> =
        (0..32).map(|number| (format!("vm.web-{number}").parse().unwrap(), ground.path("web"), Epoch(1))).collect();
    let began = Instant::now();
    let running = machines.running(all).await;
    assert!(running.runner);
    assert_eq!(running.machines.values().filter(|state| **state == RunState::Running).count(), 32);
    // One after the other they would take 6.4 s.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
