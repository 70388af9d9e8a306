//! Work that outlasts a request: begun, asked after, lost, forgotten, stopped.

use std::sync::Mutex;
use std::time::Duration;

use super::hostile::{Doing, Hostile, Seen, angry, answered, good};
use super::*;
use crate::live::port::{PortError, RegionPort};
use crate::model::point::{BlockReason, Point, PointKind, PointState, Refusal};
use crate::model::{ByteCount, Digest, Timestamp};
use crate::replica::port::{Published, ReadingEnd, Source, Target, TransferError};
use crate::replica::transfer::{SyncFailure, SyncOptions, SyncReport};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(5);

/// The operation that a request begins or asks after.
fn named(seen: &Seen) -> String {
    match seen.header("idempotency-key") {
        Some(key) => key.to_owned(),
        None => seen.line.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned(),
    }
}

fn operation(seen: &Seen, version: u64, more: Value) -> Value {
    let mut operation = json!({
        "id": named(seen), "kind": "sync", "state": "running", "version": version, "progress": null, "result": null,
        "error": null, "message": null
    });
    operation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    operation
}

fn report() -> Value {
    let at = Timestamp::from_micros(0);
    let point = Point {
        sequence: 3,
        name: None,
        data_hash: Digest([7; 32]),
        read_at: at,
        verified_at: at,
        source: "east".parse().unwrap(),
        epoch: Epoch::BIRTH,
        kind: PointKind::Cold,
        state: PointState::Complete,
        bytes: ByteCount(9),
        files: 1,
    };
    let published = Published { point, new: true, changed: ByteCount(9), set_aside: Vec::new() };
    let report = SyncReport {
        published,
        bytes: ByteCount(9),
        wire: Some(ByteCount(9)),
        travelled_for: Duration::ZERO,
        resumed: ByteCount(0),
        passes: 1,
        notes: Vec::new(),
    };
    serde_json::to_value(report).unwrap()
}

/// Told progress: stage, bytes done, in all.
type Told = Mutex<Vec<String>>;

async fn fetch(region: &HttpRegion, told: &Told, cancel: &CancellationToken) -> Result<SyncReport, SyncFailure> {
    let tell = |stage: crate::replica::transfer::Stage, done: ByteCount, total: Option<ByteCount>| {
        told.lock().unwrap().push(format!("{stage:?} {} of {:?}", done.0, total.map(|total| total.0)));
    };
    within(SOON, region.fetch(&order(), &SyncOptions::default(), &tell, cancel)).await.unwrap()
}

#[tokio::test]
async fn a_fetch_is_begun_and_asked_after_until_its_end() {
    let server = Hostile::doing(|nth, seen| match nth {
        0 => answered("202 Accepted", operation(seen, 1, json!({}))),
        // Lost questions cost nothing of it.
        1 | 2 => Doing::Cut,
        3 => good(operation(seen, 5, json!({"progress": {"stage": "copying", "bytes_done": 4, "bytes_total": 9}}))),
        _ => good(operation(seen, 6, json!({"state": "done", "result": report()}))),
    })
    .await;
    let told = Told::default();
    let done = fetch(&region(&server.origin), &told, &CancellationToken::new()).await.unwrap();
    assert_eq!((done.bytes, done.published.point.kind), (ByteCount(9), PointKind::Cold));
    assert_eq!(told.into_inner().unwrap(), ["Copying 4 of Some(9)"]);
    let seen = server.seen();
    let key = named(&seen[0]);
    assert_eq!(seen[0].header("prefer"), Some("respond-async, wait=0"));
    assert_eq!(
        server.lines(),
        [
            "POST syncs".to_owned(),
            format!("GET operations/{key}?after=1&wait=0"),
            format!("GET operations/{key}?after=1&wait=0"),
            format!("GET operations/{key}?after=1&wait=0"),
            format!("GET operations/{key}?after=5&wait=0"),
        ]
    );
}

#[tokio::test]
async fn short_work_is_answered_at_once() {
    let server = Hostile::always(good(ReadingEnd::Consistent)).await;
    let end = within(SOON, region(&server.origin).close_reading(uuid::Uuid::nil())).await.unwrap();
    assert_eq!(end, ReadingEnd::Consistent);
    let server = Hostile::always(good(json!(null))).await;
    within(SOON, region(&server.origin).checkpoint(uuid::Uuid::nil())).await.unwrap();
}

#[tokio::test]
async fn what_a_new_start_of_the_region_forgot_is_begun_again_under_the_same_key_a_few_times() {
    let gone = || angry("404 Not Found", "no such operation", json!({"code": "not_found"}));
    let forgets = move |until: usize| {
        move |nth: usize, seen: &Seen| match nth {
            nth if nth >= until => good(report()),
            nth if nth % 2 == 0 => answered("202 Accepted", operation(seen, 1, json!({}))),
            _ => gone(),
        }
    };
    let server = Hostile::doing(forgets(4)).await;
    fetch(&region(&server.origin), &Told::default(), &CancellationToken::new()).await.unwrap();
    let seen = server.seen();
    assert_eq!(server.lines().iter().filter(|line| *line == "POST syncs").count(), 3);
    assert!(seen.iter().all(|asked| named(asked) == named(&seen[0])), "{:?}", server.lines());
    let server = Hostile::doing(forgets(usize::MAX)).await;
    let failure = fetch(&region(&server.origin), &Told::default(), &CancellationToken::new()).await.unwrap_err();
    assert!(failure.to_string().contains("no such operation"), "{failure}");
    assert_eq!(server.lines().iter().filter(|line| *line == "POST syncs").count(), 4);
}

