//! A view that begins with the first event: before it, the plan is shown and the question asked, and no bar may stand
//! in their way.

use std::sync::Arc;

use super::feed::View;
use crate::execute::event::Event;
use crate::render::printer::Printer;

type Make = Box<dyn FnOnce() -> Box<dyn View> + Send>;

/// Makes its view when it is needed.
pub struct Later {
    printer: Arc<Printer>,
    make: Option<Make>,
    view: Option<Box<dyn View>>,
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Later").field("begun", &self.view.is_some()).finish_non_exhaustive()
    }
}

impl Later {
    /// A view that `make` gives; until then, lines go through `printer`.
    pub fn new(printer: Arc<Printer>, make: impl FnOnce() -> Box<dyn View> + Send + 'static) -> Self {
        Self { printer, make: Some(Box::new(make)), view: None }
    }
}

impl View for Later {
    fn event(&mut self, event: &Event) {
        if let Some(make) = self.make.take() {
            self.printer.end_wait();
            self.view = Some(make());
        }
        if let Some(view) = &mut self.view {
            view.event(event);
        }
    }

    fn say(&mut self, line: &str) {
        match &mut self.view {
            Some(view) => view.say(line),
            None => self.printer.note(line),
        }
    }

    fn end(&mut self) {
        if let Some(view) = &mut self.view {
            view.end();
        }
    }
}
