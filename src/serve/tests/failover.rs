//! Failovers over the guide's endpoints, of regions that start and stop nothing.

use super::*;

/// Two regions registered by hand, and `web` held at `east` with a copy at `west`.
pub(super) async fn protected(lab: &Lab) -> (Served, Served) {
    lab.write("east/resources/vm/web/web.xml", b"<domain/>");
    lab.write("east/resources/vm/web/disk.raw", &noise(200_000));
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    let regions = [("east", &east, true), ("west", &west, false)];
    for (name, served, primary) in regions {
        let body = json!({ "name": name, "location": name, "api_endpoint": served.origin, "is_primary": primary });
        assert_eq!(east.post("regions", &body).await.status, 201);
    }
    let pair = json!({ "source_region_id": "east", "target_region_id": "west", "resource_types": ["vm"],
                       "bidirectional": true });
    assert_eq!(east.post("replication/setup", &pair).await.status, 201);
    let vm = json!({ "vm_id": "web", "primary_region_id": "east", "replica_regions": ["west"] });
    assert_eq!(east.post("vms/replicate", &vm).await.status, 201);
    let sync = json!({ "resource_id": "web", "source_region_id": "east", "target_region_id": "west" });
    assert_eq!(east.post("replication/sync", &sync).await.status, 200);
    (east, west)
}

pub(super) fn execute(from: &str, to: &str, more: &Value) -> Value {
    let mut body = json!({ "from_region_id": from, "to_region_id": to });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn holder(served: &Served) -> String {
    served.get("snapshot").await.data()["resources"]["vm.web"]["holder"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_region_moves_what_another_holds_and_tells_of_it() {
    let lab = Lab::new();
    let (east, west) = protected(&lab).await;
    let dry = west.post("failover/execute", &execute("east", "west", &json!({ "dry_run": true }))).await;
    assert_eq!(
        (dry.status.as_u16(), &dry.data()["event_id"], &dry.data()["dry_run"]),
        (200, &Value::Null, &json!(true))
    );
    assert_eq!(dry.data()["proposal"]["outcome"], "goes", "{dry:?}");
    assert_eq!(holder(&west).await, "east");
    let controller = async |served: &Served| served.get("snapshot").await.data()["controller"].clone();
    assert_eq!(controller(&east).await, Value::Null, "who only judges controls nothing");

    // Nobody controls the regions yet: whoever is asked first becomes it, at all of them.
    let ordered = execute("east", "west", &json!({ "reason": "kernel", "wait": false }));
    let key = Uuid::from_u128(0x7a);
    let request =
        || west.client.post(west.url("failover/execute")).json(&ordered).header("idempotency-key", key.to_string());
    let begun = west.send(request()).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    assert_eq!(begun.headers["location"], format!("/api/v1/operations/{key}"));
    let ended = west.until(key, |operation| operation["state"] == "done").await;
    let done = &ended["result"];
    assert_eq!((&done["success"], &done["affected_resources"]), (&json!(true), &json!(1)), "{ended:#}");
    assert_eq!(done["event_id"], format!("evt-{key}"));
    assert_eq!((holder(&east).await, holder(&west).await), ("west".to_owned(), "west".to_owned()));
    for served in [&east, &west] {
        assert!(controller(served).await["place"].as_str().unwrap().starts_with("region west ("));
    }
    assert_eq!(fs::read(lab.path("west/resources/vm/web/disk.raw")).unwrap(), noise(200_000));
    // A repeat finds the same one, also at a server that remembers no request.
    assert_eq!(west.send(request()).await.data()["event_id"], done["event_id"]);
    west.end().await;
    let west = lab.serve("west").await;
    let again =
        west.client.post(west.url("failover/execute")).json(&ordered).header("idempotency-key", key.to_string());
    west.send(again.header("prefer", "respond-async, wait=20")).await.data();
    let again = west.until(key, |operation| operation["state"] == "done").await;
    assert_eq!((&again["result"]["event_id"], &again["result"]["timestamp"]), (&done["event_id"], &done["timestamp"]));
    let nothing = west.post("failover/execute", &execute("east", "west", &json!({}))).await;
    assert_eq!((nothing.status.as_u16(), &nothing.data()["affected_resources"]), (200, &json!(0)), "{nothing:?}");

    // Each region that took part tells of it.
    for served in [&east, &west] {
        let told = served.get("failover/history?region_id=east&limit=5").await.data();
        let [event] = told.as_array().unwrap().as_slice() else { panic!("{told:#}") };
        assert_eq!((&event["event_id"], &event["success"]), (&done["event_id"], &json!(true)), "{event:#}");
        assert_eq!((&event["reason"], &event["outcome"]), (&json!("kernel"), &json!("completed")), "{event:#}");
        assert!(event["by"].as_str().unwrap().starts_with("region west ("), "{event:#}");
        assert_eq!(served.get("failover/history?region_id=north").await.data(), json!([]));
        assert_eq!(served.get("failover/history?limit=0").await.code(), "bad_request");
    }
}

#[tokio::test]
async fn what_is_refused_says_which_gate_and_what_lets_it_pass() {
    let lab = Lab::new();
    let (east, west) = protected(&lab).await;
    let taken = west.post("failover/execute", &execute("east", "west", &json!({ "take_over": true }))).await;
    assert_eq!((taken.status.as_u16(), &taken.data()["success"]), (201, &json!(true)), "{taken:?}");
    // The other one is told who controls, and where.
    let refused = east.post("failover/execute", &execute("west", "east", &json!({}))).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "not_controller"));
    let data = refused.json()["data"].clone();
    assert!(data["controller"]["place"].as_str().unwrap().starts_with("region west ("), "{data:#}");
    assert!(data["detail"].as_str().unwrap().contains("region west ("), "{data:#}");

    assert_eq!(west.post("failover/execute", &execute("west", "east", &json!({}))).await.status, 201);
    east.end().await;
    let refused = west.post("failover/execute", &execute("east", "west", &json!({}))).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "gates"), "{refused:?}");
    let data = refused.json()["data"].clone();
    let gates = data["gates"].as_array().unwrap();
    let fence = gates.iter().find(|gate| gate["gate"] == "fence").unwrap_or_else(|| panic!("{data:#}"));
    assert_eq!(fence["override"]["field"], "fenced", "{data:#}");
    assert!(fence["override"]["price"].is_string() && data["proposal"]["outcome"] == "refused", "{data:#}");
    let more = json!({ "fenced": "its power is off", "accept_data_loss": "1h" });
    let done = west.post("failover/execute", &execute("east", "west", &more)).await;
    assert_eq!((done.status.as_u16(), &done.data()["success"]), (201, &json!(true)), "{done:?}");
    let told = west.get("failover/history").await.data();
    let outcomes: Vec<&str> = told.as_array().unwrap().iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["completed", "refused", "completed", "completed"], "{told:#}");

    for (body, status, field) in [
        (execute("north", "west", &json!({})), 404, "from_region_id"),
        (execute("east", "north", &json!({})), 404, "to_region_id"),
        (execute("east", "west", &json!({ "strategy": "hopeful" })), 400, "strategy"),
        (execute("east", "west", &json!({ "force": true })), 400, "force"),
    ] {
        let told = west.post("failover/execute", &body).await;
        assert_eq!((told.status.as_u16(), told.json()["data"]["field"].as_str()), (status, Some(field)), "{told:?}");
    }
    let unfit = west.post("failover/execute", &execute("west", "west", &json!({}))).await;
    assert_eq!((unfit.status.as_u16(), unfit.code().as_str()), (422, "unfit"));
}
