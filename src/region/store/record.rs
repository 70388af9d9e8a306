//! Writing records: conditional, all or none, once per request.
//!
//! What must hold, before what is done:
//! - Roles and the registry are changed by the recorded controller alone: lineage, term and seat. A region that has
//!   none takes the first that writes either. Another one takes control with a higher term only.
//! - What is written by hand, at the request of a person, belongs to nobody. It binds nobody either: a region without a
//!   controller takes it and stays without one, for the first state that applies; one that has a controller takes by
//!   hand what touches neither roles nor the registry.
//! - A record is written only if it is as the change expects, by its fingerprint. Role, holder and epoch of a living
//!   resource are never written here.
//! - Resource ids are unique across types. A region that holds something, and a resource with an open operation, are
//!   not removed. Removing a record deletes no data.
//! - Which regions there are does not change while an operation is open here: it was put to those that there were. A
//!   region that is itself removed takes part in nothing before it is readmitted.
//! - A request that was carried out is not carried out again.
//!
//! Guarantee: one durable transaction. A crash leaves all changes of a request or none.

use rusqlite::{OptionalExtension, Transaction};
use serde_json::json;

use super::error::StoreError;
use super::open::Store;
use super::read::{self, KeptResource, Of, signed};
use super::rename::rekey;
use crate::model::failover::Inert;
use crate::model::region::{Authority, Controller, Epoch, Identity, Record, RecordChange, RecordWrite, Role};
use crate::model::topology::{ResourceSpec, Spec};
use crate::model::{Address, Digest, OperationId, PairId, RegionId, ResourceId, ResourceKey, Timestamp};

/// What recording knows of the region beside the request.
pub struct Ground<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Now.
    pub at: Timestamp,
    /// Whether a resource's directory of that name is there.
    pub lies: &'a dyn Fn(&ResourceKey) -> bool,
}

impl Store {
    /// Carries out a request, or finds that it was. See the module for the rules.
    ///
    /// # Errors
    /// [`StoreError`] for the first change that breaks a rule; nothing was written then.
    pub fn record(
        &self,
        ground: &Ground<'_>,
        authority: &Authority,
        changes: &[RecordChange],
    ) -> Result<(), StoreError> {
        let request = digest(Some(authority), changes);
        self.carry_out(ground, authority.operation, &request, changes, |writer| writer.authorize(authority, changes))
    }

    /// Whether [`record`](Self::record) would carry out the request now. Nothing is written.
    ///
    /// # Errors
    /// Those of [`record`](Self::record).
    pub fn expect_recordable(
        &self,
        ground: &Ground<'_>,
        authority: &Authority,
        changes: &[RecordChange],
    ) -> Result<(), StoreError> {
        let request = digest(Some(authority), changes);
        self.try_out(|transaction, of| {
            if is_repeat(transaction, of, authority.operation, &request)? {
                return Ok(());
            }
            Writer { transaction, of, ground }.write(changes, |writer| writer.authorize(authority, changes))
        })
    }

    /// Carries out what a person asked this region for, or finds that it was. See the module for the rules.
    ///
    /// # Errors
    /// As above.
    pub fn record_by_hand(
        &self,
        ground: &Ground<'_>,
        operation: OperationId,
        changes: &[RecordChange],
    ) -> Result<(), StoreError> {
        let request = digest(None, changes);
        self.carry_out(ground, operation, &request, changes, |writer| writer.authorize_by_hand(changes))
    }

