//! Who may start a machine.

use std::collections::BTreeSet;

use super::roles::{Regions, attempt, authority, bid, id, ids, key};
use crate::failover::{Hold, Mandate, Order, Refusal, may_run};

fn may(regions: &Regions, region: &str) -> Result<(), Hold> {
    may_run(&regions.books[&id(region)], &regions.agents[&id(region)], &key("db"), None)
}

fn accept(regions: &mut Regions, at: &[&str]) {
    for region in at {
        regions.ask(&id(region), &Order::Accept { authority: authority(1), bid: Box::new(bid(1)) }).unwrap();
    }
}

fn hold(regions: &mut Regions, accepted: &[&str]) -> Result<(), Refusal> {
    let life = regions.agents[&id("b")].life;
    let mandate = Mandate { operation: bid(1).failover.id, attempt: attempt(1), life, accepted: ids(accepted) };
    let order = Order::Hold { authority: authority(1), mandate, resources: BTreeSet::from([key("db")]) };
    regions.ask(&id("b"), &order).map(|_| ())
}

#[test]
fn after_a_start_of_its_agent_a_holder_waits_for_everybody() {
    let mut regions = Regions::new();
    regions.running.clear();
    regions.restart("a");
    assert_eq!(may(&regions, "a"), Err(Hold::Unheard(id("b"))));
    regions.silent.insert(id("c"));
    regions.talk();
    assert_eq!(may(&regions, "a"), Err(Hold::Unheard(id("c"))));
    regions.silent.clear();
    regions.talk();
    assert_eq!(may(&regions, "a"), Ok(()));
    assert!(matches!(may(&regions, "b"), Err(Hold::Role(Some(_)))));
}

#[test]
fn an_operation_that_is_open_elsewhere_keeps_it_stopped() {
    let mut regions = Regions::new();
    accept(&mut regions, &["b"]);
    regions.running.clear();
    regions.restart("a");
    regions.talk();
    assert_eq!(may(&regions, "a"), Err(Hold::OpenAt(id("b"), bid(1).failover.id)));
}

#[test]
fn what_runs_elsewhere_is_not_started() {
    let mut regions = Regions::new();
    regions.running = [(id("c"), BTreeSet::from([key("db")]))].into();
    regions.restart("a");
    regions.talk();
    assert_eq!(may(&regions, "a"), Err(Hold::RunsAt(id("c"))));
}

#[test]
fn a_region_that_knows_others_clears_nobody() {
    let mut regions = Regions::new();
    regions.books.get_mut(&id("b")).unwrap().registry = ids(&["b", "c"]);
    regions.restart("a");
    regions.talk();
    assert_eq!(may(&regions, "a"), Err(Hold::OtherRegistry(id("b"))));
}

#[test]
fn a_target_that_has_heard_everybody_needs_no_word_of_a_source_that_was_cut_off() {
    let mut regions = Regions::new();
    accept(&mut regions, &["b", "c"]);
    hold(&mut regions, &["b", "c"]).unwrap();
}

#[test]
fn a_target_that_has_not_needs_everybodys() {
    let mut regions = Regions::new();
    regions.restart("b");
    accept(&mut regions, &["b", "c"]);
    assert_eq!(hold(&mut regions, &["b", "c"]), Err(Refusal::Hold(key("db"), Hold::Unheard(id("a")))));
    accept(&mut regions, &["a"]);
    hold(&mut regions, &["a", "b", "c"]).unwrap();
}

#[test]
fn an_order_of_an_earlier_life_is_void() {
    let mut regions = Regions::new();
    accept(&mut regions, &["a", "b", "c"]);
    let mandate = Mandate {
        operation: bid(1).failover.id,
        attempt: attempt(1),
        life: regions.agents[&id("b")].life,
        accepted: ids(&["a", "b", "c"]),
    };
    regions.restart("b");
    let order = Order::Hold { authority: authority(1), mandate, resources: BTreeSet::from([key("db")]) };
    assert_eq!(regions.ask(&id("b"), &order), Err(Refusal::Hold(key("db"), Hold::OtherLife)));
}
