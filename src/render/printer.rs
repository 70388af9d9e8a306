//! The two streams and who may write to them: results on standard output, everything else on standard error.
//!
//! A closed pipe (`plan | head`) is no failure: what follows is dropped and the command ends with the code that it
//! earned. Any other failure to write a result is kept and ends the command with 1.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::ProgressDrawTarget;

use super::patience::Patience;
use super::terminal::{ColorChoice, Look, Streams, Terminal};

type Writer = Box<dyn Write + Send>;

struct Stream {
    to: Writer,
    /// Whether escape sequences pass; otherwise they are taken out.
    color: bool,
    closed: bool,
    failure: Option<io::Error>,
    /// Whether anything was written.
    begun: bool,
    /// Whether pictures are drawn, which nothing else may be written into.
    drawn: bool,
}

impl Stream {
    fn new(to: Writer, look: Look) -> Self {
        Self { to, color: look.color, closed: false, failure: None, begun: false, drawn: false }
    }

    fn write(&mut self, text: &str) {
        if self.color {
            self.put(text);
        } else {
            self.put(&anstream::adapter::strip_str(text).to_string());
        }
    }

    /// Writes as it is.
    fn put(&mut self, text: &str) {
        if self.closed || self.failure.is_some() {
            return;
        }
        self.begun = true;
        if let Err(error) = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()) {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.closed = true;
            } else {
                self.failure = Some(error);
            }
        }
    }
}

/// How much is said beside the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    /// Errors only: `--quiet`, or a machine that reads JSON.
    Errors,
    /// What a person wants to know.
    #[default]
    Normal,
    /// More of it: `--verbose`.
    More,
}

/// Writes for one command.
pub struct Printer {
    output: Mutex<Stream>,
    error: Mutex<Stream>,
    terminal: Terminal,
    output_look: Look,
    error_look: Look,
    talk: Talk,
    patience: Mutex<Option<Patience>>,
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer").field("terminal", &self.terminal).field("talk", &self.talk).finish_non_exhaustive()
    }
}

struct Results(Arc<Printer>);

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.result(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Printer {
    /// Takes over the output streams; the input stays with the caller.
    pub fn new(streams: Streams, color: ColorChoice, talk: Talk) -> (Self, Box<dyn io::BufRead + Send>) {
        let Streams { input, output, error, terminal } = streams;
        let output_look = terminal.output_look(color);
        let error_look = terminal.error_look(color);
        let printer = Self {
            output: Mutex::new(Stream::new(output, output_look)),
            error: Mutex::new(Stream::new(error, error_look)),
            terminal,
            output_look,
            error_look,
            talk,
            patience: Mutex::default(),
        };
        (printer, input)
    }

    /// How results may look.
    pub const fn output_look(&self) -> &Look {
        &self.output_look
    }

    /// How words for people may look.
    pub const fn error_look(&self) -> &Look {
        &self.error_look
    }

    /// What is known of the streams.
    pub const fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// How much is said.
    pub const fn talk(&self) -> Talk {
        self.talk
    }

    /// A part of the result, as it is.
    pub fn result(&self, text: &str) {
        self.end_wait();
        lock(&self.output).write(text);
    }

    /// A picture for the terminal that standard output is: text, colours where the look has them, and what moves the
    /// cursor.
    pub fn draw(&self, picture: &str) {
        self.end_wait();
        let mut output = lock(&self.output);
        output.drawn = true;
        output.put(picture);
    }

    /// From now on something may take long and say nothing: whoever sits at a terminal is told what, once it does.
    pub fn wait(&self, what: &str) {
        let target = self.draw_target();
        if !target.is_hidden() && !lock(&self.output).drawn {
            let patience = Patience::new(target, what, &self.error_look);
            *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = Some(patience);
        }
    }

    /// It is over, or speaks for itself.
    pub fn end_wait(&self) {
        drop(self.patience.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// A writer of results, for what writes them piece by piece.
    pub fn result_writer(self: &Arc<Self>) -> impl Write + Send + use<> {
        Results(Arc::clone(self))
    }

    /// Words for people; one line, or several. Not said with `--quiet`.
    pub fn note(&self, text: &str) {
        if self.talk >= Talk::Normal {
            self.error(text);
        }
    }

    /// What must be said whatever the options.
    pub fn error(&self, text: &str) {
        self.end_wait();
        let mut stream = lock(&self.error);
        stream.write(text);
        if !text.ends_with('\n') {
            stream.write("\n");
        }
    }

    /// A question, left open for the answer on the same line.
    pub fn ask(&self, text: &str) {
        self.end_wait();
        lock(&self.error).write(text);
    }

    /// Whether anything was said or printed so far.
    pub fn has_begun(&self) -> bool {
        lock(&self.output).begun || lock(&self.error).begun
    }

    /// Where progress bars may be drawn.
    pub fn draw_target(&self) -> ProgressDrawTarget {
        if self.terminal.error.tty && !self.terminal.dumb && self.talk >= Talk::Normal {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        }
    }

    /// Whether standard output was closed by its reader.
    pub fn output_closed(&self) -> bool {
        lock(&self.output).closed
    }

    /// The failure that a result was lost to, once.
    pub fn take_failure(&self) -> Option<io::Error> {
        lock(&self.output).failure.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Fails(io::ErrorKind, Arc<Mutex<u32>>);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            *self.1.lock().unwrap() += 1;
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printer(kind: io::ErrorKind) -> (Printer, Arc<Mutex<u32>>) {
        let calls = Arc::new(Mutex::new(0));
        let streams = Streams {
            input: Box::new(io::empty()),
            output: Box::new(Fails(kind, Arc::clone(&calls))),
            error: Box::new(io::sink()),
            terminal: Terminal::default(),
        };
        (Printer::new(streams, ColorChoice::Auto, Talk::Normal).0, calls)
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_is_left_alone() {
        let (printer, calls) = printer(io::ErrorKind::BrokenPipe);
        printer.result("one\n");
        printer.result("two\n");
        assert!(printer.output_closed());
        assert!(printer.take_failure().is_none());
        assert_eq!(*calls.lock().unwrap(), 1);
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let (printer, _) = printer(io::ErrorKind::StorageFull);
        printer.result("one\n");
        assert_eq!(printer.take_failure().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    }
}
