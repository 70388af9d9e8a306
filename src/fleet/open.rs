//! Opens regions by their endpoints. Nothing is cached: a port that wrote holds its region's lock as long as it
//! lives, and that must be no longer than one command or one round.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::manager::MultiRegionManager;
use crate::config::{Credential, resolve_endpoint};
use crate::host::Holder;
use crate::live::port::RegionPort;
use crate::live::{Deadlines, HttpRegion};
use crate::model::recorded::Recorded;
use crate::model::topology::{Endpoint, Spec};
use crate::model::{Address, RegionId};
use crate::region::{LocalRegion, Opening};
use crate::state::StateFile;

impl MultiRegionManager {
    /// The port to a region. Nothing is asked or written yet.
    pub(super) fn open(&self, region: &RegionId, endpoint: &Endpoint) -> Arc<dyn RegionPort> {
        if let Some(port) = self.at_hand.get(region) {
            return Arc::clone(port);
        }
        match endpoint {
            Endpoint::Directory(directory) => {
                let holder = Holder {
                    who: self.settings.host.who(),
                    pid: self.settings.host.pid,
                    command: self.settings.command.clone(),
                    since: self.world.clock.now(),
                };
                let opening = Opening {
                    world: self.world.clone(),
                    disk: Arc::clone(&self.settings.disk),
                    holder,
                    guard: self.settings.guard.clone(),
                    exec_guard: self.settings.exec_guard.clone(),
                    config: None,
                };
                Arc::new(LocalRegion::new(region.clone(), directory.clone(), opening))
            }
            Endpoint::Http(origin) => {
                let deadlines = Deadlines::of(self.desired.topology.policy.health.timeout);
                let credential = self.credential(region, origin);
                Arc::new(HttpRegion::new(region.clone(), origin.clone(), deadlines, credential, self.world.clone()))
            }
        }
    }

    /// What the origin may see that is declared for a region.
    pub(super) fn credential(&self, region: &RegionId, origin: &str) -> Credential {
        let credentials = &self.settings.credentials;
        let recorded = if credentials.asks_the_state() { self.recorded_origin(region) } else { None };
        credentials.for_region(region, origin, recorded.as_deref(), self.desired.topology.regions.keys())
    }

    /// Where the state met the region. One that cannot be read vouches for nothing.
    fn recorded_origin(&self, region: &RegionId) -> Option<String> {
        let reader = StateFile::new(&self.settings.state).read().ok()??;
        reader.stores().ok()?.into_iter().find(|known| known.region_id == *region)?.origin
    }

    /// The ports to all declared regions, and to those that are only remembered: what they still record can be
    /// removed only when they answer.
    pub(super) fn open_all(&self, recorded: &Recorded) -> BTreeMap<RegionId, Arc<dyn RegionPort>> {
        let endpoints = &self.desired.topology.endpoints;
        let remembered = recorded.objects.iter().filter_map(|(address, applied)| match (address, &applied.spec) {
            (Address::Region(region), Spec::Region(spec)) if !endpoints.contains_key(region) => {
                resolve_endpoint(&spec.api_endpoint, &self.desired.base).map(|endpoint| (region.clone(), endpoint))
            }
            _ => None,
        });
        let declared = endpoints.iter().map(|(region, endpoint)| (region.clone(), endpoint.clone()));
        declared.chain(remembered).map(|(region, endpoint)| (region.clone(), self.open(&region, &endpoint))).collect()
    }
}
