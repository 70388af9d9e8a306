//! Records: what is new, changed, drifted, held, renamed, pruned, taken over or refused.

use std::time::Duration;

use super::world::*;
use crate::model::Digest;
use crate::model::point::BlockReason;
use crate::model::region::{Epoch, Role};
use crate::model::topology::Moved;
use crate::plan::document::{Action, Mode, Summary};
use crate::plan::{Allow, PlanRefusal, RefusalKind};

#[test]
fn the_quick_start_is_twelve_creates_and_twelve_syncs() {
    let both: &[&str] = &["eu-west-1", "us-west-1"];
    let one: &[&str] = &["us-west-1"];
    let mut world = World::new(
        &["us-east-1", "us-west-1", "eu-west-1"],
        &[("us-east-1", "us-west-1"), ("us-east-1", "eu-west-1")],
        &[
            ("vm.web-vm-1", "us-east-1", both),
            ("vm.web-vm-2", "us-east-1", both),
            ("vm.web-vm-3", "us-east-1", both),
            ("vm.web-vm-4", "us-east-1", both),
            ("vm.web-vm-5", "us-east-1", both),
            ("vm.db-vm-1", "us-east-1", one),
            ("vm.db-vm-2", "us-east-1", one),
        ],
    );
    for key in world.topology.resources.keys().map(ToString::to_string).collect::<Vec<_>>() {
        world.write_files("us-east-1", &key, 1);
    }
    let plan = world.apply();
    assert_eq!(plan.summary, Summary { create: 12, sync: 12, ..Summary::default() });
    let vm = find(&plan, "create:vm.web-vm-1");
    assert_eq!(regions_of(vm), ["eu-west-1", "us-east-1", "us-west-1"]);
    assert_eq!(
        vm.depends_on,
        [
            "create:region.eu-west-1",
            "create:region.us-east-1",
            "create:region.us-west-1",
            "create:replication.us-east-1.eu-west-1",
            "create:replication.us-east-1.us-west-1",
        ]
    );
    let sync = find(&plan, "sync:vm.web-vm-1:us-west-1");
    assert_eq!(sync.source, Some(region("us-east-1")));
    assert!(sync.depends_on.contains(&"create:vm.web-vm-1".to_owned()));
    assert_eq!(sync.reason, "no point there yet: 8.0 MiB");
    assert_settled(&world);
}

#[test]
fn a_change_in_the_files_is_one_update_wherever_it_is_recorded() {
    let mut world = World::settled();
    world.spec("vm.web-1").labels.insert("tier".into(), "web".into());
    world.edited();
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["update:vm.web-1"]);
    let change = &plan.changes[0];
    assert_eq!(regions_of(change), ["a", "b", "c"]);
    assert_eq!(change.reason, "the files change labels.tier");
    assert_eq!(change.precondition.holder.as_ref().map(|holder| holder.region.clone()), Some(region("a")));
    assert_settled(&world);
}

#[test]
fn a_policy_is_every_regions_attribute() {
    let mut world = World::settled();
    for spec in world.topology.regions.values_mut() {
        spec.policy.retention.last = 9;
    }
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["update:region.a", "update:region.b", "update:region.c"]);
    assert_eq!(plan.changes[0].reason, "the files change policy.retention.last");
    assert_settled(&world);
}

#[test]
fn a_region_and_a_replica_that_come_later() {
    let mut world = World::settled();
    world.declare_region("d");
    world.topology.pairs.insert(pair("a", "d"), pair_spec());
    world.spec("vm.web-1").replicas.insert(region("d"));
    let plan = world.apply();
    assert_eq!(
        ids(&plan.changes),
        [
            "update:region.a",
            "update:region.b",
            "update:region.c",
            "create:region.d",
            "create:replication.a.d",
            "update:vm.web-1",
            "sync:vm.web-1:d"
        ]
    );
    assert_eq!(regions_of(find(&plan, "update:region.b")), ["d"], "the registry's new keeper");
    assert_eq!(find(&plan, "update:region.b").reason, "not yet recorded at d");
    assert_eq!(find(&plan, "update:vm.web-1").depends_on, ["create:region.d", "create:replication.a.d"]);
    assert_settled(&world);
}

