//! Ten different mistakes in two files: ten labelled reports in one run.

use crate::support::World;

const FIRST: &str = r#"schema_version = 1

[regions.us-east-1]
api_endpoint = "file:us-east-1"
primary = true
capcity_vms = 10

[regions.us-west-1]
api_endpoint = "us-west-1.example"

[[replication]]
source = "us-east-1"
target = "us-wset-1"
resource_types = ["vm"]

[[replication]]
source = "us-east-1"
target = "us-west-1"
resource_types = ["vm", "disk"]
sync_interval = "soon"
"#;

const SECOND: &str = r#"schema_version = 1

[vms.a]
replicas = ["us-east-1"]

[vms.b]
replicas = ["us-west-1"]
depends_on = ["c"]

[vms.c]
replicas = ["us-west-1"]
depends_on = ["b"]

[vms."web-{3..1}"]
replicas = ["us-west-1"]

[vms.d]
replicas = ["us-west-1"]
depends_on = ["nobody"]

[vms.e]
replicas = ["us-west-1"]
max_lag = 15
"#;

#[test]
fn ten_mistakes_are_ten_reports() {
    let world = World::new();
    world.write("topology/10-regions.toml", FIRST);
    world.write("topology/20-vms.toml", SECOND);
    let answer = world.run(["validate"]).exits(1);
    assert_eq!(answer.stdout, "");
    for text in [
        "capcity_vms",
        "capacity_vms",
        "us-west-1.example",
        "us-wset-1",
        "disk",
        "soon",
        "web-{3..1}",
        "nobody",
        "max_lag",
        "10-regions.toml:6",
        "20-vms.toml:",
    ] {
        assert!(answer.stderr.contains(text), "`{text}` is missing in\n{}", answer.stderr);
    }

    let answer = world.run(["validate", "--format", "json"]).exits(1);
    assert_eq!(answer.stdout, "");
    let errors: serde_json::Value = serde_json::from_str(&answer.stderr).unwrap();
    let errors = errors["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 10, "{}", serde_json::to_string_pretty(errors).unwrap());
    for error in errors {
        let label = &error["labels"][0];
        assert!(label["file"].as_str().unwrap().ends_with(".toml"), "{error}");
        assert!(label["line"].as_u64().unwrap() > 0 && label["column"].as_u64().unwrap() > 0, "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty() && !error["help"].is_null(), "{error}");
    }
}
