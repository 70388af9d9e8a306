//! Reading all records in one moment, and what an unreadable one means.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::error::StoreError;
use super::open::Store;
use crate::model::event::FailoverEvent;
use crate::model::failover::{CutOff, Inert, Part};
use crate::model::point::Refusal;
use crate::model::region::{Controller, Epoch, PairRecord, Pause, RegionRecord, ResourceRecord, Role};
use crate::model::topology::ResourceSpec;
use crate::model::{PairId, RegionId, ResourceId, ResourceKey, Timestamp};
use crate::replica::catalog::{KeptEntry, KeptManifest, Ledger, PointRecord, ReceivingRecord, ReplicaRecord};

/// A resource's record with what only this region cares about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptResource {
    /// As others see it.
    pub record: ResourceRecord,
    /// The id whose directory its files still lie in.
    pub former_id: Option<ResourceId>,
    /// Whether its directories are about to take its present name.
    pub moving: bool,
}

/// All that a region has recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Grows with every write of a role or of the registry.
    pub serial: u64,
    /// The highest epoch that the region ever saw.
    pub highest_epoch: Epoch,
    /// Why the region takes no part in anything; none: it does.
    pub inert: Option<Inert>,
    /// Who may change roles and the registry here.
    pub controller: Option<Controller>,
    /// That nothing fails over without a person.
    pub paused: Option<Pause>,
    /// The other regions that a person cut off by hand.
    pub cut_off: BTreeMap<RegionId, CutOff>,
    /// Up to which epoch no word that a region was cut off by hand proves it stopped any more.
    pub unproven: BTreeMap<RegionId, Epoch>,
    /// The other regions that a person declared gone, in that person's words.
    pub gone: BTreeMap<RegionId, String>,
    /// When the last failover that a policy asked for ended here as it should.
    pub last_automatic: Option<Timestamp>,
    /// The registry.
    pub regions: BTreeMap<RegionId, RegionRecord>,
    /// The pairs that concern it.
    pub pairs: BTreeMap<PairId, PairRecord>,
    /// The resources that concern it.
    pub resources: BTreeMap<ResourceKey, KeptResource>,
}

/// Maps the database's errors.
pub(super) type Of<'a> = &'a dyn Fn(rusqlite::Error) -> StoreError;

impl Store {
    /// All records, as of one moment.
    ///
    /// # Errors
    /// [`StoreError`]. A resource's record that cannot be read is no error: it means fenced.
    pub fn records(&self) -> Result<Records, StoreError> {
        self.read(records)
    }

    /// All records and all ledgers, as of one moment; the ledgers without manifests, which only a look at files needs.
    ///
    /// # Errors
    /// As above.
    pub fn everything(&self) -> Result<(Records, BTreeMap<ResourceKey, Ledger>), StoreError> {
        self.read(|transaction, of| Ok((records(transaction, of)?, ledgers(transaction, of)?)))
    }

    /// The same with the manifest of each newest point.
    ///
    /// # Errors
    /// As above.
    pub fn everything_listed(&self) -> Result<(Records, BTreeMap<ResourceKey, Ledger>), StoreError> {
        self.read(|transaction, of| {
            let mut ledgers = ledgers(transaction, of)?;
            for (key, ledger) in &mut ledgers {
                if let Some(newest) = &ledger.newest {
                    ledger.manifest = manifest(transaction, of, key, newest.point.sequence)?;
                }
            }
            Ok((records(transaction, of)?, ledgers))
        })
    }

    /// One region's record, where it is registered.
    ///
    /// # Errors
    /// As above.
    pub fn region(&self, id: &RegionId) -> Result<Option<RegionRecord>, StoreError> {
        self.read(|transaction, of| region(transaction, of, id))
    }

    /// All registered regions.
    ///
    /// # Errors
    /// As above.
    pub fn registry(&self) -> Result<BTreeMap<RegionId, RegionRecord>, StoreError> {
        self.read(registry)
    }

    /// One resource's record.
    ///
    /// # Errors
    /// As above.
    pub fn resource(&self, key: &ResourceKey) -> Result<Option<KeptResource>, StoreError> {
        self.read(|transaction, of| resource(transaction, of, key))
    }
}

