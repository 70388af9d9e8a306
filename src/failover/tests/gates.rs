//! The gates, each from both sides, and what passes it all the same.

use super::verdicts::judged;
use super::world::{World, key, minutes, operation, region, regions};
use crate::failover::{Asker, FenceHook, GateKind, OldSide, Outcome, Unfit};
use crate::model::failover::CutOff;
use crate::model::policy::Strategy;
use crate::model::region::Epoch;

fn fenced() -> World {
    let mut world = World::dead();
    world.request.overrides.fenced = Some("its power is off".to_owned());
    world
}

/// `a` is down by all evidence, and the policy fails over by itself.
fn automatic() -> World {
    let mut world = World::dead();
    world.fence = FenceHook::Ready;
    world.request.asker = Asker::Policy;
    world.request.strategy = Some(Strategy::Automatic);
    world.verdict = Some(judged(true));
    world
}

#[test]
fn a_silent_source_must_be_proven_stopped() {
    let mut world = World::dead();
    let gate = world.gate(GateKind::Fence, None);
    assert!(!gate.passes);
    assert_eq!(gate.figure, "a does not answer, and the policy names no fence hook");
    assert_eq!(gate.evidence_age, Some(minutes(2)));
    assert_eq!(gate.way_past.unwrap().option, "--fenced \"how you know\"");
    assert_eq!(world.propose().outcome, Outcome::Refused);
    world.fence = FenceHook::Missing("/etc/fence is not there".to_owned());
    let gate = world.gate(GateKind::Fence, None);
    assert!(!gate.passes && gate.figure.contains("/etc/fence is not there"), "{}", gate.figure);
    world.fence = FenceHook::Ready;
    assert!(world.gate(GateKind::Fence, None).passes);
    assert_eq!(world.propose().source.stopped, OldSide::Fence);
    world.request.overrides.fenced = Some("I pulled the plug".to_owned());
    assert_eq!(world.propose().source.stopped, OldSide::Word("I pulled the plug".to_owned()));
}

#[test]
fn a_source_that_was_cut_off_by_hand_needs_no_fence() {
    let mut world = World::dead();
    let (at, by) = (world.now.before(minutes(3)), "ops".to_owned());
    let mut cut_off = CutOff { epoch: Epoch(7), at, by, reason: None, stopped: false };
    world.at("c").cut_off.insert(region("a"), cut_off.clone());
    assert!(!world.gate(GateKind::Fence, None).passes, "nothing proves it stopped");
    cut_off.stopped = true;
    world.at("c").cut_off.insert(region("a"), cut_off.clone());
    let gate = world.gate(GateKind::Fence, None);
    assert!(gate.passes, "{}", gate.figure);
    assert_eq!(gate.evidence_age, Some(minutes(3)));
    assert_eq!(world.propose().source.stopped, OldSide::CutOff);
    // Nothing goes there before it is let in.
    world.at("c").cut_off = [(region("b"), cut_off)].into();
    let gate = world.gate(GateKind::Target, None);
    assert!(!gate.passes && gate.safer.as_ref().unwrap().contains("failover unfence b"), "{gate:?}");
    let mut world = World::well();
    world.at("c").cut_off =
        [(region("a"), CutOff { epoch: Epoch(7), at, by: "ops".to_owned(), reason: None, stopped: true })].into();
    assert_eq!(world.propose().source.stopped, OldSide::Demotion, "what answers gives up by itself");
}

#[test]
fn a_source_without_a_runner_gives_up_only_to_one_without_a_runner() {
    let mut world = World::well();
    world.runners = regions(&["b", "c"]);
    let gate = world.gate(GateKind::Fence, None);
    assert!(!gate.passes, "{}", gate.figure);
    world.fence = FenceHook::Ready;
    assert!(!world.gate(GateKind::Fence, None).passes, "a region that is cut off cannot be copied once more");
    world.request.strategy = Some(Strategy::Manual);
    let gate = world.gate(GateKind::Fence, None);
    assert!(!gate.passes, "the hook is run for what is silent: {}", gate.figure);
    world.request.overrides.fenced = Some("I looked".to_owned());
    assert!(world.gate(GateKind::Fence, None).passes);
    world.request.overrides.fenced = None;
    world.runners = regions(&[]);
    world.request.strategy = None;
    let gate = world.gate(GateKind::Fence, None);
    assert!(gate.passes && gate.figure.starts_with("NOT FENCED BY US"), "{}", gate.figure);
    assert_eq!(world.propose().source.stopped, OldSide::Unwatched);
}

