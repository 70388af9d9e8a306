//! What a region takes, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};

use super::roles::{Regions, attempt, authority, bid, book, id, ids, key, keys};
use crate::failover::{Agent, Reply};
use crate::failover::{Control, Known, Order, Refusal, Taken};
use crate::model::failover::{Attempt, Bid, Failover, Hook, Inert, Note, Part, Standings};
use crate::model::region::{Epoch, Role};
use crate::model::{AttemptOwner, Life, OperationId};
use uuid::Uuid;

fn accept(bid: Bid) -> Order {
    Order::Accept { authority: authority(1), bid: Box::new(bid) }
}

fn withdraw(bid: &Bid) -> Order {
    let (operation, attempt) = (bid.failover.id, bid.attempt);
    Order::Withdraw { authority: authority(1), operation, attempt, resources: keys() }
}

fn refused(order: &Order) -> Refusal {
    let mut book = book("b");
    let before = book.clone();
    let agent = Agent::new(Life(Uuid::nil()));
    let refusal = book.take(&agent, &BTreeSet::new(), false, order).unwrap_err();
    assert_eq!(book, before, "an order that is refused changes nothing");
    refusal
}

#[test]
fn only_the_recorded_controller_is_obeyed() {
    for term in [0, 2] {
        let order = Order::Accept { authority: authority(term), bid: Box::new(bid(1)) };
        assert!(matches!(refused(&order), Refusal::NotController(Some(_))));
    }
}

#[test]
fn a_higher_term_takes_over_and_no_other() {
    let mut book = book("b");
    let none = BTreeSet::new();
    let stranger = |term| Control::TakeOver {
        authority: crate::model::region::Authority { seat: crate::model::Seat(Uuid::from_u128(77)), ..authority(term) },
    };
    assert!(matches!(book.obey(&none, &stranger(1)), Err(Refusal::NotController(_))));
    book.obey(&none, &stranger(2)).unwrap();
    book.obey(&none, &stranger(2)).unwrap();
    assert!(matches!(book.authorize(&authority(1)), Err(Refusal::NotController(_))));
}

#[test]
fn an_attempt_is_accepted_once() {
    let mut regions = Regions::new();
    regions.ask(&id("b"), &accept(bid(2))).unwrap();
    let before = regions.books[&id("b")].clone();
    regions.ask(&id("b"), &accept(bid(2))).unwrap();
    assert_eq!(regions.books[&id("b")], before, "a repeat does nothing twice");
    let twin = Bid { attempt: Attempt { number: 2, owner: AttemptOwner(Uuid::from_u128(5)) }, ..bid(2) };
    for lower in [bid(1), twin] {
        assert!(matches!(regions.ask(&id("b"), &accept(lower)), Err(Refusal::Attempt(_))));
    }
}

#[test]
fn what_was_given_back_in_a_later_attempt_than_was_heard_of_is_given_back_again() {
    let mut regions = Regions::new();
    let (a, b, c) = (id("a"), id("b"), id("c"));
    // An operation was led back to `a` in its second attempt, and closed by the others in its fourth.
    for (region, number) in [(&a, 2), (&b, 4), (&c, 4)] {
        for part in regions.books.get_mut(region).unwrap().parts.values_mut() {
            (part.epoch, part.attempt) = (Epoch(2), number);
        }
    }
    let next = |number| Bid {
        failover: Failover { id: OperationId(Uuid::from_u128(8)), epoch: Epoch(3), ..bid(1).failover },
        ..bid(number)
    };
    regions.ask(&a, &accept(next(1))).unwrap();
    let attempt = next(1).attempt;
    let (operation, resources) = (next(1).failover.id, keys());
    regions.ask(&a, &Order::Demote { authority: authority(1), operation, attempt, resources }).unwrap();
    regions.restart("a");
    regions.talk();
    assert!(keys().iter().all(|key| regions.agents[&a].is_abreast(key)), "it may have it back");
    assert_eq!(regions.books[&a].parts[&key("db")].role, Role::Demoted, "by order only");
}

#[test]
fn whoever_is_told_that_it_holds_what_it_does_not_lost_its_memory() {
    let mut regions = Regions::new();
    let a = id("a");
    let abort = Bid { direction: crate::model::failover::Direction::Abort, ..bid(2) };
    regions.ask(&a, &accept(bid(1))).unwrap();
    let (operation, resources) = (bid(1).failover.id, keys());
    let (attempt, resources_too) = (bid(1).attempt, keys());
    regions.ask(&a, &Order::Demote { authority: authority(1), operation, attempt, resources }).unwrap();
    regions.ask(&a, &accept(abort.clone())).unwrap();
    let (attempt, resources) = (abort.attempt, resources_too);
    regions.ask(&a, &Order::Close { authority: authority(1), operation, attempt, resources }).unwrap();
    assert!(regions.books[&a].parts.values().all(|part| part.role == Role::Fenced));
}

