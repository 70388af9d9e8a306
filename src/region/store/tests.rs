//! Records against a real database in a directory of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::failover::{Control, Refusal};
use crate::live::port::PeerRecords;
use crate::model::digest::Digest;
use crate::model::point::{Outline, Point, PointKind, PointState};
use crate::model::policy::Policy;
use crate::model::region::{Authority, Epoch, Identity, Record, RecordChange, RecordWrite, Role};
use crate::model::sighting::{Met, Sighting};
use crate::model::topology::{PairSpec, RegionSpec, ResourceSpec, Spec};
use crate::model::work::Link;
use crate::model::{
    Address, ByteCount, Clock, Lineage, OperationId, RegionId, ResourceKey, ResourceType, Seat, StoreId, Timestamp,
};
use crate::replica::catalog::{
    Catalog, CatalogChange, CatalogError, KeptEntry, KeptManifest, Ledger, PointRecord, Standing,
};
use crate::replica::manifest::{Entry, Node};

fn id(text: &str) -> RegionId {
    text.parse().unwrap()
}

fn identity() -> Identity {
    Identity { region_id: id("west"), store: StoreId(Uuid::from_u128(7)) }
}

fn open(dir: &Path) -> Store {
    let (store, kept) = Store::found(&dir.join("region.db"), &identity()).unwrap();
    assert_eq!(kept, identity().store);
    store
}

fn authority(operation: u128) -> Authority {
    Authority {
        lineage: Lineage(Uuid::from_u128(1)),
        term: 1,
        seat: Seat(Uuid::from_u128(2)),
        place: "ops@host:/infra/state.db".to_owned(),
        operation: OperationId(Uuid::from_u128(operation)),
    }
}

fn vm(labels: &[(&str, &str)]) -> ResourceSpec {
    ResourceSpec {
        primary: id("east"),
        replicas: BTreeSet::from([id("west")]),
        depends_on: BTreeSet::new(),
        max_lag: None,
        allowed_regions: BTreeMap::new(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    }
}

fn write(spec: Spec) -> RecordWrite {
    RecordWrite { spec, managed_by: Some(authority(0).lineage), store: None, holder: None, former_id: None }
}

fn put(address: &str, expected: Option<Digest>, spec: Spec) -> RecordChange {
    RecordChange { address: address.parse().unwrap(), expected, record: Some(write(spec)) }
}

fn create_vm(address: &str) -> RecordChange {
    put(address, None, Spec::Resource(vm(&[])))
}

fn region_spec(region: &str) -> Spec {
    Spec::Region(Box::new(RegionSpec {
        name: region.to_owned(),
        location: region.to_owned(),
        api_endpoint: "file:x".to_owned(),
        primary: false,
        capacity_vms: 1000,
        labels: BTreeMap::new(),
        policy: Policy::default(),
    }))
}

fn pair_spec(interval: u64) -> Spec {
    Spec::Replication(PairSpec {
        resource_types: BTreeSet::from([ResourceType::Vm]),
        sync_interval: std::time::Duration::from_secs(interval),
        batch_size: 100,
        priority: 1,
        enabled: true,
        bidirectional: false,
        compression: true,
        bandwidth_limit: None,
        paused: false,
    })
}

fn record_lying(
    store: &Store,
    authority: &Authority,
    changes: &[RecordChange],
    lies: &dyn Fn(&ResourceKey) -> bool,
) -> Result<(), StoreError> {
    let identity = identity();
    store.record(&Ground { identity: &identity, at: Timestamp::from_micros(5), lies }, authority, changes)
}

fn record(store: &Store, authority: &Authority, changes: &[RecordChange]) -> Result<(), StoreError> {
    record_lying(store, authority, changes, &|_| true)
}

fn kept(store: &Store, key: &str) -> KeptResource {
    store.resource(&key.parse().unwrap()).unwrap().unwrap()
}

fn print(store: &Store, key: &str) -> Digest {
    Record::Resource(kept(store, key).record).fingerprint()
}

#[test]
fn what_is_recorded_is_read_back_and_the_serial_grows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let changes = [
        RecordChange {
            record: Some(RecordWrite { store: Some(identity().store), ..write(region_spec("west")) }),
            ..put("region.west", None, region_spec("west"))
        },
        put("region.east", None, region_spec("east")),
        put("replication.east.west", None, pair_spec(300)),
        create_vm("vm.web-1"),
    ];
    record(&store, &authority(1), &changes).unwrap();
    drop(store);
    let records = Store::open_reading(&dir.path().join("region.db"), &identity()).unwrap().records().unwrap();
    assert_eq!((records.serial, records.highest_epoch), (1, Epoch(1)));
    assert_eq!(records.controller.as_ref().map(|c| (c.lineage, c.term)), Some((authority(0).lineage, 1)));
    assert_eq!(records.regions[&id("west")].store, Some(identity().store));
    assert_eq!(records.regions[&id("east")].store, None);
    let region = Record::Region(Box::new(records.regions[&id("east")].clone()));
    assert_eq!(region.spec().fingerprint(), region_spec("east").fingerprint());
    assert_eq!(records.pairs.len(), 1);
    let vm = &records.resources[&"vm.web-1".parse::<ResourceKey>().unwrap()].record;
    assert_eq!((vm.role, &vm.holder, vm.epoch), (Role::Replica, &id("east"), Epoch(1)));
}

