//! Which change may start now. Pure: it knows changes, limits and what ended how; no time, no effects.
//!
//! It owns the order. Invariants: a change starts only after everything that it depends on succeeded; of those that
//! may start, the first in the plan does, but that a large copy leaves the last place to small ones; a change that did
//! not succeed takes with it exactly those that depend on it, however far; after [`Schedule::stop`] nothing starts; every change is handed out or given up exactly once.
//!
//! Changes of records are handed out in batches, because a region writes many of them in one transaction as cheaply
//! as one. One batch runs at a time; copies run beside it. Copies of which nothing but a date is written go in batches
//! as well, one at a time for each group of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::RegionId;
use crate::plan::document::{Action, Change};

/// How much may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Effects at once; a batch of records is one.
    pub parallelism: usize,
    /// Copies at once that read from or write to one region.
    pub per_region: usize,
    /// Changes of records in one batch.
    pub batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { parallelism: 10, per_region: 4, batch: 256 }
    }
}

/// Copies that are one request together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Which belong together.
    pub group: usize,
    /// How many at once.
    pub most: usize,
}

/// Where a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits for so many others.
    Waiting(usize),
    /// May start.
    Ready,
    Running,
    /// Ended, or given up.
    Over,
}

#[derive(Debug)]
struct Item {
    stage: Stage,
    /// Written as a record, in a batch; else a copy.
    record: bool,
    /// A copy's two ends.
    ends: BTreeSet<RegionId>,
    /// A copy that will take long.
    large: bool,
    /// A copy that is part of a request: it takes no place from those that move bytes.
    batch: Option<Batch>,
    dependants: Vec<usize>,
}

/// Copies under way.
#[derive(Debug, Clone, Copy, Default)]
struct Busy {
    all: usize,
    /// Of them, those that take long.
    large: usize,
}

impl Busy {
    const fn add(&mut self, large: bool) {
        self.all += 1;
        self.large += large as usize;
    }

    const fn remove(&mut self, large: bool) {
        self.all -= 1;
        self.large -= large as usize;
    }

    /// Whether one more may run. Where there are several places, one is never a large copy's.
    fn has_room(self, large: bool, most: usize) -> bool {
        self.all < most && !(large && most > 1 && self.large + 1 >= most)
    }
}

/// The changes of one run and where each stands. A change is known by its place in the plan.
#[derive(Debug)]
pub struct Schedule {
    items: Vec<Item>,
    limits: Limits,
    ready: BTreeSet<usize>,
    /// Copies under way, by region.
    busy: BTreeMap<RegionId, Busy>,
    copies: Busy,
    /// Members of the batch of records under way that have not ended.
    batch: usize,
    /// Those of each group's batch of copies.
    batches: BTreeMap<usize, usize>,
    stopped: bool,
}

/// Whether the action writes records; the others move bytes or roles.
pub const fn is_record(action: Action) -> bool {
    match action {
        Action::Create | Action::Update | Action::Delete => true,
        Action::Sync | Action::Repair | Action::Failover | Action::Fence => false,
    }
}

impl Schedule {
    /// Takes the changes in the plan's order. A dependency that is not among them is taken for met: a targeted plan
    /// leaves out what is in place.
    pub fn new(changes: &[&Change], limits: Limits) -> Self {
        let places: BTreeMap<&str, usize> = changes.iter().enumerate().map(|(at, c)| (c.id.as_str(), at)).collect();
        let mut items: Vec<Item> = Vec::with_capacity(changes.len());
        let mut dependants = vec![Vec::new(); changes.len()];
        for (at, change) in changes.iter().enumerate() {
            let needed: BTreeSet<usize> =
                change.depends_on.iter().filter_map(|id| places.get(id.as_str()).copied()).collect();
            for need in &needed {
                dependants[*need].push(at);
            }
            items.push(Item {
                stage: if needed.is_empty() { Stage::Ready } else { Stage::Waiting(needed.len()) },
                record: is_record(change.action),
                ends: change.regions.iter().chain(&change.source).cloned().collect(),
                large: false,
                batch: None,
                dependants: Vec::new(),
            });
        }
        for (item, dependants) in items.iter_mut().zip(dependants) {
            item.dependants = dependants;
        }
        let ready = items.iter().enumerate().filter(|(_, i)| i.stage == Stage::Ready).map(|(at, _)| at).collect();
        Self {
            items,
            limits,
            ready,
            busy: BTreeMap::new(),
            copies: Busy::default(),
            batch: 0,
            batches: BTreeMap::new(),
            stopped: false,
        }
    }

