//! Renames, resolved before anything is compared: an object that was `from` is looked at under `to`, in the state and
//! at every region. A pure rename is therefore no change at all.
//!
//! A rename counts where `to` is declared, `from` is not, something is known under `from`, and the two are resources
//! of one type. Chains (`a` to `b`, `b` to `c`) lead to their end. Where both names are known at the same place, they
//! are two objects: that is said, and `from` is treated like everything that is no longer declared.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Warning;
use super::input::PlanInput;
use super::sight::Sight;
use crate::model::region::RegionSnapshot;
use crate::model::{Address, ResourceKey};

/// The renames that count.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    present: BTreeMap<Address, Address>,
    former: BTreeMap<Address, Address>,
    /// Renames that are not what they seem.
    pub(crate) warnings: Vec<Warning>,
}

impl Moves {
    pub(crate) fn resolve(input: &PlanInput<'_>, sight: &Sight<'_>) -> Self {
        let mut moves = Self::default();
        let steps: BTreeMap<&Address, &Address> =
            input.topology.moved.iter().map(|moved| (&moved.from, &moved.to)).collect();
        for from in steps.keys() {
            let Some(to) = end(&steps, from) else { continue };
            let (Address::Resource(old), Address::Resource(new)) = (*from, to) else { continue };
            if !input.topology.resources.contains_key(new) || input.topology.resources.contains_key(old) {
                continue;
            }
            if old.kind != new.kind {
                moves.warn(to, format!("{from} cannot become {to}: a rename does not change what a resource is"));
                continue;
            }
            let old_places = places(input, sight, from, old);
            let new_places = places(input, sight, to, new);
            if old_places.is_empty() {
                continue;
            }
            if let Some(place) = old_places.intersection(&new_places).next() {
                moves.warn(to, format!("{from} was not renamed: {place} knows {to} beside it"));
            } else if let Some(other) = moves.former.get(to) {
                let message = format!("{from} was not renamed: {other} already becomes {to}");
                moves.warn(to, message);
            } else {
                moves.present.insert((*from).clone(), to.clone());
                moves.former.insert(to.clone(), (*from).clone());
            }
        }
        moves
    }

    fn warn(&mut self, address: &Address, message: String) {
        self.warnings.push(Warning { address: Some(address.clone()), message });
    }

    /// What the object at `address` is called now; none: that is its name.
    pub(crate) fn present(&self, address: &Address) -> Option<&Address> {
        self.present.get(address)
    }

    /// What the object at `address` was called before.
    pub(crate) fn former(&self, address: &Address) -> Option<&Address> {
        self.former.get(address)
    }

    /// Every rename: the former address and the present one.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Address, &Address)> {
        self.present.iter()
    }
}

/// Where the chain that begins at `from` ends; none for a circle.
fn end<'a>(steps: &BTreeMap<&'a Address, &'a Address>, from: &Address) -> Option<&'a Address> {
    let mut at = *steps.get(from)?;
    for _ in 0..steps.len() {
        match steps.get(at) {
            Some(next) => at = next,
            None => return Some(at),
        }
    }
    None
}

/// Where something is known under a name: the state, and regions that record it or keep its points.
fn places(input: &PlanInput<'_>, sight: &Sight<'_>, address: &Address, key: &ResourceKey) -> BTreeSet<String> {
    let knows = |snapshot: &RegionSnapshot| {
        snapshot.resources.get(key).is_some_and(|record| {
            record.managed_by == Some(input.recorded.lineage) || input.recorded.objects.contains_key(address)
        })
    };
    let state = input.recorded.objects.contains_key(address).then(|| "the state".to_owned());
    let regions = sight.seen().filter(|(_, snapshot)| knows(snapshot)).map(|(region, _)| region.to_string());
    state.into_iter().chain(regions).collect()
}
