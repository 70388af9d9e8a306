//! How many copies were made here lately, minute by minute: counted in the transaction that makes each one.

use std::time::Duration;

use rusqlite::Transaction;

use super::error::StoreError;
use super::open::Store;
use super::read::Of;
use crate::model::Timestamp;

/// Over how long copies are counted.
const LATELY: Duration = Duration::from_secs(3600);

/// The minute that a moment lies in.
const fn minute(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(60_000_000)
}

/// Counts a copy that is made, or found to be as its source.
pub(super) fn count_copy(transaction: &Transaction<'_>, of: Of<'_>, at: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO copies (minute, made) VALUES (?1, 1) ON CONFLICT (minute) DO UPDATE SET made = made + 1";
    transaction.execute(sql, [minute(at)]).map_err(of)?;
    // Of a clock that was set back, too.
    let sql = "DELETE FROM copies WHERE minute <= ?1 OR minute > ?2";
    transaction.execute(sql, (minute(at.before(LATELY)), minute(at))).map(|_| ()).map_err(of)
}

impl Store {
    /// Copies that were made here in the last hour.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn copies_lately(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.read(|transaction, of| {
            let sql = "SELECT coalesce(sum(made), 0) FROM copies WHERE minute > ?1 AND minute <= ?2";
            let made: i64 =
                transaction.query_row(sql, (minute(now.before(LATELY)), minute(now)), |row| row.get(0)).map_err(of)?;
            Ok(made.unsigned_abs())
        })
    }
}
