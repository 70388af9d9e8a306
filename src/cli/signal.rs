//! SIGINT and SIGTERM. The first one asks: running syncs stop at the next durable group, the step under way is
//! finished and recorded. A second one, or the deadline, ends the program at once; the journal and the regions are
//! made for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::session::Session;

/// What happens to the window that a terminal is, and to the job that draws on it.
#[derive(Debug)]
pub(crate) struct Window {
    resized: Signal,
    suspended: Signal,
}

impl Window {
    /// Takes these signals over from now on.
    ///
    /// # Errors
    /// Where the system refuses a handler.
    pub(crate) fn install() -> std::io::Result<Self> {
        let suspend = SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw());
        Ok(Self { resized: signal(SignalKind::window_change())?, suspended: signal(suspend)? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Change {
        tokio::select! {
            _ = self.resized.recv() => Change::Resized,
            _ = self.suspended.recv() => Change::Suspended,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The window has another size.
    Resized,
    /// The job is to stop, by Ctrl-Z.
    Suspended,
}

/// Stops, as the signal would that was taken over, until the shell lets the job go on.
pub(crate) fn suspend() {
    // Refused nowhere to the process itself; where it were, it would go on drawing.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
}

/// Out within five seconds: the rest is for writing the last words.
const GRACE: Duration = Duration::from_millis(4700);

/// The signals that end the program.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them over from now on.
    ///
    /// # Errors
    /// Where the system refuses a handler.
    pub(crate) fn install() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Ends when the program must: after the second signal, or when the first one's grace is over.
    pub(crate) async fn forced(mut self, session: Arc<Session>) {
        self.next().await;
        session.cancel.cancel();
        session.say("interrupted: finishing the step under way; once more to stop at once");
        tokio::select! {
            () = self.next() => {}
            () = tokio::time::sleep(GRACE) => {}
        }
    }
}
