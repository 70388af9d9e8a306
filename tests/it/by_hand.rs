//! What a topology that is applied makes of regions, pairs and machines that were ordered by hand over the guide's
//! endpoints.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::served::Served;
use crate::support::{World, assert_same_tree};

/// POSTs an order; gives its status and the data.
fn order(served: &Served, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(served.origin.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST /api/v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let json: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    (status, json["data"].clone())
}

#[test]
fn what_was_ordered_by_hand_is_unmanaged_until_a_file_declares_it() {
    let world = World::new();
    for vm in ["web", "db"] {
        world.write(format!("a/resources/vm/{vm}/domain.xml"), format!("<domain>{vm}</domain>\n"));
        world.write(format!("a/resources/vm/{vm}/disk.raw"), vec![7; 300_000]);
    }
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    for (name, served, primary) in [("a", &a, true), ("b", &b, false)] {
        let region = json!({"name": name, "location": name, "api_endpoint": served.origin, "is_primary": primary});
        assert_eq!(order(&a, "regions", &region).0, 201);
    }
    let pair = json!({"source_region_id": "a", "target_region_id": "b", "resource_types": ["vm"]});
    assert_eq!(order(&a, "replication/setup", &pair).0, 201);
    for vm in ["web", "db"] {
        let vm = json!({"vm_id": vm, "primary_region_id": "a", "replica_regions": ["b"]});
        assert_eq!(order(&a, "vms/replicate", &vm).0, 201);
    }
    let sync = json!({"resource_id": "web", "source_region_id": "a", "target_region_id": "b"});
    assert_eq!(order(&a, "replication/sync", &sync).0, 200);

    let declared = |vms: &str| {
        world.write(
            "topology.toml",
            format!(
                "schema_version = 1\n[regions.a]\napi_endpoint = \"{}\"\nprimary = true\n[regions.b]\n\
                 api_endpoint = \"{}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
                 [health]\ntimeout = \"30s\"\n{vms}",
                a.origin, b.origin
            ),
        );
    };
    let web = "[vms.web]\nreplicas = [\"b\"]\n";
    declared(web);
    // One is declared and will be taken over; the other is somebody's, and is only told.
    let plan = world.run(["plan", "--format", "json"]).exits(0).json();
    let unmanaged = |plan: &Value| {
        plan["unmanaged"].as_array().unwrap().iter().map(|it| it["address"].as_str().unwrap().to_owned()).collect()
    };
    let left: Vec<String> = unmanaged(&plan);
    assert_eq!(left, ["vm.db"], "{plan}");
    let taken: Vec<&str> = plan["changes"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(taken.iter().any(|id| id.ends_with(":vm.web")), "{taken:?}");
    assert!(taken.iter().all(|id| !id.starts_with("delete:") && !id.contains("vm.db")), "{taken:?}");
    world.apply();
    let copy =
        |vm: &str| assert_same_tree(&world.path("a/resources/vm").join(vm), &world.path("b/resources/vm").join(vm));
    copy("web");
    world.assert_settled();
    // Not even a run that removes what left the files touches what never stood in them.
    world.run(["apply", "--prune", "--auto-approve"]).exits(0);
    let left: Vec<String> = unmanaged(&world.run(["plan", "--format", "json"]).exits(0).json());
    assert_eq!(left, ["vm.db"]);
    // Now somebody controls the regions, and what concerns roles is that one's.
    let more = json!({"vm_id": "more", "primary_region_id": "a", "replica_regions": ["b"]});
    let (status, refused) = order(&a, "vms/replicate", &more);
    assert_eq!((status, refused["code"].as_str()), (409, Some("not_controller")), "{refused}");

    declared(&format!("{web}[vms.db]\nreplicas = [\"b\"]\n"));
    world.apply();
    copy("db");
    world.assert_settled();
    let left: Vec<String> = unmanaged(&world.run(["plan", "--format", "json"]).exits(0).json());
    assert!(left.is_empty(), "{left:?}");
    a.end();
    b.end();
}
