//! How fast the blocks of a pair of regions travel: one pace for all syncs between the two that run at once.
//!
//! It owns the books: what has been paid for, and when the next bytes may go. Whoever sends pays before it asks, in
//! the order of asking, for what the blocks or hashes will probably weigh on the wire, and settles once it has seen what
//! they did weigh: how well they are compressed is known only then. Rate limiters of the usual kind count units that cannot be
//! given back, which would hold compressible blocks down to a fraction of the limit.
//!
//! Invariants: over any time, no more is begun than the limit allows in it, plus the credit of a moment and one portion; guesses
//! that were wrong are made good by what comes next. A sync waits for at most one portion at a time, so of the syncs of
//! a pair each has its turn after at most one portion of every other, whatever their sizes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::port::BLOCK_BYTES;
use crate::model::region::SyncOrder;
use crate::model::{BitRate, RegionId};

/// Seconds that may be made up for after nobody sent.
const CREDIT: f64 = 0.1;
/// Seconds that one request fills.
const PORTION: f64 = 0.1;
/// Blocks are asked for as if no less than this share of them travelled, lest a change of content makes a portion last.
const LIGHTEST: f64 = 0.25;
/// How much the last request counts in the guess at the next one's weight.
const FRESH: f64 = 0.25;
/// A pace that nobody used for so many seconds is forgotten.
const FORGOTTEN: f64 = 60.0;

/// The pace of one pair.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    books: Mutex<Books>,
    /// Whoever has it is the next to pay; others queue for it.
    turn: tokio::sync::Mutex<()>,
    /// Something was given back, or the limit changed.
    changed: Notify,
}

/// What is owed, in seconds of a pace's own time. Pure.
#[derive(Debug)]
struct Books {
    /// Bytes a second.
    rate: f64,
    /// When everything that went is paid for.
    due: f64,
    /// What a byte of blocks weighs on the wire.
    weight: f64,
}

/// Bytes that were paid for and have not been weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what was paid is settled once the bytes are weighed"]
pub struct Paid {
    /// Of blocks.
    blocks: u64,
    /// On the wire, as guessed.
    wire: u64,
}

impl Books {
    const fn new(rate: f64) -> Self {
        Self { rate, due: 0.0, weight: 1.0 }
    }

    fn set(&mut self, now: f64, rate: f64) {
        let owed = (self.due - now).max(0.0) * self.rate;
        if owed > 0.0 {
            self.due = now + owed / rate;
        }
        self.rate = rate;
    }

    fn portion(&self) -> usize {
        let bytes = self.rate * PORTION / self.weight.clamp(LIGHTEST, 1.0);
        ((bytes / BLOCK_BYTES as f64) as usize).max(1)
    }

    /// Pays for bytes of blocks and for bytes of what weighs what it is, or says in how many seconds that can be done.
    fn pay(&mut self, now: f64, blocks: u64, hashes: u64) -> Result<Paid, f64> {
        if self.due > now {
            return Err(self.due - now);
        }
        let wire = (blocks as f64 * self.weight).ceil() + hashes as f64;
        self.due = self.due.max(now - CREDIT) + wire / self.rate;
        Ok(Paid { blocks, wire: wire as u64 })
    }

    fn settle(&mut self, paid: Paid, weighed: u64) {
        self.due += (weighed as f64 - paid.wire as f64) / self.rate;
        if paid.blocks > 0 {
            let seen = weighed as f64 / paid.blocks as f64;
            // What a lost answer cost once more says nothing of the next.
            self.weight = (self.weight * (1.0 - FRESH) + seen * FRESH).clamp(0.0, 1.1);
        }
    }
}

