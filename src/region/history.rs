//! What this region tells of the failovers that it took part in, whoever carried them out: each as it stood when it ended
//! here. Of what it had no part in, and of what happened elsewhere after that, it knows nothing.
//!
//! Assumes nothing of the orderer but its bid. A crash between an operation's end and its event leaves a history that
//! lacks it; what counts is in the book.

use std::collections::BTreeMap;

use super::local::{LocalRegion, blocking};
use crate::failover::Book;
use crate::live::port::PortError;
use crate::model::event::{FailoverEvent, FailoverOutcome, Seconds};
use crate::model::failover::{Bid, Direction, Open};
use crate::model::{OperationId, RegionId, ResourceKey, Timestamp};

/// The operations that were open before, and are not any more.
pub(super) fn ended_since(before: &BTreeMap<OperationId, Open>, book: &Book, now: Timestamp) -> Vec<FailoverEvent> {
    let by = book.controller.as_ref().map(|controller| controller.place.clone()).unwrap_or_default();
    let over = before.iter().filter(|(id, _)| !book.open.contains_key(id));
    over.map(|(id, open)| {
        let closed = book.ended.get(id).map_or(&open.closed, |ended| &ended.closed);
        let arrived: Vec<ResourceKey> = arrived(&open.bid, closed).cloned().collect();
        let outcome = match open.bid.direction {
            Direction::Abort => FailoverOutcome::Aborted,
            Direction::Forward if arrived.is_empty() => FailoverOutcome::Withdrawn,
            Direction::Forward => FailoverOutcome::Completed,
        };
        FailoverEvent {
            success: outcome == FailoverOutcome::Completed && arrived.len() == open.bid.resources.len(),
            affected_resources: arrived.len() as u64,
            resources: arrived,
            outcome: Some(outcome),
            duration_seconds: Seconds(now.since(open.bid.failover.opened_at)),
            ..FailoverEvent::of(&open.bid, by.clone())
        }
    })
    .collect()
}

/// What was brought to where an attempt led.
fn arrived<'a>(bid: &'a Bid, closed: &'a BTreeMap<ResourceKey, RegionId>) -> impl Iterator<Item = &'a ResourceKey> {
    let forward = bid.direction == Direction::Forward;
    closed.iter().filter(move |(_, holder)| forward && **holder == bid.to).map(|(key, _)| key)
}

impl LocalRegion {
    /// The failovers that this region took part in, and those that are open here, in no order.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn failovers(&self) -> Result<Vec<FailoverEvent>, PortError> {
        let inner = std::sync::Arc::clone(&self.inner);
        if blocking(move || inner.identity()).await?.is_none() {
            return Ok(Vec::new());
        }
        let writing = self.inner.writing().await?;
        let book = self.inner.book(&writing).await?;
        let inner = std::sync::Arc::clone(&self.inner);
        let mut events = blocking(move || writing.store.failovers().map_err(|error| inner.of(error))).await?;
        let by = book.controller.as_ref().map(|controller| controller.place.clone()).unwrap_or_default();
        events.extend(book.open.values().map(|open| FailoverEvent::of(&open.bid, by.clone())));
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AttemptOwner;
    use crate::model::failover::{Attempt, Failover};
    use crate::model::policy::Strategy;
    use crate::model::region::Epoch;

    fn open(direction: Direction) -> Open {
        let resources: std::collections::BTreeSet<ResourceKey> =
            ["vm.one", "vm.two"].into_iter().map(|key| key.parse().unwrap()).collect();
        let failover = Failover {
            id: OperationId(uuid::Uuid::from_u128(7)),
            epoch: Epoch(2),
            from: "a".parse().unwrap(),
            strategy: Strategy::Graceful,
            reason: Some("kernel".to_owned()),
            automatic: true,
            opened_at: Timestamp::from_micros(1_000_000),
        };
        let attempt = Attempt { number: 1, owner: AttemptOwner(uuid::Uuid::from_u128(8)) };
        let bid = Bid {
            failover,
            attempt,
            direction,
            by_person: false,
            to: "b".parse().unwrap(),
            resources: resources.clone(),
            registry: Default::default(),
            gone: BTreeMap::new(),
            points: BTreeMap::new(),
        };
        Open {
            bid,
            resources,
            promoted: BTreeMap::new(),
            replaced: BTreeMap::new(),
            closed: BTreeMap::new(),
            notes: Vec::new(),
            declared_gone: Default::default(),
        }
    }

    fn book() -> Book {
        Book {
            region: "a".parse().unwrap(),
            store: crate::model::StoreId(uuid::Uuid::nil()),
            serial: 1,
            inert: None,
            controller: None,
            registry: Default::default(),
            gone: BTreeMap::new(),
            cut_off: BTreeMap::new(),
            unproven: BTreeMap::new(),
            highest_epoch: Epoch(1),
            parts: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_closed_says_how_it_ended() {
        for (direction, holders, outcome, success) in [
            (Direction::Forward, vec!["b", "b"], FailoverOutcome::Completed, true),
            (Direction::Forward, vec!["b"], FailoverOutcome::Completed, false),
            (Direction::Forward, vec![], FailoverOutcome::Withdrawn, false),
            (Direction::Abort, vec!["a", "a"], FailoverOutcome::Aborted, false),
        ] {
            let mut open = open(direction);
            let before = BTreeMap::from([(open.bid.failover.id, open.clone())]);
            let keys: Vec<ResourceKey> = open.resources.iter().cloned().collect();
            open.closed = keys.into_iter().zip(holders.iter().map(|holder| holder.parse().unwrap())).collect();
            let mut book = book();
            let ended = crate::model::failover::Ended { attempt: open.bid.attempt, closed: open.closed };
            book.ended.insert(open.bid.failover.id, ended);
            let told = ended_since(&before, &book, Timestamp::from_micros(3_500_000));
            let [event] = told.as_slice() else { panic!("{told:?}") };
            let arrived = if direction == Direction::Forward { holders.len() as u64 } else { 0 };
            assert_eq!((event.outcome, event.success, event.affected_resources), (Some(outcome), success, arrived));
            assert_eq!(event.duration_seconds.0.as_millis(), 2500);
            book.open = before.clone();
            assert_eq!(ended_since(&before, &book, Timestamp::from_micros(0)), []);
        }
    }
}
