//! How a region's name is looked up, and whether that is why no answer came.
//!
//! A request that ends while its name is being looked up was never sent: where a network loses its name servers, every
//! region would look silent to every other, and all of them are alive.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::model::Clock;

/// Where names are looked up.
#[async_trait]
pub(super) trait Names: fmt::Debug + Send + Sync {
    /// The addresses of `name`, with any port.
    async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>>;
}

/// As this machine does it for all programs.
#[derive(Debug)]
pub(super) struct System;

#[async_trait]
impl Names for System {
    async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.collect())
    }
}

/// Looks up the name of one region, and remembers how long that takes.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    names: Arc<dyn Names>,
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those that go on: when each began.
    under_way: BTreeMap<u64, Duration>,
    /// How many there were.
    begun: u64,
    /// How long the last one took, whether it found something, or nobody waited for it any more.
    took: Duration,
}

impl Lookup {
    pub(super) fn new(names: Arc<dyn Names>, clock: Arc<dyn Clock>) -> Self {
        Self { names, clock, known: Arc::default() }
    }

    /// Whether looking the name up was most of a wait that brought nothing, and that is over now. Where several requests
    /// wait, one that was sent may be taken for one that was not, and never the other way round. An address needs no
    /// looking up.
    pub(super) fn used_up(&self, wait: Duration) -> bool {
        let now = self.clock.since_boot();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = known.under_way.values().map(|began| now.saturating_sub(*began)).max();
        longest.unwrap_or_default().max(known.took) >= wait / 2
    }

    fn begin(&self) -> UnderWay {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.begun += 1;
        let number = known.begun;
        known.under_way.insert(number, self.clock.since_boot());
        UnderWay { clock: Arc::clone(&self.clock), known: Arc::clone(&self.known), number }
    }
}

/// One that goes on, until it is dropped.
struct UnderWay {
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<Known>>,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.clock.since_boot();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(began) = known.under_way.remove(&self.number) {
            known.took = now.saturating_sub(began);
        }
    }
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, under_way) = (Arc::clone(&self.names), self.begin());
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await;
            drop(under_way);
            let addresses: Addrs = Box::new(found?.into_iter());
            Ok(addresses)
        })
    }
}
