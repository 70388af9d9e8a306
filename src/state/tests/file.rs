//! Paths, locks, kills, and files that are none.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU32;

use rusqlite::Connection;

use super::*;
use crate::host::lock::Occupancy;
use crate::host::sqlite::{self, DatabaseError};
use crate::state::schema::{APPLICATION_ID, MIGRATIONS};

#[test]
fn the_state_lies_beside_the_topology_or_in_it() {
    for (topology, is_directory, expected) in [
        ("topology.toml", false, "debvisor-region.state.db"),
        ("x/fleet.toml", false, "x/debvisor-region.state.db"),
        ("topology", true, "topology/debvisor-region.state.db"),
        (".", true, "./debvisor-region.state.db"),
    ] {
        assert_eq!(StateFile::default_path(Path::new(topology), is_directory), Path::new(expected));
    }
    let file = StateFile::new("x/my.db");
    assert_eq!((file.path(), file.lock_path()), (Path::new("x/my.db"), "x/my.db.lock".into()));
}

#[test]
fn a_link_and_its_file_have_one_lock() {
    let dir = tempfile::tempdir().unwrap();
    let real = in_dir(dir.path());
    drop(open(&real));
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(real.path(), &link).unwrap();
    let _held = real.lock(&holder("apply")).unwrap();
    assert!(matches!(StateFile::new(link).lock(&holder("apply")), Err(StateError::Locked { .. })));
}

#[test]
fn reading_none_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    assert!(file.read().unwrap().is_none());
    assert_eq!(file.occupancy().unwrap(), Occupancy::Free);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // A founding that was cut off: the file is there, and nothing is in it.
    std::fs::write(file.path(), b"").unwrap();
    assert!(file.read().unwrap().is_none());
    std::fs::remove_file(file.path()).unwrap();
    drop(sqlite::open(file.path(), APPLICATION_ID, MIGRATIONS, sqlite::Mode::Create).unwrap());
    assert!(file.read().unwrap().is_none());
    assert_eq!(open(&file).recorded().unwrap().lineage, lineage(1));
}

#[test]
fn a_lineage_is_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let state = open(&file);
    let recorded = state.recorded().unwrap();
    assert_eq!((recorded.lineage, recorded.serial, recorded.existed), (lineage(1), 0, false));
    drop(state);
    let state = file.lock(&holder("apply")).unwrap().open(&world(), &host(), lineage(2)).unwrap();
    assert_eq!(state.recorded().unwrap().lineage, lineage(1));
    assert_eq!(file.read().unwrap().unwrap().recorded().unwrap(), state.recorded().unwrap());
}

#[test]
fn a_refused_first_run_leaves_a_state_that_counts_as_new() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let run = state.begin_run(&start("apply")).unwrap();
    state.finish_run(run, &end(RunOutcome::Refused, 5)).unwrap();
    assert!(!state.recorded().unwrap().existed);
    state.record_topology(&digest("one"), run).unwrap();
    assert!(state.recorded().unwrap().existed);
}

#[test]
fn the_second_is_told_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let first = file.lock(&holder("apply --auto-approve")).unwrap();
    let error = file.lock(&holder("reconcile")).unwrap_err();
    assert!(
        matches!(&error, StateError::Locked { holder: Some(told), .. } if **told == holder("apply --auto-approve"))
    );
    let text = error.to_string();
    for part in ["ana@desk", "process 7", "2026-01-31 12:00:00Z", "`apply --auto-approve`", StateFile::NAME] {
        assert!(text.contains(part), "{text}");
    }
    assert!(matches!(file.occupancy().unwrap(), Occupancy::Held(Some(_))));
    // The lock goes with the state that was opened under it, not before.
    let state = first.open(&world(), &host(), lineage(1)).unwrap();
    assert!(file.lock(&holder("reconcile")).is_err());
    drop(state);
    file.lock(&holder("reconcile")).unwrap();
}

#[tokio::test]
async fn waiting_for_the_lock_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let first = open(&file);
    let early = file.lock_within(&holder("reconcile"), Duration::from_millis(60)).await;
    assert!(matches!(early, Err(StateError::Locked { .. })));
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(120));
        drop(first);
    });
    file.lock_within(&holder("reconcile"), Duration::from_secs(30)).await.unwrap();
    release.join().unwrap();
}

#[test]
fn of_two_that_race_one_writes_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let (inside, done) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while done.load(Ordering::SeqCst) < 12 {
                    let Ok(locked) = file.lock(&holder("apply")) else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    let mut state = locked.open(&crate::host::world(), &host(), lineage(1)).unwrap();
                    let run = state.begin_run(&start("apply")).unwrap();
                    state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let runs = file.read().unwrap().unwrap().history(&HistoryFilter::default()).unwrap();
    assert_eq!(runs.len(), done.into_inner() as usize);
    assert!(runs.iter().all(|entry| entry.run.outcome == RunOutcome::Done));
}

