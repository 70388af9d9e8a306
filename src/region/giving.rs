//! A point's contents for a program elsewhere.

use std::sync::Arc;

use super::local::{LocalRegion, blocking};
use super::store::RegionCatalog;
use crate::host::Disk;
use crate::live::port::PortError;
use crate::model::ResourceKey;
use crate::replica::catalog::Catalog;
use crate::replica::giving::{GroupsOf, PointContents, contents, next_blocks, small_files};
use crate::replica::place::ReplicaPlace;
use crate::replica::points::{self, PointChoice};
use crate::replica::port::{BlockAddress, TransferError};

impl LocalRegion {
    /// What one of its points holds.
    ///
    /// # Errors
    /// [`PortError::NotFound`] for an unknown point.
    pub async fn point_contents(&self, resource: &ResourceKey, sequence: u64) -> Result<PointContents, PortError> {
        let reading = move |disk: &dyn Disk, catalog: &RegionCatalog, place: &ReplicaPlace| {
            contents(disk, catalog, place, sequence)
        };
        self.of_point(resource, sequence, reading).await
    }

    /// Blocks of one of a point's files: see [`next_blocks`].
    ///
    /// # Errors
    /// [`PortError::NotFound`] for an unknown point.
    pub async fn point_blocks(
        &self,
        resource: &ResourceKey,
        sequence: u64,
        sought: GroupsOf,
    ) -> Result<Vec<(BlockAddress, Vec<u8>)>, PortError> {
        let reading = move |disk: &dyn Disk, catalog: &RegionCatalog, place: &ReplicaPlace| {
            next_blocks(disk, catalog, place, sequence, sought)
        };
        self.of_point(resource, sequence, reading).await
    }

    /// Blocks of many small files of a point: see [`small_files`].
    ///
    /// # Errors
    /// [`PortError::NotFound`] for an unknown point.
    pub async fn point_files(
        &self,
        resource: &ResourceKey,
        sequence: u64,
        files: Vec<u32>,
    ) -> Result<Vec<(BlockAddress, Vec<u8>)>, PortError> {
        let reading = move |disk: &dyn Disk, catalog: &RegionCatalog, place: &ReplicaPlace| {
            small_files(disk, catalog, place, sequence, &files)
        };
        self.of_point(resource, sequence, reading).await
    }

    /// Reads one of a resource's points, while no sync changes what it is made of.
    async fn of_point<T: Send + 'static>(
        &self,
        resource: &ResourceKey,
        sequence: u64,
        read: impl FnOnce(&dyn Disk, &RegionCatalog, &ReplicaPlace) -> Result<T, TransferError> + Send + 'static,
    ) -> Result<T, PortError> {
        let store = self.inner.undisturbed().await?;
        let (inner, resource) = (Arc::clone(&self.inner), resource.clone());
        blocking(move || {
            let kept = store.resource(&resource).map_err(|error| inner.of(error))?;
            let place = inner.places(&inner.config()?).replica(&resource, kept.as_ref());
            let catalog = RegionCatalog::own(store);
            let failed = |error: TransferError| PortError::Failed(error.to_string());
            let record = catalog.load(&resource).map_err(|error| PortError::Failed(error.to_string()))?;
            if points::find(&record, PointChoice::Sequence(sequence)).is_none() {
                return Err(PortError::NotFound(format!("{} keeps no point {sequence} of {resource}", inner.region)));
            }
            let lane = inner.receivings.lane(&resource);
            let _alone = lane.alone();
            read(&*inner.disk, &catalog, &place).map_err(failed)
        })
        .await
    }
}
