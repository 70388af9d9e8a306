//! The block engine's records, in the region's own database.
//!
//! Guarantee: a commit is durable when it returns, and none of an order with an epoch below the recorded one is ever
//! made: the check and the write are one transaction. A crash leaves the records as they were or as they become.

use std::sync::Arc;

use rusqlite::Transaction;

use super::audit;
use super::copies::count_copy;
use super::error::StoreError;
use super::open::Store;
use super::read::{self, Of, signed};
use crate::model::region::Epoch;
use crate::model::{Clock, ResourceKey};
use crate::replica::catalog::{Catalog, CatalogChange, CatalogError, KeptManifest, PointRecord, ReplicaRecord};

/// Entries of a manifest in one row.
const PART_ENTRIES: usize = 1000;

/// The catalog of one region, for the writes of one order or of none.
#[derive(Debug, Clone)]
pub struct RegionCatalog {
    store: Arc<Store>,
    ordered: Option<(Epoch, Arc<dyn Clock>)>,
}

impl RegionCatalog {
    /// Bound to no order: for what the region does on its own account.
    pub const fn own(store: Arc<Store>) -> Self {
        Self { store, ordered: None }
    }

    /// Bound to an order of epoch `ordered`, whose copies are counted.
    pub const fn bound(store: Arc<Store>, ordered: Epoch, clock: Arc<dyn Clock>) -> Self {
        Self { store, ordered: Some((ordered, clock)) }
    }
}

fn failed(error: StoreError) -> CatalogError {
    CatalogError::Store(error.to_string())
}

impl Catalog for RegionCatalog {
    fn load(&self, resource: &ResourceKey) -> Result<ReplicaRecord, CatalogError> {
        self.store.read(|transaction, of| read::ledger(transaction, of, resource)).map_err(failed)
    }

    fn manifest(&self, resource: &ResourceKey, sequence: u64) -> Result<KeptManifest, CatalogError> {
        self.store
            .read(|transaction, of| read::manifest(transaction, of, resource, sequence))
            .map_err(failed)?
            .ok_or_else(|| CatalogError::NoPoint { resource: resource.clone(), sequence })
    }

    fn commit(&self, resource: &ResourceKey, changes: &[CatalogChange]) -> Result<(), CatalogError> {
        let mut stale = None;
        let done = self.store.write(|transaction, of| {
            if let (Some((ordered, _)), Some(kept)) = (&self.ordered, read::resource(transaction, of, resource)?)
                && kept.record.epoch > *ordered
            {
                let (ordered, recorded) = (*ordered, kept.record.epoch);
                stale = Some(CatalogError::Stale { ordered, recorded });
                return Err(StoreError::refused("stale", "plan again"));
            }
            changes.iter().try_for_each(|change| apply(transaction, of, resource, change))?;
            match &self.ordered {
                Some((_, clock)) if changes.contains(&CatalogChange::Copied) => {
                    count_copy(transaction, of, clock.now())
                }
                Some(_) | None => Ok(()),
            }
        });
        match stale {
            Some(stale) => Err(stale),
            None => done.map_err(failed),
        }
    }
}

pub(super) fn apply(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    resource: &ResourceKey,
    change: &CatalogChange,
) -> Result<(), StoreError> {
    let key = resource.to_string();
    let head = |column: &str, value: Option<String>| {
        transaction
            .execute(
                &format!(
                    "INSERT INTO ledgers (resource, next_sequence, next_file, {column}) VALUES (?1, 0, 0, ?2)
                     ON CONFLICT (resource) DO UPDATE SET {column} = excluded.{column}"
                ),
                (&key, value),
            )
            .map(|_| ())
            .map_err(of)
    };
    match change {
        CatalogChange::Point { record, manifest } => {
            put_point(transaction, of, &key, record)?;
            manifest.as_ref().map_or(Ok(()), |manifest| {
                put_manifest(transaction, &key, signed(record.point.sequence), manifest).map_err(of)
            })
        }
        CatalogChange::RemovePoint { sequence } => {
            for table in ["points", "manifests"] {
                transaction
                    .execute(
                        &format!("DELETE FROM {table} WHERE resource = ?1 AND sequence = ?2"),
                        (&key, signed(*sequence)),
                    )
                    .map_err(of)?;
            }
            Ok(())
        }
        CatalogChange::Receiving(receiving) => head("receiving", receiving.as_ref().map(to_text)),
        CatalogChange::Refusal(refusal) => head("refusal", refusal.as_ref().map(to_text)),
        CatalogChange::Verified { sequence, at } => {
            let mut replica = read::ledger(transaction, of, resource)?;
            let Some(record) = replica.points.get_mut(sequence) else {
                return Err(StoreError::Unreadable {
                    what: format!("point {sequence} of {resource}"),
                    detail: "it is not recorded".to_owned(),
                });
            };
            if record.point.verified_at < *at {
                record.point.verified_at = *at;
                put_point(transaction, of, &key, record)?;
            }
            Ok(())
        }
        CatalogChange::Audited(state) => audit::keep(transaction, of, resource, state),
        // Counted where it is ordered.
        CatalogChange::Copied => Ok(()),
        CatalogChange::Counters { next_sequence, next_file } => transaction
            .execute(
                "INSERT INTO ledgers (resource, next_sequence, next_file) VALUES (?1, ?2, ?3)
                 ON CONFLICT (resource) DO UPDATE
                 SET next_sequence = excluded.next_sequence, next_file = excluded.next_file",
                (&key, signed(*next_sequence), signed(*next_file)),
            )
            .map(|_| ())
            .map_err(of),
    }
}

fn put_point(transaction: &Transaction<'_>, of: Of<'_>, key: &str, record: &PointRecord) -> Result<(), StoreError> {
    transaction
        .execute(
            "INSERT OR REPLACE INTO points (resource, sequence, record, standing, state) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                key,
                signed(record.point.sequence),
                to_text(record),
                record.standing.as_str(),
                record.point.state.as_str(),
            ),
        )
        .map(|_| ())
        .map_err(of)
}

fn put_manifest(
    transaction: &Transaction<'_>,
    key: &str,
    sequence: i64,
    manifest: &KeptManifest,
) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM manifests WHERE resource = ?1 AND sequence = ?2", (key, sequence))?;
    let mut statement = transaction
        .prepare_cached("INSERT INTO manifests (resource, sequence, part, entries) VALUES (?1, ?2, ?3, ?4)")?;
    // An empty list is a list.
    let parts = manifest.entries.chunks(PART_ENTRIES).chain(manifest.entries.is_empty().then_some(&[][..]));
    for (part, entries) in (0_i64..).zip(parts) {
        statement.execute((key, sequence, part, to_text(&entries)))?;
    }
    Ok(())
}

fn to_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys converts to JSON")
}
