//! How long a region may take, and how often it is asked.

use std::time::Duration;

/// Bytes that an answer brings in each [`Deadlines::pace`], until its end: 4 KiB a second in twenty.
pub(super) const LEAST: usize = 80 << 10;

/// How long the whole answer of a region that is there is waited for: it may have many thousand files to look at.
pub const OBSERVE_DEADLINE: Duration = Duration::from_secs(60);

/// The deadlines of one region's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For a connection to stand.
    pub connect: Duration,
    /// For a whole snapshot, which takes the longer the more a region holds. Whether one is there, smaller questions
    /// tell.
    pub snapshot: Duration,
    /// For what a region says of itself in short: one that takes longer counts as silent.
    pub glance: Duration,
    /// For any other short question and its answer.
    pub call: Duration,
    /// For a request that carries much, or whose answer does, until the answer begins: blocks, hashes, manifests.
    pub bulk: Duration,
    /// In so long an answer that has begun brings at least 80 KiB more, or ends: slow is not dead, and what
    /// only drips is.
    pub pace: Duration,
    /// How long the region may work on the whole of an operation before it answers that it has begun.
    pub begin: Duration,
    /// How long the region holds the question after an operation back, until there is something new.
    pub wait: Duration,
    /// So long lost questions are asked again.
    pub lost: Duration,
    /// The first pause before a lost question is asked again; the next ones are longer.
    pub pause: Duration,
}

impl Deadlines {
    /// Those of a policy whose health timeout is `timeout`.
    pub fn of(timeout: Duration) -> Self {
        Self {
            connect: timeout,
            snapshot: OBSERVE_DEADLINE,
            glance: timeout,
            call: timeout.max(Duration::from_secs(10)),
            bulk: Duration::from_secs(120),
            pace: Duration::from_secs(20),
            begin: Duration::from_secs(2),
            wait: Duration::from_secs(10),
            lost: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        }
    }
}

/// How an answer goes on.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    began: Duration,
    /// When something came for the last time.
    last: Duration,
    /// Bytes of this window.
    pub(super) came: usize,
}

impl Pace {
    /// From `now` on.
    pub(super) const fn new(window: Duration, now: Duration) -> Self {
        Self { window, began: now, last: now, came: 0 }
    }

    /// So many bytes came.
    pub(super) const fn moves(&mut self, bytes: usize, now: Duration) {
        self.came += bytes;
        self.last = now;
    }

    /// For how long nothing has come, where that is most of the window: what still drips is another trouble.
    pub(super) fn quiet(&self, now: Duration) -> Option<Duration> {
        Some(now.saturating_sub(self.last)).filter(|quiet| *quiet >= self.window / 2)
    }

    /// Until the window is over.
    pub(super) fn left(&self, now: Duration) -> Duration {
        (self.began + self.window).saturating_sub(now)
    }

    /// Whether enough came in the window, which is over; if so, the next one begins.
    pub(super) fn keeps_up(&mut self, now: Duration) -> bool {
        let enough = self.came >= LEAST;
        if enough {
            (self.began, self.came) = (now, 0);
        }
        enough
    }
}
