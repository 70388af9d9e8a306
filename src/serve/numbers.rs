//! Counts what the server does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::RegionId;
use crate::wire::served::{RecordedMetrics, Requests, ServedMetrics};

/// The counters; they begin with the program.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    requests: Mutex<Requests>,
    sent: AtomicU64,
    received: AtomicU64,
    syncs: AtomicU64,
    failed_syncs: AtomicU64,
    recorded: tokio::sync::Mutex<Option<(Duration, Option<RecordedMetrics>)>>,
}

/// The region's records are read no more often than that, however many ask for numbers.
const RECORDS_AGE: Duration = Duration::from_secs(5);

impl Numbers {
    /// A request was answered. `route` is one of the server's own: paths of a client's making are not kept.
    pub(super) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let one = requests.entry((method.to_owned(), route.to_owned(), status)).or_default();
        *one = (one.0 + 1, one.1 + took);
    }

    /// Blocks went out.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Blocks came in.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Copies arrived, or were found to be as their source.
    pub(super) fn synced(&self, copies: usize) {
        self.syncs.fetch_add(copies as u64, Ordering::Relaxed);
    }

    /// A copy could not be fetched.
    pub(super) fn sync_failed(&self) {
        self.failed_syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers of what the region has recorded: those that were read shortly before `now`, a moment since boot, else
    /// what `read` finds. Whoever comes while they are read waits for them.
    pub(super) async fn recorded<F: Future<Output = Option<RecordedMetrics>>>(
        &self,
        now: Duration,
        read: impl FnOnce() -> F,
    ) -> Option<RecordedMetrics> {
        let mut kept = self.recorded.lock().await;
        match &*kept {
            Some((at, recorded)) if now.saturating_sub(*at) < RECORDS_AGE => recorded.clone(),
            _ => kept.insert((now, read().await)).1.clone(),
        }
    }

    /// All of them.
    pub(super) fn served(&self, region: &RegionId) -> ServedMetrics {
        ServedMetrics {
            region: region.clone(),
            requests: self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            failed_syncs: self.failed_syncs.load(Ordering::Relaxed),
            operations: 0,
            readings: 0,
            receivings: 0,
            sightings: BTreeMap::new(),
            recorded: None,
        }
    }
}
