//! A fleet made of what regions have recorded, for whoever has no files: the copy of one of them stands for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manager::MultiRegionManager;
use super::options::{Desired, Settings};
use crate::config::resolve_endpoint;
use crate::live::RegionPort;
use crate::model::event::FailoverEvent;
use crate::model::region::RegionSnapshot;
use crate::model::topology::{Endpoint, Topology};
use crate::model::{Digest, OperationId, RegionId, World};

/// A fleet as one of its regions knows it.
#[derive(Debug, Clone)]
pub struct KnownFleet {
    /// That region.
    pub own: RegionId,
    /// What it has recorded.
    pub recorded: RegionSnapshot,
    /// What others have recorded, where they were asked: pairs and resources that concern that region nothing.
    pub others: Vec<RegionSnapshot>,
    /// How it reaches itself and others.
    pub ports: BTreeMap<RegionId, Arc<dyn RegionPort>>,
}

/// What stands for files.
#[derive(Debug)]
pub(super) struct Registry {
    /// Whose it is.
    pub(super) own: RegionId,
    pub(super) recorded: RegionSnapshot,
}

impl MultiRegionManager {
    /// A manager of the regions that one of them knows, which is asked.
    pub fn of_region(world: World, settings: Settings, known: KnownFleet) -> Self {
        let KnownFleet { own, recorded, others, ports } = known;
        let mut topology = others.iter().fold(topology_of(&own, &recorded), with_records_of);
        // A directory is one of the machine of whoever declared it, and not of this one.
        topology.endpoints.retain(|_, endpoint| matches!(endpoint, Endpoint::Http(_)));
        topology.endpoints.entry(own.clone()).or_insert_with(|| Endpoint::Http(format!("region {own} itself")));
        let desired = Desired { topology, path: "the registry".to_owned(), base: PathBuf::from("/") };
        let registry = Some(Arc::new(Registry { own, recorded }));
        Self { registry, ..Self::new(world, settings, desired) }.reaching(ports)
    }
}

/// The failovers that a region knows, the newest first, at most so many: those of its own state and those that it took
/// part in. Whoever carried one out knows more of it, once it has ended.
pub fn known_failovers(
    took_part: Vec<FailoverEvent>,
    carried_out: Vec<FailoverEvent>,
    region: Option<&RegionId>,
    limit: usize,
) -> Vec<FailoverEvent> {
    let concerns =
        |event: &FailoverEvent| region.is_none_or(|id| [&event.from_region_id, &event.to_region_id].contains(&id));
    let mut known: BTreeMap<OperationId, FailoverEvent> = BTreeMap::new();
    for event in took_part.into_iter().chain(carried_out).filter(concerns) {
        match known.get(&event.operation) {
            Some(other) if other.outcome.is_some() && event.outcome.is_none() => {}
            Some(_) | None => drop(known.insert(event.operation, event)),
        }
    }
    let mut events: Vec<FailoverEvent> = known.into_values().collect();
    events.sort_by_key(|event| std::cmp::Reverse((event.timestamp, event.operation)));
    events.truncate(limit);
    events
}

/// The topology that the region `own` knows, which has just said `snapshot` of itself: as it was last applied to it.
pub fn topology_of(own: &RegionId, snapshot: &RegionSnapshot) -> Topology {
    let specs = || snapshot.regions.iter().map(|(id, record)| (id.clone(), record.spec.clone()));
    let endpoints = specs()
        .filter_map(|(id, spec)| resolve_endpoint(&spec.api_endpoint, Path::new("/")).map(|endpoint| (id, endpoint)));
    Topology {
        regions: specs().collect(),
        endpoints: endpoints.collect(),
        pairs: snapshot.pairs.iter().map(|(id, record)| (id.clone(), record.spec.clone())).collect(),
        resources: snapshot.resources.iter().map(|(key, record)| (key.clone(), record.spec.clone())).collect(),
        policy: snapshot.regions.get(own).map(|record| record.spec.policy.clone()).unwrap_or_default(),
        moved: Vec::new(),
        digest: Digest::of(b"a registry"),
    }
}

/// The same with the pairs and resources that another region has recorded, and that concern this one nothing. What is
/// known already stays.
fn with_records_of(mut topology: Topology, other: &RegionSnapshot) -> Topology {
    learn_pairs(&mut topology, other);
    for (key, record) in &other.resources {
        topology.resources.entry(key.clone()).or_insert_with(|| record.spec.clone());
    }
    topology
}

/// Adds the pairs that another region has recorded, and that are not known.
pub(super) fn learn_pairs(topology: &mut Topology, other: &RegionSnapshot) {
    for (id, record) in &other.pairs {
        topology.pairs.entry(id.clone()).or_insert_with(|| record.spec.clone());
    }
}
