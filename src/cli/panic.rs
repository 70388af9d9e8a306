//! What a bug looks like to the person at the terminal: a few calm words at the end, and exit code 1.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

/// What the first panic of this process said, and where.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Keeps what a panic says, wherever it happens, until the run ends and tells it in the form that was asked for.
/// Without this, a panic prints itself at once.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        let text = format!("{}{place}", words(info.payload()));
        FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }));
}

/// The first panic, once.
pub(super) fn take() -> Option<String> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What a panic said.
pub(super) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}
