//! Renames of resources that this region records.
//!
//! A rename is committed first, and then the directories take the new name, one after the other. A crash between the
//! two leaves `moving` set, and whoever opens the region for writing next goes on with the moves, each of which is
//! done once. At the holder the directory of the files stays where it is, because a machine may run from it, and
//! `former_id` goes on naming it.

use rusqlite::Transaction;

use super::error::StoreError;
use super::open::Store;
use super::read::{self, Of};
use crate::model::region::Role;
use crate::model::{ResourceId, ResourceKey};

/// A rename whose directories have not all moved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The resource under its present name.
    pub resource: ResourceKey,
    /// The name that its directories bear.
    pub from: ResourceId,
    /// Whether the files move too, as a replica's do.
    pub files: bool,
}

impl Store {
    /// The renames that a crash, or the present record, left to be carried out on the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending_renames(&self) -> Result<Vec<Rename>, StoreError> {
        let sql = "SELECT type, id, former_id, role FROM resources WHERE moving = 1 AND former_id IS NOT NULL";
        self.read(|transaction, of| {
            let moving = read::rows(transaction, of, sql, |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                ))
            })?;
            let renames = moving.into_iter().map(|(kind, id, from, role)| {
                let what = format!("{kind}.{id}");
                let (resource, from) = (read::parse(&what, &what)?, read::parse(&what, &from)?);
                Ok(Rename { resource, from, files: role == Role::Replica.as_str() })
            });
            renames.collect()
        })
    }

    /// Notes that all directories of a rename bear the present name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn renamed(&self, rename: &Rename) -> Result<(), StoreError> {
        self.write(|transaction, of| {
            transaction
                .execute(
                    "UPDATE resources
                     SET former_id = CASE role WHEN 'replica' THEN NULL ELSE former_id END, moving = 0
                     WHERE id = ?1 AND type = ?2 AND former_id = ?3",
                    (rename.resource.id.as_str(), rename.resource.kind.as_str(), rename.from.as_str()),
                )
                .map(|_| ())
                .map_err(of)
        })
    }
}

/// Gives the records of `from` the name of `to`: the resource's own and those of its points.
pub(super) fn rekey(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    from: &ResourceKey,
    to: &ResourceKey,
    former_id: &ResourceId,
) -> Result<(), StoreError> {
    transaction
        .execute(
            "UPDATE resources SET id = ?1, former_id = ?2, moving = 1 WHERE id = ?3 AND type = ?4",
            (to.id.as_str(), former_id.as_str(), from.id.as_str(), from.kind.as_str()),
        )
        .map_err(of)?;
    for table in ["ledgers", "points", "manifests", "placed", "audits"] {
        transaction
            .execute(
                &format!("UPDATE {table} SET resource = ?1 WHERE resource = ?2"),
                (to.to_string(), from.to_string()),
            )
            .map_err(of)?;
    }
    Ok(())
}