pub(super) fn records(transaction: &Transaction<'_>, of: Of<'_>) -> Result<Records, StoreError> {
    let (regions, cut_off, unproven) =
        (registry(transaction, of)?, cut_off(transaction, of)?, unproven(transaction, of)?);
    let (gone, last_automatic) = (gone(transaction, of)?, last_automatic(transaction, of)?);
    let mut records = Records { regions, cut_off, unproven, gone, last_automatic, ..head(transaction, of)? };
    for raw in rows(transaction, of, &format!("SELECT {PAIR} FROM pairs"), raw_pair)? {
        let (id, record) = raw.understand()?;
        records.pairs.insert(id, record);
    }
    let highest = records.highest_epoch;
    for raw in rows(transaction, of, &format!("SELECT {RESOURCE} FROM resources"), raw_resource)? {
        let (key, kept) = raw.understand(highest)?;
        records.resources.insert(key, kept);
    }
    Ok(records)
}

pub(super) fn registry(
    transaction: &Transaction<'_>,
    of: Of<'_>,
) -> Result<BTreeMap<RegionId, RegionRecord>, StoreError> {
    let found = rows(transaction, of, &format!("SELECT {REGION} FROM registry"), raw_region)?;
    found.into_iter().map(RawRegion::understand).collect()
}

/// The regions that a person cut off by hand, and did not let in since.
pub(super) fn cut_off(transaction: &Transaction<'_>, of: Of<'_>) -> Result<BTreeMap<RegionId, CutOff>, StoreError> {
    let pair = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let found = rows(transaction, of, "SELECT region_id, record FROM cut_off", pair)?;
    let understand = |(id, record): (String, String)| {
        let what = format!("that {id} was cut off by hand");
        Ok((parse(&what, &id)?, json(&what, &record)?))
    };
    found.into_iter().map(understand).collect()
}

/// Up to which epoch no word that a region was cut off by hand proves it stopped any more.
pub(super) fn unproven(transaction: &Transaction<'_>, of: Of<'_>) -> Result<BTreeMap<RegionId, Epoch>, StoreError> {
    let pair = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, number(row, 1)?));
    let found = rows(transaction, of, "SELECT region_id, epoch FROM unproven", pair)?;
    let understand = |(id, epoch): (String, u64)| Ok((parse("what proves a region stopped", &id)?, Epoch(epoch)));
    found.into_iter().map(understand).collect()
}

/// The regions that a person declared gone, in that person's words.
pub(super) fn gone(transaction: &Transaction<'_>, of: Of<'_>) -> Result<BTreeMap<RegionId, String>, StoreError> {
    let pair = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let found = rows(transaction, of, "SELECT region_id, words FROM gone", pair)?;
    found.into_iter().map(|(id, words)| Ok((parse("a region that was declared gone", &id)?, words))).collect()
}

/// When the last failover that a policy asked for ended here as it should.
fn last_automatic(transaction: &Transaction<'_>, of: Of<'_>) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT event FROM failovers WHERE open IS NULL AND json_extract(event, '$.automatic')
               AND json_extract(event, '$.outcome') = 'completed'";
    let found = rows(transaction, of, sql, |row| row.get::<_, String>(0))?;
    let past = found.iter().map(|record| json::<FailoverEvent>("a failover of the past", record));
    Ok(past.collect::<Result<Vec<_>, StoreError>>()?.iter().map(FailoverEvent::ended_at).max())
}

/// What the region records of itself; nothing of others.
pub(super) fn head(transaction: &Transaction<'_>, of: Of<'_>) -> Result<Records, StoreError> {
    let (serial, highest_epoch, controller, inert, paused) = transaction
        .query_row("SELECT serial, highest_epoch, controller, inert, paused FROM region", [], |row| {
            Ok((number(row, 0)?, number(row, 1)?, optional(row, 2)?, optional(row, 3)?, optional(row, 4)?))
        })
        .map_err(of)?;
    let inert = inert.map(|text| json("why the region is inert", &text)).transpose()?;
    let controller = controller.map(|text| json("the controller", &text)).transpose()?;
    let paused = paused.map(|text| json("the pause of failovers", &text)).transpose()?;
    Ok(Records { serial, highest_epoch: Epoch(highest_epoch), inert, controller, paused, ..Records::default() })
}

/// One region's record, where there is one.
pub(super) fn region(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    id: &RegionId,
) -> Result<Option<RegionRecord>, StoreError> {
    let sql = format!("SELECT {REGION} FROM registry WHERE region_id = ?1");
    let raw = transaction.query_row(&sql, [id.as_str()], raw_region).optional().map_err(of)?;
    raw.map(|raw| raw.understand().map(|(_, record)| record)).transpose()
}

