//! What went wrong, drawn: by miette for people, with the lines that it is about; as objects for programs.
//!
//! The words come from `cli::error`; this file only draws them.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};
use serde::{Deserialize, Serialize};

use super::document;
use super::terminal::Look;
use crate::config::{Label, Problem, Source};

/// One thing that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// A stable name for programs, such as `state_locked`.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Where.
    pub labels: Vec<Label>,
    /// Something to look at, not a failure.
    pub warning: bool,
}

impl Report {
    /// A report with a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), ..Self::default() }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<&Problem> for Report {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.to_owned(),
            message: problem.message.clone(),
            causes: problem.reason.iter().map(ToString::to_string).collect(),
            help: problem.help.clone(),
            labels: problem.labels.clone(),
            warning: false,
        }
    }
}

/// The form of a report that programs read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ErrorObject {
    /// A stable name.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where.
    pub labels: Vec<ErrorLabel>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ErrorLabel {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character within it, from 1.
    pub column: usize,
    /// The words.
    pub text: String,
}

impl Report {
    /// As programs read it.
    pub fn object(&self) -> ErrorObject {
        let message = std::iter::once(&self.message).chain(&self.causes).cloned().collect::<Vec<_>>().join(": ");
        let labels = self.labels.iter().map(|label| ErrorLabel {
            file: label.file().to_owned(),
            line: label.line,
            column: label.column,
            text: label.text.clone(),
        });
        ErrorObject { code: self.code.clone(), message, help: self.help.clone(), labels: labels.collect() }
    }
}

/// What stands on standard error where programs read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
#[schemars(title = "Errors")]
pub enum ErrorDocument {
    /// One thing went wrong.
    One {
        /// What it is.
        error: ErrorObject,
    },
    /// Several did.
    Many {
        /// What they are.
        errors: Vec<ErrorObject>,
    },
}

/// One line: `{"error": …}`, or `{"errors": […]}` where there are several.
pub fn json(reports: &[Report]) -> String {
    let document = match reports {
        [report] => ErrorDocument::One { error: report.object() },
        reports => ErrorDocument::Many { errors: reports.iter().map(Report::object).collect() },
    };
    document::json_line(&document).unwrap_or_else(|error| format!("{error}\n"))
}

/// Reports for people, one after the other, with an empty line between two.
pub fn people(reports: &[Report], look: &Look) -> String {
    let handler = handler(look);
    let mut out = String::new();
    for report in reports {
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing into a String cannot fail; a source that cannot be read leaves the words without the picture.
        let mut drawn = String::new();
        if handler.render_report(&mut drawn, &Drawn::new(report, look)).is_err() {
            drawn = format!("{}\n", look.clean(&report.message));
        }
        for line in drawn.trim_matches('\n').lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

fn handler(look: &Look) -> GraphicalReportHandler {
    let mut theme = match (look.unicode, look.color) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme { characters: miette::ThemeCharacters::ascii(), ..GraphicalTheme::unicode() },
        (false, false) => GraphicalTheme::none(),
    };
    theme.styles = if look.color { miette::ThemeStyles::ansi() } else { miette::ThemeStyles::none() };
    if look.unicode {
        theme.characters.error = "✗".to_owned();
        theme.characters.warning = "!".to_owned();
    } else {
        theme.characters.error = "error:".to_owned();
        theme.characters.warning = "warning:".to_owned();
    }
    GraphicalReportHandler::new_themed(theme)
        .with_width(look.prose_width())
        .with_links(false)
        .with_break_words(false)
        .with_word_separator(textwrap::WordSeparator::AsciiSpace)
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation)
        .with_context_lines(1)
}

/// A report as miette takes it. One with labels in several files becomes one with a related part per further file,
/// because a miette diagnostic has one source.
#[derive(Debug)]
struct Drawn {
    message: String,
    help: Option<String>,
    severity: Severity,
    source: Option<NamedSource<String>>,
    labels: Vec<LabeledSpan>,
    causes: Option<Box<Cause>>,
    related: Vec<Self>,
}

