//! A fresher point that lies in a third region comes to the target first, before the operation is opened.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | bring the point here | every byte is hashed; the third region is read alone | what was brought, beside the state file; the next failover that begins while no other one is under way removes it |
//! | copy it to the target | that of any copy: by what differs, all of it or nothing; the point keeps its own times, and its hash is compared | what an interrupted copy leaves; or a target that has the point, which the next failover promotes |
//! | judge again | what is opened is judged on what the target has then | |
//!
//! Assumption: the point is of the epoch at which the resource is held now, so that it is what its holder wrote. There must
//! be room for it beside the state file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;

use super::facts::Known;
use crate::failover::{Move, Proposal};
use crate::fleet::error::{FleetError, Gate};
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::host::{HostDisk, remove_tree};
use crate::live::port::PointSelector;
use crate::model::point::Point;
use crate::model::region::{Authority, SyncOrder};
use crate::model::{Address, OperationId, ResourceKey};
use crate::replica::place::Place;
use crate::replica::port::{BlockAddress, Hash, Reading, ReadingEnd, SessionId, Source, TransferError};
use crate::replica::source::{LocalSource, ReadingPlan};
use crate::replica::transfer::{Means, SyncOptions, sync};
use crate::state::{FailoverLog, StateFile};

/// Points that are brought at once.
const AT_ONCE: usize = 4;

/// What of a proposal is promoted from a point that the target does not have.
pub(super) fn elsewhere(proposal: &Proposal) -> impl Iterator<Item = &Move> {
    let away = |one: &&Move| one.point.as_ref().is_some_and(|point| point.region != proposal.to);
    proposal.going().filter(|_| !proposal.loses_nothing).filter(away)
}

/// Refuses to promote what is older than a point that another region has.
pub(super) fn expect_here(proposal: Proposal) -> Result<Proposal, FleetError> {
    let first = elsewhere(&proposal).next().and_then(|one| Some((&one.resource, one.point.as_ref()?)));
    let Some((resource, point)) = first else { return Ok(proposal) };
    Err(FleetError::Refused(vec![Gate {
        code: "fresher".to_owned(),
        detail: format!(
            "{} keeps a fresher point of {resource} than {}: of {}",
            point.region, proposal.to, point.verified_at
        ),
        help: Some(format!(
            "fail over to {}, or take what {} has: --vm {} --point NUMBER",
            point.region, proposal.to, resource.id
        )),
        address: Some(Address::Resource(resource.clone())),
    }]))
}

impl MultiRegionManager {
    /// Brings to the target what a third region has fresher. What was pulled, in words.
    ///
    /// # Errors
    /// [`FleetError::Unfit`] for the first that could not be pulled: nothing was opened, and what came stays.
    pub(super) async fn pull_first(
        &self,
        (known, authority): (&Known, &Authority),
        proposal: &Proposal,
        watch: &Watch,
    ) -> Result<Vec<String>, FleetError> {
        let log = StateFile::new(&self.settings.state).failover_log()?;
        let mut root = OsString::from(self.settings.state.as_os_str());
        root.push(".pulled");
        let root = PathBuf::from(root);
        clear_left(&log, &root)?;
        let _under_way = log.under_way()?;
        let operation = OperationId(self.world.ids.ordered());
        let own = root.join(operation.to_string());
        let mut asked = Vec::new();
        for one in elsewhere(proposal) {
            let dir = own.join(one.resource.kind.as_str()).join(one.resource.id.as_str());
            asked.push(self.pull((known, authority), (proposal, one), (operation, dir), watch));
        }
        let keys: Vec<&ResourceKey> = elsewhere(proposal).map(|one| &one.resource).collect();
        let pulled: Vec<Result<String, String>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        clear(&own)?;
        // Another one's may be there.
        let _ = std::fs::remove_dir(&root);
        if watch.cancel.is_cancelled() {
            return Err(FleetError::Interrupted);
        }
        let pulled = keys.into_iter().zip(pulled);
        let pulled: Result<Vec<String>, FleetError> = pulled
            .map(|(key, pulled)| {
                pulled.map_err(|why| FleetError::Unfit {
                    reason: format!("the freshest point of {key} cannot be brought to {}: {why}", proposal.to),
                    help: Some(format!(
                        "nothing was moved; mend that, or take what {} has: --vm {} --point NUMBER",
                        proposal.to, key.id
                    )),
                })
            })
            .collect();
        pulled
    }

