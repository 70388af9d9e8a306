//! How long history is kept. Pure: what is there and the time go in, what may go comes out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{RunId, Timestamp};

const DAY: Duration = Duration::from_secs(86_400);

/// How much history is kept. What is beyond either limit, the number or the age, goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRetention {
    /// Runs that did something, or failed to.
    pub runs: usize,
    /// For how long.
    pub runs_for: Duration,
    /// Runs that found nothing to do. A timer makes one each minute; they must not push out the others.
    pub idle_runs: usize,
    /// For how long.
    pub idle_runs_for: Duration,
    /// Health observations.
    pub observations: usize,
    /// For how long.
    pub observations_for: Duration,
}

impl Default for HistoryRetention {
    fn default() -> Self {
        Self {
            runs: 10_000,
            runs_for: DAY * 400,
            idle_runs: 1_000,
            idle_runs_for: DAY * 7,
            observations: 100_000,
            observations_for: DAY * 30,
        }
    }
}

/// A finished run, as retention looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// Its name.
    pub run: RunId,
    /// When it began.
    pub started_at: Timestamp,
    /// Whether it found nothing to do and did nothing.
    pub idle: bool,
}

impl HistoryRetention {
    /// The runs that may go. `runs` are all finished ones, newest first. The newest always stays.
    pub fn expired(&self, now: Timestamp, runs: &[PastRun]) -> BTreeSet<RunId> {
        let (mut busy, mut idle) = (0, 0);
        let mut gone = BTreeSet::new();
        for (place, run) in runs.iter().enumerate() {
            let (seen, most, longest) = if run.idle {
                (&mut idle, self.idle_runs, self.idle_runs_for)
            } else {
                (&mut busy, self.runs, self.runs_for)
            };
            *seen += 1;
            if place > 0 && (*seen > most || now.since(run.started_at) > longest) {
                gone.insert(run.run);
            }
        }
        gone
    }

    /// Observations made before this moment may go.
    pub fn observations_since(&self, now: Timestamp) -> Timestamp {
        let age = i64::try_from(self.observations_for.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.as_micros().saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn run(number: u128, days_ago: u64, idle: bool) -> PastRun {
        let started_at = Timestamp::from_micros(0).plus(DAY * 1000 - DAY * u32::try_from(days_ago).unwrap());
        PastRun { run: RunId(Uuid::from_u128(number)), started_at, idle }
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(0).plus(DAY * 1000)
    }

    fn numbers(gone: BTreeSet<RunId>) -> Vec<u128> {
        gone.into_iter().map(|run| run.0.as_u128()).collect()
    }

    #[test]
    fn idle_runs_go_first_and_by_their_own_count() {
        let keep = HistoryRetention { runs: 2, idle_runs: 1, ..HistoryRetention::default() };
        let runs =
            [run(9, 0, true), run(8, 0, true), run(7, 1, false), run(6, 1, true), run(5, 2, false), run(4, 3, false)];
        assert_eq!(numbers(keep.expired(now(), &runs)), [4, 6, 8]);
        assert!(keep.expired(now(), &[]).is_empty());
    }

    #[test]
    fn age_counts_too_but_the_newest_stays() {
        let keep = HistoryRetention::default();
        assert_eq!(numbers(keep.expired(now(), &[run(2, 400, false), run(1, 401, false)])), [1]);
        assert_eq!(numbers(keep.expired(now(), &[run(3, 7, true), run(2, 8, true), run(1, 8, false)])), [2]);
        assert!(keep.expired(now(), &[run(1, 900, false)]).is_empty());
        assert_eq!(keep.observations_since(now()), Timestamp::from_micros(0).plus(DAY * 970));
    }
}
