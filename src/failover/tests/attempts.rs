//! What an attempt does, in which order, and what it does where it cannot go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::roles::{Regions, attempt, authority, bid, id, ids, key, keys, left_half_done};
use crate::failover::{Ending, FRESH, Impasse, Next, Order, Progress, Recourse, Refusal, Step};
use crate::model::ResourceKey;
use crate::model::failover::{Direction, Hook, Note, Part, Proof};
use crate::model::region::{Epoch, Role};

fn attempt_of(number: u32) -> Progress {
    let mut progress = Progress::new(bid(number));
    progress.depends_on = BTreeMap::from([(key("web"), BTreeSet::from([key("db")]))]);
    progress.fence = true;
    progress
}

fn holds(regions: &Regions, region: &str) {
    for (id, book) in &regions.books {
        assert!(book.open.is_empty(), "nothing is open at {id}");
        for part in book.parts.values() {
            assert_eq!(part.holder.as_str(), region, "as {id} knows");
            assert_eq!(part.role == Role::Holder, id.as_str() == region, "{id} is {:?}", part.role);
        }
    }
    assert_eq!(regions.runs(&id(region)), keys());
    assert_eq!(regions.running.values().map(BTreeSet::len).sum::<usize>(), 2, "and nowhere else");
}

#[test]
fn everybody_accepts_before_the_source_gives_up_and_what_is_needed_first_starts_first() {
    let mut regions = Regions::new();
    let mut progress = attempt_of(1);
    assert_eq!(regions.drive(&mut progress), Next::Ended(Ending::Completed));
    let (a, b, c) = (id("a"), id("b"), id("c"));
    let (db, web) = (BTreeSet::from([key("db")]), BTreeSet::from([key("web")]));
    let order = [
        Step::Meet(b.clone()),
        Step::Accept(a.clone()),
        Step::Accept(b.clone()),
        Step::Accept(c.clone()),
        Step::Judge,
        Step::Demote(a.clone(), keys()),
        Step::Start(b.clone(), db),
        Step::Start(b.clone(), web),
        Step::Close(a, keys()),
        Step::Close(c, keys()),
        Step::Close(b, keys()),
    ];
    assert_eq!(regions.made, order);
    holds(&regions, "b");
}

#[test]
fn a_silent_source_is_cut_off_before_anything_starts() {
    let mut regions = Regions::new();
    regions.silent.insert(id("a"));
    let mut progress = attempt_of(1);
    assert_eq!(regions.drive(&mut progress), Next::Ended(Ending::Completed));
    let at = |step: &dyn Fn(&Step) -> bool| regions.made.iter().position(step).unwrap();
    let fence = at(&|step| *step == Step::Run(Hook::Fence(id("a"))));
    assert!(at(&|step| matches!(step, Step::Note(_, Note::HookIntended { .. }))) < fence);
    assert!(fence < at(&|step| matches!(step, Step::Note(_, Note::HookDone { .. }))));
    assert!(fence < at(&|step| matches!(step, Step::Start(..))));
    regions.silent.clear();
    regions.talk();
    holds(&regions, "b");
}

#[test]
fn without_a_fence_a_silent_source_stops_it() {
    let mut regions = Regions::new();
    regions.silent.insert(id("a"));
    let mut progress = attempt_of(1);
    progress.fence = false;
    let end = regions.drive(&mut progress);
    assert_eq!(end, Next::Stuck(Impasse::NotFenced(id("a"))));
    assert!(!regions.made.iter().any(|step| matches!(step, Step::Start(..))));
}

#[test]
fn where_nothing_was_changed_all_is_taken_back() {
    let mut regions = Regions::new();
    regions.silent.insert(id("c"));
    let mut progress = attempt_of(1);
    let Next::Stuck(why) = regions.drive(&mut progress) else { panic!() };
    assert_eq!(progress.recourse(&why), Recourse::Retreat);
    progress.retreat();
    assert_eq!(regions.drive(&mut progress), Next::Ended(Ending::Withdrawn));
    holds(&regions, "a");
}

#[test]
fn another_orderer_leads_it_on_or_back() {
    let mut regions = Regions::new();
    left_half_done(&mut regions);
    let mut on = attempt_of(2);
    assert_eq!(regions.drive(&mut on), Next::Ended(Ending::Completed));
    holds(&regions, "b");

    let mut regions = Regions::new();
    left_half_done(&mut regions);
    let mut back = attempt_of(1).again(attempt(2), Direction::Abort, id("b"));
    assert_eq!(regions.drive(&mut back), Next::Ended(Ending::Aborted));
    holds(&regions, "a");
}

