//! Counts what the server does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::RegionId;
use crate::wire::served::{Requests, ServedMetrics};

/// The counters; they begin with the program.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    requests: Mutex<Requests>,
    sent: AtomicU64,
    received: AtomicU64,
}

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

    /// All of them.
    pub(super) fn served(&self, region: &RegionId) -> ServedMetrics {
        ServedMetrics {
            region: region.clone(),
            requests: self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            operations: 0,
            readings: 0,
            receivings: 0,
            sightings: BTreeMap::new(),
        }
    }
}
