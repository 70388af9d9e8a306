//! A promotion's files: those of the point that was chosen, in the place that the machine starts from.
//!
//! Done once in an operation. What says so is written last, and before anybody is answered: until then no machine was
//! started, and doing it again gives the same; from then on no file is touched for this operation any more.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | end the receiving that is open | none commits any more: the epoch was raised before, and a receiving is bound to its own | what arrived |
//! | put the files in place, in the resource's directory | that of [`promote`](crate::replica::promote) | a point more; done again, the same |
//! | where the configuration keeps them elsewhere | that of a restore's exchange; no point shares bytes with them | what the next writer ends; done again, what was put there is set aside once more |
//! | write down what was done | whole or not at all | either side |
//! | give up the points that share bytes with the files | | points that still say they are complete; a repeat gives them up |
//!
//! Assumption: nothing runs from the files; the runner is asked. A region whose files are its own, because it held the
//! resource before, is left as it is: that is how a source starts again.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::local::{Inner, LocalRegion, Writing, blocking};
use super::restore::{self, failed};
use super::store::{KeptResource, RegionCatalog};
use crate::host::disk::replace_file;
use crate::host::{Disk, Open, remove_tree};
use crate::live::port::PortError;
use crate::model::point::Point;
use crate::model::{OperationId, ResourceKey};
use crate::replica::catalog::Catalog;
use crate::replica::export::{ExportOrder, export};
use crate::replica::place::ReplicaPlace;
use crate::replica::port::TransferError;
use crate::replica::promote::{Promoted, Promotion, choose, hand_over, promote};
use crate::replica::tree::walk;

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
        self.inner.place(&writing, resource, point, operation).await
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
    pub(super) async fn place(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        resource: &ResourceKey,
        point: Option<u64>,
        operation: OperationId,
    ) -> Result<Placed, PortError> {
        let kept = self.held(writing, resource, Some(operation))?;
        if let Some(placed) = self.placed_before(writing, (resource, &kept), point, operation).await? {
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
            (Todo::Nothing(placed), _) => return Ok(placed),
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
        let (inner, open, key) = (Arc::clone(self), Arc::clone(writing), resource.clone());
        blocking(move || {
            write(&*inner.disk, &inner.layout, &key, &placed)?;
            inner.give_up(&open, &key, &placed)?;
            Ok(placed)
        })
        .await
    }

    /// What this operation placed before.
    async fn placed_before(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        (resource, _): (&ResourceKey, &KeptResource),
        point: Option<u64>,
        operation: OperationId,
    ) -> Result<Option<Placed>, PortError> {
        let (inner, open, key) = (Arc::clone(self), Arc::clone(writing), resource.clone());
        blocking(move || {
            let Some(placed) = read(&*inner.disk, &inner.layout, &key)?.filter(|past| past.operation == operation)
            else {
                return Ok(None);
            };
            if placed.asked != point {
                return Err(PortError::Refused {
                    reason: match placed.point.as_ref().map(|point| point.sequence) {
                        Some(sequence) => format!("{key} was started from point {sequence} in this operation already"),
                        None => format!("{key} was started from what {} held itself already", inner.region),
                    },
                    help: Some("go on without naming another point".to_owned()),
                });
            }
            inner.give_up(&open, &key, &placed)?;
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
        let lane = self.receivings.lane(resource);
        let mut open = lane.alone();
        // What could not be made durable would have travelled again.
        let _ = self.receivings.end(&mut open);
        let (disk, stop) = (&*self.disk, self.stop.check());
        let place = self.places(&writing.config).replica(resource, Some(kept));
        let catalog = RegionCatalog::own(Arc::clone(&writing.store));
        if asked.is_none() && self.is_own(&catalog, &place)? {
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
        if elsewhere {
            let nothing = || TransferError::Region(format!("{resource} has no point here"));
            let point = choose(disk, &catalog, &place, asked).and_then(|it| it.ok_or_else(nothing)).map_err(told)?;
            let into = self.layout.restoring(resource);
            remove_tree(disk, &into).map_err(failed("remove", &into))?;
            let order = ExportOrder { sequence: point.sequence, into: &into, owners };
            export(disk, &catalog, &place, &order, &stop).map_err(told)?;
            return Ok(Todo::Elsewhere { point, newest: newest(&catalog, resource)?, from: into });
        }
        let here = (&self.region, kept.record.epoch);
        let promotion = Promotion { point: asked, here, now: self.world.clock.now(), owners };
        promote(disk, &catalog, &place, &promotion, &stop).map(Todo::Done).map_err(told)
    }

    /// Whether the files are what this region held itself: nothing was copied here since, or ever.
    fn is_own(&self, catalog: &RegionCatalog, place: &ReplicaPlace) -> Result<bool, PortError> {
        let Some(newest) = newest(catalog, &place.resource)? else { return Ok(true) };
        Ok(read(&*self.disk, &self.layout, &place.resource)?.is_some_and(|placed| placed.newest == Some(newest)))
    }

    /// Records that the machine writes over these points' bytes, while its files are still those that it was given.
    fn give_up(&self, writing: &Writing, resource: &ResourceKey, placed: &Placed) -> Result<(), PortError> {
        let lane = self.receivings.lane(resource);
        let _alone = lane.alone();
        let kept = writing.resource(resource).map_err(|error| self.of(error))?;
        let place = self.places(&writing.config).replica(resource, kept.as_ref());
        let catalog = RegionCatalog::own(Arc::clone(&writing.store));
        if placed.given_up.is_empty() || placed.newest != newest(&catalog, resource)? {
            return Ok(());
        }
        hand_over(&catalog, &place, &placed.given_up).map_err(told)
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

/// What was placed last; none where nothing was.
fn read(disk: &dyn Disk, layout: &Layout, resource: &ResourceKey) -> Result<Option<Placed>, PortError> {
    let path = layout.placed(resource);
    let file = match disk.open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let mut text = vec![0; file.len().map_or(0, |len| usize::try_from(len).unwrap_or(0))];
    let read = file.read_at(&mut text, 0).map_err(failed("read", &path))?;
    let placed = serde_json::from_slice(&text[..read]);
    placed.map(Some).map_err(|error| PortError::Failed(format!("{} cannot be understood: {error}", path.display())))
}

fn write(disk: &dyn Disk, layout: &Layout, resource: &ResourceKey, placed: &Placed) -> Result<(), PortError> {
    let path = layout.placed(resource);
    let Some(above) = path.parent() else { return Ok(()) };
    let text = serde_json::to_vec(placed).map_err(|error| PortError::Failed(error.to_string()))?;
    disk.create_dir_all(above).map_err(failed("make", above))?;
    replace_file(disk, &path, &text).map_err(failed("write", &path))?;
    restore::make_durable(disk, layout.root(), above)
}

/// Forgets what was placed: from here on the files are not a machine's.
pub(super) fn forget(disk: &dyn Disk, layout: &Layout, resource: &ResourceKey) -> Result<(), PortError> {
    let path = layout.placed(resource);
    match disk.remove_file(&path) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(failed("remove", &path)(error)),
    }
    path.parent().map_or(Ok(()), |above| disk.sync_dir(above).map_err(failed("sync", above)))
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
