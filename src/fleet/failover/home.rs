//! The way home: what a failover moved goes back to where the files say that it is born.
//!
//! Each holder's part is a graceful failover of its own, with its own gates, question and event: what is not home yet
//! when one is refused, or cut off, is found again by the next look.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::ask::{FailoverOptions, FailoverReport, FailoverReview};
use crate::failover::{Outcome as Proposed, Overrides, Proposal, Request};
use crate::fleet::accept::LeftOut;
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::report::ExitClass;
use crate::model::policy::Strategy;
use crate::model::{RegionId, ResourceId};

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
        let mut ways: BTreeMap<(RegionId, RegionId), BTreeSet<ResourceId>> = BTreeMap::new();
        let wanted = |home: &RegionId| options.home.as_ref().is_none_or(|wanted| wanted == home);
        for held in elsewhere.moved.into_iter().filter(|held| wanted(&held.declared)) {
            ways.entry((held.holder, held.declared)).or_default().insert(held.resource.id);
        }
        let request = |((from, to), only)| Request {
            only,
            strategy: Some(Strategy::Graceful),
            overrides: options.overrides.clone(),
            ..Request::new(from, to)
        };
        Ok((ways.into_iter().map(request).collect(), elsewhere.left_out))
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
