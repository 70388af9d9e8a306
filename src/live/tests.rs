//! Observation against tiny servers that answer as the world does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::Credential;
use crate::model::observed::{Observation, RegionStatus};
use crate::model::policy::HealthPolicy;
use crate::model::region::RegionSnapshot;
use crate::model::sighting::Probe;
use crate::model::time::Clock;
use crate::model::{ByteCount, RegionId, Timestamp};
use crate::wire::Envelope;
use crate::wire::seal::{SEAL, Seal};

const DEADLINE: Duration = Duration::from_millis(700);

/// Serves every connection with `answer`; gives its origin.
fn serve(answer: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            answer(connection);
        }
    });
    origin
}

/// Reads the request, then writes `bytes` and closes.
fn says(bytes: impl Into<Vec<u8>>) -> impl Fn(TcpStream) + Send + 'static {
    let bytes = bytes.into();
    move |mut connection| {
        let mut request = [0; 4096];
        let _ = connection.read(&mut request);
        let _ = connection.write_all(&bytes);
    }
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn region(name: &str, origin: &str, deadline: Duration) -> HttpRegion {
    let deadlines = Deadlines { snapshot: deadline, ..Deadlines::of(deadline) };
    HttpRegion::new(name.parse().unwrap(), origin, deadlines, Credential::default(), crate::host::world())
}

async fn ask(origin: &str) -> Result<RegionSnapshot, (RegionStatus, String)> {
    let port = region("west", origin, DEADLINE);
    port.snapshot().await.map_err(|error| match error {
        PortError::Unreachable { status, reason, .. } => (status, reason),
        other => panic!("{other:?}"),
    })
}

fn vacant() -> RegionSnapshot {
    RegionSnapshot::vacant(BTreeMap::new(), ByteCount::mib(5))
}

fn good() -> Vec<u8> {
    let body = serde_json::to_string(&Envelope::success(Timestamp::from_micros(0), vacant())).unwrap();
    let seal = Seal::of_request("GET", "/api/v1/snapshot", None, None, b"").of_answer(200, body.as_bytes());
    http(&format!("200 OK\r\n{SEAL}: {seal}"), &body)
}

#[tokio::test]
async fn a_snapshot_arrives_as_it_was_sent() {
    assert_eq!(ask(&serve(says(good()))).await.unwrap(), vacant());
}

#[tokio::test]
async fn a_snapshot_may_take_longer_than_what_a_region_says_in_short() {
    let timeout = Duration::from_millis(300);
    let slow = serve(move |mut connection| {
        let _ = connection.read(&mut [0; 4096]);
        std::thread::sleep(3 * timeout);
        let _ = connection.write_all(&good());
    });
    let west = "west".parse().unwrap();
    let port = HttpRegion::new(west, slow, Deadlines::of(timeout), Credential::default(), crate::host::world());
    assert_eq!(port.snapshot().await.unwrap(), vacant());
    let silent = port.numbers().await.unwrap_err();
    assert!(matches!(silent, PortError::Unreachable { status: RegionStatus::Unreachable, .. }), "{silent:?}");
}

#[tokio::test]
async fn only_silence_is_unreachable() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let (kept, held) = std::sync::mpsc::channel();
    let mute = serve(move |connection| kept.send(connection).unwrap());
    let hangs_up = serve(|mut connection| {
        let _ = connection.read(&mut [0; 4096]);
    });
    for (origin, words) in
        [(&closed, "connection refused"), (&mute, "no answer from"), (&hangs_up, "without an answer")]
    {
        let (status, reason) = ask(origin).await.unwrap_err();
        assert_eq!(status, RegionStatus::Unreachable, "{reason}");
        assert!(reason.contains(words), "{reason}");
    }
    drop(held);
}

/// Whether that is noticed before the question is sent, while it is, or after.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_at_once_is_silence_whenever_that_is_noticed() {
    let count = std::sync::atomic::AtomicU64::new(0);
    let hangs_up = serve(move |connection| {
        let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(count % 50));
        drop(connection);
    });
    for _ in 0..1000 {
        let port = region("west", &hangs_up, DEADLINE);
        let asked = tokio::spawn(async move { port.probe_for(&HealthPolicy::default(), DEADLINE).await });
        let found = asked.await.unwrap();
        assert!(matches!(found, Probe::Silent(_)), "{found:?}");
    }
}

