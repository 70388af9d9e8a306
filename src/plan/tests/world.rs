//! The model world: a topology, regions as their snapshots, a state, and a tiny applier over them. No bytes, no time
//! but the one that a test sets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use crate::model::observed::{Observation, Observed, RegionStatus, Unobserved};
use crate::model::point::{Content, NewestPoint, Outline, Point, PointKind, PointState, Replica};
use crate::model::policy::Policy;
use crate::model::recorded::{Applied, Recorded};
use crate::model::region::{Epoch, Identity, PairRecord, RegionRecord, RegionSnapshot, ResourceRecord, Role};
use crate::model::topology::{Endpoint, Moved, PairSpec, RegionSpec, ResourceSpec, Spec, Topology};
use crate::model::{
    Address, ByteCount, Digest, Lineage, PairId, RegionId, ResourceKey, ResourceType, StoreId, Timestamp,
};
use crate::plan::document::{Action, Change, Kind, Mode, Plan};
use crate::plan::{PlanInput, PlanOptions, PlanRefusal, check, compute_plan, saved};

pub(super) const OURS: Lineage = Lineage(Uuid::from_u128(1));
pub(super) const THEIRS: Lineage = Lineage(Uuid::from_u128(2));

pub(super) fn region(id: &str) -> RegionId {
    id.parse().unwrap()
}

pub(super) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub(super) fn key(text: &str) -> ResourceKey {
    text.parse().unwrap()
}

pub(super) fn pair(source: &str, target: &str) -> PairId {
    PairId { source: region(source), target: region(target) }
}

pub(super) fn resource(primary: &str, replicas: &[&str]) -> ResourceSpec {
    ResourceSpec {
        primary: region(primary),
        replicas: replicas.iter().map(|id| region(id)).collect(),
        depends_on: BTreeSet::new(),
        max_lag: None,
        allowed_regions: BTreeMap::new(),
        labels: BTreeMap::new(),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    }
}

pub(super) fn pair_spec() -> PairSpec {
    PairSpec {
        resource_types: ResourceType::ALL.into_iter().collect(),
        sync_interval: PairSpec::DEFAULT_INTERVAL,
        batch_size: 100,
        priority: 1,
        enabled: true,
        bidirectional: false,
        compression: true,
        bandwidth_limit: None,
        paused: false,
    }
}

/// Files with content number `version`, of one definition and one disk.
pub(super) fn content(version: u64) -> Content {
    let disk = ByteCount::mib(8);
    Content {
        outline: Outline {
            files: 2,
            bytes: disk + ByteCount(400),
            definitions: ["vm.xml".to_owned()].into(),
            disks: [("disk.raw".to_owned(), disk)].into(),
        },
        stamp: Digest::of(&version.to_le_bytes()),
        refused: None,
    }
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) topology: Topology,
    pub(super) regions: BTreeMap<RegionId, RegionSnapshot>,
    pub(super) silent: BTreeSet<RegionId>,
    pub(super) recorded: Recorded,
    pub(super) superseded: BTreeSet<Digest>,
    pub(super) now: Timestamp,
    pub(super) options: PlanOptions,
}

impl World {
    /// Regions, pairs and resources that are declared, and places where no region has been founded yet.
    pub(super) fn new(regions: &[&str], pairs: &[(&str, &str)], resources: &[(&str, &str, &[&str])]) -> Self {
        let mut world = Self {
            topology: Topology {
                regions: BTreeMap::new(),
                endpoints: BTreeMap::new(),
                pairs: BTreeMap::new(),
                resources: BTreeMap::new(),
                policy: Policy::default(),
                moved: Vec::new(),
                digest: Digest::of(b"topology"),
            },
            regions: BTreeMap::new(),
            silent: BTreeSet::new(),
            recorded: Recorded::new(OURS),
            superseded: BTreeSet::new(),
            now: "2026-01-31T12:00:00Z".parse().unwrap(),
            options: PlanOptions::default(),
        };
        for id in regions {
            world.declare_region(id);
        }
        for (source, target) in pairs {
            world.topology.pairs.insert(pair(source, target), pair_spec());
        }
        for (text, primary, replicas) in resources {
            world.topology.resources.insert(key(text), resource(primary, replicas));
        }
        world.edited();
        world
    }

