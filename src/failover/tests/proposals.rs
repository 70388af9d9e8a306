//! What a failover moves, from where, in which order, and what follows.

use std::collections::BTreeMap;

use super::world::{World, key, minutes, operation, region, regions};
use crate::failover::{FenceHook, OldSide, Outcome, Proposal, Unfit, Wish};
use crate::model::ResourceKey;
use crate::model::point::{Point, PointSelector, PointState};
use crate::model::policy::Strategy;
use crate::model::region::{Epoch, Role};

fn names(keys: impl IntoIterator<Item = ResourceKey>) -> Vec<String> {
    keys.into_iter().map(|key| key.to_string()).collect()
}

fn going(proposal: &Proposal) -> Vec<String> {
    names(proposal.going().map(|one| one.resource.clone()))
}

#[test]
fn a_source_that_answers_is_failed_over_gracefully_and_loses_nothing() {
    let proposal = World::well().propose();
    assert_eq!((proposal.strategy, proposal.outcome), (Strategy::Graceful, Outcome::Goes));
    assert!(proposal.loses_nothing && proposal.source.answers);
    assert_eq!(proposal.source.stopped, OldSide::Demotion);
    assert_eq!(going(&proposal), ["vm.db", "vm.web"]);
    assert!(proposal.moves.iter().all(|one| one.loss.as_ref().unwrap().at_most.is_zero() && one.starts));
    for asked in [Strategy::Automatic, Strategy::Graceful] {
        let mut world = World::well();
        world.request.strategy = Some(asked);
        assert_eq!(world.propose().strategy, Strategy::Graceful, "{asked:?}");
    }
}

#[test]
fn a_silent_source_is_failed_over_by_hand_from_the_newest_point() {
    let mut world = World::dead();
    world.request.overrides.fenced = Some("its power is off".to_owned());
    let proposal = world.propose();
    assert_eq!((proposal.strategy, proposal.outcome), (Strategy::Manual, Outcome::Goes));
    assert_eq!(proposal.source.stopped, OldSide::Word("its power is off".to_owned()));
    assert_eq!(proposal.source.last_seen, Some(minutes(2)));
    let db = &proposal.moves[0];
    assert_eq!(db.loss.as_ref().unwrap().at_most, minutes(2), "last seen 2m ago, verified 4m ago");
    assert_eq!(db.point.as_ref().unwrap().sequence, 7);
}

#[test]
fn what_is_lost_does_not_grow_while_the_source_is_dead_and_is_never_below_zero() {
    let mut world = World::dead();
    let lost = |world: &World| world.propose().moves[0].loss.clone().unwrap();
    assert_eq!(lost(&world).at_most, minutes(2));
    world.now = world.now.plus(minutes(60));
    for id in ["b", "c"] {
        world.at(id).sightings.insert(region("a"), super::world::evidence(Some(minutes(62)), true));
    }
    assert_eq!(lost(&world).at_most, minutes(2), "an hour later");
    world.point("b", "vm.db", 8, minutes(10));
    world.point("c", "vm.db", 8, minutes(10));
    assert!(lost(&world).at_most.is_zero(), "verified after it was last seen");
}

#[test]
fn the_latest_sighting_counts_whoever_had_it() {
    let mut world = World::dead();
    world.at("c").sightings.insert(region("a"), super::world::evidence(Some(minutes(1)), true));
    let source = world.propose().source;
    assert_eq!((source.last_seen, source.seen_by), (Some(minutes(1)), Some(region("c"))));
    world.last_met = Some(world.now.before(minutes(1) / 2));
    let source = world.propose().source;
    assert_eq!((source.last_seen, source.seen_by), (Some(minutes(1) / 2), None));
}

#[test]
fn where_nobody_ever_saw_the_source_the_loss_is_counted_up_to_now() {
    let mut world = World::dead();
    for id in ["b", "c"] {
        world.at(id).sightings.clear();
    }
    let loss = world.propose().moves[0].loss.clone().unwrap();
    assert_eq!((loss.at_most, loss.counted_to_now), (minutes(4), true));
}