#[test]
fn what_is_taken_back_before_it_changed_anything_declared_nobody_gone() {
    let b = id("b");
    let gone = |number| Bid { gone: BTreeMap::from([(id("c"), "it burnt".to_owned())]), ..bid(number) };
    let close = |bid: &Bid| {
        let (operation, attempt) = (bid.failover.id, bid.attempt);
        Order::Close { authority: authority(1), operation, attempt, resources: bid.resources.clone() }
    };
    let other = |bid: Bid| {
        let failover = Failover { id: OperationId(Uuid::from_u128(8)), epoch: Epoch(3), ..bid.failover };
        Bid { failover, resources: BTreeSet::from([key("mail")]), ..bid }
    };
    let is_gone = |orders: &[Order]| {
        let mut regions = Regions::new();
        let part = regions.books[&b].parts[&key("db")].clone();
        regions.books.get_mut(&b).unwrap().parts.insert(key("mail"), part);
        orders.iter().for_each(|order| drop(regions.ask(&b, order).unwrap()));
        regions.books[&b].gone.contains_key(&id("c"))
    };
    let withdraw = |bid: &Bid| {
        let (operation, attempt) = (bid.failover.id, bid.attempt);
        Order::Withdraw { authority: authority(1), operation, attempt, resources: bid.resources.clone() }
    };
    assert!(!is_gone(&[accept(gone(1)), withdraw(&gone(1))]));
    assert!(is_gone(&[accept(gone(1)), close(&gone(1))]), "it came about without the word of c");
    assert!(is_gone(&[accept(gone(2)), withdraw(&gone(2))]), "an earlier attempt may have led to something");
    let part = Bid { resources: BTreeSet::from([key("db")]), ..gone(1) };
    assert!(is_gone(&[accept(gone(1)), withdraw(&part)]), "what is left goes on");
    let rest = other(gone(1));
    assert!(is_gone(&[accept(gone(1)), accept(rest.clone()), withdraw(&gone(1))]), "another one goes by it");
    assert!(!is_gone(&[accept(gone(1)), accept(rest.clone()), withdraw(&gone(1)), withdraw(&rest)]));
    assert!(
        is_gone(&[accept(gone(1)), accept(rest.clone()), close(&rest), withdraw(&gone(1))]),
        "another one went by it"
    );
}

#[test]
fn while_an_operation_is_open_no_other_one_is() {
    let mut regions = Regions::new();
    regions.ask(&id("b"), &accept(bid(1))).unwrap();
    let mut other = bid(1);
    other.failover.id = OperationId(Uuid::from_u128(8));
    other.failover.epoch = Epoch(3);
    let Reply::Accepted(acceptance) = regions.ask(&id("b"), &accept(other)).unwrap() else { panic!() };
    let open = Taken::OpenElsewhere(bid(1).failover.id);
    assert_eq!(acceptance.resources, keys().into_iter().map(|key| (key, open.clone())).collect());
}

#[test]
fn who_runs_a_machine_does_not_agree_to_its_start_elsewhere() {
    let mut regions = Regions::new();
    regions.running.insert(id("c"), BTreeSet::from([key("db")]));
    let Reply::Accepted(acceptance) = regions.ask(&id("c"), &accept(bid(1))).unwrap() else { panic!() };
    assert_eq!(acceptance.resources[&key("db")], Taken::Running);
}

#[test]
fn what_was_withdrawn_is_never_open_again() {
    let mut regions = Regions::new();
    regions.ask(&id("b"), &accept(bid(1))).unwrap();
    regions.ask(&id("b"), &withdraw(&bid(1))).unwrap();
    for late in [bid(1), bid(2)] {
        assert!(matches!(regions.ask(&id("b"), &accept(late)), Err(Refusal::Over(_))));
    }
}

#[test]
fn what_is_withdrawn_before_it_arrives_is_never_open() {
    let mut regions = Regions::new();
    regions.ask(&id("b"), &withdraw(&bid(1))).unwrap();
    assert!(matches!(regions.ask(&id("b"), &accept(bid(1))), Err(Refusal::Over(_))));
}

