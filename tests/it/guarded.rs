//! Programs that run only while what was confirmed for them is fresh: by the real guard, stopped by real signals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use debvisor_region::config::region::Runner;
use debvisor_region::execute::hook::{HookError, HookOrder, Hooks};
use debvisor_region::host;
use debvisor_region::model::region::Epoch;
use debvisor_region::model::running::RunState;
use debvisor_region::model::{Clock, OperationId, ResourceKey};
use debvisor_region::process::{Command, FRESHNESS, Fresh, Mark, Occasion, Outcome, run_until};
use debvisor_region::region::runner::{Machines, Means, Patience};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::program;

fn guard() -> Vec<String> {
    vec![program().to_owned(), "exec-guard".to_owned()]
}

/// A guard that is stopped before its first look at the clock, until somebody lets it go on.
fn stopped_guard() -> Vec<String> {
    let mut argv = ["/bin/sh", "-c", r#"kill -STOP $$; exec "$0" "$@""#].map(str::to_owned).to_vec();
    argv.extend(guard());
    argv
}

fn script(dir: &Path, name: &str, body: &str) -> Vec<String> {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\nhere={}\n{body}\n", dir.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    vec![path.to_str().unwrap().to_owned()]
}

fn clock() -> Arc<dyn Clock> {
    host::world().clock
}

fn hooks(guard: Vec<String>) -> Hooks {
    Hooks { clock: clock(), guard: Some(guard), allowed: None }
}

fn occasion() -> Occasion {
    Occasion {
        operation: OperationId(uuid::Uuid::nil()),
        epoch: Epoch(7),
        attempt: 2,
        from: "east".parse().unwrap(),
        to: "west".parse().unwrap(),
        resources: vec!["vm.web".parse().unwrap()],
    }
}

/// One that was confirmed so long ago.
fn order<'a>(argv: &'a [String], occasion: &'a Occasion, ago: Duration) -> HookOrder<'a> {
    let confirmed = clock().since_boot().saturating_sub(ago);
    HookOrder { argv, timeout: Duration::from_secs(20), occasion, confirmed }
}

async fn state_of(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X')
}

#[tokio::test]
async fn a_hook_has_its_own_environment_and_a_fence_its_word() {
    let dir = TempDir::new().unwrap();
    let argv = script(
        dir.path(),
        "fence",
        r#"env | sort > $here/told; readlink /proc/self/fd/0 >> $here/told; echo cutting; echo "fenced $DEBVISOR_FROM $DEBVISOR_EPOCH""#,
    );
    let hooks = hooks(guard());
    let never = CancellationToken::new();
    hooks.fence(order(&argv, &occasion(), Duration::ZERO), &never).await.unwrap();
    let told = fs::read_to_string(dir.path().join("told")).unwrap();
    let own = ["PWD=", "OLDPWD=", "SHLVL=", "_=", "DEBVISOR_DEADLINE="];
    let lines: Vec<&str> = told.lines().filter(|line| !own.iter().any(|own| line.starts_with(own))).collect();
    let expected = [
        "DEBVISOR_ATTEMPT=2",
        "DEBVISOR_EPOCH=7",
        "DEBVISOR_FROM=east",
        "DEBVISOR_OPERATION=00000000-0000-0000-0000-000000000000",
        "DEBVISOR_RESOURCES=vm.web",
        "DEBVISOR_TO=west",
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "/dev/null",
    ];
    assert_eq!(lines, expected);

    for (body, said) in [
        ("echo fenced east 6", "it printed `fenced east 6`"),
        ("echo fenced west 7", "it printed `fenced west 7`"),
        (":", "it printed nothing"),
    ] {
        let argv = script(dir.path(), "bad", body);
        let refused = hooks.fence(order(&argv, &occasion(), Duration::ZERO), &never).await.unwrap_err();
        assert!(matches!(&refused, HookError::NotFenced { printed, .. } if printed == said), "{refused}");
    }
    // The line counts for nothing where the end is bad.
    let argv = script(dir.path(), "bad", "echo fenced east 7; exit 3");
    let refused = hooks.fence(order(&argv, &occasion(), Duration::ZERO), &never).await.unwrap_err();
    let HookError::Failed { how, .. } = &refused else { panic!("{refused}") };
    assert_eq!(how, "exited with 3: fenced east 7");
}

#[tokio::test]
async fn what_was_confirmed_too_long_ago_is_not_run() {
    let dir = TempDir::new().unwrap();
    let argv = script(dir.path(), "hook", "touch $here/ran");
    let (occasion, never) = (occasion(), CancellationToken::new());
    let late = order(&argv, &occasion, FRESHNESS + Duration::from_millis(1));
    let refused = hooks(guard()).run(late, &never).await.unwrap_err();
    assert!(matches!(refused, HookError::TooLate(_)), "{refused}");
    assert!(!dir.path().join("ran").exists());
}

#[tokio::test]
async fn a_child_that_stood_still_until_it_was_too_late_does_not_run_the_hook() {
    for (waits, runs) in [(false, true), (true, false)] {
        let dir = TempDir::new().unwrap();
        let argv = script(dir.path(), "hook", "touch $here/ran");
        let until = clock().since_boot() + Duration::from_secs(2);
        let fresh = Fresh { guard: stopped_guard(), until, mark: None };
        let command = Command::new(&argv, Duration::from_secs(30)).while_fresh(fresh);
        let (send, leader) = tokio::sync::oneshot::channel();
        let running =
            tokio::spawn(
                async move { run_until(&command, |pid| send.send(pid).unwrap(), std::future::pending()).await },
            );
        let leader = leader.await.unwrap();
        while state_of(leader).await != 'T' {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(clock().since_boot() < until, "this machine is too slow for the test");
        while waits && clock().since_boot() <= until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        kill_process(leader, Signal::CONT).unwrap();
        let finished = running.await.unwrap();
        let expected = if runs { Outcome::Exited(0) } else { Outcome::TooLate };
        assert_eq!((finished.outcome, dir.path().join("ran").exists()), (expected, runs));
    }
}

#[tokio::test]
async fn a_guard_says_why_it_could_not_become_the_program() {
    let fresh = Fresh { guard: guard(), until: Duration::MAX, mark: None };
    let command = Command::new(&["/nonexistent/hook"], Duration::from_secs(20)).while_fresh(fresh.clone());
    let finished = debvisor_region::process::run(&command).await;
    assert_eq!(finished.outcome, Outcome::NotStarted("there is no program `/nonexistent/hook`".to_owned()));
    // One that fails like a guard is not taken for it.
    let command = Command::new(&["/bin/sh", "-c", "echo no; exit 1"], Duration::from_secs(20)).while_fresh(fresh);
    let finished = debvisor_region::process::run(&command).await;
    assert_eq!((finished.outcome, finished.stdout.text.as_str()), (Outcome::Exited(1), "no\n"));
}

#[tokio::test]
async fn a_hook_that_outlives_the_wish_to_end_is_killed_and_its_outcome_unknown() {
    let dir = TempDir::new().unwrap();
    let argv = script(dir.path(), "hook", "touch $here/ran; sleep 60");
    let (occasion, cancel) = (occasion(), CancellationToken::new());
    cancel.cancel();
    let refused = hooks(guard()).run(order(&argv, &occasion, Duration::ZERO), &cancel).await.unwrap_err();
    assert!(matches!(refused, HookError::OutcomeUnknown(_)), "{refused}");
    assert!(dir.path().join("ran").exists());
}

/// A region's machines with the real guard; `started` is where a start leaves its mark.
struct Region {
    dir: TempDir,
    mark: PathBuf,
}

impl Region {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mark = dir.path().join("starting/vm.web");
        Self { dir, mark }
    }

    fn machines(&self, start: &str, alone: bool) -> Machines {
        let here = self.dir.path();
        let runner = Runner {
            start: script(here, "start", start),
            stop: script(here, "stop", "rm $here/runs"),
            status: script(here, "status", "if [ -e $here/runs ]; then echo running; else echo stopped; fi"),
            drill_start: None,
        };
        Machines::new(Means {
            patience: Patience { rising: Duration::from_millis(500), ..Patience::DEFAULT },
            guard: Some(guard()),
            marks: Some(here.join("starting")),
            alone,
            ..Means::new("west".parse().unwrap(), Some(runner), clock())
        })
    }

    async fn status(&self, machines: &Machines) -> RunState {
        machines.status(&web(), self.dir.path(), Epoch(1)).await
    }

    /// A start of a program that is dead by now.
    fn orphan(&self, body: &str) -> std::process::Child {
        let until = clock().since_boot() + Duration::from_secs(60);
        Mark::write(&self.mark, until).unwrap();
        let argv = script(self.dir.path(), "orphan", body);
        let guard = guard();
        std::process::Command::new(&guard[0])
            .args([&guard[1], "--until", &until.as_nanos().to_string(), "--mark", self.mark.to_str().unwrap(), "--"])
            .args(argv)
            .process_group(0)
            .spawn()
            .unwrap()
    }
}

fn web() -> ResourceKey {
    "vm.web".parse().unwrap()
}

#[tokio::test]
async fn a_start_is_remembered_while_it_lasts() {
    let region = Region::new();
    let machines = region.machines("cp $here/starting/vm.web $here/seen; touch $here/runs", true);
    machines.start(&web(), region.dir.path(), Epoch(1), None).await.unwrap();
    let seen = fs::read_to_string(region.dir.path().join("seen")).unwrap();
    assert_eq!(seen.lines().count(), 2, "{seen}");
    assert!(!region.mark.exists());
    assert_eq!(region.status(&machines).await, RunState::Running);
}

#[tokio::test]
async fn a_start_that_a_dead_program_left_is_ended_before_stopped_is_believed() {
    let region = Region::new();
    let mut orphan = region.orphan("touch $here/begun; sleep 1.5; touch $here/runs");
    while !region.dir.path().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Whoever only looks ends nothing.
    let onlooker = region.machines(":", false);
    assert_eq!(region.status(&onlooker).await, RunState::Unknown("another program is starting it".to_owned()));
    let machines = region.machines("touch $here/runs", true);
    let cut = RunState::Unknown("an earlier start of it was cut off just now".to_owned());
    assert_eq!(region.status(&machines).await, cut);
    assert!(!orphan.wait().unwrap().success());
    assert!(matches!(region.status(&machines).await, RunState::Unknown(_)));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(region.status(&machines).await, RunState::Stopped);
    assert!(!region.mark.exists());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(region.status(&machines).await, RunState::Stopped);
}

#[tokio::test]
async fn a_start_that_has_not_begun_may_still_begin() {
    let region = Region::new();
    // Whoever wrote it is dead, and its child stands still before it signs.
    Mark::write(&region.mark, clock().since_boot() + Duration::from_millis(500)).unwrap();
    let machines = region.machines("touch $here/runs", true);
    assert!(matches!(region.status(&machines).await, RunState::Unknown(_)));
    // A start waits for the end of the earlier one's chances.
    machines.start(&web(), region.dir.path(), Epoch(1), None).await.unwrap();
    machines.stop(&web(), region.dir.path(), Epoch(1), None).await.unwrap();
    assert_eq!(region.status(&machines).await, RunState::Stopped);
}

#[tokio::test]
async fn a_machine_is_not_trusted_right_after_its_start_was_killed() {
    let region = Region::new();
    let machines = region.machines("touch $here/begun; sleep 60", true);
    let starting = tokio::spawn({
        let (machines, dir) = (machines.clone(), region.dir.path().to_owned());
        async move { machines.start(&web(), &dir, Epoch(1), None).await }
    });
    while !region.dir.path().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    starting.abort();
    let _ = starting.await;
    assert!(matches!(region.status(&machines).await, RunState::Unknown(_)));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(region.status(&machines).await, RunState::Stopped);
}
