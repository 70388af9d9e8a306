//! The machine's own clock and its source of chance.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use crate::model::{Clock, IdSource, Timestamp, World};

/// The world as it is: the machine's clock, unpredictable ids.
pub fn world() -> World {
    World { clock: Arc::new(SystemClock), ids: Arc::new(RandomIds) }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that is handed in everywhere else")]
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }

    fn since_boot(&self) -> Duration {
        // Unlike the monotonic clock, this one goes on while the machine is suspended: evidence ages then too.
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// Random and time-ordered UUIDs.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this is the source of ids that is handed in everywhere else")]
    fn random(&self) -> Uuid {
        Uuid::new_v4()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the source of ids that is handed in everywhere else")]
    fn ordered(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_ids_sort_by_it() {
        let world = world();
        let (first, boot, id) = (world.clock.now(), world.clock.since_boot(), world.ids.ordered());
        std::thread::sleep(Duration::from_millis(3));
        assert!(world.clock.now().since(first) >= Duration::from_millis(2));
        assert!(world.clock.since_boot() >= boot + Duration::from_millis(3));
        assert!(world.ids.ordered() > id);
        assert_ne!(world.ids.random(), world.ids.random());
        assert!(first > "2024-01-01T00:00:00Z".parse().unwrap());
    }
}
