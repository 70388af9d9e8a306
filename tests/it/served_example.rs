//! The example with three served regions in the place of its three directories: whatever is planned, done and
//! remembered is the same.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use regex::Regex;
use serde_json::{Value, json};

use crate::served::Served;
use crate::support::{World, assert_same_tree, copy_tree, repository};

const REGIONS: [&str; 3] = ["us-east-1", "us-west-1", "eu-west-1"];

/// The example, and where each of its regions lies.
struct Fleet {
    world: World,
    below: &'static str,
    /// What stands in the topology for the directory of the region.
    endpoints: Vec<(&'static str, String)>,
    served: Vec<Served>,
}

impl Fleet {
    fn of_directories() -> Self {
        let world = World::example();
        let endpoints = REGIONS.map(|region| (region, format!("file:regions/{region}"))).to_vec();
        Self { world, below: "regions", endpoints, served: Vec::new() }
    }

    fn of_servers() -> Self {
        let world = World::new();
        let from = repository().join("examples/three-regions");
        copy_tree(&from.join("regions/us-east-1/resources"), &world.path("us-east-1/resources"));
        let served: Vec<Served> = REGIONS.map(|region| Served::start(&world, region, &[])).into();
        let endpoints = REGIONS.into_iter().zip(served.iter().map(|served| served.origin.clone())).collect();
        Self { world, below: "", endpoints, served }
    }

    /// Writes the topology, whose endpoints are those of the example.
    fn declares(&self, topology: &str) {
        // A busy machine is no degraded region.
        let patient = "[health]\ntimeout = \"30s\"\ndegraded_latency = \"10s\"\nunreachable_latency = \"20s\"\n";
        let mut text = format!("{topology}\n{patient}");
        for (region, endpoint) in &self.endpoints {
            text = text.replace(&format!("\"file:regions/{region}\""), &format!("\"{endpoint}\""));
        }
        self.world.write("topology.toml", text);
    }

    fn files(&self, region: &str, vm: &str) -> PathBuf {
        self.world.path(self.below).join(region).join("resources/vm").join(vm)
    }

    /// What a command said and how it ended, without what differs between any two runs.
    fn says(&self, args: &[&str]) -> Value {
        let answer = self.world.run(args.iter().chain(&["--format", "json"]));
        let said: Value = serde_json::from_str(&answer.stdout).unwrap_or(Value::Null);
        let error = self.alike(&answer.stderr);
        json!({"command": args, "exit": answer.code, "said": self.steady(said), "error": error})
    }

    /// How a command ended.
    fn ends(&self, args: &[&str]) -> Value {
        let answer = self.world.run(args);
        json!({"command": args, "exit": answer.code})
    }

    fn alike(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (region, endpoint) in &self.endpoints {
            text = text.replace(endpoint, &format!("[ENDPOINT of {region}]"));
        }
        for (pattern, name) in [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UUID]"),
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?UTC|Z)?", "[TIME]"),
            (r"\b\d+(\.\d+)? ?(ms|µs|us|s)\b", "[DURATION]"),
        ] {
            text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
        }
        text
    }

    /// A document without times, ids, ports and bytes on the way.
    fn steady(&self, value: Value) -> Value {
        const OF_ITS_OWN: [&str; 8] =
            ["digest", "topology", "pid", "latency_ms", "bytes", "duration", "lag", "tool_version"];
        match value {
            Value::Object(fields) => {
                let steady = fields.into_iter().map(|(name, value)| {
                    let value = match name.as_str() {
                        name if OF_ITS_OWN.contains(&name) => json!(value.is_null()),
                        // What a record is known by holds its endpoint, and when it was made.
                        "records" => fingerprints(value),
                        "message" => self.steady(without_compression(value)),
                        _ => self.steady(value),
                    };
                    (name, value)
                });
                Value::Object(steady.collect())
            }
            Value::Array(values) => values.into_iter().map(|value| self.steady(value)).collect(),
            Value::String(text) => Value::String(self.alike(&text)),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }

    fn assert_replicated(&self) {
        for (region, vms) in [("us-west-1", 1..=5), ("eu-west-1", 1..=5)] {
            for vm in vms.map(|number| format!("web-vm-{number}")) {
                assert_same_tree(&self.files("us-east-1", &vm), &self.files(region, &vm));
            }
        }
        for vm in ["db-vm-1", "db-vm-2"] {
            assert_same_tree(&self.files("us-east-1", vm), &self.files("us-west-1", vm));
            assert!(!self.files("eu-west-1", vm).exists());
        }
    }

    /// Writes into the middle of a VM's disk.
    fn changes(&self, region: &str, vm: &str, words: &[u8]) {
        let disk = fs::read_dir(self.files(region, vm)).unwrap().map(|entry| entry.unwrap().path());
        let disk = disk.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        fs::File::options().write(true).open(disk).unwrap().write_all_at(words, 4000).unwrap();
    }
}

