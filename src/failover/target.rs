//! Where the resources of a region would go, where nobody said it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::facts::{Asker, Facts};
use super::proposal::PassedOver;
use crate::model::{RegionId, ResourceKey};

/// The targets that come into question, the first choice first: the policy's candidates in their order, else every
/// region that keeps a replica, freshest first. With each that is passed over, why.
///
/// A region freshest is one that keeps a point of the most resources, and of those the oldest point is the youngest.
pub(super) fn targets(
    facts: &Facts<'_>,
    asker: Asker,
    from: &RegionId,
    keys: &BTreeSet<&ResourceKey>,
) -> (Vec<RegionId>, Vec<PassedOver>) {
    let declared = &facts.topology.policy.failover.candidates;
    let ordered: Vec<&RegionId> = if declared.is_empty() {
        let mut keepers: BTreeSet<&RegionId> =
            keys.iter().filter_map(|key| facts.spec(key)).flat_map(|s| s.regions()).collect();
        keepers.remove(from);
        let mut keepers: Vec<&RegionId> = keepers.into_iter().collect();
        keepers.sort_by_key(|region| Reverse(freshness(facts, region, keys)));
        keepers
    } else {
        declared.iter().filter(|region| *region != from).collect()
    };
    let (mut targets, mut passed_over) = (Vec::new(), Vec::new());
    for region in ordered {
        match obstacle(facts, asker, region, keys) {
            None => targets.push(region.clone()),
            Some(why) => passed_over.push(PassedOver { region: region.clone(), why }),
        }
    }
    (targets, passed_over)
}

fn freshness(facts: &Facts<'_>, region: &RegionId, keys: &BTreeSet<&ResourceKey>) -> (usize, i64) {
    let points = keys.iter().filter_map(|key| facts.replica(region, key)?.newest.as_ref());
    let verified: Vec<i64> = points.map(|newest| newest.point.verified_at.as_micros()).collect();
    (verified.len(), verified.into_iter().min().unwrap_or(i64::MIN))
}

fn obstacle(facts: &Facts<'_>, asker: Asker, region: &RegionId, keys: &BTreeSet<&ResourceKey>) -> Option<String> {
    let keeps = keys.iter().any(|key| facts.replica(region, key).is_some_and(|replica| replica.newest.is_some()));
    match asker {
        Asker::Policy if !facts.is_served(region) => Some("it is a directory, which observes nobody".to_owned()),
        Asker::Policy | Asker::Person | Asker::Failback => facts.silence(region),
    }
    .or_else(|| facts.cut_off(region).map(|_| "it was cut off by hand, and not let in since".to_owned()))
    .or_else(|| (!keeps).then(|| "it keeps no point of any of them".to_owned()))
}
