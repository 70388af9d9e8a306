//! A promotion's files: those of the point that was chosen, in the place that the machine starts from.
//!
//! Done once in an operation. What says so is written last, and before anybody is answered: until then no machine was
//! started, and doing it again gives the same; from then on no file is touched for this operation any more.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | end the receiving that is open | none commits any more: the epoch was raised before, and a receiving is bound to its own | what arrived |
//! | put the files in place, in the resource's directory | that of [`promote`](crate::replica::promote) | a point more; done again, the same |
//! | note what was found damaged | that of [`note_damage`]: the next judgement of the point knows | the next reading finds it again |
//! | where the configuration keeps them elsewhere | that of a restore's exchange; no point shares bytes with them | what the next writer ends; done again, what was put there is set aside once more |
//! | write down what was done, and give up the points that share bytes with the files | one transaction, for all resources that an order is about | either side |
//!
//! What is checked when. Before an operation is opened, and again on the regions' answers to it: the state of every point,
//! and how the files of the newest one look (size, times, inode), which costs no reading. Here: files that look modified
//! are read, and an older point is read as it is written, all of it against its hashes. Not at all: bytes of the newest
//! point that changed behind the file system's back; `replication verify` reads those, and takes as long as that takes.
//! What cannot be placed is no dead end: see [`Book::take_back`](crate::failover::Book::take_back).
//!
//! Assumption: nothing runs from the files; the runner is asked. A region whose files are its own, because it held the
//! resource before, is left as it is: that is how a source starts again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};

use super::local::{Inner, LocalRegion, Writing, blocking};
use super::restore::failed;
use super::roles::AT_ONCE;
use super::store::{KeptResource, RegionCatalog};
use crate::host::remove_tree;
use crate::live::port::PortError;
use crate::model::point::Point;
use crate::model::{OperationId, ResourceKey};
use crate::replica::catalog::Catalog;
use crate::replica::export::{ExportOrder, export};
use crate::replica::port::TransferError;
use crate::replica::promote::{Promoted, Promotion, choose, promote};
use crate::replica::tree::walk;
use crate::replica::verify::note_damage;

/// What became of the files of a resource that is to be started here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The operation that placed them.
    pub operation: OperationId,
    /// The point that was asked for; none: the newest.
    pub asked: Option<u64>,
    /// The point that they are; none: what this region held itself, left as it was.
    pub point: Option<Point>,
    /// The newest point here at that time.
    pub newest: Option<u64>,
    /// Points that are given up because they share bytes with the files, by their numbers.
    pub given_up: Vec<u64>,
    /// What was set aside, by name.
    pub set_aside: Vec<String>,
}

impl LocalRegion {
    /// Makes the files of a resource that this region has just become the holder of those of a point: of `point`, or of
    /// the newest. Done again for the same operation, it says the same and touches nothing.
    ///
    /// # Errors
    /// [`PortError::Refused`] where the point is damaged or is not there, where the replica was modified, where it runs,
    /// where it is not held here, where room lacks; the disk's.
    pub async fn place(
        &self,
        resource: &ResourceKey,
        point: Option<u64>,
        operation: OperationId,
    ) -> Result<Placed, PortError> {
        let writing = self.inner.writing().await?;
        let wanted = BTreeMap::from([(resource.clone(), point)]);
        let mut placed = self.inner.place(&writing, wanted, operation).await;
        placed.pop().map_or_else(|| Err(PortError::NotFound(resource.to_string())), |(_, placed)| placed)
    }
}

/// What is to be done.
enum Todo {
    /// Nothing: it was done, or the files are this region's own.
    Nothing(Placed),
    /// The files go where the configuration says; the point was written out below here.
    Elsewhere { point: Point, newest: Option<u64>, from: PathBuf },
    /// The files are in place.
    Done(Promoted),
}

