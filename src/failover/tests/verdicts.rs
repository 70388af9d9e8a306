//! Is a region down? Silence of a majority, and nobody who saw it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{TestRng, TestRunner};

use super::world::{evidence, minutes, region, regions};
use crate::failover::{Rule, Ruling, Suspicion, Verdict, Word};
use crate::model::RegionId;
use crate::model::observed::RegionStatus;
use crate::model::policy::HealthPolicy;
use crate::model::sighting::{Evidence, Observer, Probe, Sighting};

#[derive(Debug, Clone)]
struct Scene {
    served: BTreeSet<RegionId>,
    target: Option<RegionId>,
    gone: BTreeSet<RegionId>,
    own: Evidence,
    told: BTreeMap<RegionId, Result<Observer, String>>,
    quorum: Option<u32>,
}

fn lost() -> Evidence {
    evidence(Some(minutes(2)), true)
}

impl Scene {
    /// `a` is silent to everybody; all others see each other.
    fn dead(ids: &[&str]) -> Self {
        let served = regions(ids);
        let others: BTreeSet<RegionId> = served.iter().filter(|id| **id != region("a")).cloned().collect();
        let told = others.iter().map(|id| {
            let sees = others.iter().filter(|other| *other != id).cloned().collect();
            (id.clone(), Ok(Observer { evidence: lost(), sees }))
        });
        Self {
            served: served.clone(),
            target: Some(region("b")),
            gone: BTreeSet::new(),
            own: lost(),
            told: told.collect(),
            quorum: None,
        }
    }

    fn judge(&self) -> Verdict {
        let verdict = Suspicion {
            suspect: &region("a"),
            target: self.target.as_ref(),
            served: &self.served,
            gone: &self.gone,
            own: &self.own,
            told: &self.told,
            health: &HealthPolicy::default(),
            quorum: self.quorum,
        }
        .judge();
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
        verdict
    }

    fn broken(&self) -> Option<Rule> {
        match self.judge().ruling {
            Ruling::Down { .. } => None,
            Ruling::NotDown { why } => Some(why),
        }
    }

    fn says(&mut self, id: &str, evidence: Evidence) {
        self.told.get_mut(&region(id)).unwrap().as_mut().unwrap().evidence = evidence;
    }
}

/// A verdict on `a` among three, for tests of what follows from it.
pub(super) fn judged(down: bool) -> Verdict {
    let mut scene = Scene::dead(&["a", "b", "c"]);
    if !down {
        scene.says("c", evidence(Some(Duration::from_secs(3)), false));
    }
    let verdict = scene.judge();
    assert_eq!(verdict.is_down(), down);
    verdict
}

#[test]
fn silence_to_all_of_three_is_down() {
    let verdict = Scene::dead(&["a", "b", "c"]).judge();
    assert_eq!(verdict.ruling, Ruling::Down { silent_for: Duration::from_secs(115) });
    assert_eq!((verdict.served, verdict.needed, verdict.votes), (3, 2, 2));
    assert_eq!(verdict.reason(), "2 of 3 served regions meet silence, 2 are needed: b, c");
}

#[test]
fn of_two_regions_nobody_is_ever_down() {
    assert_eq!(Scene::dead(&["a", "b"]).broken(), Some(Rule::Majority));
}

#[test]
fn one_sighting_outweighs_everything_whatever_was_answered() {
    for (status, failure) in [
        (RegionStatus::Unreachable, None),
        (RegionStatus::Degraded, Some("answered 503")),
        (RegionStatus::Healthy, Some("answered 401 Unauthorized")),
    ] {
        let mut scene = Scene::dead(&["a", "b", "c", "d", "e"]);
        let seen = evidence(Some(Duration::from_secs(4)), false);
        scene.says("e", Evidence { status, failure: failure.map(str::to_owned), ..seen });
        assert_eq!(scene.broken(), Some(Rule::NoSighting), "{status} {failure:?}");
    }
}

#[test]
fn probes_say_the_same_through_a_sighting() {
    let policy = HealthPolicy::default();
    let at = |seconds: u64| crate::model::Timestamp::from_micros(0).plus(Duration::from_secs(seconds));
    let silent = || Probe::Silent("refused".into());
    let tells = |last: Probe| {
        let probes = [(0, silent()), (5, silent()), (10, silent()), (15, silent()), (20, last)];
        let known = probes
            .iter()
            .fold(Sighting::default(), |known, (began, probe)| known.after(probe, at(*began), at(began + 1), &policy));
        let mut scene = Scene::dead(&["a", "b", "c"]);
        scene.says("c", known.evidence(at(22), &policy));
        scene.broken()
    };
    assert_eq!(tells(silent()), None);
    let answered = |complaint: Option<&str>| Probe::Answered {
        latency: Duration::from_secs(14),
        complaint: complaint.map(str::to_owned),
    };
    assert_eq!(tells(answered(None)), Some(Rule::NoSighting), "however slow");
    assert_eq!(tells(answered(Some("answered 500"))), Some(Rule::NoSighting));
    assert_eq!(tells(Probe::Unclear("the certificate expired".into())), Some(Rule::Majority), "no vote, no sighting");
}

