//! Changing what is remembered of objects, stores and topologies. The serial grows by one with each transaction that
//! changes a managed object, and with no other.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::column;
use super::error::StateError;
use super::journal::State;
use super::reader::read_object;
use crate::model::recorded::Applied;
use crate::model::{Address, Digest, RegionId, RunId, StoreId, Timestamp};

/// What is remembered of an object from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remember {
    /// What was remembered before.
    AsBefore,
    /// This.
    Applied(Applied),
    /// Nothing: it is managed no more.
    Nothing,
}

/// What is written with the next change.
pub(super) type Note = Box<dyn Fn(&Transaction<'_>) -> rusqlite::Result<()> + Send>;

impl State {
    /// Writes, together with all that was noted before: durable when it returns.
    pub(super) fn change<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let path = self.reader.path.clone();
        let of = |error| StateError::of(&path, error);
        let connection = &mut self.reader.connection;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(of)?;
        self.notes.iter().try_for_each(|note| note(&transaction)).map_err(of)?;
        let written = write(&transaction).map_err(of)?;
        transaction.commit().map_err(of)?;
        self.notes.clear();
        Ok(written)
    }

    /// The same for a run, by its place in the file.
    pub(super) fn change_in<T>(
        &mut self,
        run: RunId,
        write: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let written = self.change(|transaction| match position(transaction, run)? {
            Some(position) => write(transaction, position).map(Some),
            None => Ok(None),
        });
        written?.ok_or(StateError::UnknownRun(run))
    }

    /// Writes what nothing depends on yet: at once, or with the next change where notes are gathered.
    pub(super) fn note(
        &mut self,
        write: impl Fn(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), StateError> {
        if !self.gathers {
            return self.change(write);
        }
        self.notes.push(Box::new(write));
        Ok(())
    }

    /// From now on, that a run began, what it saw and what its last actions came to are written together with the
    /// next intent or with the run's end, whatever comes first: a sync of the disk is what costs. What is not written
    /// yet when the process is killed had no effect anywhere, or is found by the next plan.
    pub const fn gather_notes(&mut self) {
        self.gathers = true;
    }

    /// Writes what was noted, before somebody is waited for.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn write_notes(&mut self) -> Result<(), StateError> {
        if self.notes.is_empty() { Ok(()) } else { self.change(|_| Ok(())) }
    }

    /// Remembers objects: all of them or, where that fails or is cut off, none.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn record_objects(&mut self, run: Option<RunId>, objects: &[(Address, Remember)]) -> Result<(), StateError> {
        let now = self.now();
        self.change(|transaction| {
            let mut changed = false;
            for (address, remember) in objects {
                changed |= remember_object(transaction, run, now, address, remember)?;
            }
            if changed { grow_serial(transaction) } else { Ok(()) }
        })
    }

    /// Remembers objects under their new addresses, all at once, so that two may change places. One that is not
    /// managed under its former address is left out: the rename was recorded before. The history of an object is found
    /// under its new address from now on.
    ///
    /// # Errors
    /// [`StateError::UnknownRun`]; [`StateError::Taken`] where an address belongs to an object that is not itself renamed; nothing is changed
    /// then. [`StateError::Database`]
    pub fn rename_objects(&mut self, run: RunId, moves: &[(Address, Address)]) -> Result<(), StateError> {
        let recorded = self.reader.recorded()?;
        let moves: Vec<(&Address, &Address)> = moves
            .iter()
            .filter(|(from, to)| from != to && recorded.objects.contains_key(from))
            .map(|(from, to)| (from, to))
            .collect();
        if moves.is_empty() {
            return Ok(());
        }
        let leaving: BTreeSet<&Address> = moves.iter().map(|(from, _)| *from).collect();
        let mut arriving = BTreeSet::new();
        for (from, to) in &moves {
            if !arriving.insert(*to) || (recorded.objects.contains_key(to) && !leaving.contains(to)) {
                return Err(StateError::Taken { from: (*from).clone(), to: (*to).clone() });
            }
        }
        self.change_in(run, |transaction, run| {
            // Out of each other's way first: no address begins with a space.
            for (from, to) in &moves {
                let sql = "UPDATE objects SET address = ' ' || ?2 WHERE address = ?1";
                transaction.execute(sql, (from.to_string(), to.to_string()))?;
                let sql = "INSERT OR REPLACE INTO renames (run, former, present) VALUES (?1, ?2, ?3)";
                transaction.execute(sql, (run, from.to_string(), to.to_string()))?;
            }
            transaction.execute("UPDATE objects SET address = substr(address, 2) WHERE address LIKE ' %'", [])?;
            grow_serial(transaction)
        })
    }

    /// Remembers the stores of regions that were met, and where: their address on the network, where they have one.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn record_stores(&mut self, stores: &[(RegionId, StoreId, Option<String>)]) -> Result<(), StateError> {
        let now = self.now().as_micros();
        let known = self.reader.stores()?;
        let new = |region: &RegionId, store: &StoreId, origin: &Option<String>| {
            !known.iter().any(|known| {
                known.region_id == *region && known.store == *store && (origin.is_none() || known.origin == *origin)
            })
        };
        let stores = stores.iter().filter(|(region, store, origin)| new(region, store, origin));
        let stores: Vec<_> = stores.cloned().collect();
        if stores.is_empty() {
            return Ok(());
        }
        self.note(move |transaction| {
            for (region, store, origin) in &stores {
                write_store(transaction, region, *store, origin.as_deref(), now)?;
            }
            Ok(())
        })
    }

    /// Remembers the highest serials that known stores were seen with.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn record_serials(&mut self, seen: &[(RegionId, StoreId, u64)]) -> Result<(), StateError> {
        let known = self.reader.recorded()?;
        let higher = |(region, store, serial): &&(RegionId, StoreId, u64)| {
            known.stores.get(region) == Some(store) && known.serials.get(region).is_none_or(|known| known < serial)
        };
        let higher: Vec<_> = seen.iter().filter(higher).cloned().collect();
        if higher.is_empty() {
            return Ok(());
        }
        self.note(move |transaction| {
            for (region, _, serial) in &higher {
                let sql = "UPDATE stores SET serial = ?2 WHERE region = ?1";
                transaction.execute(sql, (region.as_str(), column::count(*serial)))?;
            }
            Ok(())
        })
    }

    /// Remembers that a topology was applied: it is the last one now.
    ///
    /// # Errors
    /// [`StateError::Database`]
    pub fn record_topology(&mut self, topology: &Digest, run: RunId) -> Result<(), StateError> {
        let now = self.now().as_micros();
        let digest = topology.to_string();
        self.note(move |transaction| {
            transaction.execute("DELETE FROM topologies WHERE digest = ?1", [&digest])?;
            let sql = "INSERT INTO topologies (digest, run, applied_at) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, (&digest, run.to_string(), now)).map(|_| ())
        })
    }
}

