//! Why an attempt cannot go on, and what is to be done about that.

use std::collections::BTreeSet;

use super::order::Refusal;
use super::progress::{Answer, Progress};
use crate::model::failover::{Direction, Hook, Note};
use crate::model::{RegionId, ResourceKey};

/// Why an attempt cannot go on. What was accepted stays open until it is withdrawn, led back or resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Impasse {
    /// A region that is needed did not answer.
    Missing(RegionId, String),
    /// A region refused.
    Refused(RegionId, Refusal),
    /// A region never accepts the operation any more: it leads nowhere but back.
    Over(RegionId),
    /// The starter did not answer an order to start something: it may have.
    StarterSilent(RegionId, String),
    /// The starter holds resources that it could not start.
    NotStarted(RegionId, BTreeSet<ResourceKey>),
    /// The operation has led to another region before, and leads there.
    NewAttempt(RegionId),
    /// A hook failed.
    HookFailed(Hook, String),
    /// The source did not stop what it was asked to, or runs or holds what nobody else knows it to.
    NotStopped(RegionId, BTreeSet<ResourceKey>),
    /// Nothing at the source could stop these machines or see them stopped, and the target would start them.
    Unwatched(RegionId, BTreeSet<ResourceKey>),
    /// Gates hold back what is gone on with. What it has begun stays as it is.
    Held(String),
    /// A region must be cut off, and nothing can do that.
    NotFenced(RegionId),
    /// It was promoted there: the operation leads only forward.
    Promoted(RegionId),
    /// Everything runs there, and no region has said that it closed the operation.
    NotClosed(RegionId),
    /// A person cut the region off that is to start something, and did not let it in since.
    CutOff(RegionId),
    /// Nothing of it may go on.
    NothingLeft,
}

/// What is to be done where an attempt cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recourse {
    /// Nothing is changed: all that was accepted is taken back, see [`Progress::retreat`].
    Retreat,
    /// A new attempt that leads forward to this region.
    Forward(RegionId),
    /// A new attempt that leads forward to the same region, without these, see [`Progress::without`].
    LeaveOut(BTreeSet<ResourceKey>),
    /// The target may be running: a new attempt to another region, which has this one cut off; or none, for now.
    PassOver(RegionId),
    /// A new attempt that leads back.
    Abort,
    /// Nothing, for now: it stays open, is shown first, and may be resumed or aborted later.
    Leave,
}

impl Progress {
    /// What is to be done about an impasse. Where a person is asked, or a policy says otherwise, a [`Recourse::Abort`] may
    /// as well be left, and resumed.
    pub fn recourse(&self, why: &Impasse) -> Recourse {
        let forward = self.bid.direction == Direction::Forward;
        match why {
            Impasse::NewAttempt(region) if *region == self.bid.failover.from => Recourse::Abort,
            Impasse::NewAttempt(region) | Impasse::Promoted(region) => Recourse::Forward(region.clone()),
            Impasse::Refused(_, Refusal::NotController(_)) if self.is_untouched() => Recourse::Retreat,
            // Somebody else has gone on with it, or may go on with everything.
            Impasse::Refused(_, Refusal::NotController(_) | Refusal::Attempt(_)) => Recourse::Leave,
            _ if self.is_untouched() => Recourse::Retreat,
            Impasse::Held(_) => Recourse::Leave,
            // It took back what it could not start, or says in the next attempt that it did not.
            Impasse::NotStarted(_, keys) if forward => Recourse::LeaveOut(keys.clone()),
            // What a silent region may run, or have given up, nobody may call taken back.
            Impasse::NothingLeft if forward && self.silence_hides_something() => Recourse::Leave,
            Impasse::NothingLeft if forward && self.given_up.is_empty() && !self.may_run_at_target() => {
                Recourse::Retreat
            }
            Impasse::StarterSilent(region, _) if forward => Recourse::PassOver(region.clone()),
            // An earlier attempt may have started something there.
            Impasse::Missing(region, _) if forward && *region == self.bid.to && self.bid.attempt.number > 1 => {
                Recourse::PassOver(region.clone())
            }
            _ if forward && !self.may_run_at_target() => Recourse::Abort,
            Impasse::Missing(..)
            | Impasse::Refused(..)
            | Impasse::Over(_)
            | Impasse::StarterSilent(..)
            | Impasse::NotStarted(..)
            | Impasse::HookFailed(..)
            | Impasse::NotStopped(..)
            | Impasse::Unwatched(..)
            | Impasse::NotFenced(_)
            | Impasse::NotClosed(_)
            | Impasse::CutOff(_)
            | Impasse::NothingLeft => Recourse::Leave,
        }
    }

    /// Whether the operation has changed nothing anywhere: its first attempt, and no step of it that could.
    fn is_untouched(&self) -> bool {
        let hook = |note: &Note| matches!(note, Note::HookIntended { .. } | Note::HookDone { .. });
        self.bid.attempt.number == 1 && !self.touched && !self.notes.iter().any(hook)
    }

    /// Whether an earlier attempt may have started something, or have had it given up, at a region that does not answer
    /// this one and is not proven stopped.
    pub(super) fn silence_hides_something(&self) -> bool {
        let silent = |region: &&RegionId| matches!(self.accepted.get(*region), Some(Answer::Silent(_)));
        let hides = |region: &RegionId| !self.excused(region);
        self.bid.attempt.number > 1 && self.cut.iter().filter(silent).any(hides)
    }

    fn may_run_at_target(&self) -> bool {
        !self.started.is_empty() || !self.promoted.is_empty()
    }

    /// From now on, takes back what was accepted; for an attempt that changed nothing, or whose changes were taken back:
    /// see [`Recourse::Retreat`].
    pub fn retreat(&mut self) {
        self.retreating = true;
    }
}
