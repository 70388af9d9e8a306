//! Which points retention no longer wants. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::ReplicaRecord;
use crate::model::policy::Retention;

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// The points to drop, oldest first.
///
/// Kept are the newest `last` points, the newest of each of the last `hourly` hours and `daily` days (of UTC) that
/// have one, what was set aside, the point that a set-aside one shares its bytes with, and always the newest and
/// the newest complete one.
pub fn to_drop(record: &ReplicaRecord, retention: &Retention) -> Vec<u64> {
    let Some(newest) = record.newest() else { return Vec::new() };
    let mut keep: BTreeSet<u64> = record.set_aside().filter_map(|aside| aside.base).collect();
    keep.insert(newest.point.sequence);
    keep.extend(record.newest_complete().map(|newest| newest.point.sequence));
    let times: Vec<(u64, i64)> =
        record.chain().rev().map(|record| (record.point.sequence, record.point.read_at.as_micros())).collect();
    keep.extend(times.iter().take(retention.last as usize).map(|(sequence, _)| *sequence));
    for (length, count) in [(HOUR_MICROS, retention.hourly), (DAY_MICROS, retention.daily)] {
        let mut slots: BTreeMap<i64, u64> = BTreeMap::new();
        for (sequence, at) in &times {
            slots.entry(at.div_euclid(length)).or_insert(*sequence);
        }
        keep.extend(slots.values().rev().take(count as usize));
    }
    record.chain().map(|record| record.point.sequence).filter(|sequence| !keep.contains(sequence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::point::{Outline, Point, PointKind, PointState};
    use crate::model::region::Epoch;
    use crate::model::{ByteCount, Digest, Timestamp};
    use crate::replica::catalog::{PointRecord, Standing};

    fn record(minutes: &[i64]) -> ReplicaRecord {
        let mut record = ReplicaRecord::default();
        for (at, minute) in minutes.iter().enumerate() {
            let sequence = at as u64 + 1;
            let when = Timestamp::from_micros(minute * 60_000_000);
            let point = Point {
                sequence,
                name: None,
                data_hash: Digest([0; 32]),
                read_at: when,
                verified_at: when,
                source: "a".parse().unwrap(),
                epoch: Epoch::BIRTH,
                kind: PointKind::Quiet,
                state: PointState::Complete,
                bytes: ByteCount(0),
                files: 0,
            };
            let standing = Standing::Published;
            let outline = Outline::default();
            record.points.insert(
                sequence,
                PointRecord { point, source_stamp: None, outline, standing, base: None, adopted: false },
            );
        }
        record
    }

    const fn keep(last: u32, hourly: u32, daily: u32) -> Retention {
        Retention { last, hourly, daily }
    }

    #[test]
    fn each_rule_keeps_its_own() {
        // 00:00, 00:30, 01:00, 01:30, 25:00, 25:10, 25:20
        let record = record(&[0, 30, 60, 90, 1500, 1510, 1520]);
        assert_eq!(to_drop(&record, &keep(2, 0, 0)), [1, 2, 3, 4, 5]);
        assert_eq!(to_drop(&record, &keep(1, 2, 0)), [1, 2, 3, 5, 6]);
        assert_eq!(to_drop(&record, &keep(1, 24, 7)), [1, 3, 5, 6]);
        assert_eq!(to_drop(&record, &keep(0, 0, 2)), [1, 2, 3, 5, 6]);
        assert_eq!(to_drop(&record, &keep(7, 0, 0)), [0_u64; 0]);
    }

    #[test]
    fn the_newest_the_set_aside_and_its_base_always_stay() {
        let mut record = record(&[0, 1, 2, 3]);
        assert_eq!(to_drop(&record, &keep(0, 0, 0)), [1, 2, 3]);
        let aside = record.points.get_mut(&3).unwrap();
        aside.point.state = PointState::SetAside;
        aside.base = Some(2);
        assert_eq!(to_drop(&record, &keep(0, 0, 0)), [1]);
    }

    #[test]
    fn a_clock_that_went_back_costs_no_newest_point() {
        let record = record(&[100, 50]);
        assert_eq!(to_drop(&record, &keep(1, 0, 0)), [1]);
    }
}
