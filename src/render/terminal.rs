//! What stands at the other end of the streams: a person at a terminal of some width, a pipe, a file.
//!
//! Owns the one place where the environment is asked about presentation (`NO_COLOR`, `COLUMNS`, the locale). Leaves
//! what is written to the other modules; they see a [`Look`] and nothing else, so that a test can be any terminal.

use std::io::{BufRead, IsTerminal, Write};

/// Whether to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal that can, unless `NO_COLOR` is set and not empty.
    #[default]
    Auto,
    /// Whatever stands there.
    Always,
    /// Not at all.
    Never,
}

/// How text for one stream may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether escape sequences may be used.
    pub color: bool,
    /// Whether glyphs beyond ASCII may be used.
    pub unicode: bool,
    /// Columns to fit into; none: nothing is shortened, stacked or wrapped.
    pub width: Option<usize>,
}

impl Look {
    /// A pipe or a file: no colour, no width.
    pub const PLAIN: Self = Self { color: false, unicode: true, width: None };

    /// The columns that running text is wrapped at.
    pub fn prose_width(&self) -> usize {
        self.width.unwrap_or(100).clamp(20, 100)
    }
}

/// One output stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Device {
    /// Whether it is a terminal.
    pub tty: bool,
    /// Its real width, where it has one.
    pub width: Option<usize>,
}

/// All that presentation depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Whether a person can be asked.
    pub input_tty: bool,
    /// Standard output.
    pub output: Device,
    /// Standard error.
    pub error: Device,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `TERM=dumb`: a terminal without colours and cursor.
    pub dumb: bool,
    /// The locale's characters are UTF-8.
    pub utf8: bool,
    /// `COLUMNS`, for streams that know no width of their own.
    pub columns: Option<usize>,
}

/// The width of a terminal that does not tell.
const DEFAULT_WIDTH: usize = 80;

impl Terminal {
    /// Asks the process's own streams and environment.
    pub fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let output = std::io::stdout();
        let error = std::io::stderr();
        let utf8 = {
            let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().map(text).find(|value| !value.is_empty());
            let locale = locale.unwrap_or_default().to_ascii_lowercase();
            locale.ends_with("utf-8") || locale.ends_with("utf8")
        };
        Self {
            input_tty: std::io::stdin().is_terminal(),
            output: Device { tty: output.is_terminal(), width: width_of(&output) },
            error: Device { tty: error.is_terminal(), width: width_of(&error) },
            no_color: !text("NO_COLOR").is_empty(),
            dumb: text("TERM") == "dumb",
            utf8,
            columns: text("COLUMNS").trim().parse().ok().filter(|columns| *columns > 0),
        }
    }

    /// How text for standard output may look.
    pub fn output_look(&self, color: ColorChoice) -> Look {
        self.look(self.output, color)
    }

    /// How text for standard error may look.
    pub fn error_look(&self, color: ColorChoice) -> Look {
        self.look(self.error, color)
    }

    fn look(&self, device: Device, color: ColorChoice) -> Look {
        Look {
            color: match color {
                ColorChoice::Auto => device.tty && !self.no_color && !self.dumb,
                ColorChoice::Always => true,
                ColorChoice::Never => false,
            },
            unicode: self.utf8,
            width: if device.tty { Some(device.width.or(self.columns).unwrap_or(DEFAULT_WIDTH)) } else { self.columns },
        }
    }
}

fn width_of<Fd: std::os::fd::AsFd>(stream: &Fd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The program's three streams, and what is known of them. A test hands in buffers.
pub struct Streams {
    /// Where answers are read from.
    pub input: Box<dyn BufRead + Send>,
    /// Results.
    pub output: Box<dyn Write + Send>,
    /// Words for people, progress, errors.
    pub error: Box<dyn Write + Send>,
    /// What they are.
    pub terminal: Terminal,
}

impl Streams {
    /// Those of the process.
    pub fn of_process() -> Self {
        Self {
            input: Box::new(std::io::BufReader::new(std::io::stdin())),
            output: Box::new(std::io::stdout()),
            error: Box::new(std::io::stderr()),
            terminal: Terminal::of_process(),
        }
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTY: Device = Device { tty: true, width: Some(120) };

    #[test]
    fn colour_needs_a_terminal_and_no_no_color() {
        let terminal = Terminal { output: TTY, utf8: true, ..Terminal::default() };
        assert!(terminal.output_look(ColorChoice::Auto).color);
        assert!(!terminal.output_look(ColorChoice::Never).color);
        assert!(!terminal.error_look(ColorChoice::Auto).color);
        assert!(terminal.error_look(ColorChoice::Always).color);
        let quiet = Terminal { no_color: true, ..terminal };
        assert!(!quiet.output_look(ColorChoice::Auto).color);
        assert!(quiet.output_look(ColorChoice::Always).color, "an option on the command line is the later word");
        assert!(!Terminal { dumb: true, ..terminal }.output_look(ColorChoice::Auto).color);
    }

    #[test]
    fn width_is_the_terminals_then_columns_then_eighty() {
        let width =
            |output, columns| Terminal { output, columns, ..Terminal::default() }.output_look(ColorChoice::Auto).width;
        assert_eq!(width(TTY, Some(40)), Some(120));
        assert_eq!(width(Device { tty: true, width: None }, Some(40)), Some(40));
        assert_eq!(width(Device { tty: true, width: None }, None), Some(80));
        assert_eq!(width(Device::default(), None), None, "a pipe gets whole lines");
        assert_eq!(width(Device::default(), Some(40)), Some(40));
    }
}