    /// Three regions, `a` feeding the others; two VMs with two replicas and a config with one, all with files.
    pub(super) fn small() -> Self {
        let mut world = Self::new(
            &["a", "b", "c"],
            &[("a", "b"), ("a", "c")],
            &[("vm.web-1", "a", &["b", "c"]), ("vm.web-2", "a", &["b", "c"]), ("config.app", "a", &["b"])],
        );
        for text in ["vm.web-1", "vm.web-2", "config.app"] {
            world.write_files("a", text, 1);
        }
        world
    }

    /// [`World::small`] after a first apply.
    pub(super) fn settled() -> Self {
        let mut world = Self::small();
        world.apply();
        assert_settled(&world);
        world
    }

    pub(super) fn declare_region(&mut self, id: &str) {
        let spec = RegionSpec {
            name: id.to_owned(),
            location: id.to_owned(),
            api_endpoint: format!("file:{id}"),
            primary: false,
            capacity_vms: 1000,
            labels: BTreeMap::new(),
            policy: Policy::default(),
        };
        self.topology.regions.insert(region(id), spec);
        self.topology.endpoints.insert(region(id), Endpoint::Directory(id.into()));
        self.regions
            .entry(region(id))
            .or_insert_with(|| RegionSnapshot::vacant(BTreeMap::new(), ByteCount::mib(1 << 20)));
        self.edited();
    }

    /// The digest of the files follows their content.
    pub(super) fn edited(&mut self) {
        let objects: Vec<_> =
            (self.topology.objects().iter()).map(|(address, spec)| (address.to_string(), spec.to_json())).collect();
        self.topology.digest = Digest::of_json(&objects);
    }

    pub(super) fn spec(&mut self, text: &str) -> &mut ResourceSpec {
        self.topology.resources.get_mut(&key(text)).unwrap()
    }

    pub(super) fn at(&mut self, id: &str) -> &mut RegionSnapshot {
        self.regions.get_mut(&region(id)).unwrap()
    }

    pub(super) fn record(&mut self, id: &str, text: &str) -> &mut ResourceRecord {
        self.at(id).resources.get_mut(&key(text)).unwrap()
    }

    pub(super) fn replica(&mut self, id: &str, text: &str) -> &mut Replica {
        self.at(id).replicas.get_mut(&key(text)).unwrap()
    }

    pub(super) fn write_files(&mut self, id: &str, text: &str, version: u64) {
        self.at(id).contents.insert(key(text), content(version));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let spec = self.topology.resources.remove(&key(from)).unwrap();
        self.topology.resources.insert(key(to), spec);
        self.topology.moved.push(Moved { from: address(from), to: address(to) });
        self.edited();
    }

    pub(super) fn observed(&self) -> Observed {
        let regions = self.regions.iter().map(|(id, snapshot)| {
            let observation = if self.silent.contains(id) {
                Observation::Silent(Unobserved {
                    status: RegionStatus::Unreachable,
                    reason: "connection refused".to_owned(),
                    help: None,
                })
            } else {
                let latency = Duration::from_millis(3);
                Observation::Answered { snapshot: Box::new(snapshot.clone()), latency }
            };
            (id.clone(), observation)
        });
        Observed { regions: regions.collect() }
    }

    pub(super) fn with_input<T>(&self, then: impl FnOnce(&PlanInput<'_>) -> T) -> T {
        let observed = self.observed();
        then(&PlanInput {
            topology: &self.topology,
            topology_path: "topology.toml",
            observed: &observed,
            recorded: &self.recorded,
            superseded: &self.superseded,
            now: self.now,
            tool_version: "0.0.0",
            options: &self.options,
        })
    }

    /// A plan, with everything held to it that holds of every plan.
    pub(super) fn try_plan(&self) -> Result<Plan, PlanRefusal> {
        let plan = self.with_input(compute_plan)?;
        assert_eq!(check(&plan), [], "the linter");
        let again = self.with_input(compute_plan)?;
        assert_eq!(saved::write(&plan), saved::write(&again), "same inputs, same bytes");
        assert_eq!(saved::read(&saved::write(&plan)).unwrap(), plan, "as text and back");
        Ok(plan)
    }

    pub(super) fn plan(&self) -> Plan {
        self.try_plan().unwrap()
    }

    pub(super) fn refusal(&self) -> &'static str {
        self.try_plan().unwrap_err().code()
    }

