//! What can be wrong with a database file.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_READONLY_CANTINIT, SQLITE_READONLY_RECOVERY, SQLITE_READONLY_ROLLBACK};

/// What is wrong with a database file.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// There is none, or one that nothing was ever written to.
    #[error("{} does not exist", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A directory, or whatever else is no file.
    #[error("{} is not a file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not an SQLite database", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A database, of another program or for another purpose.
    #[error("{} is a database of something else (application id {found:#010x}, not {expected:#010x})", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: i32,
        /// Whose it should be.
        expected: i32,
    },
    /// Written by a newer version of this program.
    #[error("{} has version {found}; this program knows versions up to {supported}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this program knows.
        supported: i64,
    },
    /// It may not be written.
    #[error("{} cannot be written: the file, its directory or its file system is read-only", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
    /// A killed run left a half-done write in the journal beside it, which a run that may write takes back.
    #[error("{} was left in the middle of a write, and cannot be mended without writing to it", .path.display())]
    HalfWritten {
        /// The file.
        path: PathBuf,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
    /// No room is left.
    #[error("no space is left on the disk of {}", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
    /// Another process kept it for longer than one waits.
    #[error("{} is kept busy by another process", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
    /// Its content is damaged.
    #[error("{} is damaged: {detail}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In words.
        detail: String,
    },
    /// A copy was to be made under a name that is taken.
    #[error("{} already exists", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot create {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// Anything else: a file that may not be opened, a failing disk.
    #[error("{}: {source}", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
}

impl DatabaseError {
    /// Says what an error of the database at `path` means.
    pub fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let Some(code) = source.sqlite_error().map(|error| (error.code, error.extended_code)) else {
            return match source {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..) => Self::Damaged { path, detail: source.to_string() },
                source => Self::Other { path, source },
            };
        };
        match code {
            (ErrorCode::NotADatabase, _) => Self::NotADatabase { path },
            (ErrorCode::ReadOnly, SQLITE_READONLY_ROLLBACK | SQLITE_READONLY_RECOVERY | SQLITE_READONLY_CANTINIT) => {
                Self::HalfWritten { path, source }
            }
            (ErrorCode::ReadOnly, _) => Self::ReadOnly { path, source },
            (ErrorCode::DiskFull, _) => Self::Full { path, source },
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Self::Busy { path, source },
            (ErrorCode::DatabaseCorrupt, _) => Self::Damaged { path, detail: source.to_string() },
            _ => Self::Other { path, source },
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Missing { .. } => "check the path".to_owned(),
            Self::NotAFile { path } if path.is_dir() => "name the file in it".to_owned(),
            Self::NotAFile { .. } => "name another path".to_owned(),
            Self::NotADatabase { .. } | Self::Foreign { .. } => {
                "name the right file, or move this one away; it was not touched".to_owned()
            }
            Self::Newer { .. } => "use the newer version of this program; the file was not touched".to_owned(),
            Self::ReadOnly { .. } => "make the file and its directory writable for this user".to_owned(),
            Self::HalfWritten { .. } => {
                "run any command that writes it as a user who may, or copy it with its `-journal` file to a writable \
                 place"
                    .to_owned()
            }
            Self::Full { .. } => "free some space and run the same command again".to_owned(),
            Self::Busy { .. } => "wait for the other command to end and run this one again".to_owned(),
            Self::Damaged { .. } => "restore it from a backup, or rebuild it".to_owned(),
            Self::Exists { .. } => "name a file that does not exist; it was not touched".to_owned(),
            Self::File { .. } | Self::Other { .. } => "check the path, its permissions and the disk".to_owned(),
        }
    }
}