#[test]
fn a_fresher_point_elsewhere_is_pulled_first_and_is_no_refusal() {
    let mut world = World::dead();
    world.request.overrides.fenced = Some("seen".to_owned());
    world.point("c", "vm.db", 8, minutes(3));
    let proposal = world.propose();
    assert_eq!(proposal.outcome, Outcome::Goes);
    let point = proposal.moves[0].point.clone().unwrap();
    assert_eq!((point.region, point.sequence), (region("c"), 8));
    assert_eq!(proposal.moves[0].loss.as_ref().unwrap().at_most, minutes(1));
    assert_eq!(proposal.moves[1].point.as_ref().unwrap().region, region("b"), "the other one is as fresh here");
}

#[test]
fn the_same_bytes_verified_later_elsewhere_are_not_pulled_and_count() {
    let mut world = World::dead();
    world.point("c", "vm.db", 7, minutes(3));
    let proposal = world.propose();
    let db = &proposal.moves[0];
    assert_eq!(db.point.as_ref().unwrap().region, region("b"));
    assert_eq!(db.loss.as_ref().unwrap().at_most, minutes(1));
}

#[test]
fn a_damaged_copy_is_not_promoted_where_a_whole_one_can_be_pulled() {
    let mut world = World::dead();
    world.at("b").replicas.get_mut(&key("vm.db")).unwrap().damage = Some("disk.raw is missing".to_owned());
    world.point("c", "vm.db", 6, minutes(9));
    assert_eq!(world.propose().moves[0].point.as_ref().unwrap().region, region("c"));
}

#[test]
fn an_earlier_point_is_one_resources_and_never_graceful() {
    let mut world = World::well();
    world.request.point = Wish::One(PointSelector::Sequence(5));
    assert_eq!(world.try_propose(), Err(Unfit::PointOfOne));
    world.only(&["db"]);
    let mut earlier = world.at("b").replicas[&key("vm.db")].newest.clone().unwrap().point;
    earlier.sequence = 5;
    earlier.verified_at = world.now.before(minutes(30));
    world.points.insert(key("vm.db"), vec![earlier]);
    let proposal = world.propose();
    assert_eq!((proposal.strategy, proposal.loses_nothing), (Strategy::Manual, false));
    assert_eq!(proposal.moves[0].point.as_ref().unwrap().selector, PointSelector::Sequence(5));
    assert_eq!(proposal.moves[0].loss.as_ref().unwrap().at_most, minutes(30), "the source answers: up to now");
    world.request.strategy = Some(Strategy::Graceful);
    assert_eq!(world.try_propose(), Err(Unfit::GracefulPoint));
}

#[test]
fn a_moment_is_the_newest_complete_point_that_was_read_then_or_before_for_each() {
    let mut world = World::well();
    let now = world.now;
    let before = |at| now.before(minutes(at));
    let mut kept = BTreeMap::new();
    for (id, ages) in [("vm.db", [(5, 14), (6, 10), (7, 3)]), ("vm.web", [(2, 13), (3, 11), (4, 3)])] {
        let newest = world.at("b").replicas[&key(id)].newest.clone().unwrap().point;
        let point =
            |(sequence, age)| Point { sequence, read_at: before(age), verified_at: before(age), ..newest.clone() };
        kept.insert(key(id), ages.map(point).to_vec());
    }
    kept.get_mut(&key("vm.web")).unwrap()[1].state = PointState::Damaged;
    world.request.point = Wish::AsOf(before(10));
    world.points = kept;
    let chosen = |world: &mut World| {
        let moves = world.propose().moves;
        moves.iter().map(|it| it.point.as_ref().map(|point| point.sequence)).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&mut world), [Some(6), Some(2)], "a damaged one is passed over");
    world.request.point = Wish::AsOf(before(11));
    assert_eq!(chosen(&mut world), [Some(5), Some(2)]);
    world.request.point = Wish::AsOf(before(14));
    assert_eq!(chosen(&mut world), [Some(5), None]);
    assert_eq!(going(&world.propose()), ["vm.db"], "what has none of that age stays where it is");
}

#[test]
fn what_the_source_does_not_hold_stays_out_of_it() {
    let mut world = World::well();
    world.add("vm.other", "b", &["a"], minutes(1));
    world.add("config.app", "a", &["b"], minutes(1));
    let proposal = world.propose();
    assert_eq!(going(&proposal), ["vm.db", "config.app", "vm.web"]);
    let config = proposal.moves.iter().find(|one| one.resource == key("config.app")).unwrap();
    assert!(!config.starts, "nothing is started for it");
    world.only(&["other"]);
    assert_eq!(world.propose().outcome, Outcome::Nothing, "it is at the target already");
    world.request.to = Some(region("c"));
    let elsewhere = Unfit::HeldElsewhere { resource: key("vm.other"), holder: region("b"), from: region("a") };
    assert_eq!(world.try_propose(), Err(elsewhere));
    world.only(&["nobody"]);
    assert!(matches!(world.try_propose(), Err(Unfit::UnknownResource(_))));
}

