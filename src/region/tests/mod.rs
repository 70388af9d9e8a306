//! Regions in real directories, through their port.

mod confirmed;
mod damaged;
mod exported;
mod machines;
mod promoted;
mod renamed;
mod restored;
mod still;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::failover::Control;
use crate::host::disk::faulty::{Bad, EIO, Fault, FaultyDisk};
use crate::host::{self, Holder, HostDisk};
use crate::live::port::{FileVerdict, PeerRecords, PointSelector, PortError, RegionPort};
use crate::model::observed::RegionStatus;
use crate::model::point::{BlockReason, PointKind, PointState};
use crate::model::policy::Policy;
use crate::model::region::{Authority, Epoch, RecordChange, RecordWrite, Role, SyncOrder};
use crate::model::topology::{RegionSpec, ResourceSpec, Spec};
use crate::model::{ByteCount, Lineage, OperationId, RegionId, ResourceKey, Seat, Timestamp, World};
use crate::replica::port::{Source, Target, TransferError};
use crate::replica::transfer::{Means, SyncOptions, SyncReport, sync};

pub(super) fn opening(world: &World) -> Opening {
    let holder = Holder {
        who: "ops@host".to_owned(),
        pid: std::process::id(),
        command: "apply".to_owned(),
        since: Timestamp::from_micros(0),
    };
    Opening { world: world.clone(), disk: Arc::new(HostDisk), holder, guard: None, exec_guard: None, config: None }
}

pub(super) fn id(text: &str) -> RegionId {
    text.parse().unwrap()
}

pub(super) fn key(text: &str) -> ResourceKey {
    text.parse().unwrap()
}

/// Two regions below one directory: `east` holds what is born, `west` keeps copies.
pub(super) struct Pair {
    pub(super) dir: tempfile::TempDir,
    pub(super) world: World,
    pub(super) east: LocalRegion,
    pub(super) west: LocalRegion,
}

impl Pair {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = host::world();
        let open = |name: &str| LocalRegion::new(id(name), dir.path().join(name), opening(&world));
        let (east, west) = (open("east"), open("west"));
        Self { dir, world, east, west }
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(super) fn authority(&self) -> Authority {
        Authority {
            lineage: Lineage(Uuid::from_u128(1)),
            term: 1,
            seat: Seat(Uuid::from_u128(2)),
            place: "ops@host:/infra/state.db".to_owned(),
            operation: OperationId(self.world.ids.random()),
        }
    }

