//! Bitmaps as hints, with images of the real programs: what they say, that the rest is not read, that nothing is lost
//! whatever was done to the image, and what is left where a reading ends in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::lab::{BLOCK, Lab};
use crate::host::disk::faulty::{Fault, FaultyDisk};
use crate::host::disk::{Disk, HostDisk, Open};
use crate::model::Digest;
use crate::model::point::PointKind;
use crate::replica::bitmap::{doubt, list, written};
use crate::replica::hint::{BitmapTool, Hinting, Hints};
use crate::replica::manifest::Node;
use crate::replica::place::Place;
use crate::replica::qcow2::{HEAD_BYTES, Header, header};
use crate::replica::source::{LocalSource, ReadingPlan};

const MIB: u64 = 1 << 20;
const PERIOD: Duration = Duration::from_secs(86_400);

/// `qemu-img`, and the call in which the process is killed.
#[derive(Debug)]
struct Tool {
    /// Counted down by two in each call: at 1 it is killed before it, at 0 after it.
    dies: AtomicI64,
}

impl Tool {
    fn living() -> Arc<Self> {
        Self::dying(-1)
    }

    fn dying(at: i64) -> Arc<Self> {
        Arc::new(Self { dies: AtomicI64::new(at) })
    }

    fn change(&self, how: &str, image: &Path, bitmap: &str) -> Result<(), String> {
        let left = self.dies.fetch_sub(2, Ordering::SeqCst);
        assert!(left != 0, "killed before {how}");
        let image = image.to_str().unwrap();
        let done = Command::new("qemu-img").args(["bitmap", how, image, bitmap]).output().unwrap();
        assert!(left != 1, "killed after {how}");
        if done.status.success() { Ok(()) } else { Err(String::from_utf8(done.stderr).unwrap()) }
    }
}

impl BitmapTool for Tool {
    fn add(&self, image: &Path, bitmap: &str) -> Result<(), String> {
        self.change("--add", image, bitmap)
    }

    fn remove(&self, image: &Path, bitmap: &str) -> Result<(), String> {
        self.change("--remove", image, bitmap)
    }
}

fn hinting(tool: &Arc<Tool>) -> Hinting {
    Hinting::By(Hints { bitmap: "hint".to_owned(), period: PERIOD, tool: Arc::clone(tool) as Arc<dyn BitmapTool> })
}

