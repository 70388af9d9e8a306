//! The end of a run: its figures, and what went wrong at the lines that asked for it.

use super::args::Format;
use super::error::{self, CliError};
use super::exit::Exit;
use super::session::Session;
use crate::fleet::RunReport;
use crate::render::{Report, Talk, document, report, run};

/// Prints what became of a run, and gives its exit code.
///
/// # Errors
/// Where it has no form in the format asked for.
pub(super) fn run(session: &Session, done: &RunReport) -> Result<Exit, CliError> {
    match session.globals.format {
        // The last of the JSON lines was the run's own summary.
        Format::Json => {}
        Format::Yaml => session.printer.result(&document::yaml(&run::RunView::from(done))?),
        Format::Table | Format::Markdown => {
            session.printer.result(&run::run(done, session.printer.output_look()));
        }
    }
    tell(session, &error::of_run(done, session.loaded().as_deref()));
    Ok(done.class.into())
}

/// Tells what went wrong, as the format asks for, on standard error.
pub(super) fn tell(session: &Session, reports: &[Report]) {
    if reports.is_empty() {
        return;
    }
    let printer = &session.printer;
    if session.globals.format == Format::Json {
        printer.error(&report::json(reports));
    } else {
        // Apart from what stands above it.
        if printer.has_begun() && printer.talk() >= Talk::Normal && session.for_people() {
            printer.error("");
        }
        printer.error(&report::people(reports, printer.error_look()));
    }
}
