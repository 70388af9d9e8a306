//! A topology made of what regions have recorded, for whoever has no files: the region's own copy stands for them.

use std::path::Path;

use crate::config::resolve_endpoint;
use crate::model::region::RegionSnapshot;
use crate::model::topology::Topology;
use crate::model::{Digest, RegionId};

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
#[must_use]
pub fn with_records_of(mut topology: Topology, other: &RegionSnapshot) -> Topology {
    for (id, record) in &other.pairs {
        topology.pairs.entry(id.clone()).or_insert_with(|| record.spec.clone());
    }
    for (key, record) in &other.resources {
        topology.resources.entry(key.clone()).or_insert_with(|| record.spec.clone());
    }
    topology
}
