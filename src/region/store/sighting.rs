//! What was seen of other regions, and how fast their links were, across restarts.
//!
//! Guarantee: one transaction for all that is written together. A crash loses what was seen since the last write: what
//! is known then is older than it was, never newer.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Row;

use super::error::StoreError;
use super::open::Store;
use super::read::{json, parse, rows, signed};
use crate::model::sighting::{Met, Sighting};
use crate::model::work::Link;
use crate::model::{RegionId, Timestamp};

const COLUMNS: &str =
    "region_id, met, probed_at, seen_at, latency, silent_since, failures, counted_at, failure, returned_at";

/// A row of `sightings` as it stands.
struct Raw {
    id: String,
    met: String,
    sighting: Sighting,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let moment = |at: usize| row.get::<_, Option<i64>>(at).map(|micros| micros.map(Timestamp::from_micros));
    let latency = row.get::<_, Option<i64>>(4)?.and_then(|micros| u64::try_from(micros).ok());
    let sighting = Sighting {
        met: Met::Never,
        probed_at: moment(2)?,
        seen_at: moment(3)?,
        latency: latency.map(Duration::from_micros),
        silent_since: moment(5)?,
        failures: u32::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
        counted_at: moment(7)?,
        failure: row.get(8)?,
        returned_at: moment(9)?,
    };
    Ok(Raw { id: row.get(0)?, met: row.get(1)?, sighting })
}

impl Store {
    /// What was last written of every region.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sightings(&self) -> Result<BTreeMap<RegionId, Sighting>, StoreError> {
        self.read(|transaction, of| {
            let found = rows(transaction, of, &format!("SELECT {COLUMNS} FROM sightings"), raw)?;
            let understood = found.into_iter().map(|Raw { id, met, sighting }| {
                let what = format!("what was seen of {id}");
                let known = Met::ALL.into_iter().find(|known| known.as_str() == met);
                let met =
                    known.ok_or_else(|| StoreError::Unreadable { what: what.clone(), detail: format!("`{met}`") })?;
                Ok((parse(&what, &id)?, Sighting { met, ..sighting }))
            });
            understood.collect()
        })
    }

    /// Writes what was seen of these regions, and drops what is kept of the forgotten ones.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    pub fn keep_sightings(
        &self,
        seen: &BTreeMap<RegionId, Sighting>,
        forgotten: &[RegionId],
    ) -> Result<(), StoreError> {
        self.write(|transaction, of| {
            for id in forgotten {
                for table in ["sightings", "links"] {
                    let sql = format!("DELETE FROM {table} WHERE region_id = ?1");
                    transaction.execute(&sql, [id.as_str()]).map_err(of)?;
                }
            }
            let mut write = transaction
                .prepare_cached(&format!(
                    "INSERT OR REPLACE INTO sightings ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
                ))
                .map_err(of)?;
            for (id, sighting) in seen {
                let Sighting {
                    met,
                    probed_at,
                    seen_at,
                    latency,
                    silent_since,
                    failures,
                    counted_at,
                    failure,
                    returned_at,
                } = sighting;
                let moment = |moment: &Option<Timestamp>| moment.map(Timestamp::as_micros);
                let latency = latency.map(|latency| i64::try_from(latency.as_micros()).unwrap_or(i64::MAX));
                write
                    .execute((
                        id.as_str(),
                        met.as_str(),
                        moment(probed_at),
                        moment(seen_at),
                        latency,
                        moment(silent_since),
                        signed((*failures).into()),
                        moment(counted_at),
                        failure,
                        moment(returned_at),
                    ))
                    .map_err(of)?;
            }
            Ok(())
        })
    }

    /// What was measured of the links to other regions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn links(&self) -> Result<BTreeMap<RegionId, Link>, StoreError> {
        self.read(|transaction, of| {
            let pair = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let found = rows(transaction, of, "SELECT region_id, transfers FROM links", pair)?;
            let understood = found.into_iter().map(|(id, transfers)| {
                let what = format!("the link to {id}");
                Ok((parse(&what, &id)?, json(&what, &transfers)?))
            });
            understood.collect()
        })
    }

    /// Writes what was measured of one link.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_link(&self, id: &RegionId, link: &Link) -> Result<(), StoreError> {
        let transfers = serde_json::to_string(link).expect("plain data converts to JSON");
        self.write(|transaction, of| {
            let sql = "INSERT OR REPLACE INTO links (region_id, transfers) VALUES (?1, ?2)";
            transaction.execute(sql, (id.as_str(), transfers)).map(|_| ()).map_err(of)
        })
    }
}
