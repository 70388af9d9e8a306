//! The run against regions of a test: what is asked of them, in what batches, and what is remembered when they refuse,
//! when the journal fails, and when a signal comes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::event::{Event, EventSink, Outcome};
use super::journal::{Conclusion, Journal, JournalError, Memory};
use super::outcome::{Executed, Tally};
use super::run::{GRACE, Job, run};
use super::schedule::Limits;
use crate::failover::{Control, Order};
use crate::live::port::{Carried, ContentCheck, PeerRecords, PointSelector, PortError, RegionPort};
use crate::model::failover::Standings;
use crate::model::observed::{Observation, Observed};
use crate::model::point::{BlockReason, Content, NewestPoint, Outline, Point, PointKind, PointState, Replica};
use crate::model::policy::Policy;
use crate::model::recorded::{Applied, Recorded};
use crate::model::region::{Authority, Identity, RecordChange, RegionSnapshot, SyncOrder};
use crate::model::topology::{PairSpec, ResourceSpec, Spec, Topology};
use crate::model::{
    Address, ByteCount, Clock, Digest, IdSource, Lineage, OperationId, PairId, RegionId, ResourceKey, ResourceType,
    Seat, StoreId, Timestamp, World,
};
use crate::plan::document::{
    Action, Blocked, Change, FORMAT_VERSION, Holder, Kind, Mode, Plan, PlannedMove, PlannedState, PlannedTopology,
    Precondition, Summary, UnobservedRegion,
};
use crate::replica::port::{
    BlockAddress, Confirmation, Confirmed, Hash, Published, Reading, ReadingEnd, Receiving, SessionId, Source, Survey,
    Target, TransferError,
};