#[test]
fn a_resource_goes_after_what_it_depends_on() {
    let mut world = World::well();
    world.add("vm.front", "a", &["b"], minutes(1));
    world.spec("vm.front").depends_on.extend(["web".parse().unwrap(), "db".parse().unwrap()]);
    world.add("vm.alone", "a", &["b"], minutes(1));
    let levels: Vec<(String, u32)> =
        world.propose().moves.iter().map(|one| (one.resource.to_string(), one.level)).collect();
    let expected = [("vm.alone", 0), ("vm.db", 0), ("vm.web", 1), ("vm.front", 2)];
    assert_eq!(levels, expected.map(|(name, level)| (name.to_owned(), level)));
}

#[test]
fn what_is_held_back_holds_back_what_depends_on_it_and_the_rest_goes() {
    let mut world = World::well();
    world.add("vm.front", "a", &["b"], minutes(1));
    world.spec("vm.front").depends_on.insert("web".parse().unwrap());
    world.add("vm.alone", "a", &["b"], minutes(1));
    world.spec("vm.db").allowed_regions.insert("jurisdiction".to_owned(), ["eu".to_owned()].into());
    let proposal = world.propose();
    assert_eq!(proposal.outcome, Outcome::Partly);
    assert_eq!(going(&proposal), ["vm.alone"]);
    assert_eq!(names(proposal.held().into_keys()), ["vm.db", "vm.front", "vm.web"]);
    assert_eq!(proposal.held()[&key("vm.front")], "it needs vm.web, which stays");
}

#[test]
fn where_everything_is_held_back_it_is_refused() {
    let mut world = World::well();
    for name in ["vm.db", "vm.web"] {
        world.spec(name).allowed_regions.insert("jurisdiction".to_owned(), ["eu".to_owned()].into());
    }
    let proposal = world.propose();
    assert_eq!((proposal.outcome, proposal.going().count()), (Outcome::Refused, 0));
}

#[test]
fn nothing_left_to_move_is_no_refusal() {
    let mut world = World::well();
    world.request = crate::failover::Request::new(region("c"), region("b"));
    world.kill("c", minutes(2));
    let proposal = world.propose();
    assert_eq!((proposal.outcome, proposal.gates.len(), proposal.hooks.len()), (Outcome::Nothing, 0, 0));
}

#[test]
fn afterwards_the_new_holder_feeds_the_others_with_the_settings_that_fed_them() {
    let mut world = World::well();
    let faster = minutes(1);
    let pair = crate::model::PairId { source: region("a"), target: region("c") };
    world.topology.pairs.get_mut(&pair).unwrap().sync_interval = faster;
    let proposal = world.propose();
    let fed: Vec<_> = proposal.feeds.iter().map(|feed| (feed.target.clone(), feed.interval, feed.at_once)).collect();
    assert_eq!(fed, [(region("a"), minutes(5), true), (region("c"), faster, true)]);
    assert!(proposal.unprotected.is_empty());
}

#[test]
fn what_has_one_copy_only_afterwards_is_named() {
    let mut world = World::dead();
    world.request.overrides.fenced = Some("seen".to_owned());
    world.add_pair("a", "b");
    world.spec("vm.db").replicas = regions(&["b"]);
    let proposal = world.propose();
    let one = &proposal.unprotected;
    assert_eq!((one.len(), one[0].resource.clone(), one[0].until.as_str()), (1, key("vm.db"), "a is back"));
    let old = proposal.feeds.iter().find(|feed| feed.target == region("a")).unwrap();
    assert!(!old.at_once, "the old side is not fed before it returned");
}

#[test]
fn the_policys_candidates_come_in_their_order_and_else_the_freshest() {
    let mut world = World::dead();
    world.request.overrides.fenced = Some("seen".to_owned());
    world.request.to = None;
    world.point("c", "vm.web", 8, minutes(3));
    world.point("c", "vm.db", 8, minutes(3));
    assert_eq!(world.propose().to, region("c"), "the freshest");
    world.topology.policy.failover.candidates = vec![region("a"), region("b"), region("c")];
    assert_eq!(world.propose().to, region("b"), "the first, and never the source");
    world.silence("b");
    let proposal = world.propose();
    assert_eq!((proposal.to.clone(), proposal.passed_over[0].region.clone()), (region("c"), region("b")));
}

