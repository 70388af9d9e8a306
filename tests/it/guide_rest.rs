//! Every request of the REST reference of the customer's guide, as it stands there and in its order, sent to a served
//! region. `tests/fixtures/guide-rest.txt` has the requests; what they presume is ordered the same way, and the
//! credentials file says where the guide's host name is reached here.
//!
//! `us-west-1` is asked: the one that is to take over is there when the other is not.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::failover_rest::{Told, get, get_from, send};
use crate::kill::Chance;
use crate::machines::Machines;
use crate::served::Served;
use crate::support::{World, assert_same_tree};

const REQUESTS: &str = include_str!("../fixtures/guide-rest.txt");
const HOST: &str = "api.us-east-1.internal";

/// One of the guide's.
#[derive(Debug, Clone, PartialEq)]
struct Request {
    method: String,
    path: String,
    body: Value,
}

fn requests() -> VecDeque<Request> {
    let mut requests: VecDeque<(String, String)> = VecDeque::new();
    for line in REQUESTS.lines() {
        match requests.back_mut() {
            Some((_, body)) if !line.starts_with("GET ") && !line.starts_with("POST ") => body.push_str(line),
            _ => requests.push_back((line.to_owned(), String::new())),
        }
    }
    let read = |(line, body): (String, String)| {
        let (method, path) = line.split_once(" /").unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() };
        Request { method: method.to_owned(), path: path.to_owned(), body }
    };
    requests.into_iter().map(read).collect()
}

/// The guide's requests, and the regions that they are sent to.
struct Guide {
    requests: VecDeque<Request>,
    // In this order they end.
    east: Served,
    west: Served,
    eu: Served,
    machines: Machines,
    world: World,
}

impl Guide {
    fn new() -> Self {
        let world = World::new();
        Authority::new(&world, "authority").certify(&world, "region", &[HOST]);
        let machines = Machines::of(&world);
        for region in ["us-east-1", "us-west-1", "eu-west-1"] {
            world.write(format!("{region}/.debvisor/config.toml"), machines.config());
        }
        let east = Served::start(&world, "us-east-1", &["--tls-cert", "region.pem", "--tls-key", "region.key"]);
        let place = east.origin.split_once("://").unwrap().1.to_owned();
        let origin = format!("[origins.\"https://{HOST}\"]\nca = \"authority.pem\"\nconnect = \"{place}\"\n");
        world.secret("credentials.toml", origin);
        let serve = |region| Served::start(&world, region, &["--peer-tokens", "credentials.toml"]);
        let (west, eu) = (serve("us-west-1"), serve("eu-west-1"));
        Self { requests: requests(), east, west, eu, machines, world }
    }

    /// Sends the guide's next request, which is this one.
    #[track_caller]
    fn next(&mut self, method: &str, path: &str) -> Told {
        let request = self.requests.pop_front().unwrap_or_else(|| panic!("the guide has no {method} {path} left"));
        assert_eq!((request.method.as_str(), request.path.as_str()), (method, path));
        let told = send(&self.west, method, path, &request.body);
        // Whatever it says, it says it in the envelope.
        let timestamp = told.body["timestamp"].as_str().unwrap_or_else(|| panic!("{:#}", told.body));
        assert!(timestamp.ends_with('Z') && timestamp.len() >= 20, "{timestamp}");
        assert_eq!(told.body["status"], if told.status < 400 { "success" } else { "error" }, "{:#}", told.body);
        told
    }

    /// What the guide presumes, ordered in its way.
    #[track_caller]
    fn presumes(&self, path: &str, body: &Value) {
        send(&self.west, "POST", path, body).is(201);
    }

    fn ask(&self, path: &str) -> Value {
        get(&self.west, path).is(200)
    }

    /// Waits until no region is slow: this machine may be busy.
    fn settle(&self) {
        let began = Instant::now();
        while self.ask("regions?status=healthy").as_array().unwrap().len() < 3 {
            assert!(began.elapsed() < Duration::from_secs(60), "{:#}", self.ask("regions"));
            for region in ["us-east-1", "eu-west-1"] {
                send(&self.west, "POST", &format!("regions/{region}/health"), &Value::Null).is(200);
            }
        }
    }

