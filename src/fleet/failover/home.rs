//! The way home: what a failover moved goes back to where the files say that it is born.
//!
//! Each holder's part is a graceful failover of its own, with its own gates, question and event: what is not home yet
//! when one is refused, or cut off, is found again by the next look.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::ask::{FailoverOptions, FailoverReport, FailoverReview};
use super::automatic::{ByItself, Unasked};
use super::conduct::told;
use crate::failover::{Asker, Outcome as Proposed, Overrides, Proposal, Request};
use crate::fleet::accept::{HeldElsewhere, LeftOut, held};
use crate::fleet::error::{FleetError, Gate};
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::report::ExitClass;
use crate::fleet::road::Sight;
use crate::model::event::{FailoverEvent, FailoverOutcome};
use crate::model::policy::{Failback, Strategy};
use crate::model::{RegionId, ResourceId};
use crate::state::StateFile;

/// What going home is asked for.
#[derive(Debug, Clone, Default)]
pub struct BackOptions {
    /// Where to; none: wherever something is born.
    pub home: Option<RegionId>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// What whoever asks takes upon themselves.
    pub overrides: Overrides,
    /// Whether this state takes the controller's place first.
    pub take_over: bool,
}

/// What went home.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Back {
    /// One for each holder and home.
    pub reports: Vec<FailoverReport>,
    /// What stays where it is, because nobody knows for sure who holds it.
    pub left_out: Vec<LeftOut>,
    /// Holders and homes between which nothing went, and why.
    pub held_back: Vec<HeldBack>,
    /// The first such reason.
    #[serde(skip)]
    #[schemars(skip)]
    pub error: Option<FleetError>,
}

/// A part that did not go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeldBack {
    /// The holder.
    pub from: RegionId,
    /// The home.
    pub to: RegionId,
    /// Why.
    pub reason: String,
}

impl MultiRegionManager {
    /// The failovers that bring home what is held elsewhere than the files say, and what stays out of them.
    async fn homeward(&self, options: &BackOptions) -> Result<(Vec<Request>, Vec<LeftOut>), FleetError> {
        if let Some(region) = &options.home {
            self.declared_region(region)?;
        }
        let names: Vec<String> = options.home.iter().map(ToString::to_string).collect();
        let elsewhere = self.held_elsewhere(&names).await?;
        let wanted = |held: &HeldElsewhere| options.home.as_ref().is_none_or(|wanted| *wanted == held.declared);
        let requests = ways(elsewhere.moved.into_iter().filter(wanted));
        let requests = requests.map(|request| Request { overrides: options.overrides.clone(), ..request });
        Ok((requests.collect(), elsewhere.left_out))
    }

    /// What would go home. Asks the regions, and changes nothing.
    ///
    /// # Errors
    /// As [`held_elsewhere`](Self::held_elsewhere).
    pub async fn propose_back(&self, options: &BackOptions, watch: &Watch) -> Result<Vec<Proposal>, FleetError> {
        let mut proposals = Vec::new();
        for request in self.homeward(options).await?.0 {
            proposals.push(self.propose_failover(&request, false, watch).await?);
        }
        Ok(proposals)
    }

    /// Brings home what is held elsewhere than the files say.
    ///
    /// # Errors
    /// As [`held_elsewhere`](Self::held_elsewhere). A part that does not go is told in what comes back, and keeps the
    /// parts after it from nothing, but where a signal came.
    pub async fn bring_back(
        &self,
        options: &BackOptions,
        review: &mut dyn FailoverReview,
        watch: &Watch,
    ) -> Result<Back, FleetError> {
        // A home in a directory may have missed how what it held went away.
        self.have_hear(&self.look().await?).await;
        let (requests, left_out) = self.homeward(options).await?;
        let mut back = Back { reports: Vec::new(), left_out, held_back: Vec::new(), error: None };
        for request in requests {
            let take_over = options.take_over && back.reports.is_empty();
            let (from, to) = (request.from.clone(), request.to.clone());
            let options = FailoverOptions { request, reason: options.reason.clone(), take_over, explain: false };
            match self.perform_failover(&options, review, watch).await {
                Ok(report) => back.reports.push(report),
                Err(FleetError::Interrupted) => {
                    back.error = Some(FleetError::Interrupted);
                    break;
                }
                Err(error) => {
                    let reason = error.to_string();
                    back.held_back.extend(to.map(|to| HeldBack { from, to, reason }));
                    back.error.get_or_insert(error);
                }
            }
        }
        Ok(back)
    }
}

