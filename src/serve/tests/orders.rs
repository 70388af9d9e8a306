//! What a person orders of one region, and what becomes of it at all of them.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A way to `served` on which writes by hand get lost for as long as `loses` says.
async fn lossy_way_to(served: &Served, loses: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let to = served.origin.strip_prefix("http://").unwrap().to_owned();
    let one = |mut client: TcpStream, to: String, loses: Arc<AtomicBool>| async move {
        let mut head = vec![0; 64 << 10];
        let length = client.read(&mut head).await?;
        let text = String::from_utf8_lossy(&head[..length]).into_owned();
        if text.contains("records/by-hand") && loses.load(Ordering::SeqCst) {
            return Ok::<_, std::io::Error>(());
        }
        // One request a connection, so that each is looked at.
        let text = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let mut server = TcpStream::connect(to).await?;
        server.write_all(text.as_bytes()).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
    };
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(one(client, to.clone(), Arc::clone(&loses)));
        }
    });
    origin
}

#[tokio::test]
async fn an_order_that_was_cut_off_between_its_writes_is_completed_by_a_repeat_under_its_key() {
    let lab = Lab::new();
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    let loses = Arc::new(AtomicBool::new(false));
    let way = lossy_way_to(&west, Arc::clone(&loses)).await;
    let west_is = json!({ "name": "west", "location": "west", "api_endpoint": way });
    assert_eq!(east.post("regions", &registration("east", &east, true)).await.status, StatusCode::CREATED);
    assert_eq!(east.post("regions", &west_is).await.status, StatusCode::CREATED);
    // Whoever lost its way is asked again for a while.
    let ordered = async |served: &Served, path: &str, key: Uuid, body: &Value| {
        let request = served.client.post(served.url(path)).json(body).header("idempotency-key", key.to_string());
        served.send(request).await
    };
    let pairs = async |served: &Served| served.get("snapshot").await.data()["pairs"].as_object().unwrap().len();

    // It is written at the source, and is lost on the way to the target.
    loses.store(true, Ordering::SeqCst);
    let pair = json!({ "source_region_id": "east", "target_region_id": "west", "resource_types": ["vm"] });
    let key = Uuid::from_u128(1);
    let cut = ordered(&east, "replication/setup", key, &pair).await;
    assert_eq!((cut.status.as_u16(), cut.code().as_str()), (503, "unreachable"), "{cut:?}");
    assert_eq!((pairs(&east).await, pairs(&west).await), (1, 0));
    // Another order under the same key is none; the same one goes on, however often it is asked for.
    let mut other = pair.clone();
    other["priority"] = json!(7);
    assert_eq!(ordered(&east, "replication/setup", key, &other).await.status, 409);
    assert_eq!(ordered(&east, "replication/setup", key, &pair).await.status, 503);
    loses.store(false, Ordering::SeqCst);
    let made = ordered(&east, "replication/setup", key, &pair).await;
    assert_eq!((made.status, pairs(&west).await), (StatusCode::CREATED, 1), "{made:?}");
    assert_eq!(ordered(&east, "replication/setup", key, &pair).await.status, 200, "what was done is told again");

    // The same where the server itself is gone meanwhile, and remembers no key.
    let vm = json!({ "vm_id": "web", "primary_region_id": "east", "replica_regions": ["west"] });
    loses.store(true, Ordering::SeqCst);
    let key = Uuid::from_u128(2);
    assert_eq!(ordered(&east, "vms/replicate", key, &vm).await.status, 503);
    let listen = east.origin.strip_prefix("http://").unwrap().to_owned();
    east.end().await;
    loses.store(false, Ordering::SeqCst);
    let east = lab.serve_as(Given { listen: Some(listen), ..lab.given("east") }, None).await;
    assert_eq!(ordered(&east, "vms/replicate", key, &vm).await.status, 201);
    for served in [&east, &west] {
        let resources = served.get("snapshot").await.data()["resources"].clone();
        assert_eq!(resources["vm.web"]["holder"], "east", "{resources}");
    }
    assert_eq!(east.post("vms/replicate", &vm).await.status, 200, "another order finds it there");
}

fn registration(name: &str, served: &Served, primary: bool) -> Value {
    json!({ "name": name, "location": name, "api_endpoint": served.origin, "is_primary": primary })
}

/// Two regions that were never applied to, registered by hand at `east`.
async fn by_hand(lab: &Lab) -> (Served, Served) {
    lab.write("east/resources/vm/web/web.xml", b"<domain/>");
    lab.write("east/resources/vm/web/disk.raw", &noise(2 << 20));
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    assert_eq!(east.post("regions", &registration("west", &west, false)).await.status, StatusCode::CONFLICT);
    for (name, served, primary) in [("east", &east, true), ("west", &west, false)] {
        let made = east.post("regions", &registration(name, served, primary)).await;
        assert_eq!((made.status, made.data()["region_id"].as_str()), (StatusCode::CREATED, Some(name)), "{made:?}");
    }
    (east, west)
}

