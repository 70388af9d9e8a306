//! What travels, and what is left when a sync is cut short.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::lab::{BLOCK, GROUP, Lab, allocated, noise, picture};
use super::odd_disk::OddDisk;
use crate::host::disk::faulty::Fault;
use crate::host::disk::{Disk, HostDisk};
use crate::model::point::{BlockReason, PointKind};
use crate::replica::StopCheck;
use crate::replica::export::{CUT_OFF, Contents, ExportOrder, Groups, export, write_out};
use crate::replica::giving::contents;
use crate::replica::place::Place;
use crate::replica::port::TransferError;
use crate::replica::source::{LocalSource, ReadingPlan, Still, look_when_settled};
use crate::replica::transfer::SyncOptions;

#[test]
fn only_what_changed_travels_and_zeros_never_do() {
    let lab = Lab::new("vm.web");
    let mut disk = vec![0; 5 * GROUP];
    disk[..10 * BLOCK].copy_from_slice(&noise(1, 10 * BLOCK));
    lab.write("disk.raw", &disk);
    lab.write("vm.xml", b"<domain/>");
    // Zeros that were written are still zeros.
    lab.patch("disk.raw", 2 * GROUP, &vec![0; 4 * BLOCK]);
    let report = lab.sync();
    assert_eq!(report.bytes.0, 10 * BLOCK as u64 + 9);
    assert!(allocated(&lab.replica().join("disk.raw")) <= 11 * BLOCK as u64);

    lab.patch("disk.raw", 3 * BLOCK, &noise(2, 2 * BLOCK));
    lab.patch("disk.raw", 9 * BLOCK, &vec![0; BLOCK]);
    let report = lab.sync();
    assert_eq!(report.bytes.0, 2 * BLOCK as u64);
    assert_eq!(report.published.changed.0, 3 * BLOCK as u64);
    assert!(allocated(&lab.replica().join("disk.raw")) <= 10 * BLOCK as u64);
    lab.assert_converged();

    // A file that was only touched is the same content.
    lab.resize("disk.raw", 5 * GROUP);
    let report = lab.sync();
    assert!(report.published.new && report.bytes.0 == 0 && report.published.changed.0 == 0);
    let hashes: Vec<_> = lab.points().iter().map(|point| point.data_hash).collect();
    assert!(hashes.len() == 3 && hashes[0] == hashes[1] && hashes[1] != hashes[2]);
    lab.assert_converged();
}

#[test]
fn a_small_file_that_changed_in_part_is_put_together_from_what_is_there() {
    let lab = Lab::new("config.app");
    lab.write("a", &noise(1, 10 * BLOCK));
    lab.sync();
    lab.patch("a", 5 * BLOCK, b"changed");
    assert_eq!(lab.sync().bytes.0, BLOCK as u64);
    lab.resize("a", GROUP + BLOCK);
    assert_eq!(lab.sync().bytes.0, 0);
    lab.resize("a", 3 * GROUP / 4);
    assert_eq!(lab.sync().bytes.0, 0);
    lab.assert_converged();
}

#[test]
fn a_sync_that_was_cut_short_goes_on_where_it_was() {
    let lab = Lab::new("storage.s");
    lab.write("old", b"x");
    lab.sync();
    lab.write("big", &noise(1, 40 * GROUP));
    lab.write("small", &noise(2, 3 * BLOCK));
    let requests = Arc::new(AtomicU64::new(0));
    let (source, _, target) = lab.ends(Fault::None);
    let (count, cancel) = (Arc::clone(&requests), lab.cancel.clone());
    *source.before_blocks.lock().unwrap() = Some(Box::new(move || {
        if count.fetch_add(1, Ordering::SeqCst) == 20 {
            cancel.cancel();
        }
    }));
    let failure = lab.drive(&source, &target, &SyncOptions::default()).unwrap_err();
    assert!(matches!(failure.error, TransferError::Interrupted), "{failure}");
    let had = failure.bytes.0;
    assert!(had > 0 && had < 40 * GROUP as u64);
    assert_eq!(lab.newest(), Some(1));

    let mut lab = lab;
    lab.cancel = CancellationToken::new();
    let report = lab.sync();
    // It was stopped, not killed: nothing at all travels twice.
    assert_eq!(report.bytes.0 + had, 40 * GROUP as u64 + 3 * BLOCK as u64);
    assert_eq!(report.resumed.0, had);
    lab.assert_converged();
}

