//! A lost state learnt again.

use super::*;
use crate::model::StoreId;
use crate::model::policy::Policy;
use crate::model::region::{Epoch, Identity, PairRecord, RegionRecord, RegionSnapshot, ResourceRecord, Role};
use crate::model::topology::RegionSpec;

fn store(n: u128) -> StoreId {
    StoreId(Uuid::from_u128(n))
}

fn region_spec(id: &str) -> RegionSpec {
    RegionSpec {
        name: id.into(),
        location: id.into(),
        api_endpoint: format!("file:{id}"),
        primary: id == "a",
        capacity_vms: 1000,
        labels: BTreeMap::new(),
        policy: Policy::default(),
    }
}

fn resource(spec: Spec, managed_by: Option<Lineage>) -> ResourceRecord {
    let Spec::Resource(spec) = spec else { panic!("not a resource") };
    let holder = spec.primary.clone();
    ResourceRecord { spec, managed_by, role: Role::Replica, holder, epoch: Epoch::BIRTH, attempt: 0, operation: None }
}

/// A region with store `n` that knows regions a and b, the pair and `vm.one`, all of lineage 1.
fn snapshot(id: &str, n: u128) -> RegionSnapshot {
    let ours = Some(lineage(1));
    let mut snapshot = RegionSnapshot::vacant(BTreeMap::new(), ByteCount(0));
    snapshot.identity = Some(Identity { region_id: region(id), store: store(n) });
    snapshot.regions = ["a", "b"]
        .map(|id| (region(id), RegionRecord { spec: region_spec(id), store: Some(store(90)), managed_by: ours }))
        .into();
    let Address::Replication(ends) = address("replication.a.b") else { panic!() };
    let Spec::Replication(settings) = pair(1) else { panic!() };
    snapshot.pairs = BTreeMap::from([(ends, PairRecord { spec: settings, managed_by: ours })]);
    snapshot.resources = BTreeMap::from([("vm.one".parse().unwrap(), resource(vm("a"), ours))]);
    snapshot
}

fn both() -> BTreeMap<RegionId, RegionSnapshot> {
    BTreeMap::from([(region("a"), snapshot("a", 1)), (region("b"), snapshot("b", 2))])
}

#[test]
fn regions_give_back_objects_stores_and_lineage() {
    let learnt = Rebuild::learn(&both(), None).unwrap();
    assert_eq!(learnt.lineage, lineage(1));
    assert_eq!(learnt.stores, BTreeMap::from([(region("a"), store(1)), (region("b"), store(2))]));
    assert_eq!(
        learnt.objects.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["region.a", "region.b", "replication.a.b", "vm.one"]
    );
    assert_eq!(learnt.objects[&address("vm.one")], applied(vm("a"), &["a", "b"]));
    assert!(learnt.differing.is_empty());
    // Of a region that does not answer, its peers know the store.
    let mut one = both();
    one.remove(&region("b"));
    let learnt = Rebuild::learn(&one, None).unwrap();
    assert_eq!(learnt.stores[&region("b")], store(90));
    assert_eq!(learnt.objects[&address("vm.one")].regions, BTreeSet::from([region("a")]));
}

#[test]
fn where_regions_differ_most_of_them_decide() {
    let mut three = both();
    three.insert(region("c"), snapshot("c", 3));
    let other = resource(vm("z"), Some(lineage(1)));
    three.get_mut(&region("a")).unwrap().resources.insert("vm.one".parse().unwrap(), other);
    let learnt = Rebuild::learn(&three, None).unwrap();
    assert_eq!(learnt.objects[&address("vm.one")], applied(vm("a"), &["b", "c"]));
    assert_eq!(learnt.differing, BTreeSet::from([address("vm.one")]));
}

#[test]
fn another_lineage_has_to_be_chosen_and_is_kept_apart() {
    let mut mixed = both();
    let theirs = mixed.get_mut(&region("b")).unwrap();
    theirs.resources.insert("vm.two".parse().unwrap(), resource(vm("a"), Some(lineage(2))));
    theirs.resources.insert("vm.by-hand".parse().unwrap(), resource(vm("a"), None));
    let error = Rebuild::learn(&mixed, None).unwrap_err();
    let StateError::ManyLineages { found } = &error else { panic!("{error:?}") };
    assert_eq!(found.len(), 2);
    assert!(error.to_string().contains(&lineage(2).to_string()) && error.to_string().contains("in a, b"), "{error}");
    let chosen = Rebuild::learn(&mixed, Some(lineage(2))).unwrap();
    assert_eq!(chosen.objects.into_keys().collect::<Vec<_>>(), [address("vm.two")]);
    let chosen = Rebuild::learn(&mixed, Some(lineage(1))).unwrap();
    assert_eq!(chosen.objects.len(), 4);
    let unknown = Rebuild::learn(&mixed, Some(lineage(3))).unwrap_err();
    assert!(matches!(unknown, StateError::NothingManaged { lineage: Some(_) }));
    let vacant = BTreeMap::from([(region("a"), RegionSnapshot::vacant(BTreeMap::new(), ByteCount(0)))]);
    assert!(matches!(Rebuild::learn(&vacant, None), Err(StateError::NothingManaged { lineage: None })));
}

#[test]
fn a_state_is_made_anew_and_has_no_seat() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_dir(dir.path());
    let learnt = Rebuild::learn(&both(), None).unwrap();
    // In the place of one that only refused: its history stays, its lineage and seat do not.
    let mut state = file.lock(&holder("apply")).unwrap().open(&world(), &host(), lineage(9)).unwrap();
    let run = state.begin_run(&start("apply")).unwrap();
    state.record_topology(&digest("one"), run).unwrap();
    state.finish_run(run, &end(RunOutcome::Refused, 5)).unwrap();
    state.take_seat(4).unwrap();
    drop(state);
    let state = file.lock(&holder("state rebuild")).unwrap().rebuild(&world(), &host(), &learnt).unwrap();
    let recorded = state.recorded().unwrap();
    assert_eq!((recorded.lineage, recorded.serial, recorded.existed), (lineage(1), 1, true));
    assert_eq!((&recorded.objects, &recorded.stores), (&learnt.objects, &learnt.stores));
    assert_eq!((recorded.topology, state.seating().unwrap()), (None, None));
    assert_eq!(names(&history(&state, HistoryFilter::default())), [run]);
    drop(state);
    let error = file.lock(&holder("state rebuild")).unwrap().rebuild(&world(), &host(), &learnt).unwrap_err();
    assert!(matches!(error, StateError::Managing { objects: 4, .. }), "{error:?}");
    let fresh = StateFile::new(dir.path().join("other.db"));
    let state = fresh.lock(&holder("state rebuild")).unwrap().rebuild(&world(), &host(), &learnt).unwrap();
    assert_eq!(state.recorded().unwrap(), recorded);
}
