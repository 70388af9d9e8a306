//! Which regions were seen, and why nothing can be said of the others.
//!
//! Decided before anything else, because an unseen region must never be taken for an empty one: an unmounted disk is
//! not a deletion. A region counts as seen when it answered and is who it should be by everything that the state and
//! its peers know. A place without an identity is a new region only if nobody has ever met a store of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::input::PlanInput;
use crate::model::observed::{Observation, RegionStatus, Unobserved};
use crate::model::policy::HealthPolicy;
use crate::model::region::{Identity, RegionSnapshot};
use crate::model::sighting::{Met, status};
use crate::model::{Address, RegionId, StoreId};

/// What can be said of one region.
#[derive(Debug, Clone)]
pub(crate) enum Standing<'a> {
    /// It is itself.
    Seen(&'a RegionSnapshot),
    /// A place where nobody has founded anything.
    Vacant(&'a RegionSnapshot),
    /// Nothing.
    Unseen(Unobserved),
}

/// Every region that is declared, recorded or answered.
#[derive(Debug, Clone)]
pub(crate) struct Sight<'a> {
    regions: BTreeMap<&'a RegionId, Standing<'a>>,
}

impl<'a> Sight<'a> {
    /// Judges every answer.
    pub(crate) fn of(input: &PlanInput<'a>) -> Self {
        let met = met(input);
        let mut known: BTreeSet<&RegionId> =
            input.topology.regions.keys().chain(input.observed.regions.keys()).collect();
        known.extend(met.iter().copied());
        known.extend(input.recorded.objects.keys().filter_map(|address| match address {
            Address::Region(id) => Some(id),
            Address::Replication(_) | Address::Resource(_) => None,
        }));
        let mut regions: BTreeMap<_, _> = known.into_iter().map(|id| (id, by_itself(input, id))).collect();
        let (registered, gone) = (registered(&regions), declared_gone(&regions));
        for (id, standing) in &mut regions {
            let doubt = match standing {
                Standing::Seen(_) if gone.contains_key(id) => {
                    gone.get(id).map(|(words, peer)| left_behind(id, words, peer))
                }
                Standing::Vacant(snapshot) => {
                    let peer = registered.get(id);
                    let store = input.recorded.stores.get(id).copied().or(peer.map(|(store, _)| *store));
                    let before = met.contains(id).then(|| "a region was founded there before".to_owned());
                    before
                        .or_else(|| peer.map(|(_, peer)| format!("{peer} has met a region of that name")))
                        .map(|why| vacated(id, snapshot, store, &why))
                }
                // The state's own word on a store was heard already and outweighs a peer's.
                Standing::Seen(snapshot) if !input.recorded.stores.contains_key(id) => {
                    let own = snapshot.identity.as_ref().map(|identity| identity.store);
                    registered
                        .get(id)
                        .filter(|(store, _)| own != Some(*store))
                        .map(|(store, peer)| another_store(id, &format!("{peer} has recorded {store}")))
                }
                Standing::Seen(_) | Standing::Unseen(_) => None,
            };
            if let Some(doubt) = doubt {
                *standing = Standing::Unseen(doubt);
            }
        }
        Self { regions }
    }