    /// A program of the test's own, which writes down that it ran.
    pub(super) fn script(&self, name: &str, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        let log = self.path("log");
        fs::write(&path, format!("#!/bin/sh\necho {name} >> {}\n{body}\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(super) fn reopened(&self, name: &str) -> LocalRegion {
        LocalRegion::new(id(name), self.path(name), opening(&self.world))
    }

    /// Both regions founded, `vm.web` born at `east` with a definition and a disk.
    async fn with_web() -> Self {
        let pair = Self::new();
        pair.write("east/resources/vm/web/web.xml", "<domain/>");
        pair.write("east/resources/vm/web/disk.raw", &"sectors ".repeat(20_000));
        pair.born("vm.web").await;
        pair
    }

    pub(super) async fn born(&self, resource: &str) {
        for port in [&self.east, &self.west] {
            port.found(&self.authority()).await.unwrap();
            port.record(&self.authority(), &[create(resource)]).await.unwrap();
        }
    }

    fn order(&self, resource: &str) -> SyncOrder {
        SyncOrder {
            lineage: self.authority().lineage,
            term: 1,
            resource: key(resource),
            source: id("east"),
            target: id("west"),
            epoch: Epoch(1),
            operation: OperationId(self.world.ids.random()),
            compress: true,
        }
    }

    pub(super) async fn sync(&self, resource: &str) -> Result<SyncReport, TransferError> {
        self.sync_by(&self.order(resource)).await
    }

    async fn sync_by(&self, order: &SyncOrder) -> Result<SyncReport, TransferError> {
        let (options, cancel) = (SyncOptions::default(), CancellationToken::new());
        sync(&self.east, &self.west, order, &options, &means(&self.world, &cancel))
            .await
            .map_err(|failure| failure.error)
    }
}

fn means<'a>(world: &'a World, cancel: &'a CancellationToken) -> Means<'a> {
    Means { clock: &*world.clock, pace: None, progress: &|_, _, _| {}, cancel, verified_at: None }
}

fn spec() -> ResourceSpec {
    ResourceSpec {
        primary: id("east"),
        replicas: BTreeSet::from([id("west")]),
        depends_on: BTreeSet::new(),
        max_lag: None,
        allowed_regions: BTreeMap::new(),
        labels: BTreeMap::new(),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    }
}

pub(super) fn create(resource: &str) -> RecordChange {
    let write = RecordWrite {
        spec: Spec::Resource(spec()),
        managed_by: Some(Lineage(Uuid::from_u128(1))),
        store: None,
        holder: None,
        former_id: None,
    };
    RecordChange { address: resource.parse().unwrap(), expected: None, record: Some(write) }
}

/// Mode, mtime and ctime, and bytes.
type Look = (u32, [i64; 4], Vec<u8>);

/// Every path and how it looks.
fn picture(root: &Path) -> BTreeMap<PathBuf, Look> {
    let mut picture = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        picture.insert(path, (metadata.mode(), times, bytes));
    }
    picture
}

#[tokio::test]
async fn looking_writes_nothing_whatever_is_there() {
    let pair = Pair::new();
    assert_eq!(pair.west.snapshot().await.unwrap().identity, None, "a directory that is not there is a vacant place");
    assert!(!pair.path("west").exists());

    fs::create_dir(pair.path("west")).unwrap();
    let before = picture(&pair.path("west"));
    let vacant = pair.west.snapshot().await.unwrap();
    assert_eq!((vacant.identity, vacant.contents.len(), vacant.serial), (None, 0, 0));
    assert!(vacant.free.0 > 0);
    assert_eq!(picture(&pair.path("west")), before);

    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    for name in ["east", "west"] {
        let before = picture(&pair.path(name));
        let snapshot = pair.reopened(name).snapshot().await.unwrap();
        pair.reopened(name).points(&key("vm.web")).await.ok();
        assert_eq!(snapshot.resources.len(), 1);
        assert_eq!(picture(&pair.path(name)), before, "{name}");
    }
}

#[tokio::test]
async fn a_snapshot_says_what_there_is() {
    let pair = Pair::with_web().await;
    pair.write("east/resources/config/app/app.toml", "x = 1");
    pair.write("east/resources/config/not an id/app.toml", "x = 1");
    fs::create_dir_all(pair.path("east/resources/vm/empty")).unwrap();
    let east = pair.east.snapshot().await.unwrap();
    assert_eq!(east.identity.as_ref().map(|identity| identity.region_id.clone()), Some(id("east")));
    assert_eq!((east.serial, east.highest_epoch), (1, Epoch(1)));
    assert_eq!(east.resources[&key("vm.web")].role, Role::Holder);
    let found: Vec<String> = east.contents.keys().map(ToString::to_string).collect();
    assert_eq!(found, ["vm.web", "config.app"], "what nobody recorded too, and nothing where no files are");
    assert_eq!(east.contents[&key("vm.web")].outline.disks.len(), 1);
    assert_eq!(east.replicas, BTreeMap::new());
    let west = pair.west.snapshot().await.unwrap();
    assert_eq!(west.resources[&key("vm.web")].role, Role::Replica);
    assert_eq!(west.replicas.len(), 0, "nothing was copied yet");
    pair.sync("vm.web").await.unwrap();
    let west = pair.west.snapshot().await.unwrap();
    assert!(west.replicas[&key("vm.web")].newest.is_some());
    assert_eq!(west.contents, BTreeMap::new(), "a copy's files are told by its points");
}

#[tokio::test]
async fn a_directory_has_one_identity_for_life() {
    let pair = Pair::new();
    let first = pair.west.found(&pair.authority()).await.unwrap();
    assert_eq!(pair.west.found(&pair.authority()).await.unwrap(), first);
    pair.west.inner.close().await;
    let open = |name: &str| LocalRegion::new(id(name), pair.dir.path().join("west"), opening(&pair.world));
    assert_eq!(open("west").found(&pair.authority()).await.unwrap(), first, "for another process too");

    // Another region's.
    let error = open("north").found(&pair.authority()).await.unwrap_err();
    assert!(matches!(&error, PortError::Refused { help: Some(_), .. }), "{error}");
    assert!(error.to_string().contains("belongs to region west, not to north"), "{error}");
    assert_eq!(open("north").snapshot().await.unwrap().identity.unwrap().region_id, id("west"), "planning judges");

    // Unmounted: moved away. It is vacant, and writes are refused.
    let (west, away) = (pair.dir.path().join("west"), pair.dir.path().join("away"));
    fs::rename(&west, &away).unwrap();
    assert_eq!(open("west").snapshot().await.unwrap().identity, None);
    let error = open("west").record(&pair.authority(), &[create("vm.web")]).await.unwrap_err();
    assert!(error.to_string().contains("no region lives in"), "{error}");
    assert!(!west.exists(), "a refused write makes nothing");
    fs::rename(&away, &west).unwrap();

    // Half of it lost.
    fs::rename(west.join("region.db"), west.join("kept")).unwrap();
    let PortError::Unreachable { status, reason, .. } = open("west").snapshot().await.unwrap_err() else { panic!() };
    assert_eq!(status, RegionStatus::Unknown);
    assert!(reason.contains("region.db does not exist"), "{reason}");
    fs::rename(west.join("kept"), west.join("region.db")).unwrap();
    for nonsense in ["", "{}", "not JSON"] {
        let kept = fs::read(west.join(".debvisor/region.json")).unwrap();
        fs::write(west.join(".debvisor/region.json"), nonsense).unwrap();
        let error = open("west").snapshot().await.unwrap_err();
        assert!(error.to_string().contains("region.json cannot be understood"), "{error}");
        fs::write(west.join(".debvisor/region.json"), kept).unwrap();
    }
    assert_eq!(open("west").snapshot().await.unwrap().identity, Some(first));

    // A file where the directory should be.
    fs::write(pair.dir.path().join("file"), "x").unwrap();
    let file = LocalRegion::new(id("west"), pair.dir.path().join("file"), opening(&pair.world));
    assert!(file.snapshot().await.unwrap_err().to_string().contains("is not a directory"));
}

#[tokio::test]
async fn one_program_writes_and_all_may_look() {
    let pair = Pair::with_web().await;
    let other = pair.reopened("west");
    let error = other.record(&pair.authority(), &[create("vm.b")]).await.unwrap_err();
    let PortError::Busy(words) = &error else { panic!("{error:?}") };
    assert!(words.contains("in use by ops@host") && words.contains("`apply`"), "{words}");
    assert_eq!(other.snapshot().await.unwrap().resources.len(), 1);
    assert!(matches!(other.points(&key("vm.web")).await, Err(PortError::NotFound(_))));
    pair.west.inner.close().await;
    other.record(&pair.authority(), &[create("vm.b")]).await.unwrap();
}

#[tokio::test]
async fn a_resource_travels_and_what_is_known_of_it_is_shown() {
    let pair = Pair::with_web().await;
    let report = pair.sync("vm.web").await.unwrap();
    assert_eq!((report.published.new, report.published.point.kind), (true, PointKind::Quiet));
    assert_eq!(pair.read("west/resources/vm/web/disk.raw"), pair.read("east/resources/vm/web/disk.raw"));
    let (east, west) = (pair.east.snapshot().await.unwrap(), pair.west.snapshot().await.unwrap());
    let replica = &west.replicas[&key("vm.web")];
    let newest = replica.newest.as_ref().unwrap();
    assert_eq!(newest.source_stamp, Some(east.contents[&key("vm.web")].stamp), "a second plan has nothing to do");
    assert_eq!((replica.points, replica.damage.as_ref()), (1, None));
    let points = pair.west.points(&key("vm.web")).await.unwrap();
    assert_eq!(points, vec![newest.point.clone()]);
    assert!(matches!(pair.east.points(&key("vm.web")).await, Err(PortError::NotFound(_))));

    pair.write("west/resources/vm/web/web.xml", "<mine/>");
    let damage = pair.west.snapshot().await.unwrap().replicas[&key("vm.web")].damage.clone();
    assert_eq!(damage.as_deref(), Some("web.xml was modified"));
    let repaired = pair.sync("vm.web").await.unwrap().published;
    assert_eq!(repaired.set_aside.len(), 1);
    assert_eq!(pair.read("west/resources/vm/web/web.xml"), "<domain/>");
    let name = &repaired.set_aside[0];
    let into = pair.path("out");
    pair.west.export(&key("vm.web"), &PointSelector::Name(name.clone()), &into).await.unwrap();
    assert_eq!(pair.read("out/web.xml"), "<mine/>");
    let foreign = Authority { lineage: Lineage(Uuid::from_u128(77)), ..pair.authority() };
    let refused = pair.west.discard(&foreign, &key("vm.web"), name).await.unwrap_err();
    assert!(matches!(refused, PortError::NotController { .. }), "{refused}");
    pair.west.discard(&pair.authority(), &key("vm.web"), name).await.unwrap();
    assert!(matches!(pair.west.discard(&pair.authority(), &key("vm.web"), name).await, Err(PortError::NotFound(_))));
}

#[tokio::test]
async fn what_was_in_the_way_is_listed_counted_exported_and_discarded() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    pair.write("west/resources/vm/web/web.xml", "<mine/>");
    pair.west.inner.close().await;
    let disk = FaultyDisk::new(Arc::new(HostDisk), Fault::None);
    disk.spoil(&pair.path("west/resources/vm/web/web.xml"), Bad::Read(0..u64::MAX), EIO).unwrap();
    let opening = Opening { disk: Arc::new(disk), ..opening(&pair.world) };
    let west = LocalRegion::new(id("west"), pair.path("west"), opening);
    let order = pair.order("vm.web");
    let (options, cancel) = (SyncOptions::default(), CancellationToken::new());
    let report = sync(&pair.east, &west, &order, &options, &means(&pair.world, &cancel)).await.unwrap();
    let [name] = report.published.set_aside.as_slice() else { panic!("{report:?}") };
    assert_eq!(pair.read("west/resources/vm/web/web.xml"), "<domain/>");

