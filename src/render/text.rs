//! Words on lines: made harmless, measured, wrapped, counted.
//!
//! Whatever comes from a file, a region or an error passes through [`Look::clean`] before it is printed: a file's name
//! must not move the cursor or hide text.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::terminal::Look;

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

/// `12,345`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration for a glance: two units at most, `850ms`, `12s`, `3m 05s`, `2h 10m`, `3d`.
pub fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3600..86_400 => two(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
    }
}

fn two(large: u64, unit: char, small: u64, smaller: char) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit} {small:02}{smaller}") }
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
            [(5, "5ms"), (1500, "1.5s"), (59_000, "59s"), (61_000, "1m 01s"), (900_000, "15m"), (7_800_000, "2h 10m")]
        {
            assert_eq!(brief(Duration::from_millis(ms)), text);
        }
    }
}
