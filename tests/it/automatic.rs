//! Failovers that no person asks for: three served regions, machines that are processes and write down that they run,
//! a fence that kills, and `reconcile`, which finds out by itself what is down.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failover::steps;
use crate::machines::{Machines, running};
use crate::served::Served;
use crate::support::{Answer, World};

/// Silence is found out within a second or two; seen lately means within one.
const HEALTH: &str = "[health]\nprobe_interval = \"100ms\"\ndetect_for = \"1s\"\n";

/// A policy that goes to `b` first.
pub(crate) const AUTOMATIC: &str = "strategy = \"automatic\"\ncandidates = [\"b\", \"c\"]\nFENCE";

/// Three served regions, and machines that are held at `a` with copies at `b` and `c`.
pub(crate) struct Fleet {
    // In this order they end.
    pub(crate) regions: Vec<Served>,
    pub(crate) machines: Machines,
    pub(crate) world: World,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How the others, and this program, come to `a`.
pub(crate) struct Way {
    /// What its `serve` is started with.
    pub(crate) args: &'static [&'static str],
    /// Where the topology says that it is.
    pub(crate) endpoint: &'static str,
    /// What leads there from that, by where it really is.
    pub(crate) credentials: Box<dyn FnMut(&str) -> String>,
}

impl Fleet {
    /// With a policy: what stands in `[failover]`. `FENCE` in it is the hook that kills.
    pub(crate) fn new(vms: usize, failover: &str) -> Self {
        Self::reached(vms, failover, World::new(), None)
    }

    pub(crate) fn reached(vms: usize, failover: &str, world: World, way: Option<Way>) -> Self {
        let machines = Machines::of(&world);
        for n in 1..=vms {
            world.write(format!("a/resources/vm/web-{n}/domain.xml"), format!("<domain>{n}</domain>\n"));
            world.write(format!("a/resources/vm/web-{n}/disk.raw"), format!("the disk of web-{n}\n").repeat(9000));
        }
        for region in NAMES {
            world.write(format!("{region}/.debvisor/config.toml"), machines.config());
        }
        world.write("fence", machines.fence());
        fs::set_permissions(world.path("fence"), fs::Permissions::from_mode(0o755)).unwrap();
        let fence = format!("hooks = {{ fence = [{:?}], timeout = \"2s\" }}", world.path("fence"));
        let a = Served::start(&world, "a", way.as_ref().map_or(&[], |way| way.args));
        let (endpoint, credentials) = match way {
            None => (a.origin.clone(), String::new()),
            Some(mut way) => (way.endpoint.to_owned(), (way.credentials)(a.origin.split_once("://").unwrap().1)),
        };
        world.secret("credentials.toml", &credentials);
        let others = ["b", "c"].map(|region| Served::start(&world, region, &["--peer-tokens", "credentials.toml"]));
        let regions: Vec<Served> = std::iter::once(a).chain(others).collect();
        let mut topology = format!("schema_version = 1\n{HEALTH}[failover]\n{}\n", failover.replace("FENCE", &fence));
        for (n, (region, served)) in NAMES.into_iter().zip(&regions).enumerate() {
            let at = if n == 0 { &endpoint } else { &served.origin };
            topology += &format!("[regions.{region}]\napi_endpoint = {at:?}\nprimary = {}\n", n == 0);
        }
        for (source, target) in [("a", "b"), ("a", "c"), ("b", "c")] {
            topology +=
                &format!("[[replication]]\nsource = {source:?}\ntarget = {target:?}\nresource_types = [\"vm\"]\n");
        }
        topology += &format!("[vms.\"web-{{1..{vms}}}\"]\nreplicas = [\"b\", \"c\"]\n");
        world.write("topology.toml", topology);
        let fleet = Self { world, machines, regions };
        fleet.run(&["apply", "--auto-approve"]).exits(0);
        for n in 1..=vms {
            fleet.machines.start(&format!("web-{n}"), "a", 1);
        }
        fleet
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.world.run(["--credentials", "credentials.toml"].iter().chain(args))
    }

