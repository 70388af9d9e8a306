//! Opening the database of a region.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::error::StoreError;
use super::schema::{APPLICATION_ID, MIGRATIONS};
use crate::failover::Book;
use crate::host::sqlite::{self, DatabaseError, Mode};
use crate::model::StoreId;
use crate::model::region::Identity;

/// A region's open database.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    opened: Mutex<Opened>,
}

/// A connection, and what was read through it last.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    /// The book, with the state of the file that it was read in. Whatever is written here forgets it.
    book: Option<(i64, Arc<Book>)>,
}

impl Store {
    /// Makes the database of a region that is being founded, or opens the one that an unfinished founding left; gives
    /// the store that it belongs to, which is `fresh` for a new one.
    ///
    /// Guarantees that the answer is durable. A crash leaves no database or one without any record.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where a database with records is there that belongs to whoever lost its identity.
    pub fn found(path: &Path, identity: &Identity) -> Result<(Self, StoreId), StoreError> {
        let store = Self::open(path, Mode::Create)?;
        let kept = store.write(|transaction, of| {
            let found: Option<(String, String, u64)> = transaction
                .query_row("SELECT region_id, store, serial FROM region", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs()))
                })
                .optional()
                .map_err(of)?;
            let Some((region, kept, serial)) = found else {
                transaction
                    .execute(
                        "INSERT INTO region (one, region_id, store, serial, highest_epoch) VALUES (1, ?1, ?2, 0, 0)",
                        (identity.region_id.as_str(), identity.store.to_string()),
                    )
                    .map_err(of)?;
                return Ok(identity.store);
            };
            if region != identity.region_id.as_str() || serial > 0 {
                return Err(StoreError::refused(
                    format!(
                        "{} is the database of region {region}, which lost its .debvisor/region.json",
                        path.display()
                    ),
                    "restore .debvisor/region.json from a backup, or move the database away",
                ));
            }
            kept.parse()
                .map_err(|_| StoreError::Unreadable { what: "the store".to_owned(), detail: format!("`{kept}`") })
        })?;
        Ok((store, kept))
    }

    /// Opens the database of the region that `identity` names, for writing.
    ///
    /// # Errors
    /// [`StoreError`], where it is missing or another's too.
    pub fn open_writing(path: &Path, identity: &Identity) -> Result<Self, StoreError> {
        Self::open(path, Mode::ReadWrite)?.belonging_to(identity)
    }

    /// Opens the database of the region that `identity` names, for reading.
    ///
    /// # Errors
    /// [`StoreError`], where it is missing or another's too.
    pub fn open_reading(path: &Path, identity: &Identity) -> Result<Self, StoreError> {
        Self::open(path, Mode::ReadOnly)?.belonging_to(identity)
    }

    fn open(path: &Path, mode: Mode) -> Result<Self, StoreError> {
        let connection = sqlite::open(path, APPLICATION_ID, &MIGRATIONS, mode)?;
        Ok(Self { path: path.to_owned(), opened: Mutex::new(Opened { connection, book: None }) })
    }

    fn belonging_to(self, identity: &Identity) -> Result<Self, StoreError> {
        let found: Option<String> = {
            let opened = self.lock();
            (opened.connection)
                .query_row("SELECT store FROM region", [], |row| row.get(0))
                .optional()
                .map_err(|error| DatabaseError::of(&self.path, error))?
        };
        let expected = identity.store.to_string();
        match found {
            Some(found) if found == expected => Ok(self),
            found => Err(StoreError::OtherStore { found: found.unwrap_or_else(|| "none".to_owned()), expected }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        // A panic in a transaction rolled it back.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The book as `load` reads it, or as it was read before, where nothing was written since: through this connection
    /// or, as the file itself tells, by anybody else.
    pub(super) fn book_by(
        &self,
        load: impl FnOnce(&Transaction<'_>, &dyn Fn(rusqlite::Error) -> StoreError) -> Result<Book, StoreError>,
    ) -> Result<Arc<Book>, StoreError> {
        let of = |error| StoreError::Database(DatabaseError::of(&self.path, error));
        let mut opened = self.lock();
        let Opened { connection, book } = &mut *opened;
        // Before it is read: what somebody writes meanwhile makes the next look another one.
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(of)?;
        if let Some((_, kept)) = book.as_ref().filter(|(read_in, _)| *read_in == version) {
            return Ok(Arc::clone(kept));
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(of)?;
        let read = Arc::new(load(&transaction, &of)?);
        transaction.commit().map_err(of)?;
        *book = Some((version, Arc::clone(&read)));
        Ok(read)
    }

    /// Reads within one transaction: one moment's state.
    pub(super) fn read<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>, &dyn Fn(rusqlite::Error) -> StoreError) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.within(TransactionBehavior::Deferred, act)
    }

    /// Writes within one transaction: all or nothing, durable when it returns.
    pub(super) fn write<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>, &dyn Fn(rusqlite::Error) -> StoreError) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.within(TransactionBehavior::Immediate, act)
    }

    /// Does what would be written, and takes it back.
    pub(super) fn try_out(
        &self,
        act: impl FnOnce(&Transaction<'_>, &dyn Fn(rusqlite::Error) -> StoreError) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let of = |error| StoreError::Database(DatabaseError::of(&self.path, error));
        let mut opened = self.lock();
        let transaction = opened.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(of)?;
        act(&transaction, &of)?;
        transaction.rollback().map_err(of)
    }

    fn within<T>(
        &self,
        behaviour: TransactionBehavior,
        act: impl FnOnce(&Transaction<'_>, &dyn Fn(rusqlite::Error) -> StoreError) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let of = |error| StoreError::Database(DatabaseError::of(&self.path, error));
        let mut opened = self.lock();
        let Opened { connection, book } = &mut *opened;
        let before = connection.total_changes();
        let transaction = connection.transaction_with_behavior(behaviour).map_err(of)?;
        let done = act(&transaction, &of)?;
        if transaction.total_changes() != before {
            // Before the end of it, which may be unclear.
            *book = None;
        }
        transaction.commit().map_err(of)?;
        Ok(done)
    }
}
