//! Other regions as sources, over HTTP, with this region's own credentials for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fetch::{Peers, Sought};
use crate::config::Credentials;
use crate::live::{Deadlines, HttpRegion};
use crate::model::{RegionId, World};
use crate::replica::port::Source;

/// Regions that are served elsewhere. Each one's connections are kept for the next fetch from it.
#[derive(Debug)]
pub(super) struct HttpPeers {
    credentials: Credentials,
    world: World,
    open: Mutex<BTreeMap<RegionId, Peer>>,
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
    fn source(&self, sought: &Sought<'_>) -> Arc<dyn Source> {
        let Sought { region, origin, timeout } = *sought;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.get(region).filter(|peer| peer.origin == origin && peer.timeout == timeout);
        if let Some(peer) = known {
            return Arc::clone(&peer.port) as Arc<dyn Source>;
        }
        // Only what is kept for this very origin goes there.
        let credential = self.credentials.for_origin(origin);
        let deadlines = Deadlines::of(timeout);
        let port = Arc::new(HttpRegion::new(region.clone(), origin, deadlines, credential, self.world.clone()));
        open.insert(region.clone(), Peer { origin: origin.to_owned(), timeout, port: Arc::clone(&port) });
        port
    }
}
