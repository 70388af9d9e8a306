//! The place of a controller. A state file that was copied has the lineage, but not the seat: the seat counts only on
//! the machine and for the very file that it was taken on, so two copies never speak with one voice.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use rusqlite::OptionalExtension;

use super::column;
use super::error::StateError;
use super::journal::State;
use super::reader::StateReader;
use crate::host::Host;
use crate::model::{RegionId, Seat};

/// A seat that is held, and the term that it was taken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seating {
    /// The seat.
    pub seat: Seat,
    /// The controller's term.
    pub term: u64,
}

/// What tells one file from its copies: its inode, and when that was made, where the file system knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    inode: i64,
    born: Option<i64>,
}

impl StateReader {
    fn file(&self) -> Option<File> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        let born = metadata.created().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        // The number is only compared: as a bit pattern it loses nothing.
        Some(File { inode: metadata.ino().cast_signed(), born: born.map(column::micros) })
    }

    /// The seat that this state file holds on the machine `host`; none where it never took one, or woke up in another
    /// place.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn seating(&self, host: &Host) -> Result<Option<Seating>, StateError> {
        let sql = "SELECT seat, seat_term, seat_machine, seat_inode, seat_born FROM meta WHERE seat IS NOT NULL";
        let found = self.connection.query_row(sql, [], |row| {
            let seating = Seating { seat: column::parsed(row, 0)?, term: column::number(row, 1)? };
            let file = File { inode: row.get(3)?, born: row.get(4)? };
            Ok((seating, row.get::<_, String>(2)?, file))
        });
        let found = found.optional().map_err(|error| self.of(error))?;
        Ok(found
            .filter(|(_, machine, file)| *machine == host.machine && Some(*file) == self.file())
            .map(|(seating, _, _)| seating))
    }

    /// The regions without which the present seat was taken; none too where its take-over did not count, or not yet.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub(super) fn left_out(&self) -> Result<BTreeSet<RegionId>, StateError> {
        let sql = "SELECT seat_without FROM meta WHERE seat IS NOT NULL AND seat_without IS NOT NULL";
        let found = self.connection.query_row(sql, [], |row| column::regions(row, 0)).optional();
        Ok(found.map_err(|error| self.of(error))?.unwrap_or_default())
    }

    /// Where this state file is on the machine `host`, for people: `user@host:path`.
    pub fn place(&self, host: &Host) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        host.place(&path)
    }
}

impl State {
    /// The seat that this state file holds here.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn seating(&self) -> Result<Option<Seating>, StateError> {
        self.reader.seating(&self.host)
    }

    /// Where this state file is, for people: `user@host:path`.
    pub fn place(&self) -> String {
        self.reader.place(&self.host)
    }

    /// Gives the seat up: this state controls nothing any more.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn leave_seat(&mut self) -> Result<(), StateError> {
        self.change(|transaction| {
            let sql = "UPDATE meta SET seat = NULL, seat_term = NULL, seat_machine = NULL, seat_inode = NULL, \
                       seat_born = NULL, seat_without = NULL";
            transaction.execute(sql, []).map(|_| ())
        })
    }

    /// Takes a new seat with this term. It is a claim until the regions have recorded it; a crash before that leaves
    /// a claim that nobody knows.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn take_seat(&mut self, term: u64) -> Result<Seating, StateError> {
        let seating = Seating { seat: Seat(self.world.ids.random()), term };
        let machine = self.host.machine.clone();
        let (inode, born) = self.reader.file().map_or((None, None), |file| (Some(file.inode), file.born));
        self.change(|transaction| {
            let sql = "UPDATE meta SET seat = ?1, seat_term = ?2, seat_machine = ?3, seat_inode = ?4, seat_born = ?5, \
                       seat_without = NULL";
            transaction.execute(sql, (seating.seat.to_string(), column::count(term), machine, inode, born)).map(|_| ())
        })?;
        Ok(seating)
    }

    /// The seat's take-over counts: every region accepted it but for these, which may know an earlier controller.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn seat_counts(&mut self, without: &BTreeSet<RegionId>) -> Result<(), StateError> {
        let without = column::to_json(without);
        self.change(|transaction| transaction.execute("UPDATE meta SET seat_without = ?1", [without]).map(|_| ()))
    }
}