    /// With these copies taken for large ones: those that are first in the plan must not hold up all the others of their
    /// regions for as long as they take.
    #[must_use]
    pub fn with_large(mut self, large: impl IntoIterator<Item = usize>) -> Self {
        for at in large {
            self.items[at].large = true;
        }
        self
    }

    /// With these copies handed out in batches.
    #[must_use]
    pub fn with_batches(mut self, batches: &BTreeMap<usize, Batch>) -> Self {
        for (at, batch) in batches {
            self.items[*at].batch = Some(*batch);
        }
        self
    }

    /// What may start now, as one effect: a batch of records, one copy or a batch of them. Empty: nothing, until something ends.
    pub fn start(&mut self) -> Vec<usize> {
        let running = self.copies.all + usize::from(self.batch > 0) + self.batches.len();
        if self.stopped || running >= self.limits.parallelism.max(1) {
            return Vec::new();
        }
        let Some(first) = self.ready.iter().copied().find(|at| self.has_room(*at)) else { return Vec::new() };
        let started: Vec<usize> = if self.items[first].record {
            let members = self.ready.range(first..).copied().filter(|at| self.items[*at].record);
            members.take(self.limits.batch.max(1)).collect()
        } else if let Some(Batch { group, most }) = self.items[first].batch {
            let alike = |at: &usize| self.items[*at].batch.is_some_and(|batch| batch.group == group);
            self.ready.range(first..).copied().filter(alike).take(most.max(1)).collect()
        } else {
            vec![first]
        };
        for at in &started {
            self.ready.remove(at);
            self.items[*at].stage = Stage::Running;
        }
        if self.items[first].record {
            self.batch = started.len();
        } else if let Some(Batch { group, .. }) = self.items[first].batch {
            self.batches.insert(group, started.len());
        } else {
            let Item { ends, large, .. } = &self.items[first];
            self.copies.add(*large);
            for end in ends {
                self.busy.entry(end.clone()).or_default().add(*large);
            }
        }
        started
    }

    fn has_room(&self, at: usize) -> bool {
        let item = &self.items[at];
        if item.record {
            return self.batch == 0;
        }
        if let Some(Batch { group, .. }) = item.batch {
            return !self.batches.contains_key(&group);
        }
        let busy = |end| self.busy.get(end).copied().unwrap_or_default();
        let (large, per_region) = (item.large, self.limits.per_region.max(1));
        self.copies.has_room(large, self.limits.parallelism.max(1))
            && item.ends.iter().all(|end| busy(end).has_room(large, per_region))
    }

    /// Notes that a running change ended. Where it did not succeed, what depends on it is given up and returned, in
    /// the plan's order.
    pub fn end(&mut self, at: usize, succeeded: bool) -> Vec<usize> {
        debug_assert_eq!(self.items[at].stage, Stage::Running);
        self.items[at].stage = Stage::Over;
        if self.items[at].record {
            self.batch -= 1;
        } else if let Some(Batch { group, .. }) = self.items[at].batch {
            if let Some(left) = self.batches.get_mut(&group) {
                *left -= 1;
            }
            self.batches.retain(|_, left| *left > 0);
        } else {
            let Item { ends, large, .. } = &self.items[at];
            self.copies.remove(*large);
            for end in ends {
                if let Some(busy) = self.busy.get_mut(end) {
                    busy.remove(*large);
                }
            }
        }
        if !succeeded {
            return self.give_up_dependants(at);
        }
        for dependant in self.items[at].dependants.clone() {
            if let Stage::Waiting(count) = self.items[dependant].stage {
                if count == 1 {
                    self.items[dependant].stage = Stage::Ready;
                    self.ready.insert(dependant);
                } else {
                    self.items[dependant].stage = Stage::Waiting(count - 1);
                }
            }
        }
        Vec::new()
    }

    fn give_up_dependants(&mut self, at: usize) -> Vec<usize> {
        let mut given_up = BTreeSet::new();
        let mut todo = self.items[at].dependants.clone();
        while let Some(next) = todo.pop() {
            if let Stage::Waiting(_) = self.items[next].stage {
                self.items[next].stage = Stage::Over;
                given_up.insert(next);
                todo.extend(&self.items[next].dependants);
            }
        }
        given_up.into_iter().collect()
    }

    /// Starts nothing more; what will never start now is returned, in the plan's order.
    pub fn stop(&mut self) -> Vec<usize> {
        self.stopped = true;
        self.ready.clear();
        let mut left = Vec::new();
        for (at, item) in self.items.iter_mut().enumerate() {
            match item.stage {
                Stage::Waiting(_) | Stage::Ready => {
                    item.stage = Stage::Over;
                    left.push(at);
                }
                Stage::Running | Stage::Over => {}
            }
        }
        left
    }

