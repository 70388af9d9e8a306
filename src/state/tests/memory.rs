//! What is remembered, and when the serial grows.

use super::*;
use crate::model::StoreId;

fn objects(state: &State) -> BTreeMap<Address, Applied> {
    state.recorded().unwrap().objects
}

fn serial(state: &State) -> u64 {
    state.recorded().unwrap().serial
}

fn remember(state: &mut State, name: &str, what: Remember) {
    state.record_objects(None, &[(address(name), what)]).unwrap();
}

#[test]
fn objects_come_back_as_they_were_applied() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let mut state = open(&file);
    let region_spec = Spec::Region(Box::new(crate::model::topology::RegionSpec {
        name: "A".into(),
        location: "a".into(),
        api_endpoint: "file:a".into(),
        primary: true,
        capacity_vms: 1000,
        labels: BTreeMap::new(),
        policy: crate::model::policy::Policy::default(),
    }));
    let all = BTreeMap::from([
        (address("region.a"), applied(region_spec, &["a", "b"])),
        (address("replication.a.b"), applied(pair(1), &["a", "b"])),
        (address("vm.one"), applied(vm("a"), &["a", "b"])),
    ]);
    let run = state.begin_run(&start("apply")).unwrap();
    let batch: Vec<_> = all.iter().map(|(at, what)| (at.clone(), Remember::Applied(what.clone()))).collect();
    state.record_objects(Some(run), &batch).unwrap();
    assert_eq!(objects(&state), all);
    assert_eq!(serial(&state), 1, "one transaction, one step");
    drop(state);
    let reader = file.read().unwrap().unwrap();
    assert_eq!(reader.recorded().unwrap().objects, all);
    let managed = reader.managed().unwrap();
    assert_eq!(
        managed.iter().map(|object| object.address.clone()).collect::<Vec<_>>(),
        Vec::from_iter(all.into_keys())
    );
    assert!(managed.iter().all(|object| object.run == Some(run)));
    assert_eq!(managed[2].attributes["labels"]["tier"], "web");
}

#[test]
fn the_serial_grows_with_changes_and_with_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let one = || Remember::Applied(applied(vm("a"), &["a"]));
    remember(&mut state, "vm.one", one());
    assert_eq!(serial(&state), 1);
    let applied_at = state.reader().managed().unwrap()[0].applied_at;
    remember(&mut state, "vm.one", one());
    remember(&mut state, "vm.one", Remember::AsBefore);
    remember(&mut state, "vm.two", Remember::Nothing);
    let run = state.begin_run(&start("apply")).unwrap();
    let sync = intent("sync:vm.one:b", "vm.one", &["b"]);
    state.actions_started(run, std::slice::from_ref(&sync), moment(1)).unwrap();
    state.actions_finished(run, &[conclusion(sync, ActionOutcome::Done, moment(2))]).unwrap();
    state.record_topology(&digest("one"), run).unwrap();
    state.record_stores(&[(region("a"), StoreId(Uuid::from_u128(5)), None)]).unwrap();
    state.take_seat(1).unwrap();
    state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
    assert_eq!(serial(&state), 1);
    assert_eq!(state.reader().managed().unwrap()[0].applied_at, applied_at);
    remember(&mut state, "vm.one", Remember::Applied(applied(vm("a"), &["a", "b"])));
    assert_eq!(serial(&state), 2, "recorded at one more region");
    remember(&mut state, "vm.one", Remember::Applied(applied(vm("b"), &["a", "b"])));
    assert_eq!(serial(&state), 3);
    remember(&mut state, "vm.one", Remember::Nothing);
    assert_eq!((serial(&state), objects(&state).len()), (4, 0));
}