/// What `a` says of machines that nothing there stops or watches is not enough for `b` to start them.
#[track_caller]
fn starts_nothing(regions: &mut Regions, progress: &mut Progress) {
    let why = Impasse::Unwatched(id("a"), keys());
    assert_eq!(regions.drive(progress), Next::Stuck(why.clone()));
    assert!(!regions.made.iter().any(|step| matches!(step, Step::Demote(..) | Step::Start(..))), "{:?}", regions.made);
    assert_eq!(regions.runs(&id("a")), keys());
    let first = progress.bid.attempt.number == 1;
    assert_eq!(progress.recourse(&why), if first { Recourse::Retreat } else { Recourse::Abort });
}

#[test]
fn a_source_without_a_runner_is_not_taken_for_stopped() {
    let mut regions = Regions::new();
    regions.unwatched.insert(id("a"));
    starts_nothing(&mut regions, &mut attempt_of(1));

    // Nor by whoever goes on after it gave up.
    let mut regions = Regions::new();
    regions.unwatched.insert(id("a"));
    left_half_done(&mut regions);
    starts_nothing(&mut regions, &mut attempt_of(2));

    // Nor by what somebody said, or a fence did, at another time: it answers now.
    for note in [
        Note::Fenced { region: id("a"), proof: Proof::Word("I looked".to_owned()) },
        Note::HookDone { hook: Hook::Fence(id("a")) },
    ] {
        let mut regions = Regions::new();
        regions.unwatched.insert(id("a"));
        left_half_done(&mut regions);
        let (operation, attempt) = (bid(1).failover.id, attempt(1));
        regions.ask(&id("c"), &Order::Note { authority: authority(1), operation, attempt, note }).unwrap();
        starts_nothing(&mut regions, &mut attempt_of(2));
    }

    // Its runner may have been taken away after it accepted.
    let mut regions = Regions::new();
    let mut progress = attempt_of(1);
    while !matches!(regions.made.last(), Some(Step::Judge)) {
        assert_eq!(regions.drive_once(&mut progress), None);
    }
    regions.unwatched.insert(id("a"));
    assert_eq!(regions.drive(&mut progress), Next::Stuck(Impasse::NotStopped(id("a"), keys())));
}

#[test]
fn a_source_without_a_runner_gives_up_to_one_without_or_on_somebodys_word() {
    let mut regions = Regions::new();
    regions.unwatched = ids(&["a", "b"]);
    assert_eq!(regions.drive(&mut attempt_of(1)), Next::Ended(Ending::Completed));
    assert_eq!(regions.runs(&id("b")), BTreeSet::new(), "it starts nothing");

    let mut regions = Regions::new();
    regions.unwatched.insert(id("a"));
    let mut progress = attempt_of(1);
    progress.vouch(id("a"), "I looked".to_owned());
    assert_eq!(regions.drive(&mut progress), Next::Ended(Ending::Completed));
    assert_eq!(regions.runs(&id("b")), keys());
}

#[test]
fn nothing_leads_back_before_every_region_has_said_that_it_was_promoted_nowhere() {
    let mut regions = Regions::new();
    left_half_done(&mut regions);
    regions.silent.insert(id("b"));
    let mut back = attempt_of(1).again(attempt(2), Direction::Abort, id("b"));
    assert!(matches!(regions.drive(&mut back), Next::Stuck(Impasse::Missing(region, _)) if region == id("b")));
    assert!(regions.running.values().all(BTreeSet::is_empty));
}

#[test]
fn what_was_promoted_leads_only_forward() {
    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    while !regions.made.iter().any(|step| matches!(step, Step::Start(..))) {
        regions.drive_once(&mut first);
    }
    let mut back = attempt_of(1).again(attempt(2), Direction::Abort, id("b"));
    let Next::Stuck(why) = regions.drive(&mut back) else { panic!() };
    assert_eq!(back.recourse(&why), Recourse::Forward(id("b")));
    let mut on = back.again(attempt(3), Direction::Forward, id("b"));
    assert_eq!(regions.drive(&mut on), Next::Ended(Ending::Completed));
    holds(&regions, "b");
}

#[test]
fn a_source_that_went_back_holds_nothing_up_unless_it_runs_what_it_does_not_hold() {
    let forgot = |runs: BTreeSet<ResourceKey>| {
        let mut regions = Regions::new();
        let mut first = attempt_of(1);
        while !regions.made.iter().any(|step| matches!(step, Step::Start(..))) {
            regions.drive_once(&mut first);
        }
        regions.running = BTreeMap::from([(id("a"), runs)]);
        regions.restart("b");
        let a = regions.books.get_mut(&id("a")).unwrap();
        (a.open, a.highest_epoch) = (BTreeMap::new(), Epoch::BIRTH);
        a.parts.insert(key("db"), Part { role: Role::Replica, holder: id("c"), epoch: Epoch::BIRTH, attempt: 0 });
        regions
    };
    let mut regions = forgot(BTreeSet::new());
    assert_eq!(regions.drive(&mut attempt_of(2)), Next::Ended(Ending::Completed));
    assert_eq!(regions.runs(&id("b")), keys());

    let db = BTreeSet::from([key("db")]);
    let mut regions = forgot(db.clone());
    assert_eq!(regions.drive(&mut attempt_of(2)), Next::Stuck(Impasse::NotStopped(id("a"), db)));
    assert_eq!(regions.runs(&id("b")), BTreeSet::new());
}