    /// Plans and carries it out.
    pub(super) fn apply(&mut self) -> Plan {
        let plan = self.plan();
        self.carry_out(&plan);
        plan
    }

    pub(super) fn carry_out(&mut self, plan: &Plan) {
        self.recorded.existed = true;
        self.recorded.topology = Some(self.topology.digest);
        for moved in &plan.moved {
            self.carry_out_move(&moved.from, &moved.to, &moved.regions);
        }
        // What is depended on stands before it within each list, and no record waits for a copy.
        let (copies, records): (Vec<_>, Vec<_>) = plan.effects().partition(|change| change.kind == Kind::Sync);
        for change in records.into_iter().chain(copies) {
            match (change.kind, plan.mode) {
                (Kind::Sync, _) => self.copy(change),
                (_, Mode::RefreshOnly) => self.remember(change),
                (_, Mode::Normal | Mode::Reconcile) => {
                    for id in &change.regions {
                        self.found(id);
                        let goal = change.after.clone().filter(|_| !change.drops.contains(id));
                        self.write(id, change, goal);
                    }
                    self.remember(change);
                }
            }
        }
    }

    /// Carries out everything but copies.
    pub(super) fn apply_records_only(&mut self) {
        let mut plan = self.plan();
        plan.changes.retain(|change| change.kind != Kind::Sync);
        self.carry_out(&plan);
    }

    fn found(&mut self, id: &RegionId) {
        let store = StoreId(Uuid::from_u128(1000 + id.as_str().bytes().map(u128::from).sum::<u128>()));
        let snapshot = self.regions.get_mut(id).unwrap();
        if snapshot.identity.is_none() {
            snapshot.identity = Some(Identity { region_id: id.clone(), store });
            self.recorded.stores.insert(id.clone(), store);
        }
    }

    fn write(&mut self, id: &RegionId, change: &Change, goal: Option<serde_json::Value>) {
        let stores = self.recorded.stores.clone();
        let snapshot = self.regions.get_mut(id).unwrap();
        let spec = goal.map(|goal| Spec::from_json(&change.address, goal).unwrap());
        match (&change.address, spec) {
            (Address::Region(other), Some(Spec::Region(spec))) => {
                let record = RegionRecord { spec: *spec, store: stores.get(other).copied(), managed_by: Some(OURS) };
                snapshot.regions.insert(other.clone(), record);
            }
            (Address::Replication(pair), Some(Spec::Replication(spec))) => {
                snapshot.pairs.insert(pair.clone(), PairRecord { spec, managed_by: Some(OURS) });
            }
            (Address::Resource(key), Some(Spec::Resource(spec))) => {
                let known = change.precondition.holder.clone();
                let holder = known.as_ref().map_or_else(|| spec.primary.clone(), |holder| holder.region.clone());
                let born = ResourceRecord {
                    role: if holder == *id { Role::Holder } else { Role::Replica },
                    holder,
                    epoch: known.map_or(Epoch::BIRTH, |holder| holder.epoch),
                    attempt: 0,
                    operation: None,
                    managed_by: None,
                    spec: spec.clone(),
                };
                let record = snapshot.resources.entry(key.clone()).or_insert(born);
                record.spec = spec;
                record.managed_by = Some(OURS);
            }
            (Address::Region(other), _) => drop(snapshot.regions.remove(other)),
            (Address::Replication(pair), _) => drop(snapshot.pairs.remove(pair)),
            (Address::Resource(key), _) => drop(snapshot.resources.remove(key)),
        }
    }

