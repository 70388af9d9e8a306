//! Words on lines: made harmless, measured, wrapped, counted.
//!
//! Whatever comes from a file, a region or an error passes through [`Look::clean`] before it is printed: a file's name
//! must not move the cursor or hide text.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::terminal::Look;
pub use crate::model::units::{brief, grouped};

/// Columns that `text` takes; it holds no escape sequences.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Characters that act on a terminal or on the reading direction instead of being read.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

impl Look {
    /// One line that can do nothing but be read: control characters shown as escapes, line breaks as spaces, and on
    /// a terminal without UTF-8 the usual signs in ASCII.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\n' | '\t' => clean.push(' '),
                '\r' => {}
                c if is_harmful(c) => clean.extend(c.escape_unicode()),
                c if c.is_ascii() || self.unicode => clean.push(c),
                '→' => clean.push_str("->"),
                '⇄' => clean.push_str("<->"),
                '…' => clean.push_str("..."),
                '·' | '–' | '—' | '−' => clean.push('-'),
                '×' => clean.push('x'),
                '‘' | '’' => clean.push('\''),
                '“' | '”' | '„' => clean.push('"'),
                _ => clean.push('?'),
            }
        }
        clean
    }

    /// The columns that are left after so many.
    pub(super) fn room(&self, indent: usize) -> usize {
        self.width.unwrap_or(usize::MAX).saturating_sub(indent).max(16)
    }

    /// `text`, cleaned and wrapped at the prose width; every line begins with `indent` spaces.
    pub fn wrapped(&self, indent: usize, text: &str) -> String {
        let pad = " ".repeat(indent);
        let mut out = String::new();
        for paragraph in text.lines() {
            for line in wrap(self.clean(paragraph).trim(), self.prose_width().saturating_sub(indent).max(16)) {
                out.push_str(&pad);
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }
}

/// Breaks at spaces only; a word longer than the line stays whole, because it may be a name.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let options = textwrap::Options::new(columns)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::wrap(text, options).into_iter().map(|line| line.into_owned()).collect()
}

/// `text` and spaces up to `columns`.
pub(super) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// `1 region`, `3 regions`, `12,345 regions`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n as u64), if n == 1 { one } else { many })
}

/// How long an answer took: `1.9ms`, `138ms`, `1.5s`.
pub(super) fn latency(ms: f64) -> String {
    // As figures have it where milliseconds have no tenths worth reading.
    if ms < 9.95 { format!("{ms:.1}ms") } else { brief(Duration::from_secs_f64((ms / 1000.0).clamp(0.0, 1e9))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_act_on_the_terminal() {
        let look = Look { color: true, unicode: true, width: None };
        assert_eq!(look.clean("a\x1b[31mb\nc\r\u{202e}d"), "a\\u{1b}[31mb c\\u{202e}d");
        let ascii = Look { unicode: false, ..look };
        assert_eq!(ascii.clean("a → b … ä"), "a -> b ... ?");
    }

    #[test]
    fn words_are_never_broken() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a-very-long-identifier x", 10), ["a-very-long-identifier", "x"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn figures_are_for_a_glance() {
        assert_eq!(count(1, "region", "regions"), "1 region");
        assert_eq!(count(12_345, "region", "regions"), "12,345 regions");
        for (ms, text) in
            [(0.04, "0.0ms"), (1.93, "1.9ms"), (138.2, "138ms"), (1500.0, "1.5s"), (f64::INFINITY, "11574d1h")]
        {
            assert_eq!(latency(ms), text);
        }
    }
}