impl Drawn {
    fn new(report: &Report, look: &Look) -> Self {
        let mut files: Vec<(&Source, Vec<LabeledSpan>)> = Vec::new();
        for label in &report.labels {
            let span = LabeledSpan::new(
                Some(look.clean(&label.text)).filter(|text| !text.is_empty()),
                label.span.start,
                label.span.len(),
            );
            match files.iter_mut().find(|(file, _)| file.name() == label.file()) {
                Some((_, spans)) => spans.push(span),
                None => files.push((label.source(), vec![span])),
            }
        }
        let severity = if report.warning { Severity::Warning } else { Severity::Error };
        let mut files = files.into_iter().map(|(file, labels)| (named(file, look), labels));
        let (source, labels) = files.next().map_or((None, Vec::new()), |(file, labels)| (Some(file), labels));
        let related = files.map(|(file, labels)| Self {
            message: "and here".to_owned(),
            help: None,
            severity: Severity::Advice,
            source: Some(file),
            labels,
            causes: None,
            related: Vec::new(),
        });
        Self {
            message: look.clean(&report.message),
            help: report
                .help
                .as_ref()
                .map(|help| help.lines().map(|line| look.clean(line)).collect::<Vec<_>>().join("\n")),
            severity,
            source,
            labels,
            causes: Cause::chain(&report.causes, look),
            related: related.collect(),
        }
    }
}

/// The file as it is shown. Every byte keeps its place, so that labels still point at it: a character that could act
/// on the terminal becomes as many `?` as it has bytes.
fn named(file: &Source, look: &Look) -> NamedSource<String> {
    let mut text = String::with_capacity(file.text().len());
    for c in file.text().chars() {
        if c == '\n' || c == '\t' || (!c.is_control() && (look.unicode || c.is_ascii())) {
            text.push(c);
        } else if c == '\r' {
            text.push(' ');
        } else {
            text.extend(std::iter::repeat_n('?', c.len_utf8()));
        }
    }
    NamedSource::new(look.clean(file.name()), text)
}

#[derive(Debug)]
struct Cause {
    message: String,
    next: Option<Box<Self>>,
}

impl Cause {
    fn chain(causes: &[String], look: &Look) -> Option<Box<Self>> {
        causes.iter().rev().fold(None, |next, message| Some(Box::new(Self { message: look.clean(message), next })))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.next.as_deref().map(|next| next as _)
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.causes.as_deref().map(|cause| cause as _)
    }
}

impl Diagnostic for Drawn {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as _)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as _)
    }
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (!self.related.is_empty()).then(|| Box::new(self.related.iter().map(|part| part as &dyn Diagnostic)) as _)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn report() -> Report {
        let one = Arc::new(Source::new(
            "topology/10-regions.toml",
            "schema_version = 1\n\n[regions.us-east-1]\ncapcity_vms = 10\n",
        ));
        let two = Arc::new(Source::new("topology/20-vms.toml", "[regions.us-east-1]\nevil = \"\u{1b}[2J\"\n"));
        Report {
            code: "config::duplicate".to_owned(),
            message: "`regions.us-east-1` stands in two files".to_owned(),
            causes: vec!["only lists are put together".to_owned()],
            help: Some("Keep one of them".to_owned()),
            labels: vec![Label::new(&one, 20..39, "first here"), Label::new(&two, 0..19, "and again")],
            warning: false,
        }
    }

    #[test]
    fn programs_get_every_field() {
        let value: serde_json::Value = serde_json::from_str(&json(&[report()])).unwrap();
        let label = &value["error"]["labels"][0];
        assert_eq!(label["file"], "topology/10-regions.toml");
        assert_eq!((label["line"].as_u64(), label["column"].as_u64()), (Some(3), Some(1)));
        assert_eq!(value["error"]["message"], "`regions.us-east-1` stands in two files: only lists are put together");
        let value: serde_json::Value = serde_json::from_str(&json(&[report(), report()])).unwrap();
        assert_eq!(value["errors"].as_array().map(Vec::len), Some(2));
        assert_eq!(json(&[report()]).lines().count(), 1);
    }

    #[test]
    fn people_get_the_lines_of_both_files() {
        let look = Look { color: false, unicode: true, width: Some(80) };
        let text = people(&[report()], &look);
        for part in ["10-regions.toml:3:1", "20-vms.toml:1:1", "first here", "and again", "Keep one of them"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let ascii = people(&[report()], &Look { unicode: false, ..look });
        assert!(ascii.is_ascii(), "{ascii}");
        let colored = people(&[report()], &Look { color: true, ..look });
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), text);
    }
}