#[test]
fn a_killed_sync_resends_at_most_what_was_in_flight() {
    let lab = Lab::new("storage.s");
    lab.write("big", &noise(1, 50 * GROUP));
    let calls = {
        let lab = Lab::new("storage.s");
        lab.write("big", &noise(1, 50 * GROUP));
        lab.sync_with(Fault::None).1.count()
    };
    let (result, _) = lab.sync_with(Fault::Crash { at: calls * 2 / 3 });
    let had = result.unwrap_err().bytes.0;
    lab.catalog.revive();
    let report = lab.sync();
    let again = (report.bytes.0 + had).saturating_sub(50 * GROUP as u64);
    assert!(again <= 128 << 20, "{again}");
    assert!(report.resumed.0 > 0, "something was durable: {had}");
    lab.assert_converged();
}

#[test]
fn what_arrived_and_is_no_longer_wanted_leaves_no_trace() {
    let calls = {
        let lab = Lab::brief("storage.s");
        lab.write("big", &noise(1, 2 * GROUP));
        lab.write("other", &noise(3, 2 * BLOCK));
        lab.sync_with(Fault::None).1.count()
    };
    for at in 1..=calls {
        let lab = Lab::brief("storage.s");
        lab.write("big", &noise(1, 2 * GROUP));
        lab.write("other", &noise(3, 2 * BLOCK));
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        // The source went on: other bytes, zeros here and a whole group of them, another length.
        let mut other = noise(2, 2 * GROUP + 7 * BLOCK + 5);
        other[..30 * BLOCK].copy_from_slice(&noise(1, 30 * BLOCK));
        other[10 * BLOCK..20 * BLOCK].fill(0);
        other[GROUP..2 * GROUP].fill(0);
        lab.write("big", &other);
        lab.write("other", &[&vec![0; BLOCK][..], &noise(4, BLOCK)].concat());
        lab.sync();
        assert!(picture(&lab.source()) == picture(&lab.replica()), "call {at}");
        lab.assert_converged();
    }
}

#[test]
fn a_bit_that_flips_in_what_arrived_is_found_before_it_counts() {
    let lab = Lab::new("storage.s");
    lab.write("disk", &noise(1, GROUP + BLOCK));
    lab.sync();
    lab.patch("disk", 0, &noise(2, 20 * BLOCK));
    lab.write("new", &noise(3, GROUP + BLOCK));
    lab.write("small", &noise(4, 2 * BLOCK));
    let (source, _, target) = lab.ends(Fault::None);
    let cancel = lab.cancel.clone();
    let mut requests = 0;
    *source.before_blocks.lock().unwrap() = Some(Box::new(move || {
        requests += 1;
        if requests == 3 {
            cancel.cancel();
        }
    }));
    lab.drive(&source, &target, &SyncOptions::default()).unwrap_err();
    let mut flipped = 0;
    for entry in fs::read_dir(lab.place().incoming).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "data") && allocated(&path) > 0 {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"flip", 5000).unwrap();
            flipped += 1;
        }
    }
    assert!(flipped >= 2, "{flipped}");
    let mut lab = lab;
    lab.cancel = CancellationToken::new();
    let report = lab.sync();
    assert!(report.resumed.0 > 0, "what was not altered is not sent again");
    lab.assert_converged();
    lab.export(1).unwrap();
}