#[test]
fn a_change_counts_only_if_the_record_is_as_expected_and_all_or_none_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    record(&store, &authority(1), &[create_vm("vm.a")]).unwrap();
    let before = store.records().unwrap();
    let stale = put("vm.a", Some(Digest::of(b"another")), Spec::Resource(vm(&[("tier", "web")])));
    let error = record(&store, &authority(2), &[create_vm("vm.b"), stale]).unwrap_err();
    let StoreError::Conflict { address, current, .. } = &error else { panic!("{error}") };
    assert_eq!((address.as_str(), *current), ("vm.a", Some(print(&store, "vm.a"))));
    assert_eq!(store.records().unwrap(), before, "nothing of a refused request stays");
    // There must be none, and there is one; there must be one, and there is none.
    assert!(matches!(record(&store, &authority(3), &[create_vm("vm.a")]), Err(StoreError::Conflict { .. })));
    let gone = put("vm.c", Some(Digest::of(b"x")), Spec::Resource(vm(&[])));
    assert!(matches!(record(&store, &authority(4), &[gone]), Err(StoreError::Conflict { current: None, .. })));
    let right = put("vm.a", Some(print(&store, "vm.a")), Spec::Resource(vm(&[("tier", "web")])));
    record(&store, &authority(5), &[right]).unwrap();
    assert_eq!(kept(&store, "vm.a").record.spec, vm(&[("tier", "web")]));
    assert_eq!(store.records().unwrap().serial, before.serial + 1);
}

#[test]
fn a_repeat_answers_as_the_first_time_and_does_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let create = [create_vm("vm.a")];
    record(&store, &authority(1), &create).unwrap();
    let remove = RecordChange { address: "vm.a".parse().unwrap(), expected: Some(print(&store, "vm.a")), record: None };
    record(&store, &authority(2), &[remove]).unwrap();
    let serial = store.records().unwrap().serial;
    // The first request again, long after: it was done once, and once only.
    record(&store, &authority(1), &create).unwrap();
    let after = store.records().unwrap();
    assert_eq!((after.serial, after.resources.len()), (serial, 0));
    // The same operation with something else to do is another request.
    record(&store, &authority(1), &[create_vm("vm.b")]).unwrap();
    assert_eq!(store.records().unwrap().resources.len(), 1);
}

