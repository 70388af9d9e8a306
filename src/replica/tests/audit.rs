//! Reading back what a replica holds: in proportion to the time, all of it once, and what is found is not offered for
//! sound any more.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::lab::{BLOCK, GROUP, Lab, assert_same, noise, picture};
use crate::host::disk::{Disk, HostDisk};
use crate::model::Timestamp;
use crate::model::audit::AuditState;
use crate::model::point::PointState;
use crate::model::policy::Retention;
use crate::replica::StopCheck;
use crate::replica::audit::{AuditPart, AuditedPart, next_due};
use crate::replica::catalog::{Catalog, CatalogChange};
use crate::replica::index::Index;
use crate::replica::inspect::summary;
use crate::replica::port::TransferError;
use crate::replica::tree::identity;

const PERIOD: Duration = Duration::from_secs(800);
/// What a pass is meant to take of it.
const MEANT: Duration = Duration::from_secs(700);
const BEGAN: Timestamp = Timestamp::from_micros(1_000_000_000);

const SIZE: usize = 5 * GROUP + 3 * BLOCK;

fn lab() -> Lab {
    let lab = Lab::brief("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("disk.raw", &noise(1, SIZE));
    lab.sync();
    lab
}

fn part(
    lab: &Lab,
    state: AuditState,
    now: Timestamp,
    budget: usize,
) -> Result<(AuditedPart, AuditState), TransferError> {
    let (place, stop) = (lab.place(), StopCheck::never());
    let disk: &dyn Disk = &HostDisk;
    let budget = budget as u64;
    AuditPart { disk, catalog: &*lab.catalog, place: &place, now, period: PERIOD, budget, stop: &stop }.run(state)
}

/// Parts until nothing more is due: what was found, and how far it is then.
fn all_due(lab: &Lab, mut state: AuditState, now: Timestamp) -> (Vec<(u64, String)>, AuditState) {
    let mut found = Vec::new();
    let passes = state.passes;
    while state.passes == passes
        && next_due(&*lab.catalog, &lab.place(), &state, (now, PERIOD)).unwrap().is_some_and(|due| due <= now)
    {
        let (done, further) = part(lab, state, now, 2 * GROUP).unwrap();
        assert!(!done.busy);
        assert_eq!(lab.catalog.audits.lock().unwrap()[&lab.key], further, "what is kept is what is told");
        found.extend(done.found.map(|found| (found.point, found.path)));
        state = further;
    }
    (found, state)
}

/// A whole pass.
fn pass(lab: &Lab) -> Vec<(u64, String)> {
    let (found, state) = all_due(lab, AuditState::new(BEGAN), BEGAN.plus(PERIOD));
    assert_eq!((state.passes, state.next), (1, None));
    found
}

/// Other bytes in a file of the replica, as a disk brings them that fails below the file system: no time tells.
fn rot(lab: &Lab, file: &str, at: usize, bytes: &[u8]) {
    let path = lab.replica().join(file);
    let newest = lab.record().newest().unwrap().clone();
    let mut manifest = lab.catalog.manifest(&lab.key, newest.point.sequence).unwrap();
    let kept = manifest.entries.iter_mut().find(|kept| kept.entry.path == file).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(bytes, at as u64).unwrap();
    HostDisk.set_mtime(&path, kept.entry.mtime_ns).unwrap();
    kept.file.as_mut().unwrap().identity = Some(identity(&HostDisk.symlink_metadata(&path).unwrap()));
    let change = CatalogChange::Point { record: Box::new(newest), manifest: Some(manifest) };
    lab.catalog.commit(&lab.key, &[change]).unwrap();
    assert_eq!(damage(lab), None, "nobody sees it");
}

fn damage(lab: &Lab) -> Option<String> {
    summary(&HostDisk, &lab.ledger(), &lab.place(), false).unwrap().damage
}

#[test]
fn what_is_due_grows_with_the_time_and_all_is_read_once() {
    let lab = lab();
    let (found, mut state) = all_due(&lab, AuditState::new(BEGAN), BEGAN);
    assert_eq!((found, state.read.0), (Vec::new(), 0), "nothing is due at once");
    let whole = (SIZE + 9) as u64 + Index::bytes_of(6);
    for sevenths in 1..=7_u32 {
        (_, state) = all_due(&lab, state, BEGAN.plus(MEANT * sevenths / 7));
        let share = whole * u64::from(sevenths) / 7;
        assert!(state.read.0 <= share + Index::bytes_of(6), "{} at {sevenths}", state.read);
        assert!(state.read.0 + 2 * GROUP as u64 > share, "{} at {sevenths}", state.read);
    }
    assert_eq!((state.passes, state.read.0, state.found), (1, whole, 0));
    // The next pass begins where this one ended, and not at once.
    assert_eq!(all_due(&lab, state.clone(), BEGAN.plus(MEANT)).1.read, state.read);
    // Long after, all is due; one part reads no more than it may.
    let late = BEGAN.plus(PERIOD * 10);
    let (done, _) = part(&lab, state, late, 2 * GROUP).unwrap();
    assert!(done.read.0 <= 2 * GROUP as u64, "{}", done.read);
    // A clock that was set back begins the pass anew.
    let early = AuditState::new(late);
    assert!(next_due(&*lab.catalog, &lab.place(), &early, (BEGAN, PERIOD)).unwrap().unwrap() <= BEGAN.plus(MEANT));
}

#[test]
fn what_rotted_below_the_file_system_is_found_and_mended() {
    for (file, at) in [("disk.raw", 3 * GROUP + 5 * BLOCK), ("disk.raw", SIZE - 1), ("vm.xml", 2)] {
        let lab = lab();
        assert_eq!(pass(&lab), []);
        let original = picture(&lab.source());
        rot(&lab, file, at, b"#");
        assert_eq!(pass(&lab), [(1, file.to_owned())], "{at}");
        assert!(damage(&lab).unwrap().contains("is to be read again"), "it is not sound any more");
        assert_eq!(pass(&lab), [], "it is told once");
        lab.sync();
        assert_same(&original, &picture(&lab.replica()), "healed");
        assert_eq!((damage(&lab), pass(&lab)), (None, vec![]));
        let newest = &lab.points()[0];
        assert_same(&original, &lab.export(newest.sequence).unwrap(), "the newest point");
    }
}

#[test]
fn a_hole_where_there_were_bytes_is_found_and_so_are_hashes_that_are_not_the_points() {
    let lab = lab();
    let path = lab.replica().join("disk.raw");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(GROUP as u64).unwrap();
    rot(&lab, "disk.raw", SIZE - 1, &noise(1, SIZE)[SIZE - 1..]);
    assert_eq!(pass(&lab), [(1, "disk.raw".to_owned())]);
    lab.sync();
    lab.assert_converged();

    let index = lab.place().index_of(lab.catalog_file("disk.raw"));
    let file = fs::OpenOptions::new().write(true).open(&index).unwrap();
    file.write_all_at(&[7; 32], 64 + Index::bytes_of(2) + 32).unwrap();
    assert_eq!(pass(&lab).len(), 1);
    lab.sync();
    lab.assert_converged();
}

#[test]
fn what_only_an_older_point_has_is_read_back_too() {
    let lab = lab();
    let first = picture(&lab.source());
    lab.write("vm.xml", b"<domain two/>");
    lab.sync();
    lab.patch("disk.raw", 2 * GROUP + BLOCK, &noise(2, 2 * BLOCK));
    lab.sync();
    assert_eq!(pass(&lab), []);
    // The blocks that the third point replaced lie in the undo of the second, and the first is read through it.
    let data = lab.place().undo(2).join(format!("{}.data", lab.catalog_file("disk.raw").0));
    let file = fs::OpenOptions::new().write(true).open(&data).unwrap();
    file.write_all_at(b"rot", (2 * GROUP + BLOCK) as u64).unwrap();
    assert_eq!(pass(&lab), [(2, "disk.raw".to_owned())]);
    let states: Vec<_> = lab.points().iter().map(|point| (point.sequence, point.state)).collect();
    assert_eq!(states, [(3, PointState::Complete), (2, PointState::Damaged), (1, PointState::Damaged)]);
    assert_eq!(pass(&lab), [], "it is told once");
    lab.assert_converged();

    // A whole file that only the first point has.
    let other = self::lab();
    other.write("vm.xml", b"<domain two/>");
    other.sync();
    let layer = fs::read_dir(other.place().undo(1)).unwrap().map(|name| name.unwrap().path());
    let whole = layer.into_iter().find(|path| path.extension().is_some_and(|suffix| suffix == "whole")).unwrap();
    assert_eq!(fs::read(&whole).unwrap(), first["vm.xml"].1);
    fs::write(&whole, b"<d0main/>").unwrap();
    assert_eq!(pass(&other), [(1, "vm.xml".to_owned())]);
    assert_eq!(other.points()[1].state, PointState::Damaged);
    assert_eq!(other.points()[0].state, PointState::Complete);
}

#[test]
fn lives_of_replicas_give_no_false_alarm() {
    // Of a disk that became smaller, a machine's copy would not be made.
    let mut lab = Lab::brief("storage.web");
    lab.write("disk.raw", &noise(1, SIZE));
    lab.sync();
    lab.rules.retention = Retention { last: 3, hourly: 0, daily: 0 };
    for life in 1..=12_usize {
        let size = SIZE + life % 5 * 7_000 + life % 3 * GROUP;
        lab.resize("disk.raw", size);
        for at in 0..6 {
            let offset = (at * 977 + life * 331) * 4_321 % (size - 100_000);
            let bytes = if (at + life) % 3 == 0 { vec![0; 90_000] } else { noise((life * 10 + at) as u64, 90_000) };
            lab.patch("disk.raw", offset, &bytes);
        }
        lab.write("vm.xml", format!("<domain {life}/>").as_bytes());
        lab.write(&format!("more-{}.raw", life % 4), &noise(life as u64, life % 5 * GROUP + life * 100));
        if life % 4 == 0 {
            // Somebody writes into it: that is set aside, and read back as well.
            let path = lab.replica().join("disk.raw");
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"a hand", 300_000).unwrap();
            assert_eq!(pass(&lab), [], "what shows that it was modified is the plan's to see");
        }
        lab.sync();
        assert_eq!(pass(&lab), [], "in life {life}");
    }
    lab.assert_converged();
    assert!(lab.points().iter().any(|point| point.state == PointState::SetAside));
}

#[test]
fn a_crash_before_what_was_found_is_written_down_finds_it_again() {
    let lab = lab();
    rot(&lab, "disk.raw", 4 * GROUP, b"#");
    let late = BEGAN.plus(PERIOD);
    let (_, state) = part(&lab, AuditState::new(BEGAN), late, 3 * GROUP).unwrap();
    assert_eq!((state.found, state.next.as_ref().unwrap().path.as_str()), (0, "disk.raw"));
    lab.catalog.kill_before.store(lab.catalog.commits.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
    part(&lab, state.clone(), late, 9 * GROUP).unwrap_err();
    lab.catalog.revive();
    assert_eq!((damage(&lab), &lab.catalog.audits.lock().unwrap()[&lab.key]), (None, &state), "as it was");
    let (done, state) = part(&lab, state, late, 9 * GROUP).unwrap();
    assert_eq!((done.found.unwrap().path.as_str(), state.found), ("disk.raw", 1));
    lab.sync();
    lab.assert_converged();
}
