//! A promotion that started nothing, and its way out.

use std::collections::{BTreeMap, BTreeSet};

use super::roles::{Regions, attempt, bid, id, key, keys};
use crate::failover::{Ending, Impasse, Next, Progress, Recourse, Step};
use crate::model::ResourceKey;
use crate::model::failover::{Direction, Part};
use crate::model::region::{Epoch, Role};

fn attempt_of(number: u32) -> Progress {
    let mut progress = Progress::new(bid(number));
    progress.depends_on = BTreeMap::from([(key("web"), BTreeSet::from([key("db")]))]);
    progress.fence = true;
    progress
}

/// Goes on until `b` was ordered to hold what comes first.
fn ordered(regions: &mut Regions, progress: &mut Progress) {
    while !regions.made.iter().any(|step| matches!(step, Step::Start(..))) {
        assert_eq!(regions.drive_once(progress), None);
    }
}

/// `b` could not place this, and says so.
fn could_not(
    regions: &mut Regions,
    progress: &Progress,
    key: &ResourceKey,
    placed: &[ResourceKey],
) -> BTreeSet<ResourceKey> {
    regions.running.entry(id("b")).or_default().remove(key);
    let bid = &progress.bid;
    let (keys, placed) = (BTreeSet::from([key.clone()]), placed.iter().cloned().collect());
    let book = regions.books.get_mut(&id("b")).unwrap();
    let taken = book.take_back(bid.failover.id, bid.attempt, &keys, &placed);
    let before = book.clone();
    assert_eq!(book.take_back(bid.failover.id, bid.attempt, &keys, &placed), BTreeSet::new());
    assert_eq!(*book, before, "a repeat changes nothing");
    taken
}

#[test]
fn a_promotion_that_started_nothing_is_as_if_it_had_never_been() {
    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    ordered(&mut regions, &mut first);
    let taken = could_not(&mut regions, &first, &key("db"), &[]);
    assert_eq!(taken, BTreeSet::from([key("db")]));
    let before = Part { role: Role::Replica, holder: id("a"), epoch: Epoch::BIRTH, attempt: 0 };
    assert_eq!(regions.books[&id("b")].parts[&key("db")], before);
    // It leads back now, and elsewhere.
    let mut back = first.again(attempt(2), Direction::Abort, id("b"));
    assert_eq!(regions.drive(&mut back), Next::Ended(Ending::Aborted));
    assert_eq!(regions.runs(&id("a")), keys());

    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    ordered(&mut regions, &mut first);
    could_not(&mut regions, &first, &key("db"), &[]);
    let mut on = first.again(attempt(2), Direction::Forward, id("c"));
    assert_eq!(regions.drive(&mut on), Next::Ended(Ending::Completed));
    assert_eq!(regions.runs(&id("c")), keys());
    assert_eq!(regions.running.values().map(BTreeSet::len).sum::<usize>(), 2, "and nowhere else");
}

#[test]
fn what_was_placed_or_is_anothers_attempt_now_is_not_taken_back() {
    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    ordered(&mut regions, &mut first);
    assert_eq!(could_not(&mut regions, &first, &key("db"), &[key("db")]), BTreeSet::new());
    let later = first.again(attempt(2), Direction::Forward, id("b"));
    assert_eq!(could_not(&mut regions, &later, &key("db"), &[]), BTreeSet::new(), "nobody has accepted that one");
    assert_eq!(regions.books[&id("b")].parts[&key("db")].role, Role::Holder);
}

#[test]
fn what_an_earlier_attempt_replaced_is_what_comes_back() {
    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    ordered(&mut regions, &mut first);
    regions.running.insert(id("b"), BTreeSet::new());
    // Its agent died before it took anything back, and another orderer goes on.
    regions.restart("b");
    regions.talk();
    regions.made.clear();
    let mut second = attempt_of(2);
    ordered(&mut regions, &mut second);
    could_not(&mut regions, &second, &key("db"), &[]);
    assert_eq!(regions.books[&id("b")].parts[&key("db")].role, Role::Replica);
}

#[test]
fn what_could_not_be_started_is_left_out_and_nothing_else_waits_for_it() {
    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    first.depends_on.clear();
    ordered(&mut regions, &mut first);
    could_not(&mut regions, &first, &key("web"), &[]);
    let why = Impasse::NotStarted(id("b"), BTreeSet::from([key("web")]));
    let Recourse::LeaveOut(out) = first.recourse(&why) else { panic!("{:?}", first.recourse(&why)) };
    let mut next = first.without(attempt(2), &out);
    assert_eq!(regions.drive(&mut next), Next::Ended(Ending::Completed));
    assert_eq!(next.left_behind(), out, "the source gave it up");
    let mut back = next.again(attempt(3), Direction::Abort, id("b"));
    assert_eq!(regions.drive(&mut back), Next::Ended(Ending::Aborted));
    assert_eq!((regions.runs(&id("a")), regions.runs(&id("b"))), (out, BTreeSet::from([key("db")])));
    assert!(regions.books.values().all(|book| book.open.is_empty()));
}

#[test]
fn of_a_dead_source_it_is_taken_back_everywhere() {
    let mut regions = Regions::new();
    regions.silent.insert(id("a"));
    let mut first = attempt_of(1);
    ordered(&mut regions, &mut first);
    could_not(&mut regions, &first, &key("db"), &[]);
    let why = Impasse::NotStarted(id("b"), BTreeSet::from([key("db")]));
    let Recourse::LeaveOut(out) = first.recourse(&why) else { panic!() };
    let mut next = first.without(attempt(2), &out);
    let Next::Stuck(why) = regions.drive(&mut next) else { panic!() };
    assert_eq!((&why, next.recourse(&why)), (&Impasse::NothingLeft, Recourse::Retreat), "web needs db");
    next.retreat();
    assert_eq!(regions.drive(&mut next), Next::Ended(Ending::Withdrawn));
    assert!(regions.books.iter().all(|(region, book)| *region == id("a") || book.open.is_empty()));
}