    let web = key("vm.web");
    assert_eq!(west.snapshot().await.unwrap().replaced[&web], 1);
    let listed = west.points(&web).await.unwrap();
    let last = listed.last().unwrap();
    assert_eq!((last.name.as_ref(), last.state, last.bytes), (Some(name), PointState::SetAside, ByteCount(7)));
    // On a disk that reads it again.
    drop(west);
    let west = pair.reopened("west");
    west.export(&web, &PointSelector::Name(name.clone()), &pair.path("out")).await.unwrap();
    assert_eq!(pair.read("out/web.xml"), "<mine/>");
    west.discard(&pair.authority(), &web, name).await.unwrap();
    assert!(west.snapshot().await.unwrap().replaced.is_empty());
}

#[tokio::test]
async fn orders_that_are_not_this_regions_are_refused() {
    let pair = Pair::with_web().await;
    let order = pair.order("vm.web");
    let stale = SyncOrder { epoch: Epoch(0), ..order.clone() };
    assert!(matches!(
        pair.east.open_reading(&stale, false).await,
        Err(TransferError::Stale { ordered: Epoch(0), recorded: Epoch(1) })
    ));
    let reading = pair.east.open_reading(&order, false).await.unwrap();
    assert!(matches!(pair.west.open_receiving(&stale, &reading, false).await, Err(TransferError::Stale { .. })));
    for (order, words) in [
        (SyncOrder { epoch: Epoch(2), ..order.clone() }, "has not heard of epoch 2"),
        (SyncOrder { target: id("north"), ..order.clone() }, "this is west"),
        (SyncOrder { source: id("north"), ..order.clone() }, "is held by east, not by north"),
        (SyncOrder { resource: key("vm.other"), ..order.clone() }, "has no record of vm.other"),
    ] {
        let error = pair.west.open_receiving(&order, &reading, false).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    // A copy is never read from, and the holder never written to.
    let backward = SyncOrder { source: id("west"), target: id("east"), ..order };
    let error = pair.west.open_reading(&backward, false).await.unwrap_err();
    assert!(error.to_string().contains("is replica at west"), "{error}");
    let error = pair.east.open_receiving(&backward, &reading, false).await.unwrap_err();
    assert!(error.to_string().contains("keeps no copy"), "{error}");
    assert!(!pair.path("west/resources/vm/web").exists(), "nothing was written");
    pair.east.close_reading(reading.session).await.unwrap();
}

fn rename(from: &str, to: &str) -> RecordChange {
    let mut change = create(to);
    change.record.as_mut().unwrap().former_id = Some(from.parse().unwrap());
    change
}

#[tokio::test]
async fn a_rename_moves_the_replica_and_leaves_the_holder_where_it_is() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    for port in [&pair.east, &pair.west] {
        port.record(&pair.authority(), &[rename("web", "vm.front")]).await.unwrap();
    }
    assert!(!pair.path("west/resources/vm/web").exists());
    assert_eq!(pair.read("west/resources/vm/front/web.xml"), "<domain/>");
    assert!(pair.path("east/resources/vm/web").exists() && !pair.path("east/resources/vm/front").exists());
    let (east, west) = (pair.east.snapshot().await.unwrap(), pair.west.snapshot().await.unwrap());
    assert_eq!(east.former_ids[&key("vm.front")].as_str(), "web");
    assert_eq!(east.contents.keys().collect::<Vec<_>>(), [&key("vm.front")]);
    assert_eq!(west.former_ids, BTreeMap::new());
    let replica = &west.replicas[&key("vm.front")];
    assert_eq!(replica.damage, None);
    let stamp = replica.newest.as_ref().unwrap().source_stamp;
    assert_eq!(stamp, Some(east.contents[&key("vm.front")].stamp), "nothing to copy after a rename");
    // The points moved too, and the next copy goes on from them.
    pair.write("east/resources/vm/web/web.xml", "<domain version='2'/>");
    let next = pair.sync("vm.front").await.unwrap();
    assert_eq!(next.published.point.sequence, pair.west.points(&key("vm.front")).await.unwrap()[0].sequence);
    assert_eq!(pair.read("west/resources/vm/front/web.xml"), "<domain version='2'/>");
    let oldest = pair.west.points(&key("vm.front")).await.unwrap().last().unwrap().sequence;
    pair.west.export(&key("vm.front"), &PointSelector::Sequence(oldest), &pair.path("out")).await.unwrap();
    assert_eq!(pair.read("out/web.xml"), "<domain/>");
    // An operator may rename the holder's directory at any time.
    fs::rename(pair.path("east/resources/vm/web"), pair.path("east/resources/vm/front")).unwrap();
    let east = pair.east.snapshot().await.unwrap();
    assert_eq!((east.former_ids.len(), east.contents.len()), (0, 1));
}