#[test]
fn only_the_controller_touches_roles_and_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pair = || put("replication.east.west", None, pair_spec(60));
    record(&store, &authority(1), &[create_vm("vm.a"), put("region.east", None, region_spec("east"))]).unwrap();
    let strangers = [
        Authority { lineage: Lineage(Uuid::from_u128(9)), ..authority(2) },
        Authority { term: 2, ..authority(3) },
        Authority { seat: Seat(Uuid::from_u128(9)), ..authority(4) },
    ];
    for stranger in &strangers {
        let removal =
            RecordChange { address: "vm.a".parse().unwrap(), expected: Some(print(&store, "vm.a")), record: None };
        for change in [create_vm("vm.b"), put("region.north", None, region_spec("north")), removal] {
            let refused = record(&store, stranger, &[pair(), change]);
            let Err(StoreError::NotController(controller)) = refused else { panic!("{refused:?}") };
            assert_eq!(controller.place, "ops@host:/infra/state.db");
        }
        // Attributes of what lives, and pairs, are no roles.
        let update =
            put("vm.a", Some(print(&store, "vm.a")), Spec::Resource(vm(&[("by", &stranger.term.to_string())])));
        record(&store, stranger, &[update]).unwrap();
    }
    record(&store, &strangers[0], &[pair()]).unwrap();
}

#[test]
fn the_book_is_read_again_only_where_something_was_written_by_whomever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let book = || store.book(&identity()).unwrap();
    let first = book();
    assert!(Arc::ptr_eq(&first, &book()), "nothing was written");
    let refused: Result<Result<(), ()>, _> = store.change_book(&identity(), None, |book| {
        book.serial += 1;
        Err(())
    });
    assert_eq!(refused.unwrap(), Err(()));
    store.change_book(&identity(), None, |_| Ok::<_, ()>(())).unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &book()), "a change that was refused, and one that changes nothing, write nothing");
    record(&store, &authority(1), &[create_vm("vm.web-1")]).unwrap();
    let second = book();
    assert!(second.parts.contains_key(&"vm.web-1".parse().unwrap()) && second.serial > first.serial);
    let other = Store::open_writing(&dir.path().join("region.db"), &identity()).unwrap();
    record(&other, &authority(2), &[create_vm("vm.web-2")]).unwrap();
    assert!(book().parts.contains_key(&"vm.web-2".parse().unwrap()), "somebody else wrote it");
    assert_eq!(*book(), *other.book(&identity()).unwrap());
}

#[test]
fn a_living_resource_keeps_its_role_whatever_is_declared() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let living = RecordChange {
        record: Some(RecordWrite { holder: Some((id("west"), Epoch(4))), ..write(Spec::Resource(vm(&[]))) }),
        ..create_vm("vm.a")
    };
    record(&store, &authority(1), &[living]).unwrap();
    let found = kept(&store, "vm.a").record;
    assert_eq!((found.role, found.epoch), (Role::Holder, Epoch(4)), "it lives here already, wherever it was born");
    assert_eq!(store.records().unwrap().highest_epoch, Epoch(4));
    let update = RecordChange {
        record: Some(RecordWrite { holder: Some((id("east"), Epoch(9))), ..write(Spec::Resource(vm(&[("a", "b")]))) }),
        ..put("vm.a", Some(print(&store, "vm.a")), Spec::Resource(vm(&[])))
    };
    record(&store, &authority(2), &[update]).unwrap();
    let after = kept(&store, "vm.a").record;
    assert_eq!((after.role, after.holder, after.epoch), (Role::Holder, id("west"), Epoch(4)));
    // What has nothing to do with this region is not born here.
    let elsewhere = ResourceSpec { replicas: BTreeSet::from([id("north")]), ..vm(&[]) };
    let foreign = put("vm.b", None, Spec::Resource(elsewhere));
    assert!(matches!(record(&store, &authority(3), &[foreign]), Err(StoreError::Refused { .. })));
}

