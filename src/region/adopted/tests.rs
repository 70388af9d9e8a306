//! Adopted files are replaced by a point's: all or none of them, wherever it is cut off.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::host::disk::faulty::{EIO, Fault, FaultyDisk, Op};
use crate::host::disk::volatile::{Loss, VolatileDisk};
use crate::host::{Disk, HostDisk, remove_tree};
use crate::live::port::{PointSelector, PortError, RegionPort};
use crate::model::point::PointState;
use crate::region::tests::{Pair, create, id, key, opening};
use crate::region::{LocalRegion, Opening};

/// Where the files of `vm.db` lie, and below what name in it.
const PLACES: [(&str, &str); 3] =
    [("images/db.qcow2", "db.qcow2"), ("definitions/db.xml", "db.xml"), ("images/firmware", "firmware")];
/// Where `vm restore` brings a point.
const POINT: &str = "east/.debvisor/restore/vm/db";
const REPLACED: &str = "east/.debvisor/replaced/vm/db";

/// Bytes, mode and mtime by path; of directories the mode alone.
type Look = BTreeMap<PathBuf, (Vec<u8>, u32, i64)>;

fn look(root: &Path) -> Look {
    let mut look = Look::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        let name = path.strip_prefix(root).unwrap().to_owned();
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            look.insert(name, (Vec::new(), stat.mode() & 0o777, 0));
        } else {
            look.insert(name, (fs::read(&path).unwrap(), stat.mode() & 0o7777, stat.mtime()));
        }
    }
    look
}

/// Files of one generation, with modes and times that nobody would give them by chance.
fn put(root: &Path, named: impl Fn((&str, &str)) -> String, generation: &str, time: i64) {
    for place in PLACES {
        let path = root.join(named(place));
        let files = if place.1 == "firmware" { vec![path.join("vars"), path.join("deep/code")] } else { vec![path] };
        for file in files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, format!("{generation} {}", place.1)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(if time % 2 == 0 { 0o600 } else { 0o640 })).unwrap();
            HostDisk.set_mtime(&file, time * 1_000_000_000).unwrap();
        }
    }
}

fn config(root: &Path) -> String {
    let files = PLACES.map(|(place, _)| root.join(place));
    format!("[resources.db]\nfiles = {files:?}\n")
}

/// A founded region with adopted files of `vm.db`, and a point's files where `vm restore` brings them.
async fn adopted() -> Pair {
    let pair = Pair::new();
    put(pair.dir.path(), |(place, _)| place.to_owned(), "old", 1_000_001);
    put(&pair.path(POINT), |(_, name)| name.to_owned(), "new", 2_000_000);
    pair.write("east/.debvisor/config.toml", &config(pair.dir.path()));
    pair.born("vm.db").await;
    pair.east.inner.close().await;
    pair.west.inner.close().await;
    pair
}

/// What is at the places, by names in the resource.
fn placed(root: &Path) -> BTreeMap<&'static str, Look> {
    let looks = PLACES.map(|(place, name)| (name, look(&root.join(place))));
    looks.into_iter().filter(|(_, look)| !look.is_empty()).collect()
}

fn below(root: &Path) -> BTreeMap<&'static str, Look> {
    let looks = PLACES.map(|(_, name)| (name, look(&root.join(name))));
    looks.into_iter().filter(|(_, look)| !look.is_empty()).collect()
}

fn entries(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[derive(Debug, Clone, Copy)]
struct Story {
    /// Whether the images are on a file system of their own.
    apart: bool,
    /// Which of the places nothing is at.
    lost: &'static [&'static str],
}

#[derive(Debug, Clone, Copy)]
enum Blow {
    None,
    Kill(u64),
    Fail(u64),
    /// A kill at the first call, and in the recovery at the second.
    Twice(u64, u64),
    /// A failure at the first call, and a kill so many calls later.
    FailAndKill(u64, u64),
    Power(u64, Loss),
}

fn copied(template: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let done = std::process::Command::new("cp").arg("-a").arg(template.join(".")).arg(dir.path()).status().unwrap();
    assert!(done.success());
    fs::write(dir.path().join("east/.debvisor/config.toml"), config(dir.path())).unwrap();
    dir
}

