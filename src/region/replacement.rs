//! Putting a point's files in place of the holder's own: who may, when, and by which way.
//!
//! Nothing may run from the files. The runner is asked before the new ones are brought, which takes its time, and again
//! right before anything is moved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::adopted::{Exchange, expect_names};
use super::local::{Inner, LocalRegion, Writing, blocking};
use super::restore;
use super::store::KeptResource;
use crate::host::remove_tree;
use crate::live::port::PortError;
use crate::model::region::{Authority, Role};
use crate::model::running::RunState;
use crate::model::{OperationId, ResourceKey};

impl LocalRegion {
    /// Where a point's files are brought that are to be put in place.
    pub fn restoring(&self, resource: &ResourceKey) -> PathBuf {
        self.inner.layout.restoring(resource)
    }

    /// Removes what restores that did not come to their end brought, of one resource or of all. Whoever calls it knows
    /// that none is under way.
    ///
    /// # Errors
    /// The disk's.
    pub async fn clear_restores(&self, only: Option<&ResourceKey>) -> Result<(), PortError> {
        let layout = &self.inner.layout;
        let path = only.map_or_else(|| layout.restores(), |resource| layout.restoring(resource));
        let disk = Arc::clone(&self.inner.disk);
        blocking(move || remove_tree(&*disk, &path).map_err(restore::failed("remove", &path))).await
    }

    /// Refuses where the files of the resource could not be replaced now: somebody else manages it, it is not held
    /// here, or runs.
    ///
    /// # Errors
    /// As those of [`replace_files`](crate::live::RegionPort::replace_files).
    pub async fn expect_replaceable(&self, authority: &Authority, resource: &ResourceKey) -> Result<(), PortError> {
        let writing = self.inner.writing().await?;
        writing.store.expect_managed_by(authority, resource).map_err(|error| self.inner.of(error))?;
        self.inner.expect_still(&writing, resource, None).await
    }
}

impl Inner {
    pub(super) async fn replace_files(
        self: &Arc<Self>,
        authority: &Authority,
        resource: &ResourceKey,
        from: &Path,
    ) -> Result<Option<String>, PortError> {
        let writing = self.writing().await?;
        writing.store.expect_managed_by(authority, resource).map_err(|error| self.of(error))?;
        let kept = self.held(&writing, resource, None)?;
        self.expect_stopped(&writing, resource).await?;
        // Two exchanges of the same files would not know each other's.
        if let Some(error) = self.end_exchanges(&writing, Some(resource)).await.into_iter().next() {
            return Err(error);
        }
        let named = self.places(&writing.config).adopted(resource, Some(&kept)).map_err(|refused| {
            PortError::Refused { reason: format!("{} {}", refused.path, refused.reason), help: None }
        })?;
        match named {
            Some(named) => self.replace_adopted(&writing, resource, from, (named, None)).await,
            None => self.replace_directory(&writing, resource, from, &kept).await,
        }
    }

    async fn replace_directory(
        self: &Arc<Self>,
        writing: &Writing,
        resource: &ResourceKey,
        from: &Path,
        kept: &KeptResource,
    ) -> Result<Option<String>, PortError> {
        let live = self.places(&writing.config).directory(resource, Some(kept));
        let (inner, key, from) = (Arc::clone(self), resource.clone(), from.to_owned());
        let staged = blocking(move || {
            let tree = restore::look_into(&*inner.disk, &from)?;
            restore::stage(&*inner.disk, &inner.layout, &key, (&from, &tree), inner.world.clock.now())
        })
        .await?;
        let still = self.expect_still(writing, resource, None).await;
        let (inner, resource) = (Arc::clone(self), resource.clone());
        blocking(move || match still {
            Ok(()) => restore::replace(&*inner.disk, &inner.layout, &resource, &live, staged),
            Err(error) => {
                // The next writer removes what cannot be removed now.
                let _ = restore::unstage(&*inner.disk, &staged);
                Err(error)
            }
        })
        .await
    }

    /// Puts the files of `from` where the region's configuration says that they go; `during` is the operation that may
    /// be open on the resource.
    pub(super) async fn replace_adopted(
        self: &Arc<Self>,
        writing: &Writing,
        resource: &ResourceKey,
        from: &Path,
        (named, during): (BTreeMap<String, PathBuf>, Option<OperationId>),
    ) -> Result<Option<String>, PortError> {
        let (inner, key, from) = (Arc::clone(self), resource.clone(), from.to_owned());
        let (exchange, copies) = blocking(move || {
            let disk = &*inner.disk;
            let tree = restore::look_into(disk, &from)?;
            expect_names(&key, &tree, &named, &inner.layout.config())?;
            let staged = restore::stage(disk, &inner.layout, &key, (&from, &tree), inner.world.clock.now())?;
            let exchange = Exchange::begin(disk, &inner.layout, &key, &staged, named)?;
            let copies = exchange.keep(disk);
            Ok((exchange, copies))
        })
        .await?;
        let still = self.expect_still(writing, resource, during).await;
        let inner = Arc::clone(self);
        blocking(move || match still.and(copies) {
            Ok(copies) => exchange.carry_out_or_undo(&*inner.disk, &copies),
            Err(error) => {
                // The next writer removes what cannot be removed now.
                let _ = exchange.give_up(&*inner.disk);
                Err(error)
            }
        })
        .await
    }

