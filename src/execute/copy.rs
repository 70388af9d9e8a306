//! One copy of a resource, from its holder to a replica: `replica`'s driver between two ports, with its progress
//! thinned out for people.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::event::Stage;
use crate::live::port::RegionPort;
use crate::model::region::SyncOrder;
use crate::model::{ByteCount, World};
use crate::replica::pace::Pace;
use crate::replica::transfer::{self, Means, SyncFailure, SyncOptions, SyncReport};

/// A copy's progress is told at most so often.
const TICK: Duration = Duration::from_millis(250);

/// Something to tell of a copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    /// The change's place in the plan.
    pub(super) at: usize,
    pub(super) stage: Stage,
    pub(super) done: ByteCount,
    pub(super) total: Option<ByteCount>,
}

/// One copy with all that it needs, so that it can run as a task of its own.
#[derive(Debug)]
pub(super) struct Copy {
    /// The change's place in the plan.
    pub(super) at: usize,
    pub(super) order: SyncOrder,
    pub(super) source: Arc<dyn RegionPort>,
    pub(super) target: Arc<dyn RegionPort>,
    pub(super) options: SyncOptions,
    /// Of its pair, for bytes that this program carries.
    pub(super) pace: Option<Arc<Pace>>,
    pub(super) ticks: mpsc::UnboundedSender<Tick>,
    pub(super) cancel: CancellationToken,
    pub(super) world: World,
}

/// Lets a progress through when its stage is new or the last one was told a while ago.
#[derive(Debug, Default)]
struct Throttle(Mutex<Option<(Stage, Duration)>>);

impl Throttle {
    fn lets_through(&self, stage: Stage, now: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let through = last.is_none_or(|(told, when)| told != stage || now.saturating_sub(when) >= TICK);
        if through {
            *last = Some((stage, now));
        }
        through
    }
}

impl Copy {
    pub(super) async fn carry_out(self) -> Result<SyncReport, SyncFailure> {
        let throttle = Throttle::default();
        let tell = |stage: Stage, done: ByteCount, total: Option<ByteCount>| {
            if throttle.lets_through(stage, self.world.clock.since_boot()) {
                // Nobody listens any more where the run was broken off.
                let _ = self.ticks.send(Tick { at: self.at, stage, done, total });
            }
        };
        if self.source.is_served()
            && let Some(fetched) = self.target.fetch(&self.order, &self.options, &tell, &self.cancel).await
        {
            return fetched;
        }
        let clock = self.world.clock.as_ref();
        let means =
            Means { clock, pace: self.pace.as_deref(), progress: &tell, cancel: &self.cancel, verified_at: None };
        let report = transfer::sync(&*self.source, &*self.target, &self.order, &self.options, &means).await?;
        // A copy that was made is none the worse where its speed is not known.
        let _ = self.target.measured(&self.order.source, report.carried(), report.travelled_for).await;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_at_each_new_stage_and_then_a_few_times_a_second() {
        let throttle = Throttle::default();
        let at = Duration::from_millis;
        assert!(throttle.lets_through(Stage::Reading, at(0)));
        assert!(!throttle.lets_through(Stage::Reading, at(249)));
        assert!(throttle.lets_through(Stage::Copying, at(249)));
        assert!(!throttle.lets_through(Stage::Copying, at(300)));
        assert!(throttle.lets_through(Stage::Copying, at(499)));
    }
}
