//! A page at a terminal that is drawn over and over, without flicker: on the terminal's other screen, so that what stood
//! there before stands there afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use super::paint::{Glyph, Tone};
use super::printer::Printer;
use super::terminal::Look;
use super::text::count;

/// The other screen; lines that are too long are cut, not wrapped; no cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?7l\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?7h\u{1b}[?1049l";
/// A terminal that knows these shows all that is between them at once; others pass over them.
const BEGIN: &str = "\u{1b}[?2026h\u{1b}[H";
const END: &str = "\u{1b}[J\u{1b}[?2026l";

/// The rows of a terminal that does not tell.
const ROWS: usize = 24;

/// The other screen of the terminal that standard output is. It is left when this is dropped.
#[derive(Debug)]
pub struct Screen {
    printer: Arc<Printer>,
    /// How the terminal was set before, while it is on the other screen.
    before: Mutex<Option<Option<Termios>>>,
}

impl Screen {
    /// Goes there.
    pub fn new(printer: Arc<Printer>) -> Self {
        let screen = Self { printer, before: Mutex::default() };
        screen.enter();
        screen
    }

    /// Goes there again.
    pub fn enter(&self) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_none() {
            *before = Some(silenced());
            self.printer.draw(ENTER);
        }
    }

    /// Goes back to what stood there before.
    pub fn leave(&self) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(settings) = before.take() {
            self.printer.draw(LEAVE);
            if let Some(settings) = settings {
                // What was typed meanwhile was meant for nobody. A terminal that is gone needs no settings.
                let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, &settings);
            }
        }
    }

    /// How a page may look there, as wide as the terminal is now.
    pub fn look(&self) -> Look {
        let look = *self.printer.output_look();
        Look { width: size().map(|(columns, _)| columns).or(look.width), ..look }
    }

    /// Draws this page in place of the last one.
    pub fn draw(&self, page: &str) {
        let rows = size().map_or(ROWS, |(_, rows)| rows);
        self.printer.draw(&frame(page, rows, &self.look()));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Has the terminal show nothing of what is typed, and tells how it was set before; none where that is unknown.
fn silenced() -> Option<Termios> {
    let before = termios::tcgetattr(std::io::stdin()).ok()?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &silent).ok()?;
    Some(before)
}

/// The terminal's columns and rows.
fn size() -> Option<(usize, usize)> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row))).filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

/// What draws a page over another one: each line cleared behind its end, and all that is below. What does not fit is
/// counted.
fn frame(page: &str, rows: usize, look: &Look) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let shown = if lines.len() <= rows { lines.len() } else { rows.saturating_sub(1) };
    let mut drawn: Vec<String> = lines[..shown].iter().map(|line| (*line).to_owned()).collect();
    if shown < lines.len() {
        let more = count(lines.len() - shown, "more line", "more lines");
        let text = format!("{} {more}; a higher window shows more", look.glyph(Glyph::Ellipsis));
        drawn.push(look.paint(Tone::Faint, &text));
    }
    // No line break after the last row: it would move all of them up.
    format!("{BEGIN}{}\u{1b}[K{END}", drawn.join("\u{1b}[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { color: false, unicode: true, width: Some(80) };

    #[test]
    fn a_page_is_drawn_over_another_one_without_clearing_first() {
        let drawn = frame("one\ntwo\n", 24, &LOOK);
        assert_eq!(drawn, format!("{BEGIN}one\u{1b}[K\r\ntwo\u{1b}[K{END}"));
        assert!(!drawn.contains("\u{1b}[2J"), "that would flicker");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let page: String = (1..=10).map(|n| format!("line {n}\n")).collect();
        let drawn = frame(&page, 4, &LOOK);
        assert_eq!(drawn.matches("\r\n").count(), 3, "as many lines as rows: {drawn:?}");
        assert!(drawn.contains("line 3") && !drawn.contains("line 4"), "{drawn:?}");
        assert!(drawn.contains("… 7 more lines"), "{drawn:?}");
        assert!(frame(&page, 10, &LOOK).contains("line 10"));
    }
}