    /// Ends the exchanges of adopted files that were cut off, of all resources or of one; why some could not be ended.
    pub(super) async fn end_exchanges(
        self: &Arc<Self>,
        writing: &Writing,
        only: Option<&ResourceKey>,
    ) -> Vec<PortError> {
        let (inner, only) = (Arc::clone(self), only.cloned());
        let found = blocking(move || {
            let mut left = Vec::new();
            let cut_off = Exchange::cut_off(&*inner.disk, &inner.layout, only.as_ref(), &mut left);
            Ok((cut_off, left))
        });
        let (cut_off, mut left) = match found.await {
            Ok(found) => found,
            Err(error) => return vec![error],
        };
        for (resource, exchange) in cut_off {
            let aside = exchange.aside();
            if let Err(error) = self.end_exchange(writing, &resource, exchange).await {
                let reason = format!(
                    "a restore of {resource} was cut off and is not ended yet: {error}; what it replaces is moved to {}",
                    aside.display()
                );
                let help = match error {
                    PortError::Refused { help, .. } => help,
                    _ => None,
                };
                left.push(PortError::Refused { reason, help });
            }
        }
        left
    }

    async fn end_exchange(
        self: &Arc<Self>,
        writing: &Writing,
        resource: &ResourceKey,
        exchange: Exchange,
    ) -> Result<(), PortError> {
        self.expect_stopped(writing, resource).await?;
        let inner = Arc::clone(self);
        let (exchange, copies) = blocking(move || {
            let copies = exchange.keep(&*inner.disk)?;
            Ok((exchange, copies))
        })
        .await?;
        if !copies.is_empty() {
            self.expect_stopped(writing, resource).await?;
        }
        let inner = Arc::clone(self);
        blocking(move || exchange.carry_out(&*inner.disk, &copies).map(|_| ())).await
    }

    /// The record of a resource that is held here, and on which nothing is open but what is `during`.
    pub(super) fn held(
        &self,
        writing: &Writing,
        resource: &ResourceKey,
        during: Option<OperationId>,
    ) -> Result<KeptResource, PortError> {
        let kept = writing.resource(resource).map_err(|error| self.of(error))?;
        let kept = kept.ok_or_else(|| PortError::NotFound(format!("{} has no record of {resource}", self.region)))?;
        let other = kept.record.operation.filter(|open| during != Some(*open));
        if kept.record.role == Role::Holder && other.is_none() {
            return Ok(kept);
        }
        Err(PortError::Refused {
            reason: match other {
                Some(operation) => format!("operation {operation} is open on {resource}"),
                None => format!("{} is {} of {resource}, not its holder", self.region, kept.record.role.as_str()),
            },
            help: Some(format!("its holder is {}", kept.record.holder)),
        })
    }

    /// Copying takes its time, in which somebody may have started it, or given it away.
    async fn expect_still(
        &self,
        writing: &Writing,
        resource: &ResourceKey,
        during: Option<OperationId>,
    ) -> Result<(), PortError> {
        self.held(writing, resource, during)?;
        self.expect_stopped(writing, resource).await
    }

    /// Refuses a machine that runs or may run. Where the region has no runner, nobody here starts or stops it, and
    /// whoever asks answers for it.
    pub(super) async fn expect_stopped(&self, writing: &Writing, resource: &ResourceKey) -> Result<(), PortError> {
        let kept = writing.resource(resource).map_err(|error| self.of(error))?;
        let dir = self.places(&writing.config).directory(resource, kept.as_ref());
        let epoch = kept.map(|kept| kept.record.epoch).unwrap_or_default();
        let reason = match writing.machines.status(resource, &dir, epoch).await {
            RunState::Stopped | RunState::NoRunner => return Ok(()),
            RunState::Running => format!("{resource} runs at {}", self.region),
            RunState::Unknown(why) => format!("{resource} may run at {}: {why}", self.region),
        };
        Err(PortError::Refused { reason, help: Some("stop it first".to_owned()) })
    }
}
