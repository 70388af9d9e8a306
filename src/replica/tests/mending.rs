//! What a hand does to a replica is mended by the next sync, and says nothing about the source.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use super::lab::{BLOCK, GROUP, Lab, assert_same, noise, picture};
use crate::host::disk::faulty::Fault;
use crate::host::disk::{Disk, HostDisk};
use crate::model::point::BlockReason;
use crate::model::units::Percent;
use crate::replica::catalog::Phase;
use crate::replica::inspect::summary;
use crate::replica::port::TransferError;
use crate::replica::transfer::SyncOptions;

fn lab(size: usize) -> Lab {
    let mut lab = Lab::brief("vm.web");
    lab.rules.max_change = Percent(50);
    lab.write("disk.raw", &noise(1, size));
    lab.sync();
    lab
}

/// What a hand does to the replica's disk.
#[derive(Debug, Clone, Copy)]
enum Hand {
    Truncates,
    Overwrites,
    OverwritesWithItsIndex,
    Removes,
    /// Puts there what the source has now.
    Copies,
}

impl Hand {
    const ALL: [Self; 5] =
        [Self::Truncates, Self::Overwrites, Self::OverwritesWithItsIndex, Self::Removes, Self::Copies];

    fn at(self, lab: &Lab) {
        let path = lab.replica().join("disk.raw");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
        match self {
            Self::Truncates => file.set_len(1000).unwrap(),
            Self::Overwrites => file.write_all_at(&noise(9, size), 0).unwrap(),
            Self::OverwritesWithItsIndex => {
                file.write_all_at(&noise(9, size), 0).unwrap();
                for index in fs::read_dir(lab.place().index).into_iter().flatten() {
                    let index = fs::OpenOptions::new().write(true).open(index.unwrap().path()).unwrap();
                    index.write_all_at(&noise(8, 64), 64).unwrap();
                }
            }
            Self::Removes => fs::remove_file(&path).unwrap(),
            Self::Copies => file.write_all_at(&fs::read(lab.source().join("disk.raw")).unwrap(), 0).unwrap(),
        }
    }
}

#[test]
fn what_a_hand_wrote_at_the_replica_is_no_change_of_the_source() {
    for size in [GROUP, GROUP + 3 * BLOCK] {
        for hand in Hand::ALL {
            let lab = lab(size);
            hand.at(&lab);
            let report = lab.try_sync().unwrap_or_else(|error| panic!("{size}, {hand:?}: {error}"));
            assert_eq!(report.published.changed.0, 0, "{size}, {hand:?}");
            lab.assert_converged();
        }
    }
}

#[test]
fn a_large_change_of_the_source_is_seen_whatever_a_hand_wrote_at_the_replica() {
    for size in [GROUP, GROUP + 3 * BLOCK] {
        for hand in Hand::ALL {
            let lab = lab(size);
            lab.write("disk.raw", &noise(2, size));
            hand.at(&lab);
            let when = format!("{size}, {hand:?}");
            let Err(TransferError::Blocked(refusal)) = lab.try_sync().map_err(|failure| failure.error) else {
                panic!("{when}: it went through")
            };
            assert_eq!(refusal.reason, BlockReason::Suspicious, "{when}");
        }
    }
}

#[test]
fn a_small_change_of_the_source_is_none_to_stop_for_whatever_a_hand_wrote_at_the_replica() {
    for hand in [Hand::Truncates, Hand::Overwrites, Hand::Removes, Hand::Copies] {
        let lab = lab(GROUP + 3 * BLOCK);
        lab.patch("disk.raw", 5 * BLOCK, &noise(2, BLOCK));
        hand.at(&lab);
        lab.try_sync().unwrap_or_else(|error| panic!("{hand:?}: {error}"));
        lab.assert_converged();
    }
}

#[test]
fn what_stands_in_the_place_of_the_replica_is_moved_aside_as_it_lies() {
    let etc = fs::read_dir("/etc").unwrap().count();
    for linked in [false, true] {
        let lab = lab(GROUP + BLOCK);
        let replica = lab.replica();
        fs::remove_dir_all(&replica).unwrap();
        if linked {
            symlink("/etc", &replica).unwrap();
        } else {
            fs::write(&replica, b"mine").unwrap();
        }
        let found = summary(&HostDisk, &lab.ledger(), &lab.place(), false).unwrap();
        assert!(found.damage.is_some_and(|damage| damage.contains("is not a directory")));
        let report = lab.try_sync().unwrap_or_else(|error| panic!("{linked}: {error}"));
        let [name] = report.published.set_aside.as_slice() else { panic!("{report:?}") };
        let kept = lab.place().in_the_way().join(name).join("web");
        if linked {
            assert_eq!(fs::read_link(kept).unwrap().to_str(), Some("/etc"));
        } else {
            assert_eq!(fs::read(kept).unwrap(), b"mine");
        }
        lab.assert_converged();
    }
    assert_eq!(fs::read_dir("/etc").unwrap().count(), etc, "nothing is done to what a link leads to");
}

#[test]
fn directories_of_the_replica_that_may_not_be_read_are_opened_up() {
    for inner in ["", "snapshots"] {
        let lab = Lab::brief("vm.web");
        lab.write("disk.raw", &noise(1, GROUP + BLOCK));
        lab.write("snapshots/1.xml", b"<snapshot/>");
        lab.sync();
        fs::set_permissions(lab.replica().join(inner), fs::Permissions::from_mode(0o000)).unwrap();
        let (source, disk, target) = lab.ends(Fault::None);
        disk.obey_modes();
        assert!(summary(&disk, &lab.ledger(), &lab.place(), false).is_err(), "it cannot be looked into");
        lab.drive(&source, &target, &SyncOptions::default()).unwrap_or_else(|error| panic!("{inner}: {error}"));
        assert!(disk.read_dir(&lab.replica().join(inner)).is_ok());
        lab.assert_converged();
    }
}

/// Stopped after the seal, a sync is finished by the next one: the point is that one's work.
#[test]
fn a_point_that_an_earlier_sync_sealed_is_new_to_the_one_that_finishes_it() {
    let story = || {
        let lab = lab(GROUP + BLOCK);
        lab.patch("disk.raw", 0, &noise(2, 2 * BLOCK));
        lab
    };
    let calls = story().sync_with(Fault::None).1.count();
    let mut met = 0;
    for at in 1..=calls {
        let lab = story();
        let after = picture(&lab.source());
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        if lab.record().receiving.is_none_or(|receiving| receiving.phase < Phase::Sealed) {
            continue;
        }
        met += 1;
        let report = lab.sync();
        assert!(report.published.new, "call {at}: {report:?}");
        assert_eq!((report.bytes.0, report.resumed.0), (0, 2 * BLOCK as u64), "call {at}");
        assert_eq!(report.published.changed.0, 2 * BLOCK as u64, "call {at}");
        assert_same(&after, &lab.export(report.published.point.sequence).unwrap(), "the point");
        assert!(!lab.sync().published.new, "once");
    }
    assert!(met > 3, "{met}");
}