#[test]
fn reading_goes_on_while_another_writes() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    let both = |n: u32| {
        [("vm.one", n), ("vm.two", n)].map(|(name, n)| {
            let spec = vm(if n.is_multiple_of(2) { "a" } else { "c" });
            (address(name), Remember::Applied(applied(spec, &["a"])))
        })
    };
    state.record_objects(None, &both(0)).unwrap();
    let stop = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while stop.load(Ordering::SeqCst) == 0 || seen == 0 {
                let recorded = file.read().unwrap().unwrap().recorded().unwrap();
                // Never one of the two without the other, nor without the serial that came with them.
                let expected = applied(vm(if recorded.serial.is_multiple_of(2) { "c" } else { "a" }), &["a"]);
                assert_eq!(recorded.objects[&address("vm.one")], expected);
                assert_eq!(recorded.objects[&address("vm.two")], expected);
                seen += 1;
            }
            seen
        });
        for n in 1..60 {
            state.record_objects(None, &both(n)).unwrap();
        }
        stop.store(1, Ordering::SeqCst);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!(state.recorded().unwrap().serial, 60);
}

const STATE_IN_CHILD: &str = "DEBVISOR_REGION_TEST_STATE";

/// Not a test by itself: another process in the middle of a run, until it is killed.
#[test]
fn child() {
    let Some(path) = std::env::var_os(STATE_IN_CHILD) else { return };
    let mut state = open(&StateFile::new(path));
    let run = state.begin_run(&start("apply")).unwrap();
    let intents = [intent("sync:vm.one:b", "vm.one", &["b"]), intent("sync:vm.two:b", "vm.two", &["b"])];
    state.actions_started(run, &intents, moment(5)).unwrap();
    let [one, _] = intents;
    let mut one = conclusion(one, ActionOutcome::Done, moment(6));
    one.remember = Remember::Applied(applied(vm("a"), &["a", "b"]));
    state.actions_finished(run, &[one]).unwrap();
    #[expect(clippy::print_stdout, reason = "tells the parent that it is time to kill")]
    {
        println!("\nunder way");
    }
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_run_leaves_no_lock_and_is_told_as_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "state::tests::file::child", "--nocapture"])
        .env(STATE_IN_CHILD, file.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "under way"));
    assert!(matches!(file.lock(&holder("apply")), Err(StateError::Locked { .. })));
    let outcomes = || {
        let entry = file.read().unwrap().unwrap().history(&HistoryFilter::default()).unwrap().remove(0);
        (entry.run.outcome, entry.actions.iter().map(|action| action.outcome).collect::<Vec<_>>(), entry.run.message)
    };
    assert_eq!(outcomes(), (RunOutcome::Running, vec![ActionOutcome::Done, ActionOutcome::Running], None));
    child.kill().unwrap();
    child.wait().unwrap();
    // A reader sees it at once, though nobody has written it down yet.
    let killed = vec![ActionOutcome::Done, ActionOutcome::Unknown];
    assert_eq!(outcomes(), (RunOutcome::Abandoned, killed.clone(), None));
    let state = open(&file);
    let message = Some("killed; under way: sync:vm.two:b".to_owned());
    assert_eq!(outcomes(), (RunOutcome::Abandoned, killed, message));
    // What it had concluded is remembered.
    let recorded = state.recorded().unwrap();
    assert_eq!((recorded.serial, recorded.objects.len()), (1, 1));
}

#[test]
fn what_is_no_state_file_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let both = |expected: fn(&DatabaseError) -> bool| {
        let before = std::fs::read(file.path()).unwrap();
        let reading = file.read().map(|_| ()).unwrap_err();
        let writing = file.lock(&holder("apply")).unwrap().open(&world(), &host(), lineage(1)).unwrap_err();
        for error in [reading, writing] {
            let StateError::Database(of_file) = &error else { panic!("{error:?}") };
            assert!(expected(of_file), "{error:?}");
            assert!(error.to_string().contains(StateFile::NAME) && !error.help().is_empty(), "{error}");
        }
        assert_eq!(std::fs::read(file.path()).unwrap(), before);
    };
    std::fs::write(file.path(), "schema_version = 1\n".repeat(400)).unwrap();
    both(|error| matches!(error, DatabaseError::NotADatabase { .. }));
    std::fs::remove_file(file.path()).unwrap();
    Connection::open(file.path()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    both(|error| matches!(error, DatabaseError::Foreign { .. }));
    std::fs::remove_file(file.path()).unwrap();
    drop(open(&file));
    let newer = |version: usize| {
        let connection = Connection::open(file.path()).unwrap();
        connection.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
    };
    newer(MIGRATIONS.len() + 1);
    both(|error| matches!(error, DatabaseError::Newer { .. }));
    newer(MIGRATIONS.len());
    file.read().unwrap().unwrap().recorded().unwrap();
}

