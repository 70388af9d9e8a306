//! What a failover is asked for, who confirms it, and what comes back.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failover::{Overrides, Proposal, Request};
use crate::fleet::options::Verdict;
use crate::fleet::report::ExitClass;
use crate::model::event::FailoverEvent;
use crate::model::{OperationId, RegionId};

/// What a failover is asked for.
#[derive(Debug, Clone)]
pub struct FailoverOptions {
    /// From where, to where, what, how, and what whoever asks takes upon themselves.
    pub request: Request,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Whether this state takes the controller's place first.
    pub take_over: bool,
    /// Whether the reviewer is shown what a judgement on the source rests on, which takes as long as the policy says.
    pub explain: bool,
}

impl FailoverOptions {
    /// A person's plain request: graceful where `from` answers, else as one by hand, with every gate.
    pub fn new(from: RegionId, to: RegionId) -> Self {
        Self { request: Request::new(from, to), reason: None, take_over: false, explain: false }
    }

    /// The same for this reason, which history keeps.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }
}

/// What going on with an open operation, or leading it back, is asked for.
#[derive(Debug, Clone, Default)]
pub struct ResumeOptions {
    /// Which; none: the only one that is open.
    pub operation: Option<OperationId>,
    /// Whether it is led back.
    pub abort: bool,
    /// Where it leads from now on; none: where it led before. Not where something of it was promoted elsewhere.
    pub to: Option<RegionId>,
    /// What whoever asks takes upon themselves.
    pub overrides: Overrides,
    /// Whether this state takes the controller's place first.
    pub take_over: bool,
}

/// Sees a failover before its first change, and says whether it is carried out.
#[async_trait]
pub trait FailoverReview: Send {
    /// Shows the proposal, and asks where that is wanted.
    async fn review(&mut self, proposal: &Proposal) -> Verdict;

    /// Sees a failover that gates let not pass, before the refusal is returned.
    fn refused(&mut self, _proposal: &Proposal) {}
}

/// What became of a failover.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FailoverReport {
    /// As history has it; none: there was nothing to do.
    pub event: Option<FailoverEvent>,
    /// What was decided.
    pub proposal: Option<Proposal>,
    /// Regions that learned nothing of the end, and why.
    #[serde(default)]
    pub unheard: BTreeMap<RegionId, String>,
    /// The exit code's class.
    #[serde(skip, default = "done")]
    #[schemars(skip)]
    pub class: ExitClass,
}

const fn done() -> ExitClass {
    ExitClass::Done
}
