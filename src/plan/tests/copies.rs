//! Copies: needed, due, blocked, waiting, a repair; and their order.

use std::time::Duration;

use super::world::*;
use crate::model::point::{BlockReason, FileRefusal, PointKind, Refusal};
use crate::model::units::Percent;
use crate::model::{Address, ByteCount, Digest};
use crate::plan::Allow;
use crate::plan::document::{Mode, Plan};

fn blocked(plan: &Plan) -> Vec<(String, &'static str)> {
    let at = |region: &Option<crate::model::RegionId>| region.as_ref().map_or("-", |region| region.as_str()).to_owned();
    plan.blocked.iter().map(|b| (format!("{}@{}", b.address, at(&b.region_id)), b.reason.as_str())).collect()
}

fn refusal(reason: BlockReason, stamp: Option<Digest>, needed: Option<ByteCount>) -> Refusal {
    let at = "2026-01-31T11:00:00Z".parse().unwrap();
    Refusal { reason, detail: "6 MiB differ".to_owned(), source_stamp: stamp, needed, lost: None, max_change: None, at }
}

#[test]
fn a_changed_source_is_copied_to_every_replica() {
    let mut world = World::settled();
    world.write_files("a", "vm.web-1", 2);
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["sync:vm.web-1:b", "sync:vm.web-1:c"]);
    assert_eq!(plan.changes[0].precondition.base.as_ref().unwrap().sequence, Some(1));
    assert_eq!(plan.changes[0].reason, "changed since point 1 of 2026-01-31 12:00:00Z");
    assert_settled(&world);
}

#[test]
fn a_point_that_could_not_be_trusted_is_looked_at_again() {
    let mut world = World::settled();
    world.replica("b", "vm.web-1").newest.as_mut().unwrap().source_stamp = None;
    assert_eq!(ids(&world.apply().changes), ["sync:vm.web-1:b"]);
    assert_settled(&world);
}

#[test]
fn damage_is_repaired_whatever_the_interval() {
    let mut world = World::settled();
    world.replica("c", "vm.web-1").damage = Some("disk.raw is missing".to_owned());
    world.options.mode = Mode::Reconcile;
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["repair:vm.web-1:c"]);
    assert_eq!((plan.summary.repair, plan.summary.sync), (1, 0));
    assert_eq!(plan.changes[0].reason, "disk.raw is missing");
    assert_settled(&world);
}

#[test]
fn declared_without_files_waits() {
    let mut world = World::settled();
    world.topology.resources.insert(key("vm.new"), resource("a", &["b", "c"]));
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["create:vm.new"]);
    assert_eq!(plan.waiting.len(), 1);
    assert_eq!(plan.waiting[0].region_id, region("a"));
    let plan = world.plan();
    assert!(plan.is_settled(), "waiting is no work");
    assert_eq!(plan.waiting.len(), 1);
    world.write_files("a", "vm.new", 1);
    assert_eq!(ids(&world.apply().changes), ["sync:vm.new:b", "sync:vm.new:c"]);
    assert_settled(&world);
}

#[test]
fn a_vanished_source_is_blocked_and_accepting_cannot_copy_nothing() {
    let mut world = World::settled();
    world.at("a").contents.remove(&key("vm.web-1"));
    let plan = world.plan();
    assert_eq!(blocked(&plan), [("vm.web-1@b".into(), "suspicious"), ("vm.web-1@c".into(), "suspicious")]);
    assert_eq!((plan.effects().count(), plan.waiting.len()), (0, 0));
    world.options.accept_change.insert(key("vm.web-1"));
    assert_eq!(blocked(&world.plan()).len(), 2);
}

#[test]
fn a_gutted_source_is_blocked_until_accepted() {
    let mut world = World::settled();
    world.write_files("a", "vm.web-1", 2);
    let content = world.at("a").contents.get_mut(&key("vm.web-1")).unwrap();
    content.outline.disks.clear();
    let plan = world.plan();
    assert_eq!(blocked(&plan).len(), 2);
    assert!(plan.blocked[0].detail.contains("disk.raw (8 MiB) is gone"), "{}", plan.blocked[0].detail);
    assert!(plan.blocked[0].detail.contains("--accept-change"));
    world.options.accept_change.insert(key("vm.web-1"));
    assert_eq!(ids(&world.apply().changes), ["sync:vm.web-1:b", "sync:vm.web-1:c"]);
    world.options.accept_change.clear();
    assert_settled(&world);
}

