//! Opening a database, and bringing an older one up to date.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::DatabaseError;

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reading. Makes and changes no file, with one exception: a write that a killed run left half done is taken
    /// back, which changes nothing that was ever committed. An older database is read through a copy in memory.
    ReadOnly,
    /// Writing; it must be there.
    ReadWrite,
    /// Writing; made where it is not there.
    Create,
}

/// How long one waits for another process's commit. Commits take milliseconds; a slow disk's sync, seconds.
const BUSY: Duration = Duration::from_secs(10);
/// How long a copy waits before it asks again for a database that is being written.
const BREATH: Duration = Duration::from_millis(10);

/// Opens the database at `path`, checks that it is ours, and applies the migrations that it lacks.
///
/// `migrations[n]` is the SQL that leads from version `n` to version `n + 1`; those that were ever released never
/// change. All missing ones are applied in one transaction: a crash leaves the former version.
///
/// # Errors
/// One [`DatabaseError`] for each thing that can be wrong. [`DatabaseError::Missing`] where there is no file, or, for
/// reading, one that nothing was ever written to.
pub fn open(path: &Path, application_id: i32, migrations: &[&str], mode: Mode) -> Result<Connection, DatabaseError> {
    match open_as(path, application_id, migrations, mode) {
        Err(DatabaseError::HalfWritten { source, .. }) if mode == Mode::ReadOnly => {
            // Opening it for writing takes back what a killed run left half done.
            match open_as(path, application_id, migrations, Mode::ReadWrite) {
                Ok(mended) => drop(mended),
                Err(DatabaseError::ReadOnly { .. } | DatabaseError::Other { .. }) => {
                    return Err(DatabaseError::HalfWritten { path: path.to_owned(), source });
                }
                Err(error) => return Err(error),
            }
            open_as(path, application_id, migrations, mode)
        }
        done => done,
    }
}

fn open_as(path: &Path, application_id: i32, migrations: &[&str], mode: Mode) -> Result<Connection, DatabaseError> {
    let of = |error| DatabaseError::of(path, error);
    if mode != Mode::Create && matches!(path.try_exists(), Ok(false)) {
        return Err(DatabaseError::Missing { path: path.to_owned() });
    }
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(DatabaseError::NotAFile { path: path.to_owned() });
    }
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | match mode {
            Mode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Mode::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
    // Names such as `:memory:` mean a file here.
    let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut connection = Connection::open_with_flags(&place, flags).map_err(of)?;
    connection.busy_timeout(BUSY).map_err(of)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(of)?;
    // Else a statement that is kept is planned anew for each value that it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(of)?;
    let version = examine(&connection, path, application_id, migrations.len())?;
    if mode == Mode::ReadOnly {
        return match version {
            0 => Err(DatabaseError::Missing { path: path.to_owned() }),
            version if version == migrations.len() => Ok(connection),
            version => {
                let mut copy = Connection::open_in_memory().map_err(of)?;
                copy_pages(&connection, &mut copy).map_err(of)?;
                migrate(&mut copy, application_id, migrations, version).map_err(of)?;
                copy.pragma_update(None, "query_only", true).map_err(of)?;
                Ok(copy)
            }
        };
    }
    // Both answer with the mode that is in force; a database that somebody put in WAL mode leaves it here.
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(of)?;
    connection.pragma_update(None, "synchronous", "EXTRA").map_err(of)?;
    if version < migrations.len() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(of)?;
        // Another process may have been quicker.
        let version = examine(&transaction, path, application_id, migrations.len())?;
        apply(&transaction, application_id, migrations, version).map_err(of)?;
        transaction.commit().map_err(of)?;
    }
    Ok(connection)
}

/// The database's version, after a look at whose it is.
fn examine(connection: &Connection, path: &Path, expected: i32, known: usize) -> Result<usize, DatabaseError> {
    let of = |error| DatabaseError::of(path, error);
    // One statement, so that all three are of one moment.
    let seen = "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), \
                (SELECT count(*) FROM sqlite_schema)";
    let (found, version, tables): (i64, i64, i64) =
        connection.query_row(seen, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(of)?;
    if found == 0 && version == 0 && tables == 0 {
        return Ok(0);
    }
    if found != i64::from(expected) {
        let found = i32::try_from(found).unwrap_or(0);
        return Err(DatabaseError::Foreign { path: path.to_owned(), found, expected });
    }
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        Ok(_) => {
            let supported = i64::try_from(known).unwrap_or(i64::MAX);
            Err(DatabaseError::Newer { path: path.to_owned(), found: version, supported })
        }
        Err(_) => Err(DatabaseError::Damaged { path: path.to_owned(), detail: format!("its version is {version}") }),
    }
}

fn migrate(
    connection: &mut Connection,
    application_id: i32,
    migrations: &[&str],
    version: usize,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    apply(&transaction, application_id, migrations, version)?;
    transaction.commit()
}

fn apply(connection: &Connection, application_id: i32, migrations: &[&str], version: usize) -> rusqlite::Result<()> {
    for migration in &migrations[version..] {
        connection.execute_batch(migration)?;
    }
    connection.pragma_update(None, "application_id", application_id)?;
    connection.pragma_update(None, "user_version", i64::try_from(migrations.len()).unwrap_or(i64::MAX))
}

/// Copies the whole of an open database into the new file `to`, as of one moment, while others may write it.
///
/// Guarantees a complete and durable database under that name once it returned, and that a file that was there stays
/// as it is. A crash leaves an unfinished file, which is no database of ours; a failure leaves none.
///
/// # Errors
/// [`DatabaseError::Exists`]; those of either file.
pub fn copy_into(connection: &Connection, to: &Path) -> Result<(), DatabaseError> {
    let of = |error| DatabaseError::of(to, error);
    match File::create_new(to) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(DatabaseError::Exists { path: to.to_owned() });
        }
        Err(source) => return Err(DatabaseError::File { path: to.to_owned(), source }),
    }
    let place = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_READ_WRITE;
    let copied = Connection::open_with_flags(place, flags).and_then(|mut copy| {
        copy.pragma_update(None, "synchronous", "EXTRA")?;
        copy_pages(connection, &mut copy)?;
        copy.close().map_err(|(_, error)| error)
    });
    copied.map_err(|error| {
        let error = of(error);
        // The error in hand is the one to tell; the file that could not be filled is of no use to anybody.
        let _ = std::fs::remove_file(to);
        error
    })
}

fn copy_pages(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    let mut waited = Duration::ZERO;
    loop {
        // All in one step: between two steps another process's commit would start the copy anew.
        let busy = match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            StepResult::More => continue,
            StepResult::Busy => rusqlite::ffi::SQLITE_BUSY,
            StepResult::Locked | _ => rusqlite::ffi::SQLITE_LOCKED,
        };
        if waited >= BUSY {
            return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(busy), None));
        }
        std::thread::sleep(BREATH);
        waited += BREATH;
    }
}
