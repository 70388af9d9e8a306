//! Who may start a machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::roles::{Regions, attempt, authority, bid, book, id, ids, key};
use crate::failover::{Agent, Book, Hold, Mandate, Order, Refusal, may_run};
use crate::model::failover::{Part, Standings};
use crate::model::{Life, RegionId, StoreId};

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
fn a_region_that_forgot_an_operation_is_not_believed() {
    let mut regions = Regions::new();
    let backup = regions.books[&id("b")].clone();
    accept(&mut regions, &["b"]);
    regions.books.get_mut(&id("b")).unwrap().serial += 1;
    regions.running.clear();
    regions.restart("a");
    regions.talk();
    assert_eq!(may(&regions, "a"), Err(Hold::OpenAt(id("b"), bid(1).failover.id)));
    let mut hears = |told: &Book| {
        let told = Arc::new(told.standings(&regions.agents[&id("b")], &BTreeSet::new()));
        let own = &regions.books[&id("a")];
        regions.agents.get_mut(&id("a")).unwrap().hear(own, [(id("b"), told)]);
        may(&regions, "a")
    };
    // It was not told yet that its store went back.
    assert_eq!(hears(&backup), Err(Hold::Unheard(id("b"))));
    let founded_anew = Book { store: StoreId(Uuid::from_u128(99)), serial: 1, ..backup.clone() };
    assert_eq!(hears(&founded_anew), Err(Hold::Unheard(id("b"))));
    // Once it was readmitted, it is above all that was ever met of it.
    assert_eq!(hears(&Book { serial: 3, ..founded_anew }), Ok(()));
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

/// A hundred regions, and a hundred machines that each of them holds, with copies at the next two.
fn many() -> Vec<Book> {
    let names: Vec<RegionId> = (0..100).map(|n| id(&format!("r{n:03}"))).collect();
    let books = names.iter().enumerate().map(|(n, name)| {
        let like = |other: usize| if other == n { "a" } else { "b" };
        let parts = [n, (n + 99) % 100, (n + 98) % 100].into_iter().flat_map(|holder| {
            let part = book(like(holder)).parts[&key("db")].clone();
            let holder_id = names[holder].clone();
            (0..100).map(move |vm| {
                let part = Part { holder: holder_id.clone(), ..part.clone() };
                (key(&format!("vm-{:05}", holder * 100 + vm)), part)
            })
        });
        Book {
            region: name.clone(),
            store: StoreId(Uuid::from_u128(n as u128 + 1)),
            registry: names.iter().cloned().collect(),
            parts: parts.collect(),
            ..book("a")
        }
    });
    books.collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a generous deadline")]
fn what_a_hundred_regions_say_costs_little_once_this_one_is_clear() {
    let books = many();
    let nothing = BTreeSet::new();
    let agent = || Agent::new(Life(Uuid::from_u128(9)));
    let tell = |book: &Book| (book.region.clone(), Arc::new(book.standings(&agent(), &nothing)));
    let told: Vec<(RegionId, Arc<Standings>)> = books[1..].iter().map(tell).collect();
    let (own, mut hears) = (&books[0], agent());
    let began = Instant::now();
    // One after the other, ten times.
    for (region, told) in (0..10).flat_map(|_| told.iter().cloned()) {
        hears.hear(own, [(region, told)]);
    }
    assert!(own.parts.keys().all(|key| hears.is_clear(key) && hears.is_abreast(key)));
    // To look at all ten thousand machines at all regions with each answer takes minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_machine_that_is_new_is_clear_with_the_next_word_of_anybody() {
    let mut regions = Regions::new();
    regions.running.clear();
    let new = regions.books[&id("a")].parts[&key("db")].clone();
    regions.books.get_mut(&id("a")).unwrap().parts.insert(key("new"), new);
    let is_clear = |regions: &Regions| regions.agents[&id("a")].is_clear(&key("new"));
    assert!(!is_clear(&regions));
    regions.silent.insert(id("c"));
    regions.talk();
    assert!(is_clear(&regions));
}