#[test]
fn a_disk_that_shrank_is_told_by_its_name() {
    let mut world = World::settled();
    world.write_files("a", "vm.web-1", 2);
    let content = world.at("a").contents.get_mut(&key("vm.web-1")).unwrap();
    content.outline.disks.insert("disk.raw".into(), ByteCount::mib(7));
    assert_eq!(blocked(&world.plan())[0], ("vm.web-1@b".into(), "shrunk"));
}

#[test]
fn refusals_of_the_same_files_stand_and_others_are_tried_again() {
    let mut world = World::settled();
    world.write_files("a", "vm.web-1", 2);
    let stamp = content(2).stamp;
    let mut now = |refusal: Refusal| {
        world.replica("b", "vm.web-1").refusal = Some(refusal);
        let plan = world.plan();
        blocked(&plan).into_iter().find(|(at, _)| at == "vm.web-1@b").map(|(_, reason)| reason)
    };
    assert_eq!(now(refusal(BlockReason::Suspicious, Some(stamp), None)), Some("suspicious"));
    assert_eq!(now(refusal(BlockReason::Suspicious, Some(content(3).stamp), None)), None, "the files changed since");
    assert_eq!(now(refusal(BlockReason::SourceBusy, Some(stamp), None)), None);
    assert_eq!(now(refusal(BlockReason::NoSpace, None, Some(ByteCount(u64::MAX)))), Some("no_space"));
    assert_eq!(now(refusal(BlockReason::NoSpace, None, Some(ByteCount(1)))), None, "there is room again");
    world.replica("b", "vm.web-1").refusal = Some(refusal(BlockReason::Suspicious, Some(stamp), None));
    world.options.accept_change.insert(key("vm.web-1"));
    assert_eq!(blocked(&world.plan()), []);
}

#[test]
fn a_change_that_was_more_than_allowed_is_tried_again_where_more_is_allowed() {
    let mut world = World::settled();
    world.write_files("a", "vm.web-1", 2);
    let stamp = content(2).stamp;
    let mut blocked_at = |refused: Option<u8>, declared: u8| {
        let refusal = refusal(BlockReason::Suspicious, Some(stamp), None);
        world.replica("b", "vm.web-1").refusal = Some(Refusal { max_change: refused.map(Percent), ..refusal });
        world.topology.resources.get_mut(&key("vm.web-1")).unwrap().max_change = Percent(declared);
        blocked(&world.plan()).iter().any(|(at, _)| at == "vm.web-1@b")
    };
    assert!(blocked_at(Some(50), 50) && blocked_at(Some(50), 40), "no more is allowed");
    assert!(!blocked_at(Some(50), 51), "more is allowed");
    assert!(blocked_at(None, 100), "another reason than the limit");
}

#[test]
fn what_cannot_be_copied_is_named() {
    let mut world = World::settled();
    world.write_files("a", "vm.web-1", 2);
    world.at("a").contents.get_mut(&key("vm.web-1")).unwrap().refused =
        Some(FileRefusal { path: "null".into(), reason: "a device".into() });
    let plan = world.plan();
    assert_eq!(blocked(&plan)[0], ("vm.web-1@b".into(), "unsupported"));
    assert_eq!(plan.blocked[0].detail, "null: a device");
}

#[test]
fn reconcile_copies_what_is_due_even_if_unchanged() {
    let mut world = World::settled();
    world.options.mode = Mode::Reconcile;
    world.write_files("a", "vm.web-1", 2);
    world.pass(Duration::from_secs(299));
    assert_eq!(world.plan().effects().count(), 0, "not due");
    world.pass(Duration::from_secs(1));
    let plan = world.apply();
    assert_eq!(plan.summary.sync, 5, "all of them");
    assert_eq!(find(&plan, "sync:vm.web-2:b").reason, "due: last verified at 2026-01-31 12:00:00Z");
    assert_eq!(world.plan().effects().count(), 0);
    world.pass(Duration::from_secs(300));
    world.options.allow = Allow { sync: false, drift: true };
    assert_eq!(world.plan().effects().count(), 0, "not allowed");
    world.options.mode = Mode::Normal;
    assert_eq!(world.plan().effects().count(), 0, "apply looks at changes alone");
}

