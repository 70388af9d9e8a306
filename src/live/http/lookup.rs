//! How a region's name is looked up, and whether that is why no answer came.
//!
//! A request that ends while its name is being looked up was never sent: where a network loses its name servers, every
//! region would look silent to every other, and all of them are alive.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Looks up the name of one region, and remembers how long that took the last time.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    names: Arc<dyn Names>,
    clock: Arc<dyn Clock>,
    /// In microseconds; [`UNDECIDED`]: it has not ended, or nobody waited for its end.
    took: Arc<AtomicU64>,
}

const UNDECIDED: u64 = u64::MAX;

impl Lookup {
    pub(super) fn new(names: Arc<dyn Names>, clock: Arc<dyn Clock>) -> Self {
        Self { names, clock, took: Arc::default() }
    }

    /// Whether the last look-up was most of a wait that brought nothing. An address needs none.
    pub(super) fn used_up(&self, wait: Duration) -> bool {
        Duration::from_micros(self.took.load(Ordering::Relaxed)) >= wait / 2
    }
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { names, clock, took } = self.clone();
        let began = clock.since_boot();
        took.store(UNDECIDED, Ordering::Relaxed);
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await;
            let micros = clock.since_boot().saturating_sub(began).as_micros();
            took.store(u64::try_from(micros).unwrap_or(UNDECIDED), Ordering::Relaxed);
            let addresses: Addrs = Box::new(found?.into_iter());
            Ok(addresses)
        })
    }
}
