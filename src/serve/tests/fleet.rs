//! What a region says of the fleet: the guide's questions.

use super::watch::{policy, refused, registered};
use super::*;

/// Three regions that know each other, one of which nobody answers for.
async fn three(lab: &Lab) -> (Served, Served) {
    lab.write("east/resources/vm/web/web.xml", b"<domain/>");
    lab.write("east/resources/vm/web/disk.raw", &noise(3 << 20));
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    let gone = refused().await;
    for served in [&east, &west] {
        let records: Vec<_> = [("east", &east.origin), ("west", &west.origin), ("gone", &gone)]
            .map(|(name, origin)| registered(name, origin, policy()))
            .into_iter()
            .chain([pair_record(), resource_record()])
            .collect();
        served.registers(lab, &records).await;
    }
    (east, west)
}

fn pair_record() -> RecordChange {
    let spec = crate::model::topology::PairSpec {
        resource_types: BTreeSet::from([crate::model::ResourceType::Vm]),
        sync_interval: Duration::from_secs(300),
        batch_size: 100,
        priority: 1,
        enabled: true,
        bidirectional: false,
        compression: true,
        bandwidth_limit: None,
        paused: false,
    };
    record("replication.east.west", Spec::Replication(spec))
}

#[tokio::test]
async fn health_is_asked_now_and_told_with_its_evidence() {
    let lab = Lab::new();
    let (_east, west) = three(&lab).await;
    let told = west.step("regions/east/health").await.data();
    assert_eq!((told["region_id"].as_str(), told["observer"].as_str()), (Some("east"), Some("west")));
    assert_eq!(told["status"], "healthy", "{told}");
    assert!(told["latency_ms"].as_f64().unwrap() > 0.0 && told["last_heartbeat"].is_string(), "{told}");
    let gone = west.step("regions/gone/health").await.data();
    assert_eq!((gone["status"].as_str(), gone["latency_ms"].as_f64()), (Some("unreachable"), None), "{gone}");
    assert!(gone["failures"].as_u64().unwrap() >= 1 && gone["silent_for"].is_string(), "{gone}");
    assert!(gone["failure"].as_str().unwrap().contains("refused"), "{gone}");
    let own = west.step("regions/west/health").await.data();
    assert_eq!((own["status"].as_str(), own["last_seen"].as_str()), (Some("healthy"), Some("0s")), "{own}");
    let nobody = west.step("regions/nobody/health").await;
    assert_eq!((nobody.status, nobody.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    let wrong = west.step("regions/..%2fetc/health").await;
    assert_eq!((wrong.status, wrong.json()["data"]["field"].as_str().unwrap()), (StatusCode::BAD_REQUEST, "id"));
}

#[tokio::test]
async fn regions_are_listed_with_what_they_say_of_themselves() {
    let lab = Lab::new();
    let (_east, west) = three(&lab).await;
    for region in ["east", "gone"] {
        west.step(&format!("regions/{region}/health")).await.data();
    }
    let all = west.get("regions").await.data();
    let by = |name: &str| all.as_array().unwrap().iter().find(|state| state["region_id"] == name).unwrap().clone();
    assert_eq!(all.as_array().unwrap().len(), 3, "{all}");
    let (east, own, gone) = (by("east"), by("west"), by("gone"));
    assert_eq!((east["status"].as_str(), east["current_vms"].as_u64()), (Some("healthy"), Some(1)), "{east}");
    assert_eq!((own["current_vms"].as_u64(), own["resources_replica"].as_u64()), (Some(0), Some(1)), "{own}");
    assert_eq!((gone["status"].as_str(), gone["current_vms"].as_u64()), (Some("unreachable"), None), "{gone}");
    assert!(gone["reason"].as_str().unwrap().contains("refused"), "{gone}");

    let names = |data: Value| -> Vec<String> {
        data.as_array().unwrap().iter().map(|state| state["region_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(west.get("regions?status=unreachable").await.data()), ["gone"]);
    assert_eq!(names(west.get("regions?status=healthy").await.data()), ["east", "west"]);
    assert!(names(west.get("regions?status=recovering").await.data()).is_empty());
    for (query, field) in [("status=well", "status"), ("status=", "status"), ("state=healthy", "query")] {
        let wrong = west.get(&format!("regions?{query}")).await;
        let told = (wrong.status, wrong.code(), wrong.json()["data"]["field"].clone());
        assert_eq!(told, (StatusCode::BAD_REQUEST, "bad_request".to_owned(), json!(field)), "{query}");
    }
    assert_eq!(west.get("regions/east").await.data()["current_vms"], 1);
    assert_eq!(west.get("regions/nobody").await.code(), "not_found");

    let stats = west.get("regions/east/stats").await.data();
    assert_eq!((stats["utilization_percent"].as_f64(), stats["resources_primary"].as_u64()), (Some(100.0), Some(1)));
    assert_eq!(west.get("regions/nobody/stats").await.code(), "not_found");
    let global = west.get("stats").await.data();
    assert_eq!((global["total_regions"].as_u64(), global["healthy_regions"].as_u64()), (Some(3), Some(2)), "{global}");
    assert_eq!((global["unreachable_regions"].as_u64(), global["total_resources"].as_u64()), (Some(1), Some(1)));
    assert_eq!(global["utilization_percent"], 50.0, "{global}");
}

#[tokio::test]
async fn a_copy_shows_in_its_status_and_measures_the_link() {
    let lab = Lab::new();
    let (east, west) = three(&lab).await;
    let status = west.get("replication/web/status").await.data();
    assert_eq!(
        (status["primary_region"].as_str(), &status["replicas"]["west"]["status"]),
        (Some("east"), &json!("out_of_sync"))
    );
    assert_eq!(status["replicas"]["west"]["health"], "pending", "{status}");
    let fetch = crate::wire::call::Fetch { order: lab.order(), options: Default::default() };
    let rate = async |path: &str| west.get(path).await.data()["resources_synced_per_minute"].as_f64();
    assert_eq!((rate("regions/west/stats").await, rate("stats").await), (Some(0.0), Some(0.0)));
    west.post("syncs", &fetch).await.data();
    // One copy within the hour; of the other region it says what that one says of itself.
    assert_eq!((rate("regions/west/stats").await, rate("stats").await), (Some(1.0 / 60.0), Some(1.0 / 60.0)));
    west.step("regions/east/health").await.data();
    assert_eq!(rate("regions/east").await, Some(0.0));
    east.step("regions/west/health").await.data();
    assert_eq!(east.get("regions/west/stats").await.data()["resources_synced_per_minute"].as_f64(), Some(1.0 / 60.0));
    tokio::time::sleep(Duration::from_millis(50)).await;
    for served in [&east, &west] {
        let status = served.get("replication/web/status").await.data();
        assert_eq!(status["replicas"]["west"]["status"], "in_sync", "{status}");
        assert_eq!(status["replicas"]["west"]["replica_id"], "web");
    }
    let mbps = west.get("regions/east").await.data()["bandwidth_mbps"].as_f64().unwrap();
    assert!(mbps > 1.0, "{mbps}");
    // Nothing came from it; what came to it says how it is connected.
    assert_eq!(west.get("regions/west").await.data()["bandwidth_mbps"].as_f64(), Some(mbps));
    west.end().await;
    let west = lab.serve("west").await;
    west.step("regions/east/health").await.data();
    assert_eq!(west.get("regions/east/stats").await.data()["bandwidth_mbps"].as_f64(), Some(mbps), "it is kept");
    assert_eq!(west.get("replication/nothing/status").await.code(), "not_found");
}

#[tokio::test]
async fn the_status_of_one_resource_costs_a_look_at_that_one_alone() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let lab = Lab::new();
    for name in ["web", "other"] {
        lab.write(&format!("east/resources/vm/{name}/disk.raw"), b"disk");
    }
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    lab.born(&east, &east.origin).await;
    // Somebody in its place notes what it is asked.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    lab.born(&west, &format!("http://{}", listener.local_addr().unwrap())).await;
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut line = String::new();
            let _ = BufReader::new(stream).read_line(&mut line).await;
            notes.lock().unwrap().push(line);
        }
    });
    let status = west.get("replication/web/status").await.data();
    assert_eq!(status["replicas"]["west"]["status"], "unknown", "{status}");
    let asked: Vec<String> = asked.lock().unwrap().iter().filter(|line| line.contains("snapshot")).cloned().collect();
    assert_eq!(asked, ["GET /api/v1/snapshot?resource=vm.web HTTP/1.1\r\n"]);

    let names = |part: &Value| part.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let whole = east.get("snapshot").await.data();
    assert_eq!(
        (names(&whole["contents"]), names(&whole["regions"])),
        (vec!["vm.other".into(), "vm.web".into()], vec!["east".into()])
    );
    let one = east.get("snapshot?resource=vm.web").await.data();
    assert_eq!(
        (names(&one["contents"]), names(&one["resources"])),
        (vec!["vm.web".to_owned()], vec!["vm.web".to_owned()])
    );
    assert_eq!((&one["contents"]["vm.web"], &one["resources"]), (&whole["contents"]["vm.web"], &whole["resources"]));
    assert!(names(&one["regions"]).is_empty(), "{one}");
    let none = east.get("snapshot?resource=vm.nothing").await.data();
    assert!(names(&none["contents"]).is_empty() && names(&none["resources"]).is_empty(), "{none}");
    // What is recorded is told without a look at files; only of a place that nobody founded do they tell what it was.
    let records = east.get("snapshot?records=true").await.data();
    assert!(names(&records["contents"]).is_empty(), "{records}");
    assert_eq!((&records["resources"], &records["regions"]), (&whole["resources"], &whole["regions"]));
    assert_eq!((&records["identity"], &records["serial"]), (&whole["identity"], &whole["serial"]));
    assert_eq!(names(&records["sightings"]), names(&whole["sightings"]));
    assert_eq!(east.get("snapshot?records=false").await.data()["contents"], whole["contents"]);
    for wrong in ["resource=web", "resource=", "pair=a", "records=yes", "resource=vm.web&records=true"] {
        let wrong = east.get(&format!("snapshot?{wrong}")).await;
        assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (400, "bad_request"), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_region_that_returns_is_recovering_until_its_copies_are_fresh() {
    let lab = Lab::new();
    let (east, west) = three(&lab).await;
    let fetch = || crate::wire::call::Fetch { order: lab.order(), options: Default::default() };
    west.post("syncs", &fetch()).await.data();
    let origin = east.origin.clone();
    east.end().await;
    west.sees_in_the_end(|seen| seen.get("east").is_some_and(|east| east.failures >= 3)).await;
    let again = Given { listen: Some(origin.trim_start_matches("http://").to_owned()), ..lab.given("east") };
    let _east = lab.serve_as(again, None).await;
    west.sees_in_the_end(|seen| seen["east"].status.as_str() == "recovering").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(west.get("regions/east").await.data()["status"], "recovering", "its copy is older than its return");
    west.post("syncs", &fetch()).await.data();
    west.sees_in_the_end(|seen| seen["east"].status.as_str() == "healthy").await;
}
