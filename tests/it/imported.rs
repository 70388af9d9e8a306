//! Topologies that are written anew from what live regions record: the next plan has nothing to do.

use std::fmt::Write;

use crate::support::World;

/// Twenty regions, each fed by another one or two, and machines, volumes and settings of many kinds.
fn twenty() -> String {
    let mut text = "schema_version = 1\n".to_owned();
    for n in 1..=20 {
        let zone = ["eu", "us", "ap"][n % 3];
        write!(
            text,
            "[regions.r{n:02}]\nname = \"Region {n}\"\napi_endpoint = \"file:r{n:02}\"\nprimary = {}\n\
             capacity_vms = {}\nlabels = {{ zone = \"{zone}\", \"two words\" = \"{n}\" }}\n",
            n == 1,
            n * 100
        )
        .unwrap();
        let next = n % 20 + 1;
        write!(
            text,
            "[[replication]]\nsource = \"r{n:02}\"\ntarget = \"r{next:02}\"\nresource_types = [\"vm\", \"storage\"]\n\
             sync_interval = \"{n}m30s\"\npriority = {}\nbidirectional = {}\ncompression = {}\n{}",
            n % 4,
            n % 2 == 0,
            n % 5 == 0,
            if n % 7 == 0 { "bandwidth_limit = \"200 Mbit/s\"\npaused = true\n" } else { "" }
        )
        .unwrap();
        write!(
            text,
            "[vms.\"web-r{n}-{{08..12}}\"]\nprimary = \"r{n:02}\"\nreplicas = [\"r{next:02}\"]\n\
             depends_on = [\"db-{n}\"]\nmax_lag = \"1h\"\nlabels = {{ tier = \"web\" }}\n\
             [vms.db-{n}]\nprimary = \"r{n:02}\"\nreplicas = [\"r{next:02}\"]\nmax_change = \"70 %\"\n\
             allowed_regions = {{ zone = [\"eu\", \"us\", \"ap\"] }}\n\
             [resources.vol-{n}]\ntype = \"storage\"\nprimary = \"r{n:02}\"\nreplicas = [\"r{next:02}\"]\n"
        )
        .unwrap();
    }
    text + "[retention]\nlast = 5\nhourly = 2\n[health]\nfailures = 4\ndegraded_latency = \"70ms\"\n\
            [failover]\ncandidates = [\"r03\", \"r02\"]\ncooldown = \"2h\"\nquorum = 11\nhooks = { before = [\"/bin/true\", \"a b\"] }\n"
}

/// Applies, writes the topology anew from one region's endpoint, and plans.
fn comes_back(world: &World, endpoint: &str) -> String {
    world.apply();
    // What is managed, and the digest of the topology that was applied last.
    let managed = |world: &World| {
        let state = world.run(["state", "show", "--format", "json"]).exits(0).json();
        (state["serial"].clone(), state["objects"].clone(), state["topologies"][0]["digest"].clone())
    };
    let before = managed(world);
    world.run(["import", endpoint]).exits(1).says(&["nothing is overwritten"]);
    std::fs::rename(world.path("topology.toml"), world.path("lost.toml")).unwrap();
    let dry = world.run(["import", endpoint, "--dry-run"]).exits(0);
    assert!(!world.path("topology.toml").exists());
    world.run(["import", endpoint]).exits(0).says(&["wrote topology.toml"]);
    let written = String::from_utf8(world.read("topology.toml")).unwrap();
    assert_eq!(dry.stdout, written);
    world.run(["fmt", "--check"]).exits(0);
    let plan = world.run(["plan", "--detailed-exitcode", "--format", "json"]).exits(0).json();
    for list in ["changes", "drift", "held", "blocked", "unmanaged", "unobserved"] {
        assert_eq!(plan[list], serde_json::json!([]), "{list}");
    }
    world.apply();
    assert!(managed(world) == before, "the topology is another one than before");
    // The state knows the regions as well.
    std::fs::remove_file(world.path("topology.toml")).unwrap();
    world.run(["import"]).exits(0);
    assert_eq!(world.read("topology.toml"), written.as_bytes());
    written
}

#[test]
fn the_example_is_written_anew_from_its_regions() {
    let world = World::example();
    let written = comes_back(&world, "file:regions/eu-west-1");
    assert!(written.contains("[vms.\"web-vm-{1..5}\"]"), "{written}");
}

#[test]
fn twenty_regions_are_written_anew() {
    let world = World::new();
    world.write("topology.toml", twenty());
    for n in [1, 7, 20] {
        world.write(format!("r{n:02}/resources/vm/db-{n}/disk.raw"), "disk\n".repeat(100));
    }
    let written = comes_back(&world, "file:r13");
    assert!(written.contains("[vms.\"web-r7-{08..12}\"]"), "{written}");
}

#[test]
fn what_is_no_region_is_told() {
    let world = World::two_regions("");
    world.apply();
    std::fs::rename(world.path("topology.toml"), world.path("lost.toml")).unwrap();
    world.run(["import", "nonsense"]).exits(1).says(&["`nonsense` is no endpoint"]);
    world.run(["import", "file:nowhere"]).exits(1).says(&["no region is there"]);
    // One that does not answer is declared as the others know it, and told.
    std::fs::rename(world.path("b"), world.path("elsewhere")).unwrap();
    world.run(["import", "file:a"]).exits(3).says(&["b was not asked"]);
    assert!(String::from_utf8(world.read("topology.toml")).unwrap().contains("[regions.b]"));
    let empty = World::new();
    empty.run(["import"]).exits(1).says(&["no region is known here"]);
}
