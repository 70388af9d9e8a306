//! Failovers that ended here, as history tells them.

use super::error::StoreError;
use super::open::Store;
use super::read::{json, rows};
use crate::model::event::FailoverEvent;

impl Store {
    /// Writes down how an operation ended here. A repeat replaces what it said.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_failover(&self, event: &FailoverEvent) -> Result<(), StoreError> {
        let record = serde_json::to_string(event).expect("plain data with text keys converts to JSON");
        self.write(|transaction, of| {
            let sql = "UPDATE failovers SET event = ?2 WHERE operation = ?1";
            transaction.execute(sql, (event.operation.to_string(), record)).map(|_| ()).map_err(of)
        })
    }

    /// All of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn failovers(&self) -> Result<Vec<FailoverEvent>, StoreError> {
        self.read(|transaction, of| {
            let sql = "SELECT event FROM failovers WHERE event IS NOT NULL AND open IS NULL";
            let found = rows(transaction, of, sql, |row| row.get::<_, String>(0))?;
            found.iter().map(|record| json("a failover of the past", record)).collect()
        })
    }
}
