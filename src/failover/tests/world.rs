//! A fleet as values: a topology, what its regions answer, and a request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use crate::failover::{Facts, FenceHook, Gate, GateKind, Proposal, Request, Unfit, Verdict, propose};
use crate::model::observed::{Observation, Observed, RegionStatus, Unobserved};
use crate::model::point::{NewestPoint, Outline, Point, PointKind, PointState, Replica};
use crate::model::policy::{HealthPolicy, Policy};
use crate::model::region::{Epoch, RegionRecord, RegionSnapshot, ResourceRecord, Role};
use crate::model::sighting::Evidence;
use crate::model::topology::{Endpoint, PairSpec, RegionSpec, ResourceSpec, Topology};
use crate::model::{ByteCount, Digest, OperationId, PairId, RegionId, ResourceKey, ResourceType, Timestamp};

pub(crate) fn region(id: &str) -> RegionId {
    id.parse().unwrap()
}

pub(crate) fn key(text: &str) -> ResourceKey {
    text.parse().unwrap()
}

pub(crate) fn regions(ids: &[&str]) -> BTreeSet<RegionId> {
    ids.iter().map(|id| region(id)).collect()
}

pub(crate) const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// How a region looks that was seen so long ago, and has been silent since if it is lost.
pub(crate) fn evidence(last_seen: Option<Duration>, lost: bool) -> Evidence {
    let policy = HealthPolicy::default();
    let silent_for = lost.then(|| last_seen.unwrap_or(minutes(3)).saturating_sub(Duration::from_secs(5)));
    let failures = silent_for.map_or(0, |silent| (silent.as_secs() / policy.probe_interval.as_secs()) as u32);
    Evidence {
        status: if lost { RegionStatus::Unreachable } else { RegionStatus::Healthy },
        last_seen,
        silent_for,
        failures,
        lost,
        latency: None,
        last_probe: Some(Duration::from_secs(2)),
        failure: lost.then(|| "connection refused".to_owned()),
    }
}

pub(crate) struct World {
    pub(crate) topology: Topology,
    pub(crate) observed: Observed,
    pub(crate) points: BTreeMap<ResourceKey, Vec<Point>>,
    pub(crate) runners: BTreeSet<RegionId>,
    pub(crate) fence: FenceHook,
    pub(crate) last_met: Option<Timestamp>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) last_automatic: Option<Timestamp>,
    pub(crate) paused: BTreeSet<RegionId>,
    pub(crate) now: Timestamp,
    pub(crate) request: Request,
}