    fn carry_out(
        &self,
        ground: &Ground<'_>,
        operation: OperationId,
        request: &Digest,
        changes: &[RecordChange],
        authorize: impl FnOnce(&Writer<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(|transaction, of| {
            if is_repeat(transaction, of, operation, request)? {
                return Ok(());
            }
            Writer { transaction, of, ground }.write(changes, authorize)?;
            let operation = operation.to_string();
            transaction
                .execute(
                    "INSERT INTO operations (operation, request, done_at) VALUES (?1, ?2, ?3)",
                    (operation, request.0.as_slice(), ground.at.as_micros()),
                )
                .map_err(of)?;
            transaction.execute("UPDATE region SET serial = serial + 1", []).map(|_| ()).map_err(of)
        })
    }
}

impl Store {
    /// Refuses to let anybody but whoever manages a resource here replace its files. One that nobody manages is
    /// anybody's; a newer term of the same state file need not have taken control yet.
    ///
    /// # Errors
    /// [`StoreError::NotController`]; [`StoreError::Conflict`] where the resource is managed by another state file than
    /// the region's controller.
    pub fn expect_managed_by(&self, authority: &Authority, resource: &ResourceKey) -> Result<(), StoreError> {
        self.read(|transaction, of| {
            let kept = read::resource(transaction, of, resource)?;
            let Some(lineage) = kept.as_ref().and_then(|kept| kept.record.managed_by) else { return Ok(()) };
            if let Some(controller) = read::head(transaction, of)?.controller {
                let newer = controller.lineage == authority.lineage && controller.term < authority.term;
                if !newer && !controller.gave(authority) {
                    return Err(StoreError::NotController(Box::new(controller)));
                }
            }
            if lineage == authority.lineage {
                return Ok(());
            }
            let current = kept.map(|kept| Record::Resource(kept.record).fingerprint());
            let address = Address::Resource(resource.clone()).to_string();
            Err(StoreError::Conflict { address, detail: format!("it is managed by {lineage}"), current })
        })
    }
}

/// What makes two requests the same: all that is asked for, and by whom.
fn digest(authority: Option<&Authority>, changes: &[RecordChange]) -> Digest {
    let changes: Vec<serde_json::Value> = changes
        .iter()
        .map(|RecordChange { address, expected, record }| {
            let record = record.as_ref().map(|RecordWrite { spec, managed_by, store, holder, former_id }| {
                json!({ "spec": spec.to_json(), "managed_by": managed_by, "store": store, "holder": holder,
                        "former_id": former_id })
            });
            json!({ "address": address, "expected": expected, "record": record })
        })
        .collect();
    match authority {
        Some(authority) => Digest::of_json(&(authority.lineage, authority.term, authority.seat, changes)),
        None => Digest::of_json(&("by hand", changes)),
    }
}

fn is_repeat(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    operation: OperationId,
    request: &Digest,
) -> Result<bool, StoreError> {
    transaction
        .query_row(
            "SELECT 1 FROM operations WHERE operation = ?1 AND request = ?2",
            (operation.to_string(), request.0.as_slice()),
            |_| Ok(()),
        )
        .optional()
        .map(|found| found.is_some())
        .map_err(of)
}

struct Writer<'a> {
    transaction: &'a Transaction<'a>,
    of: Of<'a>,
    ground: &'a Ground<'a>,
}

fn bind(transaction: &Transaction<'_>, of: Of<'_>, authority: &Authority) -> Result<(), StoreError> {
    let Authority { lineage, term, seat, place, operation: _ } = authority;
    let controller = Controller { lineage: *lineage, term: *term, seat: *seat, place: place.clone() };
    let text = serde_json::to_string(&controller).expect("plain data converts to JSON");
    transaction.execute("UPDATE region SET controller = ?1", (text,)).map(|_| ()).map_err(of)
}

