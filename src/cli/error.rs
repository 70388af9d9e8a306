//! The only place where errors become advice and exit codes.
//!
//! Errors live beside their cause and say what happened; here each one gets the line of the topology that asked for
//! it, a way on, a name for programs and its exit code.

use std::io;
use std::path::PathBuf;

use super::exit::Exit;
use crate::config::{Loaded, Problem, Problems};
use crate::execute::event::Outcome;
use crate::fleet::{ExitClass, FleetError, Gate, RunReport};
use crate::live::port::PortError;
use crate::model::Address;
use crate::plan::PlanRefusal;
use crate::plan::document::Blocked;
use crate::plan::saved::SavedPlanError;
use crate::render::Report;
use crate::render::document::DocumentError;
use crate::state::StateError;

/// Why a command ends without having done what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Something is wrong with the topology.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The fleet could not or would not.
    #[error(transparent)]
    Fleet(Box<FleetError>),
    /// The state file could not be used.
    #[error(transparent)]
    State(Box<StateError>),
    /// A saved plan could not be used.
    #[error("{}: {source}", .path.display())]
    SavedPlan {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SavedPlanError,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A result has no form in the format asked for.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The command line asks for what does not go together.
    #[error("{0}")]
    Usage(String),
    /// Asked for, and not there or not possible.
    #[error("{message}")]
    Unfit {
        /// What is not possible.
        message: String,
        /// What is.
        help: Option<String>,
    },
    /// Nobody approved it.
    #[error("not approved")]
    NotApproved {
        /// What happened instead.
        detail: String,
        /// How to approve it.
        help: String,
    },
    /// A signal came before there was anything to record.
    #[error("interrupted")]
    Interrupted,
    /// The program is wrong.
    #[error("the program met a mistake of its own: {0}")]
    Bug(String),
}

impl From<FleetError> for CliError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(Box::new(error))
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        Self::State(Box::new(error))
    }
}

impl CliError {
    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Problems(_)
            | Self::SavedPlan { .. }
            | Self::File { .. }
            | Self::Document(_)
            | Self::Unfit { .. }
            | Self::Bug(_) => Exit::Failed,
            Self::Fleet(error) => match &**error {
                FleetError::State(StateError::Locked { .. }) => Exit::Locked,
                FleetError::Refused(_) => Exit::Refused,
                FleetError::Interrupted => Exit::Interrupted,
                FleetError::State(_)
                | FleetError::Journal(_)
                | FleetError::Topology(_)
                | FleetError::Request(_)
                | FleetError::UnknownRegion { .. }
                | FleetError::UnknownResource { .. }
                | FleetError::UnknownPair { .. }
                | FleetError::Argument { .. }
                | FleetError::Conflict { .. }
                | FleetError::Unfit { .. }
                | FleetError::TakeOver { .. }
                | FleetError::Io { .. }
                | FleetError::Region { .. } => Exit::Failed,
            },
            Self::State(error) if matches!(**error, StateError::Locked { .. }) => Exit::Locked,
            Self::State(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            Self::NotApproved { .. } => Exit::Refused,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// What is told of it.
    pub(crate) fn reports(&self, loaded: Option<&Loaded>) -> Vec<Report> {
        match self {
            Self::Problems(problems) => problems.0.iter().map(problem).collect(),
            Self::Fleet(error) => fleet(error, loaded),
            Self::State(error) => vec![state(error)],
            Self::SavedPlan { source, .. } => {
                let report = Report::new("saved_plan", self.to_string()).with_help(sentence(source.help()));
                vec![caused(report, source)]
            }
            Self::File { action: _, path: _, source } => vec![file(self.to_string(), source)],
            Self::Document(error) => vec![caused(Report::new("document", error.to_string()), error)],
            Self::Usage(message) => {
                vec![Report::new("usage", message).with_help("`--help` shows what the command takes.")]
            }
            Self::Unfit { message, help } => {
                vec![Report { help: help.as_deref().map(sentence), ..Report::new("unfit", message) }]
            }
            Self::NotApproved { detail, help } => vec![Report::new("not_approved", detail).with_help(help)],
            Self::Interrupted => vec![Report::new("interrupted", "interrupted; nothing was changed")],
            Self::Bug(message) => vec![
                Report::new("bug", format!("the program met a mistake of its own: {message}"))
                    .with_help("What was recorded stands. Please report this with the command that you ran."),
            ],
        }
    }
}

/// Adds what led to an error, as far as its own words don't say it.
fn caused(mut report: Report, error: &dyn std::error::Error) -> Report {
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !report.message.contains(&words) && !report.causes.contains(&words) {
            report.causes.push(words);
        }
        next = cause.source();
    }
    report
}

