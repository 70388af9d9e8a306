//! Reading back what replicas hold, a part in each round: every region that answers is asked for what is due there, and
//! what it finds is told, mended by the same round's copies, and written into the history.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::manager::MultiRegionManager;
use super::options::Watch;
use super::report::{ChangeOutcome, ExitClass};
use super::road::Sight;
use crate::execute::event::{Event, Outcome};
use crate::live::port::PortError;
use crate::model::audit::{AuditFinding, Audited};
use crate::model::{Address, ByteCount, RegionId, ResourceKey};
use crate::plan::document::Kind;

/// What a round found that is not what was copied.
#[derive(Debug, Clone, Default)]
pub(super) struct Found(Vec<(RegionId, ResourceKey, AuditFinding)>);

impl MultiRegionManager {
    /// Asks every region that answers to read back what is due. What cannot be read is told, and is no error: the next
    /// round asks again.
    pub(super) async fn audit(&self, sight: &Sight, watch: &Watch) -> Found {
        let founded = |region: &&RegionId| {
            sight.observed.snapshot(region).is_some_and(|seen| seen.identity.is_some() && !seen.replicas.is_empty())
        };
        let asked = sight.ports.keys().filter(founded);
        let asked = asked.map(|region| async move { (region, sight.ports[region].audit(&watch.cancel).await) });
        let mut found = Vec::new();
        for (region, audited) in join_all(asked.collect::<Vec<_>>()).await {
            let at = self.world.clock.now();
            let told = |bytes, duration, failure| {
                watch.events.emit(&Event::Audited { at, region_id: region.clone(), bytes, duration, failure });
            };
            match audited {
                Ok(Audited { region: _, read: ByteCount(0), took: _, found }) if found.is_empty() => {}
                Ok(Audited { region: _, read, took, found: here }) => {
                    told(read, took, None);
                    found.extend(here.into_iter().map(|(key, finding)| (region.clone(), key, finding)));
                }
                // An older program reads nothing back.
                Err(PortError::NotFound(_)) => {}
                Err(_) if watch.cancel.is_cancelled() => {}
                Err(error) => told(ByteCount(0), std::time::Duration::ZERO, Some(error.to_string())),
            }
        }
        for (region, key, AuditFinding { at, point, path, detail }) in &found {
            watch.events.emit(&Event::DamageFound {
                at: *at,
                address: Address::Resource(key.clone()),
                region_id: region.clone(),
                point: *point,
                path: path.clone(),
                detail: detail.clone(),
            });
        }
        Found(found)
    }
}

impl Found {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For the history; none where nothing was found.
    pub(super) fn words(&self) -> Option<String> {
        let each = |(region, key, finding): &(RegionId, ResourceKey, AuditFinding)| {
            format!("{key} at {region} ({} of point {}: {})", finding.path, finding.point, finding.detail)
        };
        let all: Vec<String> = self.0.iter().map(each).collect();
        (!all.is_empty()).then(|| format!("read back and not what was copied: {}", all.join("; ")))
    }

    /// The class of a run that found this, and whose changes ended so: what it did not mend is not as it should be.
    pub(super) fn class(&self, class: ExitClass, outcomes: &[ChangeOutcome]) -> ExitClass {
        let copied = outcomes
            .iter()
            .filter(|ended| ended.kind == Kind::Sync && matches!(ended.outcome, Outcome::Done | Outcome::Unchanged));
        let mended: BTreeSet<(&Address, &RegionId)> =
            copied.flat_map(|ended| ended.regions.iter().map(|region| (&ended.address, region))).collect();
        let is_mended = |(region, key, _): &(RegionId, ResourceKey, AuditFinding)| {
            mended.contains(&(&Address::Resource(key.clone()), region))
        };
        match class {
            ExitClass::Done if !self.0.iter().all(is_mended) => ExitClass::Partial,
            class => class,
        }
    }
}