#[test]
fn a_replica_that_goes_is_dropped_and_its_data_kept() {
    let mut world = World::settled();
    world.spec("vm.web-1").replicas.remove(&region("c"));
    let plan = world.apply();
    let change = find(&plan, "update:vm.web-1");
    assert_eq!(change.drops, [region("c")]);
    assert_eq!(change.reason, "the files change replicas; no longer kept at c");
    assert!(world.at("c").replicas.contains_key(&key("vm.web-1")));
    assert_settled(&world);
}

#[test]
fn drift_is_told_from_what_was_applied_and_mended() {
    let mut world = World::settled();
    world.record("b", "vm.web-1").spec.labels.insert("hand".into(), "made".into());
    world.at("c").resources.remove(&key("vm.web-2"));
    world.at("b").pairs.get_mut(&pair("a", "b")).unwrap().managed_by = None;
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), Vec::<&str>::new());
    assert_eq!(ids(&plan.drift), ["update:replication.a.b", "update:vm.web-1", "update:vm.web-2"]);
    assert_eq!(find(&plan, "update:vm.web-1").reason, "at b differs labels.hand");
    assert_eq!(regions_of(find(&plan, "update:vm.web-1")), ["b"]);
    assert_eq!(find(&plan, "update:vm.web-2").reason, "its record is gone at c");
    assert_eq!(find(&plan, "update:replication.a.b").reason, "at b it is managed by nobody");
    assert_eq!(world.record("c", "vm.web-2").role, Role::Replica, "mended as what it was");
    assert_settled(&world);
}

#[test]
fn one_entry_where_files_and_hands_changed_the_same_object() {
    let mut world = World::settled();
    world.spec("vm.web-1").max_lag = Some(Duration::from_secs(60));
    world.record("b", "vm.web-1").spec.labels.insert("hand".into(), "made".into());
    let plan = world.apply();
    assert_eq!((ids(&plan.changes), plan.drift.len()), (vec!["update:vm.web-1"], 0));
    assert_eq!(plan.changes[0].reason, "the files change max_lag; at b differs labels.hand");
    assert_settled(&world);
}

#[test]
fn an_apply_that_was_cut_off_is_finished() {
    let mut world = World::small();
    let plan = world.plan();
    world.carry_out(&plan);
    // The regions have it all, the state learnt nothing of one object and little of another.
    world.recorded.objects.remove(&address("vm.web-1"));
    world.at("c").resources.remove(&key("vm.web-1"));
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["create:vm.web-1"]);
    assert!(plan.changes[0].precondition.records[&region("a")].is_some());
    assert!(plan.changes[0].precondition.records[&region("c")].is_none());
    assert_eq!(world.record("c", "vm.web-1").role, Role::Replica);
    assert_settled(&world);
}

#[test]
fn what_a_failover_decided_is_held_and_fed_by_its_new_holder() {
    let mut world = World::settled();
    world.fail_over("vm.web-1", "b", 2);
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["sync:vm.web-1:a", "sync:vm.web-1:c"]);
    assert_eq!(plan.drift, []);
    assert_eq!(plan.held.len(), 1);
    assert_eq!((&plan.held[0].declared, &plan.held[0].holder.region), (&region("a"), &region("b")));
    assert_eq!(plan.held[0].holder.epoch, Epoch(2));
    assert!(plan.held[0].reason.contains("`primary = "), "{}", plan.held[0].reason);
    assert_eq!(plan.changes[0].source, Some(region("b")));

    // `failover accept`: the files say what is; nothing is left to say.
    let mut accepted = world.clone();
    *accepted.spec("vm.web-1") = resource("b", &["a", "c"]);
    accepted.edited();
    let plan = accepted.plan();
    assert!(plan.is_settled() && plan.held.is_empty(), "{plan:?}");
}

#[test]
fn another_primary_in_the_files_moves_nothing() {
    let mut world = World::settled();
    *world.spec("vm.web-1") = resource("b", &["a", "c"]);
    let plan = world.plan();
    assert!(plan.is_settled());
    assert_eq!(plan.held.len(), 1);
    assert!(plan.held[0].reason.starts_with("it was born at a"), "{}", plan.held[0].reason);
}