    /// What the region answered, where it can be relied on.
    pub(crate) fn snapshot(&self, region: &RegionId) -> Option<&'a RegionSnapshot> {
        match self.regions.get(region)? {
            Standing::Seen(snapshot) | Standing::Vacant(snapshot) => Some(snapshot),
            Standing::Unseen(_) => None,
        }
    }

    /// Why nothing can be said of the region; none: it was seen.
    pub(crate) fn unseen(&self, region: &RegionId) -> Option<&Unobserved> {
        match self.regions.get(region)? {
            Standing::Seen(_) | Standing::Vacant(_) => None,
            Standing::Unseen(why) => Some(why),
        }
    }

    /// Whether the region answered and is itself, or is a place for a new one.
    pub(crate) fn sees(&self, region: &RegionId) -> bool {
        self.snapshot(region).is_some()
    }

    /// Whether the region has yet to be founded.
    pub(crate) fn is_vacant(&self, region: &RegionId) -> bool {
        matches!(self.regions.get(region), Some(Standing::Vacant(_)))
    }

    /// Every region that was seen, with its answer.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&'a RegionId, &'a RegionSnapshot)> {
        self.regions.iter().filter_map(|(id, standing)| match standing {
            Standing::Seen(snapshot) | Standing::Vacant(snapshot) => Some((*id, *snapshot)),
            Standing::Unseen(_) => None,
        })
    }

    /// Every region of which nothing can be said.
    pub(crate) fn all_unseen(&self) -> impl Iterator<Item = (&'a RegionId, &Unobserved)> {
        self.regions.iter().filter_map(|(id, standing)| match standing {
            Standing::Seen(_) | Standing::Vacant(_) => None,
            Standing::Unseen(why) => Some((*id, why)),
        })
    }
}

/// The regions that the state has met: it knows their store, or recorded something there.
fn met<'a>(input: &PlanInput<'a>) -> BTreeSet<&'a RegionId> {
    let mut met: BTreeSet<&RegionId> = input.recorded.stores.keys().collect();
    for applied in input.recorded.objects.values() {
        met.extend(applied.regions.iter());
    }
    met
}

/// What the region's own answer and the state's memory say.
fn by_itself<'a>(input: &PlanInput<'a>, id: &'a RegionId) -> Standing<'a> {
    let snapshot = match input.observed.regions.get(id) {
        None => {
            return Standing::Unseen(Unobserved {
                status: RegionStatus::Unknown,
                reason: "it was not asked".to_owned(),
                help: (!input.topology.regions.contains_key(id))
                    .then(|| "it is no longer declared, and nothing says how to reach it".to_owned()),
            });
        }
        Some(Observation::Silent(why)) => return Standing::Unseen(why.clone()),
        Some(Observation::Answered { snapshot, .. }) => snapshot.as_ref(),
    };
    let Some(identity) = &snapshot.identity else {
        return Standing::Vacant(snapshot);
    };
    if identity.region_id != *id {
        return Standing::Unseen(Unobserved {
            status: RegionStatus::Unknown,
            reason: format!("another region answers there: {}", identity.region_id),
            help: Some(format!("correct the api_endpoint of {id}, or mount its own disk there")),
        });
    }
    if let Some(inert) = snapshot.inert {
        return Standing::Unseen(Unobserved {
            status: RegionStatus::Unknown,
            reason: format!("it takes part in nothing: {inert}"),
            help: Some(way_back(id)),
        });
    }
    match input.recorded.stores.get(id) {
        Some(store) if *store != identity.store => {
            Standing::Unseen(another_store(id, &format!("the state has recorded {store}")))
        }
        Some(_) | None => match input.recorded.serials.get(id) {
            Some(serial) if snapshot.serial < *serial => Standing::Unseen(went_back(id, snapshot.serial, *serial)),
            Some(_) | None => Standing::Seen(snapshot),
        },
    }
}

/// What the seen regions' registries say of others' stores; the first of them by name is quoted.
fn registered<'a>(regions: &BTreeMap<&'a RegionId, Standing<'a>>) -> BTreeMap<&'a RegionId, (StoreId, &'a RegionId)> {
    let mut registered = BTreeMap::new();
    for (peer, standing) in regions {
        let Standing::Seen(snapshot) = standing else { continue };
        for (id, record) in &snapshot.regions {
            if let Some(store) = record.store
                && id != *peer
            {
                registered.entry(id).or_insert((store, *peer));
            }
        }
    }
    registered
}

