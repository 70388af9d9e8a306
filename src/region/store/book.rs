//! What failover needs of the records, as the value that its rules are computed on.
//!
//! Guarantee: what an order makes of the [`Book`] is one durable transaction, the serial raised with it. A crash leaves
//! the book as it was or as it became. A role is only written where the resource has a record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{OptionalExtension, Transaction};

use super::error::StoreError;
use super::open::Store;
use super::placed;
use super::read::{self, Of, json, parse, rows, signed};
use crate::failover::{Book, Control, Refusal};
use crate::live::port::PeerRecords;
use crate::model::failover::{Attempt, Ended, Open, Part};
use crate::model::region::{Identity, Pause, RegionRecord, ResourceRecord};
use crate::model::{OperationId, RegionId, ResourceKey};

impl Store {
    /// The book as it stands, without the operations that ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn book(&self, identity: &Identity) -> Result<Arc<Book>, StoreError> {
        self.book_by(|transaction, of| load(transaction, of, identity, None))
    }

    /// Lets `act` change the book, and makes what it changed durable before it returns; where `act` refuses, nothing is
    /// written. Of the operations that ended the book has only `about`.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    pub fn change_book<T, E>(
        &self,
        identity: &Identity,
        about: Option<OperationId>,
        act: impl FnOnce(&mut Book) -> Result<T, E>,
    ) -> Result<Result<T, E>, StoreError> {
        self.write(|transaction, of| {
            let before = load(transaction, of, identity, about)?;
            let mut after = before.clone();
            let done = match act(&mut after) {
                Ok(done) => done,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if after != before {
                keep(transaction, of, &before, &after)?;
                transaction.execute("UPDATE region SET serial = serial + 1", []).map_err(of)?;
            }
            Ok(Ok(done))
        })
    }
}

impl Store {
    /// Does as it is asked about authority and the registry: the book, and of what others have recorded that which this
    /// region is to know, in one transaction. `running`: what runs here, or may.
    ///
    /// # Errors
    /// [`StoreError`], also where a region or a resource is to be known of which there is no record; nothing was
    /// written then.
    pub fn obey(
        &self,
        identity: &Identity,
        control: &Control,
        peers: &PeerRecords,
        running: &BTreeSet<ResourceKey>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        self.write(|transaction, of| {
            let before = load(transaction, of, identity, None)?;
            let mut after = before.clone();
            if let Err(refusal) = after.obey(running, control) {
                return Ok(Err(refusal));
            }
            let known = read::registry(transaction, of)?;
            let told = |(id, record): &(&RegionId, &RegionRecord)| {
                after.registry.contains(*id) && known.get(*id) != Some(*record)
            };
            let told: Vec<_> = peers.regions.iter().filter(told).collect();
            if after == before && told.is_empty() {
                return Ok(Ok(()));
            }
            let unknown = |id: &&RegionId| {
                **id != identity.region_id && !known.contains_key(*id) && !peers.regions.contains_key(*id)
            };
            if let Some(id) = after.registry.iter().find(unknown) {
                return Err(StoreError::refused(format!("there is no record of region {id} to be kept"), "plan again"));
            }
            told.iter().try_for_each(|(id, record)| put_region(transaction, of, id, record))?;
            for id in before.registry.difference(&after.registry) {
                transaction.execute("DELETE FROM registry WHERE region_id = ?1", [id.as_str()]).map_err(of)?;
            }
            for (key, part) in after.parts.iter().filter(|(key, _)| !before.parts.contains_key(*key)) {
                if let Some(record) = peers.resources.get(key) {
                    put_resource(transaction, of, key, record, part)?;
                }
            }
            keep(transaction, of, &before, &after)?;
            transaction.execute("UPDATE region SET serial = serial + 1", []).map_err(of)?;
            Ok(Ok(()))
        })
    }
}

