//! Verification and the discarding of what was set aside.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::local::{Inner, blocking};
use super::restore;
use super::store::RegionCatalog;
use crate::live::port::{ContentCheck, FileCheck, FileVerdict, PortError};
use crate::model::ResourceKey;
use crate::model::region::{Authority, Role};
use crate::replica::place::scan_cache;
use crate::replica::port::TransferError;
use crate::replica::prune;
use crate::replica::verify::{Check, CheckedFile, Verified, distrust, verify_replica, verify_source};

pub(super) fn failed(error: TransferError) -> PortError {
    match error {
        TransferError::Region(reason) => PortError::NotFound(reason),
        error => PortError::Failed(error.to_string()),
    }
}

impl Inner {
    /// Reads every byte. A replica's files that are not what they seem are not trusted from then on: the next plan
    /// repairs them. Where the region cannot be written, they are only told.
    pub(super) async fn verify(
        self: &Arc<Self>,
        resource: &ResourceKey,
        cancel: &CancellationToken,
    ) -> Result<ContentCheck, PortError> {
        let stop = self.stop.check().until(cancel);
        let store = self.undisturbed().await?;
        let writable = self.is_open_for_writing().await;
        let (inner, resource) = (Arc::clone(self), resource.clone());
        blocking(move || {
            let kept = store.resource(&resource).map_err(|error| inner.of(error))?;
            let config = inner.config()?;
            let places = inner.places(&config);
            let verified = match kept.as_ref().map(|kept| kept.record.role) {
                Some(Role::Holder) => {
                    let live = places.own_files(&resource, kept.as_ref()).map_err(|refused| PortError::Refused {
                        reason: format!("{} {}", refused.path, refused.reason),
                        help: None,
                    })?;
                    let cache = scan_cache(inner.layout.root(), &resource);
                    verify_source(&*inner.disk, &live, &cache, &stop).map_err(failed)?
                }
                Some(Role::Replica | Role::Demoted | Role::Fenced) | None => {
                    let place = places.replica(&resource, kept.as_ref());
                    let catalog = RegionCatalog::own(store);
                    let lane = inner.receivings.lane(&resource);
                    let mut open = lane.alone();
                    let verified = verify_replica(&*inner.disk, &catalog, &place, &stop).map_err(failed)?;
                    let wrong = |file: &&CheckedFile| file.check == Check::Mismatch;
                    let paths: BTreeSet<String> =
                        verified.files.iter().filter(wrong).map(|file| file.path.clone()).collect();
                    if writable && !paths.is_empty() {
                        distrust(&catalog, &place, &paths).map_err(failed)?;
                        // What is open was compared with files that are not what they seemed.
                        inner.receivings.end(&mut open).map_err(failed)?;
                    }
                    verified
                }
            };
            Ok(told(&inner, verified))
        })
        .await
    }

    /// Discards what was set aside: at a replica a point, at the holder files that were replaced.
    pub(super) async fn discard(
        self: &Arc<Self>,
        authority: &Authority,
        resource: &ResourceKey,
        name: &str,
    ) -> Result<(), PortError> {
        let writing = self.writing().await?;
        writing.store.expect_managed_by(authority, resource).map_err(|error| self.of(error))?;
        let (inner, resource, name) = (Arc::clone(self), resource.clone(), name.to_owned());
        blocking(move || {
            let kept = writing.resource(&resource).map_err(|error| inner.of(error))?;
            let place = inner.places(&writing.config).replica(&resource, kept.as_ref());
            let catalog = RegionCatalog::own(Arc::clone(&writing.store));
            let lane = inner.receivings.lane(&resource);
            let _alone = lane.alone();
            if prune::discard(&*inner.disk, &catalog, &place, &name).map_err(failed)?
                || restore::discard(&*inner.disk, &inner.layout, &resource, &name)?
            {
                return Ok(());
            }
            Err(PortError::NotFound(format!("{} has nothing of {resource} set aside as `{name}`", inner.region)))
        })
        .await
    }
}

fn told(inner: &Inner, Verified { data_hash, files }: Verified) -> ContentCheck {
    let files = files.into_iter().map(|CheckedFile { path, check, blocks, read, root, reason }| {
        let verdict = match check {
            Check::Identical => FileVerdict::Identical,
            Check::Changed => FileVerdict::Changed,
            Check::Mismatch => FileVerdict::Mismatch,
            Check::Missing => FileVerdict::Missing,
        };
        FileCheck { path, verdict, blocks, read, root, reason }
    });
    ContentCheck { region: inner.region.clone(), data_hash, files: files.collect() }
}