#[tokio::test]
async fn an_interrupted_rename_is_finished_by_the_next_writer() {
    let pair = Pair::with_web().await;
    // Only a large file has an index.
    pair.write("east/resources/vm/web/disk.raw", &"x".repeat(5 << 20));
    pair.sync("vm.web").await.unwrap();
    pair.west.record(&pair.authority(), &[rename("web", "vm.front")]).await.unwrap();
    // As if it had been killed after the commit, with some of the directories moved.
    pair.west.inner.close().await;
    let database = rusqlite::Connection::open(pair.path("west/region.db")).unwrap();
    database.execute("UPDATE resources SET former_id = 'web', moving = 1", []).unwrap();
    drop(database);
    for below in ["resources/vm", ".debvisor/index/vm"] {
        let below = pair.path("west").join(below);
        fs::rename(below.join("front"), below.join("web")).unwrap();
    }
    let snapshot = pair.west.snapshot().await.unwrap();
    assert_eq!(snapshot.replicas[&key("vm.front")].damage, None, "it is found where it is");
    assert!(pair.path("west/resources/vm/web").exists(), "looking moves nothing");
    pair.west.record(&pair.authority(), &[create("vm.other")]).await.unwrap();
    assert!(pair.path("west/resources/vm/front").exists() && !pair.path("west/resources/vm/web").exists());
    assert!(pair.path("west/.debvisor/index/vm/front").exists());
    assert_eq!(pair.west.snapshot().await.unwrap().former_ids, BTreeMap::new());
}

