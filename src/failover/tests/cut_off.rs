//! Regions that are cut off by hand, and let in again.

use std::collections::BTreeSet;

use super::roles::{Regions, attempt, authority, bid, id, ids, key, keys, left_half_done};
use crate::failover::{Control, Ending, Hold, Impasse, Next, Order, Progress, Recourse, Refusal, Step, may_run};
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
    cut_off_at(regions, 2);
}

fn cut_off_at(regions: &mut Regions, epoch: u64) {
    for region in ["b", "c"] {
        tell(regions, region, &word(epoch, false)).unwrap();
    }
    regions.running.clear();
    regions.silent.insert(id("a"));
    for region in ["b", "c"] {
        tell(regions, region, &word(epoch, true)).unwrap();
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
fn nothing_leads_back_to_what_was_cut_off_before_it_is_let_in() {
    let mut regions = Regions::new();
    left_half_done(&mut regions);
    cut_off_at(&mut regions, 3);
    returns(&mut regions);
    let mut back = Progress::new(Bid { direction: Direction::Abort, ..bid(2) });
    assert_eq!(regions.drive(&mut back), Next::Stuck(Impasse::CutOff(id("a"))));
    assert_eq!(back.recourse(&Impasse::CutOff(id("a"))), Recourse::Leave);
    assert!(regions.running.values().all(BTreeSet::is_empty));
    // That it is let in is what is said to whoever asks, and so it must go.
    for region in ["b", "c"] {
        assert!(regions.books[&id(region)].cut_off.contains_key(&id("a")), "{region} keeps it");
        tell(&mut regions, region, &let_in()).unwrap();
    }
    let mut back = Progress::new(Bid { direction: Direction::Abort, ..bid(3) });
    assert_eq!(regions.drive(&mut back), Next::Ended(Ending::Aborted));
    assert_eq!(regions.running[&id("a")], keys());
}

#[test]
fn what_is_taken_back_lets_nothing_in() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    returns(&mut regions);
    for region in ["a", "b", "c"] {
        regions.ask(&id(region), &Order::Accept { authority: authority(1), bid: Box::new(later(1)) }).unwrap();
    }
    // `a` gave nothing up yet.
    let mut back = Progress::new(Bid { direction: Direction::Abort, ..later(2) });
    assert_eq!(regions.drive(&mut back), Next::Ended(Ending::Aborted));
    regions.talk();
    assert_eq!(may(&regions), Err(Hold::CutOff(id("b"))));
}

#[test]
fn nothing_leads_on_to_what_was_cut_off_before_it_is_let_in() {
    let mut regions = Regions::new();
    for region in ["a", "b", "c"] {
        regions.ask(&id(region), &Order::Accept { authority: authority(1), bid: Box::new(bid(1)) }).unwrap();
    }
    // A person cuts the target off, and somebody else goes on with the operation.
    for (region, stopped) in [("a", false), ("c", false), ("a", true), ("c", true)] {
        let Control::CutOff { authority, region: _, cut_off } = word(3, stopped) else { unreachable!() };
        tell(&mut regions, region, &Control::CutOff { authority, region: id("b"), cut_off }).unwrap();
    }
    regions.restart("b");
    let mut on = Progress::new(bid(2));
    assert_eq!(regions.drive(&mut on), Next::Stuck(Impasse::CutOff(id("b"))));
    assert_eq!(regions.runs(&id("b")), BTreeSet::new());
    for region in ["a", "c"] {
        tell(&mut regions, region, &Control::LetIn { authority: authority(1), region: id("b") }).unwrap();
    }
    assert_eq!(regions.drive(&mut Progress::new(bid(3))), Next::Ended(Ending::Completed));
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

#[test]
fn a_region_that_was_gone_and_returns_proves_nothing_of_who_was_let_in_meanwhile() {
    // `c` burns, before or after `b` has let `a` in.
    for burns_first in [true, false] {
        let mut regions = Regions::new();
        cut_off(&mut regions);
        regions.silent.insert(id("c"));
        if !burns_first {
            tell(&mut regions, "b", &let_in()).unwrap();
        }
        for region in ["a", "b"] {
            let registry = regions.books[&id(region)].registry.clone();
            let (was, now, accepted) = (registry.clone(), registry, BTreeSet::new());
            let gone = [(id("c"), "it burned".to_owned())].into();
            tell(&mut regions, region, &Control::Register { authority: authority(1), was, now, gone, accepted })
                .unwrap();
        }
        if burns_first {
            tell(&mut regions, "b", &let_in()).unwrap();
        }
        regions.silent = ids(&["c"]);
        regions.restart("a");
        regions.talk();
        assert_eq!(may(&regions), Ok(()), "{burns_first}");
        regions.running = [(id("a"), keys())].into();
        // It returns and hears of nothing; `a` falls silent.
        regions.silent = ids(&["a"]);
        let mut progress = Progress::new(later(1));
        assert_eq!(regions.drive(&mut progress), Next::Stuck(Impasse::NotFenced(id("a"))), "{burns_first}");
        assert_eq!(regions.runs(&id("b")), BTreeSet::new());
        // Cut off once more, it is.
        regions.running.clear();
        for (region, stopped) in [("b", false), ("c", false), ("b", true), ("c", true)] {
            tell(&mut regions, region, &word(4, stopped)).unwrap();
        }
        assert_eq!(regions.drive(&mut Progress::new(later(2))), Next::Ended(Ending::Completed));
    }
}

#[test]
fn what_runs_after_it_was_cut_off_is_not_proven_stopped_any_more() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    // Its host boots, and the hypervisor starts what it finds.
    regions.restart("a");
    regions.running = [(id("a"), keys())].into();
    regions.silent.clear();
    let mut first = Progress::new(later(1));
    first.fence = true;
    while !regions.made.contains(&Step::Accept(id("c"))) {
        assert_eq!(regions.drive_once(&mut first), None);
    }
    regions.silent.insert(id("a"));
    while regions.books[&id("c")].unproven.is_empty() {
        assert_eq!(regions.drive_once(&mut first), None, "both are told before anything else");
    }
    // Whoever goes on with it, or begins anew, needs its own fence.
    assert_eq!(regions.drive(&mut Progress::new(later(2))), Next::Stuck(Impasse::NotFenced(id("a"))));
    let mut on = Progress::new(later(3));
    on.fence = true;
    assert_eq!(regions.drive(&mut on), Next::Ended(Ending::Completed));
    assert!(regions.made.contains(&Step::Run(Hook::Fence(id("a")))));
}

#[test]
fn the_next_attempt_of_the_same_program_remembers_what_it_saw_run() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    regions.restart("a");
    regions.running = [(id("a"), keys())].into();
    regions.silent = ids(&["c"]);
    let mut first = Progress::new(later(1));
    assert!(matches!(regions.drive(&mut first), Next::Stuck(Impasse::Missing(region, _)) if region == id("c")));
    regions.silent = ids(&["a"]);
    let mut on = first.again(attempt(2), Direction::Forward, id("b"));
    assert_eq!(regions.drive(&mut on), Next::Stuck(Impasse::NotFenced(id("a"))));
}