#[test]
fn what_does_not_read_as_it_should_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    state.record_objects(None, &[(address("vm.one"), Remember::Applied(applied(vm("a"), &["a"])))]).unwrap();
    drop(state);
    for sql in [
        "UPDATE objects SET spec = '{\"primary\": 7}'",
        "UPDATE objects SET spec = '{'",
        "UPDATE objects SET address = 'nonsense'",
        "UPDATE meta SET lineage = 'x'",
    ] {
        Connection::open(file.path()).unwrap().execute_batch(sql).unwrap();
        let error = file.read().unwrap().unwrap().recorded().unwrap_err();
        assert!(matches!(error, StateError::Database(DatabaseError::Damaged { .. })), "{sql}: {error:?}");
        assert!(error.help().contains("state rebuild"));
    }
}

#[test]
fn a_full_disk_is_an_error_and_takes_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    let run = state.begin_run(&start("apply")).unwrap();
    // SQLite answers to this limit as to a full disk.
    let pages: i64 = state.reader.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    state.reader.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    let long = "x".repeat(100_000);
    let error =
        state.finish_run(run, &RunEnd { outcome: RunOutcome::Failed, exit_code: 1, message: Some(long) }).unwrap_err();
    assert!(matches!(error, StateError::Database(DatabaseError::Full { .. })), "{error:?}");
    assert_eq!(history(&state, HistoryFilter::default())[0].run.outcome, RunOutcome::Running);
    state.finish_run(run, &end(RunOutcome::Failed, 1)).unwrap();
    assert_eq!(history(&state, HistoryFilter::default())[0].run.outcome, RunOutcome::Failed);
}

#[test]
fn a_backup_is_a_whole_state_without_the_seat() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    state.record_objects(None, &[(address("vm.one"), Remember::Applied(applied(vm("a"), &["a"])))]).unwrap();
    let seating = state.take_seat(3).unwrap();
    let to = dir.path().join("backup.db");
    file.read().unwrap().unwrap().backup(&to).unwrap();
    let copy = StateFile::new(&to).read().unwrap().unwrap();
    assert_eq!(copy.recorded().unwrap(), state.recorded().unwrap());
    assert_eq!(copy.seating(&host()).unwrap(), None);
    assert_eq!(state.seating().unwrap(), Some(seating));
    let again = state.reader().backup(&to).unwrap_err();
    assert!(matches!(again, StateError::Database(DatabaseError::Exists { .. })));
}

#[test]
fn a_seat_counts_only_where_it_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    assert_eq!(state.seating().unwrap(), None);
    let first = state.take_seat(1).unwrap();
    let second = state.take_seat(2).unwrap();
    assert_ne!(first.seat, second.seat);
    assert!(state.place().starts_with("ana@desk:/") && state.place().ends_with(StateFile::NAME));
    // Whom it was taken without is known once it counts, and as long as it is held.
    let left_out = |state: &State| state.recorded().unwrap().left_out;
    assert_eq!(left_out(&state), BTreeSet::new());
    state.seat_counts(&["b".parse().unwrap()].into()).unwrap();
    assert_eq!(left_out(&state), ["b".parse().unwrap()].into());
    drop(state);
    let read = || file.read().unwrap().unwrap();
    assert_eq!(read().seating(&host()).unwrap(), Some(second));
    assert_eq!(read().seating(&Host { machine: "machine-2".into(), ..host() }).unwrap(), None);
    // Its boot or user may change.
    assert_eq!(read().seating(&Host { boot_id: "later".into(), user: "bo".into(), ..host() }).unwrap(), Some(second));
    let aside = dir.path().join("aside.db");
    std::fs::copy(file.path(), &aside).unwrap();
    std::fs::rename(&aside, file.path()).unwrap();
    assert_eq!(read().seating(&host()).unwrap(), None);
}

#[test]
fn a_place_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = StateFile::new(dir.path().join("none/x.db"));
    assert!(file.read().unwrap().is_none());
    let error = file.lock(&holder("apply")).unwrap_err();
    assert!(matches!(error, StateError::Lock { .. }) && error.help().contains("--state"), "{error}");
}