/// One pair's record, where there is one.
pub(super) fn pair(transaction: &Transaction<'_>, of: Of<'_>, id: &PairId) -> Result<Option<PairRecord>, StoreError> {
    let sql = format!("SELECT {PAIR} FROM pairs WHERE source = ?1 AND target = ?2");
    let ends = (id.source.as_str(), id.target.as_str());
    let raw = transaction.query_row(&sql, ends, raw_pair).optional().map_err(of)?;
    raw.map(|raw| raw.understand().map(|(_, record)| record)).transpose()
}

const REGION: &str = "region_id, spec, store, managed_by";

/// A row of `registry` as it stands.
struct RawRegion {
    id: String,
    spec: String,
    store: Option<String>,
    managed_by: Option<String>,
}

fn raw_region(row: &Row<'_>) -> rusqlite::Result<RawRegion> {
    Ok(RawRegion { id: row.get(0)?, spec: row.get(1)?, store: row.get(2)?, managed_by: row.get(3)? })
}

impl RawRegion {
    fn understand(self) -> Result<(RegionId, RegionRecord), StoreError> {
        let what = format!("region.{}", self.id);
        let spec = json(&what, &self.spec)?;
        let (store, managed_by) = (parse_some(&what, self.store)?, parse_some(&what, self.managed_by)?);
        Ok((parse(&what, &self.id)?, RegionRecord { spec, store, managed_by }))
    }
}

const PAIR: &str = "source, target, spec, managed_by";

/// A row of `pairs` as it stands.
struct RawPair {
    source: String,
    target: String,
    spec: String,
    managed_by: Option<String>,
}

fn raw_pair(row: &Row<'_>) -> rusqlite::Result<RawPair> {
    Ok(RawPair { source: row.get(0)?, target: row.get(1)?, spec: row.get(2)?, managed_by: row.get(3)? })
}

impl RawPair {
    fn understand(self) -> Result<(PairId, PairRecord), StoreError> {
        let what = format!("replication.{}.{}", self.source, self.target);
        let id = PairId { source: parse(&what, &self.source)?, target: parse(&what, &self.target)? };
        let spec = json(&what, &self.spec)?;
        Ok((id, PairRecord { spec, managed_by: parse_some(&what, self.managed_by)? }))
    }
}

/// One resource's record, where there is one.
pub(super) fn resource(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    key: &ResourceKey,
) -> Result<Option<KeptResource>, StoreError> {
    let highest = head(transaction, of)?.highest_epoch;
    let raw = transaction
        .query_row(
            &format!("SELECT {RESOURCE} FROM resources WHERE id = ?1 AND type = ?2"),
            (key.id.as_str(), key.kind.as_str()),
            raw_resource,
        )
        .optional()
        .map_err(of)?;
    raw.map(|raw| raw.understand(highest).map(|(_, kept)| kept)).transpose()
}

const RESOURCE: &str = "id, type, spec, managed_by, role, holder, epoch, attempt, operation, former_id, moving";

/// A row of `resources` as it stands.
struct RawResource {
    id: String,
    kind: String,
    spec: String,
    managed_by: Option<String>,
    role: String,
    holder: String,
    epoch: i64,
    attempt: i64,
    operation: Option<String>,
    former_id: Option<String>,
    moving: bool,
}

fn raw_resource(row: &Row<'_>) -> rusqlite::Result<RawResource> {
    Ok(RawResource {
        id: row.get(0)?,
        kind: row.get(1)?,
        spec: row.get(2)?,
        managed_by: row.get(3)?,
        role: row.get(4)?,
        holder: row.get(5)?,
        epoch: row.get(6)?,
        attempt: row.get(7)?,
        operation: row.get(8)?,
        former_id: row.get(9)?,
        moving: row.get(10)?,
    })
}

impl RawResource {
    /// The record, or the one that stands for a record that cannot be read: fenced, at the highest epoch that the
    /// region knows, so that nothing starts and nothing is copied over it.
    ///
    /// Only a name that cannot be read is an error: nothing can be said of whose record it is.
    fn understand(self, highest: Epoch) -> Result<(ResourceKey, KeptResource), StoreError> {
        let what = format!("{}.{}", self.kind, self.id);
        let key: ResourceKey = parse(&what, &what)?;
        let kept = self.readable(&what).unwrap_or_else(|_| KeptResource {
            record: ResourceRecord {
                spec: ResourceSpec {
                    primary: self.holder.parse().unwrap_or_else(|_| placeholder()),
                    replicas: Default::default(),
                    depends_on: Default::default(),
                    max_lag: None,
                    allowed_regions: BTreeMap::new(),
                    labels: BTreeMap::new(),
                    max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
                },
                managed_by: None,
                role: Role::Fenced,
                holder: self.holder.parse().unwrap_or_else(|_| placeholder()),
                epoch: highest,
                attempt: 0,
                operation: None,
            },
            former_id: None,
            moving: false,
        });
        Ok((key, kept))
    }

