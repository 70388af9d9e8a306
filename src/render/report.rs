//! What went wrong, drawn: by miette for people, with the lines that it is about; as objects for programs.
//!
//! The words come from `cli::error`; this file only draws them.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};
use serde::{Deserialize, Serialize};

use super::document;
use super::terminal::Look;

/// A text that labels point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, as the user gave it.
    pub path: String,
    /// All of it.
    pub text: Arc<str>,
}

/// A place in a file and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file.
    pub file: SourceFile,
    /// The bytes.
    pub span: std::ops::Range<usize>,
    /// The words.
    pub text: String,
}

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
        let labels = self.labels.iter().map(|label| {
            let (line, column) = position(&label.file.text, label.span.start);
            ErrorLabel { file: label.file.path.clone(), line, column, text: label.text.clone() }
        });
        ErrorObject { code: self.code.clone(), message, help: self.help.clone(), labels: labels.collect() }
    }
}

/// The line and character of a byte, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// One line: `{"error": …}`, or `{"errors": […]}` where there are several.
pub fn json(reports: &[Report]) -> String {
    #[derive(Serialize)]
    struct One<'a> {
        error: &'a ErrorObject,
    }
    #[derive(Serialize)]
    struct Many<'a> {
        errors: &'a [ErrorObject],
    }
    let objects: Vec<ErrorObject> = reports.iter().map(Report::object).collect();
    let text = match objects.as_slice() {
        [error] => document::json_line(&One { error }),
        errors => document::json_line(&Many { errors }),
    };
    text.unwrap_or_else(|error| format!("{error}\n"))
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
    related: Vec<Drawn>,
}

impl Drawn {
    fn new(report: &Report, look: &Look) -> Self {
        let mut files: Vec<(&SourceFile, Vec<LabeledSpan>)> = Vec::new();
        for label in &report.labels {
            let span = LabeledSpan::new(
                Some(look.clean(&label.text)).filter(|text| !text.is_empty()),
                label.span.start,
                label.span.len(),
            );
            match files.iter_mut().find(|(file, _)| file.path == label.file.path) {
                Some((_, spans)) => spans.push(span),
                None => files.push((&label.file, vec![span])),
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
fn named(file: &SourceFile, look: &Look) -> NamedSource<String> {
    let mut text = String::with_capacity(file.text.len());
    for c in file.text.chars() {
        if c == '\n' || c == '\t' || (!c.is_control() && (look.unicode || c.is_ascii())) {
            text.push(c);
        } else if c == '\r' {
            text.push(' ');
        } else {
            text.extend(std::iter::repeat_n('?', c.len_utf8()));
        }
    }
    NamedSource::new(look.clean(&file.path), text)
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
