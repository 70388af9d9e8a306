//! From the run to a view, through a queue.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::execute::event::{Event, EventSink};

/// Shows events.
pub trait View: Send {
    /// Shows one, in order.
    fn event(&mut self, event: &Event);
    /// Says a line between them.
    fn say(&mut self, line: &str);
    /// Nothing more will come.
    fn end(&mut self);
}

enum Item {
    Event(Box<Event>),
    Say(String),
}

/// Takes events and has them shown by a thread of its own, in order.
pub struct Feed {
    to: Mutex<Option<Sender<Item>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

impl Feed {
    /// Starts the thread that feeds `view`.
    pub fn new(mut view: Box<dyn View>) -> Self {
        let (to, items): (Sender<Item>, Receiver<Item>) = channel();
        let thread = std::thread::spawn(move || {
            for item in items {
                match item {
                    Item::Event(event) => view.event(&event),
                    Item::Say(line) => view.say(&line),
                }
            }
            view.end();
        });
        Self { to: Mutex::new(Some(to)), thread: Mutex::new(Some(thread)) }
    }

    /// Says a line between the events.
    pub fn say(&self, line: impl Into<String>) {
        self.send(Item::Say(line.into()));
    }

    /// Waits until all is shown. What comes later is not.
    pub fn end(&self) {
        drop(self.to.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A view that panicked has said so; the run's result stands all the same.
            let _ = thread.join();
        }
    }

    /// Whether it still takes anything.
    pub fn is_open(&self) -> bool {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn send(&self, item: Item) {
        if let Some(to) = &*self.to.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails only where the view panicked.
            let _ = to.send(item);
        }
    }
}

impl EventSink for Feed {
    fn emit(&self, event: &Event) {
        self.send(Item::Event(Box::new(event.clone())));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end();
    }
}
