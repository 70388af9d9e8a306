//! Leases of readings and receivings that others opened: whoever goes away without a word leaves nothing open, least of
//! all a freeze.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::{Failure, no_session};
use super::questions::Questions;
use crate::model::{ByteCount, Clock, RegionId};
use crate::replica::port::SessionId;

/// What a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The source's end of a transfer.
    Reading,
    /// The target's.
    Receiving,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Receiving => "receiving",
        }
    }
}

/// How long sessions live without being used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leases {
    pub(super) reading: Duration,
    pub(super) receiving: Duration,
}

impl Default for Leases {
    /// A reading may hold writers frozen; a receiving holds nobody.
    fn default() -> Self {
        Self { reading: Duration::from_secs(60), receiving: Duration::from_secs(600) }
    }
}

/// The open sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    clock: Arc<dyn Clock>,
    leases: Leases,
    open: Mutex<BTreeMap<SessionId, Lease>>,
}

#[derive(Debug)]
struct Lease {
    kind: Kind,
    /// Requests and operations that use it now.
    users: usize,
    last: Duration,
    questions: Arc<Questions>,
    /// Of a receiving: where from.
    source: Option<RegionId>,
    travelled: Travelled,
}

/// What arrived in a receiving, and when: a measure of the link.
#[derive(Debug, Clone, Copy, Default)]
struct Travelled {
    bytes: ByteCount,
    /// When blocks were asked for first.
    began: Option<Duration>,
    /// When some were written last.
    ended: Duration,
}

/// A session in use; its lease begins anew when this is dropped.
#[derive(Debug)]
pub(super) struct Use {
    sessions: Arc<Sessions>,
    session: SessionId,
    /// What it was asked.
    pub(super) questions: Arc<Questions>,
}

impl Sessions {
    pub(super) fn new(clock: Arc<dyn Clock>, leases: Leases) -> Self {
        Self { clock, leases, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<SessionId, Lease>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One was opened; of a receiving with the region that blocks come from.
    pub(super) fn opened(&self, kind: Kind, session: SessionId, source: Option<RegionId>) {
        let (last, travelled) = (self.clock.since_boot(), Travelled::default());
        self.open().insert(session, Lease { kind, users: 0, last, questions: Arc::default(), source, travelled });
    }

    /// Blocks were asked for.
    pub(super) fn wants(&self, session: SessionId) {
        let now = self.clock.since_boot();
        if let Some(lease) = self.open().get_mut(&session) {
            lease.travelled.began.get_or_insert(now);
        }
    }

    /// Blocks have come, packed into so many bytes, and were written.
    pub(super) fn wrote(&self, session: SessionId, packed: usize) {
        let now = self.clock.since_boot();
        if let Some(lease) = self.open().get_mut(&session) {
            lease.travelled.bytes += ByteCount(packed as u64);
            lease.travelled.ended = now;
        }
    }

    /// What has come in a receiving so far, from where, and in how long.
    pub(super) fn travelled(&self, session: SessionId) -> Option<(RegionId, ByteCount, Duration)> {
        let open = self.open();
        let lease = open.get(&session)?;
        let Travelled { bytes, began, ended } = lease.travelled;
        Some((lease.source.clone()?, bytes, ended.saturating_sub(began?)))
    }

    /// Uses one.
    ///
    /// # Errors
    /// Where there is none of that kind.
    pub(super) fn take(self: &Arc<Self>, kind: Kind, session: SessionId) -> Result<Use, Failure> {
        let mut open = self.open();
        let lease =
            open.get_mut(&session).filter(|lease| lease.kind == kind).ok_or_else(|| no_session(kind.as_str()))?;
        lease.users += 1;
        Ok(Use { sessions: Arc::clone(self), session, questions: Arc::clone(&lease.questions) })
    }

    /// One was closed.
    pub(super) fn closed(&self, session: SessionId) {
        self.open().remove(&session);
    }

    /// Takes out those whose lease ran out.
    pub(super) fn expired(&self) -> Vec<(Kind, SessionId)> {
        let now = self.clock.since_boot();
        self.take_out(|lease| {
            let length = match lease.kind {
                Kind::Reading => self.leases.reading,
                Kind::Receiving => self.leases.receiving,
            };
            lease.users == 0 && now.saturating_sub(lease.last) > length
        })
    }

    /// Takes out all.
    pub(super) fn all(&self) -> Vec<(Kind, SessionId)> {
        self.take_out(|_| true)
    }

    fn take_out(&self, which: impl Fn(&Lease) -> bool) -> Vec<(Kind, SessionId)> {
        let mut open = self.open();
        let found: Vec<_> =
            open.iter().filter(|(_, lease)| which(lease)).map(|(id, lease)| (lease.kind, *id)).collect();
        for (_, id) in &found {
            open.remove(id);
        }
        found
    }

    /// How often to look for those whose lease ran out.
    pub(super) fn pace(&self) -> Duration {
        (self.leases.reading.min(self.leases.receiving) / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }

    /// How many are open.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.open().values().filter(|lease| lease.kind == kind).count()
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let last = self.sessions.clock.since_boot();
        if let Some(lease) = self.sessions.open().get_mut(&self.session) {
            (lease.users, lease.last) = (lease.users - 1, last);
        }
    }
}
