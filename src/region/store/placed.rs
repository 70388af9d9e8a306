//! What was placed for machines: which point's files a holder's machine was started from, by operation.
//!
//! Guarantee: all that one call writes is written in one transaction, which is durable when it returns: that files were
//! placed, and that the points which share bytes with them are given up.

use rusqlite::Transaction;

use super::error::StoreError;
use super::open::Store;
use super::read::Of;
use super::{catalog, read};
use crate::model::ResourceKey;
use crate::region::promotion::Placed;
use crate::replica::promote::given_up;

impl Store {
    /// What was placed last; none where nothing was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn placed(&self, resource: &ResourceKey) -> Result<Option<Placed>, StoreError> {
        self.read(|transaction, of| last(transaction, of, resource))
    }

    /// Records that files were placed, and gives up the points that share bytes with them, as long as no point came
    /// since. A repeat changes nothing, and so does what comes after a promotion was taken back: it is not held here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn hand_over(&self, all: &[(ResourceKey, Placed)]) -> Result<(), StoreError> {
        let sql = "INSERT INTO placed (resource, record) VALUES (?1, ?2)
                   ON CONFLICT (resource) DO UPDATE SET record = excluded.record";
        self.write(|transaction, of| {
            let mut write = transaction.prepare_cached(sql).map_err(of)?;
            for (resource, placed) in all {
                let sql = "SELECT 1 FROM resources WHERE id = ?1 AND type = ?2 AND role = 'holder'";
                let mut held = transaction.prepare_cached(sql).map_err(of)?;
                if !held.exists((resource.id.as_str(), resource.kind.as_str())).map_err(of)? {
                    continue;
                }
                let text = serde_json::to_string(placed).expect("plain data converts to JSON");
                write.execute((resource.to_string(), text)).map_err(of)?;
                let record = read::ledger(transaction, of, resource)?;
                if placed.newest != record.newest().map(|newest| newest.point.sequence) {
                    continue;
                }
                let changes = given_up(&record, &placed.given_up);
                changes.iter().try_for_each(|change| catalog::apply(transaction, of, resource, change))?;
            }
            Ok(())
        })
    }

    /// Forgets what was placed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_placed(&self, resource: &ResourceKey) -> Result<(), StoreError> {
        self.write(|transaction, of| {
            transaction
                .execute("DELETE FROM placed WHERE resource = ?1", [resource.to_string()])
                .map(|_| ())
                .map_err(of)
        })
    }
}

/// What was placed last of a resource.
pub(super) fn last(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    resource: &ResourceKey,
) -> Result<Option<Placed>, StoreError> {
    let mut statement = transaction.prepare_cached("SELECT record FROM placed WHERE resource = ?1").map_err(of)?;
    let mut rows = statement.query([resource.to_string()]).map_err(of)?;
    let Some(row) = rows.next().map_err(of)? else { return Ok(None) };
    let text: String = row.get(0).map_err(of)?;
    read::json(&format!("what was placed of {resource}"), &text).map(Some)
}
