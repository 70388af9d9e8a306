//! The judgement of an attempt on what its regions answered: of what somebody asked for and saw, and of what somebody else
//! began.
//!
//! Whatever was found before the regions were asked holds only as far as their answers say the same. A source that was
//! silent and takes part lives: what was confirmed, or that it is down, speaks of another one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::crew::Team;
use crate::failover::{Asker, Outcome as Proposed, Progress, Proposal, Request};
use crate::fleet::error::FleetError;
use crate::model::ResourceKey;

/// What is carried out.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// What somebody asked for, and saw beforehand: the source answered then, or it did not.
    Anew(Request, Answered),
    /// What somebody else opened is gone on with, as this says: for a person or, in a round, for nobody.
    GoneOn(Request, For),
}

/// Whether a source answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered(pub(super) bool);

/// For whom an open operation is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Somebody who asks for it.
    Person,
    /// A round: nothing live is cut off but by the policy.
    Round,
}

/// What a judgement went by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judgement {
    pub(super) source: Answered,
    /// Whether the source's being down was part of it.
    pub(super) by_policy: bool,
}

impl Team<'_> {
    /// What gates say of what was asked for, on these answers.
    pub(super) async fn judge_request(
        &mut self,
        progress: &Progress,
        request: &Request,
        then: Answered,
    ) -> Result<BTreeMap<ResourceKey, String>, String> {
        let (bid, from) = (&progress.bid, &progress.bid.failover.from);
        let now = Answered(progress.has_accepted(from));
        let by_policy = request.asker == Asker::Policy;
        self.judged = Some(Judgement { source: now, by_policy });
        // An earlier attempt may have stopped it; that it came back since is nobody's surprise.
        let was_stopped = bid.attempt.number > 1 && progress.notes.iter().any(|note| note.stopped() == Some(from));
        // Of one that is proven stopped nobody waits for an answer.
        let may_be_silent = !now.0 && progress.excused(from);
        if now != then && !was_stopped && !may_be_silent {
            let why = match (now.0, by_policy) {
                (true, true) => format!("{from} answers after all: it is not down"),
                (true, false) => format!("{from} answers after all, and can do its part: ask again"),
                (false, _) => format!("{from} answered before, and does not any more"),
            };
            return if bid.attempt.number > 1 { Err(why) } else { Ok(all_of(progress, &why)) };
        }
        let request = Request { to: Some(bid.to.clone()), operation: Some(bid.failover.id), ..request.clone() };
        self.renew_verdict(&request).await?;
        match self.manager.proposal_here(&self.known, &request) {
            Ok(proposal) if proposal.outcome == Proposed::Refused => Ok(all_of(progress, &figures(&proposal))),
            Ok(proposal) => {
                self.expects(progress, &proposal);
                Ok(proposal.held())
            }
            Err(error) => Ok(all_of(progress, &error.to_string())),
        }
    }

    /// What gates say of going on with what somebody else opened. Where they hold back all of it, nothing is taken
    /// back: what was begun may have had its effect.
    pub(super) async fn judge_going_on(
        &mut self,
        progress: &Progress,
        request: &Request,
        whom: For,
    ) -> Result<BTreeMap<ResourceKey, String>, String> {
        let (bid, from) = (&progress.bid, &progress.bid.failover.from);
        let source = Answered(progress.has_accepted(from));
        // Who gave up by order, or was cut off before, is not judged as one that lives.
        let by_policy = whom == For::Round && !source.0 && !progress.excused(from);
        self.judged = Some(Judgement { source, by_policy });
        if source.0 {
            let ends = (from, &bid.to);
            if let Err(error) = self.manager.expect_stoppable(&self.known, ends, &request.overrides) {
                return Err(in_words(&error));
            }
            if let Some(seen) = self.known.sight.observed.snapshot(from) {
                let moved = seen.resources.iter().filter(|(key, _)| bid.resources.contains(*key));
                self.epochs.extend(moved.map(|(key, record)| (key.clone(), record.epoch)));
            }
            return Ok(BTreeMap::new());
        }
        // After the first promotion only forward.
        if !progress.reached().is_empty() && !by_policy {
            return Ok(BTreeMap::new());
        }
        let asker = if by_policy { Asker::Policy } else { Asker::Person };
        let request = Request { asker, to: Some(bid.to.clone()), ..request.clone() };
        self.renew_verdict(&request).await?;
        match self.manager.proposal_here(&self.known, &request) {
            Ok(proposal) if proposal.outcome == Proposed::Refused => Err(figures(&proposal)),
            Ok(proposal) => {
                self.expects(progress, &proposal);
                Ok(proposal.held())
            }
            Err(error) => Err(in_words(&error)),
        }
    }

    /// Finds out anew whether the source is down, where the policy goes by that and what was found is old.
    async fn renew_verdict(&mut self, request: &Request) -> Result<(), String> {
        let now = self.manager.world.clock.since_boot();
        if request.asker != Asker::Policy || self.known.is_verdict_fresh(now) {
            return Ok(());
        }
        let found = self.manager.find_out_anew(&mut self.known, request, self.watch).await;
        found.map_err(|error| in_words(&error))
    }

    /// Has the event say what a proposal loses.
    pub(super) fn expects(&mut self, progress: &Progress, proposal: &Proposal) {
        let loss = proposal.going().filter_map(|one| Some((one.resource.clone(), one.loss.as_ref()?.at_most)));
        let loss: Vec<_> = loss.collect();
        self.loses(progress, loss);
        let points = proposal.going().filter_map(|one| Some((one.resource.clone(), one.point.as_ref()?.verified_at)));
        self.points = points.filter(|_| !proposal.loses_nothing).collect();
    }

    /// Has the event say what is lost. What was promoted before is not known to this run.
    pub(super) fn loses(&mut self, progress: &Progress, lost: impl IntoIterator<Item = (ResourceKey, Duration)>) {
        self.lost.extend(lost);
        let most = self.lost.values().max().copied();
        self.event.loss = if progress.reached().is_empty() { most } else { most.max(self.event.loss) };
    }
}

/// All resources, for one reason.
fn all_of(progress: &Progress, why: &str) -> BTreeMap<ResourceKey, String> {
    progress.bid.resources.iter().map(|key| (key.clone(), why.to_owned())).collect()
}

/// What the gates found that do not hold.
fn figures(proposal: &Proposal) -> String {
    proposal.failed_gates().map(|gate| gate.figure.as_str()).collect::<Vec<_>>().join("; ")
}

/// A refusal in a line.
fn in_words(error: &FleetError) -> String {
    let FleetError::Refused(gates) = error else { return error.to_string() };
    let told = gates.iter().map(|gate| match &gate.help {
        Some(help) => format!("{}: {help}", gate.detail),
        None => gate.detail.clone(),
    });
    told.collect::<Vec<_>>().join("; ")
}