impl Store {
    /// Keeps that nothing fails over without a person; none: that it may.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_pause(&self, pause: Option<&Pause>) -> Result<(), StoreError> {
        self.write(|transaction, of| {
            transaction.execute("UPDATE region SET paused = ?1", [pause.map(text)]).map(|_| ()).map_err(of)
        })
    }

    /// The machines that this program started and did not stop since, each with the boot of the host that it was in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn started(&self) -> Result<BTreeMap<ResourceKey, String>, StoreError> {
        self.read(|transaction, of| {
            let sql = "SELECT type || '.' || id, started FROM resources WHERE started IS NOT NULL";
            let pair = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let found = rows(transaction, of, sql, pair)?;
            found.into_iter().map(|(key, boot)| Ok((parse(&key, &key)?, boot))).collect()
        })
    }

    /// Takes promotions back of what was not put in place for their operation, and gives what it took back: see
    /// [`Book::take_back`]. What was put in place is read in the same transaction.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    pub fn take_back(
        &self,
        identity: &Identity,
        (operation, attempt): (OperationId, Attempt),
        keys: &BTreeSet<ResourceKey>,
    ) -> Result<BTreeSet<ResourceKey>, StoreError> {
        self.write(|transaction, of| {
            let before = load(transaction, of, identity, Some(operation))?;
            let mut may_run = BTreeSet::new();
            for key in keys {
                if placed::last(transaction, of, key)?.is_some_and(|placed| placed.operation == operation) {
                    may_run.insert(key.clone());
                }
            }
            let mut after = before.clone();
            let taken = after.take_back(operation, attempt, keys, &may_run);
            if after != before {
                keep(transaction, of, &before, &after)?;
                transaction.execute("UPDATE region SET serial = serial + 1", []).map_err(of)?;
            }
            Ok(taken)
        })
    }

    /// Remembers in which boot of the host machines were started; none: they were stopped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remember_started(&self, keys: &BTreeSet<ResourceKey>, boot: Option<&str>) -> Result<(), StoreError> {
        self.write(|transaction, of| {
            let sql = "UPDATE resources SET started = ?1 WHERE id = ?2 AND type = ?3";
            let write = |key: &ResourceKey| transaction.execute(sql, (boot, key.id.as_str(), key.kind.as_str()));
            keys.iter().try_for_each(|key| write(key).map(|_| ())).map_err(of)
        })
    }
}

fn load(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    identity: &Identity,
    about: Option<OperationId>,
) -> Result<Book, StoreError> {
    let head = read::head(transaction, of)?;
    let mut registry = BTreeSet::from([identity.region_id.clone()]);
    for id in rows(transaction, of, "SELECT region_id FROM registry", |row| row.get::<_, String>(0))? {
        registry.insert(parse("the registry", &id)?);
    }
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let mut open = BTreeMap::new();
    for (id, record) in rows(transaction, of, "SELECT operation, open FROM failovers WHERE open IS NOT NULL", pair)? {
        let what = format!("operation {id}");
        open.insert(parse(&what, &id)?, json::<Open>(&what, &record)?);
    }
    let mut ended = BTreeMap::new();
    if let Some(id) = about {
        let record: Option<String> = transaction
            .query_row(
                "SELECT ended FROM failovers WHERE operation = ?1 AND ended IS NOT NULL",
                [id.to_string()],
                |row| row.get(0),
            )
            .optional()
            .map_err(of)?;
        if let Some(record) = record {
            ended.insert(id, json::<Ended>(&format!("operation {id}"), &record)?);
        }
    }
    Ok(Book {
        region: identity.region_id.clone(),
        store: identity.store,
        serial: head.serial,
        inert: head.inert,
        controller: head.controller,
        registry,
        gone: read::gone(transaction, of)?,
        cut_off: read::cut_off(transaction, of)?,
        unproven: read::unproven(transaction, of)?,
        highest_epoch: head.highest_epoch,
        parts: read::parts(transaction, of, head.highest_epoch)?,
        open,
        ended,
    })
}

fn keep(transaction: &Transaction<'_>, of: Of<'_>, before: &Book, after: &Book) -> Result<(), StoreError> {
    // The registry is kept with the records of its regions: see `obey`.
    let Book {
        region: _,
        store: _,
        serial,
        inert,
        controller,
        registry: _,
        gone,
        cut_off,
        unproven,
        highest_epoch,
        parts,
        open,
        ended,
    } = after;
    let (controller, inert) = (controller.as_ref().map(text), inert.as_ref().map(text));
    transaction
        .execute(
            "UPDATE region SET controller = ?1, highest_epoch = ?2, serial = ?3, inert = ?4",
            (controller, signed(highest_epoch.0), signed(*serial), inert),
        )
        .map_err(of)?;
    for (id, words) in gone.iter().filter(|(id, words)| before.gone.get(*id) != Some(*words)) {
        let sql = "INSERT OR REPLACE INTO gone (region_id, words) VALUES (?1, ?2)";
        transaction.execute(sql, (id.as_str(), words)).map_err(of)?;
    }
    for id in before.gone.keys().filter(|id| !gone.contains_key(*id)) {
        transaction.execute("DELETE FROM gone WHERE region_id = ?1", [id.as_str()]).map_err(of)?;
    }
    for (id, record) in cut_off.iter().filter(|(id, record)| before.cut_off.get(*id) != Some(*record)) {
        let sql = "INSERT OR REPLACE INTO cut_off (region_id, record) VALUES (?1, ?2)";
        transaction.execute(sql, (id.as_str(), text(record))).map_err(of)?;
    }
    for id in before.cut_off.keys().filter(|id| !cut_off.contains_key(*id)) {
        transaction.execute("DELETE FROM cut_off WHERE region_id = ?1", [id.as_str()]).map_err(of)?;
    }
    for (id, epoch) in unproven.iter().filter(|(id, epoch)| before.unproven.get(*id) != Some(*epoch)) {
        let sql = "INSERT OR REPLACE INTO unproven (region_id, epoch) VALUES (?1, ?2)";
        transaction.execute(sql, (id.as_str(), signed(epoch.0))).map_err(of)?;
    }
    for (key, part) in parts.iter().filter(|(key, part)| before.parts.get(*key) != Some(*part)) {
        let Part { role, holder, epoch, attempt } = part;
        let written = transaction
            .execute(
                "UPDATE resources SET role = ?1, holder = ?2, epoch = ?3, attempt = ?4 WHERE id = ?5 AND type = ?6",
                (
                    role.as_str(),
                    holder.as_str(),
                    signed(epoch.0),
                    signed((*attempt).into()),
                    key.id.as_str(),
                    key.kind.as_str(),
                ),
            )
            .map_err(of)?;
        if written == 0 {
            return Err(StoreError::refused(
                format!("this region has no record of {key} and takes no part in it"),
                "apply the topology first: a region keeps copies of what it is declared to",
            ));
        }
    }
    keep_operations(transaction, of, (&before.open, open), (&before.ended, ended))
}

