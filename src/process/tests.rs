//! Commands run for real, as little scripts of the test's own.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::run::CAPTURE_BYTES;
use super::*;

const LONG: Duration = Duration::from_secs(20);

/// A program of the test's own, run as argv.
fn script(dir: &Path, name: &str, body: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Whether a process of that number runs (a zombie doesn't).
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

#[tokio::test]
async fn arguments_arrive_as_given_and_the_environment_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    let program =
        script(dir.path(), "show", "printf '<%s>' \"$@\"; printf '\\n'; /usr/bin/env; echo problem >&2; exit 3");
    let command = Command::new(&[program.as_str(), "{id}", "a b; exit 0", "$HOME"], LONG)
        .expanded(&crate::process::Placeholders::new().id("x y"))
        .variable("DEBVISOR_EPOCH", "7");
    let finished = run(&command).await;
    assert_eq!(finished.outcome, Outcome::Exited(3));
    let mut lines: Vec<&str> = finished.stdout.text.lines().collect();
    assert_eq!(lines.remove(0), "<x y><a b; exit 0><$HOME>");
    // The shell that interprets the script adds these itself.
    lines.retain(|line| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own)));
    lines.sort_unstable();
    assert_eq!(lines, ["DEBVISOR_EPOCH=7", "LANG=C.UTF-8", &format!("PATH={}", super::command::PATH)]);
    assert_eq!(finished.describe(), "exited with 3: problem");
}

#[tokio::test]
async fn what_cannot_be_started_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    for (argv, words) in [
        (vec!["/nonexistent/program".to_owned()], "there is no program `/nonexistent/program`"),
        (vec![plain.to_str().unwrap().to_owned()], "may not be executed"),
        (vec![], "the command is empty"),
    ] {
        let finished = run(&Command::new(&argv, LONG)).await;
        let Outcome::NotStarted(reason) = &finished.outcome else { panic!("{finished:?}") };
        assert!(reason.contains(words), "{reason}");
    }
}

#[tokio::test]
async fn a_signal_is_no_exit_code() {
    let finished = run(&Command::new(&["/bin/sh", "-c", "kill -TERM $$"], LONG)).await;
    assert_eq!(finished.outcome, Outcome::Signalled(15));
}

#[tokio::test]
async fn the_deadline_kills_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    // A grandchild that would outlive its parent.
    let program = script(dir.path(), "slow", "sleep 60 & echo $!; echo begun; wait");
    let finished = run(&Command::new(&[&program], Duration::from_millis(300))).await;
    assert_eq!(finished.outcome, Outcome::TimedOut(Duration::from_millis(300)));
    let grandchild = finished.stdout.text.lines().next().unwrap().to_owned();
    assert!(finished.stdout.text.contains("begun"));
    for _ in 0..50 {
        if !runs(&grandchild) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("process {grandchild} still runs");
}

#[tokio::test]
async fn who_stops_waiting_kills_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let program =
        script(dir.path(), "slow", &format!("sleep 60 & echo $! > {0}.new; mv {0}.new {0}; wait", pids.display()));
    let waited = tokio::time::timeout(Duration::from_millis(500), run(&Command::new(&[&program], LONG))).await;
    assert!(waited.is_err());
    let grandchild = std::fs::read_to_string(&pids).unwrap();
    for _ in 0..50 {
        if !runs(&grandchild) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("process {grandchild} still runs");
}

#[tokio::test]
async fn what_goes_on_in_the_background_is_not_waited_for() {
    let finished = run(&Command::new(&["/bin/sh", "-c", "sleep 60 & echo $!"], LONG)).await;
    assert!(finished.success(), "{finished:?}");
    let background = finished.stdout.text.trim();
    assert!(runs(background), "a machine that a runner started goes on");
    let pid = Pid::from_raw(background.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn output_is_bounded_and_never_stops_the_program() {
    let finished =
        run(&Command::new(&["/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo end >&2"], LONG)).await;
    assert!(finished.success(), "{finished:?}");
    assert_eq!((finished.stdout.text.len(), finished.stdout.truncated), (CAPTURE_BYTES, true));
    assert_eq!(finished.stderr, Captured { text: "end\n".into(), truncated: false });
}
