//! Name servers that do not answer are no dead regions.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::super::lookup::Names;
use super::*;
use crate::live::port::{PortError, RegionPort};
use crate::model::observed::RegionStatus;
use crate::model::policy::HealthPolicy;
use crate::model::sighting::{Probe, Unheard};

/// Leads to this machine, after so many milliseconds.
#[derive(Debug)]
struct After(Arc<AtomicU64>);

#[async_trait]
impl Names for After {
    async fn addresses(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        tokio::time::sleep(Duration::from_millis(self.0.load(Ordering::SeqCst))).await;
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
    }
}

const NEVER: u64 = 3_600_000;

async fn status(region: &HttpRegion) -> (RegionStatus, String) {
    match region.snapshot().await.unwrap_err() {
        PortError::Unreachable { status, reason, .. } => (status, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_that_is_not_found_in_time_says_nothing_of_its_region() {
    // Accepts and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://somewhere.example:{}", mute.local_addr().unwrap().port());
    let pause = Arc::new(AtomicU64::new(NEVER));
    let region = region(&origin).named_by(Arc::new(After(Arc::clone(&pause))));
    let policy = HealthPolicy::default();
    let patience = Duration::from_millis(500);

    // Never, and so late that next to nothing of the wait is left.
    for late in [NEVER, 400] {
        pause.store(late, Ordering::SeqCst);
        let probe = region.probe_for(&policy, patience).await;
        let Probe::Unclear(Unheard { reason, help: _ }) = &probe else { panic!("{late} ms: {probe:?}") };
        assert!(reason.contains("does not resolve within 500ms"), "{reason}");
        let (status, reason) = status(&region).await;
        assert_eq!(status, RegionStatus::Unknown, "{late} ms: {reason}");
    }
    // Whoever does not wait for its end says the same.
    pause.store(NEVER, Ordering::SeqCst);
    let asking = region.probe_for(&policy, 10 * patience);
    assert!(tokio::time::timeout(patience / 2, asking).await.is_err());
    assert!(matches!(region.not_within(patience / 2), Probe::Unclear(_)));
    // And one that is found at once does not speak for one that is not.
    let later = async {
        tokio::time::sleep(patience / 4).await;
        pause.store(0, Ordering::SeqCst);
        region.probe_for(&policy, patience / 4).await
    };
    let (first, _) = tokio::join!(region.probe_for(&policy, patience), later);
    assert!(matches!(first, Probe::Unclear(_)), "{first:?}");
    // Found at once, and silent: that is the region's own silence.
    pause.store(0, Ordering::SeqCst);
    let probe = region.probe_for(&policy, patience).await;
    assert!(matches!(probe, Probe::Silent(_)), "{probe:?}");
    assert_eq!(status(&region).await.0, RegionStatus::Unreachable);
    assert!(matches!(region.not_within(patience), Probe::Silent(_)));
    drop(mute);
}

#[tokio::test]
async fn an_address_needs_no_name_server() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", mute.local_addr().unwrap());
    let region = region(&origin).named_by(Arc::new(After(Arc::new(AtomicU64::new(NEVER)))));
    let probe = region.probe_for(&HealthPolicy::default(), Duration::from_millis(500)).await;
    assert!(matches!(probe, Probe::Silent(_)), "{probe:?}");
}
