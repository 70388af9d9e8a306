//! Short questions: silence, senseless answers, and errors in a region's own words.

use std::time::Duration;

use bytes::Bytes;

use super::hostile::{Doing, Hostile, Seen, angry, bytes, good, http, sealed};
use super::*;
use crate::live::http::deadlines::LEAST;
use crate::live::port::{PeerRecords, PointSelector, PortError, RegionPort};
use crate::model::observed::RegionStatus;
use crate::model::point::{Point, PointKind, PointState};
use crate::model::{ByteCount, Digest, Timestamp};
use crate::replica::giving::PointContents;
use crate::replica::manifest::{Entry, Manifest, Node};
use crate::replica::port::{BlockAddress, Source, Target, TransferError};
use crate::wire::call::PointFiles;
use crate::wire::seal::{SEAL, Seal};
use crate::wire::{Envelope, blocks};
use serde_json::json;

const SOON: Duration = Duration::from_secs(5);

fn say(status: &str, body: &str) -> Doing {
    Doing::Say(http(status, "text/html", body.as_bytes()))
}

/// The status and the words of a question that brought no answer of the region's.
fn unclear(error: PortError) -> (RegionStatus, String) {
    match error {
        PortError::Unreachable { status, reason, .. } => (status, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whatever_comes_instead_of_an_answer_ends_in_time_and_is_named() {
    use RegionStatus::{Unknown, Unreachable};
    let points = serde_json::to_string(&crate::wire::Envelope::success(
        crate::model::Timestamp::from_micros(0),
        Vec::<Point>::new(),
    ))
    .unwrap();
    let whole = http("200 OK", "application/json", points.as_bytes());
    let cut = whole[..whole.len() - 9].to_vec();
    let head = |length: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let slowly = Duration::from_millis(40);
    // The words, how often it is asked (none: as often as there is time), and what is known of the region.
    for (doing, words, tries, status) in [
        (Doing::Cut, "closed the connection", Some(5), Unreachable),
        (Doing::Stall, "no answer from", None, Unreachable),
        (Doing::Trickle(whole.clone(), slowly), "no answer from", None, Unreachable),
        (Doing::Trickle(head("9"), Duration::from_millis(1)), "closed the connection", Some(5), Unreachable),
        (Doing::Say(cut), "closed the connection", Some(5), Unreachable),
        (Doing::Say(head("1099511627776")), "answers without end", Some(1), Unknown),
        (Doing::Say(head("-1")), "did not answer in HTTP", Some(1), Unknown),
        (Doing::Say(b"\x16\x03\x01 nonsense".to_vec()), "did not answer in HTTP", Some(1), Unknown),
        (say("200 OK", "<html>log in"), "something else than a list of points: <html>log in", Some(1), Unknown),
        (good(json!({"no": "points"})), "something else than a list of points", Some(1), Unknown),
        (say("200 OK", ""), "something else than a list of points", Some(1), Unknown),
        (say("500 Internal Server Error", "boom\nat line 7"), "answered 500: boom", Some(1), Unknown),
        (say("404 Not Found", "no such page"), "(404): no such page", Some(1), Unknown),
        (say("503 Service Unavailable", "starting"), "answered 503: starting", Some(5), Unknown),
        (say("502 Bad Gateway", "nobody"), "answered 502: nobody", Some(5), Unknown),
        (angry("200 OK", "no", json!({"code": "failed", "detail": "x"})), "something else", Some(1), Unknown),
        (angry("500 Internal Server Error", "oh", json!(null)), "answered 500: oh", Some(1), Unknown),
        (angry("500 Internal Server Error", "oh", json!({"code": "panic"})), "answered 500: oh", Some(1), Unknown),
    ] {
        let server = Hostile::always(doing.clone()).await;
        let region = region(&server.origin);
        let asked = within(SOON, region.points(&web())).await.unwrap_err();
        let (known, reason) = unclear(asked);
        assert!(reason.contains(words), "{doing:?}: {reason}");
        assert!(reason.contains("GET resources/vm/web/points"), "{reason}");
        assert_eq!(known, status, "{reason}");
        let seen = server.seen();
        assert!(seen.iter().all(|seen| seen.line == "GET /api/v1/resources/vm/web/points"));
        match tries {
            Some(tries) => assert_eq!(seen.len(), tries, "{doing:?}"),
            None => assert!((2..=4).contains(&seen.len()), "{doing:?}: {}", seen.len()),
        }
        // Asked by other programs, the same error names both regions.
        let transfer = within(SOON, region.group_hashes(uuid::Uuid::nil(), 0, 0, 1));
        if tries.is_some() {
            let TransferError::Region(words) = transfer.await.unwrap_err() else { panic!("another error") };
            assert!(words.starts_with("west: "), "{words}");
        }
    }
}

/// A list of points as a region answers it, with something done to it.
async fn points_of(change: impl Fn(&Seen, Vec<u8>) -> Doing + Send + Sync + 'static) -> (String, usize) {
    let body = serde_json::to_vec(&Envelope::success(Timestamp::from_micros(0), [&contents().point])).unwrap();
    let server = Hostile::doing(move |_, seen| change(seen, sealed(seen, "200 OK", "application/json", &body))).await;
    let asked = within(SOON, region(&server.origin).points(&web())).await;
    let (_, reason) = unclear(asked.expect_err("it passed"));
    assert!(reason.contains("GET resources/vm/web/points"), "{reason}");
    (reason, server.seen().len())
}

/// Every bit of an answer counts, those that no block's hash is over too.
#[tokio::test]
async fn an_answer_that_was_changed_on_the_way_is_none() {
    let altered = |answer: Vec<u8>, from: &str, to: &str| {
        let text = String::from_utf8(answer).unwrap();
        assert!(text.contains(from), "{text}");
        Doing::Say(text.replacen(from, to, 1).into_bytes())
    };
    let changes = [
        ("\"sequence\":3", "\"sequence\":7"),
        ("1970-01-01", "1971-01-01"),
        ("\"east\"", "\"eas5\""),
        ("HTTP/1.1 200", "HTTP/1.1 201"),
        ("x-seal: ", "x-seal: 0"),
    ];
    for (from, to) in changes {
        let (reason, tries) = points_of(move |_, answer| altered(answer, from, to)).await;
        assert!(reason.contains("was changed on the way") && tries == 5, "{from}: {reason} after {tries}");
    }
    // Without its seal it is somebody else's.
    let (reason, tries) = points_of(move |_, answer| altered(answer, "x-seal: ", "x-sea1: ")).await;
    assert!(reason.contains("something else than a list of points") && tries == 1, "{reason} after {tries}");
    // The answer to another question, whole and sealed.
    let (reason, _) = points_of(|seen, _| {
        let other = Seen { line: seen.line.replace("/web/", "/wea/"), ..seen.clone() };
        let body = serde_json::to_vec(&Envelope::success(Timestamp::from_micros(0), Vec::<Point>::new())).unwrap();
        let seal = Seal::of_request("GET", other.line.split_once(' ').unwrap().1, None, None, b"");
        let headers = other.headers.replace(seen.header(SEAL).unwrap(), &seal.to_string());
        Doing::Say(sealed(&Seen { headers, ..other }, "200 OK", "application/json", &body))
    })
    .await;
    assert!(reason.contains("was changed on the way"), "{reason}");
}

#[tokio::test]
async fn an_answer_that_has_begun_goes_on_or_ends() {
    // Head and a part of the body come at once.
    let (reason, _) = points_of(|_, answer| {
        let begun = answer.len() - 40;
        Doing::Begin(answer, begun, None)
    })
    .await;
    assert!(reason.contains("in the middle of its answer: nothing came for"), "{reason}");
    let (reason, _) = points_of(|_, answer| {
        let begun = answer.len() - 40;
        Doing::Begin(answer, begun, Some(Duration::from_millis(50)))
    })
    .await;
    assert!(reason.contains("answers too slowly: "), "{reason}");
    // Much that comes slowly is waited for: longer than any one deadline of a short question.
    let body = serde_json::to_vec(&Envelope::success(Timestamp::from_micros(0), vec![contents().point; 4000])).unwrap();
    let length = body.len();
    assert!(length > 12 * LEAST, "{length}");
    let server = Hostile::doing(move |_, seen| {
        Doing::Steadily(sealed(seen, "200 OK", "application/json", &body), LEAST / 2, Duration::from_millis(100))
    })
    .await;
    let points = within(SOON * 3, region(&server.origin).points(&web())).await.unwrap();
    assert_eq!((points.len(), server.seen().len()), (4000, 1));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let endless = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n".to_vec();
    let server = Hostile::always(Doing::Flood(endless)).await;
    let error = within(SOON * 3, region(&server.origin).group_hashes(uuid::Uuid::nil(), 0, 0, 1)).await.unwrap_err();
    assert!(error.to_string().contains("answers without end"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn what_was_lost_is_asked_again_under_the_same_key() {
    let server = Hostile::doing(|nth, _| if nth < 2 { Doing::Cut } else { good(json!(null)) }).await;
    within(SOON, region(&server.origin).record(&authority(), &[])).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].header("idempotency-key").is_some());
    assert!(seen.iter().all(|asked| asked.header("idempotency-key") == seen[0].header("idempotency-key")));
    assert!(seen.iter().all(|asked| asked.body == seen[0].body && !asked.body.is_empty()));
    assert!(seen[0].header("x-request-id").is_some());
}

#[tokio::test]
async fn a_region_that_was_waited_for_is_not_waited_for_again_until_it_answers() {
    let silent = 6;
    let server = Hostile::doing(move |nth, _| match nth {
        nth if nth < silent => Doing::Cut,
        nth if nth == silent => good(Vec::<Point>::new()),
        _ => Doing::Cut,
    })
    .await;
    let region = region(&server.origin);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let before = server.seen().len();
        let _ = within(SOON, region.points(&web())).await;
        asked.push(server.seen().len() - before);
    }
    // Patiently, once, once with an answer, and patiently again.
    assert_eq!(asked, [5, 1, 1, 5]);
}

#[tokio::test]
async fn what_cannot_be_asked_twice_is_asked_once() {
    let server = Hostile::always(Doing::Cut).await;
    let west = region(&server.origin);
    west.snapshot().await.unwrap_err();
    west.discard(&authority(), &web(), "modified 3/..").await.unwrap_err();
    let lines = server.lines();
    assert_eq!(lines, ["GET snapshot".to_owned(), "DELETE resources/vm/web/set-aside/modified%203%2F..".to_owned()]);
}

#[tokio::test]
async fn a_busy_region_is_asked_again_and_then_believed() {
    let busy = || angry("503 Service Unavailable", "too many requests", json!({"code": "busy"}));
    let server = Hostile::doing(move |nth, _| if nth < 3 { busy() } else { good(Vec::<Point>::new()) }).await;
    assert!(region(&server.origin).points(&web()).await.unwrap().is_empty());
    assert_eq!(server.seen().len(), 4);
    let server = Hostile::always(busy()).await;
    let error = within(SOON, region(&server.origin).points(&web())).await.unwrap_err();
    assert!(matches!(&error, PortError::Busy(words) if words.contains("too many requests")), "{error:?}");
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn errors_of_the_region_arrive_as_they_were_and_name_their_request() {
    let conflict = PortError::Conflict { address: "vm.web".to_owned(), detail: "changed".to_owned(), current: None };
    let server = Hostile::always(angry("409 Conflict", "x", &conflict)).await;
    let error = region(&server.origin).found(&authority()).await.unwrap_err();
    assert_eq!(error.to_string(), conflict.to_string());
    let refused = PortError::Refused { reason: "another region lies here".to_owned(), help: Some("look".to_owned()) };
    let server = Hostile::always(angry("409 Conflict", "x", &refused)).await;
    let error = region(&server.origin).found(&authority()).await.unwrap_err();
    assert!(matches!(error, PortError::Refused { reason, help: Some(_) } if reason == "another region lies here"));
    let failed = PortError::Failed("the disk broke".to_owned());
    let server = Hostile::always(angry("503 Service Unavailable", "x", &failed)).await;
    let error = region(&server.origin)
        .control(&crate::failover::Control::TakeOver { authority: authority() }, &PeerRecords::default())
        .await
        .unwrap_err();
    let request = server.seen()[0].header("x-request-id").unwrap().to_owned();
    assert_eq!(error.to_string(), format!("the disk broke (request {request})"));
    assert_eq!(server.seen().len(), 1, "a broken disk is no lost question");
    let server = Hostile::always(angry("400 Bad Request", "no id", json!({"code": "bad_request", "field": "x"}))).await;
    let error = region(&server.origin).found(&authority()).await.unwrap_err();
    assert!(error.to_string().contains("in `x`: no id (POST region, request "), "{error}");
    let gone = json!({"code": "not_found"});
    let server = Hostile::always(angry("404 Not Found", "no such session", gone)).await;
    let error = region(&server.origin).next_wanted(uuid::Uuid::nil()).await.unwrap_err();
    assert!(error.to_string().starts_with("west: no such session (POST receivings/"), "{error}");
}

#[tokio::test]
async fn blocks_that_were_not_asked_for_or_cannot_be_are_corrupt() {
    let (wanted, other) = (BlockAddress { file: 0, block: 7 }, BlockAddress { file: 0, block: 8 });
    let packed = |address| blocks::pack([(address, Bytes::from_static(b"bytes"))], true).unwrap().joined().to_vec();
    let ask = |answer: Vec<u8>| async move {
        let server = Hostile::always(bytes(&answer)).await;
        region(&server.origin).blocks(uuid::Uuid::nil(), &[wanted]).await
    };
    assert_eq!(ask(packed(wanted)).await.unwrap(), [b"bytes".to_vec()]);
    let two: Vec<u8> = [packed(wanted), packed(wanted)].concat();
    for answer in [packed(other), two, Vec::new()] {
        assert!(matches!(ask(answer).await, Err(TransferError::Corrupt(_))));
    }
    // Of what does not read as blocks there is no seal.
    let error = ask(packed(wanted)[..9].to_vec()).await.unwrap_err();
    assert!(error.to_string().contains("was changed on the way"), "{error}");
    let server = Hostile::always(bytes(&[0; 33])).await;
    let error = region(&server.origin).group_hashes(uuid::Uuid::nil(), 0, 0, 1).await;
    assert!(matches!(error, Err(TransferError::Corrupt(_))));
    // JSON where bytes are due.
    let server = Hostile::always(good(json!([]))).await;
    let error = region(&server.origin).group_hashes(uuid::Uuid::nil(), 0, 0, 1).await.unwrap_err();
    assert!(error.to_string().contains("something else than hashes"), "{error}");
}

#[tokio::test]
async fn what_is_not_done_over_the_network_says_what_to_do() {
    let west = region("http://127.0.0.1:9");
    let error = west.replace_files(&authority(), &web(), std::path::Path::new("/nowhere")).await;
    assert!(matches!(error, Err(PortError::Refused { help: Some(_), .. })));
}

/// One file of two groups, of which nobody knows the bytes.
fn contents() -> PointContents {
    let node = Node::File { size: ByteCount::mib(6), root: Digest([7; 32]) };
    let entry = Entry { path: "disk.raw".to_owned(), node, mode: 0o600, mtime_ns: 0, owner: (0, 0) };
    let manifest = Manifest { entries: vec![entry] };
    let at = Timestamp::from_micros(0);
    let point = Point {
        sequence: 3,
        name: None,
        data_hash: manifest.data_hash(),
        read_at: at,
        verified_at: at,
        source: "east".parse().unwrap(),
        epoch: Epoch::BIRTH,
        kind: PointKind::Cold,
        state: PointState::Complete,
        bytes: ByteCount::mib(6),
        files: 1,
    };
    PointContents { point, manifest, data: ByteCount(0) }
}

#[tokio::test]
async fn an_export_believes_nothing_that_does_not_hash_to_the_point() {
    let lie = |file, block| (BlockAddress { file, block }, Bytes::from_static(b"lie"));
    let block = |file, block| blocks::pack([lie(file, block)], false).unwrap().joined();
    let mut damaged = contents();
    damaged.point.state = PointState::Damaged;
    let mut outside = contents();
    outside.manifest.entries[0].path = "../disk.raw".to_owned();
    let mut other = contents();
    other.point.data_hash = Digest([9; 32]);
    for (contents, answer, words) in [
        (contents(), bytes(&[]), "its bytes are not its hash's"),
        (contents(), bytes(&block(0, 0)), "its bytes are not its hash's"),
        (contents(), bytes(&block(1, 0)), "blocks of another file"),
        (contents(), bytes(&[block(0, 1), block(0, 99)].concat()), "blocks of another group"),
        (contents(), bytes(&[1, 2, 3]), "was changed on the way"),
        (contents(), say("500 Internal Server Error", "boom"), "answered 500: boom"),
        (damaged, bytes(&[]), "is damaged"),
        (outside, bytes(&[]), "the path"),
        (other, bytes(&[]), "the record of point 3 is damaged"),
    ] {
        let server = Hostile::doing(move |_, seen| match seen.line.rsplit('/').next().unwrap() {
            "points" => good([&contents.point]),
            "3" => good(&contents),
            _ => answer.clone(),
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("out");
        let west = region(&server.origin);
        let error = within(SOON, west.export(&web(), &PointSelector::Sequence(3), &into)).await.unwrap_err();
        assert!(matches!(error, PortError::Refused { .. }) && error.to_string().contains(words), "{words}: {error:?}");
        let error = west.export(&web(), &PointSelector::Sequence(4), &into).await.unwrap_err();
        assert!(matches!(&error, PortError::NotFound(said) if said == "west keeps no point 4 of vm.web"), "{error:?}");
    }
}

/// So many files, each of `bytes`, as a point.
fn many(count: usize, bytes: &[u8]) -> PointContents {
    let group = blake3::hash(blake3::hash(bytes).as_bytes());
    let size = bytes.len() as u64;
    let root = *blake3::Hasher::new().update(&size.to_le_bytes()).update(group.as_bytes()).finalize().as_bytes();
    let found = contents();
    let entry = |n: usize| Entry {
        path: format!("{n:05}"),
        node: Node::File { size: ByteCount(size), root: Digest(root) },
        ..found.manifest.entries[0].clone()
    };
    let manifest = Manifest { entries: (0..count).map(entry).collect() };
    let point = Point { data_hash: manifest.data_hash(), ..found.point.clone() };
    PointContents { point, manifest, ..found }
}

/// Each file's block has a head of its own beside its bytes.
#[tokio::test]
async fn many_small_files_that_cannot_be_packed_come_all_the_same() {
    let mut noise = vec![0; 7 << 10];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let (found, given) = (many(600, &noise), noise.clone());
    let server = Hostile::doing(move |_, seen| match seen.line.rsplit('/').next().unwrap() {
        "points" => good([&found.point]),
        "3" => good(&found),
        "files" => {
            let asked: PointFiles = serde_json::from_slice(&seen.body).unwrap();
            let of = |file: &u32| (BlockAddress { file: *file, block: 0 }, given.clone().into());
            bytes(&blocks::pack(asked.files.iter().map(of), true).unwrap().joined())
        }
        other => panic!("{other}"),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("out");
    within(SOON * 3, region(&server.origin).export(&web(), &PointSelector::Sequence(3), &into)).await.unwrap();
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 600);
    assert_eq!(std::fs::read(into.join("00599")).unwrap(), noise);
    assert_eq!(server.seen().len(), 4, "two questions for 600 files");
}

#[tokio::test]
async fn a_point_that_finds_no_room_here_is_not_begun() {
    let server = Hostile::doing(move |_, seen| match seen.line.rsplit('/').next().unwrap() {
        "points" => good([&contents().point]),
        "3" => {
            let mut large = serde_json::to_value(contents()).unwrap();
            large["data"] = json!(1_u64 << 60);
            good(large)
        }
        _ => bytes(&[]),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("out");
    let west = region(&server.origin);
    let error = within(SOON, west.export(&web(), &PointSelector::Sequence(3), &into)).await.unwrap_err();
    let words = error.to_string();
    let needed = format!("no_space: {} are needed", ByteCount(1 << 60));
    assert!(words.contains(&needed) && words.contains("are free on"), "{words}");
    assert!(matches!(error, PortError::Refused { .. }) && !into.exists());
    assert_eq!(server.seen().len(), 2, "no bytes were asked for");
}
