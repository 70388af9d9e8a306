//! Commands that declare: what they write into real files, what they leave alone, and what the regions have of it.

use crate::support::{Answer, World};

const TOPOLOGY: &str = "\
schema_version = 1

# The guide's regions.

[regions.us-east-1]
api_endpoint = \"file:us-east-1\"
primary = true # the first one

[regions.us-west-1]
api_endpoint = \"file:us-west-1\"

[regions.eu-west-1]
api_endpoint = \"file:eu-west-1\"

[[replication]]
source = \"us-east-1\" # what else
target = \"us-west-1\"
resource_types = [\"vm\"]

# The shop.

[vms.\"web-vm-{1..3}\"]
replicas = [\"us-west-1\"] # near
";

fn world() -> World {
    let world = World::new();
    world.write("topology.toml", TOPOLOGY);
    for n in 1..=3 {
        world.write(format!("us-east-1/resources/vm/web-vm-{n}/disk.raw"), format!("disk {n}\n").repeat(500));
    }
    world
}

fn text(world: &World) -> String {
    String::from_utf8(world.read("topology.toml")).unwrap()
}

/// The lines that a diff takes and brings.
fn changed(answer: &Answer) -> Vec<&str> {
    let lines = answer.stdout.lines().filter(|line| !line.starts_with("--- ") && !line.starts_with("+++ "));
    lines.filter(|line| line.starts_with(['-', '+'])).collect()
}

/// Runs it twice: the first time gives these lines, the second time nothing.
#[track_caller]
fn declares(world: &World, args: &[&str], expected: &[&str]) {
    let before = text(world);
    let dry = world.run(args.iter().chain(&["--dry-run"])).exits(0).says(&["nothing was written"]);
    assert_eq!(changed(&dry), expected);
    assert_eq!(text(world), before);
    let first = world.run(args).exits(0).says(&["wrote topology.toml"]);
    assert_eq!(changed(&first), expected);
    assert_ne!(text(world), before);
    world.run(["validate"]).exits(0);
    let after = text(world);
    let again = world.run(args).exits(0).says(&["nothing is changed"]);
    assert_eq!(again.stdout, "");
    assert_eq!(text(world), after);
}

#[test]
fn the_guides_lines_declare_what_they_say() {
    let world = world();
    declares(
        &world,
        &["region", "add", "us-central-1", "US Central 1", "https://api.us-central-1.internal", "--capacity", "2000"],
        &[
            "+[regions.us-central-1]",
            "+name = \"US Central 1\"",
            "+api_endpoint = \"https://api.us-central-1.internal\"",
            "+capacity_vms = 2000",
            "+",
        ],
    );
    declares(
        &world,
        &[
            "region",
            "add",
            "us-east-1",
            "US East 1",
            "https://api.us-east-1.internal",
            "--primary",
            "--capacity",
            "2000",
        ],
        &[
            "-api_endpoint = \"file:us-east-1\"",
            "+api_endpoint = \"https://api.us-east-1.internal\"",
            "+name = \"US East 1\"",
            "+capacity_vms = 2000",
        ],
    );
    declares(
        &world,
        &["replication", "setup", "us-east-1", "us-west-1", "vm,config"],
        &["-resource_types = [\"vm\"]", "+resource_types = [\"vm\", \"config\"]"],
    );
    declares(
        &world,
        &["replication", "setup", "us-east-1", "eu-west-1", "vm,config,state", "--interval", "600"],
        &[
            "+[[replication]]",
            "+source = \"us-east-1\"",
            "+target = \"eu-west-1\"",
            "+resource_types = [\"vm\", \"config\", \"state\"]",
            "+sync_interval = \"10m\"",
            "+",
        ],
    );
    declares(
        &world,
        &["replication", "setup", "us-west-1", "us-central-1", "vm", "--bidirectional"],
        &[
            "+[[replication]]",
            "+source = \"us-west-1\"",
            "+target = \"us-central-1\"",
            "+resource_types = [\"vm\"]",
            "+bidirectional = true",
            "+",
        ],
    );
    declares(
        &world,
        &["vm", "replicate", "vm-web-1", "us-east-1", "us-west-1,eu-west-1"],
        &["+", "+[vms.vm-web-1]", "+primary = \"us-east-1\"", "+replicas = [\"us-west-1\", \"eu-west-1\"]"],
    );
    let all = text(&world);
    for comment in ["# The guide's regions.", "true # the first one", "\"us-east-1\" # what else", "# The shop."] {
        assert!(all.contains(comment), "{all}");
    }
}

#[test]
fn what_is_declared_no_more_leaves_its_lines() {
    let world = world();
    declares(&world, &["vm", "remove", "web-vm-3"], &["-[vms.\"web-vm-{1..3}\"]", "+[vms.\"web-vm-{1..2}\"]"]);
    // What is still used is told with the lines that use it, and stays.
    let before = text(&world);
    let used = world.run(["region", "remove", "us-west-1"]).exits(1);
    used.says(&["region `us-west-1` is still used", "leads there, or from there", "is kept there", "--cascade"]);
    world.run(["replication", "remove", "us-east-1", "us-west-1"]).exits(1).says(&["web-vm-{1..2}", "not fed"]);
    world.run(["region", "remove", "us-east-1", "--cascade"]).exits(1).says(&["is born there"]);
    world.run(["region", "remove", "us-wset-1"]).exits(0).says(&["did you mean `us-west-1`?"]);
    assert_eq!(text(&world), before);
    declares(
        &world,
        &["region", "remove", "eu-west-1"],
        &["-[regions.eu-west-1]", "-api_endpoint = \"file:eu-west-1\"", "-"],
    );
}

#[test]
fn apply_carries_out_just_that() {
    let world = world();
    world.apply();
    // Somebody else's change waits for its own turn.
    world.write(
        "topology.toml",
        text(&world).replace("resource_types = [\"vm\"]", "resource_types = [\"vm\"]\npriority = 3"),
    );
    let add = ["region", "add", "ap-south-1", "Mumbai", "file:ap-south-1", "--apply"];
    let before = text(&world);
    world.run(add).exits(5).says(&["nobody can be asked", "the files are as they were"]);
    assert_eq!(text(&world), before);
    let document = world.run(add.iter().chain(&["--auto-approve", "--format", "json"])).exits(0).json();
    assert_eq!(document["written"], true);
    assert_eq!(document["files"], serde_json::json!(["topology.toml"]));
    assert!(document["diff"].as_str().unwrap().contains("+[regions.ap-south-1]\n"), "{document:#}");
    assert_eq!(document["run"]["class"], "done", "{document:#}");
    assert!(world.path("ap-south-1/.debvisor/region.json").exists());

    world.run(["replication", "setup", "us-east-1", "ap-south-1", "vm", "--apply", "--auto-approve"]).exits(0);
    world
        .run(["vm", "replicate", "web-vm-2", "us-east-1", "us-west-1,ap-south-1", "--apply", "--auto-approve"])
        .exits(0);
    world.assert_newest_point_is("web-vm-2", "ap-south-1", &world.path("us-east-1/resources/vm/web-vm-2"));
    assert!(text(&world).contains("\n[vms.web-vm-2]\nreplicas = [\"us-west-1\", \"ap-south-1\"] # near\n"));
    let again = ["vm", "replicate", "web-vm-2", "us-east-1", "us-west-1,ap-south-1", "--apply", "--auto-approve"];
    world.run(again).exits(0).says(&["declared so already"]);
    world.run(["plan", "--detailed-exitcode"]).exits(2).says(&["replication.us-east-1.us-west-1", "priority"]);
    world.apply();

    // And out again, to the last line.
    world.run(["vm", "remove", "web-vm-2", "--apply", "--auto-approve"]).exits(0);
    world.run(["region", "remove", "ap-south-1", "--cascade", "--apply", "--auto-approve"]).exits(0);
    world.assert_settled();
    assert!(world.path("us-west-1/resources/vm/web-vm-2/disk.raw").exists(), "no data is deleted");
    let left = text(&world);
    assert!(
        !left.contains("ap-south-1") && left.contains("[vms.web-vm-1]") && left.contains("[vms.web-vm-3]"),
        "{left}"
    );
}

#[test]
fn a_paused_pair_rests_and_goes_on() {
    let world = world();
    world.apply();
    let before = text(&world);
    let pair = ["us-east-1", "us-west-1"];
    let words = |verb: &'static str| [&["replication", verb][..], &pair].concat();
    declares(&world, &words("pause"), &["+paused = true"]);
    world.run(["plan", "--detailed-exitcode"]).exits(2).says(&["paused", "replication resume us-east-1 us-west-1"]);
    world.run([&words("pause")[..], &["--apply", "--auto-approve"]].concat()).exits(0);
    world.write("us-east-1/resources/vm/web-vm-1/disk.raw", "another\n".repeat(900));
    world.assert_settled();
    world.apply();
    world.run(["reconcile"]).exits(0);
    let copied = world.read("us-west-1/resources/vm/web-vm-1/disk.raw");
    assert_eq!(copied, "disk 1\n".repeat(500).as_bytes());
    let status = world.run(["replication", "status", "web-vm-1", "--format", "json"]).exits(0).json();
    assert_eq!(status["replicas"]["us-west-1"]["status"], "paused", "{status:#}");
    // By hand it is copied all the same.
    world.run(["replication", "sync", "web-vm-1", "us-east-1", "us-west-1"]).exits(0);
    world.assert_newest_point_is("web-vm-1", "us-west-1", &world.path("us-east-1/resources/vm/web-vm-1"));

    world.write("us-east-1/resources/vm/web-vm-2/disk.raw", "a third\n".repeat(700));
    declares(&world, &words("resume"), &["-paused = true"]);
    assert_eq!(text(&world), before);
    world.apply();
    world.assert_newest_point_is("web-vm-2", "us-west-1", &world.path("us-east-1/resources/vm/web-vm-2"));
    world.assert_settled();
    world.run(["replication", "pause", "us-west-1", "eu-west-1"]).exits(1).says(&["is not declared"]);
}

#[test]
fn a_first_region_begins_a_topology() {
    let world = World::new();
    world.run(["region", "remove", "a"]).exits(1).says(&["there is no topology here"]);
    world.run(["region", "add", "a", "Here", "file:a", "--primary", "--dry-run"]).exits(0);
    assert!(!world.path("topology.toml").exists());
    world.run(["region", "add", "a", "Here", "file:a", "--primary"]).exits(0).says(&["wrote topology.toml"]);
    world.run(["region", "add", "b", "b", "file:b"]).exits(0);
    world.run(["replication", "setup", "a", "b", "vm"]).exits(0);
    world.run(["vm", "replicate", "web", "a", "b"]).exits(0);
    let expected = "schema_version = 1\n\n[regions.a]\nname = \"Here\"\napi_endpoint = \"file:a\"\nprimary = true\n\n\
                    [regions.b]\napi_endpoint = \"file:b\"\n\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\n\
                    resource_types = [\"vm\"]\n\n[vms.web]\nprimary = \"a\"\nreplicas = [\"b\"]\n";
    assert_eq!(text(&world), expected);
    world.run(["fmt", "--check"]).exits(0);
}

#[test]
fn an_edit_that_would_make_the_files_invalid_is_not_made() {
    let world = world();
    let before = text(&world);
    world
        .run(["vm", "replicate", "web-vm-2", "us-east-1", "eu-west-1"])
        .exits(1)
        .says(&["nothing brings `vm.web-vm-2` from `us-east-1` to `eu-west-1`"]);
    world.run(["region", "add", "x", "X", "no endpoint"]).exits(1).says(&["no endpoint"]);
    let wrong = world.run(["vm", "replicate", "new", "us-east-1", "us-wset-1"]);
    wrong.exits(1).says(&["Did you mean `us-west-1`?", "nothing was written"]);
    assert_eq!(text(&world), before);
}

#[test]
fn a_failover_is_accepted_into_the_files() {
    let world = world();
    world.apply();
    world.run(["failover", "accept"]).exits(0).says(&["nothing to accept"]);
    let vm = ["--vm", "web-vm-2", "--force"];
    world.run(["failover", "execute", "us-east-1", "us-west-1"].iter().chain(&vm)).exits(0);
    let plan = world.run(["plan", "--format", "json"]).exits(0).json();
    assert_eq!(plan["held"][0]["address"], "vm.web-vm-2");
    let before = text(&world);
    world.run(["failover", "accept"]).exits(5).says(&["nobody can be asked", "+[vms.web-vm-2]"]);
    world.run(["failover", "accept", "--dry-run"]).exits(0).says(&["nothing was written"]);
    world.run(["failover", "accept", "web-vm-1", "--auto-approve"]).exits(0).says(&["nothing to accept"]);
    world.run(["failover", "accept", "nobody"]).exits(1).says(&["nobody"]);
    assert_eq!(text(&world), before);
    let document = world.run(["failover", "accept", "us-west-1", "--auto-approve", "--format", "json"]).exits(0).json();
    assert_eq!(document["accepted"]["moved"][0]["resource"], "vm.web-vm-2");
    let expected = TOPOLOGY.replace("\n\n# The shop.", "\nbidirectional = true\n\n# The shop.");
    let expected = format!("{expected}\n[vms.web-vm-2]\nprimary = \"us-west-1\"\nreplicas = [\"us-east-1\"] # near\n");
    assert_eq!(text(&world), expected);
    let plan = world.run(["plan", "--format", "json"]).exits(0).json();
    assert_eq!(plan["held"], serde_json::json!([]));
    world.apply();
    world.assert_settled();
    world.run(["failover", "accept", "--auto-approve"]).exits(0).says(&["nothing to accept"]);

    // The rest follows: the range is one table again in what it says of all.
    world.run(["failover", "execute", "us-east-1", "us-west-1", "--force"]).exits(0);
    world.run(["failover", "accept", "--auto-approve"]).exits(0);
    assert!(
        text(&world).contains("[vms.\"web-vm-{1..3}\"]\nprimary = \"us-west-1\"\nreplicas = [\"us-east-1\"] # near\n"),
        "{}",
        text(&world)
    );
    world.assert_settled();
}