impl World {
    /// Served regions that answer and have a runner, and nothing else. The first is asked to fail over to the second.
    pub(crate) fn of(ids: &[&str]) -> Self {
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
            observed: Observed::default(),
            points: BTreeMap::new(),
            runners: regions(ids),
            fence: FenceHook::Unnamed,
            last_met: None,
            verdict: None,
            last_automatic: None,
            paused: BTreeSet::new(),
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
            request: Request::new(region(ids[0]), region(ids[1])),
        };
        for id in ids {
            world.add_region(id);
        }
        for target in &ids[1..] {
            world.add_pair(ids[0], target);
        }
        world
    }

    /// `a` holds `vm.db` and `vm.web`, which depends on it; `b` and `c` keep replicas four minutes old.
    pub(crate) fn well() -> Self {
        let mut world = Self::of(&["a", "b", "c"]);
        world.add("vm.db", "a", &["b", "c"], minutes(4));
        world.add("vm.web", "a", &["b", "c"], minutes(4));
        world.spec("vm.web").depends_on.insert("db".parse().unwrap());
        world
    }

    /// The same, and `a` has been dead for two minutes.
    pub(crate) fn dead() -> Self {
        let mut world = Self::well();
        world.kill("a", minutes(2));
        world
    }

    pub(crate) fn add_region(&mut self, id: &str) {
        let spec = RegionSpec {
            name: id.to_owned(),
            location: id.to_owned(),
            api_endpoint: format!("https://{id}.example"),
            primary: false,
            capacity_vms: 1000,
            labels: BTreeMap::new(),
            policy: Policy::default(),
        };
        self.topology.endpoints.insert(region(id), Endpoint::Http(spec.api_endpoint.clone()));
        self.topology.regions.insert(region(id), spec);
        let snapshot = Box::new(RegionSnapshot::vacant(BTreeMap::new(), ByteCount::mib(1 << 20)));
        let latency = Duration::from_millis(3);
        self.observed.regions.insert(region(id), Observation::Answered { snapshot, latency });
        let records: BTreeMap<RegionId, RegionRecord> = (self.topology.regions.iter())
            .map(|(id, spec)| (id.clone(), RegionRecord { spec: spec.clone(), store: None, managed_by: None }))
            .collect();
        let ids: Vec<RegionId> = self.topology.regions.keys().cloned().collect();
        for id in ids {
            self.at(id.as_str()).regions = records.clone();
        }
    }

    pub(crate) fn add_pair(&mut self, source: &str, target: &str) {
        let spec = PairSpec {
            resource_types: ResourceType::ALL.into_iter().collect(),
            sync_interval: PairSpec::DEFAULT_INTERVAL,
            batch_size: 100,
            priority: 1,
            enabled: true,
            bidirectional: false,
            compression: true,
            bandwidth_limit: None,
            paused: false,
        };
        self.topology.pairs.insert(PairId { source: region(source), target: region(target) }, spec);
    }

    /// A resource that is held at `holder`, with replicas of that age.
    pub(crate) fn add(&mut self, text: &str, holder: &str, replicas: &[&str], age: Duration) {
        let spec = ResourceSpec {
            primary: region(holder),
            replicas: regions(replicas),
            depends_on: BTreeSet::new(),
            max_lag: None,
            allowed_regions: BTreeMap::new(),
            labels: BTreeMap::new(),
            max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
        };
        for id in std::iter::once(&holder).chain(replicas) {
            let record = ResourceRecord {
                spec: spec.clone(),
                managed_by: None,
                role: if *id == holder { Role::Holder } else { Role::Replica },
                holder: region(holder),
                epoch: Epoch::BIRTH,
                attempt: 0,
                operation: None,
            };
            self.at(id).resources.insert(key(text), record);
        }
        self.topology.resources.insert(key(text), spec);
        for id in replicas {
            self.at(id).replicas.insert(key(text), Replica::default());
            self.point(id, text, 7, age);
        }
    }

    /// The newest point of a replica: its content number, and how old it is.
    pub(crate) fn point(&mut self, id: &str, text: &str, content: u64, age: Duration) {
        let verified_at = self.now.before(age);
        let point = Point {
            sequence: content,
            name: None,
            data_hash: Digest::of(&content.to_le_bytes()),
            read_at: verified_at,
            verified_at,
            source: region("a"),
            epoch: Epoch::BIRTH,
            kind: PointKind::Frozen,
            state: PointState::Complete,
            bytes: ByteCount::mib(8),
            files: 2,
        };
        let newest = NewestPoint { point, source_stamp: None, outline: Outline::default() };
        self.at(id).replicas.get_mut(&key(text)).unwrap().newest = Some(newest);
    }

    pub(crate) fn at(&mut self, id: &str) -> &mut RegionSnapshot {
        match self.observed.regions.get_mut(&region(id)) {
            Some(Observation::Answered { snapshot, .. }) => snapshot,
            other => panic!("{id} does not answer: {other:?}"),
        }
    }

    pub(crate) fn spec(&mut self, text: &str) -> &mut ResourceSpec {
        self.topology.resources.get_mut(&key(text)).unwrap()
    }

    pub(crate) fn open(&mut self, id: &str, text: &str, operation: OperationId) {
        self.at(id).resources.get_mut(&key(text)).unwrap().operation = Some(operation);
    }

    /// The region falls silent, and those that answer have last seen it so long ago.
    pub(crate) fn kill(&mut self, id: &str, ago: Duration) {
        self.silence(id);
        let answering: Vec<RegionId> = (self.observed.regions.iter())
            .filter(|(_, observation)| matches!(observation, Observation::Answered { .. }))
            .map(|(id, _)| id.clone())
            .collect();
        for observer in answering {
            self.at(observer.as_str()).sightings.insert(region(id), evidence(Some(ago), true));
        }
    }

    /// This program gets no answer from it.
    pub(crate) fn silence(&mut self, id: &str) {
        let reason = "connection refused".to_owned();
        let silent = Unobserved { status: RegionStatus::Unreachable, reason, help: None };
        self.observed.regions.insert(region(id), Observation::Silent(silent));
    }

    pub(crate) fn only(&mut self, ids: &[&str]) {
        self.request.only = ids.iter().map(|id| id.parse().unwrap()).collect();
    }

    pub(crate) fn try_propose(&self) -> Result<Proposal, Unfit> {
        let facts = Facts {
            topology: &self.topology,
            observed: &self.observed,
            points: &self.points,
            runners: &self.runners,
            fence: &self.fence,
            last_met: self.last_met,
            verdict: self.verdict.as_ref(),
            last_automatic: self.last_automatic,
            paused: &self.paused,
            now: self.now,
        };
        let proposal = propose(&self.request, &facts);
        assert_eq!(proposal, propose(&self.request, &facts), "same inputs, same proposal");
        let proposal = proposal?;
        let text = serde_json::to_string(&proposal).unwrap();
        assert_eq!(serde_json::from_str::<Proposal>(&text).unwrap(), proposal, "as text and back");
        assert!(proposal.failed_gates().all(|gate| gate.safer.is_some()), "what is refused has a safer way");
        Ok(proposal)
    }

    pub(crate) fn propose(&self) -> Proposal {
        self.try_propose().unwrap()
    }

    /// The gate of this kind, about this resource.
    #[track_caller]
    pub(crate) fn gate(&self, kind: GateKind, subject: Option<&str>) -> Gate {
        let subject = subject.map(key);
        let gates = self.propose().gates;
        let found = gates.iter().find(|gate| gate.kind == kind && gate.subject == subject);
        found.unwrap_or_else(|| panic!("no gate {kind:?} {subject:?} in {gates:#?}")).clone()
    }
}

pub(crate) fn operation(n: u128) -> OperationId {
    OperationId(Uuid::from_u128(n))
}
