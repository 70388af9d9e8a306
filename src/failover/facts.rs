//! What a failover is judged on: what was asked for, and all that is known of the regions when it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::claim::Claim;
use super::verdict::Verdict;
use crate::model::failover::CutOff;
use crate::model::observed::{Observation, Observed};
use crate::model::point::{Point, PointSelector, Replica};
use crate::model::policy::Strategy;
use crate::model::region::{RegionSnapshot, ResourceRecord};
use crate::model::topology::{Endpoint, ResourceSpec, Topology};
use crate::model::{Address, OperationId, RegionId, ResourceId, ResourceKey, Timestamp};

/// Who asks for a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody, on the command line or over REST: a failed gate is theirs to override.
    Person,
    /// The policy, in `reconcile`: evidence must suffice.
    Policy,
    /// The policy's `failback`, in `reconcile`: what it moved goes home, gracefully, when it can stay there.
    Failback,
}

/// Which points are promoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The newest.
    Newest,
    /// One of a single resource, by its number or name at the target.
    One(PointSelector),
    /// Of each resource, the newest at the target of this moment or before: all that was written until the day went
    /// wrong, and nothing after.
    AsOf(Timestamp),
}

/// What somebody takes upon themselves, each a gate's own override.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// What may be lost, where it is more than a resource is promised.
    pub accept_data_loss: Option<Duration>,
    /// How it is known that the source is stopped.
    pub fenced: Option<String>,
    /// Regions that are gone for good, and how that is known.
    pub gone: BTreeMap<RegionId, String>,
    /// Whether a fence may stop what is not moved.
    pub accept_collateral: bool,
    /// Whether the target may hold more than it is declared for.
    pub ignore_capacity: bool,
    /// Whether the pause after the last automatic failover counts for nothing.
    pub ignore_cooldown: bool,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub asker: Asker,
    /// The region that holds the resources.
    pub from: RegionId,
    /// The region that is to hold them; none: by the policy's candidates, else the freshest.
    pub to: Option<RegionId>,
    /// Only these; empty: all that the region holds.
    pub only: BTreeSet<ResourceId>,
    /// What to promote.
    pub point: Wish,
    /// How; none: gracefully if the source answers, else by hand.
    pub strategy: Option<Strategy>,
    /// What the asker takes upon themselves.
    pub overrides: Overrides,
    /// The operation under which this is judged once more; that it is open is no obstacle then.
    pub operation: Option<OperationId>,
}

impl Request {
    /// A person's plain request.
    pub fn new(from: RegionId, to: RegionId) -> Self {
        Self {
            asker: Asker::Person,
            from,
            to: Some(to),
            only: BTreeSet::new(),
            point: Wish::Newest,
            strategy: None,
            overrides: Overrides::default(),
            operation: None,
        }
    }
}

/// The program that cuts a region off, on the machine that would run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceHook {
    /// The policy names none.
    Unnamed,
    /// The policy names one that this machine does not have, or may not run: why.
    Missing(String),
    /// It can be run.
    Ready,
}

/// All that is known. What a region answered is in `observed` only where it can be relied on: a region with another
/// store than recorded, or whose serial went back, is a silent one here.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Regions, pairs, resources and the policy: of the files or, at a region that was asked, its own copies of them.
    pub topology: &'a Topology,
    /// What the regions answered.
    pub observed: &'a Observed,
    /// The points of the target, of the resources of which another one than the newest was asked for.
    pub points: &'a BTreeMap<ResourceKey, Vec<Point>>,
    /// The regions that are known to have a runner.
    pub runners: &'a BTreeSet<RegionId>,
    /// Whether the source can be cut off from here.
    pub fence: &'a FenceHook,
    /// When this program last met the source, as it remembers.
    pub last_met: Option<Timestamp>,
    /// Whether the source is down, where that was judged; it is judged once more for each target.
    pub verdict: Option<&'a Verdict>,
    /// When the last automatic failover was completed, as far as this program remembers.
    pub last_automatic: Option<Timestamp>,
    /// The regions that store a pause.
    pub paused: &'a BTreeSet<RegionId>,
    /// The present moment.
    pub now: Timestamp,
}

/// When a region was last seen, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastSeen {
    pub(super) at: Timestamp,
    /// None: by this program.
    pub(super) by: Option<RegionId>,
}