type Opened = BTreeMap<OperationId, Open>;
type Closed = BTreeMap<OperationId, Ended>;

/// Also where an operation is open on a resource: that is what keeps others' hands off its record.
fn keep_operations(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    (open_before, open): (&Opened, &Opened),
    (ended_before, ended): (&Closed, &Closed),
) -> Result<(), StoreError> {
    let put = |column: &str, id: &OperationId, record: Option<String>| {
        let sql = format!(
            "INSERT INTO failovers (operation, {column}) VALUES (?1, ?2)
             ON CONFLICT (operation) DO UPDATE SET {column} = excluded.{column}"
        );
        transaction.execute(&sql, (id.to_string(), record)).map(|_| ()).map_err(of)
    };
    let mark = |key: &ResourceKey, operation: Option<&OperationId>| {
        transaction
            .execute(
                "UPDATE resources SET operation = ?1 WHERE id = ?2 AND type = ?3",
                (operation.map(OperationId::to_string), key.id.as_str(), key.kind.as_str()),
            )
            .map(|_| ())
            .map_err(of)
    };
    let keys = |open: &Opened, id: &OperationId| open.get(id).map(|open| open.resources.clone()).unwrap_or_default();
    for id in open_before.keys().filter(|id| !open.contains_key(*id)) {
        put("open", id, None)?;
    }
    for (id, record) in open.iter().filter(|(id, record)| open_before.get(*id) != Some(*record)) {
        put("open", id, Some(text(record)))?;
    }
    for (id, record) in ended.iter().filter(|(id, record)| ended_before.get(*id) != Some(*record)) {
        put("ended", id, Some(text(record)))?;
    }
    let touched: BTreeSet<&OperationId> = open_before.keys().chain(open.keys()).collect();
    for id in &touched {
        let (was, is) = (keys(open_before, id), keys(open, id));
        was.difference(&is).try_for_each(|key| mark(key, None))?;
    }
    for id in touched {
        let (was, is) = (keys(open_before, id), keys(open, id));
        is.difference(&was).try_for_each(|key| mark(key, Some(id)))?;
    }
    Ok(())
}

fn put_region(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    id: &RegionId,
    record: &RegionRecord,
) -> Result<(), StoreError> {
    let RegionRecord { spec, store, managed_by } = record;
    let sql = "INSERT OR REPLACE INTO registry (region_id, spec, store, managed_by) VALUES (?1, ?2, ?3, ?4)";
    let (store, lineage) = (store.map(|store| store.to_string()), managed_by.map(|lineage| lineage.to_string()));
    transaction.execute(sql, (id.as_str(), text(spec), store, lineage)).map(|_| ()).map_err(of)
}

/// A resource of which this region had no record; its part in it is what it is told.
fn put_resource(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    key: &ResourceKey,
    record: &ResourceRecord,
    part: &Part,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO resources (id, type, spec, managed_by, role, holder, epoch, attempt)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let managed_by = record.managed_by.map(|lineage| lineage.to_string());
    let (epoch, attempt) = (signed(part.epoch.0), signed(part.attempt.into()));
    let named = (key.id.as_str(), key.kind.as_str(), text(&record.spec), managed_by);
    let (id, kind, spec, managed_by) = named;
    let row = (id, kind, spec, managed_by, part.role.as_str(), part.holder.as_str(), epoch, attempt);
    transaction.execute(sql, row).map(|_| ()).map_err(of)
}

fn text<T: serde::Serialize>(record: &T) -> String {
    serde_json::to_string(record).expect("plain data with text keys converts to JSON")
}