#[test]
fn this_runs_own_probes_must_meet_silence_too() {
    let mut scene = Scene::dead(&["a", "b", "c"]);
    scene.own = evidence(Some(Duration::from_secs(1)), false);
    assert_eq!(scene.broken(), Some(Rule::OwnProbes));
    scene.own = Evidence { last_probe: None, silent_for: None, last_seen: None, lost: false, ..lost() };
    assert_eq!(scene.broken(), Some(Rule::OwnProbes), "not asked is not silent");
    scene.own = Evidence { silent_for: Some(Duration::from_secs(14)), ..lost() };
    assert_eq!(scene.broken(), Some(Rule::OwnProbes), "not for long enough");
    scene.own = Evidence { failures: 2, ..lost() };
    assert_eq!(scene.broken(), Some(Rule::OwnProbes), "not often enough");
}

#[test]
fn a_voter_must_see_a_majority_itself() {
    let mut scene = Scene::dead(&["a", "b", "c", "d", "e"]);
    for id in ["d", "e"] {
        scene.told.get_mut(&region(id)).unwrap().as_mut().unwrap().sees = regions(&["a"]);
    }
    let verdict = scene.judge();
    assert_eq!((verdict.votes, verdict.is_down()), (2, false), "two of five see two each");
    let d = verdict.witnesses.iter().find(|witness| witness.region == Some(region("d"))).unwrap();
    assert_eq!(d.word, Word::Silence);
    assert!(d.why.contains("sees only 2 of 5"), "{}", d.why);
    scene.told.get_mut(&region("d")).unwrap().as_mut().unwrap().sees = regions(&["b", "c"]);
    assert_eq!(scene.broken(), None, "three of five");
}

#[test]
fn the_target_must_be_one_of_them() {
    let mut scene = Scene::dead(&["a", "b", "c", "d", "e"]);
    scene.says("b", Evidence { last_seen: None, silent_for: None, lost: false, ..lost() });
    assert_eq!(scene.broken(), Some(Rule::TargetAgrees));
    scene.target = Some(region("c"));
    assert_eq!(scene.broken(), None);
}

#[test]
fn a_quorum_only_raises_the_bar() {
    let mut scene = Scene::dead(&["a", "b", "c", "d", "e"]);
    for id in ["d", "e"] {
        scene.says(id, Evidence { last_seen: None, silent_for: None, lost: false, ..lost() });
    }
    scene.quorum = Some(1);
    assert_eq!(scene.judge().needed, 3);
    assert_eq!(scene.broken(), Some(Rule::Majority));
    let mut scene = Scene::dead(&["a", "b", "c", "d", "e"]);
    scene.quorum = Some(4);
    assert_eq!(scene.broken(), None);
    scene.quorum = Some(5);
    assert_eq!(scene.broken(), Some(Rule::Majority));
}

#[test]
fn whoever_does_not_answer_may_have_seen_it_unless_it_is_gone() {
    let mut scene = Scene::dead(&["a", "b", "c", "d", "e"]);
    scene.told.insert(region("e"), Err("connection refused".to_owned()));
    assert_eq!(scene.broken(), Some(Rule::AllHeard));
    scene.gone = regions(&["e"]);
    assert_eq!(scene.broken(), None, "three votes of five");
    scene.gone = regions(&["d", "e"]);
    scene.told.insert(region("d"), Err("connection refused".to_owned()));
    assert_eq!(scene.broken(), Some(Rule::Majority), "the gone count in the number");
}

#[test]
fn an_observer_that_stopped_asking_has_no_vote() {
    let mut scene = Scene::dead(&["a", "b", "c"]);
    scene.says("c", Evidence { last_probe: Some(minutes(1)), ..lost() });
    assert_eq!(scene.broken(), Some(Rule::Majority));
}

#[test]
fn a_suspect_that_answers_for_itself_is_there() {
    let mut scene = Scene::dead(&["a", "b", "c"]);
    scene.told.insert(region("a"), Ok(Observer { evidence: lost(), sees: BTreeSet::new() }));
    assert_eq!(scene.broken(), Some(Rule::NoSighting));
}