#[test]
fn what_is_mended_is_written_as_it_was_applied() {
    let mut world = World::settled();
    *world.spec("vm.web-1") = resource("b", &["a", "c"]);
    world.edited();
    world.at("c").resources.remove(&key("vm.web-1"));
    let plan = world.apply();
    assert_eq!(find(&plan, "update:vm.web-1").after.as_ref().unwrap()["primary"], "a");
    let kept = world.record("a", "vm.web-1").spec.clone();
    assert_eq!(world.record("c", "vm.web-1").spec, kept);
    assert!(world.plan().is_settled());
}

#[test]
fn a_holder_of_an_older_epoch_counts_for_nothing() {
    let mut world = World::settled();
    world.fail_over("vm.web-1", "b", 2);
    let returned = world.record("a", "vm.web-1");
    (returned.role, returned.epoch, returned.holder) = (Role::Holder, Epoch(1), region("a"));
    let plan = world.plan();
    assert_eq!((&plan.held[0].holder.region, plan.held[0].holder.epoch), (&region("b"), Epoch(2)));
    assert_eq!(find(&plan, "sync:vm.web-1:c").source, Some(region("b")));
}

#[test]
fn two_holders_or_an_open_operation_are_not_touched() {
    let mut world = World::settled();
    world.spec("vm.web-1").labels.insert("a".into(), "b".into());
    world.spec("vm.web-2").labels.insert("a".into(), "b".into());
    world.spec("config.app").labels.insert("a".into(), "b".into());
    world.record("b", "vm.web-1").role = Role::Holder;
    world.record("c", "vm.web-2").operation = Some(crate::model::OperationId(uuid::Uuid::from_u128(7)));
    world.record("a", "config.app").role = Role::Demoted;
    for text in ["vm.web-1", "vm.web-2", "config.app"] {
        world.write_files("a", text, 2);
    }
    let plan = world.plan();
    assert_eq!(plan.effects().count(), 0);
    let reasons: Vec<&str> = plan.held.iter().map(|held| held.reason.as_str()).collect();
    assert_eq!(reasons[0], "a and b both hold it at epoch 1");
    assert!(reasons[1].starts_with("operation 0000"), "{}", reasons[1]);
    assert!(reasons[2].contains("which is demoted there"), "{}", reasons[2]);
}

#[test]
fn a_rename_is_no_change() {
    let mut world = World::settled();
    world.rename("vm.web-1", "vm.front-1");
    let plan = world.plan();
    assert!(plan.is_settled(), "{plan:?}");
    assert_eq!(plan.moved.len(), 1);
    assert_eq!(plan.moved[0].regions, [region("a"), region("b"), region("c")]);
    world.carry_out(&plan);
    assert_settled(&world);
    assert!(world.at("b").replicas.contains_key(&key("vm.front-1")));
}

#[test]
fn a_rename_with_a_change_and_one_that_was_cut_off() {
    let mut world = World::settled();
    world.rename("vm.web-1", "vm.front-1");
    world.spec("vm.front-1").labels.insert("tier".into(), "front".into());
    world.write_files("a", "vm.web-1", 2);
    // One region has it done already.
    let plan = world.plan();
    let mut half = plan.clone();
    half.moved[0].regions = vec![region("a")];
    half.changes.clear();
    let mut cut = world.clone();
    cut.carry_out(&half);
    for mut world in [world, cut] {
        let plan = world.apply();
        assert_eq!(
            ids(&plan.changes),
            ["update:vm.front-1", "sync:vm.front-1:b", "sync:vm.front-1:c"],
            "{:?}",
            plan.moved
        );
        assert_settled(&world);
    }
}

#[test]
fn both_names_at_one_place_are_two_objects() {
    let mut world = World::settled();
    let spec = world.spec("vm.web-2").clone();
    world.topology.resources.insert(key("vm.web-3"), spec);
    world.write_files("a", "vm.web-3", 1);
    world.apply();
    world.topology.resources.remove(&key("vm.web-2"));
    world.topology.moved.push(crate::model::topology::Moved { from: address("vm.web-2"), to: address("vm.web-3") });
    let plan = world.plan();
    assert_eq!(plan.moved, []);
    assert_eq!(plan.blocked[0].address, address("vm.web-2"));
    assert!(plan.warnings[0].message.contains("was not renamed"), "{:?}", plan.warnings);
}