fn region(pair: &Pair, root: &Path, disk: Arc<dyn Disk>) -> LocalRegion {
    LocalRegion::new(id("east"), root.join("east"), Opening { disk, ..opening(&pair.world) })
}

/// Strikes once; gives how many calls there were.
async fn strike(pair: &Pair, story: Story, blow: Blow) -> u64 {
    let dir = copied(pair.dir.path());
    let root = dir.path();
    for lost in story.lost {
        fs::remove_file(root.join(lost)).or_else(|_| fs::remove_dir_all(root.join(lost))).unwrap();
    }
    let (old, new) = (placed(root), below(&root.join(POINT)));
    let fault = match blow {
        Blow::None => Fault::None,
        Blow::Kill(at) | Blow::Twice(at, _) | Blow::Power(at, _) => Fault::Crash { at },
        Blow::Fail(at) | Blow::FailAndKill(at, _) => Fault::Fail { at, errno: EIO },
    };
    let disk = |inner: Arc<dyn Disk>, fault| {
        let disk = FaultyDisk::new(inner, fault);
        if story.apart {
            disk.mount(&root.join("images"));
        }
        disk
    };
    let volatile = VolatileDisk::new(root);
    let inner: Arc<dyn Disk> = match blow {
        Blow::Power(..) => Arc::new(volatile.clone()),
        // The call that fails does not come through.
        Blow::FailAndKill(at, after) => {
            Arc::new(FaultyDisk::new(Arc::new(HostDisk), Fault::Crash { at: at + after - 1 }))
        }
        Blow::None | Blow::Kill(_) | Blow::Fail(_) | Blow::Twice(..) => Arc::new(HostDisk),
    };
    let faulty = disk(inner, fault);
    let east = region(pair, root, Arc::new(faulty.clone()));
    let result = east.replace_files(&pair.authority(), &key("vm.db"), &root.join(POINT)).await;
    drop(east);
    if let Blow::Power(_, loss) = blow {
        volatile.lose_power(loss);
    }
    let now = placed(root);
    let whole = now == old || now == new;
    assert!(whole || now.len() < PLACES.len(), "{blow:?}: mixed files would pass for a whole resource: {now:?}");
    let copied =
        faulty.calls().iter().any(|call| call.op == Op::Write && call.path.to_string_lossy().contains(".kept/"));
    assert!(copied == story.apart || !matches!(blow, Blow::None), "what cannot be renamed aside is copied");
    match (&result, blow) {
        (Ok(_), _) => assert_eq!(now, new, "{blow:?}: it was said to be done"),
        (Err(error), Blow::Fail(_)) => assert_eq!(now, old, "{blow:?}: it is undone at once: {error}"),
        (Err(error), Blow::None) => panic!("{error}"),
        (Err(_), Blow::Kill(_) | Blow::Twice(..) | Blow::FailAndKill(..) | Blow::Power(..)) => {}
    }
    if let Blow::Twice(_, at) = blow {
        let east = region(pair, root, Arc::new(disk(Arc::new(HostDisk), Fault::Crash { at })));
        let _ = east.inner.writing().await;
    }
    let east = region(pair, root, Arc::new(disk(Arc::new(HostDisk), Fault::None)));
    east.inner.writing().await.unwrap();
    assert_eq!(east.inner.remarks(), Vec::<String>::new(), "{blow:?}");
    let (now, aside) = (placed(root), entries(&root.join(REPLACED)));
    if now == new {
        let [name] = aside.as_slice() else {
            assert!(old.is_empty() && aside.is_empty(), "{blow:?}: {aside:?}");
            return faulty.count();
        };
        assert_eq!(below(&root.join(REPLACED).join(name)), old, "{blow:?}: the present files are kept");
    } else {
        assert_eq!(now, old, "{blow:?}: all of the old files or all of the new ones");
        assert_eq!(aside, Vec::<String>::new(), "{blow:?}: nothing is left of it");
    }
    for (directory, whole) in [("images", 2), ("definitions", 1)] {
        let names = entries(&root.join(directory));
        assert!(names.len() <= whole && names.iter().all(|name| !name.starts_with('.')), "{blow:?}: {names:?}");
    }
    faulty.count()
}