#[test]
fn names_are_unique_and_holders_stay_in_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    record(&store, &authority(1), &[create_vm("vm.a"), put("region.east", None, region_spec("east"))]).unwrap();
    let twice = record(&store, &authority(2), &[create_vm("config.a")]).unwrap_err();
    assert!(twice.to_string().contains("vm.a is recorded here"), "{twice}");
    let east = store.records().unwrap().regions[&id("east")].clone();
    let remove = RecordChange {
        address: "region.east".parse().unwrap(),
        expected: Some(Record::Region(Box::new(east)).fingerprint()),
        record: None,
    };
    let refused = record(&store, &authority(3), std::slice::from_ref(&remove)).unwrap_err();
    assert!(refused.to_string().contains("region east holds vm.a"), "{refused}");
    let forget = RecordChange { address: "vm.a".parse().unwrap(), expected: Some(print(&store, "vm.a")), record: None };
    record(&store, &authority(4), &[forget, remove]).unwrap();
    let other = RecordWrite { store: Some(StoreId(Uuid::from_u128(8))), ..write(region_spec("west")) };
    let own = RecordChange { record: Some(other), ..put("region.west", None, region_spec("west")) };
    assert!(matches!(record(&store, &authority(5), &[own]), Err(StoreError::Refused { .. })));
}

#[test]
fn a_record_that_cannot_be_read_means_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    record(&store, &authority(1), &[create_vm("vm.a"), create_vm("vm.b"), create_vm("vm.c")]).unwrap();
    store
        .write(|transaction, of| {
            for sql in [
                "UPDATE resources SET role = 'emperor' WHERE id = 'a'",
                "UPDATE resources SET spec = '{' WHERE id = 'b'",
                "UPDATE region SET highest_epoch = 6",
            ] {
                transaction.execute(sql, []).map_err(of)?;
            }
            Ok(())
        })
        .unwrap();
    for key in ["vm.a", "vm.b"] {
        let found = kept(&store, key).record;
        assert_eq!((found.role, found.epoch), (Role::Fenced, Epoch(6)), "{key}");
    }
    assert_eq!(kept(&store, "vm.c").record.role, Role::Replica);
    assert_eq!(store.records().unwrap().resources.len(), 3);
    // It is still recorded: nobody may bear it anew.
    assert!(matches!(record(&store, &authority(2), &[create_vm("vm.a")]), Err(StoreError::Conflict { .. })));
}

#[test]
fn control_is_taken_with_a_higher_term_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let of = |term: u64, seat: u128| Authority { term, seat: Seat(Uuid::from_u128(seat)), ..authority(1) };
    let taken = |term, seat| {
        let control = Control::TakeOver { authority: of(term, seat) };
        store.obey(&identity(), &control, &PeerRecords::default(), &BTreeSet::new()).unwrap()
    };
    taken(2, 5).unwrap();
    let serial = store.records().unwrap().serial;
    taken(2, 5).unwrap();
    assert_eq!(store.records().unwrap().serial, serial, "a repeat changes nothing");
    for (term, seat) in [(1, 6), (2, 6)] {
        let refusal = taken(term, seat).unwrap_err();
        assert!(matches!(&refusal, Refusal::NotController(Some(known)) if known.term == 2), "{refusal}");
    }
    taken(3, 6).unwrap();
    assert!(matches!(record(&store, &of(2, 5), &[create_vm("vm.a")]), Err(StoreError::NotController(_))));
    record(&store, &of(3, 6), &[create_vm("vm.a")]).unwrap();
}

fn rename(from: &str, to: &str, expected: Option<Digest>) -> RecordChange {
    RecordChange {
        record: Some(RecordWrite { former_id: Some(from.parse().unwrap()), ..write(Spec::Resource(vm(&[]))) }),
        ..put(to, expected, Spec::Resource(vm(&[])))
    }
}

#[test]
fn a_rename_takes_role_and_points_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    record(&store, &authority(1), &[create_vm("vm.old")]).unwrap();
    let catalog = RegionCatalog::own(Arc::clone(&store));
    catalog.commit(&"vm.old".parse().unwrap(), &[point(1)]).unwrap();
    let before = kept(&store, "vm.old").record;
    let print = Record::Resource(before.clone()).fingerprint();
    assert!(matches!(
        record(&store, &authority(2), &[rename("old", "vm.new", Some(Digest::of(b"other")))]),
        Err(StoreError::Conflict { .. })
    ));
    record(&store, &authority(3), &[rename("old", "vm.new", Some(print))]).unwrap();
    let after = kept(&store, "vm.new");
    assert_eq!((after.record, after.former_id, after.moving), (before, Some("old".parse().unwrap()), true));
    assert_eq!(store.resource(&"vm.old".parse().unwrap()).unwrap(), None);
    assert_eq!(catalog.load(&"vm.new".parse().unwrap()).unwrap().points.len(), 1);
    assert!(catalog.manifest(&"vm.new".parse().unwrap(), 1).is_ok());
    let pending = store.pending_renames().unwrap();
    assert_eq!(pending.len(), 1);
    assert!(pending[0].files, "a replica's files move");
    store.renamed(&pending[0]).unwrap();
    assert_eq!(kept(&store, "vm.new").former_id, None);
    assert_eq!(store.pending_renames().unwrap(), []);
}

