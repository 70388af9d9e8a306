//! Plans that are carried out later: as text, looked at again, held to their schema.

use super::world::*;
use crate::model::region::Role;
use crate::plan::document::{Kind, Plan};
use crate::plan::saved::{SavedPlanError, read, write};
use crate::plan::{RecheckRefusal, Standing, Verdict, recheck, schema};

fn standings(world: &World, plan: &Plan) -> Vec<(String, Standing)> {
    let verdicts = world.with_input(|fresh| recheck(plan, fresh)).unwrap();
    verdicts.into_iter().map(|Verdict { id, standing }| (id, standing)).collect()
}

fn stale(world: &World, plan: &Plan) -> String {
    let refusal = world.with_input(|fresh| recheck(plan, fresh)).unwrap_err();
    assert_eq!(refusal.code(), "stale_plan");
    refusal.to_string()
}

/// A world with a plan of every sort of change.
fn busy() -> (World, Plan) {
    let mut world = World::settled();
    world.topology.resources.insert(key("vm.new"), resource("a", &["b"]));
    world.write_files("a", "vm.new", 1);
    world.spec("vm.web-1").labels.insert("tier".into(), "web".into());
    world.write_files("a", "vm.web-1", 2);
    world.record("b", "vm.web-2").spec.labels.insert("hand".into(), "made".into());
    world.topology.resources.remove(&key("config.app"));
    world.options.prune = true;
    world.edited();
    let plan = world.plan();
    (world, plan)
}

#[test]
fn a_fresh_plan_is_ready_and_a_finished_one_is_done() {
    let (mut world, plan) = busy();
    assert_eq!(
        ids(&plan.changes),
        [
            "create:vm.new",
            "update:vm.web-1",
            "sync:vm.new:b",
            "sync:vm.web-1:b",
            "sync:vm.web-1:c",
            "delete:config.app"
        ]
    );
    assert!(standings(&world, &plan).iter().all(|(_, standing)| *standing == Standing::Ready));
    world.recorded.serial += 5;
    assert!(world.with_input(|fresh| recheck(&plan, fresh)).is_ok(), "the serial may differ");
    world.carry_out(&plan);
    assert!(standings(&world, &plan).iter().all(|(_, standing)| *standing == Standing::AlreadyDone));
}

#[test]
fn half_done_is_no_obstacle() {
    let (world, plan) = busy();
    let mut half = plan.clone();
    half.changes.truncate(1);
    half.drift.clear();
    half.changes[0].regions.pop();
    let mut world = world;
    world.carry_out(&half);
    let standings = standings(&world, &plan);
    assert_eq!(standings[0], ("create:vm.new".to_owned(), Standing::Ready));
    assert!(standings.iter().all(|(_, standing)| *standing == Standing::Ready));
}

#[test]
fn every_other_difference_is_named() {
    let (world, plan) = busy();
    let after = |edit: &dyn Fn(&mut World)| {
        let mut world = world.clone();
        edit(&mut world);
        stale(&world, &plan)
    };
    let hand = after(&|world| {
        world.record("c", "vm.web-1").spec.labels.insert("hand".into(), "made".into());
    });
    assert_eq!(hand, "the plan is stale: vm.web-1 at c: changed since: labels.hand");
    let gone = after(&|world| {
        world.at("b").resources.remove(&key("vm.web-2"));
    });
    assert_eq!(gone, "the plan is stale: vm.web-2 at b: its record is gone since");
    let born = after(&|world| {
        let record = world.record("b", "vm.web-1").clone();
        world.at("b").resources.insert(key("vm.new"), record);
    });
    assert!(born.starts_with("the plan is stale: vm.new at b: it was recorded since"), "{born}");
    let failed_over = after(&|world| world.fail_over("vm.web-1", "b", 2));
    assert!(
        failed_over.contains("vm.web-1 at a: its role changed since: replica there, held by b since epoch 2"),
        "{failed_over}"
    );
    assert!(failed_over.contains("vm.web-1 at a: held by b since epoch 2, the plan reads it at a"), "{failed_over}");
    let synced = after(&|world| {
        world.replica("b", "vm.web-1").newest.as_mut().unwrap().point.sequence = 9;
    });
    assert_eq!(synced, "the plan is stale: vm.web-1 at b: point 9 is its newest now, the plan goes from point 1");
    let silent = after(&|world| {
        world.silent.insert(region("c"));
    });
    assert!(silent.contains("region.c: cannot be seen any more: connection refused"), "{silent}");
    let fenced = after(&|world| world.record("a", "vm.web-1").role = Role::Fenced);
    assert!(fenced.contains("vm.web-1 at a"), "{fenced}");
}

#[test]
fn what_cannot_be_seen_any_more_is_not_carried_out() {
    for copies in [false, true] {
        let mut world = World::small();
        let mut plan = world.plan();
        plan.changes.retain(|change| (change.kind == Kind::Sync) == copies);
        world.silent.insert(region("b"));
        let words = stale(&world, &plan);
        assert!(words.contains("cannot be seen any more"), "{words}");
    }
}

