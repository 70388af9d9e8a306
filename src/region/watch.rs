//! What this region knows of the others in its registry, from asking them.
//!
//! Owns the memory of it, its moments, and when it goes to disk: at once where something changed, at most twice a
//! minute where only figures did, so that regions at rest wear no disk. Leaves the judgement to
//! [`model::sighting`](crate::model::sighting), and the asking to whoever serves the region.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | a state that changed | on disk before `met` returns | as without it: older, never newer |
//! | a sighting | on disk within half a minute | one that is so much older |

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::local::{Inner, LocalRegion, blocking};
use super::observe;
use super::store::Store;
use crate::live::port::PortError;
use crate::model::policy::HealthPolicy;
use crate::model::region::{RegionRecord, RegionSnapshot, Role};
use crate::model::sighting::{Evidence, Probe, Sighting, has_caught_up};
use crate::model::work::Link;
use crate::model::{BitRate, ByteCount, RegionId, Timestamp};

/// Figures that change with every probe or transfer are written no more often.
const THINNED: Duration = Duration::from_secs(30);

/// The other regions of the registry, and the policy that they are watched by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbourhood {
    /// The region's own.
    pub policy: HealthPolicy,
    /// All but the region itself.
    pub regions: BTreeMap<RegionId, RegionRecord>,
}

/// The memory of it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What the disk has.
    kept: BTreeMap<RegionId, Sighting>,
    known: BTreeMap<RegionId, Sighting>,
    links: BTreeMap<RegionId, Link>,
    /// When each link was written last, by the time since boot.
    links_written: BTreeMap<RegionId, Duration>,
    policy: HealthPolicy,
    written_at: Option<Timestamp>,
    clock: Option<Steady>,
}

/// A clock that agreed with the wall's when the watch began, and never goes back.
#[derive(Debug, Clone, Copy)]
struct Steady {
    began: Timestamp,
    boot: Duration,
}

impl Steady {
    fn at(self, since_boot: Duration) -> Timestamp {
        self.began.plus(since_boot.saturating_sub(self.boot))
    }
}

impl Watch {
    /// What is to be written now.
    fn due(&self, now: Timestamp) -> BTreeMap<RegionId, Sighting> {
        let none = Sighting::default();
        let changed = || self.known.iter().filter(|(id, known)| self.kept.get(*id) != Some(*known));
        let is_news = changed().any(|(id, known)| known.is_news_to(self.kept.get(id).unwrap_or(&none)));
        let is_time = self.written_at.is_none_or(|written| now.since(written) >= THINNED);
        if is_news || is_time {
            changed().map(|(id, known)| (id.clone(), known.clone())).collect()
        } else {
            BTreeMap::new()
        }
    }
}

impl Inner {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, by the watch's clock.
    fn moment(&self, watch: &Watch) -> Timestamp {
        let clock = &self.world.clock;
        watch.clock.map_or_else(|| clock.now(), |steady| steady.at(clock.since_boot()))
    }

    /// Takes up what was known when the region was last served.
    fn begin_watch(&self, store: &Store) -> Result<(), PortError> {
        let mut watch = self.watch();
        if watch.clock.is_some() {
            return Ok(());
        }
        let kept = store.sightings().map_err(|error| self.of(error))?;
        watch.links = store.links().map_err(|error| self.of(error))?;
        let began = self.world.clock.now();
        watch.clock = Some(Steady { began, boot: self.world.clock.since_boot() });
        watch.known = kept.iter().map(|(id, sighting)| (id.clone(), sighting.clone().not_after(began))).collect();
        watch.kept = kept;
        Ok(())
    }

    /// The snapshot with what only whoever serves the region knows; of the links that is more than what the disk has.
    pub(super) fn with_sightings(&self, snapshot: RegionSnapshot) -> RegionSnapshot {
        let watch = self.watch();
        let now = self.moment(&watch);
        let evidence = |(id, known): (&RegionId, &Sighting)| (id.clone(), known.evidence(now, &watch.policy));
        RegionSnapshot {
            foreign_starts: self.foreign.all(),
            sightings: watch.known.iter().map(evidence).collect(),
            links: if watch.clock.is_some() { rates(&watch.links) } else { snapshot.links },
            ..snapshot
        }
    }
}