    /// Starts one of them again that was killed, or kills it and does.
    pub(crate) fn again(&mut self, n: usize) {
        self.regions[n].again(&self.world);
    }

    /// Rounds until one has nothing left to do.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.round().code != 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(100));
        }
        self.round().exits(0);
    }

    /// What `vm where` says of each machine: the regions that it runs at.
    fn running(&self) -> Vec<(String, Vec<String>)> {
        running(&self.run(&["vm", "where", "--format", "json"]).exits(0).json())
    }

    #[track_caller]
    pub(crate) fn assert_all_run_at(&self, region: &str) {
        self.machines.assert_all_run_at(region, self.running());
    }

    /// Nothing was moved: no region has an epoch that is not that of birth.
    #[track_caller]
    pub(crate) fn assert_nothing_moved(&self) {
        let moved = |event: &Value| event["outcome"] != "refused";
        assert_eq!(self.events().iter().filter(|event| moved(event)).count(), 0, "{:#?}", self.events());
        assert_eq!(self.machines.overlaps(), Vec::<String>::new());
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let told = self.run(&["failover", "history", "--limit", "100", "--format", "json"]).exits(0).json();
        told.as_array().unwrap().clone()
    }

    /// A round that may fail over.
    pub(crate) fn round(&self) -> Answer {
        self.run(&["reconcile", "--allow", "sync,failover"])
    }
}

#[test]
fn who_saw_what_when_is_explained() {
    let mut fleet = Fleet::new(1, "");
    let explain = ["failover", "execute", "a", "b", "--dry-run", "--explain"];
    fleet.world.run(explain).exits(0).says(&["a does not count as down", "there"]);
    fleet.regions[0].kill();
    let told = fleet.world.run(explain).exits(5);
    told.says(&["a is down", "2 of 3 served regions meet silence, 2 are needed: b, c", "this run", "b is one of them"]);
    let told = fleet.world.run(explain.into_iter().chain(["--format", "json"])).exits(5).json();
    assert_eq!(told["verdict"]["ruling"], "down", "{told:#}");
    // Where one of the others does not answer either, it may have seen it.
    fleet.regions[2].kill();
    let told = fleet.world.run(explain).exits(5);
    told.says(&["a does not count as down", "c did not answer, and may have seen a a moment ago"]);
    drop(fleet.machines);
}

#[test]
fn a_dead_region_is_found_out_and_left_without_a_person() {
    let mut fleet = Fleet::new(2, AUTOMATIC);
    // Nothing is to be done while it answers.
    fleet.round().exits(0);
    assert_eq!(fleet.events(), Vec::<Value>::new());
    // Its server dies, and its machines go on, until the fence.
    fleet.regions[0].kill();
    let round = fleet.round();
    assert_eq!(round.code, 3, "copies to a wait for it\n{}\n{}", round.stdout, round.stderr);
    round.says(&["completed", "a → b", "2 resources", "evidence of b: vote"]);
    fleet.assert_all_run_at("b");
    let [event] = fleet.events().try_into().unwrap();
    assert_eq!(
        (&event["outcome"], &event["success"], &event["automatic"], &event["strategy"]),
        (&"completed".into(), &true.into(), &true.into(), &"automatic".into()),
        "{event:#}"
    );
    assert!(event["reason"].as_str().unwrap().starts_with("a is down: 2 of 3"), "{event:#}");
    // Once is enough.
    fleet.round().exits(3);
    assert_eq!(fleet.events().len(), 1);
    // It comes back, and everything is in its place with the next rounds.
    fleet.again(0);
    fleet.settle();
    fleet.assert_all_run_at("b");
    assert_eq!(fleet.events().len(), 1);
}

