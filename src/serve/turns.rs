//! Whose turn it is: a region does only so much at once, and what is most urgent goes first.
//!
//! Invariants: never more turns than there is room for are taken; of those that wait, the lowest priority number goes
//! first, then the earliest deadline, then whoever came first. Whoever has waited for [`PATIENCE`] goes before all of
//! them, the longest first, so that a stream of urgent work starves nobody: after that time only those that have waited
//! longer go before. How long that takes nobody promises, because a turn lasts as long as the work that it is taken for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::Clock;
use crate::replica::transfer::Urgency;

/// After so long it is anybody's turn.
const PATIENCE: Duration = Duration::from_secs(600);

/// Room for so many, and those who wait for it.
#[derive(Debug)]
pub(super) struct Turns {
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// None while somebody waits.
    free: usize,
    came: u64,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    urgency: Urgency,
    since: Duration,
    called: oneshot::Sender<Turn>,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.hand_on();
    }
}

impl Turns {
    pub(super) fn new(clock: Arc<dyn Clock>, room: usize) -> Arc<Self> {
        let queue = Queue { free: room.max(1), came: 0, waiting: BTreeMap::new() };
        Arc::new(Self { clock, queue: Mutex::new(queue) })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. Dropped before its end, the place in the queue is given up.
    pub(super) async fn take(self: &Arc<Self>, urgency: Urgency) -> Turn {
        let called = {
            let mut queue = self.queue();
            if queue.free > 0 {
                queue.free -= 1;
                return Turn(Arc::clone(self));
            }
            queue.waiting.retain(|_, waiting| !waiting.called.is_closed());
            let (called, calling) = oneshot::channel();
            queue.came += 1;
            let (came, since) = (queue.came, self.clock.since_boot());
            queue.waiting.insert(came, Waiting { urgency, since, called });
            calling
        };
        match called.await {
            Ok(turn) => turn,
            // Whoever waits is called before it is forgotten.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives the room that became free to whose turn it is.
    fn hand_on(self: &Arc<Self>) {
        let now = self.clock.since_boot();
        loop {
            let mut queue = self.queue();
            let rank = |(came, waiting): (&u64, &Waiting)| {
                let patient = now.saturating_sub(waiting.since) < PATIENCE;
                ((patient, patient.then_some(waiting.urgency), *came), *came)
            };
            let Some((_, next)) = queue.waiting.iter().map(rank).min() else {
                queue.free += 1;
                return;
            };
            let next = queue.waiting.remove(&next);
            drop(queue);
            let Some(Waiting { called, .. }) = next else { continue };
            match called.send(Turn(Arc::clone(self))) {
                Ok(()) => return,
                // It went away; the room is still ours to give.
                Err(turn) => std::mem::forget(turn),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::model::Timestamp;

    #[derive(Debug, Default)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(0)
        }

        fn since_boot(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    fn urgency(priority: u32, deadline: Option<i64>) -> Urgency {
        Urgency { priority, deadline: deadline.map(Timestamp::from_micros) }
    }

    struct Line {
        turns: Arc<Turns>,
        clock: Arc<Hands>,
        began: Arc<Mutex<Vec<&'static str>>>,
        tasks: Vec<tokio::task::JoinHandle<()>>,
    }

    impl Line {
        fn new(room: usize) -> Self {
            let clock = Arc::new(Hands::default());
            Self { turns: Turns::new(clock.clone(), room), clock, began: Arc::default(), tasks: Vec::new() }
        }

        async fn come(&mut self, name: &'static str, urgency: Urgency) {
            let (turns, began) = (Arc::clone(&self.turns), Arc::clone(&self.began));
            self.tasks.push(tokio::spawn(async move {
                let _turn = turns.take(urgency).await;
                began.lock().unwrap().push(name);
            }));
            // It has come before the next one does.
            while self.turns.queue().waiting.len() < self.tasks.len() {
                tokio::task::yield_now().await;
            }
        }

        async fn order(self) -> Vec<&'static str> {
            for task in self.tasks {
                task.await.unwrap();
            }
            self.began.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn lower_priority_goes_first_then_no_point_then_the_earliest_deadline_then_who_came_first() {
        let mut line = Line::new(1);
        let busy = line.turns.take(urgency(9, None)).await;
        line.come("last", urgency(5, None)).await;
        line.come("later", urgency(1, Some(20))).await;
        line.come("same", urgency(1, Some(20))).await;
        line.come("sooner", urgency(1, Some(10))).await;
        line.come("never copied", urgency(1, None)).await;
        line.come("first", urgency(0, Some(99))).await;
        drop(busy);
        assert_eq!(line.order().await, ["first", "never copied", "sooner", "later", "same", "last"]);
    }

    #[tokio::test]
    async fn patience_ends() {
        let mut line = Line::new(1);
        let busy = line.turns.take(urgency(0, None)).await;
        line.come("patient", urgency(9, None)).await;
        line.come("as patient", urgency(3, None)).await;
        line.clock.0.store(PATIENCE.as_secs(), Ordering::Relaxed);
        line.come("urgent", urgency(0, None)).await;
        drop(busy);
        assert_eq!(line.order().await, ["patient", "as patient", "urgent"]);
    }

    #[tokio::test]
    async fn whoever_goes_away_takes_no_room() {
        let turns = Turns::new(Arc::new(Hands::default()), 2);
        let (one, two) = (turns.take(Urgency::default()).await, turns.take(Urgency::default()).await);
        let gone = {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.take(Urgency::default()).await })
        };
        while turns.queue().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        drop(one);
        assert_eq!(turns.queue().free, 1);
        let waits = Arc::clone(&turns);
        let third = turns.take(Urgency::default()).await;
        let fourth = tokio::spawn(async move { waits.take(Urgency::default()).await });
        while turns.queue().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        // Called and gone at once: what was handed over comes back.
        drop(two);
        drop(fourth.await.unwrap());
        drop(third);
        assert_eq!(turns.queue().free, 2);
    }
}