impl Inner {
    /// Places the files of all these, each of the point that was asked for. Writes down once what was done.
    pub(super) async fn place(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        wanted: BTreeMap<ResourceKey, Option<u64>>,
        operation: OperationId,
    ) -> Vec<(ResourceKey, Result<Placed, PortError>)> {
        let ready = stream::iter(wanted).map(|(key, point)| async move {
            let placed = self.place_one(writing, &key, point, operation).await;
            (key, placed)
        });
        let mut ended: Vec<_> = ready.buffer_unordered(AT_ONCE).collect().await;
        let placed = ended.iter().filter_map(|(key, placed)| Some((key.clone(), placed.as_ref().ok()?.clone())));
        let placed: Vec<(ResourceKey, Placed)> = placed.collect();
        let (inner, open) = (Arc::clone(self), Arc::clone(writing));
        let written = blocking(move || open.store.hand_over(&placed).map_err(|error| inner.of(error))).await;
        if let Err(error) = written {
            let why = error.to_string();
            let lost = ended.iter_mut().filter(|(_, placed)| placed.is_ok());
            lost.for_each(|(_, placed)| *placed = Err(PortError::Failed(why.clone())));
        }
        ended
    }

    async fn place_one(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        resource: &ResourceKey,
        point: Option<u64>,
        operation: OperationId,
    ) -> Result<Placed, PortError> {
        let kept = self.held(writing, resource, Some(operation))?;
        if let Some(placed) = self.placed_before(writing, resource, point, operation).await? {
            return Ok(placed);
        }
        self.expect_stopped(writing, resource).await?;
        if let Some(error) = self.end_exchanges(writing, Some(resource)).await.into_iter().next() {
            return Err(error);
        }
        let named = self.places(&writing.config).adopted(resource, Some(&kept)).map_err(|refused| {
            PortError::Refused { reason: format!("{} {}", refused.path, refused.reason), help: None }
        })?;
        let (inner, open, key, elsewhere) = (Arc::clone(self), Arc::clone(writing), resource.clone(), named.is_some());
        let asked = (point, operation);
        let todo = blocking(move || inner.make_ready(&open, (&key, &kept), asked, elsewhere)).await?;
        let mut placed = Placed::own(operation, point);
        match (todo, named) {
            (Todo::Nothing(own), _) => placed = own,
            (Todo::Done(Promoted { point, shared, set_aside }), _) => {
                let newest = Some(point.sequence);
                placed = Placed { point: Some(point), newest, given_up: shared, set_aside, ..placed };
            }
            (Todo::Elsewhere { point, newest, from }, named) => {
                let named = (named.unwrap_or_default(), Some(operation));
                placed.set_aside.extend(self.replace_adopted(writing, resource, &from, named).await?);
                (placed.point, placed.newest) = (Some(point), newest);
            }
        }
        Ok(placed)
    }

    /// What this operation placed before.
    async fn placed_before(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        resource: &ResourceKey,
        point: Option<u64>,
        operation: OperationId,
    ) -> Result<Option<Placed>, PortError> {
        let (inner, open, key) = (Arc::clone(self), Arc::clone(writing), resource.clone());
        blocking(move || {
            let past = open.store.placed(&key).map_err(|error| inner.of(error))?;
            let Some(placed) = past.filter(|past| past.operation == operation) else { return Ok(None) };
            if placed.asked != point {
                return Err(PortError::Refused {
                    reason: match placed.point.as_ref().map(|point| point.sequence) {
                        Some(sequence) => format!("{key} was started from point {sequence} in this operation already"),
                        None => format!("{key} was started from what {} held itself already", inner.region),
                    },
                    help: Some("go on without naming another point".to_owned()),
                });
            }
            Ok(Some(placed))
        })
        .await
    }

