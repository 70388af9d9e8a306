//! What a failover is judged on, gathered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::pull::expect_here;
use crate::execute::hook::Hooks;
use crate::failover::{Asker, Facts, FenceHook, Proposal, Request, Unfit, Verdict, Wish, propose};
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::road::Sight;
use crate::live::Extent;
use crate::model::observed::Observation;
use crate::model::point::Point;
use crate::model::{Address, RegionId, ResourceKey, Timestamp};
use crate::state::StateFile;

/// Regions are asked so much at once, each.
const QUESTIONS: usize = 16;
/// A judgement on whether a region is down is acted on so long. What comes between, questions to a silent region among
/// them, takes half of that at most.
pub(super) const HOLDS: Duration = Duration::from_secs(60);

/// All that is known when a failover is judged.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) sight: Sight,
    points: BTreeMap<ResourceKey, Vec<Point>>,
    fence: FenceHook,
    last_met: Option<Timestamp>,
    pub(super) verdict: Option<Verdict>,
    /// When that was found, by this machine's boot clock.
    judged_at: Duration,
    last_automatic: Option<Timestamp>,
}

impl Known {
    /// Whether the judgement on a region still holds: it is young, and nobody who answered since has seen the region
    /// after it.
    pub(super) fn is_verdict_fresh(&self, now: Duration) -> bool {
        let Some(verdict) = &self.verdict else { return false };
        let answering = self.sight.observed.regions.keys().filter_map(|region| self.sight.observed.snapshot(region));
        let seen = answering.filter_map(|snapshot| snapshot.sightings.get(&verdict.suspect)?.last_seen).min();
        holds(now.saturating_sub(self.judged_at), seen)
    }
}

/// Whether a judgement of this age holds, where its suspect was last seen so long ago.
fn holds(age: Duration, last_seen: Option<Duration>) -> bool {
    age <= HOLDS && last_seen.is_none_or(|seen| seen >= age)
}

impl MultiRegionManager {
    pub(in crate::fleet) fn hooks(&self) -> Hooks {
        Hooks {
            clock: std::sync::Arc::clone(&self.world.clock),
            guard: self.settings.exec_guard.clone(),
            allowed: self.settings.allowed_hooks.clone(),
        }
    }

    /// Looks at all regions, and gathers what is known beside.
    pub(super) async fn know(&self, request: &Request) -> Result<Known, FleetError> {
        let sight = self.look().await?;
        let hook = &self.desired.topology.policy.failover.hooks.fence;
        let fence = match hook.as_slice() {
            [] => FenceHook::Unnamed,
            argv => match self.hooks().expect_runnable(argv) {
                Ok(()) => FenceHook::Ready,
                Err(why) => FenceHook::Missing(why.to_string()),
            },
        };
        let points = match (&request.to, &request.point) {
            (_, Wish::Newest) | (None, _) => BTreeMap::new(),
            (Some(to), Wish::One(_) | Wish::AsOf(_)) => self.points_there(&sight, to, request).await?,
        };
        let (mut last_met, mut last_automatic) = (None, None);
        if let Some(reader) = StateFile::new(&self.settings.state).read()? {
            last_met = reader.last_met(&request.from)?;
            last_automatic = reader.last_automatic_failover()?;
        }
        Ok(Known { points, fence, last_met, verdict: None, judged_at: Duration::ZERO, last_automatic, sight })
    }

    /// The same, with a judgement on whether the source is down: where the policy asks, or somebody wants to see one.
    pub(super) async fn know_whether_down(
        &self,
        request: &Request,
        explain: bool,
        watch: &Watch,
    ) -> Result<Known, FleetError> {
        let mut known = self.know(request).await?;
        if request.asker == Asker::Policy || explain {
            self.find_out_anew(&mut known, request, watch).await?;
            // That may have taken long. What did not answer before is no more waited for.
            let answered = known.sight.observed.regions.keys().filter(|id| known.sight.observed.snapshot(id).is_some());
            let answered = answered.cloned().collect();
            self.look_again_at(&mut known, &answered).await;
        }
        Ok(known)
    }

    /// Judges now whether the source is down.
    pub(super) async fn find_out_anew(
        &self,
        known: &mut Known,
        request: &Request,
        watch: &Watch,
    ) -> Result<(), FleetError> {
        let known_gone = known.sight.observed.gone().into_keys().cloned();
        let gone = request.overrides.gone.keys().cloned().chain(known_gone).collect();
        known.verdict = self.find_out(&known.sight, &request.from, &gone, watch).await?;
        known.judged_at = self.world.clock.since_boot();
        Ok(())
    }

    /// Asks `regions` anew, and no other ones: those are silent.
    pub(super) async fn look_again_at(&self, known: &mut Known, regions: &BTreeSet<RegionId>) {
        let asked = known.sight.ports.iter().filter(|(region, _)| regions.contains(*region));
        let asked = asked.map(|(region, port)| (region.clone(), std::sync::Arc::clone(port))).collect();
        let mut seen = self.judge(&known.sight.recorded, self.observe(&asked, Extent::Everything).await);
        for (region, observation) in &known.sight.observed.regions {
            if let (false, Observation::Silent(_)) = (regions.contains(region), observation) {
                seen.regions.insert(region.clone(), observation.clone());
            }
        }
        known.sight.observed = std::sync::Arc::new(seen);
    }