impl Pace {
    /// One that nobody used yet.
    pub fn new(limit: BitRate) -> Self {
        Self {
            began: Instant::now(),
            books: Mutex::new(Books::new(rate(limit))),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The limit from now on. What is owed is paid at the new rate.
    pub fn set(&self, limit: BitRate) {
        self.books().set(self.now(), rate(limit));
        self.changed.notify_waiters();
    }

    /// How many blocks one request should ask for, at least one.
    pub fn portion(&self) -> usize {
        self.books().portion()
    }

    /// Waits until `blocks` bytes of blocks may be asked for. Dropped before its end, nothing was paid; until then it
    /// must be polled, because all others wait for it once it is the next.
    pub async fn pay(&self, blocks: u64) -> Paid {
        self.wait(blocks, 0).await
    }

    /// The same for so many bytes of hashes, which nothing makes smaller.
    pub async fn pay_for_hashes(&self, bytes: u64) -> Paid {
        self.wait(0, bytes).await
    }

    async fn wait(&self, blocks: u64, hashes: u64) -> Paid {
        /// The longest that is waited without another look.
        const LOOK: f64 = 3600.0;
        let _turn = self.turn.lock().await;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let early = match self.books().pay(self.now(), blocks, hashes) {
                Ok(paid) => return paid,
                Err(early) => Duration::from_secs_f64(early.min(LOOK)),
            };
            tokio::select! {
                () = tokio::time::sleep(early) => {}
                () = changed => {}
            }
        }
    }

    /// What was paid for weighed so much.
    pub fn settle(&self, paid: Paid, weighed: u64) {
        self.books().settle(paid, weighed);
        self.changed.notify_waiters();
    }

    fn is_forgotten(&self) -> bool {
        self.now() - self.books().due > FORGOTTEN
    }
}

fn rate(limit: BitRate) -> f64 {
    limit.0.max(8) as f64 / 8.0
}

/// The paces of all pairs of a program.
#[derive(Debug, Default)]
pub struct Paces(Mutex<BTreeMap<(RegionId, RegionId), Arc<Pace>>>);

impl Paces {
    /// The pace that the order's sync keeps to; none: as fast as it can. The limit that was named last holds for all
    /// that run at it.
    pub fn of(&self, order: &SyncOrder, limit: Option<BitRate>) -> Option<Arc<Pace>> {
        let limit = limit?;
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paces.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.is_forgotten());
        let pair = (order.source.clone(), order.target.clone());
        let pace = paces.entry(pair).or_insert_with(|| Arc::new(Pace::new(limit)));
        pace.set(limit);
        Some(Arc::clone(pace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;

    fn within(found: f64, wanted: f64, share: f64) {
        assert!((found / wanted - 1.0).abs() <= share, "{found} is not {wanted}");
    }

    /// Requests without end, a few in flight, whose blocks weigh `weigh` and which take `latency`: when how many bytes
    /// had travelled, by a clock that nobody waits for.
    fn travel(books: &mut Books, until: f64, weigh: f64, latency: f64, in_flight: usize) -> Vec<(f64, f64)> {
        let (mut now, mut sent) = (0.0, 0.0);
        let mut flying: Vec<(f64, Paid)> = Vec::new();
        let mut seen = Vec::new();
        while now < until {
            let next = flying.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
            let mut wake = next;
            if flying.len() < in_flight {
                match books.pay(now, books.portion() as u64 * BLOCK_BYTES, 0) {
                    Ok(paid) => {
                        flying.push((now + latency, paid));
                        continue;
                    }
                    Err(early) => wake = next.min(now + early + 1e-9),
                }
            }
            now = wake;
            flying.retain(|(at, paid)| {
                let flies = *at > now;
                if !flies {
                    let weighed = (paid.blocks as f64 * weigh) as u64;
                    books.settle(*paid, weighed);
                    sent += weighed as f64;
                }
                flies
            });
            seen.push((now, sent));
        }
        seen
    }

    fn sent_by(seen: &[(f64, f64)], at: f64) -> f64 {
        seen.iter().take_while(|(when, _)| *when <= at).last().map_or(0.0, |(_, sent)| *sent)
    }

    #[test]
    fn a_steady_transfer_keeps_the_limit_in_any_ten_seconds_however_it_is_compressed() {
        let cases = [
            (20 * MBIT, 1.0),
            (20 * MBIT, 0.3),
            (1000 * MBIT, 1.0),
            (10 * MBIT, 1.0),
            (200 * MBIT, 0.05),
            (50 * MBIT, 1.02),
        ];
        for (limit, weigh) in cases {
            let mut books = Books::new(rate(BitRate(limit)));
            let seen = travel(&mut books, 60.0, weigh, 0.02, 4);
            // It has to learn first how light the blocks are.
            for from in 2..50 {
                let bytes = sent_by(&seen, f64::from(from) + 10.0) - sent_by(&seen, f64::from(from));
                within(bytes, limit as f64 / 8.0 * 10.0, 0.03);
            }
        }
    }

    #[test]
    fn content_that_stops_being_light_is_made_good() {
        let mut books = Books::new(rate(BitRate(80 * MBIT)));
        travel(&mut books, 10.0, 0.01, 0.02, 4);
        books.due = 0.0;
        let seen = travel(&mut books, 30.0, 1.0, 0.02, 4);
        within(sent_by(&seen, 10.0), 100e6, 0.2);
        within(sent_by(&seen, 30.0), 300e6, 0.05);
    }

    #[test]
    fn a_limit_below_a_block_lets_one_at_a_time_through() {
        let mut books = Books::new(8.0 * 1024.0);
        assert_eq!(books.portion(), 1);
        // The first goes at once, and what it weighs is waited for before the next.
        let seen = travel(&mut books, 82.0, 1.0, 0.02, 4);
        within(sent_by(&seen, 81.0) / BLOCK_BYTES as f64, 11.0, 0.01);
    }

    #[test]
    fn a_rest_is_not_made_up_for_and_a_new_limit_holds_for_what_is_owed() {
        let mut books = Books::new(1e6);
        let _ = books.pay(0.0, 1_000_000, 0).unwrap();
        let _ = books.pay(600.0, 1_000_000, 0).unwrap();
        within(books.pay(600.0, 1, 0).unwrap_err(), 1.0 - CREDIT, 0.001);
        books.set(600.0, 10e6);
        within(books.pay(600.0, 1, 0).unwrap_err(), 0.09, 0.001);
        books.set(700.0, 1e6);
        assert!(books.pay(700.0, 1, 0).is_ok(), "nothing is owed any more");
    }

    #[tokio::test]
    async fn those_that_wait_pay_in_turn_and_whoever_gives_up_has_paid_nothing() {
        let pace = Arc::new(Pace::new(BitRate(80 * MBIT)));
        let paid = Arc::new(Mutex::new(Vec::new()));
        let _ = pace.pay(1 << 20).await;
        let gone = tokio::time::timeout(Duration::from_millis(1), pace.pay(100 << 20)).await;
        assert!(gone.is_err());
        let mut tasks = Vec::new();
        for (name, times) in [("large", 40), ("small", 3)] {
            let (pace, paid) = (Arc::clone(&pace), Arc::clone(&paid));
            tasks.push(tokio::spawn(async move {
                for _ in 0..times {
                    let _ = pace.pay(64 << 10).await;
                    paid.lock().unwrap().push(name);
                }
            }));
            tokio::task::yield_now().await;
        }
        tasks.pop().unwrap().await.unwrap();
        let order = paid.lock().unwrap().clone();
        assert!(order.len() <= 8, "a small one waits for a portion of the large one, and not for all: {order:?}");
        tasks.pop().unwrap().abort();
    }

    #[tokio::test]
    async fn a_new_limit_wakes_those_who_wait() {
        let pace = Arc::new(Pace::new(BitRate(8)));
        let _ = pace.pay(64 << 10).await;
        let waiting = Arc::clone(&pace);
        let waiting = tokio::spawn(async move { waiting.pay(64 << 10).await });
        tokio::task::yield_now().await;
        pace.set(BitRate(1000 * MBIT));
        let _ = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }

    #[test]
    fn a_pair_has_one_pace_and_the_last_limit_named() {
        let paces = Paces::default();
        let order = |source: &str| SyncOrder {
            lineage: crate::model::Lineage(uuid::Uuid::nil()),
            term: 1,
            resource: "vm.web".parse().unwrap(),
            source: source.parse().unwrap(),
            target: "west".parse().unwrap(),
            epoch: crate::model::region::Epoch::BIRTH,
            operation: crate::model::OperationId(uuid::Uuid::nil()),
            compress: true,
        };
        let one = paces.of(&order("east"), Some(BitRate(MBIT))).unwrap();
        let same = paces.of(&order("east"), Some(BitRate(100 * MBIT))).unwrap();
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!(one.portion(), 19);
        assert!(!Arc::ptr_eq(&one, &paces.of(&order("north"), Some(BitRate(MBIT))).unwrap()));
        assert!(paces.of(&order("east"), None).is_none());
        one.books().due = -30.0;
        drop((one, same));
        let known = || paces.0.lock().unwrap().len();
        paces.of(&order("north"), Some(BitRate(MBIT)));
        assert_eq!(known(), 2, "what is owed outlives a sync");
        paces.of(&order("east"), Some(BitRate(MBIT))).unwrap().books().due = -FORGOTTEN - 1.0;
        paces.of(&order("north"), Some(BitRate(MBIT)));
        assert_eq!(known(), 1);
    }
}