    /// Whether something runs.
    pub fn is_running(&self) -> bool {
        self.copies.all > 0 || self.batch > 0 || !self.batches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::document::{Kind, Precondition};

    fn change(at: usize, action: Action, needs: &[usize], regions: &[&str]) -> Change {
        Change {
            id: format!("c{at}"),
            address: format!("vm.v{at}").parse().unwrap(),
            kind: if is_record(action) { Kind::Resource } else { Kind::Sync },
            action,
            regions: regions.iter().map(|r| r.parse().unwrap()).collect(),
            drops: Vec::new(),
            source: None,
            before: None,
            after: None,
            reason: String::new(),
            depends_on: needs.iter().map(|n| format!("c{n}")).collect(),
            precondition: Precondition::default(),
        }
    }

    /// A plan of up to 40 changes that depend on earlier ones, with the fate of each.
    fn plans() -> impl Strategy<Value = Vec<(Change, bool)>> {
        let one = (any::<bool>(), prop::collection::vec(any::<prop::sample::Index>(), 0..3), 0..4_usize, 0..10_u8);
        prop::collection::vec(one, 1..40).prop_map(|raw| {
            let regions = ["a", "b", "c", "d"];
            raw.into_iter()
                .enumerate()
                .map(|(at, (record, needs, region, fate))| {
                    let needs: Vec<usize> =
                        if at == 0 { Vec::new() } else { needs.iter().map(|index| index.index(at)).collect() };
                    let action = if record { Action::Create } else { Action::Sync };
                    (change(at, action, &needs, &[regions[region]]), fate > 0)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_change_starts_after_its_needs_or_is_given_up_with_one(
            plan in plans(),
            parallelism in 1..5_usize,
            per_region in 1..3_usize,
            batch in 1..6_usize,
            order in prop::collection::vec(any::<prop::sample::Index>(), 200),
            stop_after in prop::option::of(0..40_usize),
        ) {
            let changes: Vec<&Change> = plan.iter().map(|(change, _)| change).collect();
            let limits = Limits { parallelism, per_region, batch };
            let mut schedule = Schedule::new(&changes, limits);
            let mut running: Vec<Vec<usize>> = Vec::new();
            let mut succeeded = BTreeSet::new();
            let mut seen = BTreeSet::new();
            let mut given_up = BTreeSet::new();
            let mut stopped = false;
            let mut picks = order.into_iter();
            let needs = |at: usize| -> Vec<usize> {
                changes[at].depends_on.iter().map(|id| id[1..].parse().unwrap()).collect()
            };
            loop {
                if !stopped && stop_after.is_some_and(|n| seen.len() >= n) {
                    stopped = true;
                    for at in schedule.stop() {
                        prop_assert!(given_up.insert(at));
                    }
                }
                loop {
                    let started = schedule.start();
                    if started.is_empty() { break; }
                    prop_assert!(!stopped);
                    prop_assert!(started.len() <= batch);
                    prop_assert!(started.is_sorted());
                    for at in &started {
                        prop_assert!(seen.insert(*at), "started twice");
                        prop_assert!(needs(*at).iter().all(|n| succeeded.contains(n)));
                    }
                    // No earlier change of the same kind and place was passed over.
                    for earlier in 0..started[0] {
                        let alike = changes[earlier].action == changes[started[0]].action
                            && changes[earlier].regions == changes[started[0]].regions;
                        let could = !seen.contains(&earlier) && !given_up.contains(&earlier)
                            && needs(earlier).iter().all(|n| succeeded.contains(n));
                        prop_assert!(!(alike && could), "{earlier} was passed over for {}", started[0]);
                    }
                    running.push(started);
                    prop_assert!(running.len() <= parallelism);
                    let batches = running.iter().filter(|r| is_record(changes[r[0]].action)).count();
                    prop_assert!(batches <= 1);
                    for region in ["a", "b", "c", "d"] {
                        let copies = running.iter().flatten()
                            .filter(|at| !is_record(changes[**at].action) && changes[**at].regions[0].as_str() == region);
                        prop_assert!(copies.count() <= per_region);
                    }
                }
                if running.is_empty() { break; }
                let pick = picks.next().map_or(0, |index| index.index(running.len()));
                for at in running.remove(pick) {
                    let fate = plan[at].1;
                    if fate { succeeded.insert(at); }
                    for lost in schedule.end(at, fate) {
                        prop_assert!(!fate);
                        prop_assert!(given_up.insert(lost));
                    }
                }
            }
            prop_assert!(!schedule.is_running());
            for (at, change) in changes.iter().enumerate() {
                prop_assert!(seen.contains(&at) != given_up.contains(&at), "{} is lost or double", change.id);
                if given_up.contains(&at) && !stopped {
                    prop_assert!(needs(at).iter().any(|n| !succeeded.contains(n)), "{} was given up for nothing", change.id);
                }
            }
        }
    }

    #[test]
    fn a_batch_takes_all_records_that_may_start_and_copies_run_beside_it() {
        let plan = [
            change(0, Action::Create, &[], &["a"]),
            change(1, Action::Sync, &[], &["b"]),
            change(2, Action::Create, &[], &["b"]),
            change(3, Action::Create, &[0], &["a"]),
        ];
        let mut schedule = Schedule::new(&plan.iter().collect::<Vec<_>>(), Limits::default());
        assert_eq!(schedule.start(), [0, 2]);
        assert_eq!(schedule.start(), [1]);
        assert!(schedule.start().is_empty());
        schedule.end(0, true);
        assert!(schedule.start().is_empty(), "the batch is not over");
        schedule.end(2, false);
        assert_eq!(schedule.start(), [3]);
    }

    #[test]
    fn copies_in_batches_go_one_request_after_the_other_and_take_no_place_from_others() {
        let plan: Vec<Change> = (0..12).map(|at| change(at, Action::Sync, &[], &["a"])).collect();
        let limits = Limits { parallelism: 4, per_region: 1, batch: 1 };
        let batches = (1..11).map(|at| (at, Batch { group: at / 10, most: 4 })).collect();
        let mut schedule = Schedule::new(&plan.iter().collect::<Vec<_>>(), limits).with_batches(&batches);
        assert_eq!(schedule.start(), [0]);
        assert_eq!(schedule.start(), [1, 2, 3, 4]);
        assert_eq!(schedule.start(), [10], "another group's");
        assert!(schedule.start().is_empty(), "one request of a group at a time, and one copy of a region");
        for at in [0, 1, 2, 3] {
            schedule.end(at, at != 2);
        }
        assert_eq!(schedule.start(), [11]);
        assert!(schedule.start().is_empty());
        schedule.end(4, true);
        assert_eq!(schedule.start(), [5, 6, 7, 8]);
        (5..9).for_each(|at| drop(schedule.end(at, true)));
        assert_eq!(schedule.start(), [9]);
        for at in [9, 10, 11] {
            assert!(schedule.is_running());
            schedule.end(at, true);
        }
        assert!(!schedule.is_running());
    }

    #[test]
    fn large_copies_leave_a_place_to_hundreds_of_small_ones() {
        let plan: Vec<Change> = (0..300).map(|at| change(at, Action::Sync, &[], &["a"])).collect();
        let limits = Limits { parallelism: 10, per_region: 4, batch: 1 };
        let mut schedule = Schedule::new(&plan.iter().collect::<Vec<_>>(), limits).with_large(0..20);
        let mut running: BTreeSet<usize> = std::iter::from_fn(|| schedule.start().first().copied()).collect();
        assert_eq!(running, BTreeSet::from([0, 1, 2, 20]), "the first three, and the first small one");
        // The large ones take longer than all small ones.
        for small in 20..300 {
            assert!(running.remove(&small), "{small} was passed over");
            schedule.end(small, true);
            running.extend(std::iter::from_fn(|| schedule.start().first().copied()));
        }
        assert_eq!(running, BTreeSet::from([0, 1, 2]));
        schedule.end(1, true);
        assert_eq!(schedule.start(), [3]);

        // Where there is one place only, large ones take it too.
        let limits = Limits { parallelism: 1, ..limits };
        let mut schedule = Schedule::new(&plan.iter().collect::<Vec<_>>(), limits).with_large(0..20);
        assert_eq!(schedule.start(), [0]);
    }

    #[test]
    fn changes_that_wait_for_each_other_never_start_and_are_left_when_it_stops() {
        let plan = [change(0, Action::Create, &[1], &["a"]), change(1, Action::Create, &[0], &["a"])];
        let mut schedule = Schedule::new(&plan.iter().collect::<Vec<_>>(), Limits::default());
        assert!(schedule.start().is_empty());
        assert!(!schedule.is_running());
        assert_eq!(schedule.stop(), [0, 1]);
    }
}