#[test]
fn at_the_holder_the_directory_stays_and_nobody_else_may_move_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let born_here = ResourceSpec { primary: id("west"), replicas: BTreeSet::from([id("east")]), ..vm(&[]) };
    let create = |address: &str| put(address, None, Spec::Resource(born_here.clone()));
    record(&store, &authority(1), &[create("vm.a")]).unwrap();
    record(&store, &authority(2), &[rename("a", "vm.b", None)]).unwrap();
    let pending = store.pending_renames().unwrap().remove(0);
    assert!(!pending.files);
    store.renamed(&pending).unwrap();
    assert_eq!(kept(&store, "vm.b").former_id, Some("a".parse().unwrap()));
    // A second rename goes on naming the directory that is really there.
    let only_a = |key: &ResourceKey| key.id.as_str() == "a";
    record_lying(&store, &authority(3), &[rename("b", "vm.c", None)], &only_a).unwrap();
    assert_eq!(kept(&store, "vm.c").former_id, Some("a".parse().unwrap()));
    store.renamed(&store.pending_renames().unwrap().remove(0)).unwrap();
    let refused = record_lying(&store, &authority(4), &[create("vm.a")], &only_a).unwrap_err();
    assert!(refused.to_string().contains("the files of vm.c still lie in the directory of vm.a"), "{refused}");
    record_lying(&store, &authority(5), &[create("vm.a")], &|_| true).unwrap();
}

fn point(sequence: u64) -> CatalogChange {
    let at = Timestamp::from_micros(10);
    let record = PointRecord {
        point: Point {
            sequence,
            name: None,
            data_hash: Digest::of(b"data"),
            read_at: at,
            verified_at: at,
            source: id("east"),
            epoch: Epoch(1),
            kind: PointKind::Quiet,
            state: PointState::Complete,
            bytes: ByteCount(1),
            files: 1,
        },
        source_stamp: None,
        outline: Outline::default(),
        standing: Standing::Published,
        base: None,
        adopted: false,
    };
    CatalogChange::Point { record: Box::new(record), manifest: Some(KeptManifest::default()) }
}

#[test]
fn the_ledger_is_kept_and_a_stale_order_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let key: ResourceKey = "vm.a".parse().unwrap();
    let living = RecordChange {
        record: Some(RecordWrite { holder: Some((id("east"), Epoch(3))), ..write(Spec::Resource(vm(&[]))) }),
        ..create_vm("vm.a")
    };
    record(&store, &authority(1), &[living]).unwrap();
    let serial = store.records().unwrap().serial;
    let clock: Arc<dyn Clock> = crate::host::world().clock;
    let bound = RegionCatalog::bound(Arc::clone(&store), Epoch(3), Arc::clone(&clock));
    let counters = CatalogChange::Counters { next_sequence: 2, next_file: 9 };
    bound.commit(&key, &[point(1), counters]).unwrap();
    let later = Timestamp::from_micros(20);
    bound.commit(&key, &[CatalogChange::Verified { sequence: 1, at: later }]).unwrap();
    bound.commit(&key, &[CatalogChange::Verified { sequence: 1, at: Timestamp::from_micros(15) }]).unwrap();
    let found = bound.load(&key).unwrap();
    assert_eq!((found.next_sequence, found.next_file), (2, 9));
    assert_eq!(found.points[&1].point.verified_at, later, "it never goes back");
    let stale = RegionCatalog::bound(Arc::clone(&store), Epoch(2), clock);
    let error = stale.commit(&key, &[CatalogChange::RemovePoint { sequence: 1 }]).unwrap_err();
    assert!(matches!(error, CatalogError::Stale { ordered: Epoch(2), recorded: Epoch(3) }), "{error}");
    assert_eq!(bound.load(&key).unwrap(), found);
    assert_eq!(store.records().unwrap().serial, serial, "points are no roles");
    bound.commit(&key, &[CatalogChange::RemovePoint { sequence: 1 }]).unwrap();
    assert!(matches!(bound.manifest(&key, 1), Err(CatalogError::NoPoint { .. })));
    // Removing the record keeps what is known of the points.
    let forget =
        RecordChange { address: Address::Resource(key.clone()), expected: Some(print(&store, "vm.a")), record: None };
    record(&store, &authority(2), &[forget]).unwrap();
    assert_eq!(bound.load(&key).unwrap().next_sequence, 2);
}