#[test]
fn a_source_that_is_gone_needs_no_fence() {
    let mut world = World::dead();
    world.request.overrides.gone.insert(region("a"), "it burnt".to_owned());
    let proposal = world.propose();
    assert_eq!((proposal.outcome, proposal.source.stopped), (Outcome::Goes, OldSide::Gone("it burnt".to_owned())));
    let mut world = World::well();
    world.request.overrides.gone.insert(region("a"), "it burnt".to_owned());
    let gate = world.gate(GateKind::Agreement, None);
    assert!(!gate.passes, "what answers is not gone: {}", gate.figure);
}

#[test]
fn more_than_the_promised_loss_needs_somebodys_word() {
    let mut world = fenced();
    world.spec("vm.web").max_lag = Some(minutes(1));
    let gate = world.gate(GateKind::Loss, Some("vm.web"));
    assert!(!gate.passes);
    assert_eq!(gate.figure, "at most 2m is lost, 1m may be; a was last seen 2m ago by c");
    assert_eq!(gate.evidence_age, Some(minutes(2)));
    assert_eq!(gate.way_past.as_ref().unwrap().option, "--accept-data-loss 2m");
    let proposal = world.propose();
    assert_eq!(proposal.outcome, Outcome::Partly, "vm.db goes");
    world.request.overrides.accept_data_loss = Some(minutes(1));
    assert!(!world.gate(GateKind::Loss, Some("vm.web")).passes, "less than is lost");
    world.request.overrides.accept_data_loss = Some(minutes(2));
    let gate = world.gate(GateKind::Loss, Some("vm.web"));
    assert!(gate.passes && gate.is_overridden());
    assert!(!world.gate(GateKind::Loss, Some("vm.db")).is_overridden(), "it needs none");
    assert_eq!(world.propose().outcome, Outcome::Goes);
}

#[test]
fn the_promise_is_three_intervals_where_none_is_declared() {
    let world = fenced();
    assert_eq!(world.propose().moves[0].loss.as_ref().unwrap().allowed, minutes(15));
}

#[test]
fn without_a_point_there_is_nothing_to_promote() {
    let mut world = fenced();
    for id in ["b", "c"] {
        world.at(id).replicas.get_mut(&key("vm.web")).unwrap().newest = None;
    }
    let gate = world.gate(GateKind::Point, Some("vm.web"));
    assert!(!gate.passes && gate.way_past.is_none(), "{gate:?}");
    assert_eq!(world.propose().held().into_keys().collect::<Vec<_>>(), [key("vm.web")]);
    world.silence("b");
    assert!(
        world.propose().gates.iter().all(|gate| gate.kind != GateKind::Point),
        "of a silent target nothing is said"
    );
}

#[test]
fn a_region_that_is_not_allowed_is_not_overridden() {
    let mut world = World::well();
    world.spec("vm.web").allowed_regions.insert("jurisdiction".to_owned(), ["eu".to_owned()].into());
    world.topology.regions.get_mut(&region("c")).unwrap().labels.insert("jurisdiction".to_owned(), "eu".to_owned());
    let gate = world.gate(GateKind::Compliance, Some("vm.web"));
    assert!(!gate.passes && gate.way_past.is_none());
    assert_eq!(gate.figure, "the jurisdiction of b is none, and must be `eu`");
    assert_eq!(gate.safer.unwrap(), "move it to c; nothing overrides this");
    world.request.to = Some(region("c"));
    assert!(world.gate(GateKind::Compliance, Some("vm.web")).passes);
}

#[test]
fn a_target_that_is_full_takes_nothing_more() {
    let mut world = World::well();
    world.add("vm.own", "b", &[], minutes(1));
    world.topology.regions.get_mut(&region("b")).unwrap().capacity_vms = 2;
    let gate = world.gate(GateKind::Capacity, None);
    assert!(!gate.passes);
    assert_eq!(gate.figure, "b would hold 3 VMs, and is declared for 2");
    world.request.overrides.ignore_capacity = true;
    assert!(world.gate(GateKind::Capacity, None).is_overridden());
    assert_eq!(world.propose().outcome, Outcome::Goes);
    world.request.overrides.ignore_capacity = false;
    world.only(&["db"]);
    assert!(world.gate(GateKind::Capacity, None).passes, "two of two");
}

