//! Modes, times and owners: they follow the source without any content, and come back when a hand changed them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lab::{BLOCK, GROUP, Lab, noise};
use super::odd_disk::OddDisk;
use crate::host::disk::faulty::Fault;
use crate::host::disk::{Disk, FileKind, FileStat, HostDisk};
use crate::model::ResourceType;
use crate::replica::inspect::summary;
use crate::replica::place::Place;
use crate::replica::transfer::{SyncOptions, SyncReport};
use crate::replica::tree::content;

const PATHS: [&str; 5] = ["disk.raw", "etc", "etc/a", "etc/link", "vm.xml"];

/// A path and what happens to it.
type Change = (&'static str, fn(&Path));

fn lab() -> Lab {
    let lab = Lab::new("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("disk.raw", &noise(1, GROUP + 3 * BLOCK));
    lab.write("etc/a", b"a");
    symlink("a", lab.source().join("etc/link")).unwrap();
    lab.sync();
    lab
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn stats(disk: &dyn Disk, root: &Path) -> Vec<FileStat> {
    PATHS.iter().map(|path| disk.symlink_metadata(&root.join(path)).unwrap()).collect()
}

/// Kind, mode and time of everything.
fn dress(root: &Path) -> Vec<(FileKind, u32, i64)> {
    stats(&HostDisk, root).iter().map(|stat| (stat.kind, stat.mode, stat.mtime_ns)).collect()
}

fn damage(lab: &Lab, disk: &dyn Disk, owners: bool) -> Option<String> {
    summary(disk, &lab.ledger(), &lab.place(), owners).unwrap().damage
}

/// That a plan would find nothing to do.
fn assert_settled(lab: &Lab) {
    let now = content(&HostDisk, &Place::Directory(lab.source()), ResourceType::Vm).unwrap().unwrap();
    assert_eq!(lab.record().newest().unwrap().source_stamp, Some(now.stamp));
    assert_eq!(damage(lab, &HostDisk, false), None);
    assert_eq!(dress(&lab.source()), dress(&lab.replica()));
}

fn sync_on(lab: &Lab, disk: &Arc<OddDisk>) -> SyncReport {
    let disk = Arc::clone(disk);
    let (source, _, target) = lab.ends_on(disk, Fault::None);
    lab.drive(&source, &target, &SyncOptions::default()).unwrap()
}

#[test]
fn a_source_that_was_only_dressed_anew_is_followed() {
    let lab = lab();
    let changes: [Change; 7] = [
        ("vm.xml", |path| HostDisk.set_mtime(path, 1_000_000_007).unwrap()),
        ("disk.raw", |path| HostDisk.set_mtime(path, 1_000_000_008).unwrap()),
        ("etc", |path| HostDisk.set_mtime(path, 1_000_000_009).unwrap()),
        ("etc/link", |path| HostDisk.set_mtime(path, 1_000_000_010).unwrap()),
        ("etc/a", |path| chmod(path, 0o600)),
        ("disk.raw", |path| chmod(path, 0o640)),
        ("etc", |path| chmod(path, 0o2750)),
    ];
    for (path, change) in changes {
        let before = (dress(&lab.source()), lab.newest().unwrap(), lab.points()[0].data_hash);
        change(&lab.source().join(path));
        let live = content(&HostDisk, &Place::Directory(lab.source()), ResourceType::Vm).unwrap().unwrap();
        assert_ne!(lab.record().newest().unwrap().source_stamp, Some(live.stamp), "planning sees {path}");
        let report = lab.sync();
        assert!(report.published.new && report.bytes.0 == 0, "{path}: {report:?}");
        let only_time = before.0.iter().zip(dress(&lab.source())).all(|(was, is)| was.1 == is.1);
        assert_eq!(before.2 == report.published.point.data_hash, only_time, "times are no part of the hash, modes are");
        assert_settled(&lab);
        assert!(!lab.sync().published.new, "{path}: nothing is left to do");
        lab.export(before.1).unwrap();
    }
    lab.assert_converged();
}

#[test]
fn a_replica_that_a_hand_dressed_anew_is_dressed_again() {
    let lab = lab();
    let changes: [Change; 7] = [
        ("vm.xml", |path| HostDisk.set_mtime(path, 7).unwrap()),
        ("disk.raw", |path| HostDisk.set_mtime(path, 8).unwrap()),
        ("etc", |path| HostDisk.set_mtime(path, 9).unwrap()),
        ("etc/link", |path| HostDisk.set_mtime(path, 10).unwrap()),
        ("vm.xml", |path| chmod(path, 0o666)),
        ("disk.raw", |path| chmod(path, 0o600)),
        ("etc", |path| chmod(path, 0o700)),
    ];
    for (path, change) in changes {
        change(&lab.replica().join(path));
        let said = damage(&lab, &HostDisk, false).expect("planning sees it");
        assert!(said.starts_with(path), "{said}");
        let report = lab.sync();
        assert!(report.published.set_aside.is_empty() && report.bytes.0 == 0, "{path}: {report:?}");
        assert_settled(&lab);
        assert!(!lab.sync().published.new, "{path}: nothing is left to do");
    }
    lab.assert_converged();
}

/// The look at a file that was dressed anew notes how it lies before it is dressed again.
#[test]
fn a_hand_is_not_forgotten_by_a_sync_that_is_cut_short() {
    let lab = lab();
    chmod(&lab.replica().join("vm.xml"), 0o666);
    let commits = lab.catalog.commits.load(Ordering::SeqCst);
    lab.catalog.kill_before.store(commits + 2, Ordering::SeqCst);
    let _ = lab.try_sync().unwrap_err();
    lab.catalog.revive();
    assert!(lab.record().receiving.is_none() && damage(&lab, &HostDisk, false).is_some());
    lab.sync();
    assert_settled(&lab);
}

#[test]
fn owners_follow_where_the_program_may_give_files_away() {
    let mut lab = lab();
    lab.rules.owners = true;
    let disk = Arc::new(OddDisk::default());
    let bent = |owner: (u32, u32)| {
        let (source, _, target) = lab.ends_on(Arc::clone(&disk) as Arc<dyn Disk>, Fault::None);
        *source.bend_reading.lock().unwrap() = Some(Box::new(move |reading| {
            Arc::make_mut(&mut reading.manifest).entries.iter_mut().for_each(|entry| entry.owner = owner);
        }));
        lab.drive(&source, &target, &SyncOptions::default()).unwrap()
    };
    let owners = || stats(&*disk, &lab.replica()).iter().map(|stat| (stat.uid, stat.gid)).collect::<Vec<_>>();
    // A change of owners alone, at the source.
    for owner in [(10, 11), (12, 13)] {
        let report = bent(owner);
        assert!(report.published.new && report.bytes.0 == 0, "{report:?}");
        assert_eq!(owners(), [owner; PATHS.len()]);
        assert_eq!(damage(&lab, &*disk, true), None);
        assert!(!bent(owner).published.new);
    }
    // And at the replica, where it is to be seen only by one who may mend it.
    for path in PATHS {
        disk.set_owner(&lab.replica().join(path), 99, 99).unwrap();
        assert_eq!(damage(&lab, &*disk, false), None);
        assert!(damage(&lab, &*disk, true).is_some_and(|said| said.starts_with(path)), "{path}");
        let report = bent((12, 13));
        assert!(report.published.set_aside.is_empty() && report.bytes.0 == 0, "{report:?}");
        assert_eq!(owners(), [(12, 13); PATHS.len()], "{path}");
    }
    assert!(!bent((12, 13)).published.new);
}

/// What a file system cannot keep is no damage, and asks for no sync.
#[test]
fn a_disk_with_a_coarse_clock_comes_to_rest() {
    let lab = Lab::new("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("disk.raw", &noise(1, GROUP + 3 * BLOCK));
    lab.write("etc/a", b"a");
    symlink("a", lab.source().join("etc/link")).unwrap();
    for (at, path) in PATHS.iter().enumerate() {
        HostDisk.set_mtime(&lab.source().join(path), 5_000_000_123 + at as i64).unwrap();
    }
    let disk = Arc::new(OddDisk { whole_seconds: true, ..OddDisk::default() });
    sync_on(&lab, &disk);
    assert_eq!(damage(&lab, &*disk, false), None);
    assert!(!sync_on(&lab, &disk).published.new);
    lab.write("etc/b", b"b");
    assert!(sync_on(&lab, &disk).published.new);
    assert_eq!(damage(&lab, &*disk, false), None, "what stays as it was is still known");
    chmod(&lab.replica().join("vm.xml"), 0o666);
    HostDisk.set_mtime(&lab.replica().join("etc/link"), 9_000_000_000).unwrap();
    assert!(damage(&lab, &*disk, false).is_some());
    sync_on(&lab, &disk);
    assert_eq!(damage(&lab, &*disk, false), None);
    assert!(!sync_on(&lab, &disk).published.new);
}
