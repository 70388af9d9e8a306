//! The region's snapshot: all that planning needs, in one pass.
//!
//! Takes no lock of the region, writes nothing, reads no file of a resource beyond the headers of disk images, and does with a
//! directory that is missing, empty or read-only. What cannot be said of one resource does not hide the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::identity;
use super::layout::Layout;
use super::local::Inner;
use super::place::Places;
use super::quiesce;
use super::restore;
use super::store::{KeptResource, Records, Store, StoreError};
use super::watch::rates;
use crate::config::RegionConfig;
use crate::host::Disk;
use crate::live::port::PortError;
use crate::model::audit::{AuditFinding, AuditState};
use crate::model::observed::RegionStatus;
use crate::model::point::{Content, FileRefusal, Outline, Replica};
use crate::model::region::{Identity, RegionSnapshot, Role};
use crate::model::{ByteCount, Digest, ResourceId, ResourceKey, ResourceType, Timestamp};
use crate::replica::catalog::Ledger;
use crate::replica::inspect;
use crate::replica::tree;

/// Nothing can be said of the region, though it may be well.
pub(super) fn unknown(reason: String, help: Option<String>) -> PortError {
    PortError::Unreachable { status: RegionStatus::Unknown, reason, help }
}

impl Inner {
    /// All that is known of the region, or of one of its resources alone.
    ///
    /// # Errors
    /// [`PortError::Unreachable`] where nothing can be said.
    pub(super) fn observe(&self, only: Option<&ResourceKey>) -> Result<RegionSnapshot, PortError> {
        let config = self.config().map_err(|error| unknown(error.to_string(), None))?;
        snapshot(&*self.disk, &self.layout, &config, self.world.clock.now(), only)
    }

    /// What the region has recorded, without a look at any resource's files. What keeps [`observe`](Self::observe) from
    /// saying anything of the region keeps this from it too, and of a place without an identity, files tell what it was.
    ///
    /// # Errors
    /// [`PortError::Unreachable`] where nothing can be said.
    pub(super) fn observe_records(&self) -> Result<RegionSnapshot, PortError> {
        let config = self.config().map_err(|error| unknown(error.to_string(), None))?;
        let (disk, layout, now) = (&*self.disk, &self.layout, self.world.clock.now());
        let recorded = recorded(disk, layout, now)?;
        if recorded.identity.is_none() {
            return snapshot(disk, layout, &config, now, None);
        }
        let places = Places { disk, layout, config: &config };
        for kind in ResourceType::ALL {
            directory_names(&places, kind)?;
        }
        Ok(RegionSnapshot { freezes: config.quiesce.is_some(), runner: config.runner.is_some(), ..recorded })
    }
}

fn snapshot(
    disk: &dyn Disk,
    layout: &Layout,
    config: &RegionConfig,
    now: Timestamp,
    only: Option<&ResourceKey>,
) -> Result<RegionSnapshot, PortError> {
    let identity = identity::read(disk, layout).map_err(|error| {
        let help = error.help();
        unknown(error.to_string(), help)
    })?;
    let free = ByteCount(free_space(disk, layout.root()));
    let freezes = config.quiesce.is_some();
    let runner = config.runner.is_some();
    let places = Places { disk, layout, config };
    let Some(identity) = identity else {
        let contents = contents(&places, &Records::default(), only)?;
        return Ok(RegionSnapshot { freezes, runner, ..RegionSnapshot::vacant(contents, free) });
    };
    let ((mut records, mut ledgers), copies, audits, links) = read(layout, &identity, |store| {
        Ok((store.everything_listed()?, store.copies_lately(now)?, store.audits()?, store.links()?))
    })?;
    // What cannot be said of these hides nothing else.
    let mut replaced = restore::counts(disk, layout).unwrap_or_default();
    if let Some(only) = only {
        records.regions.clear();
        records.resources.retain(|key, _| key == only);
        ledgers.retain(|key, _| key == only);
        replaced.retain(|key, _| key == only);
    }
    let contents = contents(&places, &records, only)?;
    let mut replicas = replicas(&places, &records, &ledgers);
    audits.into_iter().for_each(|(key, audit)| show_audit(replicas.get_mut(&key), audit));
    let former_ids = records
        .resources
        .iter()
        .filter_map(|(key, kept)| Some((key.clone(), kept.former_id.clone()?)))
        .filter(|(key, _)| places.directory(key, records.resources.get(key)) != layout.files(key))
        .collect();
    let Records {
        serial,
        highest_epoch,
        inert,
        controller,
        paused,
        cut_off,
        unproven,
        gone,
        last_automatic,
        regions,
        pairs,
        resources,
    } = records;
    Ok(RegionSnapshot {
        identity: Some(identity),
        serial,
        highest_epoch,
        inert,
        controller,
        cut_off,
        unproven,
        gone,
        last_automatic,
        regions,
        pairs,
        resources: resources.into_iter().map(|(key, kept)| (key, kept.record)).collect(),
        contents,
        replicas,
        replaced,
        former_ids,
        free,
        freezes,
        runner,
        still_held: quiesce::still_held(disk, &layout.marks(), now),
        links: if only.is_none() { rates(&links) } else { BTreeMap::new() },
        // Known to whoever serves the region.
        foreign_starts: BTreeMap::new(),
        sightings: BTreeMap::new(),
        work: Vec::new(),
        failed_copies: BTreeMap::new(),
        copies_lately: Some(copies),
        paused,
    })
}