fn strike_all(story: Story, blows: impl Fn(u64) -> Vec<Blow>) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pair = runtime().block_on(adopted());
    let calls = runtime().block_on(strike(&pair, story, Blow::None));
    assert!(calls > 30, "{calls}");
    let (blows, next) = (blows(calls), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(blow) = blows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    runtime().block_on(strike(&pair, story, *blow));
                }
            });
        }
    });
}

fn kills_and_failures(calls: u64) -> Vec<Blow> {
    (1..=calls).flat_map(|at| [Blow::Kill(at), Blow::Fail(at)]).collect()
}

fn losses_of_power_anywhere(calls: u64) -> Vec<Blow> {
    let losses = [Loss::Bytes, Loss::Names, Loss::Everything];
    (1..=calls + 1).flat_map(|at| losses.map(|loss| Blow::Power(at, loss))).collect()
}

/// At each call, one of the losses.
fn losses_of_power(calls: u64) -> Vec<Blow> {
    let one_of = |at: u64| [Loss::Names, Loss::Everything, Loss::Bytes][(at % 3) as usize];
    (1..=calls + 1).map(|at| Blow::Power(at, one_of(at))).collect()
}

fn killed_twice(calls: u64) -> Vec<Blow> {
    (1..=calls).flat_map(|at| (1..calls).step_by(5).map(move |again| Blow::Twice(at, again + at % 5))).collect()
}

const WHOLE: Story = Story { apart: false, lost: &[] };
const APART: Story = Story { apart: true, lost: &[] };
const HALF_LOST: Story = Story { apart: true, lost: &["images/db.qcow2"] };
const LOST: Story = Story { apart: false, lost: &["images/db.qcow2", "definitions/db.xml", "images/firmware"] };

#[test]
fn killed_or_failing_at_any_call_on_one_file_system() {
    strike_all(WHOLE, kills_and_failures);
}

#[test]
fn killed_or_failing_at_any_call_on_two_file_systems() {
    strike_all(APART, kills_and_failures);
}

#[test]
fn killed_or_failing_at_any_call_where_files_were_lost() {
    strike_all(HALF_LOST, kills_and_failures);
    strike_all(LOST, kills_and_failures);
}

#[test]
fn without_power_at_any_call_on_one_file_system() {
    strike_all(WHOLE, losses_of_power);
}

#[test]
fn without_power_at_any_call_on_two_file_systems() {
    strike_all(APART, losses_of_power);
}

#[test]
#[ignore = "long: cargo test --release --lib region::adopted -- --ignored"]
fn without_power_anywhere() {
    [WHOLE, APART, HALF_LOST, LOST].into_iter().for_each(|story| strike_all(story, losses_of_power_anywhere));
}

#[test]
#[ignore = "long: cargo test --release --lib region::adopted -- --ignored"]
fn killed_again_while_it_recovers() {
    [WHOLE, APART, HALF_LOST, LOST].into_iter().for_each(|story| strike_all(story, killed_twice));
}

#[test]
#[ignore = "long: cargo test --release --lib region::adopted -- --ignored"]
fn killed_while_it_undoes_what_failed() {
    let blows = |calls| (1..=calls).flat_map(|at| (1..15).map(move |after| Blow::FailAndKill(at, after))).collect();
    [WHOLE, APART].into_iter().for_each(|story| strike_all(story, blows));
}

/// A restore that was killed when the first new file was to go to its place.
async fn cut_off(pair: &Pair) {
    let template = copied(pair.dir.path());
    let disk = FaultyDisk::new(Arc::new(HostDisk), Fault::None);
    let east = region(pair, template.path(), Arc::new(disk.clone()));
    east.replace_files(&pair.authority(), &key("vm.db"), &template.path().join(POINT)).await.unwrap();
    let place = template.path().join(PLACES[0].0);
    let at = disk.calls().iter().position(|call| call.op == Op::Rename && call.path == place).unwrap() as u64 + 1;
    let disk = FaultyDisk::new(Arc::new(HostDisk), Fault::Crash { at });
    let east = region(pair, pair.dir.path(), Arc::new(disk));
    east.replace_files(&pair.authority(), &key("vm.db"), &pair.path(POINT)).await.unwrap_err();
}

