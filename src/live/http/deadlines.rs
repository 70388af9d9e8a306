//! How long a region may take, and how often it is asked.

use std::time::Duration;

/// The deadlines of one region's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For a connection to stand.
    pub connect: Duration,
    /// For a snapshot: a region that takes longer counts as silent.
    pub snapshot: Duration,
    /// For any other short question and its answer.
    pub call: Duration,
    /// For a request or an answer that carries much: blocks, hashes, manifests.
    pub bulk: Duration,
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
            snapshot: timeout,
            call: timeout.max(Duration::from_secs(10)),
            bulk: Duration::from_secs(120),
            begin: Duration::from_secs(2),
            wait: Duration::from_secs(10),
            lost: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        }
    }
}
