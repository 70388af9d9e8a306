//! The return of a former holder: what it held stays under a name, and it keeps copies from now on.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | ask the runner, before and after | nothing is named or written while it runs, or may | |
//! | bring what lies elsewhere into the resource's directory | the files at their places are not touched; without room it is left out, and the next copy travels whole | a part below `.debvisor/restore`, which the next one removes, or all of it in its place |
//! | take what was held for a point | that of [`adopt`](crate::replica::adopt) | either side |
//! | forget which point the machine started from | | a demoted region, as before |
//! | write the role | one transaction, and only where nobody changed the record meanwhile | demoted or replica |
//!
//! Where copies were kept before, nothing is read now: the next sync finds what was written since, sets it aside under a
//! name and asks for the rest. A region without a runner starts and stops nothing; that it acknowledged its demotion
//! counts for its machines, as it did when they were promoted elsewhere.

use std::fmt;
use std::sync::Arc;

use super::local::{Inner, LocalRegion, Writing, blocking};
use super::promotion::told;
use super::quiesce::copy_all;
use super::restore::{self, failed};
use super::store::{KeptResource, RegionCatalog};
use crate::host::remove_tree;
use crate::live::port::PortError;
use crate::model::ResourceKey;
use crate::model::failover::Part;
use crate::model::region::{ResourceRecord, Role};
use crate::replica::adopt::{Adoption, adopt};
use crate::replica::catalog::Catalog;
use crate::replica::place::{Place, ReplicaPlace};
use crate::replica::publish::recover;

/// How a former holder returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The name under which all that it held is set aside. None: there was nothing, or the next sync sets aside what
    /// was written since the last copy.
    pub set_aside: Option<String>,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has another holder, and is a replica from now on")?;
        match &self.set_aside {
            Some(name) => write!(f, "; all that was held here is set aside as `{name}`"),
            None => Ok(()),
        }
    }
}

impl LocalRegion {
    /// Makes a resource that this region gave up, and that another one holds, one that it keeps copies of. Done again,
    /// it changes nothing.
    ///
    /// # Errors
    /// [`PortError::Refused`] where it runs or may, where an operation is open on it, where it is not given up or held
    /// here, or where its record was changed meanwhile; [`PortError::Busy`] where it is written; the disk's.
    pub async fn settle(&self, resource: &ResourceKey) -> Result<Settled, PortError> {
        let writing = self.inner.writing().await?;
        self.inner.settle(&writing, resource).await
    }
}

impl Inner {
    pub(super) async fn settle(
        self: &Arc<Self>,
        writing: &Arc<Writing>,
        resource: &ResourceKey,
    ) -> Result<Settled, PortError> {
        let Some(kept) = self.given_up(writing, resource)? else { return Ok(Settled::default()) };
        self.expect_stopped(writing, resource).await?;
        let (inner, open, key, seen) = (Arc::clone(self), Arc::clone(writing), resource.clone(), kept.clone());
        let settled = blocking(move || inner.keep_own(&open, &key, &seen)).await?;
        // Reading all of it takes its time, in which somebody may have started it.
        self.expect_stopped(writing, resource).await?;
        let (inner, open, key) = (Arc::clone(self), Arc::clone(writing), resource.clone());
        blocking(move || {
            let changed = || Err(inner.changed_meanwhile(&key));
            // A promotion that was ordered meanwhile waits here, and so what it writes down is not forgotten.
            let lane = inner.receivings.lane(&key);
            let _alone = lane.alone();
            if open.resource(&key).map_err(|error| inner.of(error))?.as_ref() != Some(&kept) {
                return changed();
            }
            open.store.forget_placed(&key).map_err(|error| inner.of(error))?;
            let ResourceRecord { role, holder, epoch, attempt, .. } = kept.record;
            let seen = Part { role, holder, epoch, attempt };
            let written = inner.change(&open, None, |book| {
                let part = book.parts.get(&key).filter(|part| **part == seen && book.open_on(&key).is_none());
                let replica = part.map(|part| Part { role: Role::Replica, ..part.clone() });
                Ok(replica.map(|replica| book.parts.insert(key.clone(), replica)).is_some())
            });
            if written? { Ok(settled) } else { changed() }
        })
        .await
    }