    /// A machine's files at its region of birth.
    fn machine(&self, id: &str, mebibytes: usize) {
        self.world.write(format!("us-east-1/resources/vm/{id}/domain.xml"), format!("<domain>{id}</domain>\n"));
        let disk = Chance::new(mebibytes as u64).bytes(mebibytes << 20);
        self.world.write(format!("us-east-1/resources/vm/{id}/disk.raw"), disk);
    }

    fn files(&self, region: &str, id: &str) -> PathBuf {
        self.world.path(format!("{region}/resources/vm/{id}"))
    }
}

/// Every one of these is what it is said to be.
#[track_caller]
fn assert_has(found: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(found[name], *value, "{name} of {found:#}");
    }
}

#[track_caller]
fn positive(found: &Value, name: &str) -> f64 {
    let number = found[name].as_f64().unwrap_or_else(|| panic!("{name} of {found:#}"));
    assert!(number > 0.0, "{name} of {found:#}");
    number
}

#[track_caller]
fn moment(found: &Value, name: &str) {
    let text = found[name].as_str().unwrap_or_else(|| panic!("{name} of {found:#}"));
    assert!(text.starts_with("20") && text.ends_with('Z'), "{name} of {found:#}");
}

/// Healthy, or slow because this machine is busy.
fn is_there(region: &Value) -> bool {
    region["status"] == "healthy" || region["status"] == "degraded"
}

/// What a region answers.
fn asked(origin: &str, path: &str) -> Value {
    get_from(origin, path).is(200)
}