    async fn pull(
        &self,
        (known, authority): (&Known, &Authority),
        (proposal, one): (&Proposal, &Move),
        (operation, dir): (OperationId, PathBuf),
        watch: &Watch,
    ) -> Result<String, String> {
        let (key, ports) = (&one.resource, &known.sight.ports);
        let chosen = one.point.as_ref().ok_or("there is no point")?;
        let point = known.sight.observed.snapshot(&chosen.region).and_then(|seen| seen.replicas.get(key));
        let point = point.and_then(|replica| replica.newest.as_ref()).map(|newest| newest.point.clone());
        let Some(point) = point.filter(|point| point.data_hash == chosen.data_hash) else {
            return Err(format!("{} has another newest point by now", chosen.region));
        };
        if point.epoch != one.epoch {
            return Err(format!("it is of epoch {}, and the resource is held at epoch {}", point.epoch, one.epoch));
        }
        let (Some(third), Some(target)) = (ports.get(&chosen.region), ports.get(&proposal.to)) else {
            return Err(format!("{} and {} cannot both be reached from here", chosen.region, proposal.to));
        };
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let into = dir.join("files");
        let wanted = PointSelector::Sequence(point.sequence);
        tokio::select! {
            brought = third.export(key, &wanted, &into) => {
                brought.map_err(|error| format!("{}: {error}", chosen.region))?;
            }
            () = watch.cancel.cancelled() => {
                third.interrupt();
                return Err("interrupted".to_owned());
            }
        }
        let order = SyncOrder {
            lineage: authority.lineage,
            term: authority.term,
            resource: key.clone(),
            source: proposal.from.clone(),
            target: proposal.to.clone(),
            epoch: one.epoch,
            operation,
            compress: true,
        };
        let plan = ReadingPlan {
            resource: key.clone(),
            live: Place::Directory(into),
            copy: None,
            cache: dir.join("scan"),
            kind: point.kind,
            full: true,
            hinting: Default::default(),
        };
        let engine = Arc::new(LocalSource::new(Arc::new(HostDisk), self.world.clone()));
        let brought = Brought { engine, plan, point: point.clone(), cancel: watch.cancel.clone() };
        let (clock, tell) = (self.world.clock.as_ref(), |_, _, _| {});
        let means =
            Means { clock, pace: None, progress: &tell, cancel: &watch.cancel, verified_at: Some(chosen.verified_at) };
        // Whoever keeps it has judged it, as what it is.
        let options = SyncOptions { full: true, accept_change: true, ..SyncOptions::default() };
        let report =
            sync(&brought, &**target, &order, &options, &means).await.map_err(|failure| failure.to_string())?;
        if report.published.point.data_hash != point.data_hash {
            return Err(format!("{} has other bytes than {}", proposal.to, chosen.region));
        }
        let (sequence, third) = (point.sequence, &chosen.region);
        Ok(format!(
            "{key}: point {sequence} of {third}, of {}, was brought to {} first",
            point.verified_at, proposal.to
        ))
    }
}

/// Removes what others left behind, where none is at it, and has nobody begin meanwhile.
fn clear_left(log: &FailoverLog, root: &Path) -> Result<(), FleetError> {
    let Some(_at_rest) = log.at_rest()? else { return Ok(()) };
    clear(root)
}

fn clear(path: &Path) -> Result<(), FleetError> {
    let removed = remove_tree(&HostDisk, path);
    removed.map_err(|source| FleetError::Io { action: "remove", path: path.to_owned(), source })
}

/// A point's files, read as those of a holder, with the point's own times.
struct Brought {
    engine: Arc<LocalSource>,
    plan: ReadingPlan,
    point: Point,
    cancel: CancellationToken,
}

impl Brought {
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&LocalSource) -> Result<T, TransferError> + Send + 'static,
    ) -> Result<T, TransferError> {
        let engine = Arc::clone(&self.engine);
        let asked = tokio::task::spawn_blocking(move || ask(&engine)).await;
        asked.unwrap_or_else(|error| Err(TransferError::Region(error.to_string())))
    }
}

#[async_trait]
impl Source for Brought {
    async fn open_reading(&self, _order: &SyncOrder, _full: bool) -> Result<Reading, TransferError> {
        let (plan, cancel) = (self.plan.clone(), self.cancel.clone());
        let reading = self.ask(move |engine| engine.open_reading(&plan, &cancel)).await?;
        if reading.manifest.data_hash() != self.point.data_hash {
            self.close_reading(reading.session).await?;
            return Err(TransferError::Corrupt("what was brought is not what the point says".to_owned()));
        }
        Ok(Reading { read_at: self.point.read_at, kind: self.point.kind, stamp: None, ..reading })
    }

    async fn group_hashes(
        &self,
        session: SessionId,
        file: u32,
        first: u64,
        count: u64,
    ) -> Result<Vec<Hash>, TransferError> {
        self.ask(move |engine| engine.group_hashes(session, file, first, count)).await
    }

    async fn block_hashes(&self, session: SessionId, file: u32, groups: &[u64]) -> Result<Vec<Hash>, TransferError> {
        let groups = groups.to_vec();
        self.ask(move |engine| engine.block_hashes(session, file, &groups)).await
    }

    async fn blocks(&self, session: SessionId, wanted: &[BlockAddress]) -> Result<Vec<Bytes>, TransferError> {
        let wanted = wanted.to_vec();
        self.ask(move |engine| engine.blocks(session, &wanted)).await
    }

    async fn close_reading(&self, session: SessionId) -> Result<ReadingEnd, TransferError> {
        self.ask(move |engine| engine.close_reading(session)).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;
    use crate::host::lock::Holder;
    use crate::model::{Lineage, Timestamp};

    #[test]
    fn nobody_begins_while_what_others_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFile::new(dir.path().join("state.db"));
        let who = Holder { who: "ana@desk".into(), pid: 7, command: "apply".into(), since: Timestamp::from_micros(0) };
        let host = crate::host::Host::current();
        drop(state.lock(&who).unwrap().open(&crate::host::world(), &host, Lineage(uuid::Uuid::nil())).unwrap());
        let (log, mut others) = (state.failover_log().unwrap(), Vec::new());
        let root = dir.path().join("state.db.pulled");
        for n in 0..5000 {
            let left = root.join(n.to_string());
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("disk.raw"), "a part").unwrap();
            others.push(left);
        }
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                while others.iter().all(|left| left.exists()) {}
                // It has begun to remove them.
                let _under_way = state.failover_log().unwrap().under_way().unwrap();
                assert!(!root.exists(), "it is not done, and would remove what is brought now");
            });
            clear_left(&log, &root).unwrap();
            other.join().unwrap();
        });
        // While somebody is under way, nothing is removed.
        fs::create_dir_all(&root).unwrap();
        let _under_way = state.failover_log().unwrap().under_way().unwrap();
        clear_left(&log, &root).unwrap();
        assert!(root.exists());
    }
}