#[test]
fn a_sync_that_lacks_room_is_refused_before_it_takes_any() {
    let lab = Lab::new("storage.s");
    lab.write("disk", &noise(1, GROUP + BLOCK));
    lab.sync();
    lab.patch("disk", 0, &noise(2, 10 * BLOCK));
    // The blocks, and as many for their undo.
    let needed = 20 * BLOCK as u64;
    let (source, _, target) = lab.ends_on(Arc::new(OddDisk { free: Some(needed), ..OddDisk::default() }), Fault::None);
    match lab.drive(&source, &target, &SyncOptions::default()).unwrap_err().error {
        TransferError::Blocked(refusal) => {
            assert_eq!(refusal.reason, BlockReason::NoSpace);
            assert!(refusal.needed.unwrap().0 > needed && refusal.needed.unwrap().0 < needed * 11 / 10);
        }
        error => panic!("{error}"),
    }
    let (source, _, target) =
        lab.ends_on(Arc::new(OddDisk { free: Some(needed * 11 / 10), ..OddDisk::default() }), Fault::None);
    lab.drive(&source, &target, &SyncOptions::default()).unwrap();
    lab.assert_converged();
}

#[test]
fn an_export_that_lacks_room_is_refused_before_it_takes_any() {
    let lab = Lab::new("storage.s");
    lab.write("small", &noise(1, 100));
    // Only what is not zeros takes room.
    let mut disk = vec![0; 2 * GROUP];
    disk[..BLOCK].copy_from_slice(&noise(2, BLOCK));
    lab.write("disk", &disk);
    lab.sync();
    let (into, needed) = (lab.dir.path().join("out"), BLOCK as u64 + 100);
    let order = ExportOrder { sequence: 1, into: &into, owners: false };
    let export = |free| {
        export(
            &OddDisk { free: Some(free), ..OddDisk::default() },
            &*lab.catalog,
            &lab.place(),
            &order,
            &StopCheck::never(),
        )
    };
    let error = export(needed - 1).unwrap_err();
    assert!(error.to_string().starts_with("no_space: 64.1 KiB are needed, 64.1 KiB are free"), "{error}");
    assert!(!into.exists());
    export(needed).unwrap();
    // Elsewhere too, whence the point's size is told.
    let found = contents(&HostDisk, &*lab.catalog, &lab.place(), 1).unwrap();
    assert_eq!(found.data.0, needed);
    let (into, full) = (lab.dir.path().join("far"), OddDisk { free: Some(needed - 1), ..OddDisk::default() });
    let error = write_out(&full, &found, &GoesAway(&into), (&into, false), &StopCheck::never()).unwrap_err();
    assert!(error.to_string().starts_with("no_space: ") && !into.exists(), "{error}");
}

/// A region that goes away after its first file.
#[derive(Debug)]
struct GoesAway<'a>(&'a std::path::Path);

struct Zeros;

impl Groups for Zeros {
    fn read(&self, _: u64, _: &mut [u8]) -> Result<bool, TransferError> {
        Ok(false)
    }
}

impl Contents for GoesAway<'_> {
    fn file(&self, at: u32) -> Result<Box<dyn Groups + '_>, TransferError> {
        assert!(self.0.join(CUT_OFF).is_file(), "a part never looks like the whole");
        if at == 0 { Ok(Box::new(Zeros)) } else { Err(TransferError::Region("it is gone".to_owned())) }
    }
}

#[test]
fn an_export_that_does_not_come_to_its_end_leaves_nothing_or_says_so() {
    let lab = Lab::new("storage.s");
    lab.write("a", &vec![0; 2 * BLOCK]);
    lab.write("b", &noise(1, 100));
    lab.sync();
    let into = lab.dir.path().join("out");
    let found = contents(&HostDisk, &*lab.catalog, &lab.place(), 1).unwrap();
    let go = |into: &std::path::Path| write_out(&HostDisk, &found, &GoesAway(into), (into, false), &StopCheck::never());
    go(&into).unwrap_err();
    assert!(!into.exists(), "as it was");
    fs::create_dir(&into).unwrap();
    go(&into).unwrap_err();
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0, "as it was");

    let stop = CancellationToken::new();
    stop.cancel();
    let order = ExportOrder { sequence: 1, into: &into, owners: false };
    let export = |stop: &StopCheck| export(&HostDisk, &*lab.catalog, &lab.place(), &order, stop);
    assert!(matches!(export(&StopCheck::never().until(&stop)), Err(TransferError::Interrupted)));
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);

    // What a killed program leaves.
    fs::write(into.join(CUT_OFF), "").unwrap();
    let error = export(&StopCheck::never()).unwrap_err().to_string();
    assert!(error.contains("cut off") && error.contains("remove it"), "{error}");
    fs::remove_file(into.join(CUT_OFF)).unwrap();
    export(&StopCheck::never()).unwrap();
    assert_eq!(fs::read_dir(&into).unwrap().count(), 2);
}