impl Writer<'_> {
    fn write(
        &self,
        changes: &[RecordChange],
        authorize: impl FnOnce(&Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        authorize(self)?;
        // Later changes of a request see what the earlier ones wrote.
        changes.iter().try_for_each(|change| self.change(change))
    }

    /// Where roles or the registry change: binds a region that has no controller, refuses who is not the recorded one.
    fn authorize(&self, authority: &Authority, changes: &[RecordChange]) -> Result<(), StoreError> {
        let mut touched = false;
        for change in changes {
            touched |= self.touches_roles_or_registry(change)?;
        }
        match read::head(self.transaction, self.of)?.controller {
            _ if !touched => Ok(()),
            None => bind(self.transaction, self.of, authority),
            Some(controller) if controller.gave(authority) => Ok(()),
            Some(controller) => Err(StoreError::NotController(Box::new(controller))),
        }
    }

    /// Where roles or the registry change: refuses where somebody controls them.
    fn authorize_by_hand(&self, changes: &[RecordChange]) -> Result<(), StoreError> {
        let Some(controller) = read::head(self.transaction, self.of)?.controller else { return Ok(()) };
        for change in changes {
            if self.touches_roles_or_registry(change)? {
                return Err(StoreError::NotController(Box::new(controller)));
            }
        }
        Ok(())
    }

    /// Whether a change needs the controller: the registry, a resource's birth, and the end of its record.
    fn touches_roles_or_registry(&self, change: &RecordChange) -> Result<bool, StoreError> {
        match &change.address {
            Address::Region(_) => Ok(true),
            Address::Replication(_) => Ok(false),
            Address::Resource(key) => Ok(change.record.is_none() || self.resource(key)?.is_none()),
        }
    }

    fn change(&self, change: &RecordChange) -> Result<(), StoreError> {
        let RecordChange { address, expected, record } = change;
        match (address, record) {
            (Address::Region(id), record) => {
                let found = read::region(self.transaction, self.of, id)?;
                let comes_or_goes = found.is_some() != record.is_some();
                self.expect(address, *expected, found.map(|found| Record::Region(Box::new(found))))?;
                if comes_or_goes {
                    self.expect_nothing_open(id)?;
                }
                match record {
                    Some(write) => self.put_region(id, write),
                    None => self.remove_region(id),
                }
            }
            (Address::Replication(pair), record) => {
                self.expect(address, *expected, read::pair(self.transaction, self.of, pair)?.map(Record::Replication))?;
                match record {
                    Some(write) => self.put_pair(pair, write),
                    None => self.run(
                        "DELETE FROM pairs WHERE source = ?1 AND target = ?2",
                        (pair.source.as_str(), pair.target.as_str()),
                    ),
                }
            }
            (Address::Resource(key), Some(write)) => self.put_resource(key, *expected, write),
            (Address::Resource(key), None) => {
                let found = self.resource(key)?;
                self.expect(address, *expected, found.as_ref().map(|kept| Record::Resource(kept.record.clone())))?;
                match found {
                    Some(kept) => self.remove_resource(key, &kept),
                    None => Ok(()),
                }
            }
        }
    }

    /// Fails where the record is not as the change expects.
    fn expect(&self, address: &Address, expected: Option<Digest>, found: Option<Record>) -> Result<(), StoreError> {
        let current = found.as_ref().map(Record::fingerprint);
        if current == expected {
            return Ok(());
        }
        let region = &self.ground.identity.region_id;
        let detail = match (expected, &found) {
            (None, Some(record)) => match record.managed_by() {
                Some(lineage) => format!("{region} records it already (managed by {lineage})"),
                None => format!("{region} records it already (managed by nobody)"),
            },
            (Some(_), None) => format!("{region} records it no longer"),
            (Some(_), Some(_)) | (None, None) => format!("its record at {region} was changed meanwhile"),
        };
        Err(StoreError::Conflict { address: address.to_string(), detail, current })
    }

    fn resource(&self, key: &ResourceKey) -> Result<Option<KeptResource>, StoreError> {
        read::resource(self.transaction, self.of, key)
    }

    fn put_region(&self, id: &RegionId, write: &RecordWrite) -> Result<(), StoreError> {
        let RecordWrite { spec, managed_by, store, holder: _, former_id: _ } = write;
        let Spec::Region(_) = spec else { return Err(wrong_kind(&Address::Region(id.clone()))) };
        let own = self.ground.identity;
        if *id == own.region_id && store.is_some_and(|store| store != own.store) {
            return Err(StoreError::refused(
                format!("region {id} has the store {}, not the one that is to be recorded", own.store),
                "plan again; if the region was restored from a copy, bring the right one back",
            ));
        }
        self.run(
            "INSERT INTO registry (region_id, spec, store, managed_by) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (region_id) DO UPDATE
             SET spec = excluded.spec, store = coalesce(excluded.store, store), managed_by = excluded.managed_by",
            (
                id.as_str(),
                spec.to_json().to_string(),
                store.map(|store| store.to_string()),
                managed_by.map(|lineage| lineage.to_string()),
            ),
        )
    }

    fn remove_region(&self, id: &RegionId) -> Result<(), StoreError> {
        let held: Option<String> = self
            .transaction
            .query_row("SELECT type || '.' || id FROM resources WHERE holder = ?1 LIMIT 1", [id.as_str()], |row| {
                row.get(0)
            })
            .optional()
            .map_err(self.of)?;
        if let Some(held) = held {
            return Err(StoreError::refused(
                format!("region {id} holds {held} and cannot be removed"),
                "move or remove what it holds first",
            ));
        }
        self.run("DELETE FROM registry WHERE region_id = ?1", (id.as_str(),))?;
        // Declared again, it may be another one: what was said of this one proves nothing of that.
        self.run("DELETE FROM cut_off WHERE region_id = ?1", (id.as_str(),))?;
        if *id != self.ground.identity.region_id {
            return Ok(());
        }
        let removed = serde_json::to_string(&Inert::Removed).expect("plain data converts to JSON");
        self.run("UPDATE region SET inert = coalesce(inert, ?1)", (removed,))
    }

    /// Refuses to change which regions there are while an operation is open here.
    fn expect_nothing_open(&self, id: &RegionId) -> Result<(), StoreError> {
        let open: Option<String> = self
            .transaction
            .query_row("SELECT operation FROM failovers WHERE open IS NOT NULL LIMIT 1", [], |row| row.get(0))
            .optional()
            .map_err(self.of)?;
        let Some(operation) = open else { return Ok(()) };
        Err(StoreError::refused(
            format!("operation {operation} is open here: region {id} neither comes nor goes before it has ended"),
            "bring it to its end first: `failover resume` or `failover abort`",
        ))
    }

    fn put_pair(&self, pair: &PairId, write: &RecordWrite) -> Result<(), StoreError> {
        let RecordWrite { spec, managed_by, store: _, holder: _, former_id: _ } = write;
        let Spec::Replication(_) = spec else { return Err(wrong_kind(&Address::Replication(pair.clone()))) };
        self.run(
            "INSERT INTO pairs (source, target, spec, managed_by) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (source, target) DO UPDATE SET spec = excluded.spec, managed_by = excluded.managed_by",
            (
                pair.source.as_str(),
                pair.target.as_str(),
                spec.to_json().to_string(),
                managed_by.map(|lineage| lineage.to_string()),
            ),
        )
    }

    fn put_resource(&self, key: &ResourceKey, expected: Option<Digest>, write: &RecordWrite) -> Result<(), StoreError> {
        let address = Address::Resource(key.clone());
        let RecordWrite { spec, managed_by, store: _, holder, former_id } = write;
        let Spec::Resource(spec) = spec else { return Err(wrong_kind(&address)) };
        self.expect_free(key)?;
        let found = match (self.resource(key)?, former_id) {
            (None, Some(former)) if *former != key.id => self.rename(key, former, expected)?,
            (found, _) => found,
        };
        // A rename may be asked for with the former record's fingerprint, which was checked, or with none for a new name.
        if former_id.is_none() || found.is_none() || expected.is_some() {
            let record = found.as_ref().map(|kept| Record::Resource(kept.record.clone()));
            self.expect(&address, expected, record)?;
        }
        let managed_by = managed_by.map(|lineage| lineage.to_string());
        let attributes = serde_json::to_string(spec).expect("plain data with text keys converts to JSON");
        if found.is_some() {
            return self.run(
                "UPDATE resources SET spec = ?1, managed_by = ?2 WHERE id = ?3",
                (attributes, managed_by, key.id.as_str()),
            );
        }
        let (role, holder, epoch) = self.birth(key, spec, holder.as_ref())?;
        self.run(
            "INSERT INTO resources (id, type, spec, managed_by, role, holder, epoch, attempt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
            (
                key.id.as_str(),
                key.kind.as_str(),
                attributes,
                managed_by,
                role.as_str(),
                holder.as_str(),
                signed(epoch.0),
            ),
        )?;
        self.run("UPDATE region SET highest_epoch = max(highest_epoch, ?1)", (signed(epoch.0),))
    }

    /// The part that this region gets in a resource that it did not know.
    fn birth(
        &self,
        key: &ResourceKey,
        spec: &ResourceSpec,
        living: Option<&(RegionId, Epoch)>,
    ) -> Result<(Role, RegionId, Epoch), StoreError> {
        let own = &self.ground.identity.region_id;
        let (holder, epoch) = living.cloned().unwrap_or_else(|| (spec.primary.clone(), Epoch::BIRTH));
        if holder == *own {
            return Ok((Role::Holder, holder, epoch));
        }
        if spec.replicas.contains(own) || spec.primary == *own {
            return Ok((Role::Replica, holder, epoch));
        }
        Err(StoreError::refused(
            format!("{key} has nothing to do with region {own}: it is neither held nor replicated there"),
            "plan again",
        ))
    }

    /// Refuses a name that another resource of this region bears or whose directory another's files lie in.
    fn expect_free(&self, key: &ResourceKey) -> Result<(), StoreError> {
        let other: Option<String> = self
            .transaction
            .query_row(
                "SELECT type FROM resources WHERE id = ?1 AND type <> ?2",
                (key.id.as_str(), key.kind.as_str()),
                |row| row.get(0),
            )
            .optional()
            .map_err(self.of)?;
        if let Some(kind) = other {
            return Err(StoreError::refused(
                format!("{kind}.{} is recorded here, and resource ids are unique across types", key.id),
                "give one of the two another id",
            ));
        }
        let tenant: Option<String> = self
            .transaction
            .query_row(
                "SELECT id FROM resources WHERE former_id = ?1 AND type = ?2 AND id <> ?1",
                (key.id.as_str(), key.kind.as_str()),
                |row| row.get(0),
            )
            .optional()
            .map_err(self.of)?;
        let Some(tenant) = tenant else { return Ok(()) };
        let tenant: ResourceId = read::parse("a resource", &tenant)?;
        if (self.ground.lies)(&ResourceKey::new(key.kind, tenant.clone())) {
            return Ok(());
        }
        Err(StoreError::refused(
            format!("the files of {}.{tenant} still lie in the directory of {key}, its former id", key.kind),
            "rename that directory first, while the resource is stopped",
        ))
    }

    /// Gives the record of `former` the name of `key`, where there is one.
    fn rename(
        &self,
        key: &ResourceKey,
        former: &ResourceId,
        expected: Option<Digest>,
    ) -> Result<Option<KeptResource>, StoreError> {
        let from = ResourceKey::new(key.kind, former.clone());
        let Some(kept) = self.resource(&from)? else { return Ok(None) };
        if let Some(expected) = expected {
            let record = Record::Resource(kept.record.clone());
            self.expect(&Address::Resource(from.clone()), Some(expected), Some(record))?;
        }
        if kept.moving || kept.record.operation.is_some() {
            return Err(StoreError::refused(
                format!("{from} cannot be renamed: something else is still under way with it"),
                "finish or abort that first",
            ));
        }
        // Its files may still lie under a name that it had even earlier.
        let lies_in = match &kept.former_id {
            Some(earlier) if !(self.ground.lies)(&from) => earlier,
            Some(_) | None => former,
        };
        rekey(self.transaction, self.of, &from, key, lies_in)?;
        self.resource(key)
    }

    fn remove_resource(&self, key: &ResourceKey, kept: &KeptResource) -> Result<(), StoreError> {
        if let Some(operation) = kept.record.operation {
            return Err(StoreError::refused(
                format!("operation {operation} is open on {key}"),
                "resume or abort it first",
            ));
        }
        self.run("DELETE FROM resources WHERE id = ?1", (key.id.as_str(),))
    }

    fn run(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<(), StoreError> {
        self.transaction.prepare_cached(sql).and_then(|mut it| it.execute(parameters)).map(|_| ()).map_err(self.of)
    }
}

fn wrong_kind(address: &Address) -> StoreError {
    StoreError::refused(format!("the attributes given for {address} are another kind's"), "plan again")
}