#[test]
fn what_the_policy_moved_goes_home_when_it_can_stay_there() {
    let failback = format!("failback = \"automatic\"\ncooldown = \"1h\"\n{AUTOMATIC}");
    let mut fleet = Fleet::new(2, &failback);
    fleet.regions[0].kill();
    fleet.round().exits(3);
    fleet.assert_all_run_at("b");
    // Whoever turns it on again.
    fs::remove_file(fleet.world.path("machines/a/.fenced")).unwrap();
    fleet.again(0);
    fleet.settle();
    // It waits, and that is no fault.
    fleet.world.write("b/resources/vm/web-1/disk.raw", "the disk at bbbbb\n".repeat(9000));
    fleet.round().exits(0).says(&["no failover of b: cooldown", "failover back a"]);
    fleet.assert_all_run_at("b");
    let topology = String::from_utf8(fleet.world.read("topology.toml")).unwrap();
    fleet.world.write("topology.toml", topology.replace("\"1h\"", "\"1s\""));
    fleet.run(&["apply", "--auto-approve"]).exits(0);
    fleet.run(&["failover", "pause"]).exits(0);
    fleet.round().exits(0);
    fleet.assert_all_run_at("b");
    fleet.run(&["failover", "unpause"]).exits(0);
    // The cooldown of a second is over.
    thread::sleep(Duration::from_millis(1100));
    fleet.round().exits(0).says(&["completed", "b → a"]);
    fleet.assert_all_run_at("a");
    assert_eq!(fleet.world.read("a/resources/vm/web-1/disk.raw"), "the disk at bbbbb\n".repeat(9000).as_bytes());
    let [home, _] = fleet.events().try_into().unwrap();
    assert_eq!((&home["automatic"], &home["strategy"]), (&true.into(), &"graceful".into()), "{home:#}");
    // What a person moves stays where it is.
    fleet.run(&["failover", "execute", "a", "b", "--force"]).exits(0);
    thread::sleep(Duration::from_millis(1200));
    fleet.settle();
    fleet.assert_all_run_at("b");
    assert_eq!(fleet.events().len(), 3);
}

#[test]
fn a_policy_that_leaves_it_to_a_person_moves_nothing() {
    let mut fleet = Fleet::new(1, "FENCE");
    fleet.regions[0].kill();
    fleet.round().exits(3);
    fleet.assert_nothing_moved();
    assert_eq!(fleet.events(), Vec::<Value>::new());
    // One that may, in a round that may not.
    let topology = String::from_utf8(fleet.world.read("topology.toml")).unwrap();
    let automatic = topology.replace("[failover]\n", "[failover]\nstrategy = \"automatic\"\n");
    fleet.world.write("topology.toml", automatic);
    fleet.round().exits(3).says(&["no failover of a: policy", "`apply` it first"]);
    fleet.world.run(["apply", "--auto-approve"]).exits(3);
    fleet.world.run(["reconcile"]).exits(3);
    fleet.assert_nothing_moved();
    // A fence hook that this machine does not have is none.
    fs::remove_file(fleet.world.path("fence")).unwrap();
    for _ in 0..3 {
        fleet.round().exits(3).says(&["no failover of a: fence", "the fence hook cannot be run"]);
    }
    let [event] = fleet.events().try_into().unwrap();
    assert_eq!((&event["outcome"], &event["automatic"]), (&"refused".into(), &true.into()), "{event:#}");
    fleet.assert_nothing_moved();
}

#[test]
fn after_one_failover_the_next_waits_for_a_person() {
    let mut fleet = Fleet::new(1, AUTOMATIC);
    fleet.regions[0].kill();
    fleet.round().exits(3);
    fleet.assert_all_run_at("b");
    fleet.again(0);
    fleet.settle();
    fleet.regions[1].kill();
    for _ in 0..2 {
        fleet.round().exits(3).says(&["no failover of b: cooldown", "of 1h"]);
    }
    let outcomes: Vec<Value> = fleet.events().into_iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["refused", "completed"]);
    assert_eq!(fleet.machines.overlaps(), Vec::<String>::new());
}

#[test]
fn where_two_look_down_a_person_decides() {
    let mut fleet = Fleet::new(1, "strategy = \"cascading\"\nFENCE");
    fleet.regions[0].kill();
    fleet.regions[2].kill();
    fleet.round().exits(3).says(&["no failover of a: breaker", "c look down besides a", "no failover of a: verdict"]);
    fleet.assert_nothing_moved();
}