/// What the region has recorded, without a look at any file: resources' contents are left out, and what became of a
/// replica's files since its newest point.
pub(super) fn recorded(disk: &dyn Disk, layout: &Layout, now: Timestamp) -> Result<RegionSnapshot, PortError> {
    let free = ByteCount(free_space(disk, layout.root()));
    let identity = identity::read(disk, layout).map_err(|error| {
        let help = error.help();
        unknown(error.to_string(), help)
    })?;
    let vacant = RegionSnapshot::vacant(BTreeMap::new(), free);
    let Some(identity) = identity else { return Ok(vacant) };
    let ((records, ledgers), copies, mut audits, links) = read(layout, &identity, |store| {
        Ok((store.everything()?, store.copies_lately(now)?, store.audits()?, store.links()?))
    })?;
    let kept = ledgers
        .into_iter()
        .filter(|(key, _)| records.resources.get(key).is_none_or(|kept| kept.record.role != Role::Holder));
    let replicas = kept.map(|(key, ledger)| {
        let audit = audits.remove(&key);
        (key, Replica { newest: ledger.shown(), refusal: ledger.refusal, audit, ..Replica::default() })
    });
    Ok(RegionSnapshot {
        identity: Some(identity),
        serial: records.serial,
        highest_epoch: records.highest_epoch,
        inert: records.inert,
        controller: records.controller,
        paused: records.paused,
        cut_off: records.cut_off,
        unproven: records.unproven,
        gone: records.gone,
        last_automatic: records.last_automatic,
        regions: records.regions,
        pairs: records.pairs,
        replicas: replicas.collect(),
        copies_lately: Some(copies),
        links: rates(&links),
        resources: records.resources.into_iter().map(|(key, kept)| (key, kept.record)).collect(),
        ..vacant
    })
}

fn read<T>(
    layout: &Layout,
    identity: &Identity,
    how: impl FnOnce(&Store) -> Result<T, StoreError>,
) -> Result<T, PortError> {
    let path = layout.database();
    Store::open_reading(&path, identity).and_then(|store| how(&store)).map_err(|error| {
        let help = error.help();
        unknown(error.to_string(), help)
    })
}

/// Room on the file system that the directory is on, or will be made on.
fn free_space(disk: &dyn Disk, root: &Path) -> u64 {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    absolute.ancestors().find_map(|path| disk.free_space(path).ok()).unwrap_or(0)
}

