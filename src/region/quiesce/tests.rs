//! Freezes and snapshots by real little scripts, with a guard in a process of its own: this test program, asked to
//! run [`as_a_guard`].

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::config::RegionConfig;
use crate::config::region::{Freeze, Quiesce, Runner, Snapshot};
use crate::host::HostDisk;
use crate::model::point::PointKind;
use crate::model::region::Epoch;
use crate::region::runner::{Machines, Means};
use crate::replica::place::Place;
use crate::replica::port::TransferError;
use crate::replica::source::Still;

/// Argv that runs one of the ignored tests below as a program; what it answers goes to its descriptor 3.
fn program(test: &str) -> Vec<String> {
    let exe = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let name = format!("region::quiesce::tests::{test}");
    ["/bin/sh", "-c", r#"exec 3>&1 >/dev/null; exec "$0" "$@""#, &exe, "--exact", &name, "--ignored", "--nocapture"]
        .map(str::to_owned)
        .into()
}

fn guard() -> Vec<String> {
    program("as_a_guard")
}

#[tokio::test]
#[ignore = "run by other tests, as a process of its own"]
async fn as_a_guard() {
    if let Ok(output) = fs::OpenOptions::new().append(true).open("/proc/self/fd/3") {
        thaw_guard(std::io::stdin(), output).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "run by other tests, as a process of its own"]
async fn as_an_asker() {
    let Ok(orders) = std::env::var("ORDERS") else { return };
    let _held = Held::begin(Some(&guard()), serde_json::from_str(&orders).unwrap()).await;
    std::future::pending::<()>().await;
}

/// A directory with scripts that write down that they ran.
struct Scripts(tempfile::TempDir);

impl Scripts {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, body: &str) -> Vec<String> {
        let path = self.path(name);
        let log = self.path("log");
        fs::write(&path, format!("#!/bin/sh\nlog={}\nhere={}\n{body}\n", log.display(), self.0.path().display()))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        vec![path.to_str().unwrap().to_owned()]
    }

    fn orders(&self, enter: &str, leave: &str, longest: Option<Duration>) -> Orders {
        Orders {
            enter: self.script("enter", enter),
            leave: self.script("leave", leave),
            variables: BTreeMap::new(),
            entering: Duration::from_secs(20),
            longest,
            mark: Some(self.path("held/vm.web.json")),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the log is `expected`.
    async fn expect(&self, expected: &str) {
        for _ in 0..500 {
            if self.log() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the log is {:?}, not {expected:?}", self.log());
    }
}

const FREEZE: &str = "echo freeze >> $log; echo here";
const THAW: &str = "echo thaw >> $log";
const LONG: Option<Duration> = Some(Duration::from_secs(30));

#[tokio::test]
async fn what_was_frozen_is_thawed_when_asked() {
    for guard in [Some(guard()), None] {
        let scripts = Scripts::new();
        let held = Held::begin(guard.as_deref(), scripts.orders(FREEZE, THAW, LONG)).await.unwrap();
        assert_eq!(held.printed, "here\n");
        assert_eq!(scripts.log(), "freeze\n");
        assert_eq!(held.release().await, Ok(true));
        assert_eq!(scripts.log(), "freeze\nthaw\n");
    }
}

#[tokio::test]
async fn it_is_thawed_when_the_longest_time_is_over() {
    for guard in [Some(guard()), None] {
        let scripts = Scripts::new();
        let orders = scripts.orders(FREEZE, THAW, Some(Duration::from_millis(600)));
        let held = Held::begin(guard.as_deref(), orders).await.unwrap();
        scripts.expect("freeze\nthaw\n").await;
        assert_eq!(held.release().await, Ok(false), "it did not hold until it was asked to end");
        assert_eq!(scripts.log(), "freeze\nthaw\n", "once");
    }
}

#[tokio::test]
async fn a_freeze_that_never_ends_is_killed_and_thawed() {
    let scripts = Scripts::new();
    let slow = "echo freeze >> $log; sleep 60; echo never >> $log";
    let orders = scripts.orders(slow, THAW, Some(Duration::from_millis(400)));
    let error = Held::begin(Some(&guard()), orders).await.unwrap_err();
    let HoldError::Enter(words) = error else { panic!("{error}") };
    assert_eq!(words, format!("{} took longer than 400ms and was killed", scripts.path("enter").display()));
    assert_eq!(scripts.log(), "freeze\nthaw\n");
}

#[tokio::test]
async fn who_loses_interest_thaws() {
    for guard in [Some(guard()), None] {
        let scripts = Scripts::new();
        drop(Held::begin(guard.as_deref(), scripts.orders(FREEZE, THAW, LONG)).await.unwrap());
        scripts.expect("freeze\nthaw\n").await;
    }
}

#[tokio::test]
async fn a_failed_freeze_is_taken_back_and_a_stubborn_thaw_is_repeated() {
    let scripts = Scripts::new();
    let half = "echo freeze >> $log; echo no such domain >&2; exit 1";
    let error = Held::begin(Some(&guard()), scripts.orders(half, THAW, LONG)).await.unwrap_err();
    assert!(error.to_string().ends_with("exited with 1: no such domain"), "{error}");
    assert_eq!(scripts.log(), "freeze\nthaw\n");

    let stubborn = "echo thaw >> $log; [ $(grep -c thaw $log) -ge 3 ]";
    let scripts = Scripts::new();
    let held = Held::begin(Some(&guard()), scripts.orders(FREEZE, stubborn, LONG)).await.unwrap();
    assert_eq!(held.release().await, Ok(true));
    assert_eq!(scripts.log(), "freeze\nthaw\nthaw\nthaw\n");

    let scripts = Scripts::new();
    let never = Held::begin(Some(&guard()), scripts.orders(FREEZE, "echo stuck >&2; exit 2", LONG)).await.unwrap();
    let error = never.release().await.unwrap_err();
    assert!(error.to_string().starts_with("it may still be held: "), "{error}");
    assert!(error.to_string().ends_with("exited with 2: stuck"), "{error}");
}

#[tokio::test]
async fn without_a_guard_to_start_nothing_is_frozen() {
    let scripts = Scripts::new();
    let error = Held::begin(Some(&["/nonexistent/guard".to_owned()]), scripts.orders(FREEZE, THAW, LONG)).await;
    assert!(matches!(error, Err(HoldError::NoGuard { .. })), "{error:?}");
    assert_eq!(scripts.log(), "");
}

/// Starts a process that freezes and then waits for ever, in its own group.
fn asker(orders: &Orders) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let argv = program("as_an_asker");
    std::process::Command::new(&argv[0])
        .args(&argv[1..])
        .env("ORDERS", serde_json::to_string(orders).unwrap())
        .process_group(0)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn kill_9_of_who_froze_thaws() {
    let scripts = Scripts::new();
    let mut asker = asker(&scripts.orders(FREEZE, THAW, LONG));
    scripts.expect("freeze\n").await;
    // The whole group, as a terminal or a service manager would: the guard is in none of theirs.
    rustix::process::kill_process_group(Pid::from_child(&asker), Signal::KILL).unwrap();
    asker.wait().unwrap();
    scripts.expect("freeze\nthaw\n").await;
}

#[tokio::test]
async fn kill_9_while_it_freezes_ends_the_freeze_and_thaws() {
    let scripts = Scripts::new();
    let slow = "echo freeze >> $log; sleep 3; echo frozen >> $log";
    let mut asker = asker(&scripts.orders(slow, THAW, LONG));
    scripts.expect("freeze\n").await;
    asker.kill().unwrap();
    asker.wait().unwrap();
    scripts.expect("freeze\nthaw\n").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(scripts.log(), "freeze\nthaw\n", "nothing is frozen after the thaw");
}

/// The number of the guard: it stands in the log of a freeze, which the guard runs.
const FREEZE_BY: &str = "echo $PPID > $here/guard; echo freeze >> $log";

#[tokio::test]
async fn a_guard_told_to_end_thaws_and_one_that_is_killed_is_stood_in_for() {
    for signal in [Signal::TERM, Signal::KILL] {
        let scripts = Scripts::new();
        let held = Held::begin(Some(&guard()), scripts.orders(FREEZE_BY, THAW, LONG)).await.unwrap();
        let pid: i32 = fs::read_to_string(scripts.path("guard")).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        scripts.expect("freeze\nthaw\n").await;
        assert_eq!(held.release().await, Ok(false), "it did not hold until it was asked to end");
        assert_eq!(scripts.log(), "freeze\nthaw\n", "once");
    }
}

#[tokio::test]
async fn a_guard_that_was_stopped_is_stood_in_for() {
    let scripts = Scripts::new();
    let held = Held::begin(Some(&guard()), scripts.orders(FREEZE_BY, THAW, LONG)).await.unwrap();
    let pid: i32 = fs::read_to_string(scripts.path("guard")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    let released = tokio::time::timeout(Duration::from_secs(20), held.release()).await;
    assert_eq!(released.expect("it does not wait for ever"), Ok(false));
    assert_eq!(scripts.log(), "freeze\nthaw\n");
}

#[tokio::test]
async fn a_freeze_whose_guard_dies_does_not_outlive_the_thaw() {
    let scripts = Scripts::new();
    let slow = "echo $PPID > $here/guard; echo freeze >> $log; sleep 2; echo frozen >> $log";
    let orders = scripts.orders(slow, THAW, LONG);
    let killing = async {
        scripts.expect("freeze\n").await;
        let pid: i32 = fs::read_to_string(scripts.path("guard")).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    };
    let guard = guard();
    let (begun, ()) = tokio::join!(Held::begin(Some(&guard), orders), killing);
    assert!(matches!(begun, Err(HoldError::Enter(_))), "{begun:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scripts.log(), "freeze\nthaw\n", "nothing is frozen after the thaw");
}

#[tokio::test]
async fn who_loses_interest_while_it_freezes_ends_the_freeze() {
    for guard in [Some(guard()), None] {
        let scripts = Scripts::new();
        let slow = "echo freeze >> $log; sleep 20; echo frozen >> $log";
        let begin = Held::begin(guard.as_deref(), scripts.orders(slow, THAW, LONG));
        assert!(tokio::time::timeout(Duration::from_secs(1), begin).await.is_err());
        scripts.expect("freeze\nthaw\n").await;
    }
}

struct Machine {
    scripts: Scripts,
    config: RegionConfig,
}

impl Machine {
    /// A machine `web` with two files.
    fn new() -> Self {
        let scripts = Scripts::new();
        fs::create_dir_all(scripts.path("web/etc")).unwrap();
        fs::write(scripts.path("web/etc/web.xml"), "<domain/>").unwrap();
        fs::write(scripts.path("web/disk.raw"), "sectors").unwrap();
        Self { scripts, config: RegionConfig::default() }
    }

    fn quiesce(&mut self) -> &mut Quiesce {
        let none = Quiesce { freeze: None, snapshot: None, timeout: Duration::from_secs(20) };
        self.config.quiesce.get_or_insert(none)
    }

    async fn prepare(&self) -> (Prepared, Asked) {
        self.try_prepare().await.unwrap()
    }

    async fn try_prepare(&self) -> Result<(Prepared, Asked), TransferError> {
        let quiescer = Quiescer {
            disk: Arc::new(HostDisk),
            clock: crate::host::world().clock,
            guard: Some(guard()),
            region: "west".parse().unwrap(),
            config: Arc::new(self.config.clone()),
            machines: Machines::new(Means::new(
                "west".parse().unwrap(),
                self.config.runner.clone(),
                crate::host::world().clock,
            )),
        };
        let dir = self.scripts.path("web");
        let asked = Asked {
            resource: "vm.web".parse().unwrap(),
            epoch: Epoch(3),
            live: Place::Directory(dir.clone()),
            dir,
            clones: self.scripts.path("clones/1"),
            mark: self.scripts.path("held/vm.web.json"),
            lane: Arc::default(),
        };
        Ok((quiescer.prepare(&asked).await?, asked))
    }

    async fn end(prepared: Prepared) -> bool {
        let disk: Arc<dyn crate::host::Disk> = Arc::new(HostDisk);
        prepared.end(&disk).await.unwrap()
    }
}

fn text(still: &Option<Still>, file: &str) -> String {
    let Some(Still { place: Place::Directory(root), .. }) = still else { panic!("{still:?}") };
    fs::read_to_string(Path::new(root).join(file)).unwrap()
}

#[tokio::test]
async fn a_stopped_machine_is_read_as_it_is() {
    let mut machine = Machine::new();
    let args = |s: &Scripts, name: &str, body: &str| {
        let mut argv = s.script(name, body);
        argv.extend(["{id}", "{dir}", "{region}", "{epoch}"].map(str::to_owned));
        argv
    };
    let status = args(&machine.scripts, "status", r#"echo "$1 $2 $3 $4" > $here/asked; cat $here/answer"#);
    let no = vec!["/nonexistent".to_owned()];
    machine.config.runner = Some(Runner { start: no.clone(), stop: no, status, drill_start: None });
    machine.quiesce().freeze =
        Some(Freeze { freeze: machine.scripts.script("f", FREEZE), thaw: machine.scripts.script("t", THAW) });
    for (answer, kind) in
        [("stopped\n", PointKind::Cold), ("running", PointKind::Frozen), ("paused", PointKind::Frozen)]
    {
        fs::write(machine.scripts.path("answer"), answer).unwrap();
        let (prepared, asked) = machine.prepare().await;
        assert_eq!(prepared.kind, kind, "{answer}");
        let told = fs::read_to_string(machine.scripts.path("asked")).unwrap();
        assert_eq!(told, format!("web {} west 3\n", asked.dir.display()));
        Machine::end(prepared).await;
    }
}

#[tokio::test]
async fn within_a_freeze_the_files_are_copied_and_then_thawed() {
    let mut machine = Machine::new();
    // What the copy has was written before the freeze ended, and after it began.
    let freeze = machine.scripts.script("f", "echo freeze >> $log; printf frozen > $here/web/disk.raw");
    let thaw = machine.scripts.script("t", "echo thaw >> $log; printf thawed > $here/web/disk.raw");
    machine.quiesce().freeze = Some(Freeze { freeze, thaw });
    let (prepared, asked) = machine.prepare().await;
    assert_eq!(machine.scripts.log(), "freeze\nthaw\n");
    assert_eq!((prepared.kind, prepared.trouble.len()), (PointKind::Frozen, 0));
    assert_eq!(text(&prepared.copy, "disk.raw"), "frozen");
    assert_eq!(text(&prepared.copy, "etc/web.xml"), "<domain/>");
    let live = |name: &str| fs::metadata(machine.scripts.path("web").join(name)).unwrap().modified().unwrap();
    let copied = fs::metadata(asked.clones.join("etc/web.xml")).unwrap().modified().unwrap();
    assert_eq!(copied, live("etc/web.xml"));
    assert!(Machine::end(prepared).await);
    assert!(!asked.clones.exists());
}

#[tokio::test]
async fn the_snapshot_comes_first_and_is_released_after_the_reading() {
    let mut machine = Machine::new();
    let snapshot = machine.scripts.script("s", "echo snapshot >> $log; cp -a $here/web $here/copy; echo $here/copy");
    let release = machine.scripts.script("r", "echo release >> $log; rm -r $here/copy");
    machine.quiesce().snapshot = Some(Snapshot { snapshot, release });
    machine.quiesce().freeze =
        Some(Freeze { freeze: machine.scripts.script("f", FREEZE), thaw: machine.scripts.script("t", THAW) });
    let (prepared, _) = machine.prepare().await;
    assert_eq!(prepared.kind, PointKind::Frozen);
    assert_eq!(machine.scripts.log(), "snapshot\n");
    assert_eq!(text(&prepared.copy, "disk.raw"), "sectors");
    assert!(Machine::end(prepared).await);
    assert_eq!(machine.scripts.log(), "snapshot\nrelease\n");
}

#[tokio::test]
async fn a_file_that_changes_while_the_snapshot_is_made_is_not_taken_for_known() {
    let mut machine = Machine::new();
    let snapshot =
        machine.scripts.script("s", "printf newer > $here/web/disk.raw; cp -a $here/web $here/copy; echo $here/copy");
    let release = machine.scripts.script("r", "rm -r $here/copy");
    machine.quiesce().snapshot = Some(Snapshot { snapshot, release });
    let (prepared, _) = machine.prepare().await;
    let before = &prepared.copy.as_ref().unwrap().before;
    let ctime = |path: &str| before.found.iter().find(|found| found.path == path).unwrap().stat.ctime_ns;
    assert_eq!(ctime("disk.raw"), i64::MAX, "believed by nobody");
    assert_ne!(ctime("etc/web.xml"), i64::MAX);
    assert!(Machine::end(prepared).await);
}

#[tokio::test]
async fn a_snapshot_has_the_resources_own_files_or_it_is_none() {
    let mut machine = Machine::new();
    fs::write(machine.scripts.path("web/log"), "line\n").unwrap();
    let freeze = Freeze { freeze: machine.scripts.script("f", FREEZE), thaw: machine.scripts.script("t", THAW) };
    machine.quiesce().freeze = Some(freeze);
    let release = machine.scripts.script("r", "echo release >> $log; chmod -R u+w $here/copy; rm -rf $here/copy");
    for (change, words) in [
        ("rm $here/copy/disk.raw", Some("lacks disk.raw")),
        ("rm -r $here/copy/etc $here/copy/disk.raw", Some("lacks disk.raw and 2 more")),
        ("echo > $here/copy/other.raw", Some("has other.raw, which the resource does not have")),
        ("mkfifo $here/copy/pipe", Some("has pipe, which is a device, a socket or a pipe")),
        ("printf sec > $here/copy/disk.raw", Some("has 3 bytes of disk.raw, which has 7")),
        ("echo more >> $here/copy/disk.raw", Some("has 12 bytes of disk.raw, which has 7")),
        ("rm $here/copy/log; mkdir $here/copy/log", Some("has log as a directory, which is a file")),
        // What is written while the snapshot is made may be in it, or not, or half.
        ("echo line >> $here/web/log; echo line >> $here/web/log; echo line >> $here/copy/log", None),
        ("echo new > $here/web/new", None),
        ("rm $here/web/log $here/copy/log", None),
    ] {
        let body = format!("cp -a $here/web $here/copy; {change}; echo $here/copy");
        let snapshot = machine.scripts.script("s", &body);
        machine.quiesce().snapshot = Some(Snapshot { snapshot, release: release.clone() });
        let _ = fs::remove_file(machine.scripts.path("log"));
        let (prepared, _) = machine.prepare().await;
        assert_eq!(prepared.kind, PointKind::Frozen, "{change}");
        let copy = machine.scripts.path("copy");
        let told: Vec<String> =
            words.iter().map(|words| format!("snapshot: the snapshot {} {words}", copy.display())).collect();
        assert_eq!(prepared.trouble, told, "{change}");
        let log = if words.is_some() { "release\nfreeze\nthaw\n" } else { "" };
        assert_eq!(machine.scripts.log(), log, "{change}");
        Machine::end(prepared).await;
    }
}

#[tokio::test]
async fn what_fails_is_remembered_and_the_next_way_is_tried() {
    let mut machine = Machine::new();
    for (body, words) in [
        ("echo volume is full >&2; exit 5", "volume is full"),
        ("echo relative/path", "no absolute path"),
        ("echo /nonexistent", "/nonexistent"),
        ("echo /tmp; echo /usr", "did not print one directory"),
    ] {
        let snapshot = machine.scripts.script("s", body);
        let release = machine.scripts.script("r", "exit 0");
        machine.quiesce().snapshot = Some(Snapshot { snapshot, release });
        let (prepared, _) = machine.prepare().await;
        assert_eq!((prepared.kind, prepared.copy.is_none()), (PointKind::Quiet, true));
        assert!(prepared.trouble[0].contains(words), "{:?}", prepared.trouble);
        Machine::end(prepared).await;
    }
    machine.quiesce().snapshot = None;
    // A freeze that stops nobody is none.
    let freeze = machine.scripts.script(
        "f",
        "(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
            echo more >> $here/web/disk.raw; sleep 0.02; done) >/dev/null 2>&1 &",
    );
    let big = vec![7; 200 << 20];
    fs::write(machine.scripts.path("web/big.raw"), big).unwrap();
    let thaw = machine.scripts.script("t", THAW);
    machine.quiesce().freeze = Some(Freeze { freeze, thaw });
    let (prepared, asked) = machine.prepare().await;
    assert_eq!(prepared.kind, PointKind::Quiet);
    assert!(prepared.trouble[0].contains("it does not stop their writers"), "{:?}", prepared.trouble);
    assert!(machine.scripts.log().ends_with("thaw\n"));
    assert!(!asked.clones.exists());
}

/// The time that a script wrote down by `date +%s%N`.
fn noted(machine: &Machine, name: &str) -> i64 {
    fs::read_to_string(machine.scripts.path(name)).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_copy_is_dated_by_the_moment_that_it_is_from() {
    // By the clock that dates the copies, in nanoseconds.
    let mut machine = Machine::new();
    let freeze = machine.scripts.script("f", "sleep 0.2; date +%s%N > $here/frozen");
    let thaw = machine.scripts.script("t", "date +%s%N > $here/thawing; sleep 0.3");
    machine.quiesce().freeze = Some(Freeze { freeze, thaw });
    let (prepared, _) = machine.prepare().await;
    let at = prepared.copy.as_ref().unwrap().at.as_micros() * 1000;
    assert!(at >= noted(&machine, "frozen"), "the freeze holds");
    assert!(at < noted(&machine, "thawing"), "still");
    Machine::end(prepared).await;

    machine.quiesce().freeze = None;
    let snapshot = machine
        .scripts
        .script("s", "date +%s%N > $here/asked_at; cp -a $here/web $here/copy; sleep 0.3; echo $here/copy");
    let release = machine.scripts.script("r", "rm -r $here/copy");
    machine.quiesce().snapshot = Some(Snapshot { snapshot, release });
    let (prepared, _) = machine.prepare().await;
    let at = prepared.copy.as_ref().unwrap().at.as_micros() * 1000;
    assert!(at < noted(&machine, "asked_at"), "what was written since may not be in it");
    Machine::end(prepared).await;
}

#[tokio::test]
async fn a_way_that_fails_is_told_with_its_command() {
    let mut machine = Machine::new();
    let thaw = machine.scripts.script("t", "exit 0");
    for (body, words) in [
        ("echo >&2; echo no such domain >&2; exit 3", "/f exited with 3: no such domain"),
        ("echo asleep >&2; sleep 60", "/f took longer than 1s and was killed: asleep"),
    ] {
        let freeze = machine.scripts.script("f", body);
        machine.quiesce().freeze = Some(Freeze { freeze, thaw: thaw.clone() });
        machine.quiesce().timeout = Duration::from_secs(1);
        let (prepared, _) = machine.prepare().await;
        assert_eq!(prepared.kind, PointKind::Quiet);
        let note = prepared.note().unwrap();
        assert!(note.starts_with("read without holding it still, so only quiet: freeze: /"), "{note}");
        assert!(note.ends_with(words), "{note}");
        Machine::end(prepared).await;
    }
}

fn stop(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
}

#[tokio::test]
async fn what_nobody_is_left_to_thaw_is_thawed_by_whoever_comes_next() {
    let scripts = Scripts::new();
    // The first try fails too.
    let thaw = "echo thaw >> $log; [ $(grep -c thaw $log) -ge 2 ] || { echo stuck >&2; exit 1; }";
    let orders = scripts.orders(FREEZE_BY, thaw, LONG);
    super::mark::write(&HostDisk, &orders).unwrap();
    let mut asker = asker(&orders);
    scripts.expect("freeze\n").await;
    let guard: i32 = fs::read_to_string(scripts.path("guard")).unwrap().trim().parse().unwrap();
    let guard = Pid::from_raw(guard).unwrap();
    assert!(settle_all(&HostDisk, &scripts.path("held")).await.is_empty());
    assert_eq!(scripts.log(), "freeze\n", "somebody is at it");
    // Neither sees the other's end.
    stop(guard);
    stop(Pid::from_child(&asker));
    kill_process(guard, Signal::KILL).unwrap();
    asker.kill().unwrap();
    asker.wait().unwrap();
    // Until the guard's death has let its lock go.
    let mut told = Vec::new();
    for _ in 0..100 {
        told = settle_all(&HostDisk, &scripts.path("held")).await;
        if !told.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("vm.web may still be held since an earlier run: "), "{told:?}");
    assert!(told[0].contains("exited with 1: stuck; it is tried again later"), "{told:?}");
    // Programs that other tests start hold its lock for the moment that they need to become themselves.
    while fs::read_dir(scripts.path("held")).unwrap().count() > 0 {
        assert_eq!(settle_all(&HostDisk, &scripts.path("held")).await, Vec::<String>::new());
    }
    assert_eq!(scripts.log(), "freeze\nthaw\nthaw\n", "and forgotten");
}

#[tokio::test]
async fn nothing_is_frozen_while_an_earlier_freeze_is_still_being_taken_back() {
    let mut machine = Machine::new();
    let thaw = "echo thawing >> $log; sleep 1; echo thawed >> $log";
    let orders = machine.scripts.orders(FREEZE, thaw, LONG);
    super::mark::write(&HostDisk, &orders).unwrap();
    let mark = orders.mark.clone().unwrap();
    let held = Held::begin(Some(&guard()), orders).await.unwrap();
    assert!(!super::mark::is_free(&mark, Duration::from_millis(50)).await);
    // Its asker is gone; the guard needs its time.
    drop(held);
    machine.scripts.expect("freeze\nthawing\n").await;
    let freeze = machine.scripts.script("f", "echo again >> $log");
    let thaw = machine.scripts.script("t", "exit 0");
    machine.quiesce().freeze = Some(Freeze { freeze, thaw });
    let (prepared, _) = machine.prepare().await;
    assert_eq!(prepared.kind, PointKind::Frozen);
    assert_eq!(machine.scripts.log(), "freeze\nthawing\nthawed\nagain\n");
    assert!(!mark.exists());
    Machine::end(prepared).await;
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_remembered_and_stops_no_later_freeze() {
    let mut machine = Machine::new();
    let freeze = machine.scripts.script("f", "echo freeze >> $log");
    let thaw = machine.scripts.script("t", "echo thaw >> $log; [ -e $here/mended ]");
    machine.quiesce().freeze = Some(Freeze { freeze, thaw });
    let mark = machine.scripts.path("held/vm.web.json");
    let error = machine.try_prepare().await.unwrap_err().to_string();
    assert!(error.starts_with("it may still be held: "), "{error}");
    assert!(mark.exists());
    fs::write(machine.scripts.path("mended"), "").unwrap();
    let (prepared, _) = machine.prepare().await;
    assert_eq!((prepared.kind, mark.exists()), (PointKind::Frozen, false));
    Machine::end(prepared).await;
}