#[test]
fn a_source_that_gave_something_up_does_not_let_go() {
    let mut regions = Regions::new();
    regions.ask(&id("a"), &accept(bid(1))).unwrap();
    let (operation, attempt) = (bid(1).failover.id, attempt(1));
    let demote = Order::Demote { authority: authority(1), operation, attempt, resources: keys() };
    regions.ask(&id("a"), &demote).unwrap();
    assert!(matches!(regions.ask(&id("a"), &withdraw(&bid(1))), Err(Refusal::Effect(_))));
}

#[test]
fn a_region_is_forgotten_after_it_has_agreed_to_leave() {
    let (mut a, mut c) = (book("a"), book("c"));
    let none = BTreeSet::new();
    let leave = |accepted: &[&str]| Control::Register {
        authority: authority(1),
        was: ids(&["a", "b", "c"]),
        now: ids(&["a", "b"]),
        gone: BTreeMap::new(),
        accepted: ids(accepted),
    };
    assert_eq!(a.obey(&none, &leave(&[])), Err(Refusal::Stays(id("c"))));
    c.obey(&none, &leave(&[])).unwrap();
    assert_eq!(c.inert, Some(Inert::Removed));
    a.obey(&none, &leave(&["c"])).unwrap();
    assert_eq!(a.registry, ids(&["a", "b"]));
}

#[test]
fn a_holder_cannot_be_removed() {
    let change = Control::Register {
        authority: authority(1),
        was: ids(&["a", "b", "c"]),
        now: ids(&["b", "c"]),
        gone: BTreeMap::new(),
        accepted: ids(&["a"]),
    };
    for name in ["a", "b"] {
        assert!(matches!(book(name).obey(&BTreeSet::new(), &change), Err(Refusal::Holder(_, _))));
    }
}

#[test]
fn a_later_attempt_that_another_region_accepted_overtakes_an_earlier_one() {
    // Each passed over the other's region.
    let mut regions = Regions::new();
    let (b, c) = (id("b"), id("c"));
    regions.ask(&c, &accept(bid(3))).unwrap();
    regions.ask(&b, &accept(bid(5))).unwrap();
    let (operation, attempt) = (bid(3).failover.id, bid(3).attempt);
    let confirm = Order::Confirm { authority: authority(1), operation, attempt };
    let hook = Hook::Fence(b.clone());
    let note = |note| Order::Note { authority: authority(1), operation, attempt, note };
    let intent = note(Note::HookIntended { attempt, hook: hook.clone(), limit: std::time::Duration::from_secs(10) });
    regions.ask(&c, &confirm).unwrap();
    regions.talk();
    for order in [&confirm, &intent, &accept(bid(4))] {
        let refusal = regions.ask(&c, order).unwrap_err();
        assert!(matches!(&refusal, Refusal::Attempt(later) if later.attempt.number == 5), "{refusal}");
    }
    // What was done is word, and leads nowhere.
    regions.ask(&c, &note(Note::HookDone { hook })).unwrap();
    regions.ask(&c, &accept(bid(6))).unwrap();
}

#[test]
fn a_store_that_went_back_takes_no_part_before_it_is_readmitted_and_holds_nothing_then() {
    let mut regions = Regions::new();
    let a = id("a");
    regions.books.get_mut(&a).unwrap().serial = 9;
    regions.talk();
    regions.books.insert(a.clone(), book("a"));
    regions.restart("a");
    regions.running.clear();
    regions.talk();
    assert_eq!(regions.books[&a].inert, Some(Inert::WentBack));
    assert!(matches!(regions.ask(&a, &accept(bid(1))), Err(Refusal::Inert(Inert::WentBack))));

    let told: Vec<_> =
        regions.books.iter().map(|(id, book)| book.standings(&regions.agents[id], &BTreeSet::new())).collect();
    let known = Known::of(&a, &told.iter().collect::<Vec<_>>(), &keys()).unwrap();
    let readmit = Control::Readmit { authority: authority(1), known };
    let book = regions.books.get_mut(&a).unwrap();
    assert!(matches!(book.obey(&keys(), &readmit), Err(Refusal::Running(_))), "not while something runs there");
    book.obey(&BTreeSet::new(), &readmit).unwrap();
    assert_eq!((book.inert, book.parts[&key("db")].role), (None, Role::Fenced));
    assert!(book.serial > 9);
}

