//! What the region is running, asked of its runner now: every machine that it has a record or files of, whatever its
//! role says.

use std::path::PathBuf;
use std::sync::Arc;

use super::local::{Inner, blocking};
use super::observe;
use super::store::{Records, Store};
use crate::config::RegionConfig;
use crate::live::port::PortError;
use crate::model::ResourceKey;
use crate::model::region::Epoch;
use crate::model::running::Running;

impl Inner {
    pub(super) async fn all_running(self: &Arc<Self>) -> Result<Running, PortError> {
        let inner = Arc::clone(self);
        let (config, machines) = blocking(move || {
            let config = inner.config()?;
            // Nobody is asked about what nobody starts.
            let machines = if config.runner.is_some() { inner.machines_known(&config)? } else { Vec::new() };
            Ok((config, machines))
        })
        .await?;
        if self.is_held() {
            // What a dead server was starting is ended by whoever came after it. Where no region was founded yet,
            // nothing was started.
            let _ = self.writing().await;
        }
        let asked = match self.own_machines().await {
            Some(own) => own,
            None => self.machines(&config, false),
        };
        Ok(asked.running(machines).await)
    }

    /// Every machine that may run here, with the directory of its files and its epoch.
    fn machines_known(&self, config: &RegionConfig) -> Result<Vec<(ResourceKey, PathBuf, Epoch)>, PortError> {
        let records = match self.identity()? {
            Some(identity) => Store::open_reading(&self.layout.database(), &identity)
                .and_then(|store| store.records())
                .map_err(|error| self.of(error))?,
            None => Records::default(),
        };
        let places = self.places(config);
        let known = observe::known(&places, &records)?.into_iter().map(|(key, kept)| {
            let epoch = kept.map(|kept| kept.record.epoch).unwrap_or_default();
            let dir = places.directory(&key, kept);
            (key, std::path::absolute(&dir).unwrap_or(dir), epoch)
        });
        Ok(known.collect())
    }
}