impl MultiRegionManager {
    /// Brings home what an automatic failover moved, where the policy says `failback = "automatic"`: gracefully, once all
    /// of it is in sync there, nobody looks down, and the cooldown is over. What a person moved stays until a person
    /// brings it back, and so does what this state knows nothing of.
    pub(super) async fn fail_back_by_policy(
        &self,
        sight: &Sight,
        done: &mut ByItself,
        watch: &Watch,
    ) -> Result<(), FleetError> {
        match self.desired.topology.policy.failover.failback {
            Failback::Automatic => {}
            Failback::Manual => return Ok(()),
        }
        let Some(reader) = StateFile::new(&self.settings.state).read()? else { return Ok(()) };
        let past = reader.failovers(None, None)?;
        drop(reader);
        // The epoch is that of the last operation that moved it, whoever carried that out, from whatever state.
        let moved = |held: &HeldElsewhere, event: &FailoverEvent| {
            event.outcome == Some(FailoverOutcome::Completed)
                && event.epoch == Some(held.epoch)
                && event.to_region_id == held.holder
        };
        let is_automatic = |held: &HeldElsewhere| {
            past.iter().any(|event| event.automatic && moved(held, event))
                && sight.observed.snapshot(&held.declared).is_some()
        };
        let elsewhere = held(&self.desired.topology, &sight.observed, |_, _, _| true);
        for request in ways(elsewhere.moved.into_iter().filter(is_automatic)) {
            let request = Request { asker: Asker::Failback, ..request };
            let proposal = self.propose_failover(&request, false, watch).await?;
            let (from, to) = (request.from.clone(), proposal.to.clone());
            if proposal.outcome != Proposed::Goes {
                // It waits, which is no fault of this round.
                let mut gates: Vec<Gate> = proposal.failed_gates().map(told).collect();
                gates.dedup_by(|one, before| one.code == before.code);
                self.tell_held(&from, "", &gates, watch);
                continue;
            }
            let reason = Some(format!("failback: {to} answers everybody again, and is in sync"));
            let options = FailoverOptions { request, reason, take_over: false, explain: false };
            match self.perform_failover(&options, &mut Unasked::default(), watch).await {
                Ok(report) => {
                    done.took(&report);
                    self.tell_end(report.event, watch);
                }
                Err(error) => self.take_refusal(&from, None, error, done, watch)?,
            }
        }
        Ok(())
    }
}

/// One graceful failover for each holder and home.
fn ways(elsewhere: impl Iterator<Item = HeldElsewhere>) -> impl Iterator<Item = Request> {
    let mut ways: BTreeMap<(RegionId, RegionId), BTreeSet<ResourceId>> = BTreeMap::new();
    for held in elsewhere {
        ways.entry((held.holder, held.declared)).or_default().insert(held.resource.id);
    }
    ways.into_iter().map(|((from, to), only)| Request {
        only,
        strategy: Some(Strategy::Graceful),
        ..Request::new(from, to)
    })
}

impl Back {
    /// How much of what was asked for was done.
    pub fn class(&self) -> ExitClass {
        let rest =
            if self.left_out.is_empty() && self.held_back.is_empty() { ExitClass::Done } else { ExitClass::Partial };
        self.reports.iter().map(|report| report.class).max().map_or(rest, |class| class.max(rest))
    }

    /// Whether any proposal of these is refused.
    pub fn is_refused(proposals: &[Proposal]) -> bool {
        proposals.iter().any(|proposal| proposal.outcome == Proposed::Refused)
    }
}