#[test]
fn a_rename_counts_only_for_a_name_that_went_and_a_resource_that_stays_what_it_is() {
    let moved = |from: &str, to: &str| Moved { from: address(from), to: address(to) };
    let settled = World::settled();

    let mut both_declared = settled.clone();
    both_declared.topology.resources.insert(key("vm.new"), resource("a", &["b"]));
    both_declared.topology.moved.push(moved("vm.web-1", "vm.new"));
    let plan = both_declared.plan();
    assert_eq!((ids(&plan.changes), plan.moved.len()), (vec!["create:vm.new"], 0));

    let mut other_kind = settled.clone();
    other_kind.topology.resources.remove(&key("vm.web-1"));
    other_kind.topology.resources.insert(key("config.new"), resource("a", &["b"]));
    other_kind.topology.moved.push(moved("vm.web-1", "config.new"));
    let plan = other_kind.plan();
    assert_eq!((ids(&plan.changes), plan.moved.len()), (vec!["create:config.new"], 0));
    assert!(plan.warnings[0].message.contains("does not change what a resource is"), "{:?}", plan.warnings);

    let mut two_to_one = settled;
    for name in ["vm.web-1", "vm.web-2"] {
        two_to_one.topology.resources.remove(&key(name));
        two_to_one.topology.moved.push(moved(name, "vm.new"));
    }
    two_to_one.topology.resources.insert(key("vm.new"), resource("a", &["b", "c"]));
    let plan = two_to_one.plan();
    assert_eq!(plan.moved.len(), 1);
    assert!(plan.warnings[0].message.contains("vm.web-1 already becomes vm.new"), "{:?}", plan.warnings);
}

#[test]
fn what_others_took_over_is_not_pruned_from_them() {
    let mut world = World::settled();
    world.record("b", "vm.web-1").managed_by = Some(THEIRS);
    world.topology.resources.remove(&key("vm.web-1"));
    world.options.prune = true;
    assert_eq!(regions_of(find(&world.plan(), "delete:vm.web-1")), ["a", "c"]);
}

#[test]
fn what_is_no_longer_declared_stays_until_it_is_pruned() {
    let mut world = World::settled();
    world.topology.resources.remove(&key("vm.web-1"));
    world.topology.pairs.remove(&pair("a", "c"));
    world.topology.resources.remove(&key("vm.web-2"));
    let plan = world.plan();
    assert_eq!(plan.effects().count(), 0);
    assert!(plan.blocked.iter().all(|blocked| blocked.reason == BlockReason::NotDeclared));
    assert_eq!(plan.blocked.len(), 3);

    world.options.prune = true;
    world.options.max_prune = 2;
    assert_eq!(world.refusal(), "max_prune");
    world.options.max_prune = 3;
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["delete:vm.web-1", "delete:vm.web-2", "delete:replication.a.c"]);
    assert_eq!(plan.changes[2].depends_on, ["delete:vm.web-1", "delete:vm.web-2"]);
    assert!(world.at("b").replicas.contains_key(&key("vm.web-1")), "the data stays");
    assert_settled(&world);
}

#[test]
fn a_region_goes_last_and_not_while_it_holds_something() {
    let mut world = World::settled();
    world.topology.regions.remove(&region("c"));
    world.topology.pairs.remove(&pair("a", "c"));
    world.spec("vm.web-1").replicas.remove(&region("c"));
    world.spec("vm.web-2").replicas.remove(&region("c"));
    world.options.prune = true;
    let mut holding = world.clone();
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), ["update:vm.web-1", "update:vm.web-2", "delete:replication.a.c", "delete:region.c"]);
    assert_eq!(plan.changes[3].depends_on, ["delete:replication.a.c", "update:vm.web-1", "update:vm.web-2"]);
    assert_settled(&world);

    holding.fail_over("vm.web-1", "c", 2);
    let plan = holding.plan();
    assert!(plan.changes.iter().all(|change| change.address != address("region.c")));
    assert!(plan.blocked.iter().any(|blocked| blocked.detail.contains("it holds vm.web-1")), "{:?}", plan.blocked);
}

