//! A region that fetches by itself from another server.

use super::*;
use crate::model::BitRate;
use crate::replica::transfer::SyncOptions;
use crate::wire::call::Fetch;

fn fetch(lab: &Lab) -> Fetch {
    Fetch { order: lab.order(), options: SyncOptions::default() }
}

/// A disk of which several requests are needed, so that a fetch can be slowed down between them.
pub(super) const LARGE: usize = 24 << 20;

/// A fetch that takes a minute for a [`LARGE`] disk.
pub(super) fn slowly(lab: &Lab) -> Fetch {
    Fetch { options: SyncOptions { bandwidth_limit: Some(BitRate(2_800_000)), ..SyncOptions::default() }, ..fetch(lab) }
}

#[tokio::test]
async fn a_resource_is_fetched_with_progress() {
    let lab = Lab::new();
    let disk = noise(3 << 20);
    let (_east, west) = lab.pair(&disk).await;
    let key = Uuid::from_u128(1);
    let body = fetch(&lab);
    let begun = west.begin("syncs", key, 0, &body).await;
    assert!(matches!(begun.status.as_u16(), 200 | 202), "{begun:?}");
    let done = west.until(key, |operation| operation["state"] == "done").await;
    assert_eq!(done["kind"], "sync");
    assert_eq!(done["result"]["published"]["new"], true, "{done}");
    assert!(done["progress"]["stage"].is_string(), "{done}");
    assert_eq!(fs::read(lab.path("west/resources/vm/web/disk.raw")).unwrap(), disk);

    // The same again: another order that finds nothing to do.
    let again = west.post("syncs", &fetch(&lab)).await.data();
    assert_eq!((&again["published"]["new"], again["bytes"].as_u64()), (&json!(false), Some(0)), "{again}");
}

#[tokio::test]
async fn a_repeat_finds_the_same_work_and_another_body_does_not() {
    let lab = Lab::new();
    let (east, west) = lab.pair(&noise(LARGE)).await;
    let (key, body) = (Uuid::from_u128(1), slowly(&lab));
    let first = west.begin("syncs", key, 0, &body).await;
    assert_eq!(first.status, 202);
    assert_eq!(first.headers["location"], format!("/api/v1/operations/{key}"));
    assert_eq!(first.data()["id"], key.to_string());
    let repeat = west.begin("syncs", key, 0, &body).await;
    assert_eq!((repeat.status, repeat.data()["state"].clone()), (StatusCode::ACCEPTED, json!("running")));
    let other = west.begin("syncs", key, 0, &fetch(&lab)).await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (409, "conflict"));
    let elsewhere = west.begin("readings", key, 0, &OpenReading { order: lab.order(), full: false }).await;
    assert_eq!(elsewhere.status, 409);

    // Stopped, it says so, and goes on from what it has.
    west.until(key, |operation| operation["progress"]["bytes_done"].as_u64() > Some(0)).await;
    let asked = west.send(west.client.delete(west.url(&format!("operations/{key}")))).await.data();
    assert_eq!(asked["id"], key.to_string());
    let failed = west.until(key, |operation| operation["state"] == "failed").await;
    assert_eq!(failed["error"]["code"], "interrupted", "{failed}");
    assert!(failed["error"]["bytes"].as_u64() > Some(0), "{failed}");
    let ended = west.begin("syncs", key, 0, &body).await;
    assert_eq!((ended.status.as_u16(), ended.code().as_str()), (503, "interrupted"), "the same answer for ever");
    let resumed = west.post("syncs", &fetch(&lab)).await.data();
    assert!(resumed["resumed"].as_u64() > Some(0), "{resumed}");
    assert_eq!(resumed["published"]["new"], true);
    east.end().await;
}

#[tokio::test]
async fn a_second_fetch_takes_over_from_the_first() {
    let lab = Lab { at_once: 1, ..Lab::new() };
    let disk = noise(LARGE);
    let (_east, west) = lab.pair(&disk).await;
    let key = Uuid::from_u128(1);
    west.begin("syncs", key, 0, &slowly(&lab)).await.data();
    west.until(key, |operation| operation["progress"]["bytes_done"].as_u64() > Some(0)).await;
    let second = west.post("syncs", &fetch(&lab)).await.data();
    assert!(second["resumed"].as_u64() > Some(0), "{second}");
    let first = west.get(&format!("operations/{key}")).await.data();
    assert_eq!(first["error"]["code"], "interrupted", "{first}");
    assert_eq!(fs::read(lab.path("west/resources/vm/web/disk.raw")).unwrap(), disk);
}

#[tokio::test]
async fn a_source_that_cannot_be_asked_is_named() {
    let lab = Lab::new();
    let (east, west) = lab.pair(b"disk").await;
    let refused = async |change: fn(&mut SyncOrder), words: &str| {
        let mut body = fetch(&lab);
        change(&mut body.order);
        let answer = west.post("syncs", &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "region"), "{answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{words}: {message}");
    };
    refused(|order| order.source = id("north"), "no record of region north").await;
    refused(|order| order.target = id("east"), "this is west").await;
    let mut region = lab.authority();
    region.operation = OperationId(Uuid::from_u128(5));
    let change = RecordChangeBody::from(&region_record("south", "file:/srv/south"));
    west.post("records", &Recording { authority: region, changes: vec![change] }).await.data();
    refused(|order| order.source = id("south"), "is not served").await;
    east.end().await;
    assert_eq!(west.get("health").await.status, 200);
}

#[tokio::test]
async fn a_fetch_carries_this_regions_credentials() {
    use std::os::unix::fs::PermissionsExt;
    let mut lab = Lab::new();
    lab.write("east/resources/vm/web/web.xml", b"<domain/>");
    lab.write("tokens", b"of-west\n");
    fs::set_permissions(lab.path("tokens"), fs::Permissions::from_mode(0o600)).unwrap();
    let bearer =
        reqwest::header::HeaderMap::from_iter([(reqwest::header::AUTHORIZATION, "Bearer of-west".parse().unwrap())]);
    let knowing = reqwest::Client::builder().default_headers(bearer).build().unwrap();
    let given = Given { token_file: Some(lab.path("tokens")), ..lab.given("east") };
    let east = lab.serve_as(given, Some(knowing)).await;
    lab.born(&east, &east.origin).await;

    let bare = lab.serve("west").await;
    lab.born(&bare, &east.origin).await;
    let refused = bare.post("syncs", &fetch(&lab)).await;
    assert_eq!(refused.code(), "region", "{refused:?}");
    assert!(refused.json()["message"].as_str().unwrap().contains("401"), "{refused:?}");
    bare.end().await;

    let path = lab.path("credentials.toml");
    fs::write(&path, format!("[origins.\"{}\"]\ntoken = \"of-west\"\n", east.origin)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    lab.credentials = crate::config::credentials::load(&path).unwrap();
    let west = lab.serve("west").await;
    assert_eq!(west.post("syncs", &fetch(&lab)).await.data()["published"]["new"], true);
}