#[test]
fn a_copy_is_not_made_when_nobody_knows_its_holder_any_more() {
    let mut world = World::settled();
    world.fail_over("vm.web-1", "b", 2);
    let mut plan = world.plan();
    plan.changes.retain(|change| change.id == "sync:vm.web-1:c");
    let mut disputed = world.clone();
    disputed.record("a", "vm.web-1").role = Role::Holder;
    let words = stale(&disputed, &plan);
    assert!(words.contains("both hold it"), "{words}");
    for id in ["a", "b", "c"] {
        world.at(id).resources.remove(&key("vm.web-1"));
    }
    let words = stale(&world, &plan);
    assert!(words.contains("no region records it any more"), "{words}");
}

#[test]
fn what_somebody_else_synced_meanwhile_is_done() {
    let (mut world, plan) = busy();
    let copy = find(&plan, "sync:vm.web-1:b").clone();
    let mut only = plan.clone();
    only.changes = vec![copy];
    only.drift.clear();
    world.carry_out(&only);
    let standings = standings(&world, &plan);
    assert!(standings.contains(&("sync:vm.web-1:b".to_owned(), Standing::AlreadyDone)));
    assert!(standings.contains(&("sync:vm.web-1:c".to_owned(), Standing::Ready)));
}

#[test]
fn other_files_and_other_states_are_refused() {
    let (mut world, plan) = busy();
    world.spec("vm.web-2").labels.insert("x".into(), "y".into());
    world.edited();
    let refusal = world.with_input(|fresh| recheck(&plan, fresh)).unwrap_err();
    assert!(matches!(refusal, RecheckRefusal::AnotherTopology { .. }));
    world.recorded.lineage = THEIRS;
    let refusal = world.with_input(|fresh| recheck(&plan, fresh)).unwrap_err();
    assert!(matches!(refusal, RecheckRefusal::AnotherLineage { .. }));
}

#[test]
fn a_renamed_object_is_looked_at_under_both_names() {
    let mut world = World::settled();
    world.rename("vm.web-1", "vm.front-1");
    world.spec("vm.front-1").labels.insert("tier".into(), "front".into());
    world.write_files("a", "vm.web-1", 2);
    world.edited();
    let plan = world.plan();
    assert!(standings(&world, &plan).iter().all(|(_, standing)| *standing == Standing::Ready));
    world.carry_out(&plan);
    assert!(standings(&world, &plan).iter().all(|(_, standing)| *standing == Standing::AlreadyDone));
}

#[test]
fn an_edited_plan_is_refused() {
    let (_, plan) = busy();
    let text = write(&plan);
    for (from, to) in [
        ("\"tier\": \"web\"", "\"tier\": \"evil\""),
        ("\"regions\": [\n        \"a\",", "\"regions\": ["),
        ("\"action\": \"delete\"", "\"action\": \"update\""),
        ("\"reason\": \"declared", "\"unknown\": 1, \"reason\": \"declared"),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        assert!(matches!(read(&edited), Err(SavedPlanError::Tampered { .. })), "{from}");
    }
    let harmless = text.replacen("\"latency_ms\": 3.0", "\"latency_ms\": 4.0", 1);
    assert_ne!(harmless, text);
    assert!(read(&harmless).is_ok(), "not covered: not carried out");
    assert!(matches!(read(&text.replace("\"1.0\"", "\"2.0\"")), Err(SavedPlanError::Version { .. })));
    assert!(read(&text.replacen("\"1.0\"", "\"1.7\"", 1)).is_ok(), "a larger minor only adds");
    assert!(matches!(read("{}"), Err(SavedPlanError::NoVersion)));
    assert!(matches!(read("no json"), Err(SavedPlanError::Shape(_))));
}

#[test]
fn the_digest_knows_nothing_of_the_clock() {
    let (mut world, plan) = busy();
    world.pass(std::time::Duration::from_secs(3600));
    assert_eq!(world.plan().digest, plan.digest);
    world.write_files("a", "vm.web-2", 7);
    assert_ne!(world.plan().digest, plan.digest);
}

#[test]
fn real_plans_are_valid_by_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let (mut world, busy) = busy();
    world.silent.insert(region("c"));
    world.fail_over("vm.web-2", "b", 2);
    world.topology.resources.insert(key("vm.waiting"), resource("a", &["b"]));
    world.rename("vm.new", "vm.newer");
    for plan in [busy, world.plan(), World::small().plan(), World::settled().plan()] {
        let value = serde_json::to_value(&plan).unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{error} at {}", error.instance_path());
        }
    }
    assert!(!validator.is_valid(&serde_json::json!({"format_version": "1.0"})));
}

#[test]
fn a_region_that_is_gone_is_one_refusal() {
    let mut world = World::small();
    for vm in ["vm.web-1", "vm.web-2"] {
        world.write_files("a", vm, 1);
    }
    let plan = world.plan();
    assert!(plan.effects().filter(|change| change.regions.contains(&region("b"))).count() > 2);
    world.silent.insert(region("b"));
    let refusal = world.with_input(|fresh| recheck(&plan, fresh)).unwrap_err();
    let RecheckRefusal::Stale(stale) = refusal else { panic!("{refusal}") };
    let [only] = stale.as_slice() else { panic!("{stale:#?}") };
    assert_eq!(only.address, address("region.b"));
    assert!(only.to_string().starts_with("region.b: cannot be seen"), "{only}");
}
