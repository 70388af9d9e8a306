//! Failovers that no person asks for: three served regions, machines that are processes and write down that they run,
//! a fence that kills, and `reconcile`, which finds out by itself what is down.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machines::Machines;
use crate::served::Served;
use crate::support::{Answer, World};

/// Silence is found out within a second or two; seen lately means within one.
const HEALTH: &str = "[health]\nprobe_interval = \"100ms\"\ndetect_for = \"1s\"\n";

/// Three served regions, and machines that are held at `a` with copies at `b` and `c`.
struct Fleet {
    // In this order they end.
    regions: Vec<Served>,
    machines: Machines,
    world: World,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Fleet {
    /// With a policy: what stands in `[failover]`. `FENCE` in it is the hook that kills.
    fn new(vms: usize, failover: &str) -> Self {
        let world = World::new();
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
        let fence = format!("hooks = {{ fence = [{:?}] }}", world.path("fence"));
        let regions: Vec<Served> = NAMES.into_iter().map(|region| Served::start(&world, region, &[])).collect();
        let mut topology = format!("schema_version = 1\n{HEALTH}[failover]\n{}\n", failover.replace("FENCE", &fence));
        for (region, served) in NAMES.into_iter().zip(&regions) {
            let primary = region == "a";
            topology += &format!("[regions.{region}]\napi_endpoint = {:?}\nprimary = {primary}\n", served.origin);
        }
        for (source, target) in [("a", "b"), ("a", "c"), ("b", "c")] {
            topology +=
                &format!("[[replication]]\nsource = {source:?}\ntarget = {target:?}\nresource_types = [\"vm\"]\n");
        }
        topology += &format!("[vms.\"web-{{1..{vms}}}\"]\nreplicas = [\"b\", \"c\"]\n");
        world.write("topology.toml", topology);
        world.apply();
        for n in 1..=vms {
            machines.start(&format!("web-{n}"), "a", 1);
        }
        Self { world, machines, regions }
    }

    /// What `vm where` says of each machine: the regions that it runs at.
    fn running(&self) -> Vec<(String, Vec<String>)> {
        let answer = self.world.run(["vm", "where", "--format", "json"]).exits(0).json();
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for machine in answer["machines"].as_array().unwrap() {
            let at = machine["running_at"].as_array().unwrap().iter().map(|at| at.as_str().unwrap().to_owned());
            found.push((machine["resource_id"].as_str().unwrap().to_owned(), at.collect()));
        }
        found
    }

    #[track_caller]
    fn assert_all_run_at(&self, region: &str) {
        for (machine, at) in self.running() {
            assert_eq!(at, [region], "{machine}");
        }
        assert_eq!(self.machines.overlaps(), Vec::<String>::new());
    }

    /// Nothing was moved: no region has an epoch that is not that of birth.
    #[track_caller]
    fn assert_nothing_moved(&self) {
        let moved = |event: &Value| event["outcome"] != "refused";
        assert_eq!(self.events().iter().filter(|event| moved(event)).count(), 0, "{:#?}", self.events());
        assert_eq!(self.machines.overlaps(), Vec::<String>::new());
    }

    fn events(&self) -> Vec<Value> {
        let told = self.world.run(["failover", "history", "--limit", "100", "--format", "json"]).exits(0).json();
        told.as_array().unwrap().clone()
    }

    /// A round that may fail over.
    fn round(&self) -> Answer {
        self.world.run(["reconcile", "--allow", "sync,failover"])
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
    let mut fleet = Fleet::new(2, "strategy = \"automatic\"\nFENCE");
    // Nothing is to be done while it answers.
    fleet.round().exits(0);
    assert_eq!(fleet.events(), Vec::<Value>::new());
    // Its server dies, and its machines go on, until the fence.
    fleet.regions[0].kill();
    let round = fleet.round();
    assert_eq!(round.code, 3, "copies to a wait for it\n{}\n{}", round.stdout, round.stderr);
    round.says(&["completed", "a -> b", "2 resources", "evidence of b: vote"]);
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
    let a = fleet.regions.remove(0).again(&fleet.world);
    fleet.regions.insert(0, a);
    let until = Instant::now() + Duration::from_secs(60);
    while fleet.round().code != 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    fleet.round().exits(0);
    fleet.assert_all_run_at("b");
    assert_eq!(fleet.events().len(), 1);
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
