//! In which order resources go that depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ResourceKey;

/// The level of each resource: one above the highest that it waits for. What waits for itself, which no topology
/// declares, comes last together.
pub(super) fn levels<'k>(
    after: &BTreeMap<&'k ResourceKey, BTreeSet<&'k ResourceKey>>,
) -> BTreeMap<&'k ResourceKey, u32> {
    let mut levels: BTreeMap<&ResourceKey, u32> = BTreeMap::new();
    let mut level = 0;
    while levels.len() < after.len() {
        let ready = after
            .iter()
            .filter(|(key, first)| !levels.contains_key(*key) && first.iter().all(|first| levels.contains_key(*first)));
        let mut ready: Vec<&ResourceKey> = ready.map(|(key, _)| *key).collect();
        if ready.is_empty() {
            ready = after.keys().copied().filter(|key| !levels.contains_key(*key)).collect();
        }
        levels.extend(ready.into_iter().map(|key| (key, level)));
        level += 1;
    }
    levels
}