#[tokio::test]
async fn adopted_files_stay_where_they_are() {
    let pair = Pair::new();
    pair.write("images/db.qcow2", "image");
    pair.write("definitions/db.xml", "<domain/>");
    pair.write(
        "east/.debvisor/config.toml",
        "[resources.db]\nfiles = [\"../../images/db.qcow2\", \"../../definitions/db.xml\"]\n",
    );
    let vacant = pair.east.snapshot().await.unwrap();
    assert_eq!(vacant.contents[&key("vm.db")].outline.files, 2, "seen before anybody recorded it");
    pair.born("vm.db").await;
    let contents = pair.east.snapshot().await.unwrap().contents;
    assert_eq!(contents.keys().collect::<Vec<_>>(), [&key("vm.db")]);
    pair.sync("vm.db").await.unwrap();
    assert_eq!(pair.read("west/resources/vm/db/db.qcow2"), "image");
    // One of them gone is not a smaller resource.
    fs::remove_file(pair.path("images/db.qcow2")).unwrap();
    let refused = pair.east.snapshot().await.unwrap().contents[&key("vm.db")].refused.clone().unwrap();
    assert!(refused.reason.contains("is not there"), "{refused:?}");
    let error = pair.sync("vm.db").await.unwrap_err();
    assert!(matches!(&error, TransferError::Blocked(refusal) if refusal.reason == BlockReason::Unsupported), "{error}");
}