/// A clock that is where it was set.
#[derive(Debug)]
struct Set(std::sync::atomic::AtomicI64);

impl Set {
    fn to_minute(&self, minute: i64) -> Timestamp {
        self.0.store(minute * 60_000_000, std::sync::atomic::Ordering::SeqCst);
        self.now()
    }
}

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn since_boot(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

#[test]
fn copies_of_the_last_hour_are_counted_with_what_makes_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let key: ResourceKey = "vm.a".parse().unwrap();
    let clock = Arc::new(Set(0.into()));
    let bound = RegionCatalog::bound(Arc::clone(&store), Epoch(1), Arc::clone(&clock) as Arc<dyn Clock>);
    let lately = |minute| store.copies_lately(clock.to_minute(minute)).unwrap();
    assert_eq!(lately(1000), 0);
    bound.commit(&key, &[point(1), CatalogChange::Copied]).unwrap();
    bound.commit(&key, &[CatalogChange::Copied]).unwrap();
    bound.commit(&key, &[CatalogChange::Refusal(None)]).unwrap();
    assert_eq!(lately(1000), 2);
    clock.to_minute(1030);
    bound.commit(&key, &[CatalogChange::Copied]).unwrap();
    assert_eq!([lately(1059), lately(1060), lately(1089), lately(1090)], [3, 1, 1, 0]);
    // Nothing counts that was not made.
    clock.to_minute(1030);
    let nothing = CatalogChange::Verified { sequence: 9, at: clock.now() };
    bound.commit(&key, &[CatalogChange::Copied, nothing]).unwrap_err();
    RegionCatalog::own(Arc::clone(&store)).commit(&key, &[CatalogChange::Copied]).unwrap();
    assert_eq!(lately(1030), 3);
    // A clock that was ahead says nothing of the present.
    clock.to_minute(9000);
    bound.commit(&key, &[CatalogChange::Copied]).unwrap();
    clock.to_minute(2000);
    bound.commit(&key, &[CatalogChange::Copied]).unwrap();
    assert_eq!([lately(2000), lately(9000)], [1, 0]);
}

/// A point with a number of its own, as far as its record tells.
fn numbered(sequence: u64, standing: Standing, state: PointState) -> PointRecord {
    let CatalogChange::Point { record, .. } = point(sequence) else { unreachable!() };
    PointRecord { standing, point: Point { state, ..record.point.clone() }, ..*record }
}

/// What a ledger must say, counted over the records themselves.
fn counted(catalog: &RegionCatalog, key: &ResourceKey) -> Ledger {
    let record = catalog.load(key).unwrap();
    Ledger {
        newest: record.newest().cloned(),
        manifest: None,
        complete: record.newest_complete().cloned(),
        points: record.chain().filter(|point| point.point.state == PointState::Complete).count() as u32,
        set_aside: record.set_aside().count() as u32,
        receiving: record.receiving.clone(),
        refusal: record.refusal.clone(),
    }
}