impl<'a> Facts<'a> {
    /// What the region answered.
    pub(super) fn snapshot(&self, region: &RegionId) -> Option<&'a RegionSnapshot> {
        self.observed.snapshot(region)
    }

    /// Every region that answered.
    pub(super) fn answering(&self) -> impl Iterator<Item = (&'a RegionId, &'a RegionSnapshot)> + Clone {
        self.observed.regions.iter().filter_map(|(id, observation)| match observation {
            Observation::Answered { snapshot, .. } => Some((id, snapshot.as_ref())),
            Observation::Silent(_) => None,
        })
    }

    /// Why a region says nothing.
    pub(super) fn silence(&self, region: &RegionId) -> Option<String> {
        match self.observed.regions.get(region) {
            Some(Observation::Answered { .. }) => None,
            Some(Observation::Silent(why)) => Some(why.reason.clone()),
            None => Some("it was not asked".to_owned()),
        }
    }

    /// That a region was cut off by hand and not let in since, where any other one says so; one that proves it
    /// stopped is the first to be heard.
    pub(super) fn cut_off(&self, region: &RegionId) -> Option<&'a CutOff> {
        let told = self.answering().filter(|(id, _)| *id != region);
        told.filter_map(|(_, snapshot)| snapshot.cut_off.get(region)).max_by_key(|cut_off| self.proves(region, cut_off))
    }

    /// Whether that a region was cut off by hand proves it stopped, and no region knows better.
    pub(super) fn proves(&self, region: &RegionId, cut_off: &CutOff) -> bool {
        let unproven = self.answering().filter_map(|(_, snapshot)| snapshot.unproven.get(region)).max();
        cut_off.stopped && Some(&cut_off.epoch) > unproven
    }

    /// When the last automatic failover was completed, as this program or any region that took part in it remembers.
    pub(super) fn last_automatic(&self) -> Option<Timestamp> {
        self.answering().filter_map(|(_, snapshot)| snapshot.last_automatic).chain(self.last_automatic).max()
    }

    /// Every region that has to agree: those that any answering one has registered, and those that answer.
    pub(super) fn registry(&self) -> BTreeSet<RegionId> {
        let told = self.answering().flat_map(|(id, snapshot)| std::iter::once(id).chain(snapshot.regions.keys()));
        let registry: BTreeSet<RegionId> = told.cloned().collect();
        if registry.is_empty() { self.topology.regions.keys().cloned().collect() } else { registry }
    }

    /// Whether a region is one of the fleet's.
    pub(super) fn knows(&self, region: &RegionId) -> bool {
        self.topology.regions.contains_key(region)
            || self.answering().any(|(id, snapshot)| id == region || snapshot.regions.contains_key(region))
    }

    /// The regions that observe others and are observed.
    pub(super) fn is_served(&self, region: &RegionId) -> bool {
        matches!(self.topology.endpoints.get(region), Some(Endpoint::Http(_)))
    }

    /// Every resource that an answering region has recorded, with who holds it.
    pub(super) fn claims(&self) -> BTreeMap<&'a ResourceKey, Claim> {
        let mut records: BTreeMap<&ResourceKey, Vec<(&RegionId, &ResourceRecord)>> = BTreeMap::new();
        for (region, snapshot) in self.answering() {
            for (key, record) in &snapshot.resources {
                records.entry(key).or_default().push((region, record));
            }
        }
        let judged = records.into_iter().filter_map(|(key, records)| {
            Claim::of(records.into_iter(), |region| self.knows(region)).map(|claim| (key, claim))
        });
        judged.collect()
    }

    /// What is declared of a resource: by the topology, under its present name if it was renamed there, else as the
    /// region with the highest epoch has recorded it.
    pub(super) fn spec(&self, key: &ResourceKey) -> Option<&'a ResourceSpec> {
        let renamed = || {
            let moved = self.topology.moved.iter().find(|moved| moved.from == Address::Resource(key.clone()))?;
            match &moved.to {
                Address::Resource(present) => self.topology.resources.get(present),
                Address::Region(_) | Address::Replication(_) => None,
            }
        };
        let recorded = || {
            let records = self.answering().filter_map(|(_, snapshot)| snapshot.resources.get(key));
            records.max_by_key(|record| record.age()).map(|record| &record.spec)
        };
        self.topology.resources.get(key).or_else(renamed).or_else(recorded)
    }

    /// Whether `from` is down, for what would go to `to`.
    pub(super) fn verdict_towards(&self, from: &RegionId, to: &RegionId) -> Option<Verdict> {
        self.verdict.filter(|verdict| verdict.suspect == *from).map(|verdict| verdict.clone().towards(to))
    }

    /// What a region keeps of a resource.
    pub(super) fn replica(&self, region: &RegionId, key: &ResourceKey) -> Option<&'a Replica> {
        self.snapshot(region)?.replicas.get(key)
    }

    /// When anybody last saw a region. While it answers that is now; while it is dead it does not move.
    pub(super) fn last_seen(&self, region: &RegionId) -> Option<LastSeen> {
        if self.snapshot(region).is_some() {
            return Some(LastSeen { at: self.now, by: None });
        }
        let told = self.answering().filter_map(|(observer, snapshot)| {
            let age = snapshot.sightings.get(region)?.last_seen?;
            Some(LastSeen { at: self.now.before(age), by: Some(observer.clone()) })
        });
        let own = self.last_met.map(|at| LastSeen { at: at.min(self.now), by: None });
        told.chain(own).max_by_key(|seen| seen.at)
    }
}
