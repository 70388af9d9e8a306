//! Runs, actions, health, and asking for them.

use super::*;
use crate::model::observed::RegionStatus;

fn one_run(state: &mut State, command: &str, of: &str, at: &str, outcome: RunOutcome) -> RunId {
    let run = state.begin_run(&start(command)).unwrap();
    let sync = intent(&format!("sync:{of}:{at}"), of, &[at]);
    state.actions_started(run, std::slice::from_ref(&sync), moment(1)).unwrap();
    state.actions_finished(run, &[conclusion(sync, ActionOutcome::Done, moment(2))]).unwrap();
    state.finish_run(run, &end(outcome, 0)).unwrap();
    run
}

#[test]
fn an_action_is_written_before_it_begins_and_after_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    let topology = Some(digest("one"));
    let run = state.begin_run(&RunStart { topology, ..start("apply --auto-approve") }).unwrap();
    let [two, one] = ["vm.two", "vm.one"].map(|of| intent(&format!("sync:{of}:b"), of, &["b"]));
    state.actions_started(run, &[two.clone(), one.clone()], moment(10)).unwrap();
    // Durable and seen by others before the effect.
    let seen = file.read().unwrap().unwrap().history(&HistoryFilter::default()).unwrap().remove(0);
    assert_eq!((seen.run.outcome, seen.run.action_count), (RunOutcome::Running, 2));
    assert!(seen.actions.iter().all(|action| action.outcome == ActionOutcome::Running));
    let mut failed = conclusion(one, ActionOutcome::Failed, moment(12));
    failed.message = Some("no route".into());
    let skipped = Conclusion {
        duration: Duration::ZERO,
        bytes: ByteCount(0),
        ..conclusion(intent("sync:vm.six:b", "vm.six", &["b", "c"]), ActionOutcome::Skipped, moment(12))
    };
    state.actions_finished(run, &[failed, skipped]).unwrap();
    state.actions_finished(run, &[conclusion(two, ActionOutcome::Done, moment(15))]).unwrap();
    let message = Some("1 of 3 failed".to_owned());
    state.finish_run(run, &RunEnd { outcome: RunOutcome::Partial, exit_code: 3, message: message.clone() }).unwrap();
    let entry = history(&state, HistoryFilter::default()).remove(0);
    assert_eq!(entry.run.run, run);
    assert_eq!((entry.run.outcome, entry.run.exit_code, entry.run.message), (RunOutcome::Partial, Some(3), message));
    assert_eq!((entry.run.topology, entry.run.bytes, entry.run.action_count), (topology, ByteCount(8192), 3));
    assert!(entry.run.finished_at > Some(entry.run.started_at));
    assert_eq!(entry.run.command, "apply --auto-approve");
    let ids: Vec<_> = entry.actions.iter().map(|action| action.id.as_str()).collect();
    assert_eq!(ids, ["sync:vm.two:b", "sync:vm.one:b", "sync:vm.six:b"], "in the order in which they began");
    let [two, one, six] = &entry.actions[..] else { panic!() };
    assert_eq!(
        (two.started_at, two.finished_at, two.outcome),
        (Some(moment(10)), Some(moment(15)), ActionOutcome::Done)
    );
    assert_eq!((two.duration, two.kind, two.action), (Some(Duration::from_millis(1500)), Kind::Sync, Action::Sync));
    assert_eq!((one.outcome, one.message.as_deref()), (ActionOutcome::Failed, Some("no route")));
    assert_eq!((six.started_at, six.outcome, six.regions.len()), (None, ActionOutcome::Skipped, 2));
    // As it is printed.
    let json = serde_json::to_value(&history(&state, HistoryFilter::default())[0]).unwrap();
    assert_eq!(json["outcome"], "partial");
    assert_eq!(json["actions"][1]["outcome"], "failed");
    assert_eq!(json["actions"][0]["duration"], "1s500ms");
    assert_eq!(serde_json::from_value::<HistoryEntry>(json).unwrap(), history(&state, HistoryFilter::default())[0]);
}

/// How often the file was changed: the counter in its head.
fn commits(file: &StateFile) -> u32 {
    let head = std::fs::read(file.path()).unwrap();
    u32::from_be_bytes(head[24..28].try_into().unwrap())
}