/// What was said, but for what compression made of it: nothing is compressed between directories of one machine.
fn without_compression(message: Value) -> Value {
    let Some(told) = message.as_str() else { return message };
    let rest = Regex::new(r"compressed to [^;]* on the way(; )?").unwrap().replace(told, "").into_owned();
    if rest.is_empty() { Value::Null } else { Value::String(rest) }
}

/// Whether each fingerprint is there.
fn fingerprints(value: Value) -> Value {
    let Value::Object(records) = value else { return json!(value.is_null()) };
    Value::Object(records.into_iter().map(|(name, value)| (name, json!(value.is_null()))).collect())
}

/// Everything that the example is put through, and what was said of it.
fn story(fleet: &Fleet) -> Vec<Value> {
    let topology = fs::read_to_string(repository().join("examples/three-regions/topology.toml")).unwrap();
    fleet.declares(&topology);
    let apply: &[&str] = &["apply", "--auto-approve"];
    let planned: &[&str] = &["plan", "--detailed-exitcode"];
    let mut told = vec![fleet.says(&["validate"]), fleet.says(planned), fleet.ends(apply)];
    fleet.assert_replicated();
    told.extend([fleet.says(planned), fleet.ends(apply), fleet.says(&["replication", "list"])]);

    // Disks are written to; a hand is at a replica, and one source loses its disk.
    fleet.changes("us-east-1", "db-vm-1", b"a new row");
    fleet.changes("us-east-1", "web-vm-2", b"a new page");
    fleet.changes("us-west-1", "web-vm-3", b"somebody was here");
    let gutted = fleet.files("us-east-1", "web-vm-5");
    let kept = fleet.world.path("kept");
    fs::rename(&gutted, &kept).unwrap();
    fs::create_dir(&gutted).unwrap();
    let definition = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "xml"));
    let definition = definition.unwrap();
    fs::copy(&definition, gutted.join(definition.file_name().unwrap())).unwrap();
    told.extend([fleet.says(planned), fleet.ends(apply)]);
    fs::remove_dir_all(&gutted).unwrap();
    fs::rename(&kept, &gutted).unwrap();
    told.extend([fleet.says(&["plan", "--refresh-only"]), fleet.ends(apply)]);
    fleet.assert_replicated();
    told.push(fleet.ends(&["replication", "verify", "web-vm-3"]));

    // The files change: a slower pair, one machine less, one with another name.
    let topology = topology.replace("\"5m\"", "\"7m\"").replace("web-vm-{1..5}", "web-vm-{1..4}");
    let two = "[vms.db-vm-1]\nreplicas = [\"us-west-1\"]\n\n[vms.db-vm-3]";
    let topology = topology.replace("[vms.\"db-vm-{1..2}\"]", two);
    fleet.declares(&format!("{topology}\n[[moved]]\nfrom = \"vm.db-vm-2\"\nto = \"vm.db-vm-3\"\n"));
    told.extend([fleet.says(planned), fleet.ends(&["plan", "--out", "plan.json"])]);
    told.extend([fleet.ends(&["apply", "plan.json"]), fleet.ends(&["apply", "plan.json"])]);
    told.extend([fleet.says(&["plan", "--prune"]), fleet.ends(&["apply", "--prune", "--auto-approve"])]);
    told.extend([fleet.says(planned), fleet.ends(&["reconcile"])]);
    told.push(fleet.says(&["vm", "list"]));
    told.push(fleet.says(&["history"]));
    told
}

#[test]
fn the_example_is_the_same_with_three_servers() {
    let (directories, servers) = (Fleet::of_directories(), Fleet::of_servers());
    let (expected, found) = (story(&directories), story(&servers));
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(&found) {
        let (left, right) =
            (serde_json::to_string_pretty(expected).unwrap(), serde_json::to_string_pretty(found).unwrap());
        let differing: Vec<_> =
            left.lines().zip(right.lines()).filter(|(left, right)| left != right).take(20).collect();
        assert_eq!(left.lines().count(), right.lines().count(), "{}\n{left}\n{right}", expected["command"]);
        assert!(differing.is_empty(), "{}: {differing:#?}", expected["command"]);
    }
    let exits: Vec<i64> = expected.iter().map(|told| told["exit"].as_i64().unwrap()).collect();
    assert_eq!(exits, [0, 2, 0, 0, 0, 0, 2, 3, 0, 0, 0, 2, 0, 3, 3, 0, 0, 0, 0, 0, 0], "of what is to be compared");
    for region in REGIONS {
        assert_same_tree(
            &directories.world.path("regions").join(region).join("resources"),
            &servers.world.path(region).join("resources"),
        );
    }
    servers.served.into_iter().for_each(Served::end);
}
