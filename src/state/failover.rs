//! Failovers in the state file: each operation once, and each step of it before its effect and after it.
//!
//! They are written without the file's lock: on the worst day of the year nobody waits for a copy that goes on.
//! Operations exclude each other at the regions, which keep the journal that counts; this one tells what this program
//! began and what it saw.
//!
//! Guarantee: every call is one durable transaction. A crash between an effect and its result leaves a step without a
//! result, and an operation without an end until whoever resumes it writes that.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Row};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::column;
use super::error::StateError;
use super::file::StateFile;
use super::reader::StateReader;
use super::schema::{APPLICATION_ID, MIGRATIONS};
use crate::host::sqlite::{self, Mode};
use crate::model::event::{FailoverEvent, FailoverOutcome, StepRecord};
use crate::model::{OperationId, RegionId, Timestamp};

/// The failovers of a state file, open for writing without its lock.
#[derive(Debug)]
pub struct FailoverLog {
    reader: StateReader,
}

/// Says to other programs that a failover of this state is under way, until it is dropped or the program ends.
#[derive(Debug)]
pub struct UnderWay {
    _file: File,
}

impl StateFile {
    /// Opens the failovers of a state that is there.
    ///
    /// # Errors
    /// [`StateError::Database`] for a file that cannot be used, or is not there.
    pub fn failover_log(&self) -> Result<FailoverLog, StateError> {
        let connection = sqlite::open(self.path(), APPLICATION_ID, MIGRATIONS, Mode::ReadWrite)?;
        Ok(FailoverLog { reader: StateReader::new(connection, self.path().to_owned(), true) })
    }
}

impl FailoverLog {
    /// Reading what is written here.
    pub const fn reader(&self) -> &StateReader {
        &self.reader
    }

    /// Says that an operation is being carried out from now on. Several may be.
    ///
    /// # Errors
    /// [`StateError::Lock`] for a lock file that cannot be used.
    pub fn under_way(&self) -> Result<UnderWay, StateError> {
        let (path, file) = self.lock_file()?;
        match flock(&file, FlockOperation::LockShared) {
            Ok(()) => Ok(UnderWay { _file: file }),
            Err(errno) => Err(StateError::Lock { path, source: errno.into() }),
        }
    }

    /// Has nobody begin an operation of this state until what is given is dropped; none where one is under way.
    ///
    /// # Errors
    /// [`StateError::Lock`] for a lock file that cannot be used.
    pub fn at_rest(&self) -> Result<Option<UnderWay>, StateError> {
        let (path, file) = self.lock_file()?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(UnderWay { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(StateError::Lock { path, source: errno.into() }),
        }
    }

    fn lock_file(&self) -> Result<(PathBuf, File), StateError> {
        let mut path = self.reader.path().as_os_str().to_owned();
        path.push(".failovers.lock");
        let path = PathBuf::from(path);
        match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(StateError::Lock { path, source }),
        }
    }