    /// Makes the files ready, where they are in the resource's directory, or writes the point out.
    fn make_ready(
        &self,
        writing: &Writing,
        (resource, kept): (&ResourceKey, &KeptResource),
        (asked, operation): (Option<u64>, OperationId),
        elsewhere: bool,
    ) -> Result<Todo, PortError> {
        // Whoever drills gives way.
        self.drills.end([resource]);
        let lane = self.receivings.lane(resource);
        let mut open = lane.alone();
        // What could not be made durable would have travelled again.
        let _ = self.receivings.end(&mut open);
        let (disk, stop) = (&*self.disk, self.stop.check());
        let place = self.places(&writing.config).replica(resource, Some(kept));
        let catalog = RegionCatalog::own(Arc::clone(&writing.store));
        if asked.is_none() && self.is_own(writing, &catalog, resource)? {
            let own = self.places(&writing.config).own_files(resource, Some(kept)).map_err(|refused| {
                PortError::Refused { reason: format!("{} {}", refused.path, refused.reason), help: None }
            })?;
            if walk(disk, &own).map_err(told)?.is_empty() {
                let reason = format!("{} has no files of {resource}", self.region);
                return Err(PortError::Refused { reason, help: None });
            }
            return Ok(Todo::Nothing(Placed::own(operation, asked)));
        }
        let owners = rustix::process::geteuid().is_root();
        let noted = |error: TransferError| {
            if matches!(error, TransferError::Corrupt(_)) {
                // The damage is what there is to tell; that it is noted lets it be seen before the next promotion.
                let sequence = asked.map_or_else(|| newest(&catalog, resource), |asked| Ok(Some(asked)));
                let _ = sequence.map(|sequence| sequence.map(|it| note_damage(disk, &catalog, &place, it)));
            }
            told(error)
        };
        if elsewhere {
            let nothing = || TransferError::Region(format!("{resource} has no point here"));
            let point = choose(disk, &catalog, &place, asked).and_then(|it| it.ok_or_else(nothing)).map_err(told)?;
            let into = self.layout.restoring(resource);
            remove_tree(disk, &into).map_err(failed("remove", &into))?;
            let order = ExportOrder { sequence: point.sequence, into: &into, owners };
            export(disk, &catalog, &place, &order, &stop).map_err(noted)?;
            return Ok(Todo::Elsewhere { point, newest: newest(&catalog, resource)?, from: into });
        }
        let here = (&self.region, kept.record.epoch);
        let promotion = Promotion { point: asked, here, now: self.world.clock.now(), owners };
        promote(disk, &catalog, &place, &promotion, &stop).map(Todo::Done).map_err(noted)
    }

    /// Whether the files are what this region held itself: nothing was copied here since, or ever.
    fn is_own(&self, writing: &Writing, catalog: &RegionCatalog, resource: &ResourceKey) -> Result<bool, PortError> {
        let Some(newest) = newest(catalog, resource)? else { return Ok(true) };
        let placed = writing.store.placed(resource).map_err(|error| self.of(error))?;
        Ok(placed.is_some_and(|placed| placed.newest == Some(newest)))
    }
}

impl Placed {
    /// Nothing was placed.
    const fn own(operation: OperationId, asked: Option<u64>) -> Self {
        Self { operation, asked, point: None, newest: None, given_up: Vec::new(), set_aside: Vec::new() }
    }
}

fn newest(catalog: &RegionCatalog, resource: &ResourceKey) -> Result<Option<u64>, PortError> {
    let record = catalog.load(resource).map_err(|error| PortError::Failed(error.to_string()))?;
    Ok(record.newest().map(|newest| newest.point.sequence))
}

/// What the engine says, as the region's port tells it.
pub(super) fn told(error: TransferError) -> PortError {
    let refused = |help: Option<&str>| PortError::Refused { reason: error.to_string(), help: help.map(str::to_owned) };
    match &error {
        TransferError::Corrupt(_) => refused(Some("choose a point that is complete with `--point`, or another region")),
        TransferError::Blocked(_) | TransferError::Region(_) | TransferError::Stale { .. } => refused(None),
        TransferError::Busy(who) => PortError::Busy(who.clone()),
        TransferError::Io { .. } | TransferError::Interrupted => PortError::Failed(error.to_string()),
    }
}
