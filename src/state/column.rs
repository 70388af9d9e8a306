//! Values in and out of columns. A text that does not read as what the column holds is an error of the row, which
//! [`DatabaseError::of`](crate::host::sqlite::DatabaseError::of) reports as damage.

use std::collections::BTreeSet;
use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Error as SqlError, Result, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{RegionId, Timestamp};

fn bad(column: usize, error: impl Error + Send + Sync + 'static) -> SqlError {
    SqlError::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// A text that has a type of its own.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    row.get::<_, String>(column)?.parse().map_err(|error| bad(column, error))
}

/// The same, or null.
pub(super) fn optional<T>(row: &Row<'_>, column: usize) -> Result<Option<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    row.get::<_, Option<String>>(column)?.map(|text| text.parse().map_err(|error| bad(column, error))).transpose()
}

/// A JSON value.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(|error| bad(column, error))
}

/// A word of an enum, as serde names it.
pub(super) fn word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    serde_json::from_value(row.get::<_, String>(column)?.into()).map_err(|error| bad(column, error))
}

/// The same, or null.
pub(super) fn optional_word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    let text = row.get::<_, Option<String>>(column)?;
    text.map(|text| serde_json::from_value(text.into()).map_err(|error| bad(column, error))).transpose()
}

/// A time.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

/// A time, or null.
pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

/// A duration, or null.
pub(super) fn optional_duration(row: &Row<'_>, column: usize) -> Result<Option<Duration>> {
    let micros = row.get::<_, Option<i64>>(column)?;
    micros
        .map(|micros| u64::try_from(micros).map(Duration::from_micros).map_err(|error| bad(column, error)))
        .transpose()
}

/// A number that is never negative.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| bad(column, error))
}

/// A set of regions.
pub(super) fn regions(row: &Row<'_>, column: usize) -> Result<BTreeSet<RegionId>> {
    json(row, column)
}

/// The word of an enum value, as serde names it.
pub(super) fn to_word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("an enum without content is one word, not {other:?}"),
    }
}

/// The text of a JSON value.
pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys converts to JSON")
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A count; SQLite's numbers have a sign.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