    /// The points that the target has of what was asked for: of all of it, or nothing is judged. One that was not heard
    /// of would be taken for one that there is no point of, and left behind.
    async fn points_there(
        &self,
        sight: &Sight,
        to: &RegionId,
        request: &Request,
    ) -> Result<BTreeMap<ResourceKey, Vec<Point>>, FleetError> {
        let Some(port) = sight.ports.get(to) else { return Ok(BTreeMap::new()) };
        let recorded = sight.observed.snapshot(to).into_iter().flat_map(|seen| seen.resources.keys());
        let asked = recorded.filter(|key| request.only.is_empty() || request.only.contains(&key.id));
        let asked = asked.map(|key| async move {
            let points = port.points(key).await.map_err(|source| {
                let address = Address::Region(to.clone());
                FleetError::Region { region: to.clone(), address, source: Box::new(source) }
            });
            Ok((key.clone(), points?))
        });
        let asked = asked.collect::<Vec<_>>();
        stream::iter(asked).buffer_unordered(QUESTIONS).try_collect().await
    }

    /// What would be done; with `explain`, also whether the source is down, which may take as long as the policy takes
    /// to find that. Asks the regions, and changes nothing.
    ///
    /// # Errors
    /// What was asked for makes no sense; the state cannot be read.
    pub async fn propose_failover(
        &self,
        request: &Request,
        explain: bool,
        watch: &Watch,
    ) -> Result<Proposal, FleetError> {
        let known = self.know_whether_down(request, explain, watch).await?;
        self.proposal(&known, request)
    }

    pub(super) fn proposal(&self, known: &Known, request: &Request) -> Result<Proposal, FleetError> {
        known.sight.expect_gone(&request.overrides.gone)?;
        let paused = known.sight.pauses().into_keys().cloned().collect();
        let snapshot = |region: &RegionId| known.sight.observed.snapshot(region);
        let runners = known.sight.ports.keys().filter(|region| snapshot(region).is_some_and(|seen| seen.runner));
        let runners = runners.cloned().collect();
        let facts = Facts {
            topology: &self.desired.topology,
            observed: &known.sight.observed,
            points: &known.points,
            runners: &runners,
            fence: &known.fence,
            last_met: known.last_met,
            verdict: known.verdict.as_ref(),
            last_automatic: known.last_automatic,
            paused: &paused,
            now: self.world.clock.now(),
        };
        propose(request, &facts).map_err(|unfit| self.unfit(unfit, &known.sight))
    }

    /// What was asked for makes no sense: why, and what would.
    fn unfit(&self, unfit: Unfit, sight: &Sight) -> FleetError {
        let reason = unfit.to_string();
        let help = match unfit {
            Unfit::UnknownRegion(region) => return self.unknown_region(&region),
            Unfit::UnknownResource(id) => {
                let recorded = sight.observed.regions.keys().filter_map(|region| sight.observed.snapshot(region));
                let known: BTreeSet<String> =
                    recorded.flat_map(|told| told.resources.keys()).map(|key| key.id.to_string()).collect();
                return FleetError::UnknownResource { id: id.to_string(), known: known.into_iter().collect() };
            }
            Unfit::SameRegion(_) => "name the region that is left, then the one that takes over".to_owned(),
            Unfit::NobodyAnswered(_) => "`status` says what each of them answered".to_owned(),
            Unfit::HeldElsewhere { resource, holder, from: _ } => {
                format!("to move it from there: `failover execute {holder} TO --vm {}`", resource.id)
            }
            Unfit::PointOfOne => "`replication points ID` names the points of one".to_owned(),
            Unfit::GracefulPoint => "leave out --point, or add `--strategy manual`".to_owned(),
            Unfit::NotByItself(_) => "`failover execute FROM TO` moves what it holds, once a person asks".to_owned(),
            Unfit::NoTarget(_) => "name one: `failover execute FROM TO` says what its gates find".to_owned(),
        };
        FleetError::Unfit { reason, help: Some(help) }
    }

    /// The same, once nothing is pulled any more: what is older than a point that another region has is refused.
    pub(super) fn proposal_here(&self, known: &Known, request: &Request) -> Result<Proposal, FleetError> {
        expect_here(self.proposal(known, request)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judgement_holds_for_a_while_and_until_somebody_sees_its_suspect() {
        let seconds = Duration::from_secs;
        assert!(holds(seconds(5), None), "nobody ever saw it");
        assert!(holds(seconds(5), Some(seconds(20))));
        assert!(!holds(seconds(5), Some(seconds(4))), "it was seen since");
        assert!(holds(HOLDS, None));
        assert!(!holds(HOLDS + seconds(1), None), "whoever judged may have slept");
    }
}
