//! Whether a region is there: one small question that needs no token, and what its answer says.
//!
//! Whatever comes back in HTTP is an answer. It counts from its head on: what a region has begun to say, it is there to
//! say.

use std::time::Duration;

use reqwest::Method;

use super::client::{Ask, Body, Repeat};
use super::region::HttpRegion;
use crate::live::port::PortError;
use crate::model::observed::RegionStatus;
use crate::model::policy::HealthPolicy;
use crate::model::sighting::{Probe, Unheard};

/// The most that is read of the answer, so that its connection can be used again.
const READ: usize = 64 << 10;

impl HttpRegion {
    /// Asks whether the region is there, and waits for an answer as long as `patience`.
    ///
    /// The latency is that of question and answer on a connection that stands: where the answer was slow with the
    /// connection's making in it, it is asked once more.
    pub async fn probe_for(&self, policy: &HealthPolicy, patience: Duration) -> Probe {
        let first = self.health(patience).await;
        match first {
            Probe::Answered { latency, complaint } if latency > policy.degraded_latency => {
                let left = patience.saturating_sub(latency).min(policy.timeout);
                match self.health(left).await {
                    Probe::Answered { latency: again, .. } if again < latency => {
                        Probe::Answered { latency: again, complaint }
                    }
                    Probe::Answered { .. } | Probe::Silent(_) | Probe::Unclear(_) => {
                        Probe::Answered { latency, complaint }
                    }
                }
            }
            other => other,
        }
    }

    /// What it is that [`probe_for`](Self::probe_for) has not come back within `timeout`, just now: silence, unless the
    /// question could not be sent because its name was being looked up.
    pub fn not_within(&self, timeout: Duration) -> Probe {
        unanswered(self.client.late(timeout))
    }

    async fn health(&self, patience: Duration) -> Probe {
        let ask = Ask {
            deadline: patience,
            most: READ,
            repeat: Repeat::Never,
            ..self.client.short(Method::GET, "health", Body::Nothing, "whether it is there")
        };
        let clock = &self.client.world.clock;
        let began = clock.since_boot();
        let sent = match self.client.plain(&ask) {
            Ok(request) => request.send().await,
            Err(error) => return unanswered(error),
        };
        let latency = clock.since_boot().saturating_sub(began);
        match sent {
            Ok(mut response) => {
                let status = response.status();
                let mut read = 0;
                // How it ends is the next question's affair.
                while let Ok(Some(chunk)) = response.chunk().await {
                    read += chunk.len();
                    if read > READ {
                        break;
                    }
                }
                let complaint = (!status.is_success()).then(|| format!("{} answered {status}", self.client.origin));
                Probe::Answered { latency, complaint }
            }
            Err(error) => unanswered(self.client.no_answer(&error, patience)),
        }
    }
}

fn unanswered(error: PortError) -> Probe {
    match error {
        PortError::Unreachable { status: RegionStatus::Unreachable, reason, help } => {
            Probe::Silent(Unheard { reason, help })
        }
        error => Probe::Unclear(Unheard { reason: error.to_string(), help: error.help() }),
    }
}