#[test]
fn reconcile_waits_for_apply_before_it_copies_something_new() {
    let mut world = World::settled();
    world.options.mode = Mode::Reconcile;
    world.topology.resources.insert(key("vm.new"), resource("a", &["b"]));
    world.write_files("a", "vm.new", 1);
    world.spec("config.app").replicas.insert(region("c"));
    assert_eq!(world.plan().effects().count(), 0);
    world.rename("vm.web-1", "vm.front-1");
    world.pass(Duration::from_secs(600));
    let plan = world.plan();
    assert_eq!(
        ids(&plan.changes),
        ["sync:vm.web-2:b", "sync:vm.web-2:c", "sync:config.app:b"],
        "a rename is recorded by apply first"
    );
    assert_eq!(plan.moved, []);
}

#[test]
fn nothing_is_copied_from_a_holder_that_has_lost_its_record() {
    let mut world = World::settled();
    world.at("a").resources.remove(&key("vm.web-1"));
    world.write_files("a", "vm.web-1", 2);
    world.options.mode = Mode::Reconcile;
    world.pass(Duration::from_secs(4000));
    let plan = world.plan();
    assert!(plan.changes.iter().all(|change| change.address != address("vm.web-1")), "{:?}", ids(&plan.changes));
    world.options.mode = Mode::Normal;
    assert!(ids(&world.plan().changes).contains(&"sync:vm.web-1:b"), "once its record is mended");
}

#[test]
fn copies_go_by_priority_then_by_the_earliest_broken_promise() {
    let mut world = World::settled();
    world.topology.pairs.get_mut(&pair("a", "c")).unwrap().priority = 0;
    world.apply();
    for text in ["vm.web-1", "vm.web-2", "config.app"] {
        world.write_files("a", text, 2);
    }
    world.spec("vm.web-2").max_lag = Some(Duration::from_secs(60));
    world.apply_records_only();
    world.topology.resources.insert(key("vm.zz-new"), resource("a", &["b"]));
    world.write_files("a", "vm.zz-new", 1);
    let plan = world.plan();
    let copies: Vec<&str> = ids(&plan.changes).into_iter().filter(|id| id.starts_with("sync")).collect();
    assert_eq!(
        copies,
        [
            "sync:vm.web-2:c",
            "sync:vm.web-1:c",
            "sync:vm.zz-new:b",
            "sync:vm.web-2:b",
            "sync:vm.web-1:b",
            "sync:config.app:b"
        ]
    );
}

#[test]
fn without_a_pair_nothing_is_copied_and_it_is_said() {
    let mut world = World::settled();
    world.topology.pairs.get_mut(&pair("a", "c")).unwrap().enabled = false;
    world.apply();
    world.write_files("a", "vm.web-1", 2);
    let plan = world.plan();
    assert_eq!(ids(&plan.changes), ["sync:vm.web-1:b"]);
    assert_eq!(plan.warnings[0].message, "no enabled pair carries it from a to c: it is not synced there");
}

#[test]
fn machines_that_run_without_a_freeze_method_are_warned_of() {
    let warned = |world: &World| -> Vec<(Option<Address>, String)> {
        world.plan().warnings.into_iter().map(|warning| (warning.address, warning.message)).collect()
    };
    let mut world = World::settled();
    world.write_files("a", "vm.web-1", 2);
    assert_eq!(warned(&world), [], "it was stopped when it was copied");
    let ran = |world: &mut World, text: &str| {
        for at in ["b", "c"] {
            let replica = world.at(at).replicas.get_mut(&key(text));
            if let Some(newest) = replica.and_then(|replica| replica.newest.as_mut()) {
                newest.point.kind = PointKind::Quiet;
            }
        }
    };
    ran(&mut world, "vm.web-1");
    ran(&mut world, "config.app");
    world.write_files("a", "config.app", 2);
    let message = "vm.web-1 runs here without a freeze method: its points are quiet at best";
    assert_eq!(warned(&world), [(Some(address("region.a")), message.to_owned())]);
    world.write_files("a", "vm.web-2", 2);
    ran(&mut world, "vm.web-2");
    let message = "2 VMs run here without a freeze method: their points are quiet at best";
    assert_eq!(warned(&world), [(Some(address("region.a")), message.to_owned())]);
    world.options.mode = Mode::Reconcile;
    assert_eq!(warned(&world), [], "not in every round");
    world.options.mode = Mode::Normal;
    world.options.targets = [address("vm.web-2")].into();
    assert!(warned(&world)[0].1.starts_with("vm.web-2 runs here"), "of what is carried out");
    world.options.targets.clear();
    world.at("a").freezes = true;
    assert_eq!(warned(&world), []);
}