#[tokio::test]
async fn a_region_that_falls_silent_is_waited_for_so_long_and_no_longer() {
    let server = Hostile::doing(|nth, seen| match nth {
        0 => answered("202 Accepted", operation(seen, 1, json!({}))),
        _ => Doing::Cut,
    })
    .await;
    let failure = fetch(&region(&server.origin), &Told::default(), &CancellationToken::new()).await.unwrap_err();
    assert!(failure.to_string().contains("closed the connection without an answer (POST syncs)"), "{failure}");
    assert!(server.seen().len() > 6, "more patiently than a short question: {:?}", server.lines());
}

#[tokio::test]
async fn a_cancelled_fetch_is_stopped_there_and_its_end_is_waited_for() {
    let server = Hostile::doing(|_, seen| match seen.line.split(' ').next().unwrap() {
        "POST" => answered("202 Accepted", operation(seen, 1, json!({}))),
        "DELETE" => good(operation(seen, 2, json!({}))),
        _ if seen.line.contains("after=2") => good(operation(
            seen,
            3,
            json!({"state": "failed", "message": "stopped", "error": {"code": "interrupted", "bytes": 7}}),
        )),
        _ => Doing::Stall,
    })
    .await;
    let cancel = CancellationToken::new();
    let region = region(&server.origin);
    let told = Told::default();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    };
    let (failure, ()) = futures_util::future::join(fetch(&region, &told, &cancel), stop).await;
    let failure = failure.unwrap_err();
    assert!(matches!(failure.error, TransferError::Interrupted), "{failure:?}");
    assert_eq!(failure.bytes, ByteCount(7));
    let lines = server.lines();
    assert!(lines.iter().any(|line| line.starts_with("DELETE operations/")), "{lines:?}");
    assert!(lines.last().unwrap().contains("after=2"), "{lines:?}");
}

#[tokio::test]
async fn a_region_that_does_not_stop_is_left_in_time() {
    let server = Hostile::doing(|_, seen| match seen.line.split(' ').next().unwrap() {
        "POST" => answered("202 Accepted", operation(seen, 1, json!({}))),
        _ => Doing::Stall,
    })
    .await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let failure = fetch(&region(&server.origin), &Told::default(), &cancel).await.unwrap_err();
    assert!(matches!(failure.error, TransferError::Interrupted), "{failure:?}");
}

#[tokio::test]
async fn a_failed_sync_says_why_in_the_regions_own_words() {
    let refusal = Refusal {
        reason: BlockReason::Suspicious,
        detail: "half of it is gone".to_owned(),
        source_stamp: None,
        needed: None,
        lost: None,
        max_change: None,
        at: Timestamp::from_micros(0),
    };
    let error = serde_json::to_value(TransferError::Blocked(refusal.clone())).unwrap();
    let server = Hostile::doing(move |nth, seen| match nth {
        0 => answered("202 Accepted", operation(seen, 1, json!({}))),
        _ => {
            let mut error = error.clone();
            error.as_object_mut().unwrap().insert("bytes".to_owned(), json!(5));
            error.as_object_mut().unwrap().insert("notes".to_owned(), json!(["it was read twice"]));
            good(operation(seen, 2, json!({"state": "failed", "message": "blocked", "error": error})))
        }
    })
    .await;
    let failure = fetch(&region(&server.origin), &Told::default(), &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&failure.error, TransferError::Blocked(found) if *found == refusal), "{failure:?}");
    assert_eq!((failure.bytes, failure.notes), (ByteCount(5), vec!["it was read twice".to_owned()]));
}

#[tokio::test]
async fn another_operation_or_a_senseless_result_is_told() {
    let other = uuid::Uuid::from_u128(7);
    let server =
        Hostile::doing(move |_, seen| answered("202 Accepted", operation(seen, 1, json!({"id": other})))).await;
    let error = region(&server.origin).verify(&web()).await.unwrap_err();
    assert!(error.to_string().contains("another operation"), "{error}");
    let server = Hostile::doing(|_, seen| {
        answered("202 Accepted", operation(seen, 1, json!({"state": "done", "result": {"x": 1}})))
    })
    .await;
    let error = region(&server.origin).verify(&web()).await.unwrap_err();
    assert!(matches!(error, PortError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("something else"), "{error}");
}

#[tokio::test]
async fn interrupted_nothing_new_is_opened_and_what_is_open_is_closed() {
    let server = Hostile::doing(|_, seen| match seen.line.split(' ').next().unwrap() {
        "POST" if seen.line.ends_with("/close") => good(ReadingEnd::Consistent),
        _ => angry("404 Not Found", "no such operation", json!({"code": "not_found"})),
    })
    .await;
    let region = region(&server.origin);
    region.interrupt();
    let opened = within(SOON, region.open_reading(&order(), false)).await;
    assert!(matches!(opened, Err(TransferError::Interrupted)));
    assert!(!server.lines().iter().any(|line| line == "POST readings"), "{:?}", server.lines());
    region.close_reading(uuid::Uuid::nil()).await.unwrap();
}
