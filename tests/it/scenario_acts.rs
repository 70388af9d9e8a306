//! What a story's script cannot do with a command: a hand on a live region, through its port; a lock held by
//! somebody else.

use std::sync::{Arc, Mutex};

use debvisor_region::host::{self, FileLock, Holder, HostDisk};
use debvisor_region::live::port::RegionPort;
use debvisor_region::model::region::{Authority, Record, RecordChange, RecordWrite};
use debvisor_region::model::topology::Spec;
use debvisor_region::model::units::parse_duration;
use debvisor_region::model::{Address, OperationId, RegionId, Timestamp};
use debvisor_region::region::{LocalRegion, Opening};

use crate::support::World;

static LOCK: Mutex<Option<FileLock>> = Mutex::new(None);

/// Carries out one `@ …` line of a script.
pub(crate) fn act(what: &str, world: &World) {
    let words: Vec<&str> = what.split_whitespace().collect();
    match words[..] {
        ["regions"] => two_regions(world),
        ["hand", address, "max_lag", value, region] => hand(world, address, value, region),
        ["lock"] => {
            let lock = world.path("debvisor-region.state.db.lock");
            *LOCK.lock().unwrap() = Some(FileLock::take(&lock, &somebody()).unwrap());
        }
        ["unlock"] => *LOCK.lock().unwrap() = None,
        _ => panic!("`@ {what}` is no act"),
    }
}

fn somebody() -> Holder {
    Holder {
        who: "ops@night-shift".to_owned(),
        pid: 4242,
        command: "debvisor-region apply".to_owned(),
        since: Timestamp::from_micros(1_780_000_000_000_000),
    }
}

fn two_regions(world: &World) {
    world.write(
        "topology.toml",
        r#"schema_version = 1

[regions.us-east-1]
api_endpoint = "file:us-east-1"
primary = true

[regions.us-west-1]
api_endpoint = "file:us-west-1"

[[replication]]
source = "us-east-1"
target = "us-west-1"
resource_types = ["vm"]
sync_interval = "10m" # to begin with

[health] # a busy machine is no degraded region
timeout = "30s"
degraded_latency = "10s"
unreachable_latency = "20s"

[vms.web-1]
replicas = ["us-west-1"]
"#,
    );
    world.write(".gitignore", ".bin\n.gitignore\nus-*\n*.state.db*\n*.json\n");
    for vm in ["web-1", "db-1"] {
        world.write(format!("us-east-1/resources/vm/{vm}/domain.xml"), format!("<domain><name>{vm}</name></domain>\n"));
        world.write(format!("us-east-1/resources/vm/{vm}/disk.raw"), vec![7u8; 256 << 10]);
    }
}

/// Changes one attribute of a live record, as a program that talks to the region's port would.
fn hand(world: &World, address: &str, value: &str, region: &str) {
    let id: RegionId = region.parse().unwrap();
    let opening = Opening {
        world: host::world(),
        disk: Arc::new(HostDisk),
        holder: somebody(),
        guard: None,
        exec_guard: None,
        config: None,
    };
    let port = LocalRegion::new(id, world.path(region), opening);
    let address: Address = address.parse().unwrap();
    let Address::Resource(key) = address.clone() else { panic!("{address} is no resource") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let snapshot = port.snapshot().await.unwrap();
        let record = snapshot.resources[&key].clone();
        let controller = snapshot.controller.unwrap();
        let authority = Authority {
            lineage: controller.lineage,
            term: controller.term,
            seat: controller.seat,
            place: controller.place,
            operation: OperationId(host::world().ids.random()),
        };
        let mut spec = record.spec.clone();
        spec.max_lag = Some(parse_duration(value).unwrap());
        let write = RecordWrite {
            spec: Spec::Resource(spec),
            managed_by: record.managed_by,
            store: None,
            holder: None,
            former_id: None,
        };
        let expected = Some(Record::Resource(record).fingerprint());
        port.record(&authority, &[RecordChange { address, expected, record: Some(write) }]).await.unwrap();
    });
}