#[test]
fn what_nothing_depends_on_yet_is_written_with_the_next_intent_and_with_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    let before = commits(&file);
    state.gather_notes();
    let run = state.begin_run(&start("apply")).unwrap();
    let at = moment(1);
    let (region_id, latency) = (region("b"), Some(Duration::from_millis(3)));
    state
        .observe_health(&[HealthObservation { region_id, at, status: RegionStatus::Healthy, latency, detail: None }])
        .unwrap();
    state.record_stores(&[(region("b"), crate::model::StoreId(Uuid::from_u128(9)), None)]).unwrap();
    let others = |filter| file.read().unwrap().unwrap().history(&filter).unwrap();
    assert_eq!((commits(&file), others(HistoryFilter::default()).len()), (before, 0));
    // Durable before the effect, with all that was seen before.
    let sync = intent("sync:vm.one:b", "vm.one", &["b"]);
    state.actions_started(run, std::slice::from_ref(&sync), moment(10)).unwrap();
    assert_eq!(commits(&file), before + 1);
    assert_eq!(others(HistoryFilter::default())[0].actions[0].outcome, ActionOutcome::Running);
    assert_eq!(file.read().unwrap().unwrap().stores().unwrap().len(), 1);
    assert_eq!(file.read().unwrap().unwrap().health(None, 9).unwrap().len(), 1);
    state.last_actions_finished(run, vec![conclusion(sync.clone(), ActionOutcome::Unchanged, moment(12))]).unwrap();
    assert_eq!(commits(&file), before + 1);
    state.record_topology(&digest("one"), run).unwrap();
    state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
    assert_eq!(commits(&file), before + 2);
    let seen = others(HistoryFilter::default()).remove(0);
    assert_eq!((seen.run.outcome, seen.actions[0].outcome), (RunOutcome::Done, ActionOutcome::Unchanged));
    assert_eq!(file.read().unwrap().unwrap().last_topology().unwrap(), Some(digest("one")));
    // Another action begins: the last one's end is written with its intent.
    let run = state.begin_run(&start("apply")).unwrap();
    state.actions_started(run, std::slice::from_ref(&sync), moment(20)).unwrap();
    state.last_actions_finished(run, vec![conclusion(sync.clone(), ActionOutcome::Done, moment(21))]).unwrap();
    let next = intent("sync:vm.two:b", "vm.two", &["b"]);
    state.actions_started(run, std::slice::from_ref(&next), moment(22)).unwrap();
    let seen = others(HistoryFilter::default()).remove(0);
    let outcomes: Vec<_> = seen.actions.iter().map(|action| action.outcome).collect();
    assert_eq!(outcomes, [ActionOutcome::Done, ActionOutcome::Running]);
    // What cannot be written with them is written later; and what was let go without an end, when it was.
    let nobody = RunId(Uuid::from_u128(1));
    state.last_actions_finished(run, vec![conclusion(next, ActionOutcome::Done, moment(23))]).unwrap();
    assert!(matches!(state.finish_run(nobody, &end(RunOutcome::Done, 0)), Err(StateError::UnknownRun(_))));
    let idle = state.begin_run(&start("apply")).unwrap();
    drop(state);
    let seen = others(HistoryFilter::default());
    assert_eq!((seen[0].run.run, seen[1].actions[1].outcome), (idle, ActionOutcome::Done));
}

#[test]
fn a_second_attempt_in_one_run_is_the_same_action() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let run = state.begin_run(&start("apply")).unwrap();
    let sync = intent("sync:vm.one:b", "vm.one", &["b"]);
    state.actions_started(run, std::slice::from_ref(&sync), moment(1)).unwrap();
    state.actions_finished(run, &[conclusion(sync.clone(), ActionOutcome::Failed, moment(2))]).unwrap();
    state.actions_started(run, std::slice::from_ref(&sync), moment(3)).unwrap();
    let action = &history(&state, HistoryFilter::default())[0].actions[0];
    assert_eq!(
        (action.outcome, action.started_at, action.finished_at),
        (ActionOutcome::Running, Some(moment(3)), None)
    );
    state.finish_run(run, &end(RunOutcome::Interrupted, 130)).unwrap();
    let entry = &history(&state, HistoryFilter::default())[0];
    assert_eq!((entry.actions.len(), entry.actions[0].outcome), (1, ActionOutcome::Unknown));
}

#[test]
fn a_result_and_the_memory_of_its_object_stand_or_fall_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let run = state.begin_run(&start("apply")).unwrap();
    let create = |of: &str| Conclusion {
        remember: Remember::Applied(applied(vm("a"), &["a"])),
        ..conclusion(intent(&format!("create:{of}"), of, &["a"]), ActionOutcome::Done, moment(2))
    };
    state.actions_finished(run, &[create("vm.one")]).unwrap();
    assert_eq!(state.reader().managed().unwrap()[0].run, Some(run));
    // The second of the two cannot be written.
    state
        .reader
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER broken BEFORE INSERT ON main.objects WHEN new.address = 'vm.three' \
         BEGIN SELECT raise(ABORT, 'broken'); END",
        )
        .unwrap();
    assert!(state.actions_finished(run, &[create("vm.two"), create("vm.three")]).is_err());
    let recorded = state.recorded().unwrap();
    assert_eq!((recorded.serial, recorded.objects.len()), (1, 1));
    assert_eq!(history(&state, HistoryFilter::default())[0].actions.len(), 1);
}

