//! Pairs whose copies rest.

use super::failover::protected;
use super::*;

async fn status_at(served: &Served) -> Value {
    served.get("replication/web/status").await.data()["replication_status"].clone()
}

#[tokio::test]
async fn a_pair_is_paused_and_goes_on_at_both_of_its_ends() {
    let lab = Lab::new();
    let (east, west) = protected(&lab).await;
    let pair = json!({ "source_region_id": "east", "target_region_id": "west" });
    assert_eq!(status_at(&west).await, json!({ "west": "in_sync" }));
    // Whichever region is asked.
    let paused = west.post("replication/pause", &pair).await;
    assert_eq!(paused.status, 200, "{paused:?}");
    assert_eq!((&paused.data()["paused"], &paused.data()["sync_interval_seconds"]), (&json!(true), &json!(300)));
    for served in [&east, &west] {
        assert_eq!(status_at(served).await, json!({ "west": "paused" }));
        let snapshot = served.get("snapshot").await.data();
        assert_eq!(snapshot["pairs"]["east.west"]["spec"]["paused"], true, "{snapshot}");
    }
    assert_eq!(east.post("replication/pause", &pair).await.data()["paused"], true, "a repeat finds it so");
    // Its settings are still what they were, and a copy by name is made.
    let set_up = json!({ "source_region_id": "east", "target_region_id": "west", "resource_types": ["vm"],
                         "bidirectional": true });
    let again = east.post("replication/setup", &set_up).await;
    assert_eq!((again.status.as_u16(), &again.data()["paused"]), (200, &json!(true)), "{again:?}");
    lab.write("east/resources/vm/web/disk.raw", &noise(200_001));
    let sync = json!({ "resource_id": "web", "source_region_id": "east", "target_region_id": "west" });
    assert_eq!(east.post("replication/sync", &sync).await.status, 200);
    assert_eq!(fs::read(lab.path("west/resources/vm/web/disk.raw")).unwrap(), noise(200_001));
    assert_eq!(status_at(&east).await, json!({ "west": "paused" }));

    assert_eq!(east.post("replication/resume", &pair).await.data()["paused"], false);
    for served in [&east, &west] {
        assert_eq!(status_at(served).await, json!({ "west": "in_sync" }));
    }
}

#[tokio::test]
async fn what_is_not_there_or_declared_elsewhere_is_not_paused() {
    let lab = Lab::new();
    let (east, _west) = protected(&lab).await;
    let pair = |source: &str, target: &str| json!({ "source_region_id": source, "target_region_id": target });
    let told = |answered: &Answered| {
        let data = answered.json()["data"].clone();
        (answered.status.as_u16(), answered.code(), data["field"].clone(), data["help"].clone())
    };
    let unknown = east.post("replication/pause", &pair("west", "east")).await;
    let (status, code, field, help) = told(&unknown);
    assert_eq!((status, code.as_str(), &field), (404, "not_found", &json!("target_region_id")), "{unknown:?}");
    assert!(help.as_str().unwrap().contains("east"), "{help}");
    let nobody = east.post("replication/resume", &pair("east", "no")).await;
    assert_eq!(told(&nobody).2, "target_region_id", "{nobody:?}");

    // A topology declares it: what it says would come back with the next apply.
    let fresh = Lab::new();
    let (east, west) = (fresh.serve("east").await, fresh.serve("west").await);
    let spec = crate::model::topology::PairSpec {
        resource_types: BTreeSet::from([crate::model::ResourceType::Vm]),
        ..Default::default()
    };
    for served in [&east, &west] {
        let regions = [region_record("east", &east.origin), region_record("west", &west.origin)];
        let records: Vec<_> =
            regions.into_iter().chain([record("replication.east.west", Spec::Replication(spec.clone()))]).collect();
        served.registers(&fresh, &records).await;
    }
    let declared = west.post("replication/pause", &pair("east", "west")).await;
    let (status, code, _, help) = told(&declared);
    assert_eq!((status, code.as_str()), (409, "refused"), "{declared:?}");
    assert!(help.as_str().unwrap().contains("`debvisor-region replication pause east west --apply`"), "{help}");
    assert_eq!(west.get("snapshot").await.data()["pairs"]["east.west"]["spec"].get("paused"), None);
}

#[tokio::test]
async fn a_region_asked_of_a_pair_that_is_not_its_own_knows_that_it_rests() {
    let lab = Lab::new();
    lab.write("east/resources/vm/web/disk.raw", &noise(100_000));
    let (east, west, far) = (lab.serve("east").await, lab.serve("west").await, lab.serve("far").await);
    for (name, served) in [("east", &east), ("west", &west), ("far", &far)] {
        let body = json!({ "name": name, "location": name, "api_endpoint": served.origin });
        assert_eq!(east.post("regions", &body).await.status, 201);
    }
    for target in ["west", "far"] {
        let pair = json!({ "source_region_id": "east", "target_region_id": target, "resource_types": ["vm"],
                           "sync_interval_seconds": 60 });
        assert_eq!(east.post("replication/setup", &pair).await.status, 201);
    }
    let vm = json!({ "vm_id": "web", "primary_region_id": "east", "replica_regions": ["west", "far"] });
    assert_eq!(east.post("vms/replicate", &vm).await.status, 201);
    for target in ["west", "far"] {
        let sync = json!({ "resource_id": "web", "source_region_id": "east", "target_region_id": target });
        assert_eq!(east.post("replication/sync", &sync).await.status, 200);
    }
    let pair = json!({ "source_region_id": "east", "target_region_id": "west" });
    assert_eq!(far.post("replication/pause", &pair).await.status, 200);
    for served in [&east, &west, &far] {
        assert_eq!(status_at(served).await, json!({ "west": "paused", "far": "in_sync" }));
        let replicas = served.get("replication/web/status").await.data()["replicas"].clone();
        assert_eq!(replicas["west"]["promise"], "3m", "of the pair that feeds it: {replicas}");
    }
}
