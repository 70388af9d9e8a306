//! A line that says what is waited for, while nothing else is said.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal::Look;

/// Shorter silences are not spoken of.
const SILENCE: Duration = Duration::from_secs(1);
const LINE: &str = "{spinner} {msg} {elapsed}";

/// The line, which is gone with this.
#[derive(Debug)]
pub(super) struct Patience {
    bar: ProgressBar,
    over: Arc<(Mutex<bool>, Condvar)>,
}

impl Patience {
    /// Says `what` on `target` from a while on.
    pub(super) fn new(target: ProgressDrawTarget, what: &str, look: &Look) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(style.tick_chars(if look.unicode { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " }));
        bar.set_message(look.clean(what));
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let (line, ended) = (bar.clone(), Arc::clone(&over));
        std::thread::spawn(move || {
            let (flag, bell) = &*ended;
            let guard = flag.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = bell.wait_timeout_while(guard, SILENCE, |over| !*over);
            let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
            // Under the lock: whoever ends it waits until there is something to clear.
            if !*guard {
                line.set_draw_target(target);
                line.enable_steady_tick(Duration::from_millis(120));
            }
        });
        Self { bar, over }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        let (flag, bell) = &*self.over;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_all();
        self.bar.finish_and_clear();
    }
}