    fn readable(&self, what: &str) -> Result<KeptResource, StoreError> {
        let unreadable = |detail: String| StoreError::Unreadable { what: what.to_owned(), detail };
        Ok(KeptResource {
            record: ResourceRecord {
                spec: json(what, &self.spec)?,
                managed_by: parse_some(what, self.managed_by.clone())?,
                role: role(&self.role).ok_or_else(|| unreadable(format!("no role is `{}`", self.role)))?,
                holder: parse(what, &self.holder)?,
                epoch: u64::try_from(self.epoch).map(Epoch).map_err(|error| unreadable(error.to_string()))?,
                attempt: u32::try_from(self.attempt).map_err(|error| unreadable(error.to_string()))?,
                operation: parse_some(what, self.operation.clone())?,
            },
            former_id: parse_some(what, self.former_id.clone())?,
            moving: self.moving,
        })
    }
}

/// This region's part in every resource; in one whose record cannot be read, that of [`RawResource::understand`].
pub(super) fn parts(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    highest: Epoch,
) -> Result<BTreeMap<ResourceKey, Part>, StoreError> {
    let found = rows(transaction, of, &format!("SELECT {RESOURCE} FROM resources"), raw_resource)?;
    let understood = found.into_iter().map(|raw| {
        let (key, KeptResource { record, former_id: _, moving: _ }) = raw.understand(highest)?;
        let ResourceRecord { role, holder, epoch, attempt, spec: _, managed_by: _, operation: _ } = record;
        Ok((key, Part { role, holder, epoch, attempt }))
    });
    understood.collect()
}

/// The name of nobody, for a record whose holder cannot be read.
fn placeholder() -> RegionId {
    RegionId::new("unreadable").expect("a constant that follows the pattern")
}

fn role(text: &str) -> Option<Role> {
    [Role::Holder, Role::Replica, Role::Demoted, Role::Fenced].into_iter().find(|role| role.as_str() == text)
}

/// Each resource's newest points, by their index alone. A record that says of itself what this program does not know
/// may be any of them.
const NEWEST: &str = "
WITH known AS (
    SELECT resource, sequence, standing = 'published' AND state NOT IN ('set_aside', 'set_aside_damaged') AS copies, state = 'complete' AS whole,
        standing = 'published' AND state IN ('set_aside', 'set_aside_damaged') AS aside,
        coalesce(standing IN ('sealed', 'published', 'dropping') AND state IN ('complete', 'damaged', 'set_aside', 'set_aside_damaged'), 0)
            AS understood
    FROM points
), newest AS (
    SELECT resource, max(iif(copies, sequence, NULL)) AS shown, max(iif(copies AND whole, sequence, NULL)) AS complete,
        coalesce(sum(copies AND whole), 0) AS points, coalesce(sum(aside), 0) AS aside, max(iif(understood, NULL, sequence)) AS strange
    FROM known GROUP BY resource
)
SELECT newest.resource, newest.shown, shown.record, newest.complete, complete.record, newest.points, newest.aside,
    newest.strange
FROM newest
LEFT JOIN points AS shown ON shown.resource = newest.resource AND shown.sequence = newest.shown
LEFT JOIN points AS complete ON complete.resource = newest.resource AND complete.sequence = newest.complete
    AND newest.complete <> newest.shown";

fn ledgers(transaction: &Transaction<'_>, of: Of<'_>) -> Result<BTreeMap<ResourceKey, Ledger>, StoreError> {
    let mut ledgers: BTreeMap<ResourceKey, Ledger> = BTreeMap::new();
    let heads = "SELECT resource, receiving, refusal FROM ledgers";
    for (resource, receiving, refusal) in
        rows(transaction, of, heads, |row| Ok((text(row, 0)?, optional(row, 1)?, optional(row, 2)?)))?
    {
        let receiving: Option<ReceivingRecord> = receiving.map(|text| json(&resource, &text)).transpose()?;
        let refusal: Option<Refusal> = refusal.map(|text| json(&resource, &text)).transpose()?;
        ledgers.insert(parse(&resource, &resource)?, Ledger { receiving, refusal, ..Ledger::default() });
    }
    for raw in rows(transaction, of, NEWEST, raw_newest)? {
        let ledger = ledgers.entry(parse(&raw.resource, &raw.resource)?).or_default();
        raw.understand(ledger)?;
    }
    Ok(ledgers)
}

