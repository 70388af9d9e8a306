//! A region's round of reading back what its replicas hold: which part is due first, how fast it is read, when it is
//! enough.
//!
//! The part that is due first is read first, whatever replica it is of: where there is not the time for all, none waits
//! longer than the others. A replica is held up for one part at a time, and between two parts nothing is held.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | beginning with a replica | its pass begins once | either side |
//! | a part | that of [`replica::audit`](crate::replica::audit) | either side: the part is read again |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::local::{Inner, Writing, blocking};
use super::store::{KeptResource, RegionCatalog};
use super::verify::failed;
use crate::live::port::PortError;
use crate::model::audit::{AuditState, Audited};
use crate::model::policy::AuditPolicy;
use crate::model::region::Role;
use crate::model::{ByteCount, ResourceKey, Timestamp};
use crate::replica::StopCheck;
use crate::replica::audit::{AuditPart, AuditedPart, next_due};
use crate::replica::port::TransferError;

/// The most that is read of a replica before it is let go.
const PART: ByteCount = ByteCount::mib(32);
/// The least: what is compared at once.
const LEAST: ByteCount = ByteCount::mib(4);

/// How far a replica is, and when it goes on; never: there is nothing to read, or not now.
#[derive(Debug, Clone)]
struct Standing {
    state: AuditState,
    due: Option<Timestamp>,
    /// Whether the region has not written down yet that it began.
    fresh: bool,
}

/// By replica.
type Standings = BTreeMap<ResourceKey, Standing>;

impl Inner {
    /// Reads back what is due, as fast and as long as the region's own record of the policy allows. Where another round
    /// is at it, nothing.
    pub(super) async fn audit(self: &Arc<Self>, cancel: &CancellationToken) -> Result<Audited, PortError> {
        let stop = self.stop.check().until(cancel);
        let mut told = Audited::nothing(self.region.clone());
        let Ok(_turn) = self.auditing.try_lock() else { return Ok(told) };
        let inner = Arc::clone(self);
        let Some((policy, mut all)) = blocking(move || inner.look_back()).await? else { return Ok(told) };
        let late = |standing: &Standing, now| standing.due.is_some_and(|due| due <= now);
        if !all.values().any(|standing| standing.fresh || late(standing, self.world.clock.now())) {
            return Ok(told);
        }
        let writing = self.writing().await?;
        let fresh = all.iter().filter(|(_, standing)| standing.fresh);
        let fresh: BTreeMap<ResourceKey, AuditState> =
            fresh.map(|(key, standing)| (key.clone(), standing.state.clone())).collect();
        if !fresh.is_empty() {
            let (inner, writing) = (Arc::clone(self), Arc::clone(&writing));
            blocking(move || writing.store.begin_audits(&fresh).map_err(|error| inner.of(error))).await?;
        }
        let began = self.world.clock.since_boot();
        let elapsed = || self.world.clock.since_boot().saturating_sub(began);
        let a_second = policy.read_limit.bytes_per_second().max(1);
        let mut left = policy.round_bytes();
        while left >= LEAST.0 && elapsed() < policy.round_limit && !stop.stopped() {
            let now = self.world.clock.now();
            let first = all.iter().filter(|(_, standing)| late(standing, now)).min_by_key(|(_, standing)| standing.due);
            let Some((key, standing)) = first.map(|(key, standing)| (key.clone(), standing.clone())) else { break };
            let (inner, writing, stop) = (Arc::clone(self), Arc::clone(&writing), stop.clone());
            let (resource, period) = (key.clone(), policy.period);
            let budget = left.min(PART.0).min(a_second.max(LEAST.0));
            let part = blocking(move || inner.read_back(&writing, &resource, standing.state, (period, budget), &stop));
            let (AuditedPart { read, found, busy: _ }, standing) = part.await?;
            left = left.saturating_sub(read.0);
            told.read += read;
            told.found.extend(found.map(|found| (key.clone(), found)));
            all.insert(key, standing);
            // What was read has its time, whatever is read next.
            let paid = Duration::from_secs_f64(told.read.0 as f64 / a_second as f64);
            tokio::select! {
                () = tokio::time::sleep(paid.saturating_sub(elapsed()).min(policy.round_limit)) => {}
                () = cancel.cancelled() => break,
            }
        }
        Ok(Audited { took: elapsed(), ..told })
    }

    /// The policy that the region keeps, and how far each of its replicas is; none: nothing is to be read, or no region
    /// was founded. Takes no lock and writes nothing.
    fn look_back(&self) -> Result<Option<(AuditPolicy, Standings)>, PortError> {
        if self.identity()?.is_none() {
            return Ok(None);
        }
        let store = Arc::new(self.reading()?);
        let (records, ledgers) = store.everything().map_err(|error| self.of(error))?;
        let own = records.regions.get(&self.region);
        let policy = own.map(|record| record.spec.policy.audit.clone()).unwrap_or_default();
        if !policy.enabled || records.inert.is_some() {
            return Ok(None);
        }
        let config = self.config()?;
        let (places, now) = (self.places(&config), self.world.clock.now());
        let mut audits = store.audits().map_err(|error| self.of(error))?;
        let catalog = RegionCatalog::own(store);
        let mut all = BTreeMap::new();
        for key in ledgers.into_keys() {
            let Some(kept) = records.resources.get(&key).filter(|kept| is_read_back(kept)) else { continue };
            let known = audits.remove(&key);
            let fresh = known.is_none();
            let state = known.unwrap_or_else(|| AuditState::new(now));
            let place = places.replica(&key, Some(kept));
            let due = next_due(&catalog, &place, &state, (now, policy.period)).map_err(failed)?;
            all.insert(key, Standing { state, due, fresh });
        }
        Ok(Some((policy, all)))
    }

    /// Reads the next part of a replica.
    fn read_back(
        &self,
        writing: &Writing,
        resource: &ResourceKey,
        state: AuditState,
        (period, budget): (Duration, u64),
        stop: &StopCheck,
    ) -> Result<(AuditedPart, Standing), PortError> {
        let lane = self.receivings.lane(resource);
        let mut open = lane.alone();
        // Once it is alone: it may have been promoted meanwhile.
        let kept = writing.resource(resource).map_err(|error| self.of(error))?.filter(is_read_back);
        let rests = |state| Standing { state, due: None, fresh: false };
        let Some(kept) = kept else {
            return Ok((AuditedPart { read: ByteCount(0), found: None, busy: true }, rests(state)));
        };
        let place = self.places(&writing.config).replica(resource, Some(&kept));
        let catalog = RegionCatalog::own(Arc::clone(&writing.store));
        let now = self.world.clock.now();
        let part = AuditPart { disk: &*self.disk, catalog: &catalog, place: &place, now, period, budget, stop };
        let (part, state) = match part.run(state.clone()) {
            Ok(done) => done,
            // The round ends; the part is read again.
            Err(TransferError::Interrupted) => {
                return Ok((AuditedPart { read: ByteCount(0), found: None, busy: true }, rests(state)));
            }
            Err(error) => return Err(failed(error)),
        };
        if part.found.is_some() {
            // It was compared with files that are not what they seemed; the next one reads them first.
            self.receivings.end(&mut open).map_err(failed)?;
        }
        let due = match part.busy {
            true => None,
            false => next_due(&catalog, &place, &state, (now, period)).map_err(failed)?,
        };
        Ok((part, Standing { state, due, fresh: false }))
    }
}

/// Whether it keeps copies of it, and they lie where they are to stay.
fn is_read_back(kept: &KeptResource) -> bool {
    kept.record.role == Role::Replica && !kept.moving
}
