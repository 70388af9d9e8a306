//! Sources that lie, shrink, vanish or never rest: nothing of them is published.

use std::sync::Arc;

use super::lab::{BLOCK, GROUP, Lab, LabSource, assert_same, noise, picture};
use crate::host::disk::faulty::Fault;
use crate::model::ByteCount;
use crate::model::point::{BlockReason, Loss};
use crate::model::units::Percent;
use crate::replica::manifest::Node;
use crate::replica::port::{Reading, TransferError};
use crate::replica::transfer::SyncOptions;

fn lab() -> Lab {
    let lab = Lab::new("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("disk.raw", &noise(1, GROUP + 3 * BLOCK));
    lab.sync();
    lab.patch("disk.raw", 3 * BLOCK, &noise(2, BLOCK));
    lab
}

fn never_published(bend: impl Fn(&LabSource)) -> TransferError {
    let lab = lab();
    let before = lab.export(1).unwrap();
    let (source, _, target) = lab.ends(Fault::None);
    bend(&source);
    let error = lab.drive(&source, &target, &SyncOptions::default()).unwrap_err().error;
    assert_eq!(lab.newest(), Some(1));
    assert_same(&before, &lab.export(1).unwrap(), "the newest point");
    assert_same(&before, &picture(&lab.replica()), "the replica");
    lab.assert_converged_after_sync();
    error
}

impl Lab {
    fn assert_converged_after_sync(&self) {
        self.sync();
        self.assert_converged();
    }
}

fn is_corrupt(error: &TransferError) -> bool {
    matches!(error, TransferError::Corrupt(_))
}

#[test]
fn wrong_bytes() {
    let error = never_published(|source| {
        *source.bend_bytes.lock().unwrap() = Some(Box::new(|blocks| blocks[0][7] ^= 1));
    });
    assert!(is_corrupt(&error), "{error}");
    let error = never_published(|source| {
        *source.bend_bytes.lock().unwrap() = Some(Box::new(|blocks| blocks[0].truncate(9)));
    });
    assert!(is_corrupt(&error), "{error}");
    let error = never_published(|source| {
        *source.bend_bytes.lock().unwrap() = Some(Box::new(Vec::clear));
    });
    assert!(is_corrupt(&error), "{error}");
}

#[test]
fn wrong_hashes() {
    let error = never_published(|source| {
        *source.bend_groups.lock().unwrap() = Some(Box::new(|hashes| hashes[0][0] ^= 1));
    });
    assert!(is_corrupt(&error), "{error}");
    let error = never_published(|source| {
        *source.bend_groups.lock().unwrap() = Some(Box::new(|hashes| {
            hashes.pop();
        }));
    });
    assert!(is_corrupt(&error), "{error}");
    let error = never_published(|source| {
        *source.bend_blocks.lock().unwrap() = Some(Box::new(|hashes| hashes[0][0] ^= 1));
    });
    assert!(is_corrupt(&error), "{error}");
    // A root that no bytes have.
    let error = never_published(|source| {
        let lie = |reading: &mut Reading| {
            if let Node::File { root, .. } = &mut Arc::make_mut(&mut reading.manifest).entries[0].node {
                root.0[0] ^= 1;
            }
        };
        *source.bend_reading.lock().unwrap() = Some(Box::new(lie));
    });
    assert!(is_corrupt(&error), "{error}");
}

#[test]
fn paths_and_sizes_that_lead_outside() {
    for path in ["../../evil", "/etc/passwd", "a/../../evil", ""] {
        let error = never_published(|source| {
            let lie =
                move |reading: &mut Reading| Arc::make_mut(&mut reading.manifest).entries[0].path = path.to_owned();
            *source.bend_reading.lock().unwrap() = Some(Box::new(lie));
        });
        assert!(is_corrupt(&error), "{error}");
    }
    let error = never_published(|source| {
        let lie = |reading: &mut Reading| {
            if let Node::File { size, .. } = &mut Arc::make_mut(&mut reading.manifest).entries[0].node {
                *size = ByteCount(u64::MAX);
            }
        };
        *source.bend_reading.lock().unwrap() = Some(Box::new(lie));
    });
    assert!(is_corrupt(&error), "{error}");
}

#[test]
fn a_source_that_never_rests_is_busy() {
    let lab = lab();
    let path = lab.source().join("disk.raw");
    let (source, _, target) = lab.ends(Fault::None);
    let mut beat = 0_u64;
    *source.before_blocks.lock().unwrap() = Some(Box::new(move || {
        use std::os::unix::fs::FileExt;
        beat += 1;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&noise(100 + beat, BLOCK), 3 * BLOCK as u64).unwrap();
        crate::host::disk::Disk::set_mtime(&crate::host::disk::HostDisk, &path, beat as i64).unwrap();
    }));
    let failure = lab.drive(&source, &target, &SyncOptions::default()).unwrap_err();
    match failure.error {
        TransferError::Blocked(refusal) => {
            assert_eq!(refusal.reason, BlockReason::SourceBusy);
            assert!(refusal.detail.contains("disk.raw"), "{}", refusal.detail);
        }
        error => panic!("{error}"),
    }
    assert_eq!(lab.newest(), Some(1));
    lab.assert_converged_after_sync();
}