    fn changed_meanwhile(&self, resource: &ResourceKey) -> PortError {
        let reason = format!("the record of {resource} at {} was changed meanwhile", self.region);
        PortError::Refused { reason, help: Some("try again".to_owned()) }
    }

    /// The record of a resource that was given up here; none where it is a replica already.
    fn given_up(&self, writing: &Writing, resource: &ResourceKey) -> Result<Option<KeptResource>, PortError> {
        let kept = writing.resource(resource).map_err(|error| self.of(error))?;
        let kept = kept.ok_or_else(|| PortError::NotFound(format!("{} has no record of {resource}", self.region)))?;
        let refuse = |reason: String| Err(PortError::Refused { reason, help: None });
        let (record, region) = (&kept.record, &self.region);
        match record.role {
            Role::Replica => return Ok(None),
            role @ (Role::Holder | Role::Fenced) => {
                return refuse(format!("{region} is {} of {resource}, and has not given it up", role.as_str()));
            }
            Role::Demoted => {}
        }
        if let Some(operation) = record.operation {
            return refuse(format!("operation {operation} is open on {resource}"));
        }
        if record.holder == *region {
            return refuse(format!("nobody holds {resource} as far as {region} knows"));
        }
        if kept.moving {
            return refuse(format!("the directories of {resource} still bear its former name"));
        }
        Ok(Some(kept))
    }

    /// Takes what was held here for a point, and sets it aside.
    fn keep_own(&self, writing: &Writing, resource: &ResourceKey, kept: &KeptResource) -> Result<Settled, PortError> {
        let lane = self.receivings.lane(resource);
        let mut open = lane.alone();
        // Somebody else may have done it, and be receiving what follows.
        if writing.resource(resource).map_err(|error| self.of(error))?.as_ref() != Some(kept) {
            return Err(self.changed_meanwhile(resource));
        }
        // There is hardly one; what it received stays.
        let _ = self.receivings.end(&mut open);
        let disk = &*self.disk;
        let place = self.places(&writing.config).replica(resource, Some(kept));
        let catalog = RegionCatalog::own(Arc::clone(&writing.store));
        recover(disk, &catalog, &place).map_err(told)?;
        let record = catalog.load(resource).map_err(|error| PortError::Failed(error.to_string()))?;
        if record.newest().is_none() {
            self.bring(writing, (resource, kept), &place)?;
        }
        let clock = &*self.world.clock;
        let adoption = Adoption { region: &self.region, epoch: kept.record.epoch, clock };
        let point = adopt(disk, &catalog, &place, &adoption, &self.stop.check()).map_err(told)?;
        Ok(Settled { set_aside: point.and_then(|point| point.name) })
    }

    /// Copies what the configuration keeps elsewhere to where copies are kept, if that is empty and there is room.
    fn bring(
        &self,
        writing: &Writing,
        (resource, kept): (&ResourceKey, &KeptResource),
        place: &ReplicaPlace,
    ) -> Result<(), PortError> {
        let disk = &*self.disk;
        let named = self.places(&writing.config).adopted(resource, Some(kept)).map_err(|refused| {
            PortError::Refused { reason: format!("{} {}", refused.path, refused.reason), help: None }
        })?;
        let Some(named) = named else { return Ok(()) };
        let there = disk.read_dir(&place.files).is_ok_and(|names| !names.is_empty());
        let tree = restore::look(disk, &Place::Adopted(named))?;
        if there
            || tree.is_empty()
            || restore::expect_room(disk, self.layout.root(), restore::allocated(&tree)).is_err()
        {
            return Ok(());
        }
        let partial = self.layout.restoring(resource);
        remove_tree(disk, &partial).map_err(failed("remove", &partial))?;
        let copied = copy_all(disk, &tree, &partial, &self.stop.check()).map_err(failed("copy to", &partial))?;
        if !copied {
            return Err(PortError::Failed(format!("the return of {resource} was interrupted")));
        }
        restore::sync(disk, &tree, &partial)?;
        let above = place.files.parent().unwrap_or(&place.files);
        disk.create_dir_all(above).map_err(failed("make", above))?;
        if disk.symlink_metadata(&place.files).is_ok() {
            disk.remove_dir(&place.files).map_err(failed("remove", &place.files))?;
        }
        disk.rename(&partial, &place.files).map_err(failed("rename", &partial))?;
        restore::make_durable(disk, self.layout.root(), above)
    }
}
