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
        let question = Question {
            asks: format!("Do this? {}.", plan::verdict(plan)),
            otherwise: format!("nothing was changed ({})", plan::verdict(plan)),
            help: "Add --auto-approve, or save the plan with `plan --out FILE` and apply that file.",
        };
        verdict(confirm(session, &question).await, &mut self.declined)
    }
}

/// What a person is to answer with the word `yes`.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    /// As it is asked, without which answer is taken.
    pub(crate) asks: String,
    /// What is told where the answer is another one, or nobody can be asked.
    pub(crate) otherwise: String,
    /// How to go on without being asked.
    pub(crate) help: &'a str,
}

/// Asks before anything is changed: the one way in which every command does.
///
/// # Errors
/// [`CliError::NotApproved`] where nobody can be asked, or answers anything but `yes`; [`CliError::Interrupted`].
pub(crate) async fn confirm(session: &Session, question: &Question<'_>) -> Result<(), CliError> {
    let Question { asks, otherwise, help } = question;
    let detail = if session.can_ask() {
        match ask(session, &format!("{asks} Only `yes` is taken for a yes: ")).await {
            Answer::Yes => return Ok(()),
            Answer::No(said) => format!("{otherwise}: the answer was `{said}`, not `yes`"),
            Answer::Interrupted => return Err(CliError::Interrupted),
        }
    } else {
        format!("nobody can be asked here, and {otherwise}")
    };
    Err(CliError::NotApproved { detail, help: (*help).to_owned() })
}

/// The same for whoever reviews a run; why it was declined is kept.
pub(crate) fn verdict(confirmed: Result<(), CliError>, declined: &mut Option<CliError>) -> Verdict {
    match confirmed {
        Ok(()) => Verdict::Proceed,
        Err(error) => {
            let interrupted = matches!(error, CliError::Interrupted);
            *declined = Some(error);
            if interrupted { Verdict::Interrupt } else { Verdict::Decline }
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The word `yes`.
    Yes,
    /// Something else.
    No(String),
    /// A signal.
    Interrupted,
}

/// Asks for the word `yes`.
async fn ask(session: &Session, question: &str) -> Answer {
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