#[test]
fn an_unknown_run_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let nobody = RunId(Uuid::from_u128(1));
    assert!(matches!(state.finish_run(nobody, &end(RunOutcome::Done, 0)), Err(StateError::UnknownRun(_))));
    let sync = intent("sync:vm.one:b", "vm.one", &["b"]);
    assert!(matches!(state.actions_started(nobody, &[sync], moment(1)), Err(StateError::UnknownRun(_))));
}

#[test]
fn history_is_asked_by_run_object_region_outcome_command_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let first = one_run(&mut state, "debvisor-region apply", "vm.one", "b", RunOutcome::Done);
    let second = one_run(&mut state, "debvisor-region reconcile --watch", "vm.two", "c", RunOutcome::Partial);
    let third = one_run(&mut state, "debvisor-region apply --prune", "vm.two", "b", RunOutcome::Done);
    let idle = state.begin_run(&start("debvisor-region reconcile")).unwrap();
    state.finish_run(idle, &end(RunOutcome::Done, 0)).unwrap();
    let ask = |filter: HistoryFilter| names(&history(&state, filter));
    let all = HistoryFilter::default;
    assert_eq!(ask(all()), [idle, third, second, first]);
    assert_eq!(ask(HistoryFilter { limit: Some(2), ..all() }), [idle, third]);
    assert_eq!(ask(HistoryFilter { run: Some(second), ..all() }), [second]);
    assert_eq!(ask(HistoryFilter { address: Some(address("vm.two")), ..all() }), [third, second]);
    assert_eq!(ask(HistoryFilter { region: Some(region("b")), ..all() }), [third, first]);
    let both = HistoryFilter { region: Some(region("b")), address: Some(address("vm.two")), ..all() };
    assert_eq!(ask(both), [third]);
    assert_eq!(ask(HistoryFilter { outcome: Some(RunOutcome::Partial), ..all() }), [second]);
    assert_eq!(ask(HistoryFilter { command: Some("reconcile".into()), ..all() }), [idle, second]);
    assert_eq!(ask(HistoryFilter { command: Some("apply --prune".into()), limit: Some(1), ..all() }), [third]);
    let since = history(&state, HistoryFilter { run: Some(third), ..all() })[0].run.started_at;
    assert_eq!(ask(HistoryFilter { since: Some(since), ..all() }), [idle, third]);
    assert_eq!(ask(HistoryFilter { limit: Some(0), ..all() }), []);
    assert_eq!(state.reader().last_run().unwrap().unwrap().run, idle);
}

#[test]
fn of_a_run_only_the_actions_that_were_asked_for_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let run = state.begin_run(&start("apply")).unwrap();
    let conclusions = ["b", "c"]
        .map(|at| conclusion(intent(&format!("sync:vm.one:{at}"), "vm.one", &[at]), ActionOutcome::Done, moment(2)));
    state.actions_finished(run, &conclusions).unwrap();
    let entry = history(&state, HistoryFilter { region: Some(region("c")), ..HistoryFilter::default() }).remove(0);
    assert_eq!((entry.actions.len(), entry.run.action_count), (1, 2));
    assert_eq!(entry.actions[0].id, "sync:vm.one:c");
}

#[test]
fn a_run_that_did_nothing_new_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let mut round = |end: &RunEnd, acts: bool| {
        let run = state.begin_run(&start("reconcile --watch")).unwrap();
        if acts {
            let sync = intent("sync:vm.one:b", "vm.one", &["b"]);
            state.actions_finished(run, &[conclusion(sync, ActionOutcome::Done, moment(2))]).unwrap();
        }
        let withdrawn = state.withdraw_repeat(run, end).unwrap();
        if !withdrawn {
            state.finish_run(run, end).unwrap();
        }
        (withdrawn, history(&state, HistoryFilter::default()).len())
    };
    let (done, partial) = (end(RunOutcome::Done, 0), end(RunOutcome::Partial, 3));
    assert_eq!(round(&done, false), (false, 1), "the first");
    assert_eq!(round(&done, false), (true, 1));
    assert_eq!(round(&done, true), (false, 2), "it did something");
    assert_eq!(round(&done, false), (true, 2));
    assert_eq!(round(&partial, false), (false, 3), "another verdict");
    assert_eq!(round(&partial, false), (true, 3));
    let told = RunEnd { message: Some("blocked: vm.a".to_owned()), ..partial };
    assert_eq!(round(&told, false), (false, 4), "another reason");
    assert_eq!(round(&told, false), (true, 4));
    assert_eq!(round(&done, false), (false, 5), "all is well again");
    // Another command's end is no measure.
    let run = state.begin_run(&start("apply")).unwrap();
    assert!(!state.withdraw_repeat(run, &done).unwrap());
}