#[test]
fn never_everything_is_pruned() {
    let mut world = World::settled();
    world.topology.regions.clear();
    world.topology.pairs.clear();
    world.topology.resources.clear();
    world.options.prune = true;
    world.options.max_prune = 1000;
    let refusal = world.try_plan().unwrap_err();
    assert_eq!((refusal.code(), refusal.kind()), ("prune_all", RefusalKind::Safety));
}

#[test]
fn others_objects_are_shown_and_left_alone() {
    let mut world = World::settled();
    for (text, managed_by) in [("vm.theirs", Some(THEIRS)), ("vm.nobodys", None)] {
        let mut record = world.record("b", "vm.web-1").clone();
        record.managed_by = managed_by;
        world.at("b").resources.insert(key(text), record);
    }
    let plan = world.plan();
    assert!(plan.is_settled());
    assert_eq!(plan.unmanaged.len(), 2);
    assert_eq!(plan.unmanaged[1].managed_by, Some(THEIRS));
    world.options.prune = true;
    assert!(world.plan().is_settled(), "not even with --prune");
}

#[test]
fn a_declared_object_of_others_is_refused_or_adopted() {
    let mut world = World::settled();
    world.record("b", "vm.web-1").managed_by = Some(THEIRS);
    assert_eq!(world.refusal(), "lineage");
    world.options.adopt = true;
    let plan = world.apply();
    assert_eq!(ids(&plan.drift), ["update:vm.web-1"]);
    world.options.adopt = false;
    assert_settled(&world);
}

#[test]
fn a_lost_state_is_rebuilt_not_guessed() {
    let mut world = World::settled();
    world.recorded = crate::model::recorded::Recorded::new(THEIRS);
    let refusal = world.try_plan().unwrap_err();
    assert_eq!(refusal.code(), "new_state");
    assert!(refusal.help().contains("state rebuild"));
    let PlanRefusal::NewState { objects, .. } = refusal else { panic!() };
    assert_eq!(objects, 8, "three regions, two pairs, three resources");
    world.options.adopt = true;
    let plan = world.plan();
    assert_eq!(plan.summary, Summary { update: 8, ..Summary::default() });
}

#[test]
fn targets_bring_what_they_cannot_do_without() {
    let mut world = World::small();
    world.options.targets = vec![address("config.app")];
    let plan = world.apply();
    assert_eq!(
        ids(&plan.changes),
        ["create:region.a", "create:region.b", "create:replication.a.b", "create:config.app", "sync:config.app:b"]
    );
    assert_settled(&world);
    world.options.targets = vec![];
    assert_eq!(count(&world.apply(), Action::Create), 4);
    assert_settled(&world);

    world.options.targets = vec![address("vm.web-11")];
    let refusal = world.try_plan().unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Request);
    assert_eq!(refusal.help(), "did you mean vm.web-1?");
}

#[test]
fn a_target_limits_what_is_pruned() {
    let mut world = World::settled();
    world.topology.resources.remove(&key("vm.web-1"));
    world.topology.resources.remove(&key("vm.web-2"));
    world.options.prune = true;
    world.options.max_prune = 1;
    world.options.targets = vec![address("vm.web-1")];
    assert_eq!(ids(&world.plan().changes), ["delete:vm.web-1"]);
}

#[test]
fn refreshing_changes_the_record_alone() {
    let mut world = World::settled();
    world.options.mode = Mode::RefreshOnly;
    assert_settled(&world);
    world.record("a", "vm.web-1").spec.labels.insert("hand".into(), "made".into());
    world.at("c").resources.remove(&key("vm.web-2"));
    for id in ["a", "b"] {
        world.at(id).resources.remove(&key("config.app"));
    }
    let before = world.regions.clone();
    let plan = world.apply();
    assert_eq!(ids(&plan.changes), Vec::<&str>::new());
    assert_eq!(ids(&plan.drift), ["update:vm.web-1", "update:vm.web-2", "delete:config.app"]);
    assert_eq!(world.regions, before);
    let known = &world.recorded.objects[&address("vm.web-2")];
    assert_eq!(known.regions, [region("a"), region("b")].into());
    assert!(!world.recorded.objects.contains_key(&address("config.app")));
}

