//! How far the reading back of replicas is, and what it found. Written with the records of what was found, in one
//! transaction.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::error::StoreError;
use super::open::Store;
use super::read::{Of, json, parse, rows};
use crate::model::ResourceKey;
use crate::model::audit::AuditState;

/// Writes down how far it is.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    resource: &ResourceKey,
    state: &AuditState,
) -> Result<(), StoreError> {
    let record = serde_json::to_string(state).expect("plain data with text keys converts to JSON");
    let sql = "INSERT INTO audits (resource, record) VALUES (?1, ?2)
               ON CONFLICT (resource) DO UPDATE SET record = excluded.record";
    transaction.execute(sql, (resource.to_string(), record)).map(|_| ()).map_err(of)
}

impl Store {
    /// Of every replica that was ever read back, or is about to be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn audits(&self) -> Result<BTreeMap<ResourceKey, AuditState>, StoreError> {
        self.read(|transaction, of| {
            let found = rows(transaction, of, "SELECT resource, record FROM audits", |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })?;
            let found = found.iter().map(|(resource, record)| {
                let what = format!("the audit of {resource}");
                Ok((parse(&what, resource)?, json(&what, record)?))
            });
            found.collect()
        })
    }

    /// Begins with replicas that were never read back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_audits(&self, all: &BTreeMap<ResourceKey, AuditState>) -> Result<(), StoreError> {
        self.write(|transaction, of| {
            all.iter().try_for_each(|(resource, state)| keep(transaction, of, resource, state))
        })
    }
}