#[test]
fn a_cascading_one_goes_on_where_a_candidate_is_refused() {
    let mut world = World::dead();
    world.request.overrides.fenced = Some("seen".to_owned());
    world.request.to = None;
    world.topology.policy.failover.candidates = vec![region("b"), region("c")];
    world.topology.regions.get_mut(&region("b")).unwrap().capacity_vms = 1;
    assert_eq!(world.propose().outcome, Outcome::Refused, "by hand it stays with the first");
    world.request.strategy = Some(Strategy::Cascading);
    let proposal = world.propose();
    assert_eq!((proposal.to.clone(), proposal.outcome), (region("c"), Outcome::Goes));
    assert!(proposal.passed_over[0].why.contains("would hold 2 VMs"), "{:?}", proposal.passed_over);
    world.topology.regions.get_mut(&region("c")).unwrap().capacity_vms = 1;
    let proposal = world.propose();
    assert_eq!((proposal.to.clone(), proposal.outcome), (region("b"), Outcome::Refused), "the first says why");
    world.request.to = Some(region("b"));
    assert_eq!(world.propose().next, [region("c")]);
}

#[test]
fn hooks_run_in_their_order_and_the_fence_only_where_it_is_needed() {
    let mut world = World::well();
    world.topology.policy.failover.hooks.before = vec!["/bin/before".to_owned()];
    world.topology.policy.failover.hooks.fence = vec!["/bin/fence".to_owned()];
    world.topology.policy.failover.hooks.after = vec!["/bin/after".to_owned()];
    world.fence = FenceHook::Ready;
    let commands = |world: &World| -> Vec<String> {
        world.propose().hooks.into_iter().map(|hook| hook.command[0].clone()).collect()
    };
    assert_eq!(commands(&world), ["/bin/before", "/bin/after"]);
    world.kill("a", minutes(2));
    assert_eq!(commands(&world), ["/bin/before", "/bin/fence", "/bin/after"]);
}

#[test]
fn judged_again_its_own_operation_is_no_obstacle() {
    let mut world = World::well();
    for id in ["a", "b", "c"] {
        world.open(id, "vm.db", operation(1));
    }
    world.at("a").resources.get_mut(&key("vm.db")).unwrap().role = Role::Demoted;
    let proposal = world.propose();
    assert_eq!(names(proposal.held().into_keys()), ["vm.db", "vm.web"], "another one's");
    world.request.operation = Some(operation(1));
    assert_eq!(world.propose().held().into_keys().next(), None);
}

#[test]
fn two_that_both_claim_it_hold_it_back() {
    let mut world = World::well();
    world.at("c").resources.get_mut(&key("vm.web")).unwrap().role = Role::Holder;
    let proposal = world.propose();
    assert_eq!(names(proposal.held().into_keys()), ["vm.web"]);
    assert!(proposal.held()[&key("vm.web")].contains("a and c both hold it"), "{:?}", proposal.held());
    world.request = crate::failover::Request::new(region("c"), region("b"));
    assert_eq!(names(world.propose().held().into_keys()), ["vm.web"], "from the other side, too");
}

#[test]
fn a_later_epoch_counts_whatever_the_old_holder_still_says() {
    let mut world = World::well();
    for id in ["b", "c"] {
        let record = world.at(id).resources.get_mut(&key("vm.web")).unwrap();
        record.epoch = Epoch(5);
        record.holder = region("c");
        record.role = if id == "c" { Role::Holder } else { Role::Replica };
    }
    assert_eq!(going(&world.propose()), ["vm.db"], "vm.web is c's");
}

#[test]
fn nonsense_is_told() {
    let mut world = World::well();
    world.request.to = Some(region("a"));
    assert_eq!(world.try_propose(), Err(Unfit::SameRegion(region("a"))));
    world.request.to = Some(region("x"));
    assert_eq!(world.try_propose(), Err(Unfit::UnknownRegion(region("x"))));
    for id in ["a", "b", "c"] {
        world.silence(id);
    }
    assert_eq!(world.try_propose(), Err(Unfit::NobodyAnswered(region("a"))));
}
