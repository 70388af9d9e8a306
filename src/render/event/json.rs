//! Events as JSON, one object a line on standard output.

use std::sync::Arc;

use super::feed::View;
use crate::execute::event::Event;
use crate::render::document;
use crate::render::printer::Printer;

/// JSON lines.
#[derive(Debug)]
pub struct JsonLines(Arc<Printer>);

impl JsonLines {
    /// Writes through `printer`.
    pub const fn new(printer: Arc<Printer>) -> Self {
        Self(printer)
    }
}

impl View for JsonLines {
    fn event(&mut self, event: &Event) {
        match document::json_line(event) {
            Ok(line) => self.0.result(&line),
            Err(error) => self.0.error(&error.to_string()),
        }
    }

    fn say(&mut self, line: &str) {
        self.0.note(line);
    }

    fn end(&mut self) {}
}
