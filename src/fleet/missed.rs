//! Regions that missed something: one in a directory that was away while others moved what it held, and one that a
//! take-over went without.
//!
//! A served region hears the others by itself. One in a directory has no agent: whoever changes something carries the
//! others' word there first. What it learns is what any region learns by hearing: roles that it has no more, operations
//! that ended without it, and that it was declared gone. It never learns that it holds something.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | hear | durable before anything rests on it | either side; it hears it again |
//! | bind | only where this state's take-over counted, and no region obeys a later controller | a region that obeys an earlier controller, which the next run binds |

use futures_util::future::join_all;

use super::error::FleetError;
use super::manager::MultiRegionManager;
use super::options::Watch;
use super::road::{Road, Sight, standings};
use crate::failover::Control;
use crate::live::port::PeerRecords;
use crate::model::RegionId;
use crate::model::topology::Endpoint;

impl Sight {
    /// Whether a region that answers knows less of who holds something than another one.
    fn is_behind(&self, region: &RegionId) -> bool {
        let latest = self.observed.latest();
        let mut own = self.observed.snapshot(region).into_iter().flat_map(|seen| &seen.resources);
        own.any(|(key, record)| latest.get(key).is_some_and(|latest| latest.age() > record.age()))
    }
}

impl MultiRegionManager {
    /// Has regions in directories hear what others know better. Says whether any of them learned something.
    pub(super) async fn have_hear(&self, sight: &Sight) -> bool {
        let is_directory =
            |region: &RegionId| matches!(self.desired.topology.endpoints.get(region), Some(Endpoint::Directory(_)));
        let behind = sight.observed.answering().map(|(region, _)| region).filter(|region| sight.is_behind(region));
        // Whoever knows that such a one was declared gone may be lost before it is readmitted.
        let behind: Vec<&RegionId> = behind.chain(&sight.returned).filter(|region| is_directory(region)).collect();
        if behind.is_empty() {
            return false;
        }
        let seen = sight.ports.iter().filter(|(region, _)| sight.observed.snapshot(region).is_some());
        let told = standings(seen).await;
        let hear =
            behind.into_iter().filter_map(|region| Some((region, sight.ports.get(region)?))).map(|(region, port)| {
                let told = &told;
                async move {
                    let mut learned = false;
                    for told in
                        told.iter().filter(|(other, _)| *other != region).filter_map(|(_, told)| told.as_ref().ok())
                    {
                        // What could not be written there is found behind by whoever relies on it.
                        learned |= port.learn(told).await.unwrap_or(false);
                    }
                    learned
                }
            });
        join_all(hear.collect::<Vec<_>>()).await.into_iter().any(|learned| learned)
    }
}

impl Road<'_> {
    /// Looks at all regions, once those that missed something have heard of it, or are bound.
    pub(super) async fn look_at_all(&mut self, watch: &Watch) -> Result<Sight, FleetError> {
        let sight = self.look().await?;
        let heard = self.manager.have_hear(&sight).await;
        let bound = self.bind(&sight, watch).await?;
        if heard || bound { self.look().await } else { Ok(sight) }
    }

    /// Binds the regions that a take-over went without. Says whether there were any.
    async fn bind(&mut self, sight: &Sight, watch: &Watch) -> Result<bool, FleetError> {
        let not_bound = sight.not_bound();
        if not_bound.is_empty() || sight.control_elsewhere().is_some() {
            return Ok(false);
        }
        for (region, _) in not_bound {
            let Some(port) = sight.ports.get(region) else { continue };
            let authority = self.authority(sight)?;
            // Where it refuses, the journal says so, and whatever needs it is refused by it.
            let control = Control::TakeOver { authority };
            drop(self.tell_control(port, &control, &PeerRecords::default(), watch).await?);
        }
        Ok(true)
    }
}