#[test]
fn a_ledger_tells_the_newest_points_whatever_lies_around_them() {
    use PointState::{Complete, Damaged, SetAside, SetAsideDamaged};
    use Standing::{Dropping, Published, Sealed};
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let catalog = RegionCatalog::own(Arc::clone(&store));
    let stories: [&[(Standing, PointState)]; 8] = [
        &[],
        &[(Published, Complete)],
        &[(Sealed, Complete)],
        &[(Published, Complete), (Published, Complete), (Sealed, Complete)],
        &[(Published, Complete), (Published, Damaged), (Published, SetAside)],
        &[(Published, Damaged)],
        &[(Published, SetAside), (Published, SetAsideDamaged)],
        &[(Dropping, Complete), (Published, Complete), (Dropping, SetAside), (Dropping, Complete)],
    ];
    let mut keys: Vec<ResourceKey> = Vec::new();
    for (number, story) in stories.iter().enumerate() {
        let key: ResourceKey = format!("vm.story-{number}").parse().unwrap();
        for (sequence, (standing, state)) in (1..).zip(*story) {
            let record = Box::new(numbered(sequence, *standing, *state));
            catalog.commit(&key, &[CatalogChange::Point { record, manifest: None }]).unwrap();
        }
        keys.push(key);
    }
    let (_, ledgers) = store.everything().unwrap();
    for key in &keys {
        assert_eq!(ledgers.get(key).cloned().unwrap_or_default(), counted(&catalog, key), "{key}");
    }
    assert_eq!(ledgers[&keys[4]].complete.as_ref().unwrap().point.sequence, 1, "the newest one is damaged");
    // It follows what becomes of a point.
    let grown = Box::new(numbered(3, Published, Complete));
    catalog.commit(&keys[3], &[CatalogChange::Point { record: grown, manifest: None }]).unwrap();
    assert_eq!(store.everything().unwrap().1[&keys[3]].newest.as_ref().unwrap().point.sequence, 3);
    catalog.commit(&keys[3], &[CatalogChange::RemovePoint { sequence: 3 }]).unwrap();
    assert_eq!(store.everything().unwrap().1[&keys[3]], counted(&catalog, &keys[3]));
    // What a newer program says of a point may be anything: it is no point that can be left out.
    for strange in ["{\"standing\":\"pinned\",\"point\":{\"state\":\"complete\"}}", "{", "[]"] {
        let change = |transaction: &rusqlite::Transaction<'_>, of: &dyn Fn(rusqlite::Error) -> StoreError| {
            let sql = "INSERT OR REPLACE INTO points (resource, sequence, record) VALUES ('vm.story-1', 0, ?1)";
            transaction.execute(sql, [strange]).map(drop).map_err(of)
        };
        store.write(change).unwrap();
        let error = store.everything().unwrap_err();
        assert!(error.to_string().contains("point 0 of vm.story-1"), "{strange}: {error}");
    }
}

#[test]
fn a_database_of_the_first_version_is_read_as_it_is_and_brought_up_to_date_by_a_writer() {
    use crate::host::sqlite::{self, Mode};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region.db");
    let records = [
        numbered(4, Standing::Published, PointState::Complete),
        numbered(5, Standing::Published, PointState::Damaged),
        numbered(6, Standing::Sealed, PointState::Complete),
    ];
    {
        let old = sqlite::open(&path, schema::APPLICATION_ID, &schema::MIGRATIONS[..1], Mode::Create).unwrap();
        let head = "INSERT INTO region (one, region_id, store, serial, highest_epoch) VALUES (1, 'west', ?1, 3, 1)";
        old.execute(head, [identity().store.to_string()]).unwrap();
        for record in &records {
            let row = (record.point.sequence as i64, serde_json::to_string(record).unwrap());
            old.execute("INSERT INTO points (resource, sequence, record) VALUES ('vm.a', ?1, ?2)", row).unwrap();
        }
    }
    let key: ResourceKey = "vm.a".parse().unwrap();
    let before = std::fs::read(&path).unwrap();
    let seen = |store: &Store| store.everything().unwrap().1[&key].clone();
    let read = seen(&Store::open_reading(&path, &identity()).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), before, "a look changes nothing");
    let number = |record: &Option<PointRecord>| record.as_ref().map(|record| record.point.sequence);
    assert_eq!(
        (number(&read.newest), number(&read.complete), read.points),
        (Some(5), Some(4), 1),
        "what is damaged cannot be given back"
    );
    let store = Arc::new(Store::open_writing(&path, &identity()).unwrap());
    assert_eq!(seen(&store), read);
    let catalog = RegionCatalog::own(store);
    catalog.commit(&key, &[point(7)]).unwrap();
    let after = seen(&Store::open_reading(&path, &identity()).unwrap());
    assert_eq!((number(&after.newest), number(&after.complete), after.points), (Some(7), Some(7), 2));
}

