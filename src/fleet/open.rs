//! Opens regions by their endpoints. Nothing is cached: a port that wrote holds its region's lock as long as it
//! lives, and that must be no longer than one command or one round.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::manager::MultiRegionManager;
use crate::config::resolve_endpoint;
use crate::host::Holder;
use crate::live::HttpRegion;
use crate::live::port::RegionPort;
use crate::model::recorded::Recorded;
use crate::model::topology::{Endpoint, Spec};
use crate::model::{Address, RegionId};
use crate::region::{LocalRegion, Opening};

impl MultiRegionManager {
    /// The port to a region. Nothing is asked or written yet.
    pub(super) fn open(&self, region: &RegionId, endpoint: &Endpoint) -> Arc<dyn RegionPort> {
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
                };
                Arc::new(LocalRegion::new(region.clone(), directory.clone(), opening))
            }
            Endpoint::Http(origin) => {
                let deadline = self.desired.topology.policy.health.timeout;
                Arc::new(HttpRegion::new(region.clone(), origin.clone(), deadline))
            }
        }
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