#[test]
fn what_a_fence_stops_and_nothing_starts_is_a_gate_of_its_own() {
    let mut world = World::dead();
    world.fence = FenceHook::Ready;
    assert!(world.gate(GateKind::Collateral, None).passes);
    world.only(&["db"]);
    let gate = world.gate(GateKind::Collateral, None);
    assert!(!gate.passes && gate.figure.contains("stops vm.web at a"), "{}", gate.figure);
    assert_eq!(world.propose().source.collateral.into_iter().collect::<Vec<_>>(), [key("vm.web")]);
    world.request.overrides.accept_collateral = true;
    assert_eq!(world.propose().outcome, Outcome::Goes);
    let mut world = World::well();
    world.only(&["db"]);
    assert!(world.propose().gates.iter().all(|gate| gate.kind != GateKind::Collateral), "no fence, no collateral");
}

#[test]
fn what_is_held_back_is_stopped_by_a_fence_all_the_same() {
    let mut world = World::dead();
    world.fence = FenceHook::Ready;
    world.spec("vm.web").max_lag = Some(minutes(1));
    assert!(!world.gate(GateKind::Collateral, None).passes);
}

#[test]
fn every_other_registered_region_must_agree_or_be_gone() {
    let mut world = World::well();
    world.kill("c", minutes(9));
    let gate = world.gate(GateKind::Agreement, None);
    assert!(!gate.passes);
    assert_eq!(
        (gate.evidence_age, gate.way_past.unwrap().option),
        (Some(minutes(9)), "--gone c=\"how you know\"".to_owned())
    );
    world.request.overrides.gone.insert(region("c"), "sold".to_owned());
    assert_eq!(world.propose().outcome, Outcome::Goes);
    assert!(world.propose().feeds.iter().all(|feed| feed.target != region("c")), "nobody feeds what is gone");

    // Once is enough: whoever keeps it tells the next one.
    world.request.overrides.gone.clear();
    world.at("b").gone.insert(region("c"), "sold".to_owned());
    let gate = world.gate(GateKind::Agreement, None);
    assert!(gate.passes && !gate.is_overridden() && gate.figure.contains("sold"), "{gate:?}");
    assert!(world.propose().feeds.iter().all(|feed| feed.target != region("c")));
}

#[test]
fn that_a_source_was_declared_gone_before_does_not_prove_it_stopped() {
    let mut world = World::dead();
    world.at("b").gone.insert(region("a"), "it burnt".to_owned());
    assert!(!world.gate(GateKind::Fence, None).passes, "it may have come back since");
}

#[test]
fn a_target_that_is_silent_gone_or_unregistered_takes_nothing() {
    let mut world = fenced();
    world.kill("b", minutes(1));
    assert!(!world.gate(GateKind::Target, None).passes);
    world.request.overrides.gone.insert(region("b"), "x".to_owned());
    assert_eq!(world.gate(GateKind::Target, None).figure, "b was declared gone");
    let mut world = fenced();
    world.silence("b");
    world.at("c").regions.remove(&region("b"));
    assert!(!world.gate(GateKind::Target, None).passes);
}

#[test]
fn graceful_needs_the_source() {
    let mut world = fenced();
    world.request.strategy = Some(Strategy::Graceful);
    assert!(!world.gate(GateKind::Source, None).passes);
    world.request.strategy = None;
    assert_eq!(world.propose().outcome, Outcome::Goes);
}

#[test]
fn an_open_operation_is_ended_first() {
    let mut world = World::well();
    world.open("c", "vm.web", operation(7));
    let gate = world.gate(GateKind::Open, Some("vm.web"));
    assert!(!gate.passes && gate.way_past.is_none());
    assert!(gate.safer.unwrap().contains(&operation(7).to_string()));
}

#[test]
fn the_policy_alone_fails_over_what_is_down_by_all_evidence() {
    let mut world = automatic();
    let proposal = world.propose();
    assert_eq!((proposal.outcome, proposal.strategy), (Outcome::Goes, Strategy::Automatic), "{:#?}", proposal.gates);
    world.verdict = Some(judged(false));
    assert!(!world.gate(GateKind::Verdict, None).passes);
    world.verdict = None;
    assert!(!world.gate(GateKind::Verdict, None).passes, "not judged is not down");
    world.verdict = Some(judged(true));
    world.request.to = Some(region("c"));
    assert!(world.gate(GateKind::Verdict, None).passes, "c meets silence, too");
    world.verdict.as_mut().unwrap().witnesses.retain(|witness| witness.region != Some(region("c")));
    let gate = world.gate(GateKind::Verdict, None);
    assert!(!gate.passes && gate.figure.contains("c is not one of them"), "{}", gate.figure);
    world.request.asker = Asker::Person;
    assert_eq!(world.propose().outcome, Outcome::Goes, "a person has the fence");
}

