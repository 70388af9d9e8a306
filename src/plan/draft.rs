//! A plan in the making: what is known, settled before the first step, and what the steps have said so far.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Action, Blocked, Change, Held, Mode, PlannedMove, Unmanaged, Waiting, Warning};
use super::input::PlanInput;
use super::live::{Holding, Live, Sighting, holding};
use super::moves::Moves;
use super::sight::Sight;
use crate::model::recorded::Applied;
use crate::model::topology::ResourceSpec;
use crate::model::{Address, Lineage, RegionId, ResourceKey};

/// What every step may look at and none may change.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) input: &'a PlanInput<'a>,
    pub(crate) sight: Sight<'a>,
    pub(crate) moves: Moves,
    pub(crate) live: Live<'a>,
    /// Every declared resource with what is known of it, in the order of their keys.
    pub(crate) resources: Vec<KnownResource<'a>>,
    /// Every object that the state or a region knows and the files do not declare, in order.
    pub(crate) undeclared: BTreeSet<Address>,
}

/// A declared resource and what is known of it: looked up once, for all steps.
#[derive(Debug)]
pub(crate) struct KnownResource<'a> {
    pub(crate) key: &'a ResourceKey,
    pub(crate) spec: &'a ResourceSpec,
    pub(crate) address: Address,
    pub(crate) sightings: Vec<Sighting<'a>>,
    pub(crate) applied: Option<&'a Applied>,
    pub(crate) holding: Holding,
}

impl KnownResource<'_> {
    /// Whether the region records it.
    pub(crate) fn recorded_at(&self, region: &RegionId) -> bool {
        self.sightings.iter().any(|sighting| sighting.region == region)
    }
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
        let mut view = Self { input, sight, moves, live, resources: Vec::new(), undeclared: BTreeSet::new() };
        view.resources = view.known_resources();
        view.undeclared = view.known_and_undeclared();
        view
    }

    fn known_resources(&self) -> Vec<KnownResource<'a>> {
        let mut live = self.live.all().peekable();
        let mut recorded = self.input.recorded.objects.iter().peekable();
        (self.input.topology.resources.iter())
            .map(|(key, spec)| {
                let address = Address::Resource(key.clone());
                let sightings = advance(&mut live, &address).map_or_else(Vec::new, <[Sighting<'_>]>::to_vec);
                let applied = advance(&mut recorded, &address)
                    .or_else(|| self.input.recorded.objects.get(self.moves.former(&address)?));
                let holding = holding(&sightings, &self.sight);
                KnownResource { key, spec, address, sightings, applied, holding }
            })
            .collect()
    }

    fn known_and_undeclared(&self) -> BTreeSet<Address> {
        let topology = self.input.topology;
        let declared: Vec<Address> = (topology.regions.keys().cloned().map(Address::Region))
            .chain(topology.pairs.keys().cloned().map(Address::Replication))
            .chain(topology.resources.keys().cloned().map(Address::Resource))
            .collect();
        let mut live = declared.iter().map(|address| (address, ())).peekable();
        let mut recorded = live.clone();
        let unknown_to_files = (self.live.all())
            .map(|(address, _)| address)
            .filter(|address| advance(&mut live, address).is_none())
            .chain((self.input.recorded.objects.keys()).filter(|address| advance(&mut recorded, address).is_none()));
        unknown_to_files.cloned().collect()
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

/// Goes on in a sorted list to what stands at `address`; none where nothing does. Asked in order, a whole list costs one
/// walk.
fn advance<'k, T: Copy>(
    list: &mut std::iter::Peekable<impl Iterator<Item = (&'k Address, T)>>,
    address: &Address,
) -> Option<T> {
    while list.next_if(|(other, _)| *other < address).is_some() {}
    list.peek().filter(|(other, _)| *other == address).map(|(_, value)| *value)
}

/// What the steps have said so far.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) view: &'a View<'a>,
    /// Resources that nothing may touch, with the reason. Written by `safety`, before any step decides to act.
    pub(crate) untouchable: BTreeMap<Address, Untouchable>,
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

/// Why nothing may touch a resource.
#[derive(Debug, Clone)]
pub(crate) enum Untouchable {
    /// Who holds it is in doubt, or an operation is open on it.
    Held(Held),
    /// Its place is not its own.
    Blocked(Blocked),
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

    /// Whether the resource's record is at the region, or will be before anything that depends on it.
    pub(crate) fn will_record(&self, known: &KnownResource<'_>, region: &RegionId) -> bool {
        known.recorded_at(region)
            || self.written.get(&known.address).is_some_and(|(_, regions)| regions.contains(region))
    }
}