/// Every resource that the region has a record or files of: in its directories, or elsewhere.
pub(super) fn known<'a>(
    places: &Places<'_>,
    records: &'a Records,
) -> Result<BTreeMap<ResourceKey, Option<&'a KeptResource>>, PortError> {
    let mut keys: BTreeMap<ResourceKey, Option<&KeptResource>> =
        records.resources.iter().map(|(key, kept)| (key.clone(), Some(kept))).collect();
    let tenants: BTreeMap<(ResourceType, &ResourceId), &ResourceKey> =
        records.resources.iter().filter_map(|(key, kept)| Some(((key.kind, kept.former_id.as_ref()?), key))).collect();
    for kind in ResourceType::ALL {
        for id in directory_names(places, kind)? {
            // Files under a former name are the present resource's.
            let tenant = tenants
                .get(&(kind, &id))
                .filter(|key| places.directory(key, records.resources.get(*key)) != places.layout.files(key));
            if tenant.is_none() {
                keys.entry(ResourceKey::new(kind, id)).or_default();
            }
        }
    }
    // Files that lie elsewhere are named by id alone; until a record tells the type, any may be meant.
    let known: BTreeSet<ResourceId> = keys.keys().map(|key| key.id.clone()).collect();
    for id in places.config.files.keys().filter(|id| !known.contains(id)) {
        for kind in ResourceType::ALL {
            keys.entry(ResourceKey::new(kind, id.clone())).or_default();
        }
    }
    Ok(keys)
}

/// Every resource's files: those in the region's directories and those that lie elsewhere. Of what it only keeps
/// copies of, the points and what became of them say more.
fn contents(
    places: &Places<'_>,
    records: &Records,
    only: Option<&ResourceKey>,
) -> Result<BTreeMap<ResourceKey, Content>, PortError> {
    let mut keys = known(places, records)?;
    keys.retain(|key, _| only.is_none_or(|only| key == only));
    let copy = |kept: &KeptResource| kept.record.role == Role::Replica;
    let own = keys.into_iter().filter(|(_, kept)| !kept.is_some_and(copy));
    let found = own.filter_map(|(key, kept)| {
        let content = content(places, &key, kept)?;
        Some((key, content))
    });
    Ok(found.collect())
}

/// The ids that directories of a type are named by. Other names are nobody's.
fn directory_names(places: &Places<'_>, kind: ResourceType) -> Result<Vec<ResourceId>, PortError> {
    let path = places.layout.resources(kind);
    match places.disk.read_dir(&path) {
        Ok(names) => Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(unknown(
            format!("cannot read {}: {error}", path.display()),
            Some("check the directory's permissions and its disk".to_owned()),
        )),
    }
}

fn content(places: &Places<'_>, key: &ResourceKey, kept: Option<&KeptResource>) -> Option<Content> {
    let refused = |refused: FileRefusal| {
        let stamp = Digest::of_json(&refused);
        Some(Content { outline: Outline::default(), stamp, refused: Some(refused) })
    };
    let place = match places.own_files(key, kept) {
        Ok(place) => place,
        Err(refusal) => return refused(refusal),
    };
    match tree::content(places.disk, &place, key.kind) {
        Ok(content) => content,
        Err(error) => refused(FileRefusal { path: key.to_string(), reason: error.to_string() }),
    }
}

/// What the region keeps points of. The holder's files are its own, whatever points it once kept.
fn replicas(
    places: &Places<'_>,
    records: &Records,
    ledgers: &BTreeMap<ResourceKey, Ledger>,
) -> BTreeMap<ResourceKey, Replica> {
    let owners = rustix::process::geteuid().is_root();
    let mut replicas = BTreeMap::new();
    for (key, ledger) in ledgers {
        let kept = records.resources.get(key);
        if kept.is_some_and(|kept| kept.record.role == Role::Holder) {
            continue;
        }
        let place = places.replica(key, kept);
        let replica = inspect::summary(places.disk, ledger, &place, owners).unwrap_or_else(|error| Replica {
            newest: ledger.shown(),
            damage: Some(error.to_string()),
            ..Replica::default()
        });
        replicas.insert(key.clone(), replica);
    }
    replicas
}

/// Adds how far the reading back of a replica is. Where its newest point is damaged by what was found so, that is why.
fn show_audit(replica: Option<&mut Replica>, audit: AuditState) {
    let Some(replica) = replica else { return };
    let newest = replica.newest.as_ref().map(|newest| newest.point.sequence);
    if let (Some(damage), Some(found)) = (&mut replica.damage, &audit.last)
        && Some(found.point) == newest
    {
        let AuditFinding { at, point: _, path, detail } = found;
        *damage = format!("{damage}; read back at {}, {path} was not what was copied: {detail}", at.for_people());
    }
    replica.audit = Some(audit);
}