#[test]
fn what_an_export_cannot_take_back_stays_marked() {
    let lab = Lab::new("storage.s");
    lab.write("a", &vec![0; 2 * BLOCK]);
    lab.write("b", &noise(1, 100));
    lab.sync();
    let found = contents(&HostDisk, &*lab.catalog, &lab.place(), 1).unwrap();
    let into = lab.dir.path().join("out");
    fs::create_dir(&into).unwrap();
    let listings = [Ok(Vec::new()), Ok(vec![CUT_OFF.into()]), Err(std::io::Error::from_raw_os_error(5))];
    let disk = OddDisk { listings: std::sync::Mutex::new(listings.into()), ..OddDisk::default() };
    let gone = GoesAway(&into);
    write_out(&disk, &found, &gone, (&into, false), &StopCheck::never()).unwrap_err();
    assert!(disk.listings.lock().unwrap().is_empty());
    assert!(into.join("a").is_file() && into.join(CUT_OFF).is_file(), "a part never looks like the whole");
}

#[test]
fn an_export_leaves_another_one_alone_that_began_at_the_same_time() {
    let lab = Lab::new("storage.s");
    lab.write("a", b"one");
    lab.sync();
    // At its end or not, it was not there when the directory was looked at.
    for there in [&["a", CUT_OFF][..], &[CUT_OFF], &["a"]] {
        let into = lab.dir.path().join(format!("out-{}", there.concat()));
        fs::create_dir(&into).unwrap();
        there.iter().for_each(|name| fs::write(into.join(name), "another's").unwrap());
        let disk = OddDisk { listings: std::sync::Mutex::new([Ok(Vec::new())].into()), ..OddDisk::default() };
        let order = ExportOrder { sequence: 1, into: &into, owners: false };
        export(&disk, &*lab.catalog, &lab.place(), &order, &StopCheck::never()).unwrap_err();
        let left = fs::read_dir(&into).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        assert_eq!(left.collect::<Vec<_>>(), vec![b"another's".to_vec(); there.len()], "{there:?}");
    }
}

#[test]
fn a_file_that_changed_a_moment_ago_is_neither_remembered_nor_stamped() {
    let lab = Lab::new("config.c");
    lab.write("a", b"one");
    let changed = HostDisk.symlink_metadata(&lab.source().join("a")).unwrap().ctime_ns;
    lab.set_time(changed + 15_000_000);
    lab.sync();
    assert_eq!(lab.record().newest().unwrap().source_stamp, None);
    let remembered = || fs::read_to_string(lab.source().parent().unwrap().join("cache/scan.json"));
    assert!(!remembered().is_ok_and(|text| text.contains("\"a\"")));
    lab.set_time(changed + 25_000_000);
    lab.sync();
    assert!(lab.record().newest().unwrap().source_stamp.is_some());
    assert!(remembered().unwrap().contains("\"a\""));
}

#[test]
fn what_is_remembered_is_not_read_again_unless_everything_is() {
    let lab = Lab::new("storage.s");
    lab.write("big", &noise(1, GROUP + BLOCK));
    lab.sync();
    // A change that shows nowhere in the metadata cannot be made from here; a cache that is wrong is as good.
    let cache = lab.source().parent().unwrap().join("cache");
    let index =
        fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).find(|p| p.extension().unwrap() == "idx");
    let file = fs::OpenOptions::new().write(true).open(index.unwrap()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; 32], 64).unwrap();
    lab.write("small", b"so that there is something to do");
    lab.sync();
    // Where the damaged cache is needed, its lie is found and everything is read.
    fs::remove_file(lab.replica().join("big")).unwrap();
    let report = lab.sync();
    assert_eq!(report.passes, 2);
    lab.assert_converged();
}

