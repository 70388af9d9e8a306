//! When this region last heard of whoever carries an operation out.
//!
//! In memory alone: a region that started anew has heard nothing for as long as it runs, so that nobody takes an
//! operation for abandoned sooner than it was.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::OperationId;
use crate::model::event::Seconds;

/// The last moment of each operation, by the clock since boot.
#[derive(Debug)]
pub(super) struct Heard {
    began: Duration,
    last: Mutex<BTreeMap<OperationId, Duration>>,
}

impl Heard {
    pub(super) const fn since(began: Duration) -> Self {
        Self { began, last: Mutex::new(BTreeMap::new()) }
    }

    pub(super) fn hear(&self, operation: OperationId, now: Duration) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(operation, now);
    }

    /// How long ago that was, of these; nothing else is remembered any longer.
    pub(super) fn ages<'a>(
        &self,
        open: impl Iterator<Item = &'a OperationId>,
        now: Duration,
    ) -> BTreeMap<OperationId, Seconds> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = |id: &OperationId| last.get(id).copied().unwrap_or(self.began);
        let moments: BTreeMap<OperationId, Duration> = open.map(|id| (*id, moment(id))).collect();
        last.clone_from(&moments);
        moments.into_iter().map(|(id, at)| (id, Seconds(now.saturating_sub(at)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_never_heard_of_is_as_old_as_the_region() {
        let id = |n| OperationId(Uuid::from_u128(n));
        let seconds = Duration::from_secs;
        let heard = Heard::since(seconds(100));
        heard.hear(id(1), seconds(130));
        let ages = heard.ages([id(1), id(2)].iter(), seconds(140));
        assert_eq!(ages, BTreeMap::from([(id(1), Seconds(seconds(10))), (id(2), Seconds(seconds(40)))]));
        heard.hear(id(2), seconds(141));
        assert_eq!(heard.ages([id(2)].iter(), seconds(142))[&id(2)], Seconds(seconds(1)));
    }
}
