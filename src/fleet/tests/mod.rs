//! The front door over real regions in directories: what is applied, what a second apply finds, and what happens when
//! something is missing, differs, is stopped, or is asked for by two at once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

mod control;
mod foreign;
mod still;
mod stopped;
mod told;

use super::*;
use crate::config;
use crate::execute::event::{Event, EventSink, Outcome, Stage};
use crate::execute::journal::{Conclusion, Journal, JournalError, StateJournal};
use crate::execute::run::{Job, run};
use crate::host::{Host, HostDisk};
use crate::live::port::{FileVerdict, PointSelector};
use crate::model::point::BlockReason;
use crate::model::region::{Record, RecordChange, RecordWrite};
use crate::model::topology::Spec;
use crate::model::{Address, Clock, RegionId, StoreId, Timestamp, World};
use crate::plan::document::{Action, Change, Plan};
use crate::state::{ActionOutcome, HistoryFilter, RunOutcome, StateFile};

/// Two regions, a pair and two machines; each with one definition and one disk.
const TOPOLOGY: &str = r#"
schema_version = 1
[regions.east]
api_endpoint = "file:east"
primary = true
[regions.west]
api_endpoint = "file:west"
[[replication]]
source = "east"
target = "west"
resource_types = ["vm", "config"]
[vms.web]
replicas = ["west"]
[vms.db]
replicas = ["west"]
"#;

/// A directory with a topology and the regions' own.
struct Place(tempfile::TempDir);

/// A clock that is ahead.
#[derive(Debug)]
struct Later(Arc<dyn Clock>, Duration);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        self.0.now().plus(self.1)
    }
    fn since_boot(&self) -> Duration {
        self.0.since_boot()
    }
}

#[derive(Default)]
struct Heard {
    events: Mutex<Vec<Event>>,
    /// Cancelled when a copy's bytes begin to travel.
    cancel: Option<CancellationToken>,
}

impl EventSink for Heard {
    fn emit(&self, event: &Event) {
        if let (Event::Progress { stage: Stage::Copying, .. }, Some(cancel)) = (event, &self.cancel) {
            cancel.cancel();
        }
        self.events.lock().unwrap().push(event.clone());
    }
}

fn quiet() -> Watch {
    Watch { events: Arc::new(Heard::default()), cancel: CancellationToken::new() }
}

struct Says(Verdict, Option<Plan>);

#[async_trait]
impl Review for Says {
    async fn review(&mut self, plan: &Plan) -> Verdict {
        self.1 = Some(plan.clone());
        self.0
    }
}

fn yes() -> Says {
    Says(Verdict::Proceed, None)
}

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write_topology(TOPOLOGY);
        place.write("east", "web", "domain.xml", b"<domain/>");
        place.write("east", "web", "disk.raw", &noise(1, 600_000));
        place.write("east", "db", "domain.xml", b"<domain type='kvm'/>");
        place.write("east", "db", "disk.raw", &noise(2, 300_000));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write_topology(&self, text: &str) {
        fs::write(self.path("topology.toml"), text).unwrap();
    }

    fn vm(&self, region: &str, vm: &str) -> PathBuf {
        self.path(region).join("resources/vm").join(vm)
    }

    fn write(&self, region: &str, vm: &str, file: &str, bytes: &[u8]) {
        fs::create_dir_all(self.vm(region, vm)).unwrap();
        fs::write(self.vm(region, vm).join(file), bytes).unwrap();
    }

    fn fleet(&self) -> MultiRegionManager {
        self.fleet_later(Duration::ZERO)
    }

    /// As it is when so much time has passed.
    fn fleet_later(&self, later: Duration) -> MultiRegionManager {
        let loaded = config::load(Some(&self.path("topology.toml"))).unwrap();
        let settings = Settings {
            state: self.path("state.db"),
            parallelism: 4,
            lock_timeout: Duration::ZERO,
            host: Host::current(),
            disk: Arc::new(HostDisk),
            guard: None,
            exec_guard: None,
            allowed_hooks: None,
            credentials: Arc::default(),
            command: "a test".to_owned(),
        };
        let desired = Desired {
            topology: loaded.topology.clone(),
            path: loaded.path.display().to_string(),
            base: loaded.base.clone(),
        };
        let World { clock, ids } = crate::host::world();
        let world = World { clock: Arc::new(Later(clock, later)), ids };
        MultiRegionManager::new(world, settings, desired)
    }

    async fn apply(&self) -> RunReport {
        self.fleet().apply(&PlanOptions::default(), &mut yes(), &quiet()).await.unwrap()
    }

    async fn plan(&self) -> Plan {
        self.fleet().plan(&PlanOptions::default()).await.unwrap().plan
    }

    async fn assert_settled(&self) {
        let before = self.plan().await;
        assert!(before.is_settled(), "{}", serde_json::to_string_pretty(&before).unwrap());
        let report = self.apply().await;
        assert_eq!((report.class, report.outcomes.len()), (ExitClass::Done, 0));
    }

    fn assert_equal(&self, vm: &str) {
        assert_eq!(tree(&self.vm("east", vm)), tree(&self.vm("west", vm)), "{vm}");
    }

    fn history(&self) -> Vec<crate::state::HistoryEntry> {
        let reader = StateFile::new(self.path("state.db")).read().unwrap().unwrap();
        reader.history(&HistoryFilter::default()).unwrap()
    }
}

fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// Bytes that don't repeat.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn id(text: &str) -> RegionId {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topology_is_applied_and_a_second_apply_finds_nothing() {
    let place = Place::new();
    let planned = place.plan().await;
    assert!(!place.path("state.db").exists(), "planning writes nothing");
    assert!(!place.path("west").exists());
    assert_eq!((planned.summary.create, planned.summary.sync), (5, 2));
    assert_eq!(place.plan().await.digest, planned.digest, "the same inputs give the same plan");
    let report = place.apply().await;
    assert_eq!(report.class, ExitClass::Done, "{:#?}", report.outcomes);
    assert_eq!(report.counts.done, 7);
    assert!(report.bytes.0 >= 900_000, "{}", report.bytes);
    place.assert_equal("web");
    place.assert_equal("db");
    let serial = report.serial;
    place.assert_settled().await;
    let reader = StateFile::new(place.path("state.db")).read().unwrap().unwrap();
    assert_eq!(reader.serial().unwrap(), serial, "a run without changes leaves the serial");
    assert_eq!(reader.recorded().unwrap().objects.len(), 5);
    assert_eq!(reader.recorded().unwrap().stores.len(), 2);
    assert_eq!(place.history().len(), 2);
    assert_eq!(place.history()[1].actions.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_one_copy_and_a_changed_line_one_update() {
    let place = Place::new();
    place.apply().await;
    let disk = fs::OpenOptions::new().write(true).open(place.vm("east", "db").join("disk.raw")).unwrap();
    disk.write_all_at(&noise(3, 1000), 200_000).unwrap();
    place.write_topology(&TOPOLOGY.replace("[vms.web]", "[vms.web]\nlabels = { tier = \"web\" }"));
    let report = place.apply().await;
    let mut done: Vec<&str> = report.outcomes.iter().map(|ended| ended.id.as_str()).collect();
    done.sort_unstable();
    assert_eq!(done, ["sync:vm.db:west", "update:vm.web"]);
    assert!(report.bytes.0 <= 128 << 10, "{}", report.bytes);
    place.assert_equal("db");
    place.assert_settled().await;
}

/// Changes a machine's record at a region behind the topology's back.
async fn tamper(place: &Place, region: &str) {
    let fleet = place.fleet();
    let sight = fleet.look().await.unwrap();
    let port = &sight.ports[&id(region)];
    let key = "vm.web".parse().unwrap();
    let record = sight.observed.snapshot(&id(region)).unwrap().resources[&key].clone();
    let mut spec = record.spec.clone();
    spec.labels.insert("by".to_owned(), "hand".to_owned());
    let change = RecordChange {
        address: Address::Resource(key),
        expected: Some(Record::Resource(record.clone()).fingerprint()),
        record: Some(RecordWrite {
            spec: Spec::Resource(spec),
            managed_by: record.managed_by,
            store: None,
            holder: None,
            former_id: None,
        }),
    };
    let controller = sight.observed.snapshot(&id(region)).unwrap().controller.clone().unwrap();
    let authority = crate::model::region::Authority {
        lineage: controller.lineage,
        term: controller.term,
        seat: controller.seat,
        place: controller.place,
        operation: crate::model::OperationId(uuid::Uuid::from_u128(99)),
    };
    port.record(&authority, &[change]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_mended_by_reconcile_only_where_allowed() {
    let place = Place::new();
    place.apply().await;
    tamper(&place, "west").await;
    assert_eq!(place.plan().await.drift.len(), 1);
    let round = place.fleet().reconcile(&ReconcileOptions::default(), &quiet()).await.unwrap();
    let report = round.report.unwrap();
    assert_eq!((report.class, report.outcomes.len()), (ExitClass::Done, 0));
    assert!(round.metrics.unwrap().contains("debvisor_region_drift 1.0"));
    let allow = Allowed { drift: true, ..Allowed::default() };
    let options = ReconcileOptions { allow, ..ReconcileOptions::default() };
    let round = place.fleet().reconcile(&options, &quiet()).await.unwrap();
    let report = round.report.unwrap();
    assert_eq!(report.outcomes.len(), 1);
    assert_eq!((report.outcomes[0].address.to_string(), report.outcomes[0].outcome), ("vm.web".into(), Outcome::Done));
    let metrics = round.metrics.unwrap();
    assert!(metrics.contains("debvisor_region_drift 0.0") && metrics.contains("debvisor_region_reconcile_success 1.0"));
    place.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_absent_region_should_do_is_deferred_and_the_rest_stands() {
    let place = Place::new();
    place.apply().await;
    fs::rename(place.path("west"), place.path("away")).unwrap();
    place.write("east", "web", "disk.raw", &noise(5, 600_000));
    let report = place.apply().await;
    assert_eq!(report.class, ExitClass::Partial, "{:#?}", report.counts);
    assert!(report.counts.deferred > 0);
    assert!(!place.path("west").exists(), "a region that is not there is not founded again");
    let status = place.fleet().status().await.unwrap();
    assert_eq!(status.troubles[0].kind, TroubleKind::Unobserved);
    assert_eq!(status.troubles[0].address.to_string(), "region.west");
    fs::rename(place.path("away"), place.path("west")).unwrap();
    assert_eq!(place.apply().await.class, ExitClass::Done);
    place.assert_equal("web");
    place.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_stopped_goes_on_where_it_was() {
    let place = Place::new();
    place.write("east", "db", "disk.raw", &noise(6, 96 << 20));
    let cancel = CancellationToken::new();
    let heard = Arc::new(Heard { cancel: Some(cancel.clone()), ..Heard::default() });
    let watch = Watch { events: Arc::clone(&heard) as Arc<dyn EventSink>, cancel };
    let began = tokio::time::Instant::now();
    let report = place.fleet().apply(&PlanOptions::default(), &mut yes(), &watch).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(report.class, ExitClass::Interrupted, "{:#?}", report.outcomes);
    assert!(report.outcomes.iter().any(|ended| ended.outcome == Outcome::Interrupted));
    assert_eq!(place.history()[0].run.outcome, RunOutcome::Interrupted);
    let report = place.apply().await;
    assert_eq!(report.class, ExitClass::Done, "{:#?}", report.outcomes);
    place.assert_equal("db");
    place.assert_settled().await;
}

/// A state's journal that fails at its n-th call, or gives a signal there.
struct Cut<'a> {
    inner: StateJournal<'a>,
    calls: usize,
    at: usize,
    cancel: Option<CancellationToken>,
}

impl Cut<'_> {
    fn call(&mut self) -> Result<(), JournalError> {
        self.calls += 1;
        match &self.cancel {
            Some(cancel) if self.calls == self.at => cancel.cancel(),
            None if self.calls >= self.at => return Err(JournalError("no space left on device".into())),
            Some(_) | None => {}
        }
        Ok(())
    }
}

impl Journal for Cut<'_> {
    fn intend(&mut self, changes: &[&Change], at: Timestamp) -> Result<(), JournalError> {
        self.call()?;
        self.inner.intend(changes, at)
    }
    fn conclude(&mut self, conclusions: &[Conclusion<'_>]) -> Result<(), JournalError> {
        self.call()?;
        self.inner.conclude(conclusions)
    }
    fn met(&mut self, stores: &[(RegionId, StoreId)]) -> Result<(), JournalError> {
        self.call()?;
        self.inner.met(stores)
    }
    fn renamed(&mut self, moves: &[(Address, Address)]) -> Result<(), JournalError> {
        self.call()?;
        self.inner.renamed(moves)
    }
}

/// Applies, with the journal cut at its n-th call; says whether it came that far. The run has no end, as if killed.
async fn apply_cut(place: &Place, at: usize, signal: bool) -> bool {
    let fleet = place.fleet();
    let watch = quiet();
    let mut road = fleet.set_out_to_carry_out(Duration::ZERO, &watch).await.unwrap();
    let sight = road.look().await.unwrap();
    let plan = fleet.plan_of(&sight, &PlanOptions::default().for_planner()).unwrap();
    let authority = road.authority(&sight).unwrap();
    let job = Job {
        plan: &plan,
        topology: &fleet.desired.topology,
        observed: Arc::clone(&sight.observed),
        looked_at: sight.looked_at,
        recorded: &sight.recorded,
        ports: Arc::clone(&sight.ports),
        authority,
        limits: fleet.limits(),
        settled: Default::default(),
        accept_change: false,
        world: fleet.world.clone(),
    };
    let inner = StateJournal { state: &mut road.state, run: road.run, origins: BTreeMap::new(), under_way: Some(0) };
    let cancel = signal.then(|| watch.cancel.clone());
    let mut journal = Cut { inner, calls: 0, at, cancel };
    let result = run(&job, &mut journal, watch.events.as_ref(), &watch.cancel).await;
    assert_eq!(result.is_err(), !signal && journal.calls >= at);
    journal.calls >= at
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_at_any_step_a_second_apply_converges() {
    for signal in [false, true] {
        for at in 1.. {
            let place = Place::new();
            let cut = apply_cut(&place, at, signal).await;
            let report = place.apply().await;
            assert_eq!(report.class, ExitClass::Done, "cut at {at}, signal {signal}: {:#?}", report.outcomes);
            place.assert_equal("web");
            place.assert_equal("db");
            place.assert_settled().await;
            assert_eq!(place.history().last().unwrap().run.outcome, RunOutcome::Abandoned);
            let reader = StateFile::new(place.path("state.db")).read().unwrap().unwrap();
            assert_eq!(reader.recorded().unwrap().stores.len(), 2, "a store that was founded unseen is met");
            if !cut {
                assert!(at > 6, "the journal was never asked");
                break;
            }
        }
    }
}

/// Each of these waits for the disk several times, which is most of what such a run takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_nothing_is_one_commit_and_a_copy_of_nothing_two() {
    let place = Place::new();
    place.apply().await;
    // It sees how far the regions' memory went by the first one.
    place.apply().await;
    let commits = || {
        let head = fs::read(place.path("state.db")).unwrap();
        u32::from_be_bytes(head[24..28].try_into().unwrap())
    };
    let before = commits();
    place.apply().await;
    assert_eq!(commits() - before, 1);
    let (vm, east, west) = ("web".parse().unwrap(), id("east"), id("west"));
    let copied = place.fleet().sync_resource(&vm, &east, &west, false, &quiet()).await.unwrap();
    assert_eq!((copied.run.class, copied.run.counts.unchanged), (ExitClass::Done, 1));
    assert_eq!(commits() - before, 3);
    let newest = place.history().remove(0);
    assert_eq!((newest.run.outcome, newest.actions[0].outcome), (RunOutcome::Done, ActionOutcome::Unchanged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_plan_is_applied_and_a_stale_one_refused() {
    let place = Place::new();
    let first = place.plan().await;
    let report =
        place.fleet().apply_saved(first.clone(), &SavedOptions::default(), &mut yes(), &quiet()).await.unwrap();
    assert_eq!((report.class, report.counts.done), (ExitClass::Done, 7));
    // Once more: everything is at its result.
    let again = place.fleet().apply_saved(first, &SavedOptions::default(), &mut yes(), &quiet()).await.unwrap();
    assert_eq!((again.class, again.counts.done, again.counts.unchanged), (ExitClass::Done, 0, 7));
    place.assert_settled().await;

    place.write_topology(&TOPOLOGY.replace("[vms.web]", "[vms.web]\nlabels = { tier = \"web\" }"));
    let update = place.plan().await;
    tamper(&place, "west").await;
    let refused = place.fleet().apply_saved(update, &SavedOptions::default(), &mut yes(), &quiet()).await.unwrap_err();
    let FleetError::Refused(gates) = &refused else { panic!("{refused}") };
    assert_eq!((refused.code(), gates[0].code.as_str()), (5, "stale_plan"));
    assert_eq!(gates[0].address.as_ref().unwrap().to_string(), "vm.web");
    assert!(gates[0].detail.contains("labels"), "{}", gates[0].detail);
    let history = place.history();
    assert_eq!((history[0].run.outcome, history[0].run.exit_code), (RunOutcome::Refused, Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_is_told_who_was_first() {
    let place = Place::new();
    place.apply().await;
    let fleet = place.fleet();
    let first = fleet.set_out(Duration::ZERO, &quiet()).await.unwrap();
    let locked = place.fleet().apply(&PlanOptions::default(), &mut yes(), &quiet()).await.unwrap_err();
    assert_eq!(locked.code(), 4);
    assert!(locked.to_string().contains("a test"), "{locked}");
    let skip = ReconcileOptions { on_locked: OnLocked::Skip, ..ReconcileOptions::default() };
    let round = place.fleet().reconcile(&skip, &quiet()).await.unwrap();
    assert!(round.report.unwrap_err().holder.unwrap().contains("a test"));
    let on_locked = OnLocked::Wait { at_most: Some(Duration::from_millis(50)) };
    let wait = ReconcileOptions { on_locked, ..ReconcileOptions::default() };
    assert_eq!(place.fleet().reconcile(&wait, &quiet()).await.unwrap_err().code(), 4, "no longer than it may");
    drop(first);
    place.fleet().reconcile(&skip, &quiet()).await.unwrap().report.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_declined_is_history_and_nothing_else() {
    let place = Place::new();
    let mut no = Says(Verdict::Decline, None);
    let refused = place.fleet().apply(&PlanOptions::default(), &mut no, &quiet()).await.unwrap_err();
    assert_eq!(refused.code(), 5);
    assert_eq!(no.1.unwrap().summary.create, 5);
    assert!(!place.path("west").exists());
    assert_eq!(place.history()[0].run.outcome, RunOutcome::Refused);
    assert_eq!(place.apply().await.class, ExitClass::Done, "a state that only knows a refusal is a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_is_an_empty_plan_and_a_removal_needs_prune() {
    let place = Place::new();
    place.apply().await;
    let renamed = TOPOLOGY.replace("[vms.db]", "[vms.sql]");
    place.write_topology(&format!("{renamed}\n[[moved]]\nfrom = \"vm.db\"\nto = \"vm.sql\"\n"));
    let plan = place.plan().await;
    assert_eq!((plan.changes.len(), plan.drift.len(), plan.moved.len()), (0, 0, 1));
    let report = place.apply().await;
    assert_eq!((report.class, report.counts.renamed), (ExitClass::Done, 1), "{:#?}", report.outcomes);
    let sql = HistoryFilter { address: Some("vm.sql".parse().unwrap()), ..HistoryFilter::default() };
    let past = StateFile::new(place.path("state.db")).read().unwrap().unwrap().history(&sql).unwrap();
    let told: Vec<&str> = past[0].actions.iter().filter_map(|action| action.message.as_deref()).collect();
    assert_eq!((past.len(), told), (2, vec!["renamed from vm.db"]));
    assert!(place.vm("west", "sql").join("disk.raw").exists() && place.vm("east", "db").exists());
    let plan = place.plan().await;
    assert!(plan.is_settled() && plan.moved.is_empty(), "{}", serde_json::to_string_pretty(&plan).unwrap());

    place.write_topology(&TOPOLOGY.replace("[vms.db]\nreplicas = [\"west\"]\n", ""));
    let report = place.apply().await;
    assert_eq!((report.class, report.counts.blocked), (ExitClass::Partial, 1));
    assert_eq!(report.plan.blocked[0].reason, BlockReason::NotDeclared);
    let prune = PlanOptions { prune: true, ..PlanOptions::default() };
    let report = place.fleet().apply(&prune, &mut yes(), &quiet()).await.unwrap();
    assert_eq!((report.class, report.outcomes[0].action), (ExitClass::Done, Action::Delete));
    assert!(place.vm("west", "sql").join("disk.raw").exists(), "removing protection never deletes data");
    place.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_change_places_through_a_third() {
    let place = Place::new();
    place.apply().await;
    let (web, db) = (tree(&place.vm("east", "web")), tree(&place.vm("east", "db")));
    let declared = |one: &str, other: &str| {
        TOPOLOGY.replace("[vms.web]", &format!("[vms.{one}]")).replace("[vms.db]", &format!("[vms.{other}]"))
    };
    let moved = |from: &str, to: &str| format!("[[moved]]\nfrom = \"vm.{from}\"\nto = \"vm.{to}\"\n");
    let circle = declared("web", "db") + &moved("web", "db") + &moved("db", "web");
    place.write_topology(&declared("web", "db"));
    fs::write(place.path("swap.toml"), circle).unwrap();
    let refused = config::load(Some(&place.path("swap.toml"))).unwrap_err();
    assert_eq!(refused.0.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["config::move-cycle"]);
    // What its help says.
    for (one, other, from, to) in [
        ("web-moving", "db", "web", "web-moving"),
        ("web-moving", "web", "db", "web"),
        ("web", "db", "web-moving", "db"),
    ] {
        place.write_topology(&(declared(one, other) + &moved(from, to)));
        let report = place.apply().await;
        assert_eq!((report.class, report.counts.renamed, report.bytes.0), (ExitClass::Done, 1, 0), "{report:#?}");
        // Where it is held the directory stays, for the machine may run from it; its name must be free for the next.
        fs::rename(place.vm("east", from), place.vm("east", to)).unwrap();
        place.assert_settled().await;
    }
    assert_eq!((tree(&place.vm("east", "db")), tree(&place.vm("east", "web"))), (web, db));
    place.assert_equal("web");
    place.assert_equal("db");
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_listed_exported_verified_and_restored() {
    let place = Place::new();
    place.apply().await;
    let fleet = place.fleet();
    let web = "web".parse().unwrap();
    let before = tree(&place.vm("east", "web"));
    place.write("east", "web", "disk.raw", &noise(9, 600_000));
    place.apply().await;
    let points = fleet.points(&web, Some(&id("west"))).await.unwrap();
    let points = points[0].points.as_ref().unwrap();
    assert_eq!(points.len(), 2);
    let old = PointSelector::Sequence(points[1].sequence);
    let (from, _) = fleet.export(&web, None, &old, &place.path("out"), &CancellationToken::new()).await.unwrap();
    assert_eq!(from, id("west"));
    assert_eq!(tree(&place.path("out")), before);

    let same = fleet.verify(&web, None).await.unwrap();
    assert!(same.all_equal() && same.all_intact());
    // Written at the replica; the change time tells, whatever the modification time says.
    let path = place.vm("west", "web").join("disk.raw");
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    let disk = fs::OpenOptions::new().write(true).open(&path).unwrap();
    disk.write_all_at(b"rot", 70_000).unwrap();
    disk.set_modified(times).unwrap();
    let rotten = fleet.verify(&web, None).await.unwrap();
    assert!(!rotten.all_equal() && !rotten.all_intact());
    let odd: Vec<_> = rotten.replicas[0].files.iter().filter(|file| !file.equal).collect();
    assert_eq!((odd.len(), odd[0].path.as_str(), &odd[0].target.verdict), (1, "disk.raw", &FileVerdict::Changed));
    assert_eq!(odd[0].source.verdict, FileVerdict::Identical);
    place.apply().await;
    place.assert_equal("web");

    let restored = fleet.restore_vm(&web, Some(&id("west")), &old, &quiet()).await.unwrap();
    assert_eq!(restored.holder, id("east"));
    assert!(restored.set_aside.is_some());
    assert_eq!(tree(&place.vm("east", "web")), before);
    assert!(!place.path("east/.debvisor/restore/vm/web").exists());
    assert_eq!(place.history()[0].actions[0].id, "restore:vm.web:east");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_copy_by_name_whether_it_is_needed_or_not() {
    let place = Place::new();
    place.apply().await;
    let fleet = place.fleet();
    let (web, east, west) = ("web".parse().unwrap(), id("east"), id("west"));
    let same = fleet.sync_resource(&web, &east, &west, false, &quiet()).await.unwrap();
    assert_eq!((same.run.class, same.run.counts.unchanged), (ExitClass::Done, 1), "{:#?}", same.run.outcomes);
    assert!(!same.published.unwrap().new);
    // Gutted: a disk is gone.
    let disk = place.vm("east", "web").join("disk.raw");
    fs::remove_file(&disk).unwrap();
    let stopped = fleet.sync_resource(&web, &east, &west, false, &quiet()).await.unwrap();
    assert_eq!((stopped.run.class, stopped.run.counts.blocked), (ExitClass::Failed, 1));
    assert_eq!(place.apply().await.class, ExitClass::Partial);
    assert!(place.vm("west", "web").join("disk.raw").exists());
    let status = fleet.get_replication_status(&web).await.unwrap();
    assert_eq!(status.primary_region, Some(id("east")));
    let accepted = fleet.sync_resource(&web, &east, &west, true, &quiet()).await.unwrap();
    assert_eq!(accepted.run.class, ExitClass::Done, "{:#?}", accepted.run.outcomes);
    place.assert_equal("web");
    let wrong = fleet.sync_resource(&web, &west, &east, false, &quiet()).await.unwrap_err();
    assert!(wrong.to_string().contains("held by east"), "{wrong}");
    place.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_is_refused_and_made_anew() {
    let place = Place::new();
    place.apply().await;
    fs::remove_file(place.path("state.db")).unwrap();
    let refused = place.fleet().apply(&PlanOptions::default(), &mut yes(), &quiet()).await.unwrap_err();
    let FleetError::Refused(gates) = &refused else { panic!("{refused}") };
    assert_eq!(gates[0].code, "new_state");
    let rebuilt = place.fleet().state_rebuild(false, &quiet()).await.unwrap();
    assert_eq!((rebuilt.objects, rebuilt.regions.len(), rebuilt.missing.len()), (5, 2, 0));
    place.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_copies_what_is_due_and_status_tells_what_is_late() {
    let place = Place::new();
    place.apply().await;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let status = place.fleet_later(minutes(4)).status().await.unwrap();
    assert!(status.troubles.is_empty(), "{:#?}", status.troubles);
    assert!(status.resources.iter().all(|resource| resource.replicas[&id("west")].health == ReplicaHealth::InSync));

    let late = place.fleet_later(minutes(20)).status().await.unwrap();
    assert_eq!(late.troubles.iter().map(|trouble| trouble.kind).collect::<Vec<_>>(), [TroubleKind::Late; 2]);
    assert_eq!(late.resources[0].replicas[&id("west")].promise, minutes(15));

    let round = async |later: Duration| {
        let round = place.fleet_later(later).reconcile(&ReconcileOptions::default(), &quiet()).await.unwrap();
        (round.report.unwrap(), round.metrics.unwrap())
    };
    let (early, _) = round(minutes(4)).await;
    assert_eq!(early.outcomes.len(), 0, "not due before the interval is over");
    let (due, metrics) = round(minutes(6)).await;
    assert_eq!((due.counts.unchanged, due.counts.done, due.bytes.0), (2, 0, 0));
    for line in [
        r#"debvisor_region_last_sync_bytes{resource="db",type="vm",target="west"} 0.0"#,
        r#"debvisor_region_replication_interval_seconds{resource="db",type="vm",target="west"} 300.0"#,
        r#"debvisor_region_replication_paused{resource="db",type="vm",target="west"} 0.0"#,
        // Those of the apply, and those that found nothing new.
        r#"debvisor_region_resource_syncs_total{region="west"} 4.0"#,
        r#"debvisor_region_resource_syncs_total{region="east"} 0.0"#,
        r#"debvisor_region_vms{region="east"} 2.0"#,
        r#"debvisor_region_vms{region="west"} 0.0"#,
        r#"debvisor_region_fenced_resources{region="west"} 0.0"#,
        r#"debvisor_region_failovers_total{outcome="succeeded"} 0.0"#,
        "debvisor_region_held_twice 0.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let status = place.fleet_later(minutes(20)).status().await.unwrap();
    assert!(status.troubles.is_empty(), "seen unchanged since: {:#?}", status.troubles);
    let points = place.fleet().points(&"db".parse().unwrap(), None).await.unwrap();
    assert_eq!(points[0].points.as_ref().unwrap().len(), 1, "no new point");
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_find_nothing_new_do_not_fill_the_history() {
    let place = Place::new();
    place.apply().await;
    let options = ReconcileOptions { repeated: true, ..ReconcileOptions::default() };
    let round = async |minutes: u64| {
        let fleet = place.fleet_later(Duration::from_secs(60 * minutes));
        let round = fleet.reconcile(&options, &quiet()).await.unwrap();
        assert!(round.metrics.is_some(), "written each round");
        let history = place.history();
        (round.report.unwrap().outcomes.len(), history.len(), history[0].run.message.clone())
    };
    // The apply, which is called the same here, was well.
    let all = |runs: usize, message: Option<&str>| (0, runs, message.map(str::to_owned));
    assert_eq!(round(1).await, all(1, None));
    assert_eq!(round(2).await, all(1, None));
    assert_eq!(round(6).await, (2, 2, None), "what it did is told");
    assert_eq!(round(7).await, all(2, None));
    fs::rename(place.path("west"), place.path("unplugged")).unwrap();
    let deferred = Some("deferred: vm.db, vm.web");
    assert_eq!(round(12).await, all(3, deferred), "another verdict");
    assert_eq!(round(13).await, all(3, deferred));
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_leaves_changes_to_apply_and_refuses_an_old_checkout() {
    let place = Place::new();
    place.apply().await;
    place.write_topology(&TOPOLOGY.replace("[vms.web]", "[vms.web]\nlabels = { tier = \"web\" }"));
    let round = place.fleet().reconcile(&ReconcileOptions::default(), &quiet()).await.unwrap();
    assert_eq!(round.report.unwrap().outcomes.len(), 0);
    assert!(round.metrics.unwrap().contains("debvisor_region_changes 1.0"));
    place.apply().await;
    place.write_topology(TOPOLOGY);
    let refused = place.fleet().reconcile(&ReconcileOptions::default(), &quiet()).await.unwrap_err();
    let FleetError::Refused(gates) = &refused else { panic!("{refused}") };
    assert_eq!(gates[0].code, "earlier_topology");
    assert_eq!(place.apply().await.counts.done, 1, "going back on purpose is an apply");
    place.fleet().reconcile(&ReconcileOptions::default(), &quiet()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_aside_copy_is_kept_until_it_is_discarded() {
    let place = Place::new();
    place.apply().await;
    place.write("west", "web", "disk.raw", &noise(7, 600_000));
    let report = place.apply().await;
    assert_eq!((report.class, report.outcomes[0].action), (ExitClass::Done, Action::Repair));
    assert!(report.outcomes[0].message.as_ref().unwrap().contains("kept as"), "{:?}", report.outcomes[0].message);
    place.assert_equal("web");
    let (fleet, web, west) = (place.fleet(), "web".parse().unwrap(), id("west"));
    let points = fleet.points(&web, Some(&west)).await.unwrap().remove(0).points.unwrap();
    let name = points.last().unwrap().name.clone().unwrap();
    let named = PointSelector::Name(name.clone());
    fleet.export(&web, None, &named, &place.path("out"), &CancellationToken::new()).await.unwrap();
    assert_eq!(tree(&place.path("out"))["disk.raw"], noise(7, 600_000));
    place.fleet().discard(&web, &west, &name, &quiet()).await.unwrap();
    let left = place.fleet().points(&web, Some(&west)).await.unwrap().remove(0).points.unwrap();
    assert_eq!(left.len(), points.len() - 1);
    let unknown = place.fleet().discard(&web, &west, &name, &quiet()).await.unwrap_err();
    assert_eq!(unknown.code(), 1);
    // A name that nobody has is a mistake of who asks, not a run: the latest is the one that discarded it.
    assert_eq!(place.history()[0].run.outcome, RunOutcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_failed_is_in_the_outcome_the_events_and_the_history() {
    let place = Place::new();
    fs::create_dir_all(place.path("east/.debvisor")).unwrap();
    let config = "[quiesce]\nfreeze = [\"/nonexistent/freeze\", \"{id}\"]\nthaw = [\"/bin/true\"]\n";
    fs::write(place.path("east/.debvisor/config.toml"), config).unwrap();
    let heard = Arc::new(Heard::default());
    let watch = Watch { events: Arc::clone(&heard) as Arc<dyn EventSink>, cancel: CancellationToken::new() };
    let report = place.fleet().apply(&PlanOptions::default(), &mut yes(), &watch).await.unwrap();
    let words = "only quiet: freeze: /nonexistent/freeze could not be started: there is no program";
    let says = |message: &Option<String>| message.as_ref().is_some_and(|message| message.contains(words));
    assert_eq!(report.outcomes.iter().filter(|ended| says(&ended.message)).count(), 2, "{:#?}", report.outcomes);
    let events = heard.events.lock().unwrap();
    let told = events.iter().filter(|event| matches!(event, Event::ActionFinished { message, .. } if says(message)));
    assert_eq!(told.count(), 2);
    assert_eq!(place.history()[0].actions.iter().filter(|action| says(&action.message)).count(), 2);
}
