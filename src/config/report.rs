//! Gathers the problems of one load over all its files.
//!
//! What could not be parsed hides what it said. So a problem whose own place is in a broken passage is dropped, and
//! nothing is called unknown or missing while its name stands in one: the passage itself is reported.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::problem::{Label, Problem, Problems};
use super::source::{Place, Source};

/// Beyond so many problems no more names are suggested: comparing each with all would take long.
const SUGGESTIONS_MAX: usize = 500;

/// The sources of a load and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Report {
    sources: Vec<Arc<Source>>,
    problems: Vec<(Option<Place>, Problem)>,
    broken: Vec<Place>,
    /// A file could not be read at all: anything may be declared there.
    unread: bool,
}

impl Report {
    /// Takes a file in and gives its number.
    pub(super) fn take_source(&mut self, source: Source) -> usize {
        self.sources.push(Arc::new(source));
        self.sources.len() - 1
    }

    pub(super) fn source(&self, file: usize) -> &Arc<Source> {
        &self.sources[file]
    }

    pub(super) fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// How many problems there are so far.
    pub(super) const fn count(&self) -> usize {
        self.problems.len()
    }

    /// A file that could not be read.
    pub(super) fn add_unread(&mut self, problem: Problem) {
        self.unread = true;
        self.problems.push((None, problem));
    }

    /// A file whose text could not be read to its end.
    pub(super) fn add_unread_at(&mut self, problem: Problem, place: &Place, text: &str) {
        self.unread = true;
        self.add(problem, &[(place, text.to_owned())]);
    }

    /// A problem with its places, the one to mend first.
    pub(super) fn add(&mut self, mut problem: Problem, labels: &[(&Place, String)]) {
        let first = labels.first().map(|(place, _)| (*place).clone());
        if first.as_ref().is_some_and(|place| self.is_broken(place)) {
            return;
        }
        problem.labels.extend(
            labels.iter().map(|(place, text)| Label::new(&self.sources[place.file], place.span(), text.as_str())),
        );
        self.problems.push((first, problem));
    }

    fn is_broken(&self, place: &Place) -> bool {
        self.broken.iter().any(|broken| {
            broken.file == place.file && (broken.start..broken.end.max(broken.start + 1)).contains(&place.start)
        })
    }

    /// Whether a declaration of `name` may stand where nothing could be read.
    pub(super) fn may_hide(&self, name: &str) -> bool {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        self.unread
            || self.broken_texts().any(|text| {
                text.match_indices(name)
                    .any(|(at, _)| !text[..at].ends_with(inside) && !text[at + name.len()..].starts_with(inside))
            })
    }

    /// As [`Report::may_hide`], for a name that may be the member of a range.
    pub(super) fn may_hide_member(&self, name: &str) -> bool {
        let range = format!("{}{{", name.trim_end_matches(|c: char| c.is_ascii_digit()));
        self.may_hide(name) || self.broken_texts().any(|text| text.contains(&range))
    }

    fn broken_texts(&self) -> impl Iterator<Item = &str> {
        self.broken.iter().map(|place| &self.sources[place.file].text()[place.span()])
    }

    /// The known name closest to `name`.
    pub(super) fn nearest<'a>(&self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        if self.problems.len() < SUGGESTIONS_MAX { nearest(name, known) } else { None }
    }

    /// Parses a source, reporting every syntax error, and gives back what could be read.
    pub(super) fn parse<'i>(&mut self, file: usize, text: &'i str) -> DeTable<'i> {
        let (table, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let mut values = Vec::new();
        if !errors.is_empty() {
            bracketed(table.get_ref(), &mut values);
        }
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            // Once an array or an inline table is broken, all that follows in it is misread: one report.
            let around = values.iter().find(|value| value.start <= span.start && span.start <= value.end);
            let passage = around.map_or_else(|| span.clone(), |value| value.start.min(span.start)..value.end);
            let place = Place::new(file, span);
            if self.is_broken(&place) {
                continue;
            }
            let (message, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
            let label = if expected.is_empty() { "here".to_owned() } else { format!("expected {expected}") };
            let problem = Problem::new("config::syntax", format!("this is not TOML: {message}"))
                .help("what a TOML file may hold is described at https://toml.io");
            self.add(problem, &[(&place, label)]);
            let lines = self.sources[file].whole_lines(&passage);
            self.broken.push(Place::new(file, lines));
        }
        table.into_inner()
    }

    /// All problems, file by file and from top to bottom; none if there are none.
    pub(super) fn into_problems(mut self) -> Option<Problems> {
        self.problems.sort_by(|(a, _), (b, _)| a.cmp(b));
        let problems: Vec<Problem> = self.problems.into_iter().map(|(_, problem)| problem).collect();
        if problems.is_empty() { None } else { Some(Problems(problems)) }
    }
}

/// Collects the spans of the outermost arrays and inline tables.
fn bracketed(table: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    for value in table.values() {
        match value.get_ref() {
            DeValue::Table(inner) if !is_inline(value.span(), inner) => bracketed(inner, found),
            DeValue::Array(items) if items.iter().any(|item| outside(&value.span(), &item.span())) => {
                for item in items.iter() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        bracketed(inner, found);
                    }
                }
            }
            DeValue::Array(_) | DeValue::Table(_) => found.push(value.span()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// An inline table's span holds its values; that of a table with a header is the header.
fn is_inline(span: Range<usize>, table: &DeTable<'_>) -> bool {
    table.values().next().is_some_and(|value| !outside(&span, &value.span()))
}

const fn outside(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    inner.start < outer.start || inner.end > outer.end
}