#[test]
fn a_source_that_changes_once_is_read_again() {
    let lab = lab();
    let path = lab.source().join("disk.raw");
    let (source, _, target) = lab.ends(Fault::None);
    let mut changed = false;
    *source.before_blocks.lock().unwrap() = Some(Box::new(move || {
        use std::os::unix::fs::FileExt;
        if !std::mem::replace(&mut changed, true) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&noise(100, BLOCK), 20 * BLOCK as u64).unwrap();
            crate::host::disk::Disk::set_mtime(&crate::host::disk::HostDisk, &path, 5).unwrap();
        }
    }));
    let report = lab.drive(&source, &target, &SyncOptions::default()).unwrap();
    assert_eq!(report.passes, 2);
    // What had arrived in the first pass did not travel again.
    assert_eq!((report.bytes.0, report.resumed.0), (2 * BLOCK as u64, BLOCK as u64));
    lab.assert_converged();
}

fn blocked(lab: &Lab) -> Option<BlockReason> {
    match lab.try_sync() {
        Ok(_) => None,
        Err(failure) => match failure.error {
            TransferError::Blocked(refusal) => {
                let recorded = lab.record().refusal.expect("a refusal is recorded");
                assert_eq!(recorded, refusal);
                assert!(refusal.source_stamp.is_some());
                Some(refusal.reason)
            }
            error => panic!("{error}"),
        },
    }
}

fn accept(lab: &Lab) {
    let (source, _, target) = lab.ends(Fault::None);
    let options = SyncOptions { accept_change: true, ..SyncOptions::default() };
    lab.drive(&source, &target, &options).unwrap();
    assert_eq!(lab.record().refusal, None);
    lab.assert_converged();
}

#[test]
fn a_lost_disk_and_a_rewritten_one_are_suspicious_until_accepted() {
    let mut lab = lab();
    lab.rules.max_change = Percent(50);
    lab.sync();
    lab.write("disk.raw", &noise(9, GROUP + 3 * BLOCK));
    assert_eq!(blocked(&lab), Some(BlockReason::Suspicious));
    assert_eq!(lab.record().refusal.unwrap().max_change, Some(Percent(50)), "the limit that it was judged by");
    assert_eq!(lab.newest(), Some(2));
    accept(&lab);
    lab.remove("disk.raw");
    assert_eq!(blocked(&lab), Some(BlockReason::Suspicious));
    accept(&lab);
}

#[test]
fn a_source_without_files_is_no_change_that_anybody_could_accept() {
    let lab = lab();
    lab.sync();
    let newest = lab.newest();
    lab.remove("disk.raw");
    assert_eq!(blocked(&lab), Some(BlockReason::Suspicious));
    assert_eq!(lab.record().refusal.unwrap().lost, Some(Loss::Part));
    for left in ["", "directory"] {
        std::fs::remove_dir_all(lab.source()).unwrap();
        std::fs::create_dir_all(lab.source().join(left)).unwrap();
        for accept_change in [false, true] {
            let (source, _, target) = lab.ends(Fault::None);
            let options = SyncOptions { accept_change, ..SyncOptions::default() };
            let error = lab.drive(&source, &target, &options).map(|_| ()).unwrap_err().error;
            let TransferError::Blocked(refusal) = error else { panic!("{error}") };
            assert_eq!((refusal.reason, refusal.lost), (BlockReason::Suspicious, Some(Loss::Everything)));
            assert_eq!(lab.newest(), newest);
        }
    }
}

#[test]
fn growing_is_not_suspicious() {
    let mut lab = lab();
    lab.rules.max_change = Percent(10);
    lab.sync();
    lab.write("second.raw", &noise(9, 3 * GROUP));
    lab.resize("disk.raw", 3 * GROUP);
    lab.patch("disk.raw", 2 * GROUP, &noise(10, GROUP));
    assert_eq!(blocked(&lab), None);
    lab.assert_converged();
}

#[test]
fn what_cannot_be_copied_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    type Make = Box<dyn Fn(&Lab)>;
    let cases: [(&str, Make); 5] = [
        ("out", Box::new(|lab| symlink("/etc/passwd", lab.source().join("out")).unwrap())),
        ("up", Box::new(|lab| symlink("../x", lab.source().join("up")).unwrap())),
        (
            "socket",
            Box::new(|lab| {
                std::os::unix::net::UnixListener::bind(lab.source().join("socket")).unwrap();
            }),
        ),
        (
            "not UTF-8",
            Box::new(|lab| {
                std::fs::write(lab.source().join(std::ffi::OsStr::from_bytes(b"\xff")), b"").unwrap();
            }),
        ),
        (
            "base.qcow2",
            Box::new(|lab| {
                let mut head = vec![0; 512];
                head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x02");
                head[8..16].copy_from_slice(&200_u64.to_be_bytes());
                head[16..20].copy_from_slice(&13_u32.to_be_bytes());
                head[200..213].copy_from_slice(b"../base.qcow2");
                lab.write("disk.qcow2", &head);
            }),
        ),
    ];
    for (name, make) in cases {
        let lab = lab();
        make(&lab);
        match lab.try_sync().unwrap_err().error {
            TransferError::Blocked(refusal) => {
                assert_eq!(refusal.reason, BlockReason::Unsupported);
                assert!(refusal.detail.contains(name), "{}", refusal.detail);
            }
            error => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn a_file_that_shrinks_or_vanishes_during_the_reading_is_no_point() {
    for vanish in [false, true] {
        let lab = lab();
        let path = lab.source().join("disk.raw");
        let (source, _, target) = lab.ends(Fault::None);
        *source.before_blocks.lock().unwrap() = Some(Box::new(move || {
            if vanish {
                let _ = std::fs::remove_file(&path);
            } else if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) {
                file.set_len(1000).unwrap();
            }
        }));
        let failure = lab.drive(&source, &target, &SyncOptions::default()).unwrap_err();
        assert_eq!(lab.newest(), Some(1), "{failure}");
        assert!(matches!(failure.error, TransferError::Blocked(_)), "lost or shrunk: {failure}");
    }
}