#[tokio::test]
async fn whatever_answers_may_be_alive() {
    let plain = serve(says(good()));
    let tls_to_plain = plain.replace("http:", "https:");
    for (origin, words) in [
        (serve(says(http("200 OK", "\n  <html><title>Log in</title>\u{7}\n"))), ": <html><title>Log in</title>"),
        (serve(says(http("500 Internal Server Error", "boom\nat line 7"))), "answered 500: boom"),
        (serve(says(http("503 Service Unavailable", ""))), "answered 503"),
        (serve(says(http("401 Unauthorized", "{}"))), "refused the request (401)"),
        (serve(says(http("302 Found", ""))), "sends elsewhere (302)"),
        (
            serve(says(http("200 OK", r#"{"status":"success","timestamp":"2026-01-01T00:00:00Z","data":{}}"#))),
            "something else",
        ),
        (serve(says("SSH-2.0-OpenSSH_9.2p1\r\n")), "did not answer in HTTP"),
        (tls_to_plain, "speaks no TLS"),
        ("http://name.invalid".to_owned(), "does not resolve"),
    ] {
        let (status, reason) = ask(&origin).await.unwrap_err();
        assert_eq!(status, RegionStatus::Unknown, "{origin}: {reason}");
        assert!(reason.contains(words), "{reason}");
    }
}

#[derive(Debug)]
struct Boot(Instant);

impl Clock for Boot {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
    fn since_boot(&self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test measures that questions are asked at once")]
async fn all_regions_are_asked_at_once_and_the_silent_ones_are_part_of_the_answer() {
    let clock = Boot(Instant::now());
    let (kept, _held) = std::sync::mpsc::channel();
    let mute = serve(move |connection| kept.send(connection).unwrap());
    let answers = serve(says(good()));
    let mut ports: BTreeMap<RegionId, Arc<dyn RegionPort>> = BTreeMap::new();
    for (name, origin) in [("a", &mute), ("b", &answers), ("c", &mute), ("d", &mute)] {
        let id: RegionId = name.parse().unwrap();
        ports.insert(id.clone(), Arc::new(region(name, origin, Duration::from_secs(60))));
    }
    let observed = observe(&clock, &ports, Extent::Everything, DEADLINE, &Default::default()).await;
    assert!(clock.since_boot() < DEADLINE * 2, "one after the other would take three deadlines");
    assert_eq!(observed.regions.len(), 4);
    assert_eq!(observed.snapshot(&"b".parse().unwrap()), Some(&vacant()));
    let Observation::Answered { latency, .. } = &observed.regions[&"b".parse::<RegionId>().unwrap()] else { panic!() };
    assert!(*latency > Duration::ZERO && *latency < DEADLINE);
    let Observation::Silent(silent) = &observed.regions[&"c".parse::<RegionId>().unwrap()] else { panic!() };
    assert_eq!((silent.status, silent.reason.as_str()), (RegionStatus::Unreachable, "no answer within 700ms"));
}

/// Answers small questions at once, and the one for a snapshot after `pause`.
fn slow(pause: Duration) -> impl Fn(TcpStream) + Send + 'static {
    move |mut connection| {
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            let read = connection.read(&mut request).unwrap_or(0);
            if request[..read].starts_with(b"GET /api/v1/snapshot ") {
                std::thread::sleep(pause);
            }
            let _ = connection.write_all(&good());
        });
    }
}

#[tokio::test]
async fn a_region_that_has_much_to_tell_is_waited_for_and_one_that_is_mute_is_not() {
    let clock = crate::host::world().clock;
    let (kept, _held) = std::sync::mpsc::channel();
    let origins =
        [("large", serve(slow(Duration::from_millis(900)))), ("mute", serve(move |it| kept.send(it).unwrap()))];
    let mut ports: BTreeMap<RegionId, Arc<dyn RegionPort>> = BTreeMap::new();
    for (name, origin) in &origins {
        ports.insert(name.parse().unwrap(), Arc::new(region(name, origin, Duration::from_secs(600))));
    }
    let policy = HealthPolicy { timeout: Duration::from_millis(300), ..HealthPolicy::default() };
    // That it ends at all is what is shown of the mute one: its snapshot would be waited for longer than tests are.
    let observed = observe(clock.as_ref(), &ports, Extent::Everything, Duration::from_secs(600), &policy).await;
    assert_eq!(observed.snapshot(&"large".parse().unwrap()), Some(&vacant()));
    let Observation::Silent(silent) = &observed.regions[&"mute".parse::<RegionId>().unwrap()] else { panic!() };
    assert_eq!(silent.status, RegionStatus::Unreachable);
    assert!(silent.reason.contains("no answer from"), "{}", silent.reason);
}
