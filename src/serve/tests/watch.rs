//! Regions that ask after each other: who is silent, who is only slow or angry, and what survives.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::policy::HealthPolicy;
use crate::model::sighting::Evidence;

/// Quick, and yet patient with a busy machine.
pub(super) fn policy() -> HealthPolicy {
    HealthPolicy {
        timeout: Duration::from_millis(300),
        degraded_latency: Duration::from_millis(150),
        unreachable_latency: Duration::from_millis(250),
        probe_interval: Duration::from_millis(100),
        failures: 3,
        detect_for: Duration::from_millis(1500),
    }
}

pub(super) fn registered(name: &str, endpoint: &str, health: HealthPolicy) -> RecordChange {
    let mut change = region_record(name, endpoint);
    if let Some(RecordWrite { spec: Spec::Region(spec), .. }) = &mut change.record {
        spec.policy.health = health;
    }
    change
}

/// Answers every connection with `answer`, a moment later; `HOLD` never.
async fn serves(answer: &'static str, after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let one = move |mut stream: TcpStream| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        tokio::time::sleep(after).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one(stream));
        }
    });
    origin
}

/// Somebody who takes what is asked and never answers.
pub(super) async fn mute() -> String {
    serves("", FOREVER).await
}

/// A port that nobody listens on.
pub(super) async fn refused() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

const FOREVER: Duration = Duration::from_secs(3600);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const LOCKED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops";
const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";

impl Served {
    pub(super) async fn registers(&self, lab: &Lab, changes: &[RecordChange]) {
        self.post("region", &Ordered { authority: lab.authority() }).await.data();
        let changes = changes.iter().map(RecordChangeBody::from).collect();
        self.post("records", &Recording { authority: lab.authority(), changes }).await.data();
    }

    async fn sees(&self) -> BTreeMap<String, Evidence> {
        serde_json::from_value(self.get("snapshot").await.data()["sightings"].clone()).unwrap()
    }