#[test]
fn the_policy_needs_the_hook_whatever_a_person_said() {
    let mut world = automatic();
    world.fence = FenceHook::Unnamed;
    world.request.overrides.fenced = Some("seen".to_owned());
    assert!(!world.gate(GateKind::Fence, None).passes);
}

#[test]
fn the_policy_stops_where_more_than_one_region_looks_down() {
    let mut world = automatic();
    assert!(world.gate(GateKind::Breaker, None).passes);
    world.at("b").sightings.insert(region("c"), super::world::evidence(Some(minutes(1)), true));
    let gate = world.gate(GateKind::Breaker, None);
    assert!(!gate.passes && gate.way_past.is_none());
    world.request.asker = Asker::Person;
    assert_eq!(world.propose().outcome, Outcome::Goes, "a person decides");
    let mut world = automatic();
    world.silence("c");
    assert!(!world.gate(GateKind::Breaker, None).passes);
    world.request.overrides.gone.insert(region("c"), "sold".to_owned());
    assert!(world.gate(GateKind::Breaker, None).passes, "those that are gone aside");
    world.request.overrides.gone.clear();
    world.at("b").gone.insert(region("c"), "sold".to_owned());
    assert!(world.gate(GateKind::Breaker, None).passes, "whoever said so");
}

#[test]
fn the_policy_waits_after_its_last_failover_and_a_person_does_not() {
    let mut world = automatic();
    world.last_automatic = Some(world.now.before(minutes(59)));
    let gate = world.gate(GateKind::Cooldown, None);
    assert!(!gate.passes && gate.safer.as_ref().unwrap().starts_with("wait 1m"), "{gate:?}");
    world.request.overrides.ignore_cooldown = true;
    assert_eq!(world.propose().outcome, Outcome::Goes);
    world.request.overrides.ignore_cooldown = false;
    world.last_automatic = Some(world.now.before(minutes(60)));
    assert_eq!(world.propose().outcome, Outcome::Goes);
    let now = world.now;
    world.at("b").last_automatic = Some(now.before(minutes(59)));
    assert!(!world.gate(GateKind::Cooldown, None).passes, "a region remembers what this state does not");
    world.at("b").last_automatic = None;
    world.last_automatic = Some(world.now);
    world.request.asker = Asker::Person;
    assert_eq!(world.propose().outcome, Outcome::Goes);
}

#[test]
fn a_pause_that_any_region_stored_binds_the_policy() {
    let mut world = automatic();
    world.paused = regions(&["c"]);
    assert!(!world.gate(GateKind::Pause, None).passes);
    world.request.asker = Asker::Person;
    assert_eq!(world.propose().outcome, Outcome::Goes);
}

#[test]
fn a_policy_that_leaves_it_to_a_person_does() {
    let mut world = automatic();
    world.request.strategy = None;
    assert_eq!(world.try_propose(), Err(Unfit::NotByItself(Strategy::Manual)));
}

#[test]
fn what_goes_home_by_itself_goes_gracefully_in_sync_after_the_cooldown_and_unpaused() {
    let mut world = World::well();
    world.request.asker = Asker::Failback;
    let proposal = world.propose();
    assert_eq!((proposal.outcome, proposal.strategy), (Outcome::Goes, Strategy::Graceful));
    world.last_automatic = Some(world.now.before(minutes(59)));
    let gate = world.gate(GateKind::Cooldown, None);
    assert!(!gate.passes && gate.safer.unwrap().contains("`failover back b`"));
    world.last_automatic = None;
    world.paused = regions(&["c"]);
    assert!(!world.gate(GateKind::Pause, None).passes);
    world.paused = regions(&[]);
    world.at("c").sightings.insert(region("b"), super::world::evidence(Some(minutes(1)), true));
    assert_eq!(world.gate(GateKind::Breaker, None).figure, "b look down");
    let mut world = World::well();
    world.request.asker = Asker::Failback;
    world.point("b", "vm.web", 7, minutes(16));
    let gate = world.gate(GateKind::Point, Some("vm.web"));
    assert!(!gate.passes && gate.figure.contains("16m ago, of 15m"), "{gate:?}");
    assert_eq!(world.propose().outcome, Outcome::Partly);
    world.request.asker = Asker::Person;
    assert_eq!(world.propose().outcome, Outcome::Goes, "a person's last sync takes as long as it takes");
}
