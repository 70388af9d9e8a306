//! Failovers that no person asks for: three served regions, machines that are processes and write down that they run,
//! a fence that kills, and `reconcile`, which finds out by itself what is down.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::machines::Machines;
use crate::served::Served;
use crate::support::World;

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
