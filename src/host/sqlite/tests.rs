//! Every kind of file that somebody may call a database, and writers that die.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::*;

const OURS: i32 = 0x6476_7254;
const FIRST: &str = "CREATE TABLE things (name TEXT PRIMARY KEY) STRICT;";
const SECOND: &str = "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7;";

fn names(connection: &Connection) -> Vec<String> {
    let mut statement = connection.prepare("SELECT name FROM things ORDER BY name").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn one_thing(dir: &Path) -> PathBuf {
    let path = dir.join("x.db");
    let connection = open(&path, OURS, &[FIRST], Mode::Create).unwrap();
    connection.execute("INSERT INTO things VALUES ('a')", []).unwrap();
    path
}

fn listing(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_new_database_is_durable_versioned_and_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = one_thing(dir.path());
    let connection = open(&path, OURS, &[FIRST], Mode::ReadWrite).unwrap();
    let pragma =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(pragma("journal_mode"), "delete".to_owned().into());
    assert_eq!(pragma("synchronous"), 3.into());
    assert_eq!(pragma("user_version"), 1.into());
    assert_eq!(pragma("application_id"), i64::from(OURS).into());
    assert_eq!(names(&connection), ["a"]);
}

#[test]
fn an_older_one_is_migrated_by_writers_and_only_seen_so_by_readers() {
    let dir = tempfile::tempdir().unwrap();
    let path = one_thing(dir.path());
    let before = std::fs::read(&path).unwrap();
    let size =
        |connection: &Connection| connection.query_row("SELECT size FROM things", [], |row| row.get::<_, i64>(0));
    let reader = open(&path, OURS, &[FIRST, SECOND], Mode::ReadOnly).unwrap();
    assert_eq!(size(&reader).unwrap(), 7);
    assert!(reader.execute("DELETE FROM things", []).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(open(&path, OURS, &[FIRST, "CREATE nonsense"], Mode::ReadWrite).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(size(&open(&path, OURS, &[FIRST, SECOND], Mode::ReadWrite).unwrap()).unwrap(), 7);
    assert!(matches!(
        open(&path, OURS, &[FIRST], Mode::ReadWrite),
        Err(DatabaseError::Newer { found: 2, supported: 1, .. })
    ));
    assert!(matches!(open(&path, OURS, &[FIRST], Mode::ReadOnly), Err(DatabaseError::Newer { .. })));
}

#[test]
fn what_is_no_database_of_ours_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    for mode in [Mode::ReadOnly, Mode::ReadWrite] {
        assert!(matches!(open(&path, OURS, &[FIRST], mode), Err(DatabaseError::Missing { .. })));
    }
    assert!(listing(dir.path()).is_empty());
    let garbage = b"not a database, and long enough to look like a header of one ....................".repeat(100);
    std::fs::write(&path, &garbage).unwrap();
    for mode in [Mode::ReadOnly, Mode::ReadWrite, Mode::Create] {
        let error = open(&path, OURS, &[FIRST], mode).unwrap_err();
        assert!(matches!(error, DatabaseError::NotADatabase { .. }), "{error:?}");
        assert!(error.to_string().contains("x.db") && !error.help().is_empty());
    }
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(open(&path, OURS, &[FIRST], Mode::Create), Err(DatabaseError::Foreign { found: 0, .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(open(dir.path(), OURS, &[FIRST], Mode::Create).is_err());
}

#[test]
fn a_short_or_empty_file_is_not_yet_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(open(&path, OURS, &[FIRST], Mode::ReadOnly), Err(DatabaseError::Missing { .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    open(&path, OURS, &[FIRST], Mode::Create).unwrap();
    std::fs::write(&path, b"short").unwrap();
    assert!(matches!(open(&path, OURS, &[FIRST], Mode::Create), Err(DatabaseError::NotADatabase { .. })));
}

#[test]
fn reading_makes_no_file_even_where_none_could_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = one_thing(dir.path());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o555)).unwrap();
    let connection = open(&path, OURS, &[FIRST], Mode::ReadOnly).unwrap();
    assert_eq!(names(&connection), ["a"]);
    assert!(connection.execute("DELETE FROM things", []).is_err());
    assert_eq!(listing(dir.path()), ["x.db"]);
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
}

/// Leaves the database as a process does that is killed in the middle of a commit: pages written, journal there.
fn half_written(dir: &Path) -> PathBuf {
    let path = one_thing(dir);
    let source = dir.join("source.db");
    std::fs::rename(&path, &source).unwrap();
    let connection = open(&source, OURS, &[FIRST], Mode::ReadWrite).unwrap();
    connection.pragma_update(None, "cache_size", 1).unwrap();
    connection.pragma_update(None, "cache_spill", 1).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..3000 {
        connection.execute("INSERT INTO things VALUES (?1)", [format!("{n:0>200}")]).unwrap();
    }
    std::fs::copy(&source, &path).unwrap();
    std::fs::copy(dir.join("source.db-journal"), dir.join("x.db-journal")).unwrap();
    drop(connection);
    std::fs::remove_file(&source).unwrap();
    path
}

#[test]
fn a_killed_writer_is_taken_back_by_whoever_comes_next() {
    for mode in [Mode::ReadOnly, Mode::ReadWrite] {
        let dir = tempfile::tempdir().unwrap();
        let path = half_written(dir.path());
        let connection = open(&path, OURS, &[FIRST], mode).unwrap();
        assert_eq!(names(&connection), ["a"]);
        assert_eq!(listing(dir.path()), ["x.db"]);
    }
}

#[test]
fn a_copy_is_of_one_moment_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = one_thing(dir.path());
    let to = dir.path().join("copy.db");
    let connection = open(&path, OURS, &[FIRST], Mode::ReadOnly).unwrap();
    copy_into(&connection, &to).unwrap();
    assert_eq!(names(&open(&to, OURS, &[FIRST], Mode::ReadOnly).unwrap()), ["a"]);
    let before = std::fs::read(&to).unwrap();
    assert!(matches!(copy_into(&connection, &to), Err(DatabaseError::Exists { .. })));
    assert_eq!(std::fs::read(&to).unwrap(), before);
    assert!(matches!(copy_into(&connection, &dir.path().join("none/x")), Err(DatabaseError::File { .. })));
}

#[test]
fn those_that_create_it_at_once_agree() {
    const MANY: usize = 6;
    for _ in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let together = std::sync::Barrier::new(MANY);
        std::thread::scope(|scope| {
            for n in 0..MANY {
                let (path, together) = (&path, &together);
                scope.spawn(move || {
                    together.wait();
                    let connection = open(path, OURS, &[FIRST, SECOND], Mode::Create).unwrap();
                    connection.execute("INSERT INTO things (name) VALUES (?1)", [n.to_string()]).unwrap();
                });
            }
        });
        assert_eq!(names(&open(&path, OURS, &[FIRST, SECOND], Mode::ReadOnly).unwrap()).len(), MANY);
    }
}