/// A help text, which is a fragment, as a line of its own.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // A command or a file keeps its letter.
        Some(first) if first.is_ascii_lowercase() => {
            let text = first.to_ascii_uppercase().to_string() + letters.as_str();
            if text.ends_with(['.', '?', '!']) { text } else { text + "." }
        }
        Some(_) | None => text.to_owned(),
    }
}

/// Points at the line that declared `address`.
fn at(mut report: Report, loaded: Option<&Loaded>, address: &Address, text: &str) -> Report {
    report.labels.extend(loaded.and_then(|loaded| loaded.label(address, text)));
    report
}

fn problem(problem: &Problem) -> Report {
    let mut report = Report::from(problem);
    report.help = report.help.as_deref().map(sentence);
    report
}

fn state(error: &StateError) -> Report {
    let code = if matches!(error, StateError::Locked { .. }) { "state_locked" } else { "state" };
    caused(Report::new(code, error.to_string()).with_help(sentence(&error.help())), error)
}

fn file(message: String, error: &io::Error) -> Report {
    let mut report = Report::new("file", message);
    report.causes.push(error.to_string());
    let help = match error.kind() {
        io::ErrorKind::NotFound => "Check the path; its directory must exist.",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Check who may write there, or name another place."
        }
        io::ErrorKind::StorageFull => "Make room on that disk.",
        io::ErrorKind::AlreadyExists => "Nothing is overwritten: name another file, or move this one away.",
        _ => return report,
    };
    report.with_help(help)
}

fn fleet(error: &FleetError, loaded: Option<&Loaded>) -> Vec<Report> {
    let help = error.help().as_deref().map(sentence);
    let told = |code: &str, message: String| Report { help: help.clone(), ..Report::new(code, message) };
    let report = match error {
        FleetError::Refused(gates) => return gates.iter().map(|gate| self::gate(gate, loaded)).collect(),
        FleetError::State(error) => state(error),
        FleetError::Topology(problems) => return problems.0.iter().map(problem).collect(),
        FleetError::Journal(_) => caused(told("journal", error.to_string()), error),
        FleetError::Request(refusal) => {
            let mut report = told(refusal.code(), refusal.to_string());
            if let PlanRefusal::NoRegionAnswered { regions } = refusal.as_ref() {
                report.message = "no region answered".to_owned();
                for (region, reason) in regions {
                    report = at(report, loaded, &Address::Region(region.clone()), reason);
                }
                // Without a topology to point into, the reasons stand in the message.
                if report.labels.is_empty() {
                    report.message = refusal.to_string();
                }
            }
            report
        }
        FleetError::Interrupted => told("interrupted", error.to_string()),
        FleetError::UnknownRegion { id, known } => unknown("unknown_region", error, id, known),
        FleetError::UnknownResource { id, known } => unknown("unknown_resource", error, id, known),
        FleetError::UnknownPair { pair, known } => unknown("unknown_pair", error, pair, known),
        FleetError::Argument { .. } => told("argument", error.to_string()),
        FleetError::Conflict { .. } => told("conflict", error.to_string()),
        FleetError::TakeOver { .. } => told("take_over", error.to_string()),
        FleetError::Unfit { reason, help: _ } => told("unfit", reason.clone()),
        FleetError::Io { action: _, path: _, source } => file(error.to_string(), source),
        FleetError::Region { region, address, source } => {
            let message = match address {
                Address::Region(_) => format!("region {region}: {source}"),
                address => format!("{address} at {region}: {source}"),
            };
            told(port(source), message)
        }
    };
    match error.address() {
        Some(address) => vec![at(report, loaded, address, "asked for here")],
        None => vec![report],
    }
}