#[tokio::test]
async fn adopted_files_are_replaced_where_they_are_and_kept_like_others() {
    let pair = adopted().await;
    let (old, new) = (placed(pair.dir.path()), below(&pair.path(POINT)));
    fs::rename(pair.path(POINT), pair.path("out")).unwrap();
    let db = key("vm.db");
    let name = pair.east.replace_files(&pair.authority(), &db, &pair.path("out")).await.unwrap().unwrap();
    assert_eq!(placed(pair.dir.path()), new);
    assert_eq!(below(&pair.path("out")), new, "what is not the region's own is left where it is");
    let listed = pair.east.points(&db).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_ref(), listed[0].state), (1, Some(&name), PointState::SetAside));
    pair.east.export(&db, &PointSelector::Name(name.clone()), &pair.path("former")).await.unwrap();
    assert_eq!(below(&pair.path("former")), old);
    pair.east.discard(&pair.authority(), &db, &name).await.unwrap();
    assert_eq!(entries(&pair.path(REPLACED)), Vec::<String>::new());
    pair.sync("vm.db").await.unwrap();
    assert_eq!(pair.read("west/resources/vm/db/db.xml"), "new db.xml");
    // From a replica, with the images gone.
    remove_tree(&HostDisk, &pair.path("images")).unwrap();
    let from = pair.path("west/resources/vm/db");
    let error = pair.east.replace_files(&pair.authority(), &db, &from).await.unwrap_err();
    assert!(error.to_string().contains("there is no directory"), "its disk may not be mounted: {error}");
    assert_eq!((pair.read("definitions/db.xml").as_str(), entries(&pair.path(REPLACED)).len()), ("new db.xml", 0));
    fs::create_dir(pair.path("images")).unwrap();
    pair.east.replace_files(&pair.authority(), &db, &from).await.unwrap().unwrap();
    assert_eq!(placed(pair.dir.path()), new);
}

#[tokio::test]
async fn a_point_with_other_files_than_the_configuration_names_is_refused() {
    let pair = adopted().await;
    let before = placed(pair.dir.path());
    fs::rename(pair.path(POINT).join("db.xml"), pair.path(POINT).join("former.xml")).unwrap();
    let error = pair.east.replace_files(&pair.authority(), &key("vm.db"), &pair.path(POINT)).await.unwrap_err();
    let PortError::Refused { reason, help: Some(help) } = error else { panic!("{error:?}") };
    assert!(reason.ends_with("are not the point's: the point has former.xml, and no db.xml"), "{reason}");
    assert!(reason.contains("east/.debvisor/config.toml") && help.contains("[resources.db]"), "{reason}: {help}");
    assert_eq!((placed(pair.dir.path()), entries(&pair.path(REPLACED)).len()), (before, 0));
}

#[tokio::test]
async fn without_room_nothing_is_touched() {
    for (apart, from) in [(false, "out"), (true, POINT)] {
        let pair = adopted().await;
        let before = placed(pair.dir.path());
        if !apart {
            fs::rename(pair.path(POINT), pair.path("out")).unwrap();
        }
        let disk = FaultyDisk::new(Arc::new(HostDisk), Fault::None);
        disk.leave_free(100);
        if apart {
            disk.mount(&pair.path("images"));
        }
        let east = region(&pair, pair.dir.path(), Arc::new(disk.clone()));
        let error = east.replace_files(&pair.authority(), &key("vm.db"), &pair.path(from)).await.unwrap_err();
        assert!(matches!(&error, PortError::Refused { .. }), "{error:?}");
        assert!(error.to_string().starts_with("no_space: ") && error.to_string().contains("100 B are free"), "{error}");
        let written = disk.calls().iter().any(|call| call.op == Op::Write && !call.path.ends_with("places.new"));
        assert!(apart || !written, "nothing is written for it");
        assert_eq!((placed(pair.dir.path()), entries(&pair.path(REPLACED)).len()), (before, 0));
        assert!(entries(&pair.path("images")).iter().all(|name| !name.starts_with('.')));
    }
}