#[test]
fn what_is_not_served_has_no_vote() {
    let mut scene = Scene::dead(&["a", "b", "c"]);
    let voter = scene.told[&region("c")].clone();
    scene.told.insert(region("dir"), voter);
    assert_eq!(scene.judge().votes, 2);
}

#[test]
fn an_observer_sees_whom_it_met_lately() {
    let policy = HealthPolicy::default();
    let sightings = [
        (region("b"), evidence(Some(Duration::from_secs(3)), false)),
        (region("c"), evidence(Some(minutes(2)), true)),
        (region("d"), evidence(Some(minutes(2)), false)),
        (region("e"), evidence(None, false)),
    ];
    assert_eq!(Observer::new(lost(), &sightings.into(), &policy).sees, regions(&["b"]));
}

fn seen() -> Evidence {
    evidence(Some(Duration::from_secs(4)), false)
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    (0..4u8, 0..40u64, any::<bool>()).prop_map(|(kind, age, stale)| {
        let age = Duration::from_secs(age);
        let known = match kind {
            0 => evidence(Some(age), false),
            1 => evidence(Some(age + Duration::from_secs(20)), true),
            2 => Evidence { lost: false, ..evidence(Some(age), true) },
            _ => Evidence { last_seen: None, silent_for: None, lost: false, ..lost() },
        };
        if stale { Evidence { last_probe: Some(age * 2), ..known } } else { known }
    })
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let answer = prop_oneof![
        8 => (prop_oneof![6 => Just(lost()), 2 => Just(seen()), 1 => any_evidence()], any::<u8>())
            .prop_map(|(evidence, sees)| Some((evidence, sees | 0b0101_0100))),
        1 => Just(None)
    ];
    let own = prop_oneof![4 => Just(lost()), 1 => any_evidence()];
    (3..=7usize, proptest::collection::vec(answer, 7), own, proptest::option::of(0..8u32), any::<bool>()).prop_map(
        move |(count, answers, own, quorum, target)| {
            let mut scene = Scene::dead(&names[..count]);
            for (at, answer) in answers.into_iter().enumerate().take(count).skip(1) {
                let said = answer.map(|(evidence, sees)| {
                    let sees = (0..count).filter(|n| sees >> n & 1 == 1).map(|n| region(names[n])).collect();
                    Observer { evidence, sees }
                });
                scene.told.insert(region(names[at]), said.ok_or_else(|| "refused".to_owned()));
            }
            Scene { own, quorum, target: target.then(|| region("b")), ..scene }
        },
    )
}

/// The same after some observers fell silent or blind, and the last was perhaps not asked at all.
fn darkened(scene: &Scene, silent: u8, blind: u8, unasked: bool) -> Scene {
    let mut darker = scene.clone();
    for (at, answer) in darker.told.values_mut().enumerate() {
        if silent >> at & 1 == 1 {
            *answer = Err("refused".to_owned());
        } else if let (Ok(observer), true) = (answer, blind >> at & 1 == 1) {
            observer.sees.clear();
        }
    }
    if unasked {
        darker.told.pop_last();
    }
    darker
}

#[test]
fn nothing_that_becomes_unreachable_makes_a_region_look_more_down() {
    let few = || prop_oneof![4 => (0..7u32).prop_map(|at| 1 << at), 1 => any::<u8>(), 2 => Just(0)];
    let scenes = (any_scene(), few(), few(), proptest::bool::weighted(0.2));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    // Cases in which somebody's silence would have made the difference, had it counted for the region's being down.
    let telling = std::cell::Cell::new(0);
    let held = TestRunner::new_with_rng(config, rng).run(&scenes, |(scene, silent, blind, unasked)| {
        let (before, after) = (scene.judge(), darkened(&scene, silent, blind, unasked).judge());
        prop_assert!(before.is_down() || !after.is_down(), "{after:#?}");
        let broken: Vec<Rule> = after.findings.iter().filter(|rule| !rule.holds).map(|rule| rule.rule).collect();
        if !before.is_down() && broken == [Rule::AllHeard] {
            telling.set(telling.get() + 1);
        }
        Ok(())
    });
    held.unwrap();
    assert!(telling.get() > 10, "{} telling cases", telling.get());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_region_that_is_down_was_seen_by_nobody_and_is_silent_to_a_majority(scene in any_scene()) {
        if scene.judge().is_down() {
            let said: Vec<&Observer> = scene.told.values().filter_map(|said| said.as_ref().ok()).collect();
            let lost = said.iter().filter(|observer| observer.evidence.lost).count();
            prop_assert!(lost * 2 > scene.served.len());
            prop_assert!(said.iter().all(|said| said.evidence.lost || said.evidence.last_seen.is_none_or(|age| age.as_secs() > 15)));
        }
    }
}
