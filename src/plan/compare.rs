//! Specs and records by reference, whatever their kind, and whether two specs say the same.
//!
//! What is compared is what is declared, and of that everything but a resource's `primary`: it says where the
//! resource is born, and once that lives its holder is live truth. Its replicas are compared as the set of all its
//! regions, so that files in which primary and replica have changed places say the same as before.

use std::collections::BTreeSet;

use serde_json::Value;

use super::delta::{Difference, delta};
use super::document::Kind;
use crate::model::region::{PairRecord, Record, RegionRecord, ResourceRecord};
use crate::model::topology::{PairSpec, RegionSpec, ResourceSpec, Spec};
use crate::model::{Digest, Lineage};

/// A declared object's attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SpecRef<'a> {
    Region(&'a RegionSpec),
    Replication(&'a PairSpec),
    Resource(&'a ResourceSpec),
}

impl<'a> From<&'a Spec> for SpecRef<'a> {
    fn from(spec: &'a Spec) -> Self {
        match spec {
            Spec::Region(spec) => Self::Region(spec),
            Spec::Replication(spec) => Self::Replication(spec),
            Spec::Resource(spec) => Self::Resource(spec),
        }
    }
}

impl SpecRef<'_> {
    pub(crate) fn to_json(self) -> Value {
        match self {
            Self::Region(spec) => Spec::Region(Box::new(spec.clone())),
            Self::Replication(spec) => Spec::Replication(spec.clone()),
            Self::Resource(spec) => Spec::Resource(spec.clone()),
        }
        .to_json()
    }

    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Region(_) => Kind::Region,
            Self::Replication(_) => Kind::Replication,
            Self::Resource(_) => Kind::Resource,
        }
    }

    /// Whether both say the same. Specs of different kinds never do.
    pub(crate) fn says(self, other: Self) -> bool {
        match (self, other) {
            (Self::Region(a), Self::Region(b)) => a == b,
            (Self::Replication(a), Self::Replication(b)) => a == b,
            (Self::Resource(a), Self::Resource(b)) => same_resource(a, b),
            (Self::Region(_) | Self::Replication(_) | Self::Resource(_), _) => false,
        }
    }

    /// The attributes in which they differ, those that are never a reason to act left out.
    pub(crate) fn differences(self, other: Self) -> Vec<Difference> {
        let mut found = delta(Some(&self.to_json()), Some(&other.to_json()));
        if let (Self::Resource(a), Self::Resource(b)) = (self, other) {
            let same_places = places(a) == places(b);
            found.retain(|difference| match difference.path.as_str() {
                "primary" | "replicas" => !same_places,
                _ => true,
            });
        }
        found
    }
}

fn same_resource(a: &ResourceSpec, b: &ResourceSpec) -> bool {
    // Every field by name: a new one must be thought about here.
    let ResourceSpec { primary, replicas, depends_on, max_lag, allowed_regions, labels, max_change } = a;
    let places_agree = if *primary == b.primary { *replicas == b.replicas } else { places(a) == places(b) };
    places_agree
        && *depends_on == b.depends_on
        && *max_lag == b.max_lag
        && *allowed_regions == b.allowed_regions
        && *labels == b.labels
        && *max_change == b.max_change
}

fn places(spec: &ResourceSpec) -> BTreeSet<&crate::model::RegionId> {
    spec.regions().collect()
}

/// A recorded object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RecordRef<'a> {
    Region(&'a RegionRecord),
    Replication(&'a PairRecord),
    Resource(&'a ResourceRecord),
}

impl<'a> RecordRef<'a> {
    pub(crate) const fn spec(self) -> SpecRef<'a> {
        match self {
            Self::Region(record) => SpecRef::Region(&record.spec),
            Self::Replication(record) => SpecRef::Replication(&record.spec),
            Self::Resource(record) => SpecRef::Resource(&record.spec),
        }
    }

    pub(crate) const fn managed_by(self) -> Option<Lineage> {
        match self {
            Self::Region(record) => record.managed_by,
            Self::Replication(record) => record.managed_by,
            Self::Resource(record) => record.managed_by,
        }
    }

    pub(crate) const fn resource(self) -> Option<&'a ResourceRecord> {
        match self {
            Self::Resource(record) => Some(record),
            Self::Region(_) | Self::Replication(_) => None,
        }
    }

    /// As [`Record::fingerprint`]. Costs a copy, so only what a change relies on is asked for it.
    pub(crate) fn fingerprint(self) -> Digest {
        match self {
            Self::Region(record) => Record::Region(Box::new(record.clone())),
            Self::Replication(record) => Record::Replication(record.clone()),
            Self::Resource(record) => Record::Resource(record.clone()),
        }
        .fingerprint()
    }
}
