//! Regions that are cut off by hand, and let in again.

use std::collections::BTreeSet;

use super::roles::{Regions, attempt, authority, bid, id, key, keys};
use crate::failover::{Control, Ending, Hold, Impasse, Next, Order, Progress, Refusal, Step, may_run};
use crate::model::Timestamp;
use crate::model::failover::{Bid, CutOff, Direction, Failover, Hook};
use crate::model::region::Epoch;

fn word(epoch: u64, stopped: bool) -> Control {
    let (at, by) = (Timestamp::from_micros(0), "somebody".to_owned());
    let cut_off = CutOff { epoch: Epoch(epoch), at, by, reason: None, stopped };
    Control::CutOff { authority: authority(1), region: id("a"), cut_off }
}

fn let_in() -> Control {
    Control::LetIn { authority: authority(1), region: id("a") }
}

fn tell(regions: &mut Regions, region: &str, control: &Control) -> Result<(), Refusal> {
    let before = regions.books[&id(region)].clone();
    let done = regions.books.get_mut(&id(region)).unwrap().obey(&BTreeSet::new(), control);
    if done.is_err() {
        assert_eq!(regions.books[&id(region)], before, "what is refused changes nothing");
    }
    done
}

/// The others know it first, then the fence runs, then they know that it has.
fn cut_off(regions: &mut Regions) {
    for region in ["b", "c"] {
        tell(regions, region, &word(2, false)).unwrap();
    }
    regions.running.clear();
    regions.silent.insert(id("a"));
    for region in ["b", "c"] {
        tell(regions, region, &word(2, true)).unwrap();
    }
}

fn returns(regions: &mut Regions) {
    regions.restart("a");
    regions.silent.clear();
    regions.talk();
}

fn later(number: u32) -> Bid {
    let first = bid(number);
    Bid { failover: Failover { epoch: Epoch(3), ..first.failover.clone() }, ..first }
}

fn may(regions: &Regions) -> Result<(), Hold> {
    may_run(&regions.books[&id("a")], &regions.agents[&id("a")], &key("db"), None)
}

#[test]
fn what_comes_back_starts_nothing_before_every_other_region_has_let_it_in() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    returns(&mut regions);
    assert_eq!(may(&regions), Err(Hold::CutOff(id("b"))));
    tell(&mut regions, "b", &let_in()).unwrap();
    regions.talk();
    assert_eq!(may(&regions), Err(Hold::CutOff(id("c"))));
    tell(&mut regions, "c", &let_in()).unwrap();
    tell(&mut regions, "c", &let_in()).unwrap();
    regions.talk();
    assert_eq!(may(&regions), Ok(()));
}

#[test]
fn a_fence_that_was_only_about_to_run_holds_it_too_and_proves_nothing() {
    let mut regions = Regions::new();
    tell(&mut regions, "c", &word(2, false)).unwrap();
    regions.silent.insert(id("a"));
    let mut progress = Progress::new(later(1));
    assert_eq!(regions.drive(&mut progress), Next::Stuck(Impasse::NotFenced(id("a"))));
    returns(&mut regions);
    assert!(matches!(may(&regions), Err(Hold::OpenAt(..) | Hold::CutOff(_))));
}

#[test]
fn an_operation_goes_by_the_word_of_any_region_that_accepts_it() {
    for kept_by in [&["b"][..], &["c"], &["b", "c"]] {
        let mut regions = Regions::new();
        cut_off(&mut regions);
        for region in ["b", "c"].into_iter().filter(|region| !kept_by.contains(region)) {
            tell(&mut regions, region, &let_in()).unwrap();
        }
        let mut progress = Progress::new(later(1));
        progress.fence = true;
        assert_eq!(regions.drive(&mut progress), Next::Ended(Ending::Completed), "{kept_by:?}");
        assert!(!regions.made.contains(&Step::Run(Hook::Fence(id("a")))), "it is not cut off twice");
        assert_eq!(regions.running[&id("b")], keys());
        // The old side learns that it is not the holder, whether it was let in or not.
        returns(&mut regions);
        assert!(matches!(may(&regions), Err(Hold::Role(_))));
    }
}

#[test]
fn it_is_not_let_in_while_an_operation_leads_away_from_there() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    regions.ask(&id("b"), &Order::Accept { authority: authority(1), bid: Box::new(later(1)) }).unwrap();
    assert_eq!(tell(&mut regions, "b", &let_in()), Err(Refusal::Open(later(1).failover.id)));
    tell(&mut regions, "c", &let_in()).unwrap();
    returns(&mut regions);
    assert!(may(&regions).is_err());
}

#[test]
fn whoever_may_be_started_is_not_proven_stopped_any_more() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    returns(&mut regions);
    // It is led back: `a` may start what it gave up.
    let accept = |bid: Bid| Order::Accept { authority: authority(1), bid: Box::new(bid) };
    let back = Bid { direction: Direction::Abort, ..later(2) };
    for region in ["a", "b", "c"] {
        regions.ask(&id(region), &accept(later(1))).unwrap();
        regions.ask(&id(region), &accept(back.clone())).unwrap();
        assert_eq!(regions.books[&id(region)].cut_off.len(), 0, "{region}");
        assert_eq!(regions.books[&id(region)].open[&bid(1).failover.id].notes, [], "{region}");
    }
    // From then on a silent source needs its fence again.
    regions.silent.insert(id("a"));
    let mut progress = Progress::new(Bid { attempt: attempt(3), ..later(3) });
    assert_eq!(regions.drive(&mut progress), Next::Stuck(Impasse::NotFenced(id("a"))));
}

#[test]
fn only_the_controller_cuts_off_another_registered_region_at_a_new_epoch() {
    let mut regions = Regions::new();
    let stranger = |control| match control {
        Control::CutOff { region, cut_off, .. } => Control::CutOff { authority: authority(2), region, cut_off },
        Control::LetIn { region, .. } => Control::LetIn { authority: authority(2), region },
        other => other,
    };
    for control in [word(2, false), let_in()] {
        assert!(matches!(tell(&mut regions, "b", &stranger(control)), Err(Refusal::NotController(_))));
    }
    assert_eq!(tell(&mut regions, "a", &word(2, false)), Err(Refusal::Misfit), "it is told by the others");
    assert!(matches!(tell(&mut regions, "b", &word(1, false)), Err(Refusal::Over(_))));
    assert_eq!(tell(&mut regions, "b", &word(2, true)), Err(Refusal::Misfit), "its fence was not announced");
    tell(&mut regions, "b", &word(2, false)).unwrap();
    tell(&mut regions, "b", &word(2, false)).unwrap();
    tell(&mut regions, "b", &word(2, true)).unwrap();
    tell(&mut regions, "b", &word(2, false)).unwrap();
    assert!(regions.books[&id("b")].cut_off[&id("a")].stopped, "a late repeat takes nothing back");
    // Somebody cuts it off once more: that it was stopped before says nothing of now.
    tell(&mut regions, "b", &word(3, false)).unwrap();
    assert_eq!(tell(&mut regions, "b", &word(2, true)), Err(Refusal::Misfit));
    assert!(!regions.books[&id("b")].cut_off[&id("a")].stopped);
    tell(&mut regions, "b", &let_in()).unwrap();
    assert_eq!(tell(&mut regions, "b", &word(3, true)), Err(Refusal::Misfit), "it was let in meanwhile");
    let book = regions.books.get_mut(&id("b")).unwrap();
    book.registry.remove(&id("a"));
    assert!(matches!(tell(&mut regions, "b", &word(4, false)), Err(Refusal::Registry(_))));
}