    /// What it sees once `enough` is said.
    #[expect(clippy::disallowed_methods, reason = "the test waits for what others do")]
    pub(super) async fn sees_in_the_end(
        &self,
        enough: impl Fn(&BTreeMap<String, Evidence>) -> bool,
    ) -> BTreeMap<String, Evidence> {
        let began = Instant::now();
        loop {
            let seen = self.sees().await;
            if enough(&seen) {
                return seen;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{seen:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn only_silence_counts_however_a_region_answers() {
    let lab = Lab::new();
    let west = lab.serve("west").await;
    let late = Duration::from_millis(700);
    let ends = [
        ("quick", serves(OK, Duration::ZERO).await),
        ("slowish", serves(OK, Duration::from_millis(200)).await),
        ("slow", serves(OK, Duration::from_millis(270)).await),
        ("late", serves(OK, late).await),
        ("locked", serves(LOCKED, Duration::ZERO).await),
        ("broken", serves(BROKEN, Duration::ZERO).await),
        ("cut", serves(CUT, Duration::ZERO).await),
        ("mute", serves("", FOREVER).await),
        ("gone", serves("", Duration::ZERO).await),
        ("refused", refused().await),
        ("nameless", "http://no-such-host.invalid:1".to_owned()),
        ("unproven", serves(OK, Duration::ZERO).await.replace("http:", "https:")),
        ("mounted", "file:///srv/mounted".to_owned()),
    ];
    let peers = ends.iter().map(|(name, endpoint)| registered(name, endpoint, policy()));
    let changes: Vec<_> = std::iter::once(registered("west", &west.origin, policy())).chain(peers).collect();
    west.registers(&lab, &changes).await;

    let lost = |seen: &BTreeMap<String, Evidence>| {
        ["mute", "gone", "refused"].iter().all(|name| seen.get(*name).is_some_and(|known| known.lost))
    };
    let seen = west.sees_in_the_end(lost).await;
    let of = |name: &str| &seen[name];
    let status = |name: &str| of(name).status.as_str();
    assert_eq!(status("quick"), "healthy");
    assert_eq!(status("locked"), "healthy", "it answers");
    assert_eq!(status("broken"), "healthy", "it answers");
    assert!(of("locked").failure.as_deref().unwrap().contains("401"), "{:?}", of("locked"));
    assert!(of("broken").failure.as_deref().unwrap().contains("500"), "{:?}", of("broken"));
    assert!(["degraded", "unreachable"].contains(&status("slowish")), "{:?}", of("slowish"));
    assert_eq!(status("slow"), "unreachable", "as displayed");
    assert!(of("late").last_seen.is_some(), "what comes after the timeout is an answer: {:?}", of("late"));
    for name in ["quick", "slowish", "slow", "late", "locked", "broken", "cut"] {
        let known = of(name);
        assert!(!known.lost && known.last_seen.is_some(), "{name}: {known:?}");
    }
    for name in ["mute", "gone", "refused"] {
        let known = of(name);
        assert_eq!(known.status.as_str(), "unreachable");
        assert!(known.failures >= 3 && known.last_seen.is_none(), "{name}: {known:?}");
        assert!(known.silent_for.unwrap() >= policy().detect_for, "{name}: {known:?}");
    }
    assert!(of("refused").failure.as_deref().unwrap().contains("refused"), "{:?}", of("refused"));
    assert!(of("mute").failure.as_deref().unwrap().contains("within 300ms"), "{:?}", of("mute"));
    for name in ["nameless", "unproven"] {
        let known = of(name);
        assert_eq!((status(name), known.failures, known.lost), ("unknown", 0, false), "{name}: {known:?}");
        assert_eq!((known.last_seen, known.silent_for), (None, None), "{name}: {known:?}");
    }
    assert!(!seen.contains_key("mounted") && !seen.contains_key("west"), "{seen:?}");
    west.end().await;
}

#[tokio::test]
async fn what_was_seen_survives_the_server_and_goes_with_the_registration() {
    let lab = Lab::new();
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    let nobody = refused().await;
    let rare = HealthPolicy { probe_interval: FOREVER, ..policy() };
    let records = [("west", &west.origin), ("east", &east.origin), ("gone", &nobody)]
        .map(|(n, o)| registered(n, o, rare.clone()));
    west.registers(&lab, &records).await;
    // One question in an hour: the first.
    let both = |seen: &BTreeMap<String, Evidence>| seen.len() == 2;
    let seen = west.sees_in_the_end(both).await;
    assert_eq!((seen["east"].status.as_str(), seen["gone"].status.as_str()), ("healthy", "unreachable"));
    west.end().await;
    east.end().await;

    let west = lab.serve("west").await;
    let again = west.sees_in_the_end(|seen| seen.get("gone").is_some_and(|gone| gone.failure.is_some())).await;
    assert!(again["east"].last_seen.is_some(), "{again:?}");
    let gone = RecordChange {
        address: "region.gone".parse().unwrap(),
        expected: Some(
            serde_json::from_value::<crate::model::region::RegionRecord>(
                west.get("snapshot").await.data()["regions"]["gone"].clone(),
            )
            .map(|record| crate::model::region::Record::Region(Box::new(record)).fingerprint())
            .unwrap(),
        ),
        record: None,
    };
    let changes = vec![RecordChangeBody::from(&gone)];
    west.post("records", &Recording { authority: lab.authority(), changes }).await.data();
    west.end().await;
    let west = lab.serve("west").await;
    west.sees_in_the_end(|seen| seen.keys().collect::<Vec<_>>() == ["east"]).await;
    west.end().await;
}

#[tokio::test]
async fn regions_at_rest_write_nothing() {
    let lab = Lab::new();
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    let records = [("west", &west.origin), ("east", &east.origin)].map(|(n, o)| registered(n, o, policy()));
    west.registers(&lab, &records).await;
    west.sees_in_the_end(|seen| seen.contains_key("east")).await;
    let written = || {
        let stat = fs::metadata(lab.path("west/region.db")).unwrap();
        (stat.modified().unwrap(), stat.len())
    };
    // On a busy machine a probe may be late, which is written down: it is at rest in some of these windows.
    let mut before = written();
    for window in 1.. {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let after = written();
        if after == before {
            break;
        }
        assert!(window < 10, "a dozen probes that found nothing new were written, each time");
        before = after;
    }
    east.end().await;
    west.sees_in_the_end(|seen| seen["east"].silent_for.is_some()).await;
    assert_ne!(written(), before, "what is new goes to disk at once");
    west.end().await;
}
