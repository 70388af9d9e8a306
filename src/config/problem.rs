//! What is wrong with a file, where, why, and how to mend it. Rooms that draw see a [`miette::Diagnostic`]; rooms that
//! write JSON see plain fields. All problems of a run travel together in [`Problems`].

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, Severity, SourceCode};

use super::source::Source;

/// A place in a file, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    source: Arc<Source>,
    /// The bytes meant.
    pub span: Range<usize>,
    /// The line of the first, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// What is to be said of it.
    pub text: String,
}

impl Label {
    /// Labels `span` of `source` with `text`.
    pub fn new(source: &Arc<Source>, span: Range<usize>, text: impl Into<String>) -> Self {
        let span = source.clip_span(&span);
        let (line, column) = source.line_and_column(span.start);
        Self { source: Arc::clone(source), span, line, column, text: text.into() }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// The file, for whoever draws the lines around it.
    pub fn source(&self) -> &Source {
        &self.source
    }

    fn drawn(&self, primary: bool) -> LabeledSpan {
        let text = Some(self.text.clone()).filter(|text| !text.is_empty());
        if primary {
            LabeledSpan::new_primary_with_span(text, self.span.clone())
        } else {
            LabeledSpan::new_with_span(text, self.span.clone())
        }
    }
}

/// A label in another file than the problem's first one is drawn as a note of its own.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file(), self.line)
    }
}

impl Error for Label {}

impl Diagnostic for Label {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.drawn(true))))
    }
}

/// Why something is a problem, where its message doesn't say it yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(String);

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A stable name for programs, such as `config::unknown-region`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Why that is wrong.
    pub reason: Option<Reason>,
    /// A way to mend it.
    pub help: Option<String>,
    /// Where; the first one is the place to mend.
    pub labels: Vec<Label>,
}

impl Problem {
    /// A problem without a place yet.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason: None, help: None, labels: Vec::new() }
    }

    /// Says why it is one.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(Reason(reason.into()));
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }
}

impl Problem {
    /// In running text, where no lines of the file can be drawn: `line 3: message: reason (help)`.
    fn told(&self) -> String {
        let Self { code: _, message, reason, help, labels } = self;
        let mut text = labels.first().map_or_else(String::new, |label| format!("line {}: ", label.line));
        text.push_str(message);
        if let Some(reason) = reason {
            text.push_str(&format!(": {reason}"));
        }
        if let Some(help) = help {
            text.push_str(&format!(" ({help})"));
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.as_ref().map(|reason| reason as _)
    }
}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.labels.first().map(|label| &*label.source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = self.labels.first()?;
        let here = self.labels.iter().filter(|label| Arc::ptr_eq(&label.source, &first.source)).enumerate();
        Some(Box::new(here.map(|(at, label)| label.drawn(at == 0))))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let first = self.labels.first()?;
        let elsewhere = self.labels.iter().filter(|label| !Arc::ptr_eq(&label.source, &first.source));
        Some(Box::new(elsewhere.map(|label| label as &dyn Diagnostic)))
    }
}

/// All that is wrong, file by file and from top to bottom; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// All of them in running text, a line each.
    pub fn told(&self) -> String {
        self.0.iter().map(Problem::told).collect::<Vec<_>>().join(";\n")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            many => write!(f, "{} problems", many.len()),
        }
    }
}

impl Error for Problems {}

impl Diagnostic for Problems {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.0.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
