//! Hands at a replica, and disks that lose bits: nothing is overwritten silently, and the next sync heals.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;

use super::lab::{BLOCK, GROUP, Lab, assert_same, noise, picture};
use crate::host::disk::faulty::Fault;
use crate::host::disk::{Disk, HostDisk};
use crate::model::point::PointState;
use crate::replica::StopCheck;
use crate::replica::inspect::summary;
use crate::replica::prune::discard;
use crate::replica::transfer::SyncOptions;
use crate::replica::verify::{Check, distrust, verify_replica, verify_source};

fn lab() -> Lab {
    let lab = Lab::brief("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("disk.raw", &noise(1, GROUP + 3 * BLOCK));
    lab.sync();
    lab
}

fn scribble(lab: &Lab, file: &str, at: usize, bytes: &[u8]) {
    let path = lab.replica().join(file);
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

fn damage(lab: &Lab) -> Option<String> {
    summary(&HostDisk, &lab.ledger(), &lab.place(), false).unwrap().damage
}

#[test]
fn what_was_written_at_a_replica_is_set_aside_and_healed() {
    let lab = lab();
    let original = picture(&lab.source());
    scribble(&lab, "disk.raw", 5 * BLOCK, b"a hand");
    scribble(&lab, "disk.raw", GROUP, b"another");
    scribble(&lab, "vm.xml", 0, b"!");
    fs::write(lab.replica().join("notes.txt"), b"mine").unwrap();
    let modified = picture(&lab.replica());
    assert!(damage(&lab).unwrap().contains("was modified"));

    let report = lab.sync();
    assert_eq!(report.published.set_aside.len(), 1);
    assert!(report.published.new);
    // Only what was modified travelled.
    assert_eq!(report.bytes.0, 2 * BLOCK as u64 + 9);
    assert_same(&original, &picture(&lab.replica()), "healed");
    assert_eq!(damage(&lab), None);
    let points = lab.points();
    assert_eq!(
        points.iter().map(|point| point.state).collect::<Vec<_>>(),
        [PointState::Complete, PointState::Complete, PointState::SetAside]
    );
    assert_same(&original, &lab.export(points[1].sequence).unwrap(), "the first point, healed");
    let aside = lab.export(points[2].sequence).unwrap();
    assert_same(&modified, &aside, "what was set aside");

    // It stays whole while others come and go around it.
    lab.patch("disk.raw", 5 * BLOCK, &noise(9, 2 * BLOCK));
    lab.sync();
    assert_same(&modified, &lab.export(points[2].sequence).unwrap(), "what was set aside, later");
    lab.assert_converged();
    let name = points[2].name.clone().unwrap();
    assert!(!discard(&HostDisk, &*lab.catalog, &lab.place(), "modified-99").unwrap());
    assert!(discard(&HostDisk, &*lab.catalog, &lab.place(), &name).unwrap());
    assert_eq!(lab.points().len(), 3);
    assert!(!lab.place().set_aside(points[2].sequence).exists());
}

#[test]
fn a_point_whose_bytes_are_gone_says_so() {
    let lab = lab();
    lab.patch("disk.raw", 9 * BLOCK, &noise(2, BLOCK));
    lab.sync();
    // Block 5 is what both points have; then the source has something else there too.
    scribble(&lab, "disk.raw", 5 * BLOCK, b"a hand");
    lab.patch("disk.raw", 5 * BLOCK, &noise(3, BLOCK));
    lab.sync();
    let states: Vec<PointState> = lab.points().iter().map(|point| point.state).collect();
    assert_eq!(states, [PointState::Complete, PointState::Damaged, PointState::Damaged, PointState::SetAside]);
    assert!(lab.export(1).is_err() && lab.export(2).is_err());
    lab.assert_converged();
}

#[test]
fn an_older_point_that_has_its_own_bytes_is_not_harmed() {
    let lab = lab();
    let first = picture(&lab.source());
    lab.patch("disk.raw", 5 * BLOCK, &noise(2, BLOCK));
    lab.sync();
    scribble(&lab, "disk.raw", 5 * BLOCK, b"a hand");
    lab.patch("disk.raw", 5 * BLOCK, &noise(3, BLOCK));
    lab.sync();
    let state = |sequence| lab.points().iter().find(|point| point.sequence == sequence).unwrap().state;
    assert_eq!((state(1), state(2)), (PointState::Complete, PointState::Damaged));
    assert_same(&first, &lab.export(1).unwrap(), "the first point");
}

#[test]
fn missing_files_come_back() {
    let lab = lab();
    let original = picture(&lab.source());
    fs::remove_file(lab.replica().join("vm.xml")).unwrap();
    fs::remove_file(lab.replica().join("disk.raw")).unwrap();
    assert!(damage(&lab).unwrap().contains("is missing"));
    let report = lab.sync();
    assert!(report.published.set_aside.is_empty(), "there was nothing to set aside");
    assert_same(&original, &picture(&lab.replica()), "the replica");
    assert_same(&original, &lab.export(1).unwrap(), "the first point");
    lab.assert_converged();
    // With other content at the source, what only the point had is lost, and said to be.
    fs::remove_file(lab.replica().join("disk.raw")).unwrap();
    lab.patch("disk.raw", 0, &noise(5, BLOCK));
    lab.sync();
    assert!(lab.points()[1..].iter().all(|point| point.state == PointState::Damaged));
    lab.assert_converged();
}

#[test]
fn files_where_no_point_was_are_set_aside() {
    let lab = Lab::new("vm.web");
    lab.write("vm.xml", b"<domain/>");
    fs::create_dir_all(lab.replica().join("sub")).unwrap();
    fs::write(lab.replica().join("vm.xml"), b"older").unwrap();
    fs::write(lab.replica().join("sub/x"), noise(4, 5_000_000)).unwrap();
    let mut found = picture(&lab.replica());
    let report = lab.sync();
    assert_eq!(report.published.set_aside.len(), 1);
    assert!(report.published.set_aside[0].starts_with("found-"));
    lab.assert_converged();
    let aside = lab.points().last().unwrap().sequence;
    let mut exported = lab.export(aside).unwrap();
    found.values_mut().chain(exported.values_mut()).for_each(|entry| entry.2 = 0);
    assert_same(&found, &exported, "what was found");
}

#[test]
fn a_flipped_bit_is_found_by_reading_and_healed() {
    let lab = lab();
    let before = HostDisk.symlink_metadata(&lab.replica().join("disk.raw")).unwrap();
    let kept = |lab: &Lab| {
        use crate::replica::catalog::Catalog;
        lab.catalog.manifest(&lab.key, lab.newest().unwrap()).unwrap()
    };
    scribble(&lab, "disk.raw", 7 * BLOCK + 1, &[0]);
    // As a failing disk would: the metadata says nothing. The time of the last change of metadata cannot be set
    // back, so the record follows it.
    HostDisk.set_mtime(&lab.replica().join("disk.raw"), before.mtime_ns).unwrap();
    let mut manifest = kept(&lab);
    let stat = HostDisk.symlink_metadata(&lab.replica().join("disk.raw")).unwrap();
    for kept in &mut manifest.entries {
        if kept.entry.path == "disk.raw" {
            kept.file.as_mut().unwrap().identity = Some(crate::replica::tree::identity(&stat));
        }
    }
    let record = Box::new(lab.record().newest().unwrap().clone());
    use crate::replica::catalog::{Catalog, CatalogChange};
    lab.catalog.commit(&lab.key, &[CatalogChange::Point { record, manifest: Some(manifest) }]).unwrap();

    assert_eq!(damage(&lab), None);
    assert!(lab.export(1).unwrap_err().to_string().contains("disk.raw of point 1 is damaged"));
    let verified = verify_replica(&HostDisk, &*lab.catalog, &lab.place(), &StopCheck::never()).unwrap();
    let bad: Vec<_> = verified.files.iter().filter(|file| file.check != Check::Identical).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!((bad[0].path.as_str(), bad[0].check, bad[0].blocks), ("disk.raw", Check::Mismatch, Some(1)));
    distrust(&*lab.catalog, &lab.place(), &BTreeSet::from(["disk.raw".to_owned()])).unwrap();
    assert!(damage(&lab).is_some());
    let report = lab.sync();
    assert_eq!(report.bytes.0, BLOCK as u64);
    assert!(lab.export(1).is_ok(), "the first point is healed");
    lab.assert_converged();
}

#[test]
fn a_damaged_index_costs_reading_and_nothing_else() {
    for how in ["gone", "torn"] {
        let lab = lab();
        let index = fs::read_dir(lab.place().index).unwrap().next().unwrap().unwrap().path();
        if how == "gone" {
            fs::remove_file(&index).unwrap();
            assert!(damage(&lab).is_some(), "planning sees it");
        } else {
            let file = fs::OpenOptions::new().write(true).open(&index).unwrap();
            file.write_all_at(&[9; 32], 64 + 32 * 3).unwrap();
        }
        lab.patch("disk.raw", BLOCK, &noise(7, BLOCK));
        let report = lab.sync();
        assert_eq!(report.bytes.0, BLOCK as u64, "{how}");
        assert!(report.published.set_aside.is_empty(), "{how}");
        assert!(lab.export(1).is_ok(), "{how}");
        lab.assert_converged();
    }
}

#[test]
fn setting_aside_survives_a_crash_at_every_call() {
    let story = || {
        let lab = Lab::brief("vm.web");
        lab.write("vm.xml", b"<domain/>");
        let mut disk = vec![0; GROUP + 3 * BLOCK];
        disk[4 * BLOCK..8 * BLOCK].copy_from_slice(&noise(1, 4 * BLOCK));
        lab.write("disk.raw", &disk);
        lab.sync();
        scribble(&lab, "disk.raw", 5 * BLOCK, b"a hand");
        scribble(&lab, "vm.xml", 0, b"!");
        fs::create_dir(lab.replica().join("dir")).unwrap();
        fs::write(lab.replica().join("dir/notes.txt"), b"mine").unwrap();
        lab.patch("disk.raw", 6 * BLOCK, &noise(3, BLOCK));
        lab
    };
    let calls = story().sync_with(Fault::None).1.count();
    for at in 1..=calls {
        let lab = story();
        let modified = picture(&lab.replica());
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        lab.sync();
        let aside: Vec<_> = lab.points().into_iter().filter(|point| point.state == PointState::SetAside).collect();
        assert!(!aside.is_empty(), "call {at}");
        let mut found = lab.export(aside[0].sequence).unwrap();
        let mut modified = modified;
        modified.values_mut().chain(found.values_mut()).for_each(|entry| entry.2 = 0);
        assert_same(&modified, &found, &format!("what was set aside, call {at}"));
        lab.assert_converged();
    }
}

#[test]
fn a_hand_at_the_replica_during_a_sync_is_noticed_before_anything_is_overwritten() {
    for file in ["disk.raw", "vm.xml"] {
        let lab = lab();
        lab.patch("disk.raw", 6 * BLOCK, &noise(3, BLOCK));
        lab.write("vm.xml", b"<new/>");
        let (source, _, target) = lab.ends(Fault::None);
        let path = lab.replica().join(file);
        let mut once = false;
        *source.before_blocks.lock().unwrap() = Some(Box::new(move || {
            if !std::mem::replace(&mut once, true) {
                let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                file.write_all_at(b"a hand", 0).unwrap();
            }
        }));
        let failure = lab.drive(&source, &target, &SyncOptions::default()).unwrap_err();
        assert!(failure.to_string().contains("was modified at the replica"), "{failure}");
        assert_eq!(lab.newest(), Some(1));
        let modified = picture(&lab.replica());
        let report = lab.sync();
        assert_eq!(report.published.set_aside.len(), 1);
        assert_same(&modified, &lab.export(lab.points().last().unwrap().sequence).unwrap(), "what was set aside");
        lab.assert_converged();
    }
}

#[test]
fn a_file_that_appears_in_the_way_during_a_sync_is_not_overwritten() {
    let lab = lab();
    lab.write("new", b"from the source");
    let (source, _, target) = lab.ends(Fault::None);
    let path = lab.replica().join("new");
    *source.before_blocks.lock().unwrap() = Some(Box::new(move || fs::write(&path, b"mine").unwrap()));
    lab.drive(&source, &target, &SyncOptions::default()).unwrap();
    lab.assert_converged();
    let beside: Vec<_> = fs::read_dir(lab.place().in_the_way()).unwrap().collect();
    assert_eq!(fs::read(beside[0].as_ref().unwrap().path().join("new")).unwrap(), b"mine");
}

#[test]
fn a_source_is_verified_against_its_last_reading() {
    let lab = lab();
    let place = crate::replica::place::Place::Directory(lab.source());
    let cache = lab.source().parent().unwrap().join("cache");
    let checks = || -> Vec<Check> {
        verify_source(&HostDisk, &place, &cache, &StopCheck::never())
            .unwrap()
            .files
            .iter()
            .map(|file| file.check)
            .collect()
    };
    assert_eq!(checks(), [Check::Identical, Check::Identical]);
    let (here, there) = (
        verify_source(&HostDisk, &place, &cache, &StopCheck::never()).unwrap(),
        verify_replica(&HostDisk, &*lab.catalog, &lab.place(), &StopCheck::never()).unwrap(),
    );
    assert_eq!(here.data_hash, there.data_hash);
    lab.patch("disk.raw", 0, b"x");
    lab.remove("vm.xml");
    assert_eq!(checks(), [Check::Changed, Check::Missing]);
}