fn regions_of(guide: &mut Guide) {
    for (id, name, served) in [("us-west-1", "US West 1", &guide.west), ("eu-west-1", "EU West 1", &guide.eu)] {
        let region = json!({"name": name, "location": id, "api_endpoint": served.origin, "capacity_vms": 500});
        guide.presumes("regions", &region);
    }
    let declared = json!({"region_id": "us-east-1", "name": "US East 1", "location": "us-east-1", "is_primary": true,
        "api_endpoint": "https://api.us-east-1.internal", "capacity_vms": 1000});
    let order = guide.requests[0].clone();
    let made = guide.next("POST", "regions").is(201);
    assert_has(&made, &declared);
    assert_eq!(made["current_vms"], 0, "{made:#}");
    assert!(is_there(&made), "it was asked at once: {made:#}");
    // Each of the three knows it, and a repeat finds it.
    for served in [&guide.west, &guide.eu] {
        assert_has(&get(served, "regions/us-east-1").is(200), &declared);
    }
    assert_has(&send(&guide.west, "POST", "regions", &order.body).is(200), &declared);
    let mut other = order.body;
    other["capacity_vms"] = json!(7);
    assert_eq!(send(&guide.west, "POST", "regions", &other).status, 409);

    guide.settle();
    let healthy = guide.next("GET", "regions?status=healthy").is(200);
    let mut ids: Vec<&str> =
        healthy.as_array().unwrap().iter().map(|region| region["region_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["eu-west-1", "us-east-1", "us-west-1"], "{healthy:#}");
    assert!(healthy.as_array().unwrap().iter().all(|region| region["status"] == "healthy"), "{healthy:#}");
    assert_eq!(guide.ask("regions?status=unreachable"), json!([]));
    assert_eq!(get(&guide.west, "regions?status=fine").status, 400);

    guide.settle();
    let shown = guide.next("GET", "regions/us-east-1").is(200);
    assert_has(&shown, &declared);
    assert_has(&shown, &json!({"status": "healthy", "current_vms": 0}));
    positive(&shown, "latency_ms");
    moment(&shown, "last_heartbeat");

    let health = guide.next("POST", "regions/us-east-1/health").is(200);
    assert_has(&health, &json!({"region_id": "us-east-1", "observer": "us-west-1"}));
    assert!(is_there(&health), "{health:#}");
    positive(&health, "latency_ms");
    moment(&health, "last_heartbeat");

    guide.settle();
    let stats = guide.next("GET", "regions/us-east-1/stats").is(200);
    let expected = json!({"region_id": "us-east-1", "name": "US East 1", "status": "healthy", "capacity_vms": 1000,
        "utilization_percent": 0.0, "resources_primary": 0, "failover_events": 0});
    assert_has(&stats, &expected);
}

fn replication_of(guide: &mut Guide) {
    let pair = guide.requests[0].body.clone();
    let made = guide.next("POST", "replication/setup").is(201);
    assert_has(&made, &pair);
    assert_eq!(send(&guide.west, "POST", "replication/setup", &pair).status, 200, "a repeat");

    guide.machine("vm-12345", 64);
    let vm = json!({"vm_id": "vm-12345", "primary_region_id": "us-east-1", "replica_regions": ["us-west-1"]});
    guide.presumes("vms/replicate", &vm);
    let before = guide.ask("replication/vm-12345/status");
    assert_eq!(before["replication_status"], json!({"us-west-1": "out_of_sync"}), "{before:#}");
    assert_eq!((&before["version"], &before["last_sync_time"]), (&Value::Null, &Value::Null), "{before:#}");

    // While the copy is on its way it is said to be, whoever is asked.
    let order = guide.requests[0].body.clone();
    let west = guide.west.origin.clone();
    let synced = thread::scope(|scope| {
        let sync = scope.spawn(|| guide.next("POST", "replication/sync"));
        while asked(&west, "replication/vm-12345/status")["replication_status"] != json!({"us-west-1": "syncing"}) {
            assert!(!sync.is_finished(), "it was never seen on its way");
        }
        sync.join().unwrap().is(200)
    });
    assert_has(&synced, &order);
    assert_eq!(synced["success"], true);
    assert_same_tree(&guide.files("us-east-1", "vm-12345"), &guide.files("us-west-1", "vm-12345"));

    let status = guide.next("GET", "replication/vm-12345/status").is(200);
    let expected = json!({"resource_id": "vm-12345", "resource_type": "vm", "primary_region": "us-east-1",
        "primary_region_id": "us-east-1", "version": 1, "replica_regions": {"us-west-1": "vm-12345"},
        "replication_status": {"us-west-1": "in_sync"}});
    assert_has(&status, &expected);
    assert_has(&status["replicas"]["us-west-1"], &json!({"status": "in_sync", "replica_id": "vm-12345"}));
    moment(&status, "last_sync");
    moment(&status, "last_sync_time");
    let digest = |status: &Value| status["data_hash"].as_str().unwrap_or_else(|| panic!("{status:#}")).to_owned();
    let first = digest(&status);

    // What was written since shows, and then is there.
    let mut disk = guide.world.read("us-east-1/resources/vm/vm-12345/disk.raw");
    disk[1 << 20..3 << 20].fill(7);
    guide.world.write("us-east-1/resources/vm/vm-12345/disk.raw", disk);
    let behind = guide.ask("replication/vm-12345/status");
    assert_eq!(behind["replicas"]["us-west-1"]["status"], "out_of_sync", "{behind:#}");
    assert_eq!(behind["replicas"]["us-west-1"]["health"], "behind", "{behind:#}");
    assert_eq!(digest(&behind), first);
    assert_has(&send(&guide.west, "POST", "replication/sync", &order).is(200), &json!({"success": true}));
    let again = guide.ask("replication/vm-12345/status");
    assert_has(&again, &json!({"version": 2, "replication_status": {"us-west-1": "in_sync"}}));
    assert_ne!(digest(&again), first);

    // What fails says so, until it succeeds: all of the disk at once is not what was asked for.
    let disk = guide.world.read("us-east-1/resources/vm/vm-12345/disk.raw");
    guide.world.write("us-east-1/resources/vm/vm-12345/disk.raw", vec![9; disk.len()]);
    let refused = send(&guide.west, "POST", "replication/sync", &order).is(409);
    assert_eq!(refused["code"], "blocked", "{refused:#}");
    let failed = guide.ask("replication/vm-12345/status");
    assert_eq!(failed["replication_status"], json!({"us-west-1": "failed"}), "{failed:#}");
    let detail = failed["replicas"]["us-west-1"]["detail"].as_str().unwrap();
    assert!(detail.contains("suspicious"), "{detail}");
    guide.world.write("us-east-1/resources/vm/vm-12345/disk.raw", disk);
    send(&guide.west, "POST", "replication/sync", &order).is(200);
    assert_has(&guide.ask("replication/vm-12345/status"), &json!({"replication_status": {"us-west-1": "in_sync"}}));

    // A pair that rests says so, and keeps what it has.
    let which = json!({"source_region_id": "us-east-1", "target_region_id": "us-west-1"});
    let paused = send(&guide.west, "POST", "replication/pause", &which).is(200);
    assert_has(&paused, &pair);
    assert_eq!(paused["paused"], true);
    assert_eq!(guide.ask("replication/pairs"), json!([paused]));
    assert_eq!(get(&guide.eu, "replication/pairs").is(200), json!([]), "it is an end of none");
    assert_has(&guide.ask("replication/vm-12345/status"), &json!({"replication_status": {"us-west-1": "paused"}}));
    send(&guide.west, "POST", "replication/resume", &which).is(200);
    assert_has(&guide.ask("replication/vm-12345/status"), &json!({"replication_status": {"us-west-1": "in_sync"}}));

    // Three copies within the hour; what was refused is none.
    assert_has(&guide.ask("regions/us-west-1/stats"), &json!({"resources_synced_per_minute": 3.0 / 60.0}));
    assert_has(&guide.ask("regions/us-east-1/stats"), &json!({"resources_synced_per_minute": 0.0}));
    assert_has(&guide.ask("stats"), &json!({"resources_synced_per_minute": 3.0 / 60.0}));

    // It was measured while it came.
    let east = guide.ask("regions/us-east-1");
    positive(&east, "bandwidth_mbps");
    assert_has(&east, &json!({"current_vms": 1, "resources_primary": 1}));
    let west = guide.ask("regions/us-west-1");
    positive(&west, "bandwidth_mbps");
    positive(&west, "replication_lag_seconds");
}

fn failover_of(guide: &mut Guide) {
    guide.machines.start("vm-12345", "us-east-1", 1);
    let order = guide.requests[0].body.clone();
    let event = guide.next("POST", "failover/execute").is(201);
    assert_has(&event, &json!({"success": true, "affected_resources": 1, "reason": "Primary region failure"}));
    assert_has(&event, &json!({"from_region_id": order["from_region_id"], "to_region_id": order["to_region_id"]}));
    assert!(event["event_id"].as_str().unwrap().starts_with("evt-"), "{event:#}");
    positive(&event, "duration_seconds");
    moment(&event, "timestamp");
    assert!(guide.machines.runs("vm-12345", "us-west-1") && !guide.machines.runs("vm-12345", "us-east-1"));
    assert_eq!(guide.machines.overlaps(), Vec::<String>::new());
    let status = guide.ask("replication/vm-12345/status");
    assert_eq!(status["primary_region"], "us-west-1", "{status:#}");

    let history = guide.next("GET", "failover/history?region_id=us-east-1&limit=50").is(200);
    let [told] = history.as_array().unwrap().as_slice() else { panic!("{history:#}") };
    for name in ["event_id", "timestamp", "from_region_id", "to_region_id", "success", "affected_resources"] {
        assert_eq!(told[name], event[name], "{name} of {told:#}");
    }
    positive(told, "duration_seconds");
    assert_eq!(guide.ask("failover/history?region_id=eu-west-1"), json!([]));
    assert_eq!(get(&guide.west, "failover/history?limit=0").status, 400);
}

fn machines_of(guide: &mut Guide) {
    // The guide set this pair up on another page.
    let pair = json!({"source_region_id": "us-east-1", "target_region_id": "eu-west-1", "resource_types": ["vm"],
        "sync_interval_seconds": 600});
    guide.presumes("replication/setup", &pair);
    guide.machine("web-server-1", 3);
    let order = guide.requests[0].body.clone();
    // Somebody controls the regions since the failover: the region that is asked. No other may do this.
    let refused = send(&guide.eu, "POST", "vms/replicate", &order).is(409);
    assert_eq!(refused["code"], "not_controller", "{refused:#}");
    let made = guide.next("POST", "vms/replicate").is(201);
    assert_has(&made, &json!({"resource_id": "web-server-1", "resource_type": "vm", "primary_region_id": "us-east-1"}));
    assert_eq!(send(&guide.west, "POST", "vms/replicate", &order).status, 200, "a repeat");
    for target in ["us-west-1", "eu-west-1"] {
        let sync = json!({"resource_id": "web-server-1", "source_region_id": "us-east-1", "target_region_id": target});
        send(&guide.west, "POST", "replication/sync", &sync).is(200);
        assert_same_tree(&guide.files("us-east-1", "web-server-1"), &guide.files(target, "web-server-1"));
    }
    let status = guide.ask("replication/web-server-1/status");
    let expected = json!({"primary_region": "us-east-1",
        "replication_status": {"eu-west-1": "in_sync", "us-west-1": "in_sync"}});
    assert_has(&status, &expected);
}

#[test]
fn every_request_of_the_guides_reference_does_what_it_says() {
    let mut guide = Guide::new();
    assert_eq!(guide.requests.len(), 13, "{:#?}", guide.requests);
    regions_of(&mut guide);
    replication_of(&mut guide);
    failover_of(&mut guide);
    machines_of(&mut guide);

    guide.settle();
    let stats = guide.next("GET", "stats").is(200);
    let expected = json!({"total_regions": 3, "healthy_regions": 3, "total_resources": 2, "total_vms": 2,
        "capacity_vms": 2000, "utilization_percent": 0.1, "failover_events_total": 1, "failover_events_failed": 0});
    assert_has(&stats, &expected);
    let health = guide.next("GET", "health").is(200);
    assert_eq!(health, json!({"service": "multi-region", "status": "operational"}));
    assert_eq!(guide.requests, VecDeque::new());
    let east = guide.ask("regions/us-east-1/stats");
    assert_has(&east, &json!({"failover_events": 1, "resources_primary": 1, "utilization_percent": 0.1}));

    // What was registered so belongs to nobody until a file declares it: a plan of the regions alone tells of the rest.
    let origin = |served: &Served| served.origin.clone();
    guide.world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.us-east-1]\nname = \"US East 1\"\nprimary = true\n\
             api_endpoint = \"https://{HOST}\"\n[regions.us-west-1]\nname = \"US West 1\"\ncapacity_vms = 500\n\
             api_endpoint = \"{}\"\n[regions.eu-west-1]\nname = \"EU West 1\"\ncapacity_vms = 500\n\
             api_endpoint = \"{}\"\n[health]\ntimeout = \"30s\"\n",
            origin(&guide.west),
            origin(&guide.eu)
        ),
    );
    let plan = guide.world.run(["plan", "--format", "json", "--credentials", "credentials.toml"]).exits(0).json();
    let mut unmanaged: Vec<&str> =
        plan["unmanaged"].as_array().unwrap().iter().map(|it| it["address"].as_str().unwrap()).collect();
    unmanaged.sort_unstable();
    let expected =
        ["replication.us-east-1.eu-west-1", "replication.us-east-1.us-west-1", "vm.vm-12345", "vm.web-server-1"];
    assert_eq!(unmanaged, expected, "{plan:#}");
    let deletes = plan["changes"].as_array().unwrap().iter().filter(|change| change["action"] == "delete").count();
    assert_eq!(deletes, 0, "{plan:#}");
    drop(guide.east);
}
