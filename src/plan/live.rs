//! What the seen regions record, by object, with renames resolved; who holds what.

use super::compare::RecordRef;
use super::document::Holder;
use super::moves::Moves;
use super::sight::Sight;
use crate::failover::Claim;
use crate::model::region::RegionSnapshot;
use crate::model::{Address, RegionId, ResourceKey};

/// One object as one region records it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting<'a> {
    pub(crate) region: &'a RegionId,
    pub(crate) record: RecordRef<'a>,
    /// It is recorded under the address that it had before a rename.
    pub(crate) former: bool,
}

/// All records of all seen regions. Sightings of an object are in the order of their regions.
#[derive(Debug, Default)]
pub(crate) struct Live<'a> {
    /// By address. A sorted list: it is built from sorted runs, one a region, and mostly walked from end to end.
    objects: Vec<(Address, Vec<Sighting<'a>>)>,
}

impl<'a> Live<'a> {
    pub(crate) fn gather(sight: &Sight<'a>, moves: &Moves) -> Self {
        let mut found: Vec<(Address, Sighting<'a>)> = Vec::new();
        for (region, snapshot) in sight.seen() {
            let mut add = |address: Address, record: RecordRef<'a>| {
                let (address, former) = match moves.present(&address) {
                    Some(present) => (present.clone(), true),
                    None => (address, false),
                };
                found.push((address, Sighting { region, record, former }));
            };
            for (id, record) in &snapshot.regions {
                add(Address::Region(id.clone()), RecordRef::Region(record));
            }
            for (id, record) in &snapshot.pairs {
                add(Address::Replication(id.clone()), RecordRef::Replication(record));
            }
            for (key, record) in &snapshot.resources {
                add(Address::Resource(key.clone()), RecordRef::Resource(record));
            }
        }
        // Stable, so that an object's sightings stay in the order of their regions.
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut objects: Vec<(Address, Vec<Sighting<'a>>)> = Vec::new();
        for (address, sighting) in found {
            match objects.last_mut() {
                Some((last, sightings)) if *last == address => sightings.push(sighting),
                Some(_) | None => objects.push((address, vec![sighting])),
            }
        }
        Self { objects }
    }

    /// Where the object is recorded.
    pub(crate) fn of(&self, address: &Address) -> &[Sighting<'a>] {
        let found = self.objects.binary_search_by(|(other, _)| other.cmp(address));
        found.map_or(&[], |at| self.objects[at].1.as_slice())
    }

    /// Every recorded object.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Address, &[Sighting<'a>])> {
        self.objects.iter().map(|(address, sightings)| (address, sightings.as_slice()))
    }
}

/// Who holds a resource, as far as the seen regions know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Nobody knows it: it is yet to be born.
    Unborn,
    /// One region, seen or not.
    Held(Holder),
    /// It lives, and no region may be taken for its holder.
    Disputed(Holder, String),
}

/// Judges the records of a resource.
pub(crate) fn holding(sightings: &[Sighting<'_>], sight: &Sight<'_>) -> Holding {
    let records = sightings.iter().filter_map(|s| s.record.resource().map(|record| (s.region, record)));
    let known = |region: &RegionId| sight.sees(region) || sight.unseen(region).is_some();
    match Claim::of(records, known) {
        None => Holding::Unborn,
        Some(Claim { region, epoch, attempt: _, dispute: None }) => Holding::Held(Holder { region, epoch }),
        Some(Claim { region, epoch, attempt: _, dispute: Some(reason) }) => {
            Holding::Disputed(Holder { region, epoch }, reason)
        }
    }
}

/// What `get` finds under the resource's key, or under the one that it had before a rename.
pub(crate) fn under_either<'a, T>(
    snapshot: &'a RegionSnapshot,
    key: &ResourceKey,
    former: Option<&ResourceKey>,
    get: impl Fn(&'a RegionSnapshot, &ResourceKey) -> Option<&'a T>,
) -> Option<&'a T> {
    get(snapshot, key).or_else(|| former.and_then(|former| get(snapshot, former))).or_else(|| {
        let id = snapshot.former_ids.get(key)?;
        get(snapshot, &ResourceKey::new(key.kind, id.clone()))
    })
}