#[test]
fn whoever_hears_that_it_runs_takes_it_for_stopped_no_more() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    regions.running = [(id("a"), keys())].into();
    regions.silent = ids(&["c"]);
    regions.talk();
    regions.silent = ids(&["a"]);
    // A late repeat of the word that it is stopped changes nothing.
    tell(&mut regions, "b", &word(2, true)).unwrap();
    assert_eq!(regions.drive(&mut Progress::new(later(1))), Next::Stuck(Impasse::NotFenced(id("a"))), "as b knows");
}

#[test]
fn who_spoke_after_it_was_cut_off_and_falls_silent_is_cut_off_anew() {
    let mut regions = Regions::new();
    cut_off(&mut regions);
    regions.restart("a");
    regions.silent.clear();
    let mut progress = Progress::new(later(1));
    progress.fence = true;
    while !regions.made.contains(&Step::Accept(id("c"))) {
        assert_eq!(regions.drive_once(&mut progress), None);
    }
    // What it is told meanwhile is only for whoever goes on.
    while !regions.made.iter().any(|step| matches!(step, Step::Demote(..))) {
        let demotes = matches!(progress.next(regions.now), Next::Do(steps) if matches!(steps[..], [Step::Demote(..)]));
        if demotes {
            regions.silent.insert(id("a"));
        }
        assert_eq!(regions.drive_once(&mut progress), None);
    }
    assert_eq!(regions.drive(&mut progress), Next::Ended(Ending::Completed));
    assert!(regions.made.contains(&Step::Run(Hook::Fence(id("a")))));
}
