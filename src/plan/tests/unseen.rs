//! Regions of which nothing can be said: never taken for empty, their work deferred, the rest going on.

use super::world::*;
use crate::model::observed::RegionStatus;
use crate::model::region::{Controller, Identity, RegionSnapshot};
use crate::model::{ByteCount, Lineage, Seat, StoreId};
use crate::plan::document::Plan;
use uuid::Uuid;

fn deferred(plan: &Plan, id: &str) -> Vec<String> {
    let found = plan.unobserved.iter().find(|unseen| unseen.region_id == region(id));
    found.into_iter().flat_map(|unseen| &unseen.deferred).map(ToString::to_string).collect()
}

fn reason(plan: &Plan, id: &str) -> String {
    plan.unobserved.iter().find(|unseen| unseen.region_id == region(id)).unwrap().reason.clone()
}

#[test]
fn a_silent_replica_region_defers_its_part_only() {
    let mut world = World::small();
    world.silent.insert(region("c"));
    let plan = world.apply();
    assert_eq!(regions_of(find(&plan, "create:vm.web-1")), ["a", "b"]);
    assert_eq!(regions_of(find(&plan, "create:region.c")), ["a", "b"], "recorded where it can be");
    assert_eq!(deferred(&plan, "c"), ["region.a", "region.b", "region.c", "replication.a.c", "vm.web-1", "vm.web-2"]);
    assert_eq!(plan.summary.sync, 3);
    assert!(!plan.is_settled());

    // Nothing more until it answers; then exactly the rest.
    let plan = world.apply();
    assert_eq!(plan.effects().count(), 0);
    world.silent.clear();
    let plan = world.apply();
    assert_eq!(
        ids(&plan.changes),
        [
            "update:region.a",
            "update:region.b",
            "update:region.c",
            "update:replication.a.c",
            "update:vm.web-1",
            "update:vm.web-2",
            "sync:vm.web-1:c",
            "sync:vm.web-2:c"
        ]
    );
    assert_eq!(regions_of(find(&plan, "update:region.c")), ["a", "b", "c"], "its peers learn its store");
    assert_eq!(find(&plan, "update:vm.web-1").depends_on, ["update:region.c"], "which founds it");
    assert_settled(&world);
}

#[test]
fn a_silent_region_that_has_it_all_defers_only_copies() {
    let mut world = World::settled();
    world.silent.insert(region("c"));
    let plan = world.plan();
    assert_eq!(plan.effects().count(), 0);
    assert_eq!(deferred(&plan, "c"), ["vm.web-1", "vm.web-2"]);
    assert_eq!(plan.regions[2].status, RegionStatus::Unreachable);
    assert_eq!(plan.regions[2].latency_ms, None);
}

#[test]
fn a_change_that_a_region_missed_follows_when_it_answers() {
    let mut world = World::settled();
    world.silent.insert(region("c"));
    world.spec("vm.web-1").labels.insert("tier".into(), "web".into());
    let plan = world.apply();
    assert_eq!(regions_of(find(&plan, "update:vm.web-1")), ["a", "b"]);
    world.silent.clear();
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["update:vm.web-1"]);
    assert_eq!(regions_of(&plan.changes[0]), ["c"]);
    assert_eq!(plan.drift, [], "what was never asked for is no drift");
    assert_settled(&world);
}

#[test]
fn a_silent_holder_defers_its_copies_and_a_silent_birthplace_the_whole_resource() {
    let mut world = World::settled();
    world.topology.resources.insert(key("vm.new"), resource("a", &["b"]));
    world.topology.resources.insert(key("vm.from-b"), resource("b", &["c"]));
    world.topology.pairs.insert(pair("b", "c"), pair_spec());
    world.write_files("b", "vm.from-b", 1);
    world.silent.insert(region("a"));
    let plan = world.apply();
    assert_eq!(
        ids(&plan.changes),
        ["create:replication.b.c", "create:vm.from-b", "sync:vm.from-b:c"],
        "the rest goes on"
    );
    assert_eq!(deferred(&plan, "a"), ["vm.new", "vm.web-1", "vm.web-2", "config.app"]);
    world.silent.clear();
    world.write_files("a", "vm.new", 1);
    world.apply();
    assert_settled(&world);
}