#[tokio::test]
async fn what_was_cut_off_is_ended_once_nothing_runs() {
    let pair = adopted().await;
    let (old, new) = (placed(pair.dir.path()), below(&pair.path(POINT)));
    cut_off(&pair).await;
    let halfway = placed(pair.dir.path());
    assert_ne!(halfway, old);
    let runner = |answer: &str| {
        format!("[runner]\nstart = [\"false\"]\nstop = [\"false\"]\nstatus = [\"/bin/echo\", \"{answer}\"]\n")
    };
    let config = pair.read("east/.debvisor/config.toml");
    pair.write("east/.debvisor/config.toml", &format!("{config}{}", runner("running")));
    let east = pair.reopened("east");
    east.inner.writing().await.unwrap();
    let [remark] = &east.inner.remarks()[..] else { panic!() };
    assert!(remark.contains("restore of vm.db was cut off") && remark.contains("vm.db runs at east"), "{remark}");
    assert_eq!(placed(pair.dir.path()), halfway, "nothing is moved from under it");
    let name = entries(&pair.path(REPLACED)).into_iter().find(|name| !name.contains('.')).unwrap();
    let error = east.discard(&pair.authority(), &key("vm.db"), &name).await.unwrap_err();
    assert!(error.to_string().contains("was cut off"), "what it needs is not discarded: {error}");
    drop(east);
    // The configuration need not name the files any longer.
    pair.write("east/.debvisor/config.toml", &runner("stopped"));
    let east = pair.reopened("east");
    east.inner.writing().await.unwrap();
    assert_eq!((east.inner.remarks(), placed(pair.dir.path())), (Vec::new(), new));
    assert_eq!(below(&pair.path(REPLACED).join(&name)), old);
    east.discard(&pair.authority(), &key("vm.db"), &name).await.unwrap();
}

#[tokio::test]
async fn what_a_hand_put_there_meanwhile_is_not_overwritten() {
    let pair = adopted().await;
    let new = below(&pair.path(POINT));
    cut_off(&pair).await;
    pair.write("definitions/db.xml", "by hand");
    let east = pair.reopened("east");
    east.record(&pair.authority(), &[create("vm.other")]).await.unwrap();
    let [remark] = &east.inner.remarks()[..] else { panic!() };
    assert!(remark.contains("db.xml is there again"), "{remark}");
    assert_eq!(pair.read("definitions/db.xml"), "by hand");
    let point = pair.path("out");
    put(&point, |(_, name)| name.to_owned(), "newer", 3_000_000);
    let error = east.replace_files(&pair.authority(), &key("vm.db"), &point).await.unwrap_err();
    assert!(error.to_string().contains("was cut off"), "no second one over it: {error}");
    fs::rename(pair.path("definitions/db.xml"), pair.path("definitions/mine.xml")).unwrap();
    let newer = below(&point);
    east.replace_files(&pair.authority(), &key("vm.db"), &point).await.unwrap().unwrap();
    assert_eq!(placed(pair.dir.path()), newer);
    let asides: Vec<_> =
        entries(&pair.path(REPLACED)).iter().map(|name| below(&pair.path(REPLACED).join(name))).collect();
    assert_eq!((asides.len(), &asides[1]), (2, &new), "the first one was ended before");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_copied_stays() {
    let pair = adopted().await;
    // The runner says stopped, and something writes to the image between the two questions.
    let image = pair.path("images/db.qcow2");
    let (asked, body) = (pair.path("asked"), "echo stopped");
    let status = pair.script(
        "status",
        &format!("{body}; [ -e {0} ] && echo more >> {1}; touch {0}", asked.display(), image.display()),
    );
    let config = pair.read("east/.debvisor/config.toml");
    let runner = format!("[runner]\nstart = [\"false\"]\nstop = [\"false\"]\nstatus = [{status:?}]\n");
    pair.write("east/.debvisor/config.toml", &format!("{config}{runner}"));
    let disk = FaultyDisk::new(Arc::new(HostDisk), Fault::None);
    disk.mount(&pair.path("images"));
    let east = region(&pair, pair.dir.path(), Arc::new(disk));
    let error = east.replace_files(&pair.authority(), &key("vm.db"), &pair.path(POINT)).await.unwrap_err();
    assert!(error.to_string().contains("db.qcow2 changed while it was copied"), "{error}");
    assert_eq!(pair.read("images/db.qcow2"), "old db.qcow2more\n");
    assert_eq!((pair.read("definitions/db.xml").as_str(), entries(&pair.path(REPLACED)).len()), ("old db.xml", 0));
}
