//! SIGINT and SIGTERM. The first one asks: running syncs stop at the next durable group, the step under way is
//! finished and recorded. A second one, or the deadline, ends the program at once; the journal and the regions are
//! made for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::session::Session;

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
