//! `failover execute`: moves what one region holds to another one.

use std::sync::Arc;

use async_trait::async_trait;
use clap::{Args, ValueEnum};

use super::super::super::approve::{Question, confirm, verdict};
use super::super::super::error::CliError;
use super::super::super::exit::Exit;
use super::super::super::session::Session;
use super::super::replication::selector;
use super::given::Given;
use crate::failover::{Outcome, Proposal, Request, Wish};
use crate::fleet::{FailoverOptions, FailoverReview, FleetError, Verdict};
use crate::model::policy::Strategy;
use crate::model::{RegionId, ResourceId};
use crate::render::{failover, failovers};

/// Move what a region holds to another region
///
/// Graceful where the source answers: it is brought to a stop, its last writes are copied, and nothing is lost, or it
/// goes on running. Where it does not answer, it must be proven stopped first: by the fence hook, or by your word.
/// Every gate is judged before the first change; a refusal says what each one found and what it costs to pass it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  debvisor-region failover execute us-east-1 us-west-1 --dry-run
  debvisor-region failover execute us-east-1 us-west-1 --reason \"new kernel\"
  debvisor-region failover execute us-east-1 us-west-1 --vm web-vm-1
  debvisor-region failover execute us-east-1 us-west-1 --vm web-vm-1 --point 7
  debvisor-region failover execute us-east us-west --point 2026-11-22T03:00:00Z
  debvisor-region failover execute us-east-1 us-west-1 --fenced \"power is off\"")]
pub(crate) struct Execute {
    /// The region that holds them
    #[arg(value_name = "FROM")]
    from: RegionId,
    /// The region that is to hold them
    #[arg(value_name = "TO")]
    to: RegionId,
    /// How [default: automatic]
    #[arg(long, value_enum)]
    strategy: Option<How>,
    /// Only this machine; may be repeated
    #[arg(long, value_name = "ID")]
    vm: Vec<ResourceId>,
    /// Promote another point than the newest: its number or name (of one machine, with --vm), or a moment, such as
    /// 2026-11-22T03:00:00Z, for the newest point of each machine that was read then or before
    #[arg(long, value_name = "POINT")]
    point: Option<String>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask; every gate is still judged
    #[arg(long)]
    force: bool,
    /// Show what would be done, and change nothing; the exit code is that of doing it: 3 where some of it would stay, 5
    /// where all of it would
    #[arg(long)]
    dry_run: bool,
    /// Show what each judgement rests on: whether the source is down, who saw it when
    #[arg(long)]
    explain: bool,
    /// Take the controller's place first
    #[arg(long)]
    take_over: bool,
    /// What lets gates pass.
    #[command(flatten)]
    given: Given,
}

/// How it goes about its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// Graceful if the source answers, else manual
    Automatic,
    /// The source need not answer; it must be proven stopped
    Manual,
    /// Nothing is lost, or nothing is changed
    Graceful,
    /// As automatic, and on to the next candidate where one refuses or fails
    Cascading,
}

impl From<How> for Strategy {
    fn from(how: How) -> Self {
        match how {
            How::Automatic => Self::Automatic,
            How::Manual => Self::Manual,
            How::Graceful => Self::Graceful,
            How::Cascading => Self::Cascading,
        }
    }
}

/// What is promoted: a moment, or else a point by its number or name.
fn wish(text: String) -> Wish {
    text.parse().map_or_else(|_| Wish::One(selector(Some(text))), Wish::AsOf)
}

/// How it would end, if it were done now and all went well.
pub(super) const fn would_end(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Nothing | Outcome::Goes => Exit::Done,
        Outcome::Partly => Exit::Partial,
        Outcome::Refused => Exit::Refused,
    }
}

impl Execute {
    pub(super) async fn run(self, session: &Arc<Session>) -> Result<Exit, CliError> {
        let Self { from, to, strategy, vm, point, reason, force, dry_run, explain, take_over, given } = self;
        let fleet = session.fleet()?;
        let request = Request {
            only: vm.into_iter().collect(),
            strategy: strategy.map(Strategy::from),
            point: point.map_or(Wish::Newest, wish),
            overrides: given.overrides(),
            ..Request::new(from, to)
        };
        if dry_run {
            let (watch, feed) = session.watch_for_people();
            let proposal = fleet.propose_failover(&request, explain, &watch).await;
            feed.end();
            let proposal = proposal?;
            session.print(&proposal, |look| failover::proposal(&proposal, look, explain))?;
            return Ok(would_end(proposal.outcome));
        }
        let mut reviewer = Reviewer::new(session, force, explain);
        let (watch, feed) = session.watch_for_people();
        let options = FailoverOptions { request, reason, take_over, explain };
        let report = fleet.perform_failover(&options, &mut reviewer, &watch).await;
        feed.end();
        let report = report.map_err(|error| reviewer.explain_refusal(error))?;
        session.print(&report, |look| failovers::report(&report, look))?;
        Ok(report.class.into())
    }
}

/// Shows a failover and gets it confirmed.
pub(super) struct Reviewer {
    session: Arc<Session>,
    force: bool,
    explain: bool,
    declined: Option<CliError>,
    /// What lets every gate pass that refused it, as options.
    past: Option<String>,
}

impl Reviewer {
    /// One that asks nothing where `force` says so.
    pub(super) fn new(session: &Arc<Session>, force: bool, explain: bool) -> Self {
        Self { session: Arc::clone(session), force, explain, declined: None, past: None }
    }

    fn show(&self, proposal: &Proposal) {
        let session = &self.session;
        if session.for_people() && !session.globals.quiet {
            let text = failover::proposal(proposal, session.printer.output_look(), self.explain);
            session.printer.result(&text);
            session.printer.result("\n");
        }
    }

    /// The error of a failover that nobody confirmed says how to; that of a refused one, the whole command that passes.
    pub(super) fn explain_refusal(self, error: FleetError) -> CliError {
        match (error, self.declined, self.past) {
            (FleetError::Refused(_) | FleetError::Interrupted, Some(declined), _) => declined,
            (FleetError::Refused(mut gates), None, Some(past)) => {
                let command = format!("{} {past}", self.session.command_line);
                // On a line of its own, to be copied.
                let told = format!("For whoever knows that its words are true, this passes every gate:\n  {command}");
                self.session.printer.note(&told);
                if let Some(last) = gates.last_mut().filter(|_| !self.session.for_people()) {
                    let help = last.help.take().map(|help| format!("{help}; ")).unwrap_or_default();
                    last.help = Some(format!("{help}all of it, if that is so: `{command}`"));
                }
                FleetError::Refused(gates).into()
            }
            (error, ..) => error.into(),
        }
    }
}

#[async_trait]
impl FailoverReview for Reviewer {
    fn refused(&mut self, proposal: &Proposal) {
        self.past = failover::past(proposal);
        self.show(proposal);
    }

    async fn review(&mut self, proposal: &Proposal) -> Verdict {
        let session = &self.session;
        self.show(proposal);
        if self.force {
            return Verdict::Proceed;
        }
        let question = Question {
            asks: format!("Fail over from {} to {}?", proposal.from, proposal.to),
            otherwise: "nothing was changed".to_owned(),
            help: "Add --force where nobody can be asked; every gate is judged all the same.",
        };
        verdict(confirm(session, &question).await, &mut self.declined)
    }
}