#[test]
fn old_history_goes_and_what_did_something_stays_longest() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    state.set_retention(HistoryRetention { runs: 2, idle_runs: 3, observations: 2, ..HistoryRetention::default() });
    let busy: Vec<_> = (0..3).map(|_| one_run(&mut state, "apply", "vm.one", "b", RunOutcome::Done)).collect();
    let idle: Vec<_> = (0..5)
        .map(|_| {
            let run = state.begin_run(&start("reconcile")).unwrap();
            state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
            run
        })
        .collect();
    assert_eq!(names(&history(&state, HistoryFilter::default())), [idle[4], idle[3], idle[2], busy[2], busy[1]]);
    let actions: i64 = state.reader.connection.query_row("SELECT count(*) FROM actions", [], |row| row.get(0)).unwrap();
    assert_eq!(actions, 2, "actions go with their run");
}

#[test]
fn health_is_observed_kept_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let now = state.now();
    let observation = |id: &str, seconds: i64, latency: Option<u64>| HealthObservation {
        region_id: region(id),
        at: Timestamp::from_micros(now.as_micros() + seconds * 1_000_000),
        status: if latency == Some(3) { RegionStatus::Healthy } else { RegionStatus::Unreachable },
        latency: latency.map(Duration::from_millis),
        detail: latency.is_none().then(|| "no route".to_owned()),
    };
    let month = 31 * 86_400;
    let all = [observation("a", -month, Some(3)), observation("a", 0, Some(3)), observation("b", 1, None)];
    state.observe_health(&all).unwrap();
    state.observe_health(&[]).unwrap();
    let [old, a, b] = &all;
    let kept = |state: &State| state.reader().health(None, 10).unwrap();
    assert_eq!(kept(&state), [b.clone(), a.clone(), old.clone()]);
    assert_eq!(state.reader().health(Some(&region("a")), 1).unwrap(), std::slice::from_ref(a));
    assert_eq!(state.reader().last_answers().unwrap(), BTreeMap::from([(region("a"), a.at)]), "b never answered");
    let run = state.begin_run(&start("reconcile")).unwrap();
    state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
    assert_eq!(kept(&state), [b.clone(), a.clone()]);
    state.set_retention(HistoryRetention { observations: 1, ..HistoryRetention::default() });
    let run = state.begin_run(&start("reconcile")).unwrap();
    state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
    assert_eq!(kept(&state), std::slice::from_ref(b));
}

#[test]
fn copies_are_counted_for_ever_and_of_late() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut state = open(&in_dir(dir.path()));
    assert_eq!(state.reader().syncs().unwrap(), BTreeMap::new());
    let run = state.begin_run(&start("reconcile")).unwrap();
    let sync = |id: &str, at: &str| intent(id, "vm.web", &[at]);
    let other = Intent { kind: Kind::Resource, ..sync("e", "b") };
    let ended = [
        conclusion(sync("a", "b"), ActionOutcome::Done, moment(10)),
        conclusion(sync("b", "b"), ActionOutcome::Unchanged, moment(20)),
        conclusion(sync("c", "c"), ActionOutcome::Done, moment(20)),
        conclusion(sync("d", "c"), ActionOutcome::Failed, moment(20)),
        conclusion(other, ActionOutcome::Done, moment(20)),
    ];
    state.actions_finished(run, &ended).unwrap();
    state.finish_run(run, &end(RunOutcome::Partial, 3)).unwrap();
    let counts = |counted: BTreeMap<RegionId, u64>| counted.into_iter().map(|(id, n)| (id.to_string(), n)).collect();
    let told = |counted| -> Vec<(String, u64)> { counts(counted) };
    let of = |b, c| vec![("b".to_owned(), b), ("c".to_owned(), c)];
    assert_eq!(told(state.reader().syncs().unwrap()), of(2, 1));

    // What history drops is not taken back.
    state.set_retention(HistoryRetention { runs: 0, ..HistoryRetention::default() });
    let run = state.begin_run(&start("reconcile")).unwrap();
    state.actions_finished(run, &[conclusion(sync("a", "b"), ActionOutcome::Done, moment(30))]).unwrap();
    state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
    assert_eq!(history(&state, HistoryFilter::default()).len(), 1);
    assert_eq!(told(state.reader().syncs().unwrap()), of(3, 1));
}