fn qemu_img(args: &[&str]) -> String {
    let done = Command::new("qemu-img").args(args).output().expect("qemu-img is installed");
    assert!(done.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// What a machine does that has the image: commands of `qemu-io`.
fn guest(image: &Path, commands: &[String]) {
    let mut io = Command::new("qemu-io");
    io.args(["-f", "qcow2", "-d", "unmap"]);
    for command in commands {
        io.args(["-c", command]);
    }
    let done = io.arg(image).output().expect("qemu-io is installed");
    assert!(done.status.success(), "{commands:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn write(image: &Path, at: u64, len: u64, byte: u8) {
    guest(image, &[format!("write -P {byte} {at} {len}")]);
}

/// A lab with a machine of one image, filled in part, and hints.
fn lab(cluster: &str, size: &str) -> (Lab, PathBuf) {
    let mut lab = Lab::brief("vm.web");
    lab.hinting = hinting(&Tool::living());
    fs::write(lab.source().join("domain.xml"), "<domain/>").unwrap();
    let image = lab.source().join("disk.qcow2");
    let options = format!("cluster_size={cluster}");
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &options, image.to_str().unwrap(), size]);
    guest(&image, &["write -P 1 0 6M".to_owned(), "write -P 2 9M 3M".to_owned(), "write -P 3 20M 5M".to_owned()]);
    (lab, image)
}

fn assert_copied(lab: &Lab) {
    for found in fs::read_dir(lab.source()).unwrap() {
        let name = found.unwrap().file_name();
        let (source, copy) = (lab.source().join(&name), lab.replica().join(&name));
        assert!(fs::read(source).unwrap() == fs::read(copy).unwrap(), "{} differs", name.display());
    }
}

/// The reasons why disks were read whole.
fn whole(notes: &[String]) -> Vec<&String> {
    notes.iter().filter(|note| note.contains("full comparison")).collect()
}

fn bitmaps(image: &Path) -> BTreeSet<String> {
    let info: serde_json::Value =
        serde_json::from_str(&qemu_img(&["info", "--output=json", image.to_str().unwrap()])).unwrap();
    let all = info["format-specific"]["data"]["bitmaps"].as_array().cloned().unwrap_or_default();
    all.iter().map(|bitmap| bitmap["name"].as_str().unwrap().to_owned()).collect()
}

/// Changes bytes of the file behind every program's back: `with` in the place of whole runs of `byte`.
fn change_behind(image: &Path, byte: u8, with: u8) {
    let bytes = fs::read(image).unwrap();
    let at = bytes.windows(BLOCK).position(|window| window.iter().all(|each| *each == byte)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(image).unwrap();
    file.write_all_at(&[with; 16], (at + BLOCK / 2) as u64).unwrap();
}

fn opened(image: &Path) -> (Box<dyn crate::host::disk::DiskFile>, Header) {
    let file = HostDisk.open(image, Open::Read).unwrap();
    let mut head = vec![0; HEAD_BYTES];
    let read = file.read_at(&mut head, 0).unwrap();
    let header = header(&head[..read]).unwrap();
    (file, header)
}

#[test]
fn a_bitmap_says_what_was_written() {
    for (cluster, granularity) in [("512", "4k"), ("4k", "4k"), ("64k", "64k"), ("2M", "1M"), ("64k", "32k")] {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk.qcow2");
        let name = image.to_str().unwrap();
        qemu_img(&["create", "-q", "-f", "qcow2", "-o", &format!("cluster_size={cluster}"), name, "300000k"]);
        write(&image, 0, 2 * MIB, 1);
        qemu_img(&["bitmap", "--add", "-g", granularity, name, "other"]);
        qemu_img(&["bitmap", "--add", "-g", granularity, name, "one"]);
        qemu_img(&["bitmap", "--add", "--disable", name, "off"]);
        guest(
            &image,
            &["write -P 2 5M 64k", "write -z 70M 1M", "discard 100M 1M", "write -P 1 299999k 1k"].map(str::to_owned),
        );
        let (file, header) = opened(&image);
        assert_eq!(header.size, 300_000 << 10);
        let all = list(&*file, &image, &header).unwrap();
        let named = |name: &str| all.iter().find(|listed| listed.name == name).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(doubt(named("off")), Some("is disabled"));
        assert_eq!(doubt(named("one")), None);
        let written = written(&*file, &image, &header, named("one")).unwrap();
        let dirty: Vec<u64> =
            (0..300_000_u64 / 4).filter(|at| written.any(at << 12, 4096)).map(|at| at << 12).collect();
        let grain = match granularity {
            "4k" => 4 << 10,
            "32k" => 32 << 10,
            "64k" => 64 << 10,
            _ => MIB,
        };
        let expected = [(5 * MIB, 64 << 10), (70 * MIB, MIB), (100 * MIB, MIB), (299_999 << 10, 1 << 10)];
        let touches = |at: u64| {
            let (from, to) = (at / grain * grain, at / grain * grain + grain);
            expected.iter().any(|(start, len)| from < start + len && *start < to)
        };
        let wanted: Vec<u64> = (0..300_000_u64 / 4).map(|at| at << 12).filter(|at| touches(*at)).collect();
        assert_eq!(dirty, wanted, "clusters of {cluster}, granularity {granularity}");
    }
}

#[test]
fn only_what_may_have_changed_is_read() {
    let (mut lab, image) = lab("64k", "64M");
    let first = lab.sync();
    assert_eq!(whole(&first.notes).len(), 1, "{:?}", first.notes);
    assert!(first.notes[0].contains("disk.qcow2: full comparison: its bitmap begins now"), "{:?}", first.notes);
    assert_copied(&lab);
    let begun = bitmaps(&image);
    assert_eq!(begun.len(), 1);
    // Nothing changed: nothing is begun, and the image is not touched.
    assert!(!lab.sync().published.new);
    assert_eq!(bitmaps(&image), begun);

    for round in 0..4_u8 {
        write(&image, 21 * MIB, 64 << 10, 10 + round);
        let report = lab.sync();
        assert_eq!(report.notes, Vec::<String>::new());
        assert_copied(&lab);
        assert!(bitmaps(&image).len() == 2, "the former one stays until the next: {:?}", bitmaps(&image));
    }
    // That it does not read the rest: a change behind everybody's back stays behind, and the audit finds it.
    change_behind(&image, 2, 99);
    write(&image, 40 * MIB, 5000, 7);
    assert_eq!(lab.sync().notes, Vec::<String>::new());
    assert!(fs::read(&image).unwrap() != fs::read(lab.replica().join("disk.qcow2")).unwrap());
    lab.pass_time(PERIOD);
    write(&image, 40 * MIB, 5000, 8);
    let checked = lab.sync();
    assert!(checked.notes[0].contains("disk.qcow2: 1 blocks of 64 KiB were written without its bitmap"), "{checked:?}");
    assert_copied(&lab);
    // From then on it is not believed, whatever was begun.
    for byte in [9, 10] {
        write(&image, 41 * MIB, 5000, byte);
        let report = lab.sync();
        assert!(report.notes[0].contains("full comparison: bitmaps of the name hint are not believed"), "{report:?}");
        assert_copied(&lab);
    }
    // Another name is another chance.
    lab.hinting = Hinting::By(Hints { bitmap: "next".to_owned(), period: PERIOD, tool: Tool::living() });
    for full in [1, 0] {
        write(&image, 41 * MIB, 5000, 20 + full as u8);
        assert_eq!(whole(&lab.sync().notes).len(), full);
        assert_copied(&lab);
    }
}

#[test]
fn a_sound_bitmap_is_checked_too_and_stays() {
    let (lab, image) = lab("64k", "64M");
    lab.sync();
    for passes in [0, 1, 0, 1] {
        lab.pass_time(PERIOD * passes);
        write(&image, 30 * MIB, 100_000, 50 + passes as u8);
        assert_eq!(lab.sync().notes, Vec::<String>::new());
        assert_copied(&lab);
    }
}

#[test]
fn a_bitmap_that_was_cleared_is_found_out() {
    let (lab, image) = lab("64k", "64M");
    lab.sync();
    write(&image, 21 * MIB, 64 << 10, 10);
    for bitmap in bitmaps(&image) {
        qemu_img(&["bitmap", "--clear", image.to_str().unwrap(), &bitmap]);
    }
    assert_eq!(lab.sync().notes, Vec::<String>::new());
    assert!(fs::read(&image).unwrap() != fs::read(lab.replica().join("disk.qcow2")).unwrap(), "it was a lie");
    lab.pass_time(PERIOD);
    write(&image, 30 * MIB, 5000, 8);
    let checked = lab.sync();
    assert!(checked.notes[0].contains("blocks of 64 KiB were written without its bitmap"), "{checked:?}");
    assert_copied(&lab);
}

/// A machine that has the image open, and has written a byte there that the image did not have.
fn machine(image: &Path, byte: u8, range: &str) -> Child {
    let write = format!("write -P {byte} {range}");
    let mut io = Command::new("qemu-io");
    io.args(["-f", "qcow2", "-c", &write, "-c", "flush", "-c", "sleep 600000"]).arg(image);
    let runs = io.stdout(Stdio::null()).spawn().unwrap();
    let wrote = || fs::read(image).unwrap().windows(4096).any(|window| window.iter().all(|each| *each == byte));
    let soon = (0..1200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        wrote()
    });
    assert!(soon, "the machine does not write");
    std::thread::sleep(Duration::from_millis(300));
    runs
}

#[test]
fn a_bitmap_in_use_is_not_believed() {
    let (lab, image) = lab("64k", "64M");
    lab.sync();
    let mut runs = machine(&image, 77, "21M 64k");
    let report = lab.sync();
    assert_eq!(whole(&report.notes).len(), 1, "{:?}", report.notes);
    assert!(report.notes[0].contains("lock"), "{:?}", report.notes);
    assert_copied(&lab);
    runs.kill().unwrap();
    runs.wait().unwrap();

    // Where nothing of that machine was copied, its end without a word leaves a bitmap that nobody believes.
    write(&image, 21 * MIB, 5000, 8);
    assert!(whole(&lab.sync().notes)[0].contains("its bitmap begins now"));
    let mut runs = machine(&image, 78, "21M 64k");
    runs.kill().unwrap();
    runs.wait().unwrap();
    let report = lab.sync();
    assert!(whole(&report.notes)[0].contains("is in use, or was when its program died"), "{:?}", report.notes);
    assert_copied(&lab);
    assert_eq!(bitmaps(&image).len(), 2, "what nobody names was taken out");
    write(&image, 21 * MIB, 5000, 9);
    assert_eq!(lab.sync().notes, Vec::<String>::new());
    assert_copied(&lab);
    assert_eq!(bitmaps(&image).len(), 2);
}

/// What was put back from a backup of before the last reading, and from one of after it.
#[test]
fn an_image_that_was_put_back_is_what_its_own_bitmap_says() {
    let (lab, image) = lab("64k", "64M");
    let backup = lab.dir.path().join("backup.qcow2");
    lab.sync();
    for (sync_between, wholly) in [(true, 1), (false, 0)] {
        write(&image, 21 * MIB, 64 << 10, 30 + wholly);
        lab.sync();
        write(&image, 22 * MIB, 64 << 10, 40 + wholly);
        fs::copy(&image, &backup).unwrap();
        write(&image, 23 * MIB, 64 << 10, 50 + wholly);
        if sync_between {
            lab.sync();
        }
        fs::copy(&backup, &image).unwrap();
        assert_eq!(whole(&lab.sync().notes).len(), usize::from(wholly));
        assert_copied(&lab);
    }
}

#[test]
fn what_cannot_be_relied_on_is_told() {
    let (mut lab, image) = lab("64k", "64M");
    let why = |lab: &Lab| {
        write(&image, 30 * MIB, 5000, fs::metadata(&image).map_or(0, |stat| stat.len() as u8 | 1));
        let report = lab.sync();
        assert_copied(lab);
        report.notes.join("\n")
    };
    lab.hinting = Hinting::Refused("nobody knows".to_owned());
    assert_eq!(why(&lab), "disk.qcow2: full comparison: nobody knows");
    lab.hinting = hinting(&Tool::living());
    lab.sync();
    assert!(why(&lab).contains("begins now"));
    assert_eq!(why(&lab), "");
    let old = image.to_str().unwrap();
    for bitmap in bitmaps(&image) {
        qemu_img(&["bitmap", "--disable", old, &bitmap]);
    }
    assert!(why(&lab).contains("is disabled"));
    for bitmap in bitmaps(&image) {
        qemu_img(&["bitmap", "--remove", old, &bitmap]);
    }
    assert!(why(&lab).contains("it has no bitmap hint-"));
    assert_eq!(why(&lab), "");
    qemu_img(&["resize", "-q", old, "80M"]);
    assert!(why(&lab).contains("its size was changed"));
    assert_eq!(why(&lab), "");
    // The hashes and the map that were kept: damaged, then gone.
    let kept = |suffix: &str| {
        let all = fs::read_dir(lab.dir.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|end| end == suffix)).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    for (suffix, at, told) in
        [("map", 0, "the map that was kept of it is damaged"), ("idx", 2000, "kept of it are damaged")]
    {
        let path = kept(suffix);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(why(&lab).contains(told));
        assert_eq!(why(&lab), "");
        fs::remove_file(kept(suffix)).unwrap();
        assert!(whole(&[why(&lab)]).len() == 1);
        assert_eq!(why(&lab), "");
    }
    // A program that knows no bitmaps clears the flag by which they count.
    fs::OpenOptions::new().write(true).open(&image).unwrap().write_all_at(&[0; 8], 88).unwrap();
    assert!(why(&lab).contains("it has no bitmap hint-"));
    qemu_img(&["amend", "-f", "qcow2", "-o", "lazy_refcounts=on", old]);
    assert_eq!(why(&lab), "");
    let plain = lab.dir.path().join("plain.qcow2");
    qemu_img(&["convert", "-O", "qcow2", "-o", "compat=0.10", old, plain.to_str().unwrap()]);
    // It is no smaller than what it takes the place of.
    write(&plain, 50 * MIB, 5 * MIB, 60);
    fs::rename(&plain, &image).unwrap();
    assert!(why(&lab).contains("an image of version 2, which keeps no bitmaps"));
}

/// Raw disks, small images and several of them beside each other.
#[test]
fn each_disk_of_a_machine_has_its_own() {
    let (lab, image) = lab("64k", "64M");
    let second = lab.source().join("second.qcow2");
    let raw = lab.source().join("raw.raw");
    fs::copy(&image, &second).unwrap();
    fs::write(&raw, vec![5; 5 << 20]).unwrap();
    fs::write(lab.source().join("small.qcow2"), &fs::read(&image).unwrap()[..262_144]).unwrap();
    assert_eq!(whole(&lab.sync().notes).len(), 2);
    for round in 0..3 {
        write(&image, 21 * MIB, 5000, 10 + round);
        if round > 0 {
            write(&second, 22 * MIB, 5000, 10 + round);
            fs::OpenOptions::new().write(true).open(&raw).unwrap().write_all_at(&[round; 10], 1 << 20).unwrap();
        }
        assert_eq!(lab.sync().notes, Vec::<String>::new());
        assert_copied(&lab);
    }
    // What verifies reads all of it, begins nothing, and leaves the hint as it was.
    let before = bitmaps(&image);
    let plan = ReadingPlan { full: true, ..plan(&lab, &Tool::living()) };
    roots(&lab, Arc::new(HostDisk), &plan).unwrap();
    assert_eq!(bitmaps(&image), before);
    write(&image, 21 * MIB, 5000, 99);
    assert_eq!(lab.sync().notes, Vec::<String>::new());
    assert_copied(&lab);
}

fn plan(lab: &Lab, tool: &Arc<Tool>) -> ReadingPlan {
    ReadingPlan {
        resource: lab.key.clone(),
        live: Place::Directory(lab.source()),
        copy: None,
        cache: lab.dir.path().join("cache"),
        kind: PointKind::Cold,
        full: false,
        hinting: hinting(tool),
    }
}

/// What a reading says of the files.
fn roots(lab: &Lab, disk: Arc<dyn Disk>, plan: &ReadingPlan) -> Result<BTreeMap<String, Digest>, String> {
    let source = LocalSource::new(disk, lab.world());
    let reading = source.open_reading(plan, &CancellationToken::new()).map_err(|error| error.to_string())?;
    source.close_reading(reading.session).map_err(|error| error.to_string())?;
    let files = reading.manifest.entries.iter().filter_map(|entry| match &entry.node {
        Node::File { size: _, root } => Some((entry.path.clone(), *root)),
        Node::Directory | Node::Link { .. } => None,
    });
    Ok(files.collect())
}

/// What the files are, by somebody who remembers nothing.
fn truth(lab: &Lab) -> BTreeMap<String, Digest> {
    let fresh = lab.dir.path().join("nothing");
    let plan = ReadingPlan { cache: fresh.clone(), hinting: Hinting::Off, ..plan(lab, &Tool::living()) };
    let roots = roots(lab, Arc::new(HostDisk), &plan).unwrap();
    fs::remove_dir_all(fresh).unwrap();
    roots
}

/// The process is killed before and after each change of a bitmap and at each call that writes the cache; in the next
/// life, after its machine wrote again, and in the one after that, nothing is missing, and hints are used again.
#[test]
fn a_reading_that_was_killed_loses_no_change() {
    let (lab, image) = lab("64k", "64M");
    let living = Tool::living();
    let host = || Arc::new(HostDisk) as Arc<dyn Disk>;
    roots(&lab, host(), &plan(&lab, &living)).unwrap();
    write(&image, 10 * MIB, 5000, 4);
    roots(&lab, host(), &plan(&lab, &living)).unwrap();
    let (cache, saved) = (lab.dir.path().join("cache"), lab.dir.path().join("saved"));
    let copy = |from: &Path, to: &Path| {
        let _ = fs::remove_dir_all(to);
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&cache, &saved);
    let kept = lab.dir.path().join("kept.qcow2");
    fs::copy(&image, &kept).unwrap();

    let mut byte = 100;
    let mut life = |dies: i64, fault: Fault| {
        // The same inode, so that only what was written since is new.
        fs::copy(&kept, &image).unwrap();
        copy(&saved, &cache);
        byte += 1;
        write(&image, 21 * MIB, 64 << 10, byte);
        let disk = FaultyDisk::new(host(), fault);
        let ended =
            catch_unwind(AssertUnwindSafe(|| roots(&lab, Arc::new(disk.clone()), &plan(&lab, &Tool::dying(dies)))));
        let died = !matches!(ended, Ok(Ok(_)));
        for at in [21, 23, 24] {
            assert_eq!(roots(&lab, host(), &plan(&lab, &living)).unwrap(), truth(&lab), "{dies} {fault:?}");
            write(&image, at * MIB, 64 << 10, byte.wrapping_add(100));
        }
        let source = LocalSource::new(host(), lab.world());
        let reading = source.open_reading(&plan(&lab, &living), &CancellationToken::new()).unwrap();
        assert_eq!(whole(&reading.notes).len(), 0, "{dies} {fault:?}: {:?}", reading.notes);
        assert_eq!(bitmaps(&image).len(), 2, "{dies} {fault:?}: those that nobody names are gone");
        died
    };
    let tools: Vec<bool> = (0..5).map(|dies| life(dies, Fault::None)).collect();
    assert_eq!(tools, [true, true, true, true, false], "one begins, one is taken out");
    let mut at = 1;
    while life(-1, Fault::Crash { at }) {
        at += 1;
    }
    assert!(at > 8, "the cache is written in {at} calls");
}

/// What a machine, or a person, does to an image between two copies.
#[derive(Debug, Clone)]
enum Act {
    Write(u64, u64, u8),
    Zero(u64, u64, bool),
    Discard(u64, u64),
    Compress(u64, u8),
    Snapshot,
    Revert,
    Forget,
    Grow,
    Behind,
}

fn act() -> impl Strategy<Value = Act> {
    let place = || (0..60_u64 * 16, 1..80_u64);
    let bytes = |(at, len): (u64, u64)| (at << 16 | (len * 331 % 127) << 9, len << 12);
    prop_oneof![
        8 => (place(), 1..250_u8).prop_map(move |(place, byte)| (bytes(place), byte)).prop_map(|((at, len), byte)| Act::Write(at, len, byte)),
        2 => (place(), any::<bool>()).prop_map(move |(place, unmap)| (bytes(place), unmap)).prop_map(|((at, len), unmap)| Act::Zero(at, len, unmap)),
        3 => place().prop_map(bytes).prop_map(|(at, len)| Act::Discard(at, len)),
        1 => (0..30_u64, 1..250_u8).prop_map(|(at, byte)| Act::Compress(at, byte)),
        1 => Just(Act::Snapshot),
        1 => Just(Act::Revert),
        1 => Just(Act::Forget),
        1 => Just(Act::Grow),
        1 => Just(Act::Behind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_point_is_what_the_image_was(
        cluster in prop_oneof![Just("4k"), Just("64k"), Just("2M")],
        rounds in prop::collection::vec(prop::collection::vec(act(), 1..5), 3..8),
    ) {
        let (mut lab, image) = lab(cluster, "64M");
        let name = image.to_str().unwrap();
        let used = lab.hinting.clone();
        lab.sync();
        let (mut snapshots, mut size) = (0, 64);
        for acts in &rounds {
            for act in acts {
                match act {
                    Act::Write(at, len, byte) => write(&image, *at, *len, *byte),
                    Act::Zero(at, len, unmap) => guest(&image, &[format!("write -z {} {at} {len}", if *unmap { "-u" } else { "" })]),
                    Act::Discard(at, len) => guest(&image, &[format!("discard {at} {len}")]),
                    Act::Compress(at, byte) => guest(&image, &[format!("discard {}M 2M", at * 2), format!("write -c -P {byte} {}M 2M", at * 2)]),
                    Act::Snapshot => {
                        snapshots += 1;
                        qemu_img(&["snapshot", "-c", &format!("s{snapshots}"), name]);
                    }
                    // Only where the disk has the size that it had then.
                    Act::Revert if snapshots > 0 && size == 64 => {
                        // An image with bitmaps is not reverted.
                        for bitmap in bitmaps(&image) {
                            qemu_img(&["bitmap", "--remove", name, &bitmap]);
                        }
                        qemu_img(&["snapshot", "-a", &format!("s{snapshots}"), name]);
                    }
                    Act::Forget if snapshots > 0 => {
                        qemu_img(&["snapshot", "-d", &format!("s{snapshots}"), name]);
                        snapshots -= 1;
                    }
                    Act::Grow if snapshots == 0 => {
                        size += 4;
                        qemu_img(&["resize", "-q", name, &format!("{size}M")]);
                    }
                    // A copy that knows of no bitmaps comes in between.
                    Act::Behind => {
                        lab.hinting = Hinting::Off;
                        lab.sync();
                        assert_copied(&lab);
                        lab.hinting = used.clone();
                    }
                    Act::Revert | Act::Forget | Act::Grow => {}
                }
            }
            lab.sync();
            assert_copied(&lab);
        }
        // Whatever was done to it, a hint is used again.
        for byte in 1..3 {
            write(&image, MIB, 64 << 10, 250 + byte);
            prop_assert!(byte == 1 || whole(&lab.sync().notes).is_empty());
            lab.sync();
            assert_copied(&lab);
        }
        lab.assert_converged();
    }
}
