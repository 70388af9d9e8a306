//! What holds of every plan, over random worlds: the linter is silent, the same inputs give the same bytes, and a plan
//! that was carried out leaves nothing to do.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::world::*;
use crate::model::region::Epoch;
use crate::model::topology::Spec;
use crate::plan::compare::SpecRef;
use crate::plan::document::{Action, Change, Held, Holder, Kind, Mode, PlannedMove, Unmanaged, Waiting, WaitingOn};
use crate::plan::{Allow, Standing, check, recheck, saved};

const REGIONS: [&str; 4] = ["a", "b", "c", "d"];

/// One thing that happens to a world. Numbers pick among what is there.
#[derive(Debug, Clone)]
enum Event {
    Apply,
    Declare { name: u8, primary: u8, replicas: u8 },
    Undeclare(u8),
    Label(u8, u8),
    Replicas(u8, u8),
    Primary(u8, u8),
    Rename(u8, u8),
    Files(u8, u8),
    LoseFiles(u8),
    FailOver(u8, u8),
    Silence(u8),
    Speak,
    LoseRecord(u8, u8),
    Drift(u8, u8),
    Damage(u8, u8),
    Forget(u8),
    Policy(u8),
    Prune(bool),
    Accept,
    Reconcile(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let n = || 0..8_u8;
    prop_oneof![
        3 => Just(Event::Apply),
        3 => (n(), n(), any::<u8>()).prop_map(|(name, primary, replicas)| Event::Declare { name, primary, replicas }),
        1 => n().prop_map(Event::Undeclare),
        1 => (n(), n()).prop_map(|(a, b)| Event::Label(a, b)),
        1 => (n(), any::<u8>()).prop_map(|(a, b)| Event::Replicas(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Event::Primary(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Event::Rename(a, b)),
        2 => (n(), n()).prop_map(|(a, b)| Event::Files(a, b)),
        1 => n().prop_map(Event::LoseFiles),
        1 => (n(), n()).prop_map(|(a, b)| Event::FailOver(a, b)),
        1 => n().prop_map(Event::Silence),
        1 => Just(Event::Speak),
        1 => (n(), n()).prop_map(|(a, b)| Event::LoseRecord(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Event::Drift(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Event::Damage(a, b)),
        1 => n().prop_map(Event::Forget),
        1 => n().prop_map(Event::Policy),
        1 => any::<bool>().prop_map(Event::Prune),
        1 => Just(Event::Accept),
        1 => any::<bool>().prop_map(Event::Reconcile),
    ]
}

fn name(n: u8) -> String {
    format!("{}.x{n}", ["vm", "config"][usize::from(n % 2)])
}

fn some_regions(mask: u8) -> Vec<&'static str> {
    REGIONS.into_iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, id)| id).collect()
}

fn at(n: u8) -> &'static str {
    REGIONS[usize::from(n) % REGIONS.len()]
}

impl World {
    fn declared(&self, n: u8) -> Option<String> {
        let keys: Vec<_> = self.topology.resources.keys().collect();
        (!keys.is_empty()).then(|| keys[usize::from(n) % keys.len()].to_string())
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Apply => {
                self.options.mode = Mode::Normal;
                if let Ok(plan) = self.try_plan() {
                    self.carry_out(&plan);
                }
            }
            Event::Declare { name: n, primary, replicas } => {
                let primary = at(*primary);
                let replicas: Vec<_> = some_regions(*replicas).into_iter().filter(|id| *id != primary).collect();
                // The files may not declare a name that they rename.
                let renamed = self.topology.moved.iter().any(|moved| moved.from == address(&name(*n)));
                if !renamed {
                    let spec = resource(primary, &replicas);
                    self.topology.resources.entry(key(&name(*n))).or_insert(spec);
                }
            }
            Event::Undeclare(n) => {
                if let Some(text) = self.declared(*n) {
                    self.topology.resources.remove(&key(&text));
                }
            }
            Event::Label(n, value) => {
                if let Some(text) = self.declared(*n) {
                    self.spec(&text).labels.insert("label".into(), value.to_string());
                }
            }
            Event::Replicas(n, mask) => {
                if let Some(text) = self.declared(*n) {
                    let spec = self.spec(&text);
                    spec.replicas =
                        some_regions(*mask).into_iter().map(region).filter(|id| *id != spec.primary).collect();
                }
            }
            Event::Primary(n, to) => {
                if let Some(text) = self.declared(*n) {
                    let spec = self.spec(&text);
                    spec.primary = region(at(*to));
                    spec.replicas.remove(&region(at(*to)));
                }
            }
            Event::Rename(n, to) => {
                let to = format!("vm.y{to}");
                if let Some(text) = self.declared(*n).filter(|text| text.starts_with("vm.") && *text != to)
                    && !self.topology.resources.contains_key(&key(&to))
                    && self.topology.moved.iter().all(|moved| moved.from.to_string() != text)
                {
                    self.rename(&text, &to);
                }
            }
            Event::Files(n, version) => {
                if let Some(text) = self.declared(*n) {
                    let holder = self.holder(&text);
                    self.write_files(&holder, &text, u64::from(*version));
                }
            }
            Event::LoseFiles(n) => {
                if let Some(text) = self.declared(*n) {
                    let holder = self.holder(&text);
                    self.at(&holder).contents.remove(&key(&text));
                }
            }
            Event::FailOver(n, to) => {
                if let Some(text) = self.declared(*n)
                    && self.at(at(*to)).resources.contains_key(&key(&text))
                {
                    let epochs = self.regions.values().filter_map(|r| r.resources.get(&key(&text)));
                    let epoch = epochs.map(|record| record.epoch.0).max().unwrap_or(0) + 1;
                    self.fail_over(&text, at(*to), epoch);
                }
            }
            // What neither the state nor any region that answers knows is born anew (contract, F1): a state that forgot
            // a resource whose holder is silent gives it a second birth, which nothing here can prevent.
            Event::Silence(n) => {
                let forgotten = (self.regions.values().flat_map(|snapshot| snapshot.resources.keys()))
                    .any(|key| !self.recorded.objects.contains_key(&key.clone().into()));
                if !forgotten {
                    self.silent.insert(region(at(*n)));
                }
            }
            Event::Speak => self.silent.clear(),
            Event::LoseRecord(n, id) => {
                if let Some(text) = self.declared(*n) {
                    self.at(at(*id)).resources.remove(&key(&text));
                }
            }
            Event::Drift(n, id) => {
                if let Some(text) = self.declared(*n)
                    && let Some(record) = self.at(at(*id)).resources.get_mut(&key(&text))
                {
                    record.spec.labels.insert("drift".into(), "yes".into());
                }
            }
            Event::Damage(n, id) => {
                if let Some(text) = self.declared(*n)
                    && let Some(replica) = self.at(at(*id)).replicas.get_mut(&key(&text))
                {
                    replica.damage = replica.newest.as_ref().map(|_| "a file is missing".to_owned());
                }
            }
            Event::Forget(n) => {
                if let Some(text) = self.declared(*n).filter(|_| self.silent.is_empty()) {
                    self.recorded.objects.remove(&address(&text));
                }
            }
            Event::Policy(n) => {
                for spec in self.topology.regions.values_mut() {
                    spec.policy.retention.last = u32::from(*n);
                }
            }
            Event::Prune(on) => self.options.prune = *on,
            Event::Accept => self.options.accept_change = self.topology.resources.keys().cloned().collect(),
            Event::Reconcile(drift) => {
                self.options.mode = Mode::Reconcile;
                self.options.allow = Allow { sync: true, drift: *drift };
                self.pass(Duration::from_secs(400));
                if let Ok(plan) = self.try_plan() {
                    assert!(plan.changes.iter().all(|change| change.kind == Kind::Sync), "apply's work");
                    self.carry_out(&plan);
                }
                self.options.mode = Mode::Normal;
            }
        }
        self.edited();
    }