/// A clock that goes on by a millisecond at each look.
#[derive(Debug, Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + 1000 * self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed).unsigned_abs())
    }
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl IdSource for Counting {
    fn random(&self) -> Uuid {
        Uuid::from_u64_pair(1, self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn ordered(&self) -> Uuid {
        self.random()
    }
}

fn world() -> World {
    World { clock: Arc::new(Ticking::default()), ids: Arc::new(Counting::default()) }
}

/// A region that takes records, but not those of the addresses that it was told to refuse. Its copies hang.
#[derive(Debug)]
struct Region {
    id: RegionId,
    founded: AtomicUsize,
    refuses: BTreeSet<Address>,
    /// From this call on there is no answer.
    lost_at: Option<usize>,
    taken: Mutex<BTreeMap<Address, RecordChange>>,
    calls: Mutex<Vec<usize>>,
    operations: Mutex<BTreeSet<OperationId>>,
    stop: CancellationToken,
}

fn region(id: &str) -> Region {
    Region {
        id: id.parse().unwrap(),
        founded: AtomicUsize::new(0),
        refuses: BTreeSet::new(),
        lost_at: None,
        taken: Mutex::default(),
        calls: Mutex::default(),
        operations: Mutex::default(),
        stop: CancellationToken::new(),
    }
}

fn hangs<T>() -> Result<T, TransferError> {
    Err(TransferError::Region("not in this test".to_owned()))
}

#[async_trait]
impl Source for Region {
    async fn open_reading(&self, _: &SyncOrder, _: bool) -> Result<Reading, TransferError> {
        self.stop.cancelled().await;
        Err(TransferError::Interrupted)
    }
    async fn group_hashes(&self, _: SessionId, _: u32, _: u64, _: u64) -> Result<Vec<Hash>, TransferError> {
        hangs()
    }
    async fn block_hashes(&self, _: SessionId, _: u32, _: &[u64]) -> Result<Vec<Hash>, TransferError> {
        hangs()
    }
    async fn blocks(&self, _: SessionId, _: &[BlockAddress]) -> Result<Vec<Bytes>, TransferError> {
        hangs()
    }
    async fn close_reading(&self, _: SessionId) -> Result<ReadingEnd, TransferError> {
        hangs()
    }
}

#[async_trait]
impl Target for Region {
    async fn open_receiving(&self, _: &SyncOrder, _: &Reading, _: bool) -> Result<Receiving, TransferError> {
        hangs()
    }
    async fn differing_groups(&self, _: SessionId, _: u32, _: u64, _: &[Hash]) -> Result<Vec<u64>, TransferError> {
        hangs()
    }
    async fn expect_blocks(&self, _: SessionId, _: u32, _: &[u64], _: &[Hash]) -> Result<(), TransferError> {
        hangs()
    }
    async fn end_survey(&self, _: SessionId) -> Result<Survey, TransferError> {
        hangs()
    }
    async fn next_wanted(&self, _: SessionId) -> Result<Vec<BlockAddress>, TransferError> {
        hangs()
    }
    async fn write_blocks(&self, _: SessionId, _: Vec<(BlockAddress, Bytes)>) -> Result<(), TransferError> {
        hangs()
    }
    async fn checkpoint(&self, _: SessionId) -> Result<(), TransferError> {
        hangs()
    }
    async fn publish(&self, _: SessionId, _: Timestamp) -> Result<Published, TransferError> {
        hangs()
    }
    async fn close_receiving(&self, _: SessionId) -> Result<(), TransferError> {
        hangs()
    }
    async fn confirm_unchanged(&self, confirmed: &[Confirmed]) -> Result<Vec<Confirmation>, TransferError> {
        self.calls.lock().unwrap().push(confirmed.len());
        let answer = |one: &Confirmed| {
            assert_eq!((one.sequence, &one.order.target), (1, &self.id));
            let point = Point { verified_at: one.verified_at, ..point() };
            if self.refuses.contains(&Address::Resource(one.order.resource.clone())) { hangs() } else { Ok(point) }
        };
        Ok(confirmed.iter().map(|one| answer(one).into()).collect())
    }
}

#[async_trait]
impl RegionPort for Region {
    fn region(&self) -> &RegionId {
        &self.id
    }
    async fn snapshot(&self) -> Result<RegionSnapshot, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn probe(&self, _: &crate::model::policy::HealthPolicy) -> crate::model::sighting::Probe {
        crate::model::sighting::Probe::Unclear("not in this test".into())
    }
    async fn running(&self) -> Result<crate::model::running::Running, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn look_at(&self, _: &RegionId) -> Result<Option<crate::wire::region::RegionHealth>, PortError> {
        Ok(None)
    }
    async fn found(&self, _: &Authority) -> Result<Identity, PortError> {
        self.founded.fetch_add(1, Ordering::Relaxed);
        Ok(Identity { region_id: self.id.clone(), store: StoreId(Uuid::from_u128(7)) })
    }
    async fn control(&self, _: &Control, _: &PeerRecords) -> Result<(), PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn standings(&self, _: &BTreeSet<ResourceKey>) -> Result<Standings, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn keep_pause(&self, _: Option<&crate::model::region::Pause>) -> Result<(), PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn order(&self, _: &Order) -> Result<Carried, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn record(&self, authority: &Authority, changes: &[RecordChange]) -> Result<(), PortError> {
        assert!(self.operations.lock().unwrap().insert(authority.operation), "an operation's id was used twice");
        self.calls.lock().unwrap().push(changes.len());
        if self.lost_at.is_some_and(|at| self.calls.lock().unwrap().len() > at) {
            let status = crate::model::observed::RegionStatus::Unreachable;
            return Err(PortError::Unreachable { status, reason: "no route".to_owned(), help: None });
        }
        if let Some(odd) = changes.iter().find(|change| self.refuses.contains(&change.address)) {
            let address = odd.address.to_string();
            return Err(PortError::Conflict { address, detail: "changed meanwhile".to_owned(), current: None });
        }
        let mut taken = self.taken.lock().unwrap();
        taken.extend(changes.iter().map(|change| (change.address.clone(), change.clone())));
        Ok(())
    }
    async fn points(&self, _: &ResourceKey) -> Result<Vec<Point>, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn verify(&self, _: &ResourceKey) -> Result<ContentCheck, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn export(&self, _: &ResourceKey, _: &PointSelector, _: &Path) -> Result<Point, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn replace_files(&self, _: &Authority, _: &ResourceKey, _: &Path) -> Result<Option<String>, PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    async fn discard(&self, _: &Authority, _: &ResourceKey, _: &str) -> Result<(), PortError> {
        Err(PortError::Failed("not in this test".to_owned()))
    }
    fn interrupt(&self) {
        self.stop.cancel();
    }
}

/// A journal that keeps everything in memory, and fails or gives a signal at its n-th call.
#[derive(Debug, Default)]
struct Notes {
    calls: usize,
    fail_at: Option<usize>,
    cancel_at: Option<(usize, CancellationToken)>,
    intended: Vec<String>,
    concluded: Vec<(String, Outcome)>,
    objects: BTreeMap<Address, Applied>,
    stores: BTreeMap<RegionId, StoreId>,
}

impl Notes {
    fn call(&mut self) -> Result<(), JournalError> {
        self.calls += 1;
        if let Some((at, cancel)) = &self.cancel_at
            && self.calls == *at
        {
            cancel.cancel();
        }
        if self.fail_at.is_some_and(|at| self.calls >= at) {
            return Err(JournalError("the disk is full".into()));
        }
        Ok(())
    }
}

impl Journal for Notes {
    fn intend(&mut self, changes: &[&Change], _: Timestamp) -> Result<(), JournalError> {
        self.call()?;
        self.intended.extend(changes.iter().map(|change| change.id.clone()));
        Ok(())
    }
    fn conclude(&mut self, conclusions: &[Conclusion<'_>]) -> Result<(), JournalError> {
        self.call()?;
        for ended in conclusions {
            assert_eq!(ended.started.is_some(), self.intended.contains(&ended.change.id), "{}", ended.change.id);
            self.concluded.push((ended.change.id.clone(), ended.outcome));
            match &ended.memory {
                Memory::Kept => {}
                Memory::Applied(applied) => {
                    self.objects.insert(ended.change.address.clone(), applied.clone());
                }
                Memory::Forgotten => {
                    self.objects.remove(&ended.change.address);
                }
            }
        }
        Ok(())
    }
    fn met(&mut self, stores: &[(RegionId, StoreId)]) -> Result<(), JournalError> {
        self.call()?;
        self.stores.extend(stores.iter().cloned());
        Ok(())
    }
    fn renamed(&mut self, _: &[(Address, Address)]) -> Result<(), JournalError> {
        self.call()
    }
}

/// Keeps the events.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Event>>);

impl EventSink for Heard {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

fn vm(at: usize, regions: &[&str]) -> Change {
    let spec = Spec::Resource(ResourceSpec {
        primary: regions[0].parse().unwrap(),
        replicas: regions[1..].iter().map(|id| id.parse().unwrap()).collect(),
        depends_on: BTreeSet::new(),
        max_lag: None,
        allowed_regions: BTreeMap::new(),
        labels: BTreeMap::new(),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    });
    Change {
        id: format!("create:vm.v{at}"),
        address: format!("vm.v{at}").parse().unwrap(),
        kind: Kind::Resource,
        action: Action::Create,
        regions: regions.iter().map(|id| id.parse().unwrap()).collect(),
        drops: Vec::new(),
        source: None,
        before: None,
        after: Some(spec.to_json()),
        reason: String::new(),
        depends_on: Vec::new(),
        precondition: Precondition::default(),
    }
}

fn sync(at: usize, source: &str, target: &str) -> Change {
    Change {
        id: format!("sync:vm.v{at}:{target}"),
        kind: Kind::Sync,
        action: Action::Sync,
        regions: vec![target.parse().unwrap()],
        source: Some(source.parse().unwrap()),
        after: None,
        depends_on: vec![format!("create:vm.v{at}")],
        precondition: Precondition {
            holder: Some(Holder { region: source.parse().unwrap(), epoch: crate::model::region::Epoch::BIRTH }),
            ..Precondition::default()
        },
        ..vm(at, &[source, target])
    }
}

fn plan(changes: Vec<Change>) -> Plan {
    Plan {
        format_version: FORMAT_VERSION.to_owned(),
        tool_version: String::new(),
        created_at: Timestamp::from_micros(0),
        digest: Digest([0; 32]),
        mode: Mode::Normal,
        topology: PlannedTopology { path: String::new(), digest: Digest([0; 32]) },
        state: PlannedState { lineage: Lineage(Uuid::nil()), serial: 0 },
        regions: Vec::new(),
        changes,
        drift: Vec::new(),
        held: Vec::new(),
        blocked: Vec::new(),
        waiting: Vec::new(),
        unmanaged: Vec::new(),
        unobserved: Vec::new(),
        moved: Vec::new(),
        warnings: Vec::new(),
        summary: Summary::default(),
    }
}

fn topology() -> Topology {
    Topology {
        regions: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        pairs: BTreeMap::new(),
        resources: BTreeMap::new(),
        policy: Policy::default(),
        moved: Vec::new(),
        digest: Digest([0; 32]),
    }
}

struct Scene {
    regions: Vec<Arc<Region>>,
    notes: Notes,
    heard: Heard,
    cancel: CancellationToken,
    limits: Limits,
    /// So many resources are at `b` as they are at `a`.
    in_step: usize,
}

impl Scene {
    fn new(regions: Vec<Region>) -> Self {
        Self {
            regions: regions.into_iter().map(Arc::new).collect(),
            notes: Notes::default(),
            heard: Heard::default(),
            cancel: CancellationToken::new(),
            limits: Limits::default(),
            in_step: 0,
        }
    }

    /// A pair from `a` to `b`, and the resources of the plan.
    fn topology(&self, plan: &Plan) -> Topology {
        let mut topology = topology();
        let pair = PairSpec {
            resource_types: BTreeSet::from([ResourceType::Vm]),
            sync_interval: PairSpec::DEFAULT_INTERVAL,
            batch_size: 4,
            priority: 1,
            enabled: true,
            bidirectional: false,
            compression: true,
            bandwidth_limit: None,
            paused: false,
        };
        topology.pairs.insert(PairId { source: "a".parse().unwrap(), target: "b".parse().unwrap() }, pair);
        for change in plan.changes.iter().filter(|change| change.action == Action::Create) {
            if let (Address::Resource(key), Ok(Spec::Resource(spec))) =
                (&change.address, Spec::from_json(&change.address, change.after.clone().unwrap()))
            {
                topology.resources.insert(key.clone(), spec);
            }
        }
        topology
    }

    async fn run(&mut self, plan: &Plan) -> Result<Executed, JournalError> {
        let topology = self.topology(plan);
        let mut recorded = Recorded::new(Lineage(Uuid::from_u128(1)));
        recorded.objects.clone_from(&self.notes.objects);
        recorded.stores.clone_from(&self.notes.stores);
        let vacant = || RegionSnapshot::vacant(BTreeMap::new(), ByteCount(0));
        let observed = self.regions.iter().map(|region| {
            let mut snapshot = Box::new(vacant());
            for at in 0..self.in_step {
                let key: ResourceKey = format!("vm.v{at}").parse().unwrap();
                let (stamp, outline) = (Digest([at as u8; 32]), Outline::default());
                if region.id.as_str() == "a" {
                    snapshot.contents.insert(key, Content { outline, stamp, refused: None });
                } else {
                    let newest = Some(NewestPoint { point: point(), source_stamp: Some(stamp), outline });
                    snapshot.replicas.insert(key, Replica { newest, ..Replica::default() });
                }
            }
            (region.id.clone(), Observation::Answered { snapshot, latency: Duration::ZERO })
        });
        let ports = self.regions.iter().map(|region| {
            let port: Arc<dyn RegionPort> = Arc::clone(region) as Arc<dyn RegionPort>;
            (region.id.clone(), port)
        });
        let job = Job {
            plan,
            topology: &topology,
            observed: Arc::new(Observed { regions: observed.collect() }),
            looked_at: Timestamp::from_micros(77),
            recorded: &recorded,
            ports: Arc::new(ports.collect()),
            authority: Authority {
                lineage: Lineage(Uuid::from_u128(1)),
                term: 1,
                seat: Seat(Uuid::nil()),
                place: String::new(),
                operation: OperationId(Uuid::nil()),
            },
            limits: self.limits,
            settled: BTreeSet::new(),
            accept_change: false,
            world: world(),
        };
        run(&job, &mut self.notes, &self.heard, &self.cancel).await
    }

    fn outcomes(&self) -> BTreeMap<String, Outcome> {
        self.notes.concluded.iter().cloned().collect()
    }
}

fn point() -> Point {
    let at = Timestamp::from_micros(0);
    Point {
        sequence: 1,
        name: None,
        data_hash: Digest([7; 32]),
        read_at: at,
        verified_at: at,
        source: "a".parse().unwrap(),
        epoch: crate::model::region::Epoch::BIRTH,
        kind: PointKind::Cold,
        state: PointState::Complete,
        bytes: ByteCount(9),
        files: 1,
    }
}

#[tokio::test]
async fn what_is_unchanged_is_one_request_for_each_batch_of_its_pair_and_each_is_told() {
    let mut target = region("b");
    target.refuses.insert("vm.v7".parse().unwrap());
    let mut scene = Scene { in_step: 10, ..Scene::new(vec![region("a"), target]) };
    // The eleventh has changed. Nothing is copied in this test: whoever tries is told to stop.
    scene.regions[0].stop.cancel();
    let mut changes: Vec<Change> = (0..11).map(|at| Change { depends_on: Vec::new(), ..sync(at, "a", "b") }).collect();
    changes.extend((0..11).map(|at| vm(at, &["a"])));
    let done = scene.run(&plan(changes)).await.unwrap();
    assert_eq!(*scene.regions[1].calls.lock().unwrap(), [4, 4, 2]);
    let outcomes = scene.outcomes();
    let of = |at: usize| outcomes[&format!("sync:vm.v{at}:b")];
    assert!((0..10).filter(|at| *at != 7).all(|at| of(at) == Outcome::Unchanged), "{outcomes:?}");
    assert_eq!((of(7), of(10)), (Outcome::Failed, Outcome::Interrupted));
    let dates: Vec<Timestamp> = done.published.values().map(|published| published.point.verified_at).collect();
    assert_eq!(dates, [Timestamp::from_micros(77); 9], "when it was looked at");
    let heard = scene.heard.0.lock().unwrap();
    let is_told = |event: &&Event| matches!(event, Event::ActionFinished { id, .. } if id.starts_with("sync:"));
    assert_eq!(heard.iter().filter(is_told).count(), 11);
}

#[tokio::test]
async fn ten_thousand_records_are_few_calls_and_each_is_told() {
    let mut scene = Scene::new(vec![region("a"), region("b")]);
    let plan = plan((0..10_000).map(|at| vm(at, &["a", "b"])).collect());
    let done = scene.run(&plan).await.unwrap();
    assert_eq!(done.outcomes.len(), 10_000);
    assert!(done.outcomes.iter().all(|ended| ended.outcome == Outcome::Done));
    for region in &scene.regions {
        let calls = region.calls.lock().unwrap();
        assert_eq!(calls.iter().sum::<usize>(), 10_000);
        assert!(calls.len() <= 40, "{} calls", calls.len());
        assert_eq!(region.founded.load(Ordering::Relaxed), 1, "founded before the first record, and once");
    }
    assert!(scene.notes.calls <= 81, "{} transactions of the state", scene.notes.calls);
    assert_eq!(scene.notes.objects.len(), 10_000);
    assert_eq!(scene.notes.stores.len(), 2);
    let heard = scene.heard.0.lock().unwrap();
    let finished = heard.iter().filter(|event| matches!(event, Event::ActionFinished { .. })).count();
    assert_eq!(finished, 10_000);
    assert!(matches!(heard.last(), Some(Event::Summary { done: 10_000, failed: 0, .. })));
}

#[tokio::test]
async fn one_odd_object_does_not_take_its_neighbours_with_it() {
    let mut odd = region("b");
    odd.refuses.insert("vm.v77".parse().unwrap());
    let mut scene = Scene::new(vec![region("a"), odd]);
    let mut changes: Vec<Change> = (0..200).map(|at| vm(at, &["a", "b"])).collect();
    changes.push(sync(77, "a", "b"));
    let done = scene.run(&plan(changes)).await.unwrap();
    let outcomes = scene.outcomes();
    assert_eq!(outcomes["create:vm.v77"], Outcome::Failed);
    assert_eq!(outcomes["sync:vm.v77:b"], Outcome::Skipped);
    assert_eq!(outcomes.values().filter(|outcome| **outcome == Outcome::Done).count(), 199);
    let failed = done.outcomes.iter().find(|ended| ended.outcome == Outcome::Failed).unwrap();
    assert_eq!(failed.region.as_ref().unwrap().as_str(), "b");
    assert_eq!(failed.done_at, ["a".parse().unwrap()]);
    assert!(failed.message.as_ref().unwrap().ends_with("; it stands at a"), "{failed:?}");
    assert_eq!(Tally::of(&done.outcomes).partly, 1);
    assert!(scene.regions[1].calls.lock().unwrap().len() < 25, "halved, not tried one by one");
    // What the other region has of it is remembered, so that the next plan asks only where it is missing.
    let applied = &scene.notes.objects[&"vm.v77".parse().unwrap()];
    assert_eq!(applied.regions, BTreeSet::from(["a".parse().unwrap()]));
}

#[tokio::test]
async fn a_lost_region_fails_its_part_at_once() {
    let mut lost = region("b");
    lost.lost_at = Some(0);
    let mut scene = Scene::new(vec![region("a"), lost]);
    let mut changes: Vec<Change> = (0..100).map(|at| vm(at, &["a", "b"])).collect();
    changes.extend((100..150).map(|at| vm(at, &["a"])));
    scene.run(&plan(changes)).await.unwrap();
    assert_eq!(scene.regions[1].calls.lock().unwrap().len(), 1);
    let outcomes = scene.outcomes();
    assert_eq!(outcomes.values().filter(|outcome| **outcome == Outcome::Failed).count(), 100);
    assert_eq!(outcomes.values().filter(|outcome| **outcome == Outcome::Done).count(), 50);
}

#[tokio::test]
async fn a_region_that_is_lost_while_a_call_is_halved_is_not_asked_on_and_on() {
    let mut lost = region("a");
    lost.refuses.insert("vm.v0".parse().unwrap());
    lost.lost_at = Some(1);
    let mut scene = Scene::new(vec![lost]);
    scene.run(&plan((0..100).map(|at| vm(at, &["a"])).collect())).await.unwrap();
    assert_eq!(*scene.regions[0].calls.lock().unwrap(), [100, 50]);
    assert!(scene.outcomes().values().all(|outcome| *outcome == Outcome::Failed));
}

#[tokio::test]
async fn a_journal_that_fails_lets_nothing_more_begin() {
    for fail_at in 1..8 {
        let mut scene = Scene::new(vec![region("a")]);
        scene.limits.batch = 2;
        scene.notes.fail_at = Some(fail_at);
        let plan = plan((0..8).map(|at| vm(at, &["a"])).collect());
        let result = scene.run(&plan).await;
        assert!(result.is_err(), "failed at {fail_at}");
        let taken: BTreeSet<String> =
            scene.regions[0].taken.lock().unwrap().keys().map(|address| format!("create:{address}")).collect();
        let intended: BTreeSet<String> = scene.notes.intended.iter().cloned().collect();
        assert!(taken.is_subset(&intended), "an effect without an intent, failed at {fail_at}");
        assert!(taken.len() <= scene.notes.objects.len() + 2, "at most the batch under way is ahead of the memory");
    }
}

#[tokio::test]
async fn a_journal_that_fails_stops_the_copies_under_way() {
    let mut stopped = 0;
    for fail_at in 1..10 {
        let mut scene = Scene::new(vec![region("a"), region("b")]);
        scene.limits.batch = 1;
        scene.notes.fail_at = Some(fail_at);
        let records = (0..4).map(|at| vm(at, &["a", "b"]));
        let plan = plan(records.chain((0..4).map(|at| sync(at, "a", "b"))).collect());
        let ended = tokio::time::timeout(GRACE / 2, scene.run(&plan)).await;
        assert!(ended.expect("nobody waits for a copy that goes on").is_err(), "failed at {fail_at}");
        if scene.notes.intended.iter().any(|id| id.starts_with("sync:")) {
            stopped += 1;
            assert!(scene.regions.iter().all(|region| region.stop.is_cancelled()), "failed at {fail_at}");
        }
    }
    assert!(stopped > 0, "a copy was under way");
}

#[tokio::test]
async fn a_signal_at_any_step_leaves_everything_with_an_outcome() {
    for cancel_at in 1..8 {
        let mut scene = Scene::new(vec![region("a"), region("b")]);
        scene.limits.batch = 2;
        scene.notes.cancel_at = Some((cancel_at, scene.cancel.clone()));
        let mut changes: Vec<Change> = (0..6).map(|at| vm(at, &["a", "b"])).collect();
        changes.extend((0..6).map(|at| sync(at, "a", "b")));
        let began = tokio::time::Instant::now();
        let done = scene.run(&plan(changes)).await.unwrap();
        assert!(began.elapsed() < GRACE, "cancelled at {cancel_at}");
        assert!(done.interrupted);
        assert_eq!(done.outcomes.len(), 12, "cancelled at {cancel_at}");
        assert_eq!(scene.notes.concluded.len(), 12);
        assert!(done.outcomes.iter().all(|ended| matches!(ended.outcome, Outcome::Done | Outcome::Interrupted)));
        // What the regions took is remembered: records under way are not torn.
        assert_eq!(scene.regions[0].taken.lock().unwrap().len(), scene.notes.objects.len());
    }
}

#[tokio::test]
async fn a_rename_is_an_action_and_what_the_plan_stops_is_told() {
    let mut scene = Scene::new(vec![region("a")]);
    let mut plan = plan(Vec::new());
    let (from, to) = ("vm.old".parse().unwrap(), "vm.new".parse().unwrap());
    plan.moved.push(PlannedMove { from, to, regions: Vec::new() });
    plan.blocked.push(Blocked {
        address: "vm.lost".parse().unwrap(),
        region_id: Some("a".parse().unwrap()),
        reason: BlockReason::Suspicious,
        detail: "it lost a disk".to_owned(),
    });
    plan.unobserved.push(UnobservedRegion {
        region_id: "b".parse().unwrap(),
        reason: "no route".to_owned(),
        help: None,
        deferred: vec!["vm.far".parse().unwrap(), "vm.lost".parse().unwrap()],
    });
    let done = scene.run(&plan).await.unwrap();
    assert_eq!(scene.outcomes(), BTreeMap::from([("move:vm.new".to_owned(), Outcome::Done)]));
    assert_eq!(done.outcomes[0].message.as_deref(), Some("renamed from vm.old"));
    let heard: Vec<serde_json::Value> =
        scene.heard.0.lock().unwrap().iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let types: Vec<&str> = heard.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["action_started", "action_finished", "blocked", "deferred", "deferred", "summary"]);
    let of = |at: usize, field: &str| heard[at][field].as_str().unwrap().to_owned();
    assert_eq!((of(2, "address"), of(2, "region_id")), ("vm.lost".to_owned(), "a".to_owned()));
    assert_eq!((of(2, "reason"), of(2, "detail")), ("suspicious".to_owned(), "it lost a disk".to_owned()));
    assert_eq!((of(3, "reason"), of(3, "detail")), ("unobserved".to_owned(), "no route".to_owned()));
    let counted = ["done", "renamed", "blocked", "deferred"].map(|field| heard[5][field].as_u64().unwrap());
    assert_eq!(counted, [0, 1, 1, 2]);
}

#[tokio::test]
async fn refreshing_asks_no_region_and_forgets_none_that_was_not_seen() {
    let mut scene = Scene::new(vec![region("a"), region("b")]);
    let update = Change {
        id: "update:vm.v1".to_owned(),
        action: Action::Update,
        regions: vec!["a".parse().unwrap(), "b".parse().unwrap()],
        drops: vec!["b".parse().unwrap()],
        ..vm(1, &["a", "b", "c"])
    };
    let spec = Spec::from_json(&update.address, update.after.clone().unwrap()).unwrap();
    let known =
        |ids: &[&str]| Applied { spec: spec.clone(), regions: ids.iter().map(|id| id.parse().unwrap()).collect() };
    scene.notes.objects.insert(update.address.clone(), known(&["b", "c"]));
    let address = update.address.clone();
    let mut plan = plan(Vec::new());
    plan.mode = Mode::RefreshOnly;
    plan.drift.push(update);
    scene.run(&plan).await.unwrap();
    assert!(scene.regions.iter().all(|region| region.taken.lock().unwrap().is_empty()));
    assert_eq!(scene.notes.objects[&address], known(&["a", "c"]), "`c` was out of sight when the plan was made");
}