/// The regions of which another one that was seen knows that a person declared them gone, in that person's words, and the
/// first by name that does. Of two that know that of each other, the one with the later controller is right.
fn declared_gone<'a>(
    regions: &BTreeMap<&'a RegionId, Standing<'a>>,
) -> BTreeMap<&'a RegionId, (&'a str, &'a RegionId)> {
    let seen = |id: &RegionId| match regions.get(id) {
        Some(Standing::Seen(snapshot)) => Some(*snapshot),
        Some(Standing::Vacant(_) | Standing::Unseen(_)) | None => None,
    };
    let term = |snapshot: &RegionSnapshot| snapshot.controller.as_ref().map(|controller| controller.term);
    let mut gone = BTreeMap::new();
    for (peer, snapshot) in regions.keys().filter_map(|peer| Some((*peer, seen(peer)?))) {
        for (id, words) in &snapshot.gone {
            let denied = seen(id).is_some_and(|own| own.gone.contains_key(peer) && term(own) >= term(snapshot));
            if id != peer && !denied {
                gone.entry(id).or_insert((words.as_str(), peer));
            }
        }
    }
    gone
}

/// A region that comes back after a person declared it gone: what it remembers is of before.
fn left_behind(id: &RegionId, words: &str, peer: &RegionId) -> Unobserved {
    Unobserved {
        status: RegionStatus::Unknown,
        reason: format!("it was declared gone, as {peer} keeps ({words}), and has come back"),
        help: Some(way_back(id)),
    }
}

/// A place without an identity where a region was: without its disk, or without that one file.
fn vacated(id: &RegionId, snapshot: &RegionSnapshot, store: Option<StoreId>, why: &str) -> Unobserved {
    if !snapshot.contents.is_empty() {
        let identity = store.and_then(|store| serde_json::to_string(&Identity { region_id: id.clone(), store }).ok());
        let back = identity.map_or_else(|| "from a backup".to_owned(), |text| format!("it says {text}"));
        return Unobserved {
            status: RegionStatus::Unknown,
            reason: format!("its `.debvisor/region.json` is missing: resources' files are there, and {why}"),
            help: Some(format!(
                "put that file back: {back}. If a disk should be mounted over these files, mount it instead"
            )),
        };
    }
    Unobserved {
        status: RegionStatus::Unknown,
        reason: format!("its place is empty, but {why}: is a disk not mounted?"),
        help: Some(format!(
            "mount it, or correct the `api_endpoint` of {id}; if its store is lost for good, {}",
            way_back(id)
        )),
    }
}

fn another_store(id: &RegionId, expected: &str) -> Unobserved {
    Unobserved {
        status: RegionStatus::Unknown,
        reason: format!("it has another store than before: {expected}"),
        help: Some(format!(
            "bring the right disk back, or correct the `api_endpoint` of {id}; if its store is lost for good, {}",
            way_back(id)
        )),
    }
}

/// A region whose memory is older than what it said before: what it forgot may be who holds what.
fn went_back(id: &RegionId, now: u64, before: u64) -> Unobserved {
    Unobserved {
        status: RegionStatus::Unknown,
        reason: format!(
            "its memory went back, from serial {before} to {now}: was `region.db` of {id} restored from a backup?"
        ),
        help: Some(format!(
            "bring its newer `region.db` back, or the disk that it is on; if that is lost, {}",
            way_back(id)
        )),
    }
}

/// How a region takes part again whose memory is not relied on.
fn way_back(id: &RegionId) -> String {
    format!(
        "stop what runs there, and `region readmit {id}` has it take part again: it keeps copies then, and holds nothing"
    )
}

/// The answers that cannot be relied on, with the reason: those of another region, of another store or an older
/// memory than before, and of an empty place where a region was. They are worth as much as silence.
pub fn doubts(input: &PlanInput<'_>) -> BTreeMap<RegionId, Unobserved> {
    let sight = Sight::of(input);
    sight.all_unseen().map(|(id, why)| (id.clone(), why.clone())).collect()
}

/// A region's displayed health by how long its answer took. Slow is never counted as down.
pub fn health_of(latency: Duration, policy: &HealthPolicy) -> RegionStatus {
    status(Met::Answered, Some(latency), false, policy)
}
