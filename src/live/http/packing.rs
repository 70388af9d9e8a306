//! Whether blocks are packed on their way: where that brings them sooner.
//!
//! Packing makes bytes fewer and takes both ends' cores time. On a line that is slower than a core packs it is always
//! right; on one that is faster it holds the blocks up. Neither the line nor what else the two machines do is known
//! here, so it is tried out: what counts is how many bytes of blocks come through in a time, with everything that
//! holds them up.
//!
//! - A transfer begins packed. One of no more than [`FIRST`] requests stays so: what it could save is little.
//! - A line so slow that any core packs faster ([`SLOW`]) is not tried out.
//! - A trial is some requests the other way, some this way, and both once more. The other way is taken only where it
//!   is a good deal faster ([`FASTER`]): on a tie fewer bytes win, and nothing swings to and fro.
//! - Trials are [`LATER`] requests apart, so that they cost next to nothing; and plain blocks on a line that has become
//!   slow are packed again at once.
//!
//! One of these belongs to one transfer: lines and loads change, and the next one finds out by itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Requests before the first trial: what is smaller than these is packed.
const FIRST: u32 = 40;
/// Requests between later trials.
const LATER: u32 = 400;
/// Turns of a trial: the other way, this way, and again.
const TURNS: u32 = 4;
/// The first requests that end in a turn are of the one before, or travelled beside those.
const SETTLING: u32 = 8;
/// Requests by which a turn is judged.
const JUDGED: u32 = 10;
/// Requests that carry less than this say more of the line's latency than of its speed.
const LEAST_BYTES: u64 = 1 << 20;
/// Bytes a second that any core packs.
const SLOW: f64 = (64_u64 << 20) as f64;
/// The other way is taken where it takes at most this share of the time.
const FASTER: f64 = 0.85;

/// Whether the blocks of one transfer are packed.
#[derive(Debug, Default)]
pub(super) struct Packing {
    allowed: bool,
    trials: Mutex<Trials>,
}

/// What was found out. Pure.
#[derive(Debug)]
struct Trials {
    /// The way that is taken.
    packed: bool,
    /// How many turns of the trial are still to come; none: there is no trial.
    left: u32,
    /// Requests until the next trial.
    until_trial: u32,
    window: Window,
    /// Seconds for a byte in the trial's turns, this way and the other way.
    this: f64,
    other: f64,
}

/// The requests of a turn as they end.
#[derive(Debug, Default, Clone, Copy)]
struct Window {
    ended: u32,
    bytes: u64,
    since: Duration,
}

impl Window {
    /// A request has ended; once enough have, how many seconds a byte took.
    fn add(&mut self, bytes: u64, now: Duration) -> Option<f64> {
        self.ended += 1;
        match self.ended {
            before if before < SETTLING => return None,
            SETTLING => self.since = now,
            _ => self.bytes += bytes,
        }
        let took = now.saturating_sub(self.since).as_secs_f64().max(1e-6);
        (self.ended >= SETTLING + JUDGED).then(|| took / self.bytes.max(1) as f64)
    }

    /// The next one, which goes the same way: nothing has to settle.
    const fn after(now: Duration) -> Self {
        Self { ended: SETTLING, bytes: 0, since: now }
    }
}

impl Default for Trials {
    fn default() -> Self {
        let window = Window::default();
        Self { packed: true, left: 0, until_trial: FIRST, window, this: 0.0, other: 0.0 }
    }
}

impl Packing {
    /// For a transfer whose pair has its blocks packed, or not.
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, trials: Mutex::default() }
    }

    fn trials(&self) -> MutexGuard<'_, Trials> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next request's blocks are to be packed.
    pub(super) fn next(&self) -> bool {
        self.allowed && self.trials().goes_packed()
    }

    /// A request that carried so many bytes of blocks has ended.
    pub(super) fn ended(&self, bytes: u64, now: Duration) {
        if self.allowed && bytes >= LEAST_BYTES {
            self.trials().ended(bytes, now);
        }
    }
}

impl Trials {
    const fn goes_packed(&self) -> bool {
        // The first turn of a trial, and every second one, goes the other way.
        self.packed != (self.left > 0 && self.left % 2 == TURNS % 2)
    }