#[test]
fn a_target_that_falls_silent_is_cut_off_before_it_is_passed_over() {
    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    while !regions.made.iter().any(|step| matches!(step, Step::Demote(..))) {
        regions.drive_once(&mut first);
    }
    regions.silent.insert(id("b"));
    let Next::Stuck(why) = regions.drive(&mut first) else { panic!() };
    let mut next = first.again(attempt(2), Direction::Forward, id("c"));
    assert!(matches!(why, Impasse::StarterSilent(..) | Impasse::Missing(..)));
    next.cut.insert(id("b"));
    assert_eq!(regions.drive(&mut next), Next::Ended(Ending::Completed));
    let at = |step: &dyn Fn(&Step) -> bool| regions.made.iter().position(step).unwrap();
    let fence = at(&|step| *step == Step::Run(Hook::Fence(id("b"))));
    assert!(fence < at(&|step| matches!(step, Step::Start(region, _) if *region == id("c"))));
    regions.silent.clear();
    regions.talk();
    holds(&regions, "c");
}

#[test]
fn a_hook_that_another_orderer_began_is_waited_out() {
    let mut regions = Regions::new();
    let limit = Duration::from_secs(60);
    let note = Note::HookIntended { attempt: attempt(1), hook: Hook::Before(0), limit };
    let (operation, attempt) = (bid(1).failover.id, attempt(1));
    for region in ["a", "b", "c"].map(id) {
        regions.ask(&region, &Order::Accept { authority: authority(1), bid: Box::new(bid(1)) }).unwrap();
        let note = note.clone();
        regions.ask(&region, &Order::Note { authority: authority(1), operation, attempt, note }).unwrap();
    }
    let began = regions.now;
    assert_eq!(regions.drive(&mut attempt_of(2)), Next::Ended(Ending::Completed));
    assert!(regions.now >= began + FRESH + limit);
    assert!(regions.now < began + 2 * (FRESH + limit), "once, not for each region");
}

#[test]
fn a_hook_that_is_known_to_have_run_is_not_run_again() {
    let mut regions = Regions::new();
    let mut first = attempt_of(1);
    first.hooks = BTreeSet::from([Hook::Before(0)]);
    while !regions.made.contains(&Step::Run(Hook::Before(0))) {
        regions.drive_once(&mut first);
    }
    // Its own journal knows, though no region was told yet.
    let mut again = attempt_of(2);
    again.hooks = BTreeSet::from([Hook::Before(0)]);
    again.remember(&[Note::HookDone { hook: Hook::Before(0) }]);
    assert_eq!(regions.drive(&mut again), Next::Ended(Ending::Completed));
    assert_eq!(regions.made.iter().filter(|step| matches!(step, Step::Run(_))).count(), 1);
}

/// All that it moves runs at the target, and nobody was told yet that it ends.
fn started(regions: &mut Regions) -> Progress {
    let mut progress = attempt_of(1);
    while progress.started != keys() {
        assert_eq!(regions.drive_once(&mut progress), None);
    }
    progress
}

#[test]
fn what_somebody_else_went_on_with_before_any_region_had_closed_it_is_theirs_to_end() {
    let mut regions = Regions::new();
    let mut first = started(&mut regions);
    for region in ["a", "b", "c"] {
        regions.ask(&id(region), &Order::Accept { authority: authority(1), bid: Box::new(bid(2)) }).unwrap();
    }
    let Next::Stuck(why) = regions.drive(&mut first) else { panic!("it says that it ended what it did not") };
    assert!(matches!(why, Impasse::Refused(_, Refusal::Attempt(_))), "{why:?}");
    assert_eq!(first.recourse(&why), Recourse::Leave);
    assert_eq!(regions.drive(&mut attempt_of(2)), Next::Ended(Ending::Completed));
    holds(&regions, "b");
}

#[test]
fn nothing_is_said_to_have_ended_before_any_region_has_closed_it() {
    let mut regions = Regions::new();
    let mut first = started(&mut regions);
    regions.silent = ids(&["a", "b", "c"]);
    let end = regions.drive(&mut first);
    assert_eq!(end, Next::Stuck(Impasse::NotClosed(id("b"))));
    assert_eq!(first.recourse(&Impasse::NotClosed(id("b"))), Recourse::Leave, "it runs there");

    // One is enough: whoever misses the end learns it from there.
    let mut regions = Regions::new();
    let mut first = started(&mut regions);
    regions.silent = ids(&["a", "b"]);
    assert_eq!(regions.drive(&mut first), Next::Ended(Ending::Completed));
    regions.silent.clear();
    regions.talk();
    holds(&regions, "b");
}

