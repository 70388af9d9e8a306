//! What a service manager is told, where one started the program.

use sd_notify::NotifyState;

/// The server answers.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The server ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState]) {
    // The manager's own deadline says what it makes of silence.
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