#[tokio::test]
async fn verification_finds_what_metadata_hides() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    let (east, west) =
        (pair.east.verify(&key("vm.web")).await.unwrap(), pair.west.verify(&key("vm.web")).await.unwrap());
    assert!(east.data_hash.is_some());
    assert_eq!(east.data_hash, west.data_hash);
    assert!(west.files.iter().all(|file| file.verdict == FileVerdict::Identical));
    // Bytes change, and the file's times are put back: only ctime shows it, so it is `changed`.
    let disk = pair.path("west/resources/vm/web/disk.raw");
    let mtime = fs::metadata(&disk).unwrap().modified().unwrap();
    let mut bytes = fs::read(&disk).unwrap();
    bytes[7] ^= 1;
    fs::write(&disk, bytes).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_modified(mtime).unwrap();
    let west = pair.west.verify(&key("vm.web")).await.unwrap();
    let file = west.files.iter().find(|file| file.path == "disk.raw").unwrap();
    let told = serde_json::to_value(file).unwrap();
    // Of a small file only the root is kept: how many of its blocks differ cannot be told.
    assert_eq!((file.verdict.clone(), &told["blocks"]), (FileVerdict::Changed, &serde_json::Value::Null));
    assert_ne!(west.data_hash, east.data_hash);
}

#[tokio::test]
async fn a_snapshot_command_makes_the_point_and_is_released() {
    let pair = Pair::with_web().await;
    pair.east.inner.close().await;
    let copy = pair.path("copy");
    let snapshot =
        pair.script("snap", &format!("cp -a \"$1\" {0} && echo {0}; printf later > \"$1\"/web.xml", copy.display()));
    let release = pair.script("release", &format!("rm -r {}", copy.display()));
    pair.write(
        "east/.debvisor/config.toml",
        &format!("[quiesce]\nsnapshot = [{snapshot:?}, \"{{dir}}\"]\nrelease = [{release:?}]\n"),
    );
    let report = pair.sync("vm.web").await.unwrap();
    assert_eq!(report.published.point.kind, PointKind::Frozen);
    assert_eq!(pair.read("west/resources/vm/web/web.xml"), "<domain/>", "the copy's bytes, not the later ones");
    assert_eq!(pair.read("log"), "snap\nrelease\n");
    let newest = pair.west.snapshot().await.unwrap().replicas[&key("vm.web")].newest.clone().unwrap();
    let live = pair.east.snapshot().await.unwrap().contents[&key("vm.web")].stamp;
    assert_ne!(newest.source_stamp, Some(live), "the later bytes are still to be copied");
}

