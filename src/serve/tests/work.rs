//! Operations, leases, and the end of a server.

use super::calls::hashes;
use super::fetches::{LARGE, slowly};
use super::*;
use crate::replica::port::{BlockAddress, Reading, Receiving, Source};
use crate::wire::blocks::Packed;
use crate::wire::call::{BlockHashes, GroupHashes, GroupRun, Groups, OpenReceiving, Publish, WantedBlocks};

#[tokio::test]
async fn a_reading_begun_twice_under_one_key_is_one_reading() {
    let lab = Lab::new();
    let (east, _west) = lab.pair(b"disk").await;
    let (key, body) = (Uuid::from_u128(3), OpenReading { order: lab.order(), full: false });
    let first = east.begin("readings", key, 5, &body).await;
    assert_eq!(first.status, 200, "it was short");
    let repeat = east.begin("readings", key, 5, &body).await;
    assert_eq!(repeat.data()["session"], first.data()["session"]);
    let other = east.begin("readings", Uuid::from_u128(4), 5, &body).await;
    assert_ne!(other.data()["session"], first.data()["session"]);
    let shown = east.get(&format!("operations/{key}")).await.data();
    assert_eq!((shown["state"].clone(), shown["result"].clone()), (json!("done"), first.data()));
    assert_eq!(east.get(&format!("operations/{}", Uuid::from_u128(5))).await.code(), "not_found");
}

/// Asks the same under one key three times, two of them at once; all are told the same.
async fn thrice(served: &Served, path: &str, key: u128, body: Vec<u8>, kind: &str) -> Value {
    let key = Uuid::from_u128(key).to_string();
    let ask = || {
        let request = served.client.post(served.url(path)).header("idempotency-key", &key);
        let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
        served.send(request.body(body.clone()))
    };
    let (one, two) = tokio::join!(ask(), ask());
    let three = ask().await.data();
    assert_eq!((one.data(), two.data()), (three.clone(), three.clone()), "{path}");
    three
}