    fn holder(&self, text: &str) -> String {
        let records = self.regions.values().filter_map(|snapshot| snapshot.resources.get(&key(text)));
        let newest = records.max_by_key(|record| record.epoch).map(|record| record.holder.clone());
        newest.unwrap_or_else(|| self.topology.resources[&key(text)].primary.clone()).to_string()
    }
}

fn every_pair() -> Vec<(&'static str, &'static str)> {
    REGIONS.iter().flat_map(|a| REGIONS.iter().filter(move |b| a != *b).map(move |b| (*a, *b))).collect()
}

#[test]
fn files_under_a_former_name_are_copied_only_where_the_record_is_renamed() {
    let mut world = World::new(&REGIONS, &every_pair(), &[]);
    let lost = [
        Event::Declare { name: 0, primary: 5, replicas: 3 },
        Event::Apply,
        Event::LoseRecord(0, 5),
        Event::Files(0, 0),
        Event::Rename(0, 0),
    ];
    lost.iter().for_each(|event| world.happen(event));
    let plan = world.try_plan().unwrap();
    world.carry_out(&plan);
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(events in prop::collection::vec(event(), 1..24)) {
        let mut world = World::new(&REGIONS, &every_pair(), &[]);
        for event in &events {
            world.happen(event);
        }
        world.options.mode = Mode::Normal;
        let Ok(plan) = world.try_plan() else { return Ok(()) };

        // What is planned can be carried out as it is, and is seen to be done afterwards.
        let verdicts = world.with_input(|fresh| recheck(&plan, fresh));
        prop_assert!(verdicts.is_ok(), "{verdicts:?}");
        world.carry_out(&plan);
        let verdicts = world.with_input(|fresh| recheck(&plan, fresh)).unwrap();
        prop_assert!(verdicts.iter().all(|verdict| verdict.standing == Standing::AlreadyDone), "{verdicts:?}");

        let again = world.plan();
        prop_assert_eq!(again.effects().count(), 0, "{}\nfirst:\n{}", saved::write(&again), saved::write(&plan));
        prop_assert_eq!(&again.moved, &[], "the rename was recorded");

        // When every region answers, the deferred rest follows, and then nothing is deferred.
        world.silent.clear();
        if let Ok(plan) = world.try_plan() {
            world.carry_out(&plan);
            let settled = world.plan();
            prop_assert_eq!(settled.effects().count(), 0, "{}", saved::write(&settled));
            prop_assert!(settled.unobserved.iter().all(|unseen| unseen.deferred.is_empty()));
        }

        // One writer per resource, whatever the planner did.
        for key in world.topology.resources.keys() {
            let holders: BTreeSet<_> = (world.regions.iter())
                .filter_map(|(id, snapshot)| Some((id, snapshot.resources.get(key)?)))
                .filter(|(_, record)| record.role == crate::model::region::Role::Holder)
                .map(|(_, record)| record.epoch)
                .collect();
            let claims = (world.regions.values())
                .filter_map(|snapshot| snapshot.resources.get(key))
                .filter(|record| record.role == crate::model::region::Role::Holder)
                .count();
            prop_assert_eq!(claims, holders.len(), "two holders of one epoch of {}", key);
        }
    }

    #[test]
    fn targets_leave_a_sound_plan(events in prop::collection::vec(event(), 1..16), picks in prop::collection::vec(0..8_u8, 1..3)) {
        let mut world = World::new(&REGIONS, &every_pair(), &[]);
        for event in &events {
            world.happen(event);
        }
        world.options.mode = Mode::Normal;
        world.options.targets = picks.iter().filter_map(|n| world.declared(*n)).map(|text| address(&text)).collect();
        if let Ok(plan) = world.try_plan() {
            world.carry_out(&plan);
            prop_assert_eq!(world.plan().effects().count(), 0);
        }
    }

    #[test]
    fn refreshing_twice_finds_nothing(events in prop::collection::vec(event(), 1..16)) {
        let mut world = World::new(&REGIONS, &every_pair(), &[]);
        for event in &events {
            world.happen(event);
        }
        world.options.mode = Mode::RefreshOnly;
        if let Ok(plan) = world.try_plan() {
            prop_assert!(plan.changes.is_empty());
            let before = world.regions.clone();
            world.carry_out(&plan);
            prop_assert_eq!(&world.regions, &before);
            let again = world.plan();
            prop_assert_eq!(again.effects().count(), 0, "{}\nfirst:\n{}", saved::write(&again), saved::write(&plan));
        }
    }

    #[test]
    fn a_difference_is_shown_exactly_where_one_is_seen(
        primary in 0..4_u8, replicas in any::<u8>(), other_primary in 0..4_u8, other_replicas in any::<u8>(),
        lags in prop::array::uniform2(prop::option::of(1..3_u64)), labels in prop::array::uniform2(0..3_u8),
    ) {
        let spec = |primary: u8, replicas: u8, lag: Option<u64>, label: u8| {
            let mut spec = resource(at(primary), &some_regions(replicas));
            spec.replicas.remove(&region(at(primary)));
            spec.max_lag = lag.map(Duration::from_secs);
            spec.labels.insert("l".into(), label.to_string());
            spec
        };
        let a = Spec::Resource(spec(primary, replicas, lags[0], labels[0]));
        let b = Spec::Resource(spec(other_primary, other_replicas, lags[1], labels[1]));
        let (a, b) = (SpecRef::from(&a), SpecRef::from(&b));
        prop_assert_eq!(a.says(b), a.differences(b).is_empty());
        prop_assert_eq!(a.says(b), b.says(a));
    }
}