#[tokio::test]
async fn a_region_keeps_the_policy_that_retention_goes_by() {
    let pair = Pair::with_web().await;
    let mut policy = Policy::default();
    (policy.retention.last, policy.retention.hourly, policy.retention.daily) = (2, 0, 0);
    let spec = RegionSpec {
        name: "west".into(),
        location: "west".into(),
        api_endpoint: "file:west".into(),
        primary: false,
        capacity_vms: 1,
        labels: BTreeMap::new(),
        policy,
    };
    let mut change = create("region.west");
    change.record.as_mut().unwrap().spec = Spec::Region(Box::new(spec));
    pair.west.record(&pair.authority(), &[change]).await.unwrap();
    for version in 0..4 {
        pair.write("east/resources/vm/web/web.xml", &format!("<domain version='{version}'/>"));
        pair.sync("vm.web").await.unwrap();
    }
    assert_eq!(pair.west.points(&key("vm.web")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_freeze_that_fails_is_told_with_the_point_that_is_only_quiet() {
    let pair = Pair::with_web().await;
    pair.east.inner.close().await;
    let freeze = pair.script("freeze", "echo no such domain >&2; exit 3");
    let thaw = pair.script("thaw", "exit 0");
    pair.write("east/.debvisor/config.toml", &format!("[quiesce]\nfreeze = [{freeze:?}]\nthaw = [{thaw:?}]\n"));
    let report = pair.sync("vm.web").await.unwrap();
    assert_eq!(report.published.point.kind, PointKind::Quiet);
    let told = format!(
        "read without holding it still, so only quiet: freeze: {} exited with 3: no such domain",
        freeze.display()
    );
    assert_eq!(report.notes, [told]);
    let calm = Pair::with_web().await.sync("vm.web").await.unwrap();
    assert_eq!(calm.notes, Vec::<String>::new(), "no way to freeze is nothing that failed");
}

#[tokio::test]
async fn a_point_is_never_dated_later_than_what_it_holds() {
    let pair = Pair::with_web().await;
    pair.east.inner.close().await;
    let freeze = pair.script("freeze", "exit 0");
    // What is written as soon as the guest goes on is not in the copy.
    let thaw = pair.script("thaw", "date +%s%N > $(dirname $0)/written; sleep 0.3");
    pair.write("east/.debvisor/config.toml", &format!("[quiesce]\nfreeze = [{freeze:?}]\nthaw = [{thaw:?}]\n"));
    let point = pair.sync("vm.web").await.unwrap().published.point;
    let written: i64 = pair.read("written").trim().parse().unwrap();
    assert_eq!(point.kind, PointKind::Frozen);
    assert!(point.read_at.as_micros() * 1000 < written, "read_at");
    assert!(point.verified_at.as_micros() * 1000 < written, "verified_at");
}

/// Directories that their owner may not write, as clones of files with such modes leave them.
fn leave_behind(pair: &Pair, below: &str) {
    use std::os::unix::fs::PermissionsExt;
    pair.write(&format!("{below}/sealed/inner/file"), "x");
    for part in ["sealed/inner", "sealed"] {
        let path = pair.path(&format!("{below}/{part}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
}

#[test]
fn leftovers_of_any_mode_are_removed_by_an_ordinary_user() {
    host::ordinary::as_ordinary_user(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pair = Pair::with_web().await;
            pair.east.inner.close().await;
            let partial = "east/.debvisor/replaced/vm/web/replaced-1.partial";
            leave_behind(&pair, "east/.debvisor/clones/1");
            leave_behind(&pair, partial);
            // A freeze whose clones have such a directory.
            leave_behind(&pair, "east/resources/vm/web");
            let (freeze, thaw) = (pair.script("freeze", "exit 0"), pair.script("thaw", "exit 0"));
            let config = format!("[quiesce]\nfreeze = [{freeze:?}]\nthaw = [{thaw:?}]\n");
            pair.write("east/.debvisor/config.toml", &config);
            let report = pair.sync("vm.web").await.unwrap();
            assert_eq!((report.published.point.kind, report.notes.len()), (PointKind::Frozen, 0), "{:?}", report.notes);
            assert!(!pair.path(partial).exists());
            let clones = pair.path("east/.debvisor/clones");
            assert_eq!(fs::read_dir(clones).unwrap().count(), 0, "nothing is left of the copies");
            let from = pair.path("west/resources/vm/web");
            let name = pair.east.replace_files(&pair.authority(), &key("vm.web"), &from).await.unwrap().unwrap();
            pair.east.discard(&pair.authority(), &key("vm.web"), &name).await.unwrap();
            // So that the directory of the test can be removed.
            crate::host::remove_tree(&HostDisk, &pair.path("east")).unwrap();
            crate::host::remove_tree(&HostDisk, &pair.path("west")).unwrap();
        });
    });
}

#[tokio::test]
async fn a_leftover_that_resists_stops_nobody_and_is_told_once() {
    use crate::host::disk::faulty::{EIO, Fault, FaultyDisk, Op};
    let pair = Pair::with_web().await;
    pair.east.inner.close().await;
    pair.write("east/.debvisor/clones/1/file", "x");
    pair.write("east/.debvisor/replaced/vm/web/replaced-1.partial/half", "x");
    let refusing = FaultyDisk::new(Arc::new(HostDisk), Fault::FailEach { op: Op::RemoveDir, errno: EIO });
    let east =
        LocalRegion::new(id("east"), pair.path("east"), Opening { disk: Arc::new(refusing), ..opening(&pair.world) });
    east.record(&pair.authority(), &[create("vm.other")]).await.unwrap();
    let (options, cancel) = (SyncOptions::default(), CancellationToken::new());
    for expected in [2, 0] {
        let order = pair.order("vm.web");
        let report = sync(&east, &pair.west, &order, &options, &means(&pair.world, &cancel)).await;
        let notes = report.unwrap().notes;
        assert_eq!(notes.len(), expected, "{notes:?}");
        assert!(notes.iter().all(|note| note.contains("cannot remove") && note.contains("tried again later")));
    }
    east.inner.close().await;
    pair.sync("vm.web").await.unwrap();
    assert!(!pair.path("east/.debvisor/clones/1").exists(), "and it was");
}

#[tokio::test]
async fn two_readings_of_a_machine_never_thaw_each_other() {
    let pair = Pair::with_web().await;
    pair.east.inner.close().await;
    let frozen = pair.path("frozen");
    let freeze = pair.script("freeze", &format!("mkdir {0} || exit 1; sleep 0.2", frozen.display()));
    let thaw = pair.script("thaw", &format!("rmdir {0}", frozen.display()));
    pair.write("east/.debvisor/config.toml", &format!("[quiesce]\nfreeze = [{freeze:?}]\nthaw = [{thaw:?}]\n"));
    let order = pair.order("vm.web");
    let (one, other) = tokio::join!(pair.east.open_reading(&order, false), pair.east.open_reading(&order, false));
    for reading in [one.unwrap(), other.unwrap()] {
        assert_eq!((reading.kind, reading.notes), (PointKind::Frozen, Vec::new()));
        pair.east.close_reading(reading.session).await.unwrap();
    }
    assert_eq!(pair.read("log"), "freeze\nthaw\nfreeze\nthaw\n");
}

#[tokio::test]
async fn opening_a_region_thaws_what_an_earlier_program_left_frozen() {
    let pair = Pair::with_web().await;
    let (thaw, stuck) = (pair.script("thaw", "exit 0"), pair.script("stuck", "echo no agent >&2; exit 1"));
    let orders = |leave: &Path| {
        let leave = leave.display();
        format!(
            r#"{{"enter": [], "leave": ["{leave}"], "variables": {{}}, "entering": "1s", "longest": null, "mark": null}}"#
        )
    };
    pair.east.inner.close().await;
    pair.write("east/.debvisor/held/vm.web.json", &orders(&thaw));
    pair.write("east/.debvisor/held/vm.db.json", &orders(&stuck));
    let notes = pair.sync("vm.web").await.unwrap().notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("east: vm.db may still be held since an earlier run: "), "{notes:?}");
    assert!(notes[0].contains("exited with 1: no agent"), "{notes:?}");
    let mut ran: Vec<String> = pair.read("log").lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["stuck", "thaw"]);
    assert!(!pair.path("east/.debvisor/held/vm.web.json").exists());
    assert!(pair.path("east/.debvisor/held/vm.db.json").exists(), "it is tried again");
}

#[tokio::test]
async fn a_machine_that_starts_while_its_files_are_copied_keeps_them() {
    let pair = Pair::with_web().await;
    pair.write("out/web.xml", "<other/>");
    // Stopped when it is asked first, running when it is asked again.
    let asked = pair.path("asked");
    let body = format!("[ -e {0} ] && echo running || {{ echo stopped; touch {0}; }}", asked.display());
    let status = pair.script("status", &body);
    let config = format!("[runner]\nstart = [\"/bin/false\"]\nstop = [\"/bin/false\"]\nstatus = [{status:?}]\n");
    pair.write("east/.debvisor/config.toml", &config);
    pair.east.inner.close().await;
    let error = pair.east.replace_files(&pair.authority(), &key("vm.web"), &pair.path("out")).await.unwrap_err();
    assert!(error.to_string().contains("runs at east"), "{error}");
    assert_eq!(pair.read("east/resources/vm/web/web.xml"), "<domain/>");
    assert_eq!(fs::read_dir(pair.path("east/.debvisor/replaced/vm/web")).unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn a_server_holds_a_vacant_place_for_its_life() {
    let pair = Pair::new();
    pair.east.hold().await.unwrap();
    assert!(pair.east.snapshot().await.unwrap().identity.is_none(), "nothing was founded");
    let other = LocalRegion::new(id("east"), pair.path("east"), opening(&pair.world));
    let stranger = LocalRegion::new(id("north"), pair.path("east"), opening(&pair.world));
    let busy = other.found(&pair.authority()).await.unwrap_err();
    assert!(matches!(&busy, PortError::Busy(words) if words.contains("ops@host")), "{busy}");
    assert!(matches!(other.hold().await, Err(PortError::Busy(_))));
    assert!(other.snapshot().await.is_ok(), "what only looks needs no lock");

    // Founding and writing go on under the lock that is held.
    pair.east.found(&pair.authority()).await.unwrap();
    pair.east.inner.close().await;
    assert!(matches!(other.hold().await, Err(PortError::Busy(_))), "the lock outlives what was opened");
    assert_eq!(pair.east.peer(&id("west")).await.unwrap(), None);
    drop(pair.east);
    other.hold().await.unwrap();
    assert!(matches!(stranger.hold().await, Err(PortError::Refused { .. })));
}

#[tokio::test]
async fn a_disk_mounted_over_a_held_place_is_locked_anew() {
    let pair = Pair::new();
    pair.east.hold().await.unwrap();
    // As a mount would: the directory is another one.
    fs::rename(pair.path("east"), pair.path("hidden")).unwrap();
    pair.east.found(&pair.authority()).await.unwrap();
    let other = LocalRegion::new(id("east"), pair.path("east"), opening(&pair.world));
    assert!(matches!(other.hold().await, Err(PortError::Busy(_))), "what is written is what is locked");
}
