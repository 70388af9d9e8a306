//! Reading a state file. Every answer is of one moment, whatever another process writes meanwhile, and is done
//! quickly: a reader holds a writer's commit up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::column;
use super::error::StateError;
use super::record::{AppliedTopology, HealthObservation, KnownStore, ManagedObject};
use crate::host::sqlite;
use crate::model::recorded::{Applied, Recorded};
use crate::model::topology::Spec;
use crate::model::{Address, Digest, Lineage, RegionId, Timestamp};

/// A state file, open for reading.
#[derive(Debug)]
pub struct StateReader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Whether a run that has no end may be under way.
    pub(super) busy: bool,
}

impl StateReader {
    pub(super) const fn new(connection: Connection, path: PathBuf, busy: bool) -> Self {
        Self { connection, path, busy }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn of(&self, error: rusqlite::Error) -> StateError {
        StateError::of(&self.path, error)
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StateError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.of(error))?;
        let rows = statement.query_map(params, read).map_err(|error| self.of(error))?;
        rows.collect::<rusqlite::Result<Vec<T>>>().map_err(|error| self.of(error))
    }

    /// Whether the file says who it is: one whose founding was cut off does not.
    pub(super) fn has_lineage(&self) -> Result<bool, StateError> {
        let found = self.connection.query_row("SELECT 1 FROM meta", [], |_| Ok(())).optional();
        found.map(|row| row.is_some()).map_err(|error| self.of(error))
    }

    /// The line of descent.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn lineage(&self) -> Result<Lineage, StateError> {
        let found = self.connection.query_row("SELECT lineage FROM meta", [], |row| column::parsed(row, 0));
        found.map_err(|error| self.of(error))
    }

    /// The serial.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn serial(&self) -> Result<u64, StateError> {
        self.connection
            .query_row("SELECT serial FROM meta", [], |row| column::number(row, 0))
            .map_err(|error| self.of(error))
    }

    /// When this file was founded.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn created_at(&self) -> Result<Timestamp, StateError> {
        let found = self.connection.query_row("SELECT created_at FROM meta", [], |row| column::time(row, 0));
        found.map_err(|error| self.of(error))
    }

    /// What planning needs of it. A file that only holds refused runs has nothing to remember: it counts as new.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn recorded(&self) -> Result<Recorded, StateError> {
        let moment = self.connection.unchecked_transaction().map_err(|error| self.of(error))?;
        let lineage = self.lineage()?;
        let serial = self.serial()?;
        let objects: BTreeMap<Address, Applied> =
            self.rows("SELECT address, spec, regions FROM objects", [], read_object)?.into_iter().collect();
        let stores: BTreeMap<_, _> = self.stores()?.into_iter().map(|known| (known.region_id, known.store)).collect();
        let serials = self.rows("SELECT region, serial FROM stores", [], |row| {
            Ok((column::parsed(row, 0)?, column::number(row, 1)?))
        })?;
        let topology = self.last_topology()?;
        let left_out = self.left_out()?;
        moment.finish().map_err(|error| self.of(error))?;
        let existed = serial > 0 || !stores.is_empty() || topology.is_some();
        let serials = serials.into_iter().collect();
        Ok(Recorded { lineage, serial, existed, objects, stores, serials, topology, left_out })
    }

    /// The managed objects, by address.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn managed(&self) -> Result<Vec<ManagedObject>, StateError> {
        let mut managed = self.rows("SELECT address, regions, applied_at, run, spec FROM objects", [], |row| {
            Ok(ManagedObject {
                address: column::parsed(row, 0)?,
                regions: column::regions(row, 1)?,
                applied_at: column::time(row, 2)?,
                run: column::optional(row, 3)?,
                attributes: column::json(row, 4)?,
            })
        })?;
        // By what it is, as everywhere else, and not by the text.
        managed.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(managed)
    }

    /// The stores that were met, by region.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn stores(&self) -> Result<Vec<KnownStore>, StateError> {
        self.rows("SELECT region, store, origin, met_at FROM stores ORDER BY region", [], |row| {
            Ok(KnownStore {
                region_id: column::parsed(row, 0)?,
                store: column::parsed(row, 1)?,
                origin: row.get(2)?,
                met_at: column::time(row, 3)?,
            })
        })
    }

    /// The topologies that were applied, the last one first.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn topologies(&self) -> Result<Vec<AppliedTopology>, StateError> {
        self.rows("SELECT digest, applied_at, run FROM topologies ORDER BY position DESC", [], |row| {
            Ok(AppliedTopology {
                digest: column::parsed(row, 0)?,
                applied_at: column::time(row, 1)?,
                run: column::optional(row, 2)?,
            })
        })
    }

    /// The topology that was applied last.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn last_topology(&self) -> Result<Option<Digest>, StateError> {
        let found = self
            .connection
            .query_row("SELECT digest FROM topologies ORDER BY position DESC LIMIT 1", [], |row| column::parsed(row, 0))
            .optional();
        found.map_err(|error| self.of(error))
    }

    /// Whether this topology was applied, and another one after it: whoever comes with it holds an old checkout.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn is_superseded(&self, topology: &Digest) -> Result<bool, StateError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM topologies WHERE digest = ?1 \
                   AND position < (SELECT max(position) FROM topologies))";
        self.connection.query_row(sql, [topology.to_string()], |row| row.get(0)).map_err(|error| self.of(error))
    }

    /// What was observed of health, the newest first: of one region or all, at most so many.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn health(&self, region: Option<&RegionId>, limit: usize) -> Result<Vec<HealthObservation>, StateError> {
        let sql = "SELECT region, at, status, latency, detail FROM health WHERE region = coalesce(?1, region) \
                   ORDER BY at DESC, position DESC LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.rows(sql, (region.map(RegionId::as_str), limit), |row| {
            Ok(HealthObservation {
                region_id: column::parsed(row, 0)?,
                at: column::time(row, 1)?,
                status: column::word(row, 2)?,
                latency: column::optional_duration(row, 3)?,
                detail: row.get(4)?,
            })
        })
    }

    /// When each region answered last, as far as what was observed of it is kept.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn last_answers(&self) -> Result<BTreeMap<RegionId, Timestamp>, StateError> {
        let sql = "SELECT region, max(at) FROM health WHERE latency IS NOT NULL GROUP BY region";
        let answers = self.rows(sql, [], |row| Ok((column::parsed(row, 0)?, column::time(row, 1)?)))?;
        Ok(answers.into_iter().collect())
    }

    /// Copies the whole state, as of one moment, into the new file `to`. The copy has the lineage, and no controller's
    /// place: that stays with this file.
    ///
    /// # Errors
    /// [`sqlite::DatabaseError::Exists`] where `to` is there: it is not touched. Those of either file.
    pub fn backup(&self, to: &Path) -> Result<(), StateError> {
        Ok(sqlite::copy_into(&self.connection, to)?)
    }
}

/// An object with its address, from the columns `address, spec, regions`.
pub(super) fn read_object(row: &Row<'_>) -> rusqlite::Result<(Address, Applied)> {
    let address: Address = column::parsed(row, 0)?;
    let spec = Spec::from_json(&address, column::json(row, 1)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok((address, Applied { spec, regions: column::regions(row, 2)? }))
}