#[test]
fn the_linter_finds_what_is_wrong() {
    let plan = World::small().plan();
    let broken = |edit: &dyn Fn(&mut crate::plan::document::Plan)| {
        let mut plan = plan.clone();
        edit(&mut plan);
        plan.digest = saved::digest(&plan);
        let messages: Vec<String> = check(&plan).into_iter().map(|finding| finding.message).collect();
        messages.join("; ")
    };
    let last = plan.changes.len() - 1;
    assert_eq!(broken(&|_| {}), "");
    assert!(broken(&|plan| plan.changes[1].id = plan.changes[0].id.clone()).contains("not unique"));
    assert!(broken(&|plan| plan.changes[0].depends_on = vec!["x".into()]).contains("which is not there"));
    assert!(broken(&|plan| plan.changes[0].depends_on = vec![plan.changes[last].id.clone()]).contains("stands before"));
    assert!(
        broken(&|plan| {
            let (first, second) = (plan.changes[0].id.clone(), plan.changes[1].id.clone());
            plan.changes[0].depends_on = vec![second];
            plan.changes[1].depends_on = vec![first];
        })
        .contains("in a circle")
    );
    assert!(broken(&|plan| plan.changes[last].source = None).contains("one source and one target"));
    assert!(broken(&|plan| plan.changes[last].precondition.base = None).contains("what point it goes from"));
    assert!(broken(&|plan| plan.changes[last].precondition.holder = None).contains("reads from the holder"));
    assert!(broken(&|plan| plan.summary.create += 1).contains("does not count"));
    assert!(broken(&|plan| plan.changes[0].after = None).contains("do not fit its action"));
    assert!(broken(&|plan| plan.changes[0].regions.clear()).contains("relies on other records"));
    assert!(
        broken(&|plan| {
            let region_id = plan.changes[last].regions[0].clone();
            let (reason, help, deferred) = (String::new(), None, Vec::new());
            plan.unobserved.push(crate::plan::document::UnobservedRegion { region_id, reason, help, deferred });
        })
        .contains("of which nothing is known")
    );
    assert!(
        broken(&|plan| {
            let (address, region_id) =
                (plan.changes[last].address.clone(), plan.changes[last].regions.first().cloned());
            let (reason, detail) = (crate::model::point::BlockReason::Suspicious, String::new());
            plan.blocked.push(crate::plan::document::Blocked { address, region_id, reason, detail });
        })
        .contains("copies what is blocked")
    );
    let record = plan.changes.iter().position(|change| change.kind == Kind::Resource).unwrap();
    let target = plan.changes[last].address.clone();
    let (a, z) = (region("a"), region("z"));
    assert!(broken(&|plan| plan.changes[record].drops = vec![z.clone()]).contains("it does not touch"));
    assert!(
        broken(&|plan| {
            plan.changes[record].drops = vec![a.clone()];
            plan.changes[record].precondition.holder = Some(Holder { region: a.clone(), epoch: Epoch::BIRTH });
        })
        .contains("the record of the holder")
    );
    assert!(broken(&|plan| plan.mode = Mode::RefreshOnly).contains("nothing but the record"));
    assert!(broken(&|plan| plan.changes[0].regions.push(a.clone())).contains("names a region twice"));
    assert!(
        broken(&|plan| plan.changes[last].source = plan.changes[last].regions.first().cloned())
            .contains("copies a region to itself")
    );
    assert!(broken(&|plan| plan.changes[last].address = address("region.a")).contains("only resources are copied"));
    assert!(
        broken(&|plan| {
            let twin = Change { id: "twin".to_owned(), ..plan.changes[last].clone() };
            plan.changes.push(twin);
        })
        .contains("has another entry already")
    );
    assert!(
        broken(&|plan| {
            let holder = Holder { region: a.clone(), epoch: Epoch::BIRTH };
            let address = plan.changes[record].address.clone();
            plan.held.push(Held { address, declared: a.clone(), holder, reason: String::new() });
            plan.changes[record].action = Action::Delete;
        })
        .contains("acts on what is held")
    );
    assert!(
        broken(&|plan| {
            let reason = WaitingOn::NoSource;
            plan.waiting.push(Waiting { address: target.clone(), region_id: a.clone(), reason });
        })
        .contains("copies what has no files")
    );
    assert!(
        broken(&|plan| {
            plan.unmanaged.push(Unmanaged { address: target.clone(), regions: Vec::new(), managed_by: None });
        })
        .contains("touches what others manage")
    );
    assert!(
        broken(&|plan| {
            let to = address("vm.new");
            plan.moved.push(PlannedMove { from: target.clone(), to, regions: Vec::new() });
        })
        .contains("changed under its former name")
    );
    let mut unsigned = plan.clone();
    unsigned.changes.pop();
    assert!(check(&unsigned).iter().any(|finding| finding.message.contains("digest")));
}