    /// Writes down an operation as it stands: that it begins, that another attempt goes on with it, how it ended. It
    /// is one event for ever. Whoever made an earlier attempt, and what has no end yet, changes nothing of a later one.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn keep(&mut self, event: &FailoverEvent) -> Result<(), StateError> {
        let record = serde_json::to_string(event).expect("plain data converts to JSON");
        let sql = "INSERT INTO failovers (operation, at, from_region, to_region, finished, record) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (operation) DO UPDATE SET \
                   to_region = excluded.to_region, finished = excluded.finished, record = excluded.record \
                   WHERE json_extract(failovers.record, '$.attempt') <= json_extract(excluded.record, '$.attempt') \
                   AND failovers.finished <= excluded.finished";
        let FailoverEvent { operation, timestamp, from_region_id, to_region_id, outcome, .. } = event;
        let written = self.reader.connection.execute(
            sql,
            (
                operation.to_string(),
                timestamp.as_micros(),
                from_region_id.as_str(),
                to_region_id.as_str(),
                outcome.is_some(),
                record,
            ),
        );
        written.map(|_| ()).map_err(|error| self.reader.of(error))
    }

    /// Writes down that steps are about to begin; gives the places of what becomes of them.
    ///
    /// # Errors
    /// [`StateError::Database`]: none of them may begin then.
    pub fn intend(
        &mut self,
        operation: OperationId,
        attempt: u32,
        steps: &[String],
        at: Timestamp,
    ) -> Result<Vec<i64>, StateError> {
        let of = |connection: &Connection| -> rusqlite::Result<Vec<i64>> {
            let transaction = connection.unchecked_transaction()?;
            let mut places = Vec::new();
            for step in steps {
                let sql = "INSERT INTO failover_steps (operation, attempt, step, began_at) VALUES (?1, ?2, ?3, ?4)";
                transaction.execute(sql, (operation.to_string(), attempt, step, at.as_micros()))?;
                places.push(transaction.last_insert_rowid());
            }
            transaction.commit()?;
            Ok(places)
        };
        of(&self.reader.connection).map_err(|error| self.reader.of(error))
    }

    /// Writes down what became of them.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn conclude(&mut self, ended: &[(i64, String)], at: Timestamp) -> Result<(), StateError> {
        let of = |connection: &Connection| -> rusqlite::Result<()> {
            let transaction = connection.unchecked_transaction()?;
            for (place, words) in ended {
                let sql = "UPDATE failover_steps SET ended_at = ?1, outcome = ?2 WHERE position = ?3";
                transaction.execute(sql, (at.as_micros(), words, place))?;
            }
            transaction.commit()
        };
        of(&self.reader.connection).map_err(|error| self.reader.of(error))
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<FailoverEvent> {
    column::json(row, 0)
}

impl StateReader {
    /// The failovers that this state knows, the newest first: those that a region takes part in, where one is named.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn failovers(&self, region: Option<&RegionId>, limit: Option<usize>) -> Result<Vec<FailoverEvent>, StateError> {
        let sql = "SELECT record FROM failovers WHERE ?1 IS NULL OR from_region = ?1 OR to_region = ?1 \
                   ORDER BY at DESC, position DESC LIMIT ?2";
        let limit = limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        self.rows(sql, (region.map(RegionId::as_str), limit), event)
    }

    /// When this state last met a region: that it answered.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn last_met(&self, region: &RegionId) -> Result<Option<Timestamp>, StateError> {
        let sql = "SELECT max(at) FROM health WHERE region = ?1 AND status IN ('healthy', 'degraded', 'recovering')";
        let found = self.connection.query_row(sql, [region.as_str()], |row| row.get::<_, Option<i64>>(0));
        Ok(found.map_err(|error| self.of(error))?.map(Timestamp::from_micros))
    }

    /// When the last automatic failover was completed.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn last_automatic_failover(&self) -> Result<Option<Timestamp>, StateError> {
        let past = self.failovers(None, None)?.into_iter();
        let automatic = past.filter(|event| event.automatic && event.outcome == Some(FailoverOutcome::Completed));
        Ok(automatic.map(|event| event.ended_at()).max())
    }

    /// One failover.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn failover(&self, operation: OperationId) -> Result<Option<FailoverEvent>, StateError> {
        let sql = "SELECT record FROM failovers WHERE operation = ?1";
        let found = self.connection.query_row(sql, [operation.to_string()], event).optional();
        found.map_err(|error| self.of(error))
    }

    /// What was done for one, in its order.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn failover_steps(&self, operation: OperationId) -> Result<Vec<StepRecord>, StateError> {
        let sql = "SELECT attempt, step, began_at, ended_at, outcome FROM failover_steps WHERE operation = ?1 \
                   ORDER BY position";
        self.rows(sql, [operation.to_string()], |row| {
            Ok(StepRecord {
                attempt: row.get(0)?,
                step: row.get(1)?,
                began_at: column::time(row, 2)?,
                ended_at: column::optional_time(row, 3)?,
                outcome: row.get(4)?,
            })
        })
    }
}