#[tokio::test]
async fn a_life_by_hand() {
    let lab = Lab::new();
    let (east, west) = by_hand(&lab).await;
    let again = east.post("regions", &registration("west", &west, false)).await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    let mut other = registration("west", &west, false);
    other["capacity_vms"] = json!(7);
    let other = east.post("regions", &other).await;
    assert_eq!((other.status, other.code().as_str()), (StatusCode::CONFLICT, "conflict"));
    for served in [&east, &west] {
        let snapshot = served.get("snapshot").await.data();
        assert_eq!(snapshot["regions"].as_object().unwrap().len(), 2, "each knows both: {snapshot}");
        assert_eq!((&snapshot["controller"], &snapshot["regions"]["west"]["managed_by"]), (&Value::Null, &Value::Null));
    }

    let vm = json!({ "vm_id": "web", "primary_region_id": "east", "replica_regions": ["west"] });
    let early = west.post("vms/replicate", &vm).await;
    assert!(early.status == StatusCode::CONFLICT && early.json()["message"].as_str().unwrap().contains("no pair"));
    let pair = json!({ "source_region_id": "east", "target_region_id": "west", "resource_types": ["vm", "config"],
                       "sync_interval_seconds": 300, "bidirectional": false });
    for (body, path) in [(&pair, "replication/setup"), (&vm, "vms/replicate")] {
        assert_eq!(west.post(path, body).await.status, StatusCode::CREATED, "{path}");
        assert_eq!(east.post(path, body).await.status, StatusCode::OK, "{path}");
    }
    let mut changed = pair.clone();
    changed["sync_interval_seconds"] = json!(60);
    assert_eq!(east.post("replication/setup", &changed).await.code(), "conflict");

    // The source is asked, and has the target fetch.
    let sync = json!({ "resource_id": "web", "source_region_id": "east", "target_region_id": "west" });
    let synced = east.post("replication/sync", &sync).await.data();
    assert_eq!((synced["success"].as_bool(), synced["bytes"].as_u64().unwrap() >= 2 << 20), (Some(true), true));
    let status = east.get("replication/web/status").await.data();
    assert_eq!(status["replicas"]["west"]["status"], "in_sync", "{status}");
    let key = lab.world.ids.random();
    let begun = west.begin("replication/sync", key, 0, &sync).await;
    assert!(begun.status == StatusCode::ACCEPTED || begun.status == StatusCode::OK, "{begun:?}");
    let done = west.until(key, |operation| operation["state"] == "done").await;
    assert_eq!((done["kind"].as_str(), done["result"]["resource_id"].as_str()), (Some("sync"), Some("web")));
    let backwards = json!({ "resource_id": "web", "source_region_id": "west", "target_region_id": "east" });
    assert!(
        east.post("replication/sync", &backwards).await.json()["message"].as_str().unwrap().contains("held by east")
    );

    let wrong = [
        ("regions", json!({ "name": "n", "location": "n", "api_endpoint": "file:/srv" }), 400, "api_endpoint"),
        ("regions", json!({ "name": "n", "location": "a b", "api_endpoint": "http://x" }), 400, "location"),
        ("regions", json!({ "name": "n", "api_endpoint": "http://x" }), 400, "location"),
        (
            "replication/setup",
            json!({ "source_region_id": "east", "target_region_id": "west", "resource_types": [] }),
            400,
            "resource_types",
        ),
        (
            "replication/setup",
            json!({ "source_region_id": "no", "target_region_id": "west", "resource_types": ["vm"] }),
            404,
            "source_region_id",
        ),
        (
            "vms/replicate",
            json!({ "vm_id": "x", "primary_region_id": "east", "replica_regions": ["no"] }),
            404,
            "replica_regions",
        ),
        (
            "vms/replicate",
            json!({ "vm_id": "x", "primary_region_id": "east", "replica_regions": [] }),
            400,
            "replica_regions",
        ),
        (
            "replication/sync",
            json!({ "resource_id": "no", "source_region_id": "east", "target_region_id": "west" }),
            404,
            "resource_id",
        ),
    ];
    for (path, body, status, field) in wrong {
        let told = east.post(path, &body).await;
        assert_eq!(
            (told.status.as_u16(), told.json()["data"]["field"].as_str()),
            (status, Some(field)),
            "{path} {body} {told:?}"
        );
    }
}

#[tokio::test]
async fn a_region_that_has_a_controller_leaves_the_registry_to_it() {
    let lab = Lab::new();
    let (east, west) = by_hand(&lab).await;
    // As a topology that is applied would.
    west.post("control", &lab.take_over()).await.data();
    let third = lab.serve("third").await;
    let told = east.post("regions", &registration("third", &third, false)).await;
    assert_eq!((told.status, told.code().as_str()), (StatusCode::CONFLICT, "not_controller"), "{told:?}");
    assert!(told.json()["message"].as_str().unwrap().contains("ops@host:/infra/state.db"), "{told:?}");
    assert!(told.json()["data"]["help"].as_str().unwrap().contains("change it from ops@host:/infra/state.db"));
    for served in [&east, &west] {
        let regions = served.get("snapshot").await.data()["regions"].clone();
        assert!(regions["third"].is_null(), "nothing was written anywhere: {regions}");
    }
    assert_eq!(third.get("snapshot").await.data()["identity"], Value::Null);
    // Neither roles nor the registry are touched by a pair.
    let pair = json!({ "source_region_id": "east", "target_region_id": "west", "resource_types": ["vm"] });
    assert_eq!(east.post("replication/setup", &pair).await.status, StatusCode::CREATED);
    let vm = json!({ "vm_id": "web", "primary_region_id": "east", "replica_regions": ["west"] });
    assert_eq!(east.post("vms/replicate", &vm).await.code(), "not_controller");
    assert!(east.get("snapshot").await.data()["resources"].as_object().unwrap().is_empty());
    // By hand over the call between programs neither, nor in somebody's name.
    let change = RecordChangeBody::from(&region_record("third", &third.origin));
    let named = west.post("records/by-hand", &json!({ "operation": Uuid::nil(), "changes": [change] })).await;
    assert_eq!((named.status, named.code().as_str()), (StatusCode::BAD_REQUEST, "bad_request"));
    let mut change = RecordChangeBody::from(&region_record("third", &third.origin));
    change.record.as_mut().unwrap().managed_by = None;
    let by_hand = west.post("records/by-hand", &json!({ "operation": Uuid::nil(), "changes": [change] })).await;
    assert_eq!(by_hand.code(), "not_controller");
}