fn gate(gate: &Gate, loaded: Option<&Loaded>) -> Report {
    let Gate { code, detail, help, address } = gate;
    let mut report = Report::new(code, format!("refused: {detail}"));
    report.help = help.as_deref().map(sentence);
    match address {
        Some(address) => at(report, loaded, address, "about this"),
        None => report,
    }
}

fn unknown(code: &str, error: &FleetError, id: &str, known: &[String]) -> Report {
    let near = crate::config::nearest(id, known.iter().map(String::as_str));
    let help = match near {
        Some(near) => format!("Did you mean `{near}`?"),
        None if known.is_empty() => "The topology declares none.".to_owned(),
        None if known.len() <= 12 => format!("There are: {}.", known.join(", ")),
        None => format!("There are {}, such as `{}`; `plan --verbose` names them.", known.len(), known[0]),
    };
    Report::new(code, error.to_string()).with_help(help)
}

const fn port(error: &PortError) -> &'static str {
    match error {
        PortError::Unreachable { .. } => "unreachable",
        PortError::Busy(_) => "region_busy",
        PortError::Conflict { .. } => "conflict",
        PortError::NotController { .. } => "not_controller",
        PortError::NotFound(_) => "not_found",
        PortError::Role(_) => "role",
        PortError::Refused { .. } => "refused",
        PortError::Failed(_) => "region_failed",
    }
}

/// Actions of one run that went wrong are told together where they say the same, and at most so many times.
const TOLD_MAX: usize = 10;

/// An error's words without the names of requests and sessions, which differ where all else is the same.
fn without_names(message: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = message.split_inclusive(|c| !is_part(c));
    words.filter(|word| uuid::Uuid::parse_str(word.trim_end_matches(|c| !is_part(c))).is_err()).collect()
}

/// What went wrong in a run of which the rest stands, each thing at the line that asked for it.
pub(crate) fn of_run(report: &RunReport, loaded: Option<&Loaded>) -> Vec<Report> {
    type Key<'a> = (Outcome, String, &'a Option<String>);
    type Alike<'a> = Vec<(&'a str, &'a crate::fleet::ChangeOutcome)>;
    let mut groups: Vec<(Key<'_>, Alike<'_>)> = Vec::new();
    for outcome in &report.outcomes {
        let wrong = matches!(outcome.outcome, Outcome::Failed | Outcome::Blocked);
        let Some(message) = outcome.message.as_deref().filter(|_| wrong) else { continue };
        let key = (outcome.outcome, without_names(message), &outcome.help);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, alike)) => alike.push((message, outcome)),
            None => groups.push((key, vec![(message, outcome)])),
        }
    }
    let all = groups.len();
    let mut reports: Vec<Report> = groups
        .into_iter()
        .take(TOLD_MAX)
        .map(|((outcome, _, help), alike)| {
            let (message, first) = alike[0];
            let place = match (&first.region, first.regions.as_slice()) {
                (Some(region), _) | (None, [region]) => format!(" at {region}"),
                (None, _) => String::new(),
            };
            let more = match alike.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let word = if outcome == Outcome::Failed { "failed" } else { "blocked" };
            let message = format!("{} {}{place} {word}{more}: {message}", first.action.as_str(), first.address);
            let report = Report {
                help: help.as_deref().map(sentence),
                warning: outcome == Outcome::Blocked,
                ..Report::new(word, message)
            };
            at(report, loaded, &first.address, "asked for here")
        })
        .collect();
    if all > TOLD_MAX {
        let more = Report::new("more", format!("{} more kinds of failures", all - TOLD_MAX));
        reports.push(more.with_help(format!("`history --run {}` shows each action.", report.run)));
    }
    // Nothing was tried, and nobody saw the plan: it says why.
    if reports.is_empty() && report.class == ExitClass::Failed {
        reports.extend(stopped(report, loaded));
    }
    if reports.is_empty() && report.class == ExitClass::Failed {
        reports.push(Report::new("failed", "nothing was carried out").with_help("`plan` says what stands in the way."));
    }
    reports
}

