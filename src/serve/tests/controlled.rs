//! Orders by hand where a region is the controller itself, since it failed over.

use super::failover::{execute, protected};
use super::*;

fn registration(name: &str, origin: &str) -> Value {
    json!({ "name": name, "location": name, "api_endpoint": origin, "capacity_vms": 500 })
}

/// Three regions, of which `west` moved what `east` held and controls all since.
async fn controlled(lab: &Lab) -> (Served, Served, Served) {
    let (east, west) = protected(lab).await;
    let moved = west.post("failover/execute", &execute("east", "west", &json!({}))).await;
    assert_eq!(moved.status, 201, "{moved:?}");
    (east, west, lab.serve("third").await)
}

async fn known(served: &Served) -> Vec<String> {
    let snapshot = served.get("snapshot").await.data();
    snapshot["regions"].as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn the_region_that_controls_registers_others_and_they_get_its_control() {
    let lab = Lab::new();
    let (east, west, third) = controlled(&lab).await;
    let body = registration("third", &third.origin);
    let told = east.post("regions", &body).await;
    assert_eq!((told.status, told.code().as_str()), (StatusCode::CONFLICT, "not_controller"), "{told:?}");
    let told = told.json();
    assert!(told["message"].as_str().unwrap().contains("region west ("), "it says who is: {told}");
    assert!(told["data"]["help"].as_str().unwrap().starts_with("change it from region west ("), "{told}");
    assert_eq!(third.get("snapshot").await.data()["identity"], Value::Null, "nothing was written");

    let made = west.post("regions", &body).await;
    assert_eq!((made.status, made.data()["status"].as_str()), (StatusCode::CREATED, Some("healthy")), "{made:?}");
    assert_eq!((&made.data()["unheard"], &made.data()["capacity_vms"]), (&json!({}), &json!(500)));
    let controller = west.get("snapshot").await.data()["controller"].clone();
    for served in [&east, &west, &third] {
        assert_eq!(known(served).await, ["east", "third", "west"]);
        let snapshot = served.get("snapshot").await.data();
        assert_eq!(snapshot["controller"], controller, "one controls all: {snapshot}");
        assert_eq!(snapshot["regions"]["third"]["managed_by"], Value::Null, "no file declares it: {snapshot}");
    }
    assert_eq!(west.post("regions", &body).await.status, StatusCode::OK, "a repeat");
    // The same of the region that is asked, with its own words, and with others.
    let itself = json!({ "name": "west", "location": "west", "api_endpoint": west.origin });
    assert_eq!(west.post("regions", &itself).await.status, StatusCode::OK);
    let renamed = json!({ "name": "West 1", "location": "west", "api_endpoint": west.origin });
    let renamed = west.post("regions", &renamed).await;
    assert_eq!((renamed.status, renamed.code().as_str()), (StatusCode::CONFLICT, "conflict"), "{renamed:?}");
    assert!(renamed.json()["data"]["help"].as_str().unwrap().contains("declare it in a topology file"), "{renamed:?}");

    // It takes part from now on: it is paired, keeps copies, and is failed over to.
    let pair = json!({ "source_region_id": "west", "target_region_id": "third", "resource_types": ["vm"] });
    assert_eq!(west.post("replication/setup", &pair).await.status, 201);
    lab.write("west/resources/vm/new/disk.raw", &noise(100_000));
    let vm = json!({ "vm_id": "new", "primary_region_id": "west", "replica_regions": ["third"] });
    assert_eq!(west.post("vms/replicate", &vm).await.status, 201);
    let sync = json!({ "resource_id": "new", "source_region_id": "west", "target_region_id": "third" });
    assert_eq!(west.post("replication/sync", &sync).await.status, 200);
    let moved =
        west.post("failover/execute", &execute("west", "third", &json!({ "resources": ["new"], "wait": true }))).await;
    assert_eq!((moved.status.as_u16(), &moved.data()["success"]), (201, &json!(true)), "{moved:?}");
    assert_eq!(fs::read(lab.path("third/resources/vm/new/disk.raw")).unwrap(), noise(100_000));
}

#[tokio::test]
async fn a_region_that_is_gone_keeps_nobody_from_registering_its_successor() {
    let lab = Lab::new();
    let (east, west, third) = controlled(&lab).await;
    let listen = east.origin.strip_prefix("http://").unwrap().to_owned();
    east.end().await;
    let body = registration("third", &third.origin);
    let made = west.post("regions", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let unheard = made.data()["unheard"].clone();
    assert!(unheard["east"].as_str().unwrap().contains("refused"), "{unheard}");
    assert_eq!(unheard.as_object().unwrap().len(), 1);
    assert_eq!(known(&third).await, ["east", "third", "west"], "it is told of the one that is gone, too");

    let east = lab.serve_as(Given { listen: Some(listen), ..lab.given("east") }, None).await;
    assert_eq!(known(&east).await, ["east", "west"]);
    let again = west.post("regions", &body).await;
    assert_eq!((again.status, &again.data()["unheard"]), (StatusCode::OK, &json!({})), "{again:?}");
    assert_eq!(known(&east).await, ["east", "third", "west"]);

    // Whoever controls nothing asks all of them.
    let fresh = Lab::new();
    let (one, other) = (fresh.serve("one").await, fresh.serve("other").await);
    for (name, served) in [("one", &one), ("other", &other)] {
        assert_eq!(one.post("regions", &registration(name, &served.origin)).await.status, 201);
    }
    other.end().await;
    let late = fresh.serve("late").await;
    let refused = one.post("regions", &registration("late", &late.origin)).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "unreachable"), "{refused:?}");
    assert!(refused.json()["message"].as_str().unwrap().starts_with("region other: "), "{refused:?}");
    assert_eq!(late.get("snapshot").await.data()["identity"], Value::Null);
}