/// How fast each of the links was lately.
pub(super) fn rates(links: &BTreeMap<RegionId, Link>) -> BTreeMap<RegionId, BitRate> {
    links.iter().filter_map(|(id, link)| Some((id.clone(), link.rate()?))).collect()
}

impl LocalRegion {
    /// The other regions that are registered now; none where the region was not founded. What was known of regions
    /// that are registered no longer is forgotten.
    ///
    /// # Errors
    /// Where the region's store cannot be read or written.
    pub async fn neighbourhood(&self) -> Result<Option<Neighbourhood>, PortError> {
        let inner = Arc::clone(&self.inner);
        if blocking(move || inner.identity()).await?.is_none() {
            return Ok(None);
        }
        let writing = self.inner.writing().await?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.begin_watch(&writing.store)?;
            let mut regions = writing.store.registry().map_err(|error| inner.of(error))?;
            let policy = regions.remove(&inner.region).map(|own| own.spec.policy.health).unwrap_or_default();
            let gone = {
                let mut watch = inner.watch();
                watch.policy = policy.clone();
                let known = watch.known.keys().chain(watch.links.keys());
                let gone: Vec<RegionId> = known.filter(|id| !regions.contains_key(*id)).cloned().collect();
                watch.known.retain(|id, _| regions.contains_key(id));
                watch.kept.retain(|id, _| regions.contains_key(id));
                watch.links.retain(|id, _| regions.contains_key(id));
                watch.links_written.retain(|id, _| regions.contains_key(id));
                gone
            };
            if !gone.is_empty() {
                writing.store.keep_sightings(&BTreeMap::new(), &gone).map_err(|error| inner.of(error))?;
            }
            Ok(Some(Neighbourhood { policy, regions }))
        })
        .await
    }

    /// Takes in what came of asking `region`, by the clock of [`World`](crate::model::World) since boot.
    ///
    /// # Errors
    /// Where it could not be written; it is known all the same.
    pub async fn met(
        &self,
        region: &RegionId,
        probe: &Probe,
        began: Duration,
        policy: &HealthPolicy,
    ) -> Result<(), PortError> {
        let ended = self.inner.world.clock.since_boot();
        {
            let mut watch = self.inner.watch();
            let Some(clock) = watch.clock else { return Ok(()) };
            let known = watch.known.entry(region.clone()).or_default();
            *known = known.after(probe, clock.at(began), clock.at(ended), policy);
        }
        self.keep_sightings(false).await
    }

    /// Says how `region` has caught up since its return, by the age of the oldest copy that it keeps itself; gives
    /// whether it still has to.
    ///
    /// # Errors
    /// Where it could not be read or written.
    pub async fn caught_up(&self, region: &RegionId, it_keeps: Option<Duration>) -> Result<bool, PortError> {
        let writing = self.inner.writing().await?;
        let (inner, id) = (Arc::clone(&self.inner), region.clone());
        let oldest = blocking(move || writing.store.oldest_from(&id).map_err(|error| inner.of(error))).await?;
        let kept_of_it = oldest.map(|oldest| self.inner.world.clock.now().since(oldest));
        {
            let mut watch = self.inner.watch();
            let now = self.inner.moment(&watch);
            let Some(known) = watch.known.get_mut(region) else { return Ok(false) };
            let Some(returned) = known.returned_at else { return Ok(false) };
            if !has_caught_up(now.since(returned), it_keeps, kept_of_it) {
                return Ok(true);
            }
            known.returned_at = None;
        }
        self.keep_sightings(false).await.map(|()| false)
    }

    /// Writes what is to be written now; with `all`, whatever is not on disk.
    ///
    /// # Errors
    /// Where it could not be written.
    pub async fn keep_sightings(&self, all: bool) -> Result<(), PortError> {
        if self.inner.watch().clock.is_none() {
            return Ok(());
        }
        let _in_turn = self.inner.keeping.lock().await;
        let due = {
            let mut watch = self.inner.watch();
            let now = self.inner.moment(&watch);
            if all {
                watch.written_at = None;
            }
            let due = watch.due(now);
            if due.is_empty() {
                return Ok(());
            }
            watch.written_at = Some(now);
            due
        };
        let writing = self.inner.writing().await?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            writing.store.keep_sightings(&due, &[]).map_err(|error| inner.of(error))?;
            inner.watch().kept.extend(due);
            Ok(())
        })
        .await
    }

    /// What is recorded here and what is known of the others, without a look at any resource's files.
    ///
    /// # Errors
    /// Where the region's store cannot be read.
    pub async fn recorded(&self) -> Result<RegionSnapshot, PortError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let recorded = observe::recorded(&*inner.disk, &inner.layout, inner.world.clock.now())?;
            Ok(inner.with_sightings(recorded))
        })
        .await
    }

    /// What is known of the others now.
    pub fn sightings(&self) -> BTreeMap<RegionId, Evidence> {
        let watch = self.inner.watch();
        let now = self.inner.moment(&watch);
        watch.known.iter().map(|(id, known)| (id.clone(), known.evidence(now, &watch.policy))).collect()
    }

    /// Whether `region` answers again and is not known to have caught up.
    pub fn is_returning(&self, region: &RegionId) -> bool {
        self.inner.watch().known.get(region).is_some_and(|known| known.returned_at.is_some())
    }

    /// Takes in how long blocks travelled from `region`. Of a region that is served it is written now and then: a crash
    /// forgets the last minute's transfers, of which the next ones tell as much. Of any other it is written at once,
    /// because nobody remembers it.
    ///
    /// # Errors
    /// Where it could not be written; it is known all the same.
    pub async fn measured(&self, region: &RegionId, bytes: ByteCount, took: Duration) -> Result<(), PortError> {
        let writing = self.inner.writing().await?;
        let _in_turn = self.inner.keeping.lock().await;
        let (inner, id) = (Arc::clone(&self.inner), region.clone());
        blocking(move || {
            let is_watched = inner.watch().clock.is_some();
            let kept = if is_watched { None } else { Some(writing.store.links().map_err(|error| inner.of(error))?) };
            let link = {
                let mut watch = inner.watch();
                let link = watch.links.entry(id.clone()).or_default();
                if let Some(kept) = kept.and_then(|mut kept| kept.remove(&id)) {
                    *link = kept;
                }
                if !link.add(bytes, took) {
                    return Ok(());
                }
                let (link, now) = (link.clone(), inner.world.clock.since_boot());
                let lately = |written: &Duration| now.saturating_sub(*written) < THINNED;
                if is_watched && watch.links_written.get(&id).is_some_and(lately) {
                    return Ok(());
                }
                watch.links_written.insert(id.clone(), now);
                link
            };
            writing.store.keep_link(&id, &link).map_err(|error| inner.of(error))
        })
        .await
    }
}

impl Store {
    /// The oldest moment that a copy kept here of what `region` holds was seen equal to it; none where none is kept.
    ///
    /// # Errors
    /// [`StoreError`](super::store::StoreError).
    fn oldest_from(&self, region: &RegionId) -> Result<Option<Timestamp>, super::store::StoreError> {
        let (records, ledgers) = self.everything()?;
        let kept = records.resources.iter().filter(|(_, kept)| kept.record.role == Role::Replica);
        let of_it = kept.filter(|(_, kept)| kept.record.holder == *region);
        // A first copy is no catching up: it may wait for its source's files.
        let newest = of_it.filter_map(|(key, _)| ledgers.get(key)?.newest.as_ref());
        Ok(newest.map(|newest| newest.point.verified_at).min())
    }
}
