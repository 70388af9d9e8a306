//! Asks all regions at once what they hold.
//!
//! Owns the fan-out, the deadline of each question and the measured latency. A region that does not answer is part of
//! the result, never an error of the whole. Leaves to planning what an answer means, and to the port what it is.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};

use super::port::{PortError, RegionPort};
use crate::model::observed::{Observation, Observed, RegionStatus, Unobserved};
use crate::model::policy::HealthPolicy;
use crate::model::region::RegionSnapshot;
use crate::model::sighting::{Probe, Unheard};
use crate::model::time::Clock;
use crate::model::{RegionId, units};

/// How long a snapshot that is ready may still take to be read where the small question failed.
const GRACE: Duration = Duration::from_millis(100);

/// How much the regions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All that planning needs.
    Everything,
    /// What they have recorded: no resource's files are looked at.
    Records,
}

/// Asks every region for its snapshot, all at once, and waits at most `deadline` for each; for one that leaves a small
/// question beside it without an answer, no longer than the policy's timeout. Its latency is that of the small question:
/// how much it holds says nothing of the way there.
pub async fn observe(
    clock: &dyn Clock,
    ports: &BTreeMap<RegionId, Arc<dyn RegionPort>>,
    extent: Extent,
    deadline: Duration,
    policy: &HealthPolicy,
) -> Observed {
    let questions = ports.iter().map(|(region, port)| async move {
        let asked = clock.since_boot();
        let snapshot = async {
            let told = match extent {
                Extent::Everything => port.snapshot(),
                Extent::Records => port.snapshot_of_records(),
            };
            let answer = tokio::time::timeout(deadline, told).await;
            (answer, clock.since_boot().saturating_sub(asked))
        };
        let (answer, latency) = match select(pin!(snapshot), port.probe(policy)).await {
            Either::Left(((answer, took), _)) => (answer, took),
            Either::Right((probe, snapshot)) => {
                let lost = match probe {
                    Probe::Answered { latency, complaint: _ } => {
                        let (answer, _) = snapshot.await;
                        return (region.clone(), observation(answer, latency, deadline));
                    }
                    Probe::Silent(Unheard { reason, help }) => {
                        Unobserved { status: RegionStatus::Unreachable, reason, help }
                    }
                    Probe::Unclear(Unheard { reason, help }) => {
                        Unobserved { status: RegionStatus::Unknown, reason, help }
                    }
                };
                // It may answer the larger one.
                let left = policy.timeout.saturating_sub(clock.since_boot().saturating_sub(asked));
                match tokio::time::timeout(left.max(GRACE), snapshot).await {
                    Ok(answered) => answered,
                    Err(_) => return (region.clone(), Observation::Silent(lost)),
                }
            }
        };
        (region.clone(), observation(answer, latency, deadline))
    });
    Observed { regions: join_all(questions).await.into_iter().collect() }
}

fn observation(
    answer: Result<Result<RegionSnapshot, PortError>, tokio::time::error::Elapsed>,
    latency: Duration,
    deadline: Duration,
) -> Observation {
    match answer {
        Ok(Ok(snapshot)) => Observation::Answered { snapshot: Box::new(snapshot), latency },
        Ok(Err(error)) => Observation::Silent(silent(error)),
        Err(_) => Observation::Silent(Unobserved {
            status: RegionStatus::Unreachable,
            reason: format!("no answer within {}", units::format_duration(deadline)),
            help: None,
        }),
    }
}

/// What an error says of the region: anything but [`PortError::Unreachable`] is an answer of sorts, which says nothing
/// of what the region holds.
fn silent(error: PortError) -> Unobserved {
    match error {
        PortError::Unreachable { status, reason, help } => Unobserved { status, reason, help },
        PortError::Refused { reason, help } => Unobserved { status: RegionStatus::Unknown, reason, help },
        error @ (PortError::Busy(_)
        | PortError::Conflict { .. }
        | PortError::NotController { .. }
        | PortError::NotFound(_)
        | PortError::Role(_)
        | PortError::Failed(_)) => Unobserved { status: RegionStatus::Unknown, reason: error.to_string(), help: None },
    }
}
