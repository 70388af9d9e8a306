//! The region's agent: asks the other regions what they know of roles, and has its own region follow.
//!
//! Owns when they are asked. What follows is the region's. Regions in directories answer no agent; whoever runs an
//! operation by hand carries their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::router::App;
use crate::model::failover::Standings;
use crate::model::{Digest, RegionId};
use crate::wire::call::Told;

/// What the others said last, as they know it by.
type Known = BTreeMap<RegionId, (Digest, Arc<Standings>)>;

/// Between two rounds, where nothing is waited for.
const AT_REST: Duration = Duration::from_secs(30);
/// Between the first two rounds, while this region may not start what it holds; then ever longer.
const UNCLEAR: Duration = Duration::from_millis(250);
/// At most.
const UNCLEAR_MAX: Duration = Duration::from_secs(10);
/// Something that was written is followed no later than that after the last round.
const BREATH_MAX: Duration = Duration::from_secs(1);

impl App {
    /// Asks and follows, again and again, until the server is to end.
    pub(super) async fn attend(self: Arc<Self>) {
        let (mut pace, mut known) = (UNCLEAR, Known::new());
        self.region.attended();
        loop {
            let began = self.world.clock.since_boot();
            let rests = tokio::select! {
                () = self.drain.cancelled() => break,
                rests = self.attend_once(&mut known) => rests,
            };
            let wait = if rests { AT_REST } else { pace };
            pace = if rests { UNCLEAR } else { (pace * 2).min(UNCLEAR_MAX) };
            // However often something is written: where many are asked, or answer slowly, it is not all that they do.
            let breath = self.world.clock.since_boot().saturating_sub(began).min(BREATH_MAX);
            let stirred = async {
                tokio::time::sleep(breath).await;
                self.region.stirred().await;
            };
            tokio::select! {
                () = self.drain.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                () = stirred => pace = UNCLEAR,
            }
        }
    }

    /// Says whether nothing is waited for.
    async fn attend_once(&self, known: &mut Known) -> bool {
        let neighbourhood = match self.region.neighbourhood().await {
            Ok(Some(neighbourhood)) => neighbourhood,
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(%error, "the registry cannot be read");
                return false;
            }
        };
        let unclear = match self.region.unclear().await {
            Ok(unclear) => unclear,
            Err(error) => {
                tracing::warn!(%error, "what this region holds cannot be read");
                return false;
            }
        };
        known.retain(|region, _| neighbourhood.regions.contains_key(region));
        let asked = neighbourhood.regions.iter().map(|(region, record)| {
            let (unclear, known) = (&unclear, known.get(region).map(|(digest, _)| *digest));
            async move {
                let told = self.neighbour(region, record)?.standings_since(unclear, known).await;
                Some((region, told))
            }
        });
        let mut heard = Vec::new();
        for (region, told) in join_all(asked).await.into_iter().flatten() {
            match told {
                Ok(Told { digest, standings: Some(standings) }) => {
                    let standings = Arc::new(standings);
                    known.insert(region.clone(), (digest, Arc::clone(&standings)));
                    heard.push((region.clone(), standings));
                }
                Ok(Told { digest, standings: None }) => {
                    let same = known.get(region).filter(|(known, _)| *known == digest);
                    heard.extend(same.map(|(_, standings)| (region.clone(), Arc::clone(standings))));
                }
                Err(error) => tracing::debug!(%region, %error, "a region says nothing of its roles"),
            }
        }
        match self.region.hear(heard).await {
            Ok(lost) => {
                for region in lost {
                    tracing::warn!(%region, "this region holds something no more, as that one knows");
                }
            }
            Err(error) => tracing::warn!(%error, "what other regions say of their roles could not be kept"),
        }
        match self.region.look_after().await {
            Ok(told) => told.iter().for_each(|told| tracing::warn!("{told}")),
            Err(error) => tracing::warn!(%error, "the machines of this region cannot be looked after"),
        }
        let clear = self.region.unclear().await.is_ok_and(|unclear| unclear.is_empty());
        clear && self.region.is_abreast().await.unwrap_or(false)
    }
}