#[test]
fn a_pause_binds_until_it_is_taken_back() {
    let mut fleet = Fleet::new(1, AUTOMATIC);
    fleet.regions[2].kill();
    // One region is enough; whoever does not know of it is named.
    let paused = fleet.run(&["failover", "pause", "--reason", "new switches"]).exits(3);
    paused.says(&["a, b keep that", "c has not stored it"]);
    fleet.again(2);
    fleet.again(1);
    for command in [&["status"][..], &["plan"], &["failover", "status"]] {
        fleet.run(command).says(&["paused", "switches"]);
    }
    fleet.run(&["reconcile", "--metrics-file", "metrics.prom"]).exits(0);
    let metrics = String::from_utf8(fleet.world.read("metrics.prom")).unwrap();
    assert!(metrics.contains("debvisor_region_failover_paused 2.0\n"), "{metrics}");
    fleet.regions[0].kill();
    fleet.round().exits(3).says(&["no failover of a: pause", "as b stored"]);
    fleet.assert_nothing_moved();
    fleet.run(&["failover", "unpause"]).exits(3).says(&["as far as b, c know", "a still keeps a pause"]);
    let round = fleet.round();
    round.says(&["completed", "a → b"]);
    fleet.assert_all_run_at("b");
    // It comes back with its pause.
    fleet.again(0);
    fleet.run(&["failover", "status"]).exits(0).says(&["paused, as a keeps"]);
    fleet.run(&["failover", "unpause"]).exits(0);
    fleet.run(&["failover", "status"]).exits(0).says(&["no operation is open"]);
}

#[test]
fn an_operation_that_nobody_carries_on_is_gone_on_with() {
    let mut fleet = Fleet::new(2, AUTOMATIC);
    fleet.regions[0].kill();
    let before = steps(&fleet.world);
    let mut command = fleet.world.command(["reconcile", "--allow", "sync,failover"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while steps(&fleet.world) < before + 6 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Whoever began it may only be slow.
    fleet.round().says(&["is open: a", "2 resources", "it is left to them"]);
    fleet.run(&["status"]).says(&["is open on it"]);
    let until = Instant::now() + Duration::from_secs(120);
    let mut adopted = false;
    while !adopted && Instant::now() < until {
        thread::sleep(Duration::from_millis(500));
        let round = fleet.round();
        adopted = round.stderr.contains("it is gone on with");
    }
    fleet.assert_all_run_at("b");
    fleet.run(&["failover", "status"]).exits(0).says(&["no operation is open"]);
    let [event] = fleet.events().try_into().unwrap();
    assert_eq!((&event["outcome"], &event["automatic"]), (&"completed".into(), &true.into()), "{event:#}");
}

#[test]
fn where_nobody_controls_all_regions_no_round_begins() {
    let mut fleet = Fleet::new(1, AUTOMATIC);
    fleet.regions[1].kill();
    let store = rusqlite::Connection::open(fleet.world.path("b/region.db")).unwrap();
    store.execute("UPDATE region SET controller = json_set(controller, '$.term', 7)", []).unwrap();
    drop(store);
    fleet.again(1);
    fleet.round().exits(5).says(&["nobody controls all regions"]);
    fleet.run(&["reconcile"]).exits(5).says(&["nobody controls all regions"]);
    fleet.regions[0].kill();
    fleet.round().exits(5);
    fleet.assert_nothing_moved();
}

#[test]
#[ignore = "125 machines with real disks; prints what it took"]
fn a_hundred_and_twenty_five_machines_are_found_dead_and_moved() {
    let mut fleet = Fleet::new(125, AUTOMATIC);
    fleet.regions[0].kill();
    fleet.round().says(&["completed", "125 resources"]);
    fleet.assert_all_run_at("b");
    let [event] = fleet.events().try_into().unwrap();
    assert_eq!(event["affected_resources"], 125, "{event:#}");
    eprintln!("125 machines from a dead region, detection aside: {} s", event["duration_seconds"]);
}