    fn remember(&mut self, change: &Change) {
        let Some(after) = change.after.clone() else {
            self.recorded.objects.remove(&change.address);
            return;
        };
        let spec = Spec::from_json(&change.address, after).unwrap();
        let written = || change.regions.iter().filter(|id| !change.drops.contains(id)).cloned();
        match self.recorded.objects.get_mut(&change.address) {
            Some(applied) if applied.spec == spec => {
                applied.regions.extend(written());
                applied.regions.retain(|id| !change.drops.contains(id));
            }
            Some(_) | None => {
                self.recorded.objects.insert(change.address.clone(), Applied { spec, regions: written().collect() });
            }
        }
        self.recorded.serial += 1;
    }

    fn carry_out_move(&mut self, from: &Address, to: &Address, regions: &[RegionId]) {
        if let Some(applied) = self.recorded.objects.remove(from) {
            self.recorded.objects.insert(to.clone(), applied);
        }
        let (Address::Resource(from), Address::Resource(to)) = (from, to) else { unreachable!() };
        for id in regions {
            let snapshot = self.regions.get_mut(id).unwrap();
            let record = snapshot.resources.remove(from).unwrap();
            snapshot.resources.insert(to.clone(), record);
            if let Some(content) = snapshot.contents.remove(from) {
                snapshot.contents.insert(to.clone(), content);
            }
            if let Some(replica) = snapshot.replicas.remove(from) {
                snapshot.replicas.insert(to.clone(), replica);
            }
        }
    }

    fn copy(&mut self, change: &Change) {
        let Address::Resource(key) = &change.address else { unreachable!() };
        let (source, target) = (change.source.as_ref().unwrap(), &change.regions[0]);
        let content = self.regions[source].contents[key].clone();
        let epoch = self.regions[source].resources[key].epoch;
        assert!(self.regions[target].resources.contains_key(key), "a copy without a record at its target");
        let now = self.now;
        let replica = self.regions.get_mut(target).unwrap().replicas.entry(key.clone()).or_default();
        let sequence = replica.newest.as_ref().map_or(1, |newest| newest.point.sequence + 1);
        replica.newest = Some(NewestPoint {
            point: Point {
                sequence,
                name: None,
                data_hash: content.stamp,
                read_at: now,
                verified_at: now,
                source: source.clone(),
                epoch,
                kind: PointKind::Cold,
                state: PointState::Complete,
                bytes: content.outline.bytes,
                files: content.outline.files,
            },
            source_stamp: Some(content.stamp),
            outline: content.outline,
        });
        replica.damage = None;
        replica.refusal = None;
        replica.points += 1;
    }

    /// What a failover leaves behind: `to` holds the resource since `epoch`, with files of its own.
    pub(super) fn fail_over(&mut self, text: &str, to: &str, epoch: u64) {
        let key = key(text);
        for (id, snapshot) in &mut self.regions {
            if let Some(record) = snapshot.resources.get_mut(&key) {
                record.epoch = Epoch(epoch);
                record.holder = region(to);
                record.role = if *id == region(to) { Role::Holder } else { Role::Replica };
            }
        }
        self.write_files(to, text, 1000 + epoch);
    }
}

/// The ids of a plan's changes.
pub(super) fn ids(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.id.as_str()).collect()
}

pub(super) fn find<'a>(plan: &'a Plan, id: &str) -> &'a Change {
    plan.effects().find(|change| change.id == id).unwrap_or_else(|| panic!("no {id} in {:?}", ids(&plan.changes)))
}

pub(super) fn regions_of(change: &Change) -> Vec<&str> {
    change.regions.iter().map(RegionId::as_str).collect()
}

/// Nothing to do, and nothing that should be done.
pub(super) fn assert_settled(world: &World) {
    let plan = world.plan();
    assert!(plan.is_settled(), "{}", saved::write(&plan));
    assert_eq!(plan.moved, []);
}

/// How many of each action.
pub(super) fn count(plan: &Plan, action: Action) -> usize {
    plan.effects().filter(|change| change.action == action).count()
}