#[test]
fn a_list_of_many_files_is_kept_in_parts_and_given_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let key: ResourceKey = "vm.a".parse().unwrap();
    let catalog = RegionCatalog::own(Arc::clone(&store));
    let entry = |number: usize| KeptEntry {
        entry: Entry { path: format!("{number:05}"), node: Node::Directory, mode: 0o755, mtime_ns: 1, owner: (0, 0) },
        file: None,
        lies: None,
    };
    for (count, parts) in [(2500, 3), (1, 1), (0, 1)] {
        let list = KeptManifest { entries: (0..count).map(entry).collect() };
        let CatalogChange::Point { record, .. } = point(1) else { unreachable!() };
        catalog.commit(&key, &[CatalogChange::Point { record, manifest: Some(list.clone()) }]).unwrap();
        assert_eq!(catalog.manifest(&key, 1).unwrap(), list);
        assert_eq!(store.everything_listed().unwrap().1[&key].manifest, Some(list));
        assert_eq!(store.everything().unwrap().1[&key].manifest, None, "only where files are looked at");
        let rows = rusqlite::Connection::open(dir.path().join("region.db")).unwrap();
        let rows: i64 = rows.query_row("SELECT count(*) FROM manifests", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, parts, "of {count} entries");
    }
}

#[test]
fn a_database_goes_with_its_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region.db");
    let store = open(dir.path());
    // An unfinished founding is taken up with the store that it began with.
    let again = Identity { store: StoreId(Uuid::from_u128(99)), ..identity() };
    assert_eq!(Store::found(&path, &again).unwrap().1, identity().store);
    assert!(matches!(Store::open_reading(&path, &again), Err(StoreError::OtherStore { .. })));
    record(&store, &authority(1), &[create_vm("vm.a")]).unwrap();
    let orphan = Store::found(&path, &again).unwrap_err();
    assert!(orphan.to_string().contains("lost its .debvisor/region.json"), "{orphan}");
}

#[test]
fn what_was_seen_survives_and_is_forgotten_with_its_region() {
    let dir = tempfile::tempdir().unwrap();
    let at = |seconds: i64| Some(Timestamp::from_micros(seconds * 1_000_000));
    let seen = Sighting {
        met: Met::Silent,
        probed_at: at(9),
        seen_at: at(1),
        latency: Some(std::time::Duration::from_micros(1250)),
        silent_since: at(5),
        failures: 4,
        counted_at: at(8),
        failure: Some("refused".to_owned()),
        returned_at: at(2),
    };
    let all = BTreeMap::from([(id("east"), seen), (id("north"), Sighting::default())]);
    let mut link = Link::default();
    assert!(link.add(ByteCount::mib(8), std::time::Duration::from_secs(1)));
    {
        let store = open(dir.path());
        store.keep_sightings(&all, &[]).unwrap();
        store.keep_link(&id("north"), &link).unwrap();
    }
    let store = Store::open_writing(&dir.path().join("region.db"), &identity()).unwrap();
    assert_eq!(store.sightings().unwrap(), all);
    assert_eq!(store.links().unwrap(), BTreeMap::from([(id("north"), link)]));
    store.keep_sightings(&BTreeMap::new(), &[id("north")]).unwrap();
    assert_eq!(store.sightings().unwrap().keys().collect::<Vec<_>>(), [&id("east")]);
    assert!(store.links().unwrap().is_empty());
}
