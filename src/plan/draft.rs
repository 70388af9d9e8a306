//! A plan in the making: what is known, settled before the first step, and what the steps have said so far.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Action, Blocked, Change, Held, Mode, PlannedMove, Unmanaged, Waiting, Warning};
use super::input::PlanInput;
use super::live::Live;
use super::moves::Moves;
use super::sight::Sight;
use crate::model::recorded::Applied;
use crate::model::{Address, Lineage, RegionId};

/// What every step may look at and none may change.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) input: &'a PlanInput<'a>,
    pub(crate) sight: Sight<'a>,
    pub(crate) moves: Moves,
    pub(crate) live: Live<'a>,
}

impl<'a> View<'a> {
    pub(crate) fn of(input: &'a PlanInput<'a>) -> Self {
        Self::under(input, input.options.mode)
    }

    /// As [`View::of`], for a plan that was made in `mode`.
    pub(crate) fn under(input: &'a PlanInput<'a>, mode: Mode) -> Self {
        let sight = Sight::of(input);
        let moves = match mode {
            Mode::Normal | Mode::Reconcile => Moves::resolve(input, &sight),
            // The record is what is to become like live; names are no exception.
            Mode::RefreshOnly => Moves::default(),
        };
        let live = Live::gather(&sight, &moves);
        Self { input, sight, moves, live }
    }

    /// The object as the state remembers it, under its present or its former address.
    pub(crate) fn applied(&self, address: &Address) -> Option<&'a Applied> {
        let objects = &self.input.recorded.objects;
        objects.get(address).or_else(|| objects.get(self.moves.former(address)?))
    }

    /// The state's lineage: what it manages carries it.
    pub(crate) const fn lineage(&self) -> Lineage {
        self.input.recorded.lineage
    }

    /// Whether the files declare the object.
    pub(crate) fn declares(&self, address: &Address) -> bool {
        let topology = self.input.topology;
        match address {
            Address::Region(id) => topology.regions.contains_key(id),
            Address::Replication(pair) => topology.pairs.contains_key(pair),
            Address::Resource(key) => topology.resources.contains_key(key),
        }
    }

    /// Whether the object is among what was asked for by `--target`.
    pub(crate) fn targeted(&self, address: &Address) -> bool {
        let targets = &self.input.options.targets;
        let named = |address: &Address| targets.contains(address);
        targets.is_empty() || named(address) || self.moves.former(address).is_some_and(named)
    }
}

/// What the steps have said so far.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) view: &'a View<'a>,
    /// Resources that nothing may touch, with the reason. Written by `safety`, before any step decides to act.
    pub(crate) untouchable: BTreeMap<Address, Held>,
    pub(crate) changes: Vec<Change>,
    pub(crate) drift: Vec<Change>,
    pub(crate) held: Vec<Held>,
    pub(crate) blocked: Vec<Blocked>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) unmanaged: Vec<Unmanaged>,
    pub(crate) deferred: BTreeMap<RegionId, BTreeSet<Address>>,
    pub(crate) moved: Vec<PlannedMove>,
    pub(crate) warnings: Vec<Warning>,
    /// What `reconcile` found and may not do: changes never applied, and drift.
    pub(crate) left: Left,
    /// Where the changes to records write: by object, the change's id and its regions.
    pub(crate) written: BTreeMap<Address, (String, BTreeSet<RegionId>)>,
}

/// What `reconcile` leaves to others, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Left {
    pub(crate) changes: usize,
    pub(crate) drift: usize,
}

impl<'a> Draft<'a> {
    pub(crate) const fn new(view: &'a View<'a>) -> Self {
        Self {
            view,
            untouchable: BTreeMap::new(),
            changes: Vec::new(),
            drift: Vec::new(),
            held: Vec::new(),
            blocked: Vec::new(),
            waiting: Vec::new(),
            unmanaged: Vec::new(),
            deferred: BTreeMap::new(),
            moved: Vec::new(),
            warnings: Vec::new(),
            left: Left { changes: 0, drift: 0 },
            written: BTreeMap::new(),
        }
    }

    /// Takes a change of records that the files ask for; `reconcile` leaves it to `apply`.
    pub(crate) fn change(&mut self, change: Change) {
        match self.view.input.options.mode {
            Mode::Reconcile => self.left.changes += 1,
            Mode::Normal | Mode::RefreshOnly => {
                self.note_written(&change);
                self.changes.push(change);
            }
        }
    }

    /// Takes a change of records that mends drift; `reconcile` must be allowed to.
    pub(crate) fn drift(&mut self, change: Change) {
        let allowed = match self.view.input.options.mode {
            Mode::Reconcile => self.view.input.options.allow.drift,
            Mode::Normal | Mode::RefreshOnly => true,
        };
        if allowed {
            self.note_written(&change);
            self.drift.push(change);
        } else {
            self.left.drift += 1;
        }
    }

    fn note_written(&mut self, change: &Change) {
        if matches!(change.action, Action::Create | Action::Update) {
            let kept = change.regions.iter().filter(|region| !change.drops.contains(region)).cloned().collect();
            self.written.insert(change.address.clone(), (change.id.clone(), kept));
        }
    }

    /// Says that work on the object waits for a region.
    pub(crate) fn defer(&mut self, region: &RegionId, address: &Address) {
        self.deferred.entry(region.clone()).or_default().insert(address.clone());
    }

    /// Whether the object's record is at the region, or will be before anything that depends on it.
    pub(crate) fn will_record(&self, address: &Address, region: &RegionId) -> bool {
        self.view.live.of(address).iter().any(|sighting| sighting.region == region)
            || self.written.get(address).is_some_and(|(_, regions)| regions.contains(region))
    }
}