#[test]
fn records_lost_everywhere_in_sight_are_not_born_again() {
    let mut world = World::settled();
    world.silent.insert(region("a"));
    for id in ["b", "c"] {
        world.at(id).resources.remove(&key("vm.web-1"));
    }
    let plan = world.plan();
    assert_eq!(plan.effects().count(), 0, "the unseen region may hold it");
    assert!(deferred(&plan, "a").contains(&"vm.web-1".to_owned()));
    world.silent.clear();
    let plan = world.apply();
    assert_eq!(ids(&plan.drift), ["update:vm.web-1"]);
    assert_eq!(world.record("b", "vm.web-1").holder, region("a"));
}

#[test]
fn a_record_is_mended_by_the_word_of_those_who_know_the_holder() {
    let mut world = World::settled();
    world.fail_over("vm.web-1", "b", 4);
    world.apply();
    world.silent.insert(region("b"));
    world.at("c").resources.remove(&key("vm.web-1"));
    let plan = world.apply();
    assert_eq!(ids(&plan.drift), ["update:vm.web-1"]);
    let record = world.record("c", "vm.web-1");
    assert_eq!((record.holder.clone(), record.epoch.0), (region("b"), 4));
}

#[test]
fn a_replica_does_not_go_while_its_holder_is_out_of_sight() {
    let mut world = World::settled();
    world.spec("vm.web-1").replicas.remove(&region("c"));
    world.edited();
    world.silent.insert(region("a"));
    let plan = world.apply();
    assert_eq!(regions_of(find(&plan, "update:vm.web-1")), ["b"]);
    assert_eq!(find(&plan, "update:vm.web-1").drops, []);
    assert!(deferred(&plan, "a").contains(&"vm.web-1".to_owned()));
    assert!(world.at("c").resources.contains_key(&key("vm.web-1")));
    assert_eq!(world.plan().effects().count(), 0, "until it is seen");
    world.silent.clear();
    let plan = world.apply();
    assert_eq!(find(&plan, "update:vm.web-1").drops, [region("c")]);
    assert_settled(&world);
}

#[test]
fn a_state_that_forgot_drops_no_replica_while_the_holder_is_out_of_sight() {
    let mut world = World::settled();
    world.fail_over("vm.web-1", "c", 2);
    world.apply();
    world.recorded.objects.remove(&address("vm.web-1"));
    world.spec("vm.web-1").replicas.clear();
    let plan = world.plan();
    assert_eq!(find(&plan, "create:vm.web-1").drops, [region("b")]);
    world.silent.insert(region("c"));
    let plan = world.plan();
    assert_eq!(find(&plan, "create:vm.web-1").drops, []);
}

#[test]
fn a_record_is_not_pruned_while_its_holder_is_out_of_sight() {
    let mut world = World::settled();
    world.fail_over("vm.web-1", "c", 2);
    world.apply();
    world.silent.insert(region("c"));
    world.spec("vm.web-1").labels.insert("tier".into(), "web".into());
    world.apply();
    assert!(!world.recorded.objects[&address("vm.web-1")].regions.contains(&region("c")), "it has the former labels");
    world.topology.resources.remove(&key("vm.web-1"));
    world.edited();
    world.options.prune = true;
    let plan = world.plan();
    assert_eq!(ids(&plan.changes), Vec::<&str>::new());
    assert!(deferred(&plan, "c").contains(&"vm.web-1".to_owned()), "{:?}", plan.unobserved);
}

