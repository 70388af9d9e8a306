//! One file that cannot be read, one error of a disk, one hand at the wrong moment: none of them blocks a replica for
//! ever, and no point is called complete that is not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::lab::{BLOCK, GROUP, Lab, Picture, assert_same, noise, picture};
use super::odd_disk::OddDisk;
use crate::host::disk::HostDisk;
use crate::host::disk::faulty::{Bad, Call, EACCES, EIO, ENOSPC, Fault, FaultyDisk, Op};
use crate::model::point::{BlockReason, PointState};
use crate::model::policy::Retention;
use crate::replica::StopCheck;
use crate::replica::catalog::Phase;
use crate::replica::inspect::summary;
use crate::replica::port::TransferError;
use crate::replica::publish::recover;
use crate::replica::transfer::{SyncFailure, SyncOptions, SyncReport};
use crate::replica::verify::{Check, distrust, verify_replica};

fn lab() -> Lab {
    let lab = Lab::brief("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("disk.raw", &noise(1, GROUP + 3 * BLOCK));
    lab.sync();
    lab
}

fn disk() -> FaultyDisk {
    FaultyDisk::new(Arc::new(HostDisk), Fault::None)
}

fn disk_with_room(bytes: usize) -> FaultyDisk {
    let disk = OddDisk { free: Some(bytes as u64), ..OddDisk::default() };
    FaultyDisk::new(Arc::new(disk), Fault::None)
}

fn sync_on(lab: &Lab, disk: &FaultyDisk) -> Result<SyncReport, SyncFailure> {
    let (source, _, target) = lab.ends_on(Arc::new(disk.clone()), Fault::None);
    lab.drive(&source, &target, &SyncOptions::default())
}

fn scribble(lab: &Lab, file: &str, at: usize, bytes: &[u8]) {
    let path = lab.replica().join(file);
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

fn states(lab: &Lab) -> Vec<PointState> {
    lab.points().iter().map(|point| point.state).collect()
}

/// What was moved out of the way.
fn beside(lab: &Lab) -> Vec<Vec<u8>> {
    let Ok(names) = fs::read_dir(lab.place().in_the_way()) else { return Vec::new() };
    let files = names.flat_map(|name| fs::read_dir(name.unwrap().path()).unwrap());
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// A point that is called complete is what it was.
fn assert_honest(lab: &Lab, pictures: &[&Picture], when: &str) {
    for point in lab.points().iter().filter(|point| point.state == PointState::Complete) {
        let found = lab.export(point.sequence).unwrap_or_else(|error| panic!("{when}, {}: {error}", point.sequence));
        let known = pictures.iter().any(|picture| super::lab::difference(picture, &found).is_none());
        assert!(known, "{when}: point {} is neither", point.sequence);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_kept_and_restored() {
    for (file, how, errno) in [
        ("disk.raw", Bad::Open, EACCES),
        ("vm.xml", Bad::Open, EACCES),
        ("disk.raw", Bad::Read(0..u64::MAX), EIO),
        ("disk.raw", Bad::Read(GROUP as u64..GROUP as u64 + 1), EIO),
        ("vm.xml", Bad::Read(0..u64::MAX), EIO),
    ] {
        for changes in [false, true] {
            let lab = lab();
            let before = picture(&lab.source());
            let bytes = fs::read(lab.replica().join(file)).unwrap();
            let bad = disk();
            bad.spoil(&lab.replica().join(file), how.clone(), errno).unwrap();
            let verified = verify_replica(&bad, &*lab.catalog, &lab.place(), &StopCheck::never()).unwrap();
            let check = |path: &str| verified.files.iter().find(|file| file.path == path).unwrap().check;
            let other = if file == "vm.xml" { "disk.raw" } else { "vm.xml" };
            assert_eq!((check(file), check(other)), (Check::Mismatch, Check::Identical));
            assert_eq!(verified.data_hash, None);
            distrust(&*lab.catalog, &lab.place(), &BTreeSet::from([file.to_owned()])).unwrap();
            if changes {
                lab.write("vm.xml", b"<other/>");
                lab.patch("disk.raw", 0, &noise(2, BLOCK));
            }
            let report = sync_on(&lab, &bad).unwrap_or_else(|error| panic!("{file} {how:?}: {error}"));
            assert_eq!(report.published.set_aside.len(), 1, "it is named");
            assert_eq!(beside(&lab), [bytes], "it is kept");
            assert_eq!(states(&lab)[0], PointState::Complete);
            assert_eq!(states(&lab)[1], if changes { PointState::Damaged } else { PointState::Complete });
            assert_honest(&lab, &[&before, &picture(&lab.source())], "restored");
            lab.assert_converged();
        }
    }
}

#[test]
fn a_stranger_that_cannot_be_read_is_moved_out_of_the_way() {
    let lab = lab();
    let path = lab.replica().join("notes.txt");
    fs::write(&path, b"mine").unwrap();
    let bad = disk();
    bad.spoil(&path, Bad::Open, EACCES).unwrap();
    let report = sync_on(&lab, &bad).unwrap();
    assert_eq!((report.published.set_aside.len(), lab.points().len()), (1, 1), "{report:?}");
    assert_eq!(beside(&lab), [b"mine"]);
    lab.assert_converged();
}

#[test]
fn a_bad_small_file_is_replaced_all_the_same() {
    let lab = lab();
    let bad = disk();
    bad.spoil(&lab.replica().join("vm.xml"), Bad::Read(0..u64::MAX), EIO).unwrap();
    lab.write("vm.xml", b"<other/>");
    sync_on(&lab, &bad).unwrap();
    lab.assert_converged();
}

#[test]
fn an_old_block_that_cannot_be_read_costs_the_old_point_and_not_the_new() {
    let lab = lab();
    let bad = disk();
    let block = 5 * BLOCK as u64;
    bad.spoil(&lab.replica().join("disk.raw"), Bad::Read(block..block + 512), EIO).unwrap();
    lab.patch("disk.raw", 9 * BLOCK, &noise(2, BLOCK));
    sync_on(&lab, &bad).unwrap();
    lab.patch("disk.raw", 5 * BLOCK, &noise(3, BLOCK));
    sync_on(&lab, &bad).unwrap();
    assert_eq!(states(&lab), [PointState::Complete, PointState::Damaged, PointState::Damaged]);
    lab.assert_converged();
}

#[test]
fn an_old_file_that_cannot_be_opened_leads_back_and_is_restored() {
    let lab = lab();
    let bad = disk();
    bad.spoil(&lab.replica().join("disk.raw"), Bad::Open, EACCES).unwrap();
    lab.patch("disk.raw", 5 * BLOCK, &noise(3, BLOCK));
    let failure = sync_on(&lab, &bad).unwrap_err();
    assert!(failure.to_string().contains("disk.raw"), "{failure}");
    sync_on(&lab, &bad).unwrap();
    assert_eq!(states(&lab), [PointState::Complete, PointState::Damaged]);
    lab.assert_converged();
}

/// A disk that is patched, one that only gets another mode, a file that is replaced, one that comes, one that goes.
fn story() -> (Lab, Picture) {
    let mut lab = Lab::brief("storage.s");
    lab.rules.max_change.0 = 100;
    let mut bytes = vec![0; GROUP + 4 * BLOCK];
    bytes[3 * BLOCK..9 * BLOCK].copy_from_slice(&noise(1, 6 * BLOCK));
    lab.write("disk.raw", &bytes);
    lab.write("conf", b"the same");
    lab.write("kept", b"kept");
    lab.write("small", b"old");
    lab.write("goes", b"goes");
    lab.sync();
    let before = picture(&lab.source());
    lab.patch("disk.raw", 4 * BLOCK, &noise(2, 2 * BLOCK));
    lab.write("small", b"new and longer");
    lab.write("comes", b"comes");
    lab.remove("goes");
    fs::set_permissions(lab.source().join("conf"), fs::Permissions::from_mode(0o600)).unwrap();
    (lab, before)
}

#[test]
fn a_hand_at_a_sealed_sync_never_blocks_it() {
    let (sealed, end) = {
        let (lab, _) = story();
        lab.sync_with(Fault::None).0.unwrap();
        let phases = lab.catalog.phases.lock().unwrap();
        let of = |wanted| phases.iter().rfind(|(_, phase)| *phase == wanted).unwrap().0;
        (of(Some(Phase::Sealed)), of(None))
    };
    let mut met = BTreeSet::new();
    for at in sealed..=end {
        for file in ["disk.raw", "conf", "small", "comes", "goes", "kept"] {
            for deletes in [true, false] {
                let (lab, before) = story();
                let after = picture(&lab.source());
                let _ = lab.sync_with(Fault::Crash { at });
                lab.catalog.revive();
                let Some(phase) = lab.record().receiving.map(|receiving| receiving.phase) else { continue };
                let path = lab.replica().join(file);
                if phase < Phase::Sealed || !path.exists() {
                    continue;
                }
                let when = format!("call {at}, {file}, {phase:?}, deleted {deletes}");
                if deletes {
                    fs::remove_file(&path).unwrap();
                } else {
                    let hand = fs::OpenOptions::new().write(true).open(&path).unwrap();
                    hand.write_all_at(b"!", 3 * BLOCK as u64 * u64::from(file == "disk.raw")).unwrap();
                }
                met.insert((phase, file, deletes));
                recover(&HostDisk, &*lab.catalog, &lab.place()).unwrap_or_else(|error| panic!("{when}: {error}"));
                // A file that somebody wrote to is found by looking at it, one that is gone by its absence.
                let found = summary(&HostDisk, &lab.ledger(), &lab.place(), false).unwrap();
                let looks_right = found.damage.is_none();
                if looks_right {
                    assert_honest(&lab, &[&before, &after], &when);
                }
                lab.try_sync().unwrap_or_else(|error| panic!("{when}: {error}"));
                assert_honest(&lab, &[&before, &after], &when);
                lab.assert_converged();
                if !deletes && looks_right {
                    continue;
                }
                assert_eq!(states(&lab)[0], PointState::Complete, "{when}");
            }
        }
    }
    for file in ["disk.raw", "conf", "small", "comes"] {
        assert!(met.contains(&(Phase::PuttingIn, file, true)), "{file} was never deleted in time");
    }
    assert!(met.contains(&(Phase::TakingOut, "goes", true)));
}

#[test]
fn a_point_that_lost_a_file_on_its_way_is_damaged_until_it_is_repaired() {
    let before = story().1;
    let mut at = 0;
    let lab = loop {
        at += 1;
        let (lab, _) = story();
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        if lab.record().receiving.is_some_and(|receiving| receiving.phase == Phase::PuttingIn) {
            break lab;
        }
    };
    fs::remove_file(lab.replica().join("disk.raw")).unwrap();
    recover(&HostDisk, &*lab.catalog, &lab.place()).unwrap();
    assert_eq!(states(&lab), [PointState::Damaged, PointState::Damaged], "both needed its bytes");
    let found = summary(&HostDisk, &lab.ledger(), &lab.place(), false).unwrap();
    assert!(found.damage.is_some());
    sync_on(&lab, &disk()).unwrap();
    assert_eq!(states(&lab)[0], PointState::Complete);
    assert_honest(&lab, &[&before, &picture(&lab.source())], "repaired");
    lab.assert_converged();
}

#[test]
fn what_arrived_and_is_lost_after_the_seal_costs_the_new_point_and_not_the_old() {
    let calls = story().0.sync_with(Fault::None).1.count();
    let mut met = 0;
    for at in 1..=calls {
        let (lab, before) = story();
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        let receiving = lab.record().receiving;
        let Some(receiving) = receiving.filter(|receiving| receiving.phase == Phase::PuttingIn) else { continue };
        let data = lab.place().incoming.join(format!("{}.data", receiving.files["disk.raw"].id.0));
        if !data.exists() {
            continue;
        }
        met += 1;
        fs::remove_file(data).unwrap();
        recover(&HostDisk, &*lab.catalog, &lab.place()).unwrap();
        assert_same(&before, &lab.export(1).unwrap(), "the point before");
        lab.sync();
        assert_eq!(states(&lab)[0], PointState::Complete);
        assert_honest(&lab, &[&before, &picture(&lab.source())], "repaired");
        lab.assert_converged();
    }
    assert!(met > 3, "{met}");
}

#[test]
fn a_file_that_cannot_be_written_does_not_hold_the_point_up() {
    for how in [Bad::Write, Bad::Sync] {
        let (lab, before) = story();
        let bad = disk();
        bad.spoil(&lab.replica().join("disk.raw"), how, EIO).unwrap();
        let failure = sync_on(&lab, &bad).unwrap_err();
        assert!(failure.to_string().contains("disk.raw"), "{failure}");
        assert!(lab.record().receiving.is_none(), "it is not stuck");
        assert_eq!(states(&lab), [PointState::Damaged, PointState::Complete]);
        assert_same(&before, &lab.export(1).unwrap(), "the point before");
        let newest = summary(&HostDisk, &lab.ledger(), &lab.place(), false).unwrap();
        assert_eq!(newest.newest.unwrap().point.sequence, 1, "the newest complete one");
        assert!(newest.damage.is_some());
        lab.sync();
        assert_eq!(states(&lab)[0], PointState::Complete);
        assert_honest(&lab, &[&before, &picture(&lab.source())], "repaired");
        lab.assert_converged();
    }
}

#[test]
fn retention_never_drops_the_newest_complete_point() {
    let (mut lab, before) = story();
    lab.rules.retention = Retention { last: 1, hourly: 0, daily: 0 };
    let bad = disk();
    bad.spoil(&lab.replica().join("disk.raw"), Bad::Write, EIO).unwrap();
    sync_on(&lab, &bad).unwrap_err();
    assert_same(&before, &lab.export(1).unwrap(), "the newest complete point");
    lab.sync();
    lab.assert_converged();
}

#[test]
fn files_that_may_not_be_written_are_resumed_by_a_user_who_is_not_root() {
    let story = || {
        let lab = Lab::brief("storage.s");
        lab.write("large", &noise(1, GROUP + BLOCK));
        lab.write("small", &noise(2, 2 * BLOCK));
        for file in ["large", "small"] {
            fs::set_permissions(lab.source().join(file), fs::Permissions::from_mode(0o444)).unwrap();
        }
        lab
    };
    let calls = story().sync_with(Fault::None).1.count();
    let plain = disk();
    plain.obey_modes();
    for at in 1..=calls {
        let lab = story();
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        sync_on(&lab, &plain).unwrap_or_else(|error| panic!("call {at}: {error}"));
        lab.assert_converged();
    }
}

#[test]
fn setting_aside_looks_for_room_first() {
    let lab = lab();
    scribble(&lab, "disk.raw", 5 * BLOCK, &noise(9, 20 * BLOCK));
    let modified = picture(&lab.replica());
    let failure = sync_on(&lab, &disk_with_room(10 * BLOCK)).unwrap_err();
    let TransferError::Blocked(refusal) = failure.error else { panic!("{failure}") };
    assert_eq!(refusal.reason, BlockReason::NoSpace);
    assert!(refusal.needed.is_some_and(|needed| needed.0 >= 20 * BLOCK as u64), "{refusal:?}");
    assert_eq!(lab.record().refusal, Some(refusal));
    assert!(!lab.place().aside.exists(), "nothing was written");
    assert_same(&modified, &picture(&lab.replica()), "the replica");
    sync_on(&lab, &disk_with_room(100 * BLOCK)).unwrap();
    let aside = lab.points().last().unwrap().sequence;
    assert_same(&modified, &lab.export(aside).unwrap(), "what was set aside");
    lab.assert_converged();
}

#[test]
fn a_layer_that_was_not_finished_is_removed() {
    let story = || {
        let lab = lab();
        scribble(&lab, "disk.raw", 5 * BLOCK, b"a hand");
        scribble(&lab, "vm.xml", 0, b"!");
        lab
    };
    let calls = story().sync_with(Fault::None).1.count();
    for at in 1..=calls {
        let lab = story();
        let _ = lab.sync_with(Fault::Fail { at, errno: ENOSPC });
        let known: BTreeSet<String> = lab.points().iter().map(|point| point.sequence.to_string()).collect();
        for name in fs::read_dir(lab.place().aside).into_iter().flatten() {
            let name = name.unwrap().file_name().into_string().unwrap();
            assert!(known.contains(&name), "call {at}: {name} is nobody's");
        }
    }
}

#[test]
fn a_layer_that_a_kill_left_is_not_mistaken_for_a_later_one() {
    let original = noise(1, GROUP + 3 * BLOCK);
    for at in 1..60 {
        let lab = lab();
        scribble(&lab, "disk.raw", 5 * BLOCK, b"a hand");
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        if lab.points().len() > 1 {
            break;
        }
        scribble(&lab, "disk.raw", 5 * BLOCK, &original[5 * BLOCK..6 * BLOCK]);
        scribble(&lab, "vm.xml", 0, b"!");
        let modified = picture(&lab.replica());
        lab.sync();
        let aside = lab.points().last().unwrap().clone();
        assert_eq!(aside.state, PointState::SetAside);
        let mut found = lab.export(aside.sequence).unwrap_or_else(|error| panic!("call {at}: {error}"));
        // Bytes matter here: the hand's time is not the point's.
        let mut modified = modified;
        modified.values_mut().chain(found.values_mut()).for_each(|entry| entry.2 = 0);
        assert_same(&modified, &found, &format!("call {at}"));
    }
}

/// Three points, of which the next sync drops the second, merging it into the first.
fn merging() -> (Lab, Picture) {
    let mut lab = Lab::brief("storage.s");
    lab.rules.retention = Retention { last: 1, hourly: 0, daily: 3 };
    lab.write("disk", &noise(1, GROUP + 3 * BLOCK));
    lab.sync();
    let first = picture(&lab.source());
    lab.pass_time(Duration::from_secs(86_400));
    lab.patch("disk", 0, &noise(2, 2 * BLOCK));
    lab.sync();
    lab.patch("disk", 4 * BLOCK, &noise(3, 2 * BLOCK));
    (lab, first)
}

fn overlay(lab: &Lab, point: u64) -> std::path::PathBuf {
    let file = lab.catalog_file("disk");
    lab.place().undo(point).join(format!("{}.data", file.0))
}

#[test]
fn a_drop_that_finds_no_room_is_put_off() {
    let (lab, first) = merging();
    let full = disk();
    full.spoil(&overlay(&lab, 1), Bad::Write, ENOSPC).unwrap();
    for seed in 4..8 {
        sync_on(&lab, &full).unwrap_or_else(|error| panic!("{seed}: {error}"));
        recover(&full, &*lab.catalog, &lab.place()).unwrap();
        assert_same(&first, &lab.export(1).unwrap(), "the first point");
        lab.patch("disk", 8 * BLOCK, &noise(seed, BLOCK));
    }
    assert!(lab.record().points.len() > lab.points().len() + 1, "they wait");
    // Without room nothing of it is tried.
    let tight = disk_with_room(BLOCK);
    recover(&tight, &*lab.catalog, &lab.place()).unwrap();
    assert!(tight.calls().is_empty(), "{:?}", tight.calls());
    lab.sync();
    recover(&HostDisk, &*lab.catalog, &lab.place()).unwrap();
    assert_eq!(lab.record().points.len(), lab.points().len(), "nothing is being dropped");
    assert_same(&first, &lab.export(1).unwrap(), "the first point");
    lab.assert_converged();
}

#[test]
fn a_drop_that_meets_a_bad_block_names_the_older_point_and_goes_on() {
    // Killed after the second point was given up and before it was merged.
    let calls = {
        let (lab, _) = merging();
        lab.sync_with(Fault::None).1.count()
    };
    let mut met = 0;
    for at in 1..=calls {
        let (lab, first) = merging();
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        let dropping = lab.record().points.len() > lab.points().len() && lab.record().receiving.is_none();
        if !dropping || !overlay(&lab, 2).exists() {
            continue;
        }
        met += 1;
        let bad = disk();
        bad.spoil(&overlay(&lab, 2), Bad::Read(0..u64::MAX), EIO).unwrap();
        recover(&bad, &*lab.catalog, &lab.place()).unwrap();
        assert_eq!(lab.record().points.len(), lab.points().len(), "it is dropped");
        assert_honest(&lab, &[&first, &picture(&lab.source())], "after the drop");
        lab.assert_converged();
    }
    assert!(met > 0);
}

#[test]
fn what_was_left_of_a_sync_and_cannot_be_read_is_fetched_again() {
    let story = || {
        let lab = Lab::brief("storage.s");
        let mut bytes = vec![0; GROUP + BLOCK];
        bytes[..4 * BLOCK].copy_from_slice(&noise(1, 4 * BLOCK));
        lab.write("patched", &bytes);
        lab.sync();
        lab.patch("patched", 0, &noise(4, 2 * BLOCK));
        lab.write("small", &noise(2, 2 * BLOCK));
        lab.write("other", &bytes);
        lab
    };
    let calls = story().sync_with(Fault::None).1.count();
    let mut met = 0;
    for at in 1..=calls {
        let lab = story();
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        let left = lab.record().receiving.is_some_and(|receiving| receiving.phase <= Phase::Sealed);
        let names: Vec<_> =
            fs::read_dir(lab.place().incoming).into_iter().flatten().map(|n| n.unwrap().path()).collect();
        if !left || names.is_empty() {
            continue;
        }
        met += 1;
        let bad = disk();
        for name in names {
            bad.spoil(&name, Bad::Read(0..u64::MAX), EIO).unwrap();
        }
        // What is read only before it is relied on leads back first.
        let ended = sync_on(&lab, &bad).or_else(|_| sync_on(&lab, &bad)).or_else(|_| sync_on(&lab, &bad));
        ended.unwrap_or_else(|error| panic!("call {at}: {error}"));
        lab.assert_converged();
    }
    assert!(met > 5, "{met}");
}

#[test]
fn what_could_not_be_made_durable_is_fetched_anew() {
    let story = || {
        let lab = lab();
        lab.write("new.conf", &noise(4, 100));
        lab.write("new.raw", &noise(5, GROUP + BLOCK));
        lab
    };
    let incoming = |call: &Call| call.op == Op::Sync && call.path.to_string_lossy().contains("/incoming/");
    let calls = story().sync_with(Fault::None).1.calls();
    let places: Vec<(u64, PathBuf)> =
        (1..).zip(&calls).filter(|(_, call)| incoming(call)).map(|(at, call)| (at, call.path.clone())).collect();
    let mut forgotten = 0;
    for (at, _) in &places {
        let lab = story();
        let (failed, disk) = lab.sync_with(Fault::Fail { at: *at, errno: EIO });
        failed.unwrap_err();
        let path = &disk.calls()[usize::try_from(*at).unwrap() - 1].path;
        // A large file's bytes are believed as far as its table says, which is written after them.
        if !path.with_extension("idx").exists() {
            assert!(!path.exists(), "{} is not taken for durable", path.display());
            forgotten += 1;
        }
        lab.sync();
        lab.assert_converged();
    }
    assert!(forgotten > 0, "{places:?}");
}
