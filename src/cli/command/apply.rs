//! `apply`: the regions become what the topology says.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::super::approve::{Approval, Reviewer};
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::finish;
use super::super::session::Session;
use super::plan::Scope;
use crate::fleet::{ExitClass, PlanOptions, SavedOptions};
use crate::render::event::Tells;

/// Make the regions what the topology says
///
/// Plans under the state's lock, shows the plan, asks for the word `yes`, and carries it out in parallel and in order.
/// Everything that could be done stands and is recorded; a second run goes on from there. A saved plan is its own
/// approval: it is carried out exactly, or refused where anything that it touches has changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region apply
  debvisor-region apply --auto-approve
  debvisor-region apply plan.json
  debvisor-region apply --target vm.web-vm-1
  debvisor-region apply --auto-approve --format json   # one event a line")]
pub(crate) struct Apply {
    /// Carry out this plan, saved by `plan --out`
    #[arg(value_name = "PLANFILE", conflicts_with_all = ["target", "prune", "adopt"])]
    file: Option<PathBuf>,
    /// Ask nothing
    #[arg(long)]
    auto_approve: bool,
    /// Take the controller's place first; every registered region must answer
    #[arg(long)]
    take_over: bool,
    /// What to apply.
    #[command(flatten)]
    scope: Scope,
}

impl Apply {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { file, auto_approve, take_over, scope } = self;
        let saved = file.as_deref().map(super::show::read).transpose()?;
        let fleet = session.fleet()?;
        let approval = if auto_approve || saved.is_some() { Approval::Given } else { Approval::Asked };
        let mut reviewer = Reviewer::new(session, approval);
        let (watch, feed) = session.watch(reviewer.actions(), Tells::WhatHappens);
        let result = match saved {
            Some(plan) => {
                let options = SavedOptions { max_prune: scope.max_prune(), take_over };
                fleet.apply_saved(plan, &options, &mut reviewer, &watch).await
            }
            None => fleet.apply(&PlanOptions { take_over, ..scope.options(false) }, &mut reviewer, &watch).await,
        };
        feed.end();
        let report = result.map_err(|error| reviewer.explain(error))?;
        // The plan that was shown has said that there is nothing to do.
        let idle = report.class == ExitClass::Done && report.outcomes.is_empty();
        if session.for_people() && !session.globals.quiet && idle {
            return Ok(Exit::Done);
        }
        finish::run(session, &report)
    }
}
