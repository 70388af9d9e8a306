//! Source texts and places in them. A [`Source`] is one file as it was read; a `Place` a range of its bytes.
//!
//! Invariant: a span handed out for a source lies inside its text and on character boundaries.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// One file's text under the name by which it was asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Source {
    /// Takes `text` as the content of the file `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text, lines }
    }

    /// The file's name, as given or as found.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its content.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line and the column of a byte, both from 1, the column counted in characters.
    pub fn line_and_column(&self, at: usize) -> (usize, usize) {
        let at = self.clip(at);
        let line = self.lines.partition_point(|start| *start <= at) - 1;
        (line + 1, self.text[self.lines[line]..at].chars().count() + 1)
    }

    /// `span`, widened to the whole lines that it touches.
    pub(super) fn whole_lines(&self, span: &Range<usize>) -> Range<usize> {
        let (start, end) = (self.clip(span.start), self.clip(span.end.max(span.start)));
        let first = self.lines.partition_point(|line| *line <= start) - 1;
        let after = self.lines.partition_point(|line| *line <= end);
        self.lines[first]..self.lines.get(after).copied().unwrap_or(self.text.len())
    }

    /// The nearest character boundary at or before `at`.
    fn clip(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    /// `span`, moved onto character boundaries inside the text.
    pub(super) fn clip_span(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.clip(span.start);
        start..self.clip(span.end).max(start)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.text.len())
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, lines_before, lines_after)?;
        // Counted anew: for a text, miette counts from its beginning, and would draw all that lies between two labels.
        let lines = inner.data().split_inclusive(|byte| *byte == b'\n').count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            inner.line(),
            inner.column(),
            lines,
        )))
    }
}

/// A range of bytes of one of the sources of a load, by its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Place {
    pub(super) const fn new(file: usize, span: Range<usize>) -> Self {
        Self { file, start: span.start, end: span.end }
    }

    pub(super) const fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let source = Source::new("a", "ä = 1\nb = 2\n");
        assert_eq!(source.line_and_column(0), (1, 1));
        assert_eq!(source.line_and_column("ä ".len()), (1, 3));
        assert_eq!(source.line_and_column("ä = 1\n".len()), (2, 1));
        assert_eq!(source.line_and_column(1000), (3, 1));
        // Inside of a character: its beginning.
        assert_eq!(source.line_and_column(1), (1, 1));
    }

    #[test]
    fn lines_are_widened_to_their_ends() {
        let source = Source::new("a", "one\ntwo\nthree");
        assert_eq!(source.whole_lines(&(5..5)), 4..8);
        assert_eq!(source.whole_lines(&(1..5)), 0..8);
        assert_eq!(source.whole_lines(&(9..10)), 8..13);
        assert_eq!(Source::new("a", "").whole_lines(&(0..0)), 0..0);
    }
}