#[test]
fn renames_are_done_all_at_once_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    for (name, at) in [("vm.one", "a"), ("vm.two", "b"), ("vm.three", "c")] {
        remember(&mut state, name, Remember::Applied(applied(vm(at), &["a"])));
    }
    let born = |state: &State, name: &str| match &objects(state).get(&address(name)).expect(name).spec {
        Spec::Resource(spec) => spec.primary.to_string(),
        Spec::Region(_) | Spec::Replication(_) => panic!("not a vm"),
    };
    let moved = |from: &str, to: &str| (address(from), address(to));
    // Two change places, a third makes room for nobody.
    let moves = [moved("vm.one", "vm.two"), moved("vm.two", "vm.one"), moved("vm.three", "vm.four")];
    let run = state.begin_run(&start("apply")).unwrap();
    state.rename_objects(run, &moves).unwrap();
    assert_eq!(["vm.one", "vm.two", "vm.four"].map(|name| born(&state, name)), ["b", "a", "c"]);
    assert_eq!((objects(&state).len(), serial(&state)), (3, 4));
    state.rename_objects(run, &[moved("vm.three", "vm.four"), moved("vm.one", "vm.one")]).unwrap();
    assert_eq!(serial(&state), 4);
    for taken in [vec![moved("vm.one", "vm.two")], vec![moved("vm.one", "vm.x"), moved("vm.two", "vm.x")]] {
        assert!(matches!(state.rename_objects(run, &taken), Err(StateError::Taken { .. })));
    }
    assert_eq!(serial(&state), 4);
}

#[test]
fn the_past_of_a_renamed_object_is_found_under_its_new_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    remember(&mut state, "vm.one", Remember::Applied(applied(vm("a"), &["a"])));
    let mut act = |rename: Option<(&str, &str)>, on: &str| {
        let run = state.begin_run(&start("apply")).unwrap();
        if let Some((from, to)) = rename {
            state.rename_objects(run, &[(address(from), address(to))]).unwrap();
        }
        let done = conclusion(intent("x", on, &["a"]), ActionOutcome::Done, moment(1));
        state.actions_finished(run, &[done]).unwrap();
        state.finish_run(run, &end(RunOutcome::Done, 0)).unwrap();
        run
    };
    let born = act(None, "vm.one");
    let renamed = act(Some(("vm.one", "vm.two")), "vm.two");
    let again = act(Some(("vm.two", "vm.three")), "vm.three");
    // Another object under the first name is not its past.
    let other = act(None, "vm.one");
    let of = |name: &str| {
        let filter = HistoryFilter { address: Some(address(name)), ..HistoryFilter::default() };
        let entries = history(&state, filter);
        assert!(entries.iter().all(|entry| entry.actions.len() == 1));
        names(&entries)
    };
    assert_eq!(of("vm.three"), [again, renamed, born]);
    assert_eq!(of("vm.two"), [renamed, born]);
    assert_eq!(of("vm.one"), [other, born]);
}

#[test]
fn stores_are_met_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let (one, two) = (StoreId(Uuid::from_u128(1)), StoreId(Uuid::from_u128(2)));
    let origin = Some("https://a:1".to_owned());
    state.record_stores(&[(region("a"), one, origin.clone()), (region("b"), two, None)]).unwrap();
    let known = state.reader().stores().unwrap();
    assert_eq!((known[0].store, known[0].origin.clone()), (one, origin.clone()));
    state.record_stores(&[(region("a"), one, None), (region("b"), two, None)]).unwrap();
    assert_eq!(state.reader().stores().unwrap(), known);
    state.record_stores(&[(region("a"), two, None)]).unwrap();
    assert_eq!(state.recorded().unwrap().stores, BTreeMap::from([(region("a"), two), (region("b"), two)]));
    assert_eq!(state.reader().stores().unwrap()[0].origin, origin);
}

#[test]
fn an_old_topology_is_told_from_the_last_and_from_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(&in_dir(dir.path()));
    let run = state.begin_run(&start("apply")).unwrap();
    let [one, two, three] = ["one", "two", "three"].map(digest);
    let superseded =
        |state: &State| [&one, &two, &three].map(|topology| state.reader().is_superseded(topology).unwrap());
    assert_eq!(superseded(&state), [false, false, false]);
    state.record_topology(&one, run).unwrap();
    state.record_topology(&two, run).unwrap();
    assert_eq!(superseded(&state), [true, false, false]);
    assert_eq!(state.recorded().unwrap().topology, Some(two));
    // Somebody went back on purpose.
    state.record_topology(&one, run).unwrap();
    assert_eq!(superseded(&state), [false, true, false]);
    let applied = state.reader().topologies().unwrap();
    assert_eq!(applied.iter().map(|topology| topology.digest).collect::<Vec<_>>(), [one, two]);
}