#[test]
fn an_attempt_that_only_a_lost_region_accepted_is_told_of_so_that_one_above_it_leads_on() {
    let mut regions = Regions::new();
    let accept = |number| Order::Accept { authority: authority(1), bid: Box::new(bid(number)) };
    for region in ["a", "b"] {
        regions.ask(&id(region), &accept(1)).unwrap();
    }
    // Whoever goes on with it reaches `a` alone, twice; the others hear of that, also who has nothing open, and `a` burns.
    regions.ask(&id("a"), &accept(2)).unwrap();
    regions.ask(&id("a"), &accept(3)).unwrap();
    regions.talk();
    regions.silent.insert(id("a"));
    regions.running.clear();
    for region in ["b", "c"] {
        let refused = regions.ask(&id(region), &accept(2));
        assert!(matches!(refused, Err(Refusal::Attempt(later)) if later.attempt.number == 3));
        let told = regions.books[&id(region)].standings(&regions.agents[&id(region)], &BTreeSet::new());
        assert_eq!(told.highest_attempt(bid(1).failover.id), Some(3), "{region} says so");
    }
    let mut on = attempt_of(4);
    on.bid.gone.insert(id("a"), "it burned".to_owned());
    assert_eq!(regions.drive(&mut on), Next::Ended(Ending::Completed));
    assert_eq!(regions.running[&id("b")], keys());
}

/// An attempt to `b`, whose source is silent, up to the order that `b` starts what is first.
fn about_to_start(regions: &mut Regions) -> Progress {
    regions.silent.insert(id("a"));
    let mut progress = attempt_of(1);
    while !matches!(progress.next(regions.now), Next::Do(steps) if matches!(steps[..], [Step::Start(..)])) {
        assert_eq!(regions.drive_once(&mut progress), None);
    }
    progress
}

#[test]
fn what_a_passed_over_target_may_run_is_left_open_at_all_others() {
    let mut regions = Regions::new();
    let mut progress = about_to_start(&mut regions);
    regions.silent.insert(id("b"));
    let Next::Stuck(silent) = regions.drive(&mut progress) else { panic!() };
    assert_eq!(progress.recourse(&silent), Recourse::PassOver(id("b")));
    let mut next = progress.again(attempt(2), Direction::Forward, id("c"));
    next.cut.insert(id("b"));
    // No gate lets it go on.
    next.left = keys().into_iter().map(|key| (key, "b does not answer".to_owned())).collect();
    let stuck = regions.drive(&mut next);
    assert_eq!(stuck, Next::Stuck(Impasse::NothingLeft));
    assert_eq!(next.recourse(&Impasse::NothingLeft), Recourse::Leave);
    assert_eq!(regions.books[&id("c")].open.len(), 1, "it is shown, and gone on with");
    // Cut off, it runs nothing any more.
    next.stopped.insert(id("b"), Proof::Hook);
    assert_eq!(next.recourse(&Impasse::NothingLeft), Recourse::Retreat);
}

#[test]
fn that_an_operation_leads_back_is_heard_by_all_but_the_silent_source() {
    let mut regions = Regions::new();
    let forward = about_to_start(&mut regions);
    let mut back = forward.again(attempt(2), Direction::Abort, id("b"));
    assert!(matches!(regions.drive(&mut back), Next::Stuck(Impasse::Missing(region, _)) if region == id("a")));
    for region in ["b", "c"] {
        let [open] = regions.books[&id(region)].open.values().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!(open.bid.direction, Direction::Abort, "{region}");
    }
}

#[test]
fn an_old_proof_does_not_stand_in_for_the_hook() {
    for (old, proof, fences) in [
        (false, Proof::Hook, 0),
        (true, Proof::Hook, 1),
        (true, Proof::Word("unplugged".to_owned()), 1),
        (true, Proof::Hand(Epoch(2)), 0),
    ] {
        let mut regions = Regions::new();
        regions.silent.insert(id("a"));
        regions.running.clear();
        let mut progress = attempt_of(2);
        progress.proof_is_old = old;
        progress.notes.push(Note::Fenced { region: id("a"), proof: proof.clone() });
        assert_eq!(regions.drive(&mut progress), Next::Ended(Ending::Completed));
        let ran = regions.made.iter().filter(|step| matches!(step, Step::Run(Hook::Fence(_)))).count();
        assert_eq!(ran, fences, "{old} {proof:?}");
    }
}