#[test]
fn an_empty_place_where_a_region_was_is_no_new_region() {
    let vacant = || RegionSnapshot::vacant(std::collections::BTreeMap::new(), ByteCount::mib(100));
    let mut world = World::settled();
    *world.at("c") = vacant();
    let plan = world.plan();
    assert!(reason(&plan, "c").contains("is a disk not mounted?"), "{}", reason(&plan, "c"));
    assert_eq!(plan.effects().count(), 0);

    // Only the state knows it: no peer has learnt its store.
    let mut world = World::settled();
    *world.at("c") = vacant();
    for id in ["a", "b"] {
        world.at(id).regions.get_mut(&region("c")).unwrap().store = None;
    }
    assert!(reason(&world.plan(), "c").contains("a region was founded there before"));

    // Only a peer's registry knows it: the state has no word of it.
    let mut world = World::settled();
    *world.at("c") = vacant();
    world.recorded.stores.remove(&region("c"));
    for applied in world.recorded.objects.values_mut() {
        applied.regions.remove(&region("c"));
    }
    assert!(reason(&world.plan(), "c").contains("a has met a region of that name"));

    // Nobody knows it.
    for id in ["a", "b"] {
        world.at(id).regions.get_mut(&region("c")).unwrap().store = None;
    }
    let plan = world.plan();
    assert_eq!(plan.unobserved, []);
    assert!(plan.changes.iter().any(|change| change.id == "update:region.c"));
}

#[test]
fn another_region_or_another_store_is_not_the_one() {
    let mut world = World::settled();
    world.at("c").identity = Some(Identity { region_id: region("x"), store: StoreId(uuid::Uuid::from_u128(5)) });
    assert_eq!(reason(&world.plan(), "c"), "another region answers there: x");

    let mut world = World::settled();
    world.at("c").identity.as_mut().unwrap().store = StoreId(uuid::Uuid::from_u128(5));
    assert!(reason(&world.plan(), "c").contains("another store than before: the state has recorded"));
    world.recorded.stores.remove(&region("c"));
    assert!(reason(&world.plan(), "c").contains("another store than before: a has recorded"));
}

#[test]
fn no_region_at_all_is_an_error() {
    let mut world = World::settled();
    world.silent = ["a", "b", "c"].map(region).into();
    let refusal = world.try_plan().unwrap_err();
    assert_eq!(refusal.code(), "no_region_answered");
    assert!(refusal.to_string().contains("a: connection refused"), "{refusal}");
}

#[test]
fn a_region_is_removed_everywhere_or_not_yet() {
    let mut world = World::settled();
    world.topology.regions.remove(&region("c"));
    world.topology.pairs.remove(&pair("a", "c"));
    world.spec("vm.web-1").replicas.remove(&region("c"));
    world.spec("vm.web-2").replicas.remove(&region("c"));
    world.options.prune = true;
    world.silent.insert(region("b"));
    let plan = world.plan();
    assert!(plan.effects().all(|change| change.address != address("region.c")));
    assert!(deferred(&plan, "b").contains(&"region.c".to_owned()));
}

#[test]
fn slow_is_shown_and_never_taken_for_down() {
    let policy = crate::model::policy::HealthPolicy::default();
    let shown = |ms| crate::plan::health_of(std::time::Duration::from_millis(ms), &policy);
    assert_eq!(shown(100), RegionStatus::Healthy);
    assert_eq!(shown(101), RegionStatus::Degraded);
    assert_eq!(shown(501), RegionStatus::Unreachable);
}

#[test]
fn a_region_that_was_declared_gone_is_not_relied_on_when_it_comes_back() {
    let mut world = World::settled();
    world.regions.get_mut(&region("b")).unwrap().gone.insert(region("c"), "it burnt".to_owned());
    let plan = world.plan();
    assert!(reason(&plan, "c").contains("declared gone") && reason(&plan, "c").contains("it burnt"), "{plan:#?}");
    assert_eq!(plan.effects().count(), 0);
    assert_eq!(plan.unobserved.len(), 1);
    // Each of the other: the one with the later controller is right.
    let controller =
        |term| Controller { lineage: Lineage(Uuid::nil()), term, seat: Seat(Uuid::nil()), place: "x".into() };
    world.regions.get_mut(&region("b")).unwrap().controller = Some(controller(1));
    let c = world.regions.get_mut(&region("c")).unwrap();
    c.gone.insert(region("b"), "I lost it".to_owned());
    c.controller = Some(controller(2));
    let plan = world.plan();
    assert!(reason(&plan, "b").contains("I lost it"), "{plan:#?}");
    assert!(plan.unobserved.iter().all(|unseen| unseen.region_id != region("c")));
}