#[test]
fn a_region_that_is_told_that_it_was_declared_gone_takes_part_in_nothing_before_it_is_readmitted() {
    let mut regions = Regions::new();
    let a = id("a");
    let told = |regions: &Regions| -> Vec<Standings> {
        regions.books.iter().map(|(id, book)| book.standings(&regions.agents[id], &BTreeSet::new())).collect()
    };
    let gone = Control::DeclaredGone { authority: authority(2) };
    let book = regions.books.get_mut(&a).unwrap();
    assert!(matches!(book.obey(&keys(), &gone), Err(Refusal::NotController(_))), "by its controller alone");
    let gone = Control::DeclaredGone { authority: authority(1) };
    // What runs there goes on: nobody else starts it before that is known to be stopped.
    book.obey(&keys(), &gone).unwrap();
    book.obey(&keys(), &gone).unwrap();
    assert_eq!(book.inert, Some(Inert::DeclaredGone));
    assert!(matches!(regions.ask(&a, &accept(bid(1))), Err(Refusal::Inert(Inert::DeclaredGone))));
    let told = told(&regions);
    let known = Known::of(&a, &told.iter().collect::<Vec<_>>(), &keys()).unwrap();
    let book = regions.books.get_mut(&a).unwrap();
    book.obey(&BTreeSet::new(), &Control::Readmit { authority: authority(1), known }).unwrap();
    assert_eq!((book.inert, book.parts[&key("db")].role), (None, Role::Fenced));
}

#[test]
fn a_region_that_begins_alone_holds_what_it_held_unless_another_one_did_later() {
    let mut regions = Regions::new();
    for name in ["a", "b", "c"] {
        regions.books.get_mut(&id(name)).unwrap().inert = Some(Inert::DeclaredGone);
    }
    let b = regions.books.get_mut(&id("b")).unwrap();
    *b.parts.get_mut(&key("db")).unwrap() = Part { role: Role::Holder, holder: id("b"), epoch: Epoch(4), attempt: 1 };
    b.highest_epoch = Epoch(4);
    let told: BTreeMap<_, _> = regions
        .books
        .iter()
        .map(|(id, book)| (id.clone(), book.standings(&regions.agents[id], &BTreeSet::new())))
        .collect();
    let told = |name: &str| told[&id(name)].clone();
    let gone = [(id("c"), "it burnt".to_owned()), (id("z"), "never there".to_owned())].into();
    let known = Known::alone(&told("a"), &[&told("b"), &told("c")], &gone);
    assert_eq!(known.registry, ids(&["a", "b", "c"]));
    assert_eq!(known.gone.keys().collect::<Vec<_>>(), [&id("c")]);
    assert_eq!(known.highest_epoch, Epoch(5));
    let a = regions.books.get_mut(&id("a")).unwrap();
    a.obey(&BTreeSet::new(), &Control::Readmit { authority: authority(1), known }).unwrap();
    assert_eq!(a.inert, None);
    assert_eq!((&a.parts[&key("db")].holder, a.parts[&key("db")].role), (&id("b"), Role::Demoted));
    assert_eq!((&a.parts[&key("web")].holder, a.parts[&key("web")].role), (&id("a"), Role::Holder));
    assert_eq!(a.parts[&key("web")].epoch, Epoch(5), "above what anybody saw");

    // What a region held last that never comes back is whose it was before; one that only has copies holds nothing.
    let gone = [(id("b"), "it burnt".to_owned())].into();
    assert_eq!(Known::alone(&told("a"), &[&told("b")], &gone).holds, keys());
    let c = Known::alone(&told("c"), &[&told("b")], &gone);
    assert_eq!((c.holds, &c.parts[&key("db")].holder), (BTreeSet::new(), &id("b")));
}

#[test]
fn of_two_that_were_declared_gone_by_each_other_one_goes_on() {
    let declared = |term: [u64; 2]| {
        let mut regions = Regions::new();
        for ((own, other), term) in [("a", "b"), ("b", "a")].into_iter().zip(term) {
            let book = regions.books.get_mut(&id(own)).unwrap();
            book.obey(&BTreeSet::new(), &Control::TakeOver { authority: authority(term) }).unwrap();
            book.gone = [(id(other), "it burned".to_owned())].into();
        }
        // What each says reaches the other before that one has heard anything.
        let told = ["a", "b"].map(|it| regions.books[&id(it)].standings(&regions.agents[&id(it)], &BTreeSet::new()));
        for told in &told {
            let other = if told.region == id("a") { "b" } else { "a" };
            regions.books.get_mut(&id(other)).unwrap().learn(told);
        }
        ["a", "b"].map(|it| regions.books[&id(it)].inert)
    };
    let gone = Some(Inert::DeclaredGone);
    assert_eq!(declared([3, 2]), [None, gone], "the one that was taken over last");
    assert_eq!(declared([2, 3]), [gone, None]);
    assert_eq!(declared([2, 2]), [gone, None], "or the last by name");
}
