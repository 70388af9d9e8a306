//! Locks between threads, between processes, and after a kill.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

const LOCK_IN_CHILD: &str = "DEBVISOR_REGION_TEST_LOCK";

fn holder(command: &str) -> Holder {
    Holder {
        who: "ana@host".into(),
        pid: std::process::id(),
        command: command.into(),
        since: "2026-01-31T12:00:00Z".parse().unwrap(),
    }
}

/// Not a test by itself: another process that holds a lock until it is killed.
#[test]
fn child() {
    let Some(path) = std::env::var_os(LOCK_IN_CHILD) else { return };
    let _lock = FileLock::take(Path::new(&path), &holder("apply in a child")).unwrap();
    // The test's own capture is off, so the parent reads this line.
    #[expect(clippy::print_stdout, reason = "tells the parent that the lock is held")]
    {
        println!("\nlocked");
    }
    std::thread::sleep(Duration::from_secs(60));
}

fn locked_by_a_child(path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host::lock::tests::child", "--nocapture"])
        .env(LOCK_IN_CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "locked"));
    child
}

#[test]
fn a_second_taker_is_told_who_was_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.lock");
    assert_eq!(FileLock::occupancy(&path).unwrap(), Occupancy::Free);
    assert!(!path.exists());
    let first = FileLock::take(&path, &holder("apply")).unwrap();
    assert_eq!(first.path(), path);
    assert!(first.is_in_place());
    let error = FileLock::take(&path, &holder("reconcile")).unwrap_err();
    let LockError::Held { holder: Some(told), .. } = &error else { panic!("{error:?}") };
    assert_eq!(**told, holder("apply"));
    assert!(error.to_string().contains("ana@host") && error.to_string().contains("`apply`"), "{error}");
    assert_eq!(FileLock::occupancy(&path).unwrap(), Occupancy::Held(Some(Box::new(holder("apply")))));
    drop(first);
    assert_eq!(FileLock::occupancy(&path).unwrap(), Occupancy::Free);
    FileLock::take(&path, &holder("reconcile")).unwrap();
}

#[test]
fn longer_words_of_a_former_holder_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.lock");
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    let _lock = FileLock::take(&path, &holder("apply")).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().len() < 300);
    assert!(matches!(FileLock::occupancy(&path).unwrap(), Occupancy::Held(Some(_))));
}

#[test]
fn a_killed_process_leaves_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.lock");
    let mut child = locked_by_a_child(&path);
    let LockError::Held { holder: Some(told), .. } = FileLock::take(&path, &holder("plan")).unwrap_err() else {
        panic!("not held")
    };
    assert_eq!((told.pid, told.command.as_str()), (child.id(), "apply in a child"));
    child.kill().unwrap();
    child.wait().unwrap();
    // Its words are still there, its lock is not.
    assert!(std::fs::read_to_string(&path).unwrap().contains("apply in a child"));
    assert_eq!(FileLock::occupancy(&path).unwrap(), Occupancy::Free);
    FileLock::take(&path, &holder("plan")).unwrap();
}

#[tokio::test]
async fn waiting_ends_with_the_lock_or_with_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.lock");
    let first = FileLock::take(&path, &holder("apply")).unwrap();
    let early = FileLock::take_within(&path, &holder("reconcile"), Duration::from_millis(120)).await;
    assert!(matches!(early, Err(LockError::Held { .. })));
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(first);
    });
    FileLock::take_within(&path, &holder("reconcile"), Duration::from_secs(20)).await.unwrap();
    release.await.unwrap();
    FileLock::take_within(&path, &holder("reconcile"), Duration::ZERO).await.unwrap();
}

/// A program that another thread starts has this one's files until it runs.
#[test]
fn a_lock_that_was_let_go_is_free_whoever_has_its_file_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let lock = FileLock::take(&path, &holder("apply")).unwrap();
    let inherited = lock.inherited().unwrap();
    drop(lock);
    FileLock::attempt(&path, &holder("reconcile")).unwrap();
    drop(inherited);
}

#[test]
fn of_many_takers_one_at_a_time_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.lock");
    let (inside, wins) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    // Looking on must not disturb.
                    FileLock::occupancy(&path).unwrap();
                    if let Ok(_lock) = FileLock::take(&path, &holder("race")) {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        wins.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(wins.into_inner() > 0);
}

#[test]
fn whoever_looks_on_turns_no_taker_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.lock");
    drop(FileLock::take(&path, &holder("apply")).unwrap());
    // As a look does, only slower.
    let looking = std::fs::File::open(&path).unwrap();
    rustix::fs::flock(&looking, rustix::fs::FlockOperation::NonBlockingLockShared).unwrap();
    let end = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        drop(looking);
    });
    FileLock::take(&path, &holder("apply")).unwrap();
    end.join().unwrap();
}

#[test]
fn a_place_without_room_for_a_lock_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = FileLock::take(&dir.path().join("none/x.lock"), &holder("apply")).unwrap_err();
    assert!(matches!(error, LockError::Io { .. }));
    let (target, link) = (dir.path().join("t"), dir.path().join("l.lock"));
    std::fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(FileLock::take(&link, &holder("apply")).is_err());
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn a_lock_knows_when_another_file_took_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.lock");
    let lock = FileLock::take(&path, &holder("serve")).unwrap();
    std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    assert!(!lock.is_in_place());
    std::fs::write(&path, "").unwrap();
    assert!(!lock.is_in_place());
}
