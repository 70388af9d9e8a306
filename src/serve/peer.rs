//! Other regions as sources, over HTTP, with this region's own credentials for them.

use std::sync::Arc;

use super::fetch::{Peers, Sought};
use crate::config::Credentials;
use crate::live::{Deadlines, HttpRegion};
use crate::model::World;
use crate::replica::port::Source;

/// Regions that are served elsewhere.
#[derive(Debug)]
pub(super) struct HttpPeers {
    pub(super) credentials: Credentials,
    pub(super) world: World,
}

impl Peers for HttpPeers {
    fn source(&self, sought: &Sought<'_>) -> Arc<dyn Source> {
        let Sought { region, origin, timeout } = *sought;
        // Only what is kept for this very origin goes there.
        let credential = self.credentials.for_origin(origin);
        let deadlines = Deadlines::of(timeout);
        Arc::new(HttpRegion::new(region.clone(), origin, deadlines, credential, self.world.clone()))
    }
}
