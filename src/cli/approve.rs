//! The question before the first change.
//!
//! The plan is shown, and only the word `yes` is an answer. Where nobody can be asked, nothing is done, and the flag
//! that approves is named.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use super::error::CliError;
use super::session::Session;
use crate::fleet::{FleetError, Review, Verdict};
use crate::plan::document::Plan;
use crate::render::plan;

/// How a run is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approval {
    /// By an option, or by the saved plan that is carried out.
    Given,
    /// By an answer.
    Asked,
}

/// Shows the plan and gets it approved.
#[derive(Debug)]
pub(crate) struct Reviewer {
    session: Arc<Session>,
    approval: Approval,
    /// How many actions there will be; for whoever shows progress.
    actions: Arc<AtomicUsize>,
    declined: Option<CliError>,
}

impl Reviewer {
    /// A review for one run.
    pub(crate) fn new(session: &Arc<Session>, approval: Approval) -> Self {
        Self { session: Arc::clone(session), approval, actions: Arc::default(), declined: None }
    }

    /// How many actions the plan has, once it was shown.
    pub(crate) fn actions(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.actions)
    }

    /// The error of a run that was refused because nobody approved it says how to.
    pub(crate) fn explain(self, error: FleetError) -> CliError {
        match (error, self.declined) {
            (FleetError::Refused(_) | FleetError::Interrupted, Some(declined)) => declined,
            (error, _) => error.into(),
        }
    }
}

#[async_trait]
impl Review for Reviewer {
    async fn review(&mut self, plan: &Plan) -> Verdict {
        let session = &self.session;
        self.actions.store(plan.effects().count(), Ordering::Relaxed);
        let asks = self.approval == Approval::Asked && session.can_ask();
        // With --quiet the plan is shown only to whoever is asked about it.
        if session.for_people() && (asks || !session.globals.quiet) {
            let text = plan::people(plan, session.printer.output_look(), session.globals.verbose);
            session.printer.result(&text);
            // What follows stands apart; nothing does where the plan has said it all.
            if !plan.is_settled() || !plan.moved.is_empty() {
                session.printer.result("\n");
            }
        }
        if self.approval == Approval::Given || plan.effects().next().is_none() {
            return Verdict::Proceed;
        }
        if !session.can_ask() {
            self.declined = Some(CliError::NotApproved {
                detail: format!("nobody can be asked here, and nothing was changed: {}", plan::verdict(plan)),
                help: "Add --auto-approve, or save the plan with `plan --out FILE` and apply that file.".to_owned(),
            });
            return Verdict::Decline;
        }
        match ask(session, &format!("Do this? {}. Only `yes` is taken for a yes: ", plan::verdict(plan))).await {
            Answer::Yes => Verdict::Proceed,
            Answer::No(said) => {
                self.declined = Some(CliError::NotApproved {
                    detail: format!("not approved, and nothing was changed: the answer was `{said}`, not `yes`"),
                    help: "Answer `yes`, or add --auto-approve.".to_owned(),
                });
                Verdict::Decline
            }
            Answer::Interrupted => {
                self.declined = Some(CliError::Interrupted);
                Verdict::Interrupt
            }
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The word `yes`.
    Yes,
    /// Something else.
    No(String),
    /// A signal.
    Interrupted,
}

/// Asks for the word `yes`.
pub(crate) async fn ask(session: &Session, question: &str) -> Answer {
    let Some(mut input) = session.input.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return Answer::No(String::new());
    };
    session.printer.ask(question);
    let (to, from) = tokio::sync::oneshot::channel();
    // A thread of its own: a blocking read cannot be called back, and the runtime must not wait for it at the end.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = input.read_line(&mut line);
        let _ = to.send((read.map(|_| line), input));
    });
    tokio::select! {
        () = session.cancel.cancelled() => {
            session.printer.ask("\n");
            Answer::Interrupted
        }
        answer = from => match answer {
            Ok((line, input)) => {
                *session.input.lock().unwrap_or_else(PoisonError::into_inner) = Some(input);
                match line.unwrap_or_default().trim() {
                    "yes" => Answer::Yes,
                    other => Answer::No(other.to_owned()),
                }
            }
            Err(_) => Answer::No(String::new()),
        }
    }
}