    fn ended(&mut self, bytes: u64, now: Duration) {
        self.until_trial = self.until_trial.saturating_sub(1);
        let Some(for_a_byte) = self.window.add(bytes, now) else { return };
        if self.left > 0 {
            let sum = if self.goes_packed() == self.packed { &mut self.this } else { &mut self.other };
            *sum += for_a_byte;
            self.left -= 1;
            if self.left == 0 {
                self.packed = self.packed != (self.other <= self.this * FASTER);
                self.until_trial = LATER;
            }
            self.window = Window::default();
        } else if for_a_byte * SLOW > 1.0 {
            self.packed = true;
            self.window = Window::after(now);
        } else if self.until_trial == 0 {
            (self.left, self.this, self.other) = (TURNS, 0.0, 0.0);
            self.window = Window::default();
        } else {
            self.window = Window::after(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = (1 << 20) as f64;
    /// What is carried by one request.
    const BYTES: u64 = 2 << 20;

    /// A line, and what packing is on the machines at its ends.
    #[derive(Clone, Copy)]
    struct Line {
        /// MiB that it carries in a second.
        carries: f64,
        /// What blocks shrink to.
        share: f64,
        /// MiB that the cores pack in a second.
        packer: f64,
    }

    const FAST: Line = Line { carries: 3000.0, share: 0.6, packer: 500.0 };

    struct Traveller {
        packing: Packing,
        now: f64,
    }

    impl Traveller {
        fn new() -> Self {
            Self { packing: Packing::new(true), now: 0.0 }
        }

        /// Requests, four of them under way at any time: how many went packed.
        fn go(&mut self, requests: usize, line: Line) -> usize {
            let mut flying = std::collections::VecDeque::new();
            let mut packed = 0;
            for _ in 0..requests {
                let way = self.packing.next();
                packed += usize::from(way);
                flying.push_back(way);
                if flying.len() == 4 {
                    self.land(flying.pop_front().unwrap(), line);
                }
            }
            flying.into_iter().for_each(|way| self.land(way, line));
            packed
        }

        fn land(&mut self, packed: bool, line: Line) {
            let mib = BYTES as f64 / MIB;
            let (carried, work) = if packed { (mib * line.share, mib / line.packer) } else { (mib, 0.0) };
            self.now += (carried / line.carries).max(work);
            self.packing.ended(BYTES, Duration::from_secs_f64(self.now));
        }
    }

    #[test]
    fn blocks_are_packed_until_the_line_has_shown_that_it_is_faster() {
        let mut traveller = Traveller::new();
        assert_eq!(traveller.go(FIRST as usize, FAST), FIRST as usize, "what is small is packed");
        traveller.go(150, FAST);
        let packed = traveller.go(10_000, FAST);
        assert!(packed < 1_000, "{packed} of 10,000 requests were held up by packing");
    }

    #[test]
    fn a_line_slower_than_the_packer_carries_packed_blocks() {
        let slow = Line { carries: 20.0, ..FAST };
        assert_eq!(Traveller::new().go(10_000, slow), 10_000, "a slow line is not even tried out");
        let quick = Line { carries: 300.0, ..FAST };
        let packed = Traveller::new().go(10_000, quick);
        assert!((9_000..10_000).contains(&packed), "a quick one is tried now and then: {packed}");
    }

    #[test]
    fn a_small_gain_changes_nothing() {
        let alike = Line { carries: 900.0, share: 1.0, packer: 820.0 };
        let packed = Traveller::new().go(10_000, alike);
        assert!(packed > 9_000, "{packed}");
    }

    #[test]
    fn a_line_that_becomes_slow_has_its_blocks_packed_again() {
        let mut traveller = Traveller::new();
        traveller.go(400, FAST);
        let packed = traveller.go(1_000, Line { carries: 20.0, ..FAST });
        assert!(packed >= 970, "at once where it is slow: {packed}");
        let mut traveller = Traveller::new();
        traveller.go(1_000, FAST);
        let quick = Line { carries: 300.0, ..FAST };
        traveller.go(LATER as usize + 100, quick);
        let packed = traveller.go(1_000, quick);
        assert!(packed > 900, "after the next trial where it is quick: {packed}");
    }

    #[test]
    fn small_requests_say_nothing_and_what_must_not_be_packed_is_not() {
        let packing = Packing::new(true);
        for at in 0..1_000 {
            assert!(packing.next());
            packing.ended(LEAST_BYTES - 1, Duration::from_micros(at));
        }
        let mut traveller = Traveller { packing: Packing::new(false), now: 0.0 };
        assert_eq!(traveller.go(1_000, Line { carries: 1.0, ..FAST }), 0);
    }
}