#[test]
fn refreshing_sees_which_side_of_a_pair_differs() {
    for (odd, reasons) in [
        ("a", ["at a differs sync_interval", "at b differs sync_interval from what a says, so it is left out"]),
        ("b", ["", "at b differs sync_interval from what a says, so it is left out"]),
    ] {
        let mut world = World::settled();
        let pair_id = pair("a", "b");
        world.at(odd).pairs.get_mut(&pair_id).unwrap().spec.sync_interval = Duration::from_secs(7);
        world.options.mode = Mode::RefreshOnly;
        let before = world.regions.clone();
        let plan = world.apply();
        assert_eq!(ids(&plan.drift), ["update:replication.a.b"], "{odd}");
        let reasons: Vec<&str> = reasons.into_iter().filter(|reason| !reason.is_empty()).collect();
        assert_eq!(plan.drift[0].reason, reasons.join("; "));
        assert_eq!(plan.drift[0].drops, [region("b")]);
        assert_eq!(world.regions, before);
        // The record says what the source says, and that it is so at the source alone.
        let known = &world.recorded.objects[&address("replication.a.b")];
        assert_eq!(known.regions, [region("a")].into());
        assert_settled(&world);
        world.options.mode = Mode::Normal;
        assert_eq!(ids(&world.apply().changes), ["update:replication.a.b"]);
        assert_eq!(world.at("b").pairs[&pair_id].spec, pair_spec());
        assert_eq!(world.at("a").pairs[&pair_id].spec, pair_spec());
        assert_settled(&world);
    }
}

#[test]
fn refreshing_sees_a_replica_that_differs_and_one_in_foreign_hands() {
    let mut world = World::settled();
    world.options.mode = Mode::RefreshOnly;
    world.record("b", "vm.web-1").spec.labels.insert("hand".into(), "made".into());
    world.record("c", "vm.web-2").managed_by = None;
    let plan = world.apply();
    let reasons: Vec<(&str, &str)> =
        plan.drift.iter().map(|change| (change.id.as_str(), change.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            ("update:vm.web-1", "at b differs labels.hand from what a says, so it is left out"),
            ("update:vm.web-2", "at c it is managed by nobody"),
        ]
    );
    assert_settled(&world);
}

#[test]
fn reconcile_leaves_what_was_never_applied() {
    let mut world = World::settled();
    world.options.mode = Mode::Reconcile;
    world.spec("vm.web-1").labels.insert("tier".into(), "web".into());
    world.record("b", "vm.web-2").spec.labels.insert("hand".into(), "made".into());
    let plan = world.plan();
    assert_eq!(plan.effects().count(), 0);
    let messages: Vec<&str> = plan.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "1 entry of changes never applied left alone: `apply` carries them out",
            "1 entry of drift left alone: `--allow sync,drift` mends them"
        ]
    );
    world.options.allow = Allow { sync: true, drift: true };
    assert_eq!(ids(&world.plan().drift), ["update:vm.web-2"]);
}

#[test]
fn reconcile_does_not_go_back() {
    let mut world = World::settled();
    world.options.mode = Mode::Reconcile;
    let present = world.topology.digest;
    world.superseded.insert(present);
    assert!(world.try_plan().is_ok(), "the last one, though it was applied before too");
    world.recorded.topology = Some(Digest::of(b"newer"));
    assert_eq!(world.refusal(), "earlier_topology");
    world.options.mode = Mode::Normal;
    assert!(world.try_plan().is_ok(), "on purpose");
}

#[test]
fn a_plan_warns_of_full_regions_and_lonely_resources() {
    let mut world = World::settled();
    world.topology.regions.get_mut(&region("a")).unwrap().capacity_vms = 1;
    world.topology.resources.insert(key("vm.lonely"), resource("b", &[]));
    let plan = world.plan();
    let messages: Vec<&str> = plan.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["holds 2 VMs, more than its capacity_vms of 1", "kept at b only: nothing protects it"]);
}