/// Where a run stands in the file.
pub(super) fn position(connection: &Connection, run: RunId) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT position FROM runs WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([run.to_string()], |row| row.get(0)).optional()
}

pub(super) fn write_store(
    connection: &Connection,
    region: &RegionId,
    store: StoreId,
    origin: Option<&str>,
    now: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO stores (region, store, origin, met_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (region) DO UPDATE \
               SET serial = CASE store WHEN excluded.store THEN serial ELSE 0 END, store = excluded.store, \
               origin = coalesce(excluded.origin, origin), met_at = excluded.met_at";
    connection.execute(sql, (region.as_str(), store.to_string(), origin, now)).map(|_| ())
}

pub(super) fn grow_serial(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE meta SET serial = serial + 1", []).map(|_| ())
}

/// Writes what is remembered of one object; says whether that is another thing than before.
pub(super) fn remember_object(
    connection: &Connection,
    run: Option<RunId>,
    now: Timestamp,
    address: &Address,
    remember: &Remember,
) -> rusqlite::Result<bool> {
    let name = address.to_string();
    match remember {
        Remember::AsBefore => Ok(false),
        Remember::Nothing => {
            connection.execute("DELETE FROM objects WHERE address = ?1", [&name]).map(|count| count > 0)
        }
        Remember::Applied(applied) => {
            let sql = "SELECT address, spec, regions FROM objects WHERE address = ?1";
            let before = connection.prepare_cached(sql)?.query_row([&name], read_object).optional()?;
            if before.is_some_and(|(_, before)| before == *applied) {
                return Ok(false);
            }
            let Applied { spec, regions } = applied;
            let sql = "INSERT INTO objects (address, spec, regions, applied_at, run) VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT (address) DO UPDATE SET spec = excluded.spec, regions = excluded.regions, \
                       applied_at = excluded.applied_at, run = excluded.run";
            let run = run.as_ref().map(ToString::to_string);
            let spec = spec.to_json().to_string();
            connection
                .prepare_cached(sql)?
                .execute((&name, spec, column::to_json(regions), now.as_micros(), run))
                .map(|_| true)
        }
    }
}