/// What the plan of a run could not even try.
fn stopped(report: &RunReport, loaded: Option<&Loaded>) -> Vec<Report> {
    let blocked = report.plan.blocked.iter().map(|blocked| {
        let Blocked { address, region_id, reason, detail } = blocked;
        let place = region_id.as_ref().map(|region| format!(" at {region}")).unwrap_or_default();
        let message = format!("{address}{place} is blocked ({}): {detail}", reason.words());
        at(Report { warning: true, ..Report::new("blocked", message) }, loaded, address, "asked for here")
    });
    let waiting = report.plan.unobserved.iter().flat_map(|region| {
        region.deferred.iter().map(|address| {
            let message = format!("{address} waits for {}: {}", region.region_id, region.reason);
            let help = region.help.as_deref().map(sentence);
            at(Report { warning: true, help, ..Report::new("deferred", message) }, loaded, address, "asked for here")
        })
    });
    blocked.chain(waiting).take(TOLD_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_code() {
        let problems = Problems(Vec::new());
        let locked = FleetError::State(StateError::Locked { path: "s".into(), holder: None });
        let cases = [
            (CliError::Problems(problems), 1),
            (CliError::from(locked), 4),
            (CliError::from(FleetError::Refused(Vec::new())), 5),
            (CliError::from(FleetError::Interrupted), 130),
            (CliError::from(FleetError::Unfit { reason: "x".to_owned(), help: None }), 1),
            (CliError::from(StateError::Locked { path: "s".into(), holder: None }), 4),
            (CliError::Usage("x".to_owned()), 64),
            (CliError::NotApproved { detail: "x".to_owned(), help: "y".to_owned() }, 5),
            (CliError::Interrupted, 130),
            (CliError::Bug("x".to_owned()), 1),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit().code(), code, "{error}");
            if let CliError::Fleet(inner) = &error {
                assert_eq!(inner.code(), code);
            }
        }
    }

    #[test]
    fn a_typing_mistake_is_seen() {
        let known = ["web-vm-1".to_owned(), "db-vm-1".to_owned()];
        let error = FleetError::UnknownResource { id: "web-vm1".to_owned(), known: known.to_vec() };
        let reports = CliError::from(error).reports(None);
        assert_eq!(reports[0].help.as_deref(), Some("Did you mean `web-vm-1`?"));
        let error = FleetError::UnknownResource { id: "nobody".to_owned(), known: known.to_vec() };
        let reports = CliError::from(error).reports(None);
        assert_eq!(reports[0].help.as_deref(), Some("There are: web-vm-1, db-vm-1."));
        assert!(reports[0].message.contains("nobody"));
    }

    #[test]
    fn the_same_trouble_of_two_requests_is_the_same() {
        let id = |n: u128| uuid::Uuid::from_u128(n);
        let said = |n: u128| {
            without_names(&format!(
                "it broke (POST readings/{}/close, request {}); it stands at a",
                id(n),
                id(n).simple()
            ))
        };
        assert_eq!(said(17), said(18));
        assert_eq!(said(17), "it broke (POST readings/close, request ; it stands at a");
        assert_eq!(without_names("vm.web-vm-1 at us-east-1 broke"), "vm.web-vm-1 at us-east-1 broke");
    }

    #[test]
    fn help_reads_as_a_line() {
        assert_eq!(sentence("plan again"), "Plan again.");
        assert_eq!(sentence("`plan` lists them"), "`plan` lists them");
        assert_eq!(sentence("did you mean x?"), "Did you mean x?");
    }
}