#[tokio::test]
async fn what_a_receiving_is_asked_again_under_one_key_is_told_again() {
    const JSON: &str = "application/json";
    let lab = Lab::new();
    // More than is wanted at once.
    let disk = noise(3 << 20);
    let (east, west) = lab.pair(&disk).await;
    let reading: Reading = serde_json::from_value(east.open_reading(&lab).await).unwrap();
    let open = OpenReceiving { order: lab.order(), reading: reading.clone(), accept_change: false };
    let receiving: Receiving = serde_json::from_value(west.post("receivings", &open).await.data()).unwrap();
    let (from, to) = (format!("readings/{}", reading.session), format!("receivings/{}", receiving.session));
    let mut keys = 100..;
    let mut key = || keys.next().unwrap();
    for file in receiving.compare {
        let found = east.post(&format!("{from}/group-hashes"), &GroupRun { file, first: 0, count: 1 }).await;
        let given = json!(GroupHashes { file, first: 0, hashes: hashes(&found.body) }).to_string().into_bytes();
        assert_eq!(thrice(&west, &format!("{to}/groups"), key(), given.clone(), JSON).await, json!([0]));
        let unnamed = west.post(&format!("{to}/groups"), &serde_json::from_slice::<Value>(&given).unwrap()).await;
        assert_eq!(unnamed.code(), "corrupt", "without a key it is another question");
        let found = east.post(&format!("{from}/block-hashes"), &Groups { file, groups: vec![0] }).await;
        let given = json!(BlockHashes { file, groups: vec![0], hashes: hashes(&found.body) }).to_string().into_bytes();
        assert_eq!(thrice(&west, &format!("{to}/expect"), key(), given, JSON).await, Value::Null);
    }
    let survey = west.step(&format!("{to}/survey")).await.data();
    let mut travelled = 0;
    loop {
        let wanted = thrice(&west, &format!("{to}/wanted"), key(), Vec::new(), "").await;
        let wanted: Vec<BlockAddress> = serde_json::from_value(wanted).unwrap();
        if wanted.is_empty() {
            break;
        }
        let packed = east.post(&format!("{from}/blocks"), &WantedBlocks { wanted, compress: true }).await.body;
        let unpacked = Packed::read([packed.clone().into()]).and_then(|packed| packed.unpack()).unwrap();
        travelled += unpacked.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let last = key();
        let written = thrice(&west, &format!("{to}/blocks"), last, packed, "application/octet-stream").await;
        assert_eq!(written, Value::Null);
        let wanted = west.client.post(west.url(&format!("{to}/wanted")));
        let other = west.send(wanted.header("idempotency-key", Uuid::from_u128(last).to_string())).await;
        assert_eq!((other.status.as_u16(), other.code().as_str()), (409, "conflict"), "the key is another question's");
    }
    assert_eq!(survey["wanted"], travelled, "each block was asked for once");
    assert_eq!(east.step(&format!("{from}/close")).await.data(), "consistent");
    west.post(&format!("{to}/publish"), &Publish { verified_at: reading.read_at }).await.data();
    assert_eq!(fs::read(lab.path("west/resources/vm/web/disk.raw")).unwrap(), disk);
    let gone = west.client.post(west.url(&format!("{to}/wanted"))).header("idempotency-key", Uuid::nil().to_string());
    assert_eq!(west.send(gone).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn sessions_that_nobody_uses_end() {
    let leases = Leases { reading: Duration::from_millis(400), receiving: Duration::from_millis(400) };
    let lab = Lab { leases, ..Lab::new() };
    let (east, west) = lab.pair(b"disk").await;
    let reading: Reading = serde_json::from_value(east.open_reading(&lab).await).unwrap();
    let open = OpenReceiving { order: lab.order(), reading: reading.clone(), accept_change: false };
    let receiving: Receiving = serde_json::from_value(west.post("receivings", &open).await.data()).unwrap();
    let run = json!({"file": 0, "first": 0, "count": 1});
    let path = format!("readings/{}/group-hashes", reading.session);
    let ask = || east.post(&path, &run);
    // As long as it is used it lives.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(ask().await.status, 200);
    }
    let wanted = west.step(&format!("receivings/{}/wanted", receiving.session)).await;
    assert_eq!((wanted.status.as_u16(), wanted.code().as_str()), (404, "region"), "nobody asked for long");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let gone = ask().await;
    assert_eq!((gone.status.as_u16(), gone.code().as_str()), (404, "region"));
    assert!(gone.json()["message"].as_str().unwrap().contains("not open any more"));
}

#[tokio::test]
async fn a_lease_that_runs_out_thaws() {
    let leases = Leases { reading: Duration::from_millis(300), ..Leases::default() };
    let lab = Lab { leases, ..Lab::new() };
    let log = lab.path("log");
    let script = format!(
        "[quiesce]\nsnapshot = [\"/bin/sh\", \"-c\", \"echo taken >> {0}; echo {{dir}}\"]\nrelease = [\"/bin/sh\", \
         \"-c\", \"echo released >> {0}\"]\n",
        log.display()
    );
    lab.write("east/.debvisor/config.toml", script.as_bytes());
    let (east, _west) = lab.pair(b"disk").await;
    let opened = east.post("readings", &OpenReading { order: lab.order(), full: false }).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "taken\n");
    let released = || fs::read_to_string(&log).unwrap() == "taken\nreleased\n";
    for _ in 0..100 {
        if released() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(released());
}

#[tokio::test]
async fn the_end_waits_for_answers_and_stops_transfers() {
    let lab = Lab::new();
    let disk = noise(LARGE);
    let (east, west) = lab.pair(&disk).await;
    let key = Uuid::from_u128(1);
    west.begin("syncs", key, 0, &slowly(&lab)).await.data();
    west.until(key, |operation| operation["progress"]["bytes_done"].as_u64() > Some(0)).await;
    // Somebody waits for news, somebody else for the end.
    let (client, url) = (west.client.clone(), west.url(&format!("operations/{key}?after=1000000&wait=20")));
    let polling = tokio::spawn(async move { client.get(url).send().await.unwrap().status() });
    let (client, url, body) = (west.client.clone(), west.url("syncs"), slowly(&lab));
    let request = client.post(url).json(&body).header("idempotency-key", Uuid::from_u128(1).to_string());
    let waiting = tokio::spawn(async move { request.send().await.unwrap().status() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (origin, began) = (west.origin.clone(), lab.world.clock.since_boot());
    west.end().await;
    assert!(lab.world.clock.since_boot() - began < Duration::from_secs(8));
    assert_eq!(polling.await.unwrap(), 200);
    assert!(matches!(waiting.await.unwrap().as_u16(), 409 | 503));
    assert!(reqwest::get(origin).await.is_err(), "nobody listens any more");

    // The region is free, and what arrived is still there.
    let region = lab.region("west");
    region.hold().await.unwrap();
    drop(region);
    let west = lab.serve("west").await;
    let report =
        west.post("syncs", &crate::wire::call::Fetch { options: Default::default(), ..slowly(&lab) }).await.data();
    assert!(report["resumed"].as_u64() > Some(0), "{report}");
    assert_eq!(fs::read(lab.path("west/resources/vm/web/disk.raw")).unwrap(), disk);
    east.end().await;
}

#[tokio::test]
async fn sessions_end_with_the_server() {
    let lab = Lab::new();
    let (east, _west) = lab.pair(b"disk").await;
    let reading: Reading = serde_json::from_value(east.open_reading(&lab).await).unwrap();
    east.end().await;
    let region = lab.region("east");
    assert!(region.group_hashes(reading.session, 0, 0, 1).await.is_err());
    region.hold().await.unwrap();
}

#[tokio::test]
async fn what_can_be_stopped_is_and_the_rest_says_why_not() {
    let lab = Lab::new();
    let disk = noise(96 << 20);
    let (east, west) = lab.pair(&disk).await;
    // Reading a whole disk takes long enough to be stopped in.
    let key = Uuid::from_u128(1);
    let open = OpenReading { order: lab.order(), full: true };
    let begun = east.begin("readings", key, 0, &open).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let stopped = east.send(east.client.delete(east.url(&format!("operations/{key}")))).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    let ended = east.until(key, |operation| operation["state"] != "running").await;
    assert_eq!((&ended["state"], &ended["error"]["code"]), (&json!("failed"), &json!("interrupted")), "{ended}");

    let reading = east.open_reading(&lab).await;
    let key = Uuid::from_u128(2);
    let request = east.client.post(east.url("resources/vm/web/verify")).header("idempotency-key", key.to_string());
    assert_eq!(east.send(request.header("prefer", "respond-async, wait=0")).await.status, 202);
    assert_eq!(east.send(east.client.delete(east.url(&format!("operations/{key}")))).await.status, 200);
    let ended = east.until(key, |operation| operation["state"] != "running").await;
    assert!(ended["state"] == "failed" && ended["message"].as_str().unwrap().contains("interrupted"), "{ended}");
    // What has ended is not stopped any more, nor what it opened.
    let reading: Reading = serde_json::from_value(reading).unwrap();
    let open = OpenReceiving { order: lab.order(), reading: reading.clone(), accept_change: false };
    let key = Uuid::from_u128(3);
    let receiving: Receiving = serde_json::from_value(west.begin("receivings", key, 20, &open).await.data()).unwrap();
    assert_eq!(west.send(west.client.delete(west.url(&format!("operations/{key}")))).await.status, 200);
    let lives = west.step(&format!("receivings/{}/checkpoint", receiving.session)).await;
    assert_eq!(lives.status, 200, "{lives:?}");

    // An order that waits for a region in the middle of its writes.
    let mute = super::watch::mute().await;
    let slow = crate::model::policy::HealthPolicy { timeout: Duration::from_secs(30), ..super::watch::policy() };
    let registered = super::watch::registered("mute", &mute, slow);
    let changes = vec![RecordChangeBody::from(&registered)];
    east.post("records", &Recording { authority: lab.authority(), changes }).await.data();
    let key = Uuid::from_u128(4);
    let order = json!({"source_region_id": "east", "target_region_id": "mute", "resource_types": ["vm"]});
    assert_eq!(east.begin("replication/setup", key, 0, &order).await.status, 202);
    let refused = east.send(east.client.delete(east.url(&format!("operations/{key}")))).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "unstoppable"));
    assert!(refused.json()["message"].as_str().unwrap().contains("several regions"), "{refused:?}");
    assert_eq!(east.get(&format!("operations/{key}")).await.data()["state"], "running");
    west.end().await;
}