#[test]
fn an_empty_source_is_no_point() {
    let lab = Lab::new("config.c");
    assert!(matches!(lab.try_sync().unwrap_err().error, TransferError::Blocked(_)));
    fs::create_dir(lab.source().join("d")).unwrap();
    lab.sync();
    assert_eq!(lab.points()[0].files, 0);
}

#[test]
fn adopted_files_keep_their_place() {
    use crate::replica::place::Place;
    let lab = Lab::new("vm.web");
    lab.write("x/disk.img", b"disk");
    lab.write("y/vm.xml", b"xml");
    let place = Place::Adopted(
        [("disk.img", "x/disk.img"), ("etc", "y")].map(|(name, at)| (name.to_owned(), lab.source().join(at))).into(),
    );
    let tree = crate::replica::tree::walk(&HostDisk, &place).unwrap();
    let paths: Vec<&str> = tree.found.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["disk.img", "etc", "etc/vm.xml"]);
}

#[test]
fn a_coarser_clock_is_waited_for_longer() {
    let lab = Lab::new("config.c");
    lab.write("a", b"one");
    let path = lab.source().join("a");
    fs::write(&path, b"two").unwrap();
    let disk = Arc::new(OddDisk { grain: Some(Duration::from_millis(400)), ..OddDisk::default() });
    let world = crate::host::world();
    let source = LocalSource::new(Arc::clone(&disk) as Arc<dyn Disk>, world.clone());
    let cache = lab.source().parent().unwrap().join("coarse");
    let live = Place::Directory(lab.source());
    let plan = ReadingPlan {
        resource: "config.c".parse().unwrap(),
        live: live.clone(),
        copy: None,
        cache: cache.clone(),
        kind: PointKind::Quiet,
        full: false,
        hinting: Default::default(),
    };
    let reading = source.open_reading(&plan, &CancellationToken::new()).unwrap();
    let changed = HostDisk.symlink_metadata(&path).unwrap().ctime_ns;
    assert!(reading.read_at.as_micros() * 1000 - changed > 400_000_000);
    assert!(reading.stamp.is_some(), "and then it is trusted");

    // What was copied within a freeze cannot wait: a change that recent is not trusted.
    fs::write(&path, b"three").unwrap();
    let before = crate::replica::tree::walk(&*disk, &live).unwrap();
    let still = Still { place: live.clone(), before, at: world.clock.now() };
    let frozen = ReadingPlan { copy: Some(still), kind: PointKind::Frozen, ..plan };
    let reading = source.open_reading(&frozen, &CancellationToken::new()).unwrap();
    assert_eq!(reading.stamp, None);
    assert!(!fs::read_to_string(cache.join("scan.json")).is_ok_and(|text| text.contains("\"a\"")));
    let before = look_when_settled(&*disk, &*world.clock, &live).unwrap();
    let at = world.clock.now();
    let frozen = ReadingPlan { copy: Some(Still { place: live, before, at }), ..frozen };
    let reading = source.open_reading(&frozen, &CancellationToken::new()).unwrap();
    assert_eq!((reading.read_at, reading.stamp.is_some()), (at, true), "dated by the copy");
}

#[test]
fn copies_that_went_away_say_nothing_of_the_files_themselves() {
    let lab = Lab::new("config.c");
    lab.write("a", b"one");
    let source = LocalSource::new(Arc::new(HostDisk), crate::host::world());
    let before = crate::replica::tree::walk(&HostDisk, &Place::Directory(lab.source())).unwrap();
    let place = Place::Directory(lab.source().parent().unwrap().join("unmounted"));
    let plan = ReadingPlan {
        resource: "config.c".parse().unwrap(),
        live: Place::Directory(lab.source()),
        copy: Some(Still { place, before, at: crate::host::world().clock.now() }),
        cache: lab.source().parent().unwrap().join("cache"),
        kind: PointKind::Frozen,
        full: false,
        hinting: Default::default(),
    };
    let error = source.open_reading(&plan, &CancellationToken::new()).unwrap_err();
    assert_eq!(error.to_string(), "the copies that were to be read are gone");
}