/// A row of [`NEWEST`] as it stands.
struct RawNewest {
    resource: String,
    newest: Option<(u64, String)>,
    complete: Option<u64>,
    /// Where it is another than the newest.
    complete_record: Option<String>,
    points: u32,
    set_aside: u32,
    strange: Option<u64>,
}

fn raw_newest(row: &Row<'_>) -> rusqlite::Result<RawNewest> {
    let sequence = |at| row.get::<_, Option<i64>>(at).map(|number| number.map(i64::unsigned_abs));
    let count = |at| number(row, at).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Ok(RawNewest {
        resource: row.get(0)?,
        newest: sequence(1)?.zip(row.get(2)?),
        complete: sequence(3)?,
        complete_record: row.get(4)?,
        points: count(5)?,
        set_aside: count(6)?,
        strange: sequence(7)?,
    })
}

impl RawNewest {
    fn understand(self, ledger: &mut Ledger) -> Result<(), StoreError> {
        let what = |sequence: u64| format!("point {sequence} of {}", self.resource);
        if let Some(sequence) = self.strange {
            let detail = "its standing or its state is unknown".to_owned();
            return Err(StoreError::Unreadable { what: what(sequence), detail });
        }
        let record = |sequence: u64, text: &str| json::<PointRecord>(&what(sequence), text);
        ledger.newest = (self.newest.as_ref()).map(|(sequence, text)| record(*sequence, text)).transpose()?;
        ledger.complete = match (self.complete, &self.complete_record) {
            (Some(sequence), Some(text)) => Some(record(sequence, text)?),
            (Some(_), None) => ledger.newest.clone(),
            (None, _) => None,
        };
        (ledger.points, ledger.set_aside) = (self.points, self.set_aside);
        Ok(())
    }
}

/// All records of one resource's points.
pub(super) fn ledger(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    key: &ResourceKey,
) -> Result<ReplicaRecord, StoreError> {
    let resource = key.to_string();
    let head = transaction
        .query_row(
            "SELECT next_sequence, next_file, receiving, refusal FROM ledgers WHERE resource = ?1",
            [&resource],
            |row| Ok((number(row, 0)?, number(row, 1)?, optional(row, 2)?, optional(row, 3)?)),
        )
        .optional()
        .map_err(of)?;
    let mut replica = ReplicaRecord::default();
    if let Some((next_sequence, next_file, receiving, refusal)) = head {
        replica.next_sequence = next_sequence;
        replica.next_file = next_file;
        replica.receiving = receiving.map(|text| json(&resource, &text)).transpose()?;
        replica.refusal = refusal.map(|text| json(&resource, &text)).transpose()?;
    }
    let mut statement =
        transaction.prepare_cached("SELECT sequence, record FROM points WHERE resource = ?1").map_err(of)?;
    let points = statement
        .query_map([&resource], |row| Ok((number(row, 0)?, text(row, 1)?)))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(of)?;
    for (sequence, record) in points {
        replica.points.insert(sequence, json(&format!("point {sequence} of {resource}"), &record)?);
    }
    Ok(replica)
}

/// A point's manifest.
pub(super) fn manifest(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    key: &ResourceKey,
    sequence: u64,
) -> Result<Option<KeptManifest>, StoreError> {
    let mut statement = transaction
        .prepare_cached("SELECT entries FROM manifests WHERE resource = ?1 AND sequence = ?2 ORDER BY part")
        .map_err(of)?;
    let mut found: Option<KeptManifest> = None;
    let mut parts = statement.query((key.to_string(), signed(sequence))).map_err(of)?;
    while let Some(part) = parts.next().map_err(of)? {
        let entries: Vec<KeptEntry> = json(&format!("point {sequence} of {key}"), &text(part, 0).map_err(of)?)?;
        found.get_or_insert_default().entries.extend(entries);
    }
    Ok(found)
}

pub(super) fn rows<T>(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    sql: &str,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = transaction.prepare(sql).map_err(of)?;
    statement.query_map([], row).and_then(Iterator::collect).map_err(of)
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    row.get(at)
}

fn optional(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<String>> {
    row.get(at)
}

fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    // SQLite's integers are signed; what is counted here never comes near the end of them.
    row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0))
}

/// The reverse of [`number`].
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Unreadable { what: what.to_owned(), detail: error.to_string() })
}

pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Unreadable { what: what.to_owned(), detail: error.to_string() })
}

fn parse_some<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &str,
    text: Option<String>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| parse(what, &text)).transpose()
}
