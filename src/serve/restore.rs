//! The holder of a resource fetches a point and puts its files in place of its own, ordered once and then on its own.
//!
//! Owns the order of the steps: what would be refused in the end is refused before anything travels; the point is
//! brought below the region's own directory, every byte hashed on its way; then the region exchanges the files, by its
//! own rules. One restore of a resource at a time.
//!
//! | what | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | bringing the point | the resource's files are not touched | a part of the point, which the server's next start removes |
//! | the exchange | what was there is kept under a name; all of the new files or none | what the region's next writer ends |

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::answer::Failure;
use super::operation::Running;
use super::router::App;
use crate::live::{PortError, RegionPort, Replaced};
use crate::model::ResourceKey;
use crate::model::point::Point;
use crate::replica::port::TransferError;
use crate::wire::call::Restore;

/// The resources that are being restored.
#[derive(Debug, Default)]
pub(super) struct Restores(Mutex<BTreeSet<ResourceKey>>);

/// One of them, for as long as this lives.
struct Alone<'a> {
    restores: &'a Restores,
    resource: &'a ResourceKey,
}

impl Restores {
    fn begin<'a>(&'a self, resource: &'a ResourceKey) -> Result<Alone<'a>, Failure> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.clone()) {
            return Ok(Alone { restores: self, resource });
        }
        let reason = format!("a restore of {resource} is under way");
        Err(PortError::Refused { reason, help: Some("wait for its end, or stop it".to_owned()) }.into())
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.restores.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.resource);
    }
}

impl App {
    /// Restores a resource that this region holds. Until the point is there it can be stopped; from then on it goes to
    /// its end.
    pub(super) async fn restore(
        &self,
        resource: &ResourceKey,
        order: &Restore,
        running: &Running,
    ) -> Result<Replaced, Failure> {
        running.is_about(resource.clone(), Some(order.from.clone()));
        let _alone = self.restores.begin(resource)?;
        self.region.expect_replaceable(&order.authority, resource).await?;
        self.region.clear_restores(Some(resource)).await?;
        let staged = self.region.restoring(resource);
        let done = match self.bring(resource, order, &staged, running).await {
            Ok(point) => {
                let replaced = self.region.replace_files(&order.authority, resource, &staged).await;
                replaced.map(|set_aside| Replaced { point, set_aside }).map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        if let Err(error) = self.region.clear_restores(Some(resource)).await {
            tracing::warn!(%error, %resource, "what a restore brought could not be removed; the next one tries again");
        }
        done
    }

    async fn bring(
        &self,
        resource: &ResourceKey,
        order: &Restore,
        staged: &Path,
        running: &Running,
    ) -> Result<Point, Failure> {
        let (own, from, cancel) = (self.region.region(), &order.from, &running.cancel);
        let brought = if from == own {
            self.region.until(cancel).export(resource, &order.point, staged).await
        } else {
            let record = self.region.peer(from).await?;
            let port = record.and_then(|record| self.neighbour(from, &record));
            let port = port.ok_or_else(|| {
                let reason = format!("{own} cannot fetch from {from}, which is not served as far as it knows");
                let help = Some("serve it, or take the point from another region".to_owned());
                Failure::from(PortError::Refused { reason, help })
            })?;
            let brought = port.export_until(resource, &order.point, staged, cancel).await;
            brought.map_err(|error| PortError::Refused {
                help: error.help(),
                reason: format!("{own} cannot take the point from {from}: {error}"),
            })
        };
        if cancel.is_cancelled() {
            return Err(TransferError::Interrupted.into());
        }
        Ok(brought?)
    }
}
