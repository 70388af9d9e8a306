//! Other regions, over HTTP, with this region's own credentials for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fetch::{Peers, Sought};
use crate::config::Credentials;
use crate::live::{Deadlines, HttpRegion};
use crate::model::{RegionId, World};

/// Regions that are served elsewhere. Each one's connections are kept for what is asked of it next.
#[derive(Debug)]
pub(super) struct HttpPeers {
    credentials: Credentials,
    world: World,
    /// Those that are asked with different patience for connections are different ones.
    open: Mutex<BTreeMap<(RegionId, Duration), Peer>>,
}

/// One of them, as its record had it when it was opened.
#[derive(Debug)]
struct Peer {
    origin: String,
    timeout: Duration,
    port: Arc<HttpRegion>,
}

impl HttpPeers {
    pub(super) fn new(credentials: Credentials, world: World) -> Self {
        Self { credentials, world, open: Mutex::default() }
    }
}

impl Peers for HttpPeers {
    fn region(&self, sought: &Sought<'_>) -> Arc<HttpRegion> {
        let Sought { region, origin, timeout, connect } = *sought;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (region.clone(), connect);
        let known = open.get(&key).filter(|peer| peer.origin == origin && peer.timeout == timeout);
        if let Some(peer) = known {
            return Arc::clone(&peer.port);
        }
        // Only what is kept for this very origin goes there.
        let credential = self.credentials.for_origin(origin);
        let deadlines = Deadlines { connect, ..Deadlines::of(timeout) };
        let port = Arc::new(HttpRegion::new(region.clone(), origin, deadlines, credential, self.world.clone()));
        open.insert(key, Peer { origin: origin.to_owned(), timeout, port: Arc::clone(&port) });
        port
    }
}
