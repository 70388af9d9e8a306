//! A replica whose files become a machine's, and a holder whose files become a replica's.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::Arc;

use super::lab::{BLOCK, GROUP, Lab, Picture, assert_same, noise, picture};
use super::odd_disk::OddDisk;
use crate::host::disk::faulty::{Fault, FaultyDisk};
use crate::host::disk::volatile::{Loss, VolatileDisk};
use crate::host::disk::{Disk, HostDisk};
use crate::model::RegionId;
use crate::model::point::{Point, PointState};
use crate::model::region::Epoch;
use crate::replica::StopCheck;
use crate::replica::adopt::{Adoption, adopt};
use crate::replica::catalog::Catalog;
use crate::replica::port::TransferError;
use crate::replica::promote::{Promoted, Promotion, given_up, promote};
use crate::replica::prune::discard;

fn here() -> RegionId {
    "there".parse().unwrap()
}

impl Lab {
    fn promote_on(&self, disk: &dyn Disk, point: Option<u64>) -> Result<Promoted, TransferError> {
        let now = self.world().clock.now();
        let here = here();
        let promotion = Promotion { point, here: (&here, Epoch(2)), now, owners: false };
        promote(disk, &*self.catalog, &self.place(), &promotion, &StopCheck::never())
    }

    /// As the region does: what is promoted is given up.
    fn promote(&self, disk: &dyn Disk, point: Option<u64>) -> Promoted {
        let promoted = self.promote_on(disk, point).unwrap();
        let place = self.place();
        let record = self.catalog.load(&place.resource).unwrap();
        self.catalog.commit(&place.resource, &given_up(&record, &promoted.shared)).unwrap();
        promoted
    }

    fn adopt_on(&self, disk: &dyn Disk) -> Result<Option<Point>, TransferError> {
        let world = self.world();
        let here = here();
        let adoption = Adoption { region: &here, epoch: Epoch(1), clock: &*world.clock };
        adopt(disk, &*self.catalog, &self.place(), &adoption, &StopCheck::never())
    }

    /// Writes as a machine that runs here does.
    fn run_here(&self, file: &str, at: usize, bytes: &[u8]) {
        let path = self.replica().join(file);
        fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
    }

    fn states(&self) -> Vec<(u64, PointState)> {
        self.points().iter().map(|point| (point.sequence, point.state)).collect()
    }
}

/// Clones, as far as anybody who looks at files can tell.
fn cloning() -> OddDisk {
    OddDisk { clones: true, ..OddDisk::default() }
}

/// Three points of a machine; what each one shows.
fn lab() -> (Lab, Vec<Picture>) {
    let lab = Lab::brief("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("etc/net.conf", &noise(2, 100));
    lab.write("disk.raw", &noise(1, GROUP + 3 * BLOCK));
    let mut shown = Vec::new();
    for at in 0..3 {
        lab.patch("disk.raw", at * BLOCK, &noise(10 + at as u64, BLOCK));
        lab.sync();
        shown.push(picture(&lab.source()));
    }
    (lab, shown)
}

#[test]
fn what_a_machine_writes_over_says_so_before_it_starts() {
    let (lab, shown) = lab();
    let promoted = lab.promote(&HostDisk, None);
    assert_eq!((promoted.point.sequence, promoted.shared), (3, vec![1, 2, 3]));
    assert_same(&shown[2], &picture(&lab.replica()), "what the machine starts from");
    use PointState::Damaged;
    assert_eq!(lab.states(), [(3, Damaged), (2, Damaged), (1, Damaged)]);
    for point in 1..=3 {
        let error = lab.export(point).unwrap_err();
        assert_eq!(error.to_string(), format!("point {point} is damaged: bytes of it were written over here"));
    }
    // And nobody takes it for something to promote.
    let error = lab.promote_on(&HostDisk, None).unwrap_err();
    assert_eq!(error.to_string(), "point 3 of vm.web is the newest here, and is damaged");
}

#[test]
fn what_a_machine_wrote_comes_back_by_delta_and_stays_under_a_name() {
    let (lab, _) = lab();
    lab.promote(&HostDisk, None);
    lab.run_here("disk.raw", 40 * BLOCK + 5, b"written here");
    lab.run_here("disk.raw", GROUP, b"here too");
    let written = picture(&lab.replica());
    lab.patch("disk.raw", 50 * BLOCK, &noise(50, BLOCK));
    let report = lab.sync();
    assert_eq!(report.bytes.0, 3 * BLOCK as u64);
    let [name] = report.published.set_aside.as_slice() else { panic!("{report:?}") };
    lab.assert_converged();
    let aside = lab.points().into_iter().find(|point| point.name.as_ref() == Some(name)).unwrap();
    for round in 0..2 {
        assert_same(&written, &lab.export(aside.sequence).unwrap(), "what was written here");
        lab.patch("disk.raw", 40 * BLOCK, &noise(60 + round, 2 * BLOCK));
        lab.sync();
    }
    use PointState::{Complete, Damaged, SetAside};
    let states: Vec<PointState> = lab.states().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [Complete, Complete, Complete, Damaged, Damaged, Damaged, SetAside]);
    // The next promotion gives up that one too, and says so.
    let promoted = lab.promote(&HostDisk, None);
    assert!(promoted.shared.contains(&aside.sequence));
    let last = lab.points().pop().unwrap();
    assert_eq!((last.sequence, last.state), (aside.sequence, PointState::SetAsideDamaged));
    assert!(lab.export(aside.sequence).is_err());
    assert!(discard(&HostDisk, &*lab.catalog, &lab.place(), name).unwrap());
}

#[test]
fn where_files_can_be_cloned_every_point_stays() {
    let (lab, shown) = lab();
    let promoted = lab.promote(&cloning(), None);
    assert_eq!((promoted.point.sequence, promoted.shared), (4, vec![4]));
    assert_same(&shown[2], &picture(&lab.replica()), "what the machine starts from");
    lab.run_here("disk.raw", 0, &noise(99, GROUP));
    lab.run_here("vm.xml", 0, b"!");
    for (point, shown) in (1..).zip(&shown) {
        assert_same(shown, &lab.export(point).unwrap(), "a point from before");
    }
    assert!(lab.export(4).is_err());
    // The machine's own writes go on as those of a hand: set aside by name, the rest by delta.
    let written = picture(&lab.replica());
    lab.patch("disk.raw", 60 * BLOCK, &noise(50, BLOCK));
    let report = lab.sync();
    assert_eq!(report.published.set_aside.len(), 1);
    assert_eq!(report.bytes.0, GROUP as u64 + "<domain/>".len() as u64);
    let aside = lab.points().pop().unwrap();
    assert_same(&written, &lab.export(aside.sequence).unwrap(), "what the machine wrote");
    for (point, shown) in (1..).zip(&shown) {
        assert_same(shown, &lab.export(point).unwrap(), "a point from before, after the return");
    }
    lab.assert_converged();
    // Points come and go as ever.
    let mut lab = lab;
    lab.rules.retention.last = 1;
    lab.patch("disk.raw", 0, &noise(51, BLOCK));
    lab.sync();
    assert_same(&written, &lab.export(aside.sequence).unwrap(), "what the machine wrote, later");
    lab.assert_converged();
}

#[test]
fn promoting_again_changes_nothing() {
    for disk in [&HostDisk as &dyn Disk, &cloning()] {
        for point in [None, Some(1), Some(3)] {
            let (lab, shown) = lab();
            let first = lab.promote_on(disk, point).unwrap();
            let second = lab.promote_on(disk, point).unwrap();
            assert_eq!(first, second, "{point:?}");
            assert_same(&shown[if point == Some(1) { 0 } else { 2 }], &picture(&lab.replica()), "the files");
        }
    }
}

#[test]
fn an_older_point_takes_the_place_of_the_newest_which_stays() {
    for disk in [&HostDisk as &dyn Disk, &cloning()] {
        let (lab, shown) = lab();
        let promoted = lab.promote(disk, Some(1));
        assert_eq!((promoted.point.sequence, promoted.shared), (4, vec![4]), "nothing is shared with a copy");
        assert_same(&shown[0], &picture(&lab.replica()), "what the machine starts from");
        lab.run_here("disk.raw", 0, &noise(99, GROUP));
        for (point, shown) in (1..).zip(&shown) {
            assert_same(shown, &lab.export(point).unwrap(), "a point from before");
        }
        lab.sync();
        lab.assert_converged();
    }
}

#[test]
fn a_modified_replica_is_not_promoted_and_an_older_point_of_it_is() {
    let (lab, shown) = lab();
    lab.run_here("disk.raw", 60 * BLOCK, b"a hand");
    let modified = picture(&lab.replica());
    let error = lab.promote_on(&HostDisk, None).unwrap_err();
    assert_eq!(error.to_string(), "disk.raw was modified: it is not what point 3 of vm.web says");
    assert_same(&modified, &picture(&lab.replica()), "a refusal touches nothing");
    assert_eq!(lab.points().len(), 3);
    // Its own bytes of block 60 are gone, and everybody's.
    assert!(matches!(lab.promote_on(&HostDisk, Some(1)).unwrap_err(), TransferError::Corrupt(_)));

    let (lab, _) = self::lab();
    lab.run_here("disk.raw", BLOCK, b"a hand");
    let modified = picture(&lab.replica());
    let promoted = lab.promote(&HostDisk, Some(1));
    assert_same(&shown[0], &picture(&lab.replica()), "the first point");
    let [name] = promoted.set_aside.as_slice() else { panic!("{promoted:?}") };
    let aside = lab.points().into_iter().find(|point| point.name.as_ref() == Some(name)).unwrap();
    assert_same(&modified, &lab.export(aside.sequence).unwrap(), "what the hand wrote");
}

#[test]
fn what_only_looks_modified_is_mended() {
    let (lab, shown) = lab();
    let replica = lab.replica();
    HostDisk.set_mtime(&replica.join("disk.raw"), 5).unwrap();
    fs::set_permissions(replica.join("vm.xml"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(replica.join("etc/notes.txt"), b"mine").unwrap();
    fs::create_dir_all(replica.join("more/deep")).unwrap();
    fs::write(replica.join("more/deep/notes.txt"), b"mine too").unwrap();
    let promoted = lab.promote(&cloning(), None);
    assert_same(&shown[2], &picture(&replica), "what the machine starts from");
    assert_eq!(promoted.set_aside.len(), 2);
    let kept = |name: &str, path: &str| fs::read(lab.place().in_the_way().join(name).join(path)).unwrap();
    assert_eq!(kept(&promoted.set_aside[0], "notes.txt"), b"mine");
    assert_eq!(kept(&promoted.set_aside[1], "more/deep/notes.txt"), b"mine too");
}

#[test]
fn what_is_missing_or_unknown_is_refused() {
    let (lab, _) = lab();
    let error = lab.promote_on(&HostDisk, Some(9)).unwrap_err();
    assert_eq!(error.to_string(), "vm.web has no point 9 here");
    fs::remove_file(lab.replica().join("vm.xml")).unwrap();
    let error = lab.promote_on(&HostDisk, None).unwrap_err();
    assert_eq!(error.to_string(), "vm.xml is missing: it is not what point 3 of vm.web says");
    let empty = Lab::brief("vm.web");
    assert_eq!(empty.promote_on(&HostDisk, None).unwrap_err().to_string(), "vm.web has no point here");
}

#[test]
fn a_copy_that_finds_no_room_changes_nothing() {
    let (lab, shown) = lab();
    let full = OddDisk { free: Some(BLOCK as u64), ..OddDisk::default() };
    let error = lab.promote_on(&full, Some(1)).unwrap_err().to_string();
    assert!(
        error.starts_with("no_space: 4.") && error.ends_with("are needed to write out point 1, 64 KiB are free"),
        "{error}"
    );
    assert_same(&shown[2], &picture(&lab.replica()), "the files");
    lab.promote(&HostDisk, Some(1));
}

/// However a promotion is cut off, doing it again gives what was asked for, and no point is lost that needs not be.
fn cut_off(point: Option<u64>, clones: bool, power: Option<Loss>) {
    let disk = |lab: &Lab| -> Arc<dyn Disk> {
        match (power, clones) {
            (Some(_), _) => Arc::new(VolatileDisk::new(lab.dir.path().join("region"))),
            (None, true) => Arc::new(cloning()),
            (None, false) => Arc::new(HostDisk),
        }
    };
    let calls = {
        let (lab, _) = lab();
        let faulty = FaultyDisk::new(disk(&lab), Fault::None);
        lab.promote_on(&faulty, point).unwrap();
        faulty.count()
    };
    assert!(calls > 0 || point.is_none(), "{calls}");
    // The loss of power takes long to play.
    for at in (1..=calls).step_by(if power.is_some() { 7 } else { 2 }).chain([calls]) {
        let (lab, shown) = lab();
        let inner = disk(&lab);
        let volatile = power.map(|loss| (VolatileDisk::new(lab.dir.path().join("region")), loss));
        let inner = volatile.as_ref().map_or(inner, |(disk, _)| Arc::new(disk.clone()));
        let faulty = FaultyDisk::new(inner, Fault::Crash { at });
        *lab.catalog.disk.lock().unwrap() = Some(faulty.clone());
        let cut = lab.promote_on(&faulty, point);
        if let Some((disk, loss)) = volatile {
            disk.lose_power(loss);
        }
        lab.catalog.revive();
        let intact = |when: &str| {
            for (point, shown) in (1..).zip(&shown) {
                let found = lab.export(point).unwrap_or_else(|error| panic!("at {at}, {when}, {point}: {error}"));
                assert_same(shown, &found, &format!("at {at} of {calls}, {when}, point {point}"));
            }
        };
        assert!(cut.is_err() || at == calls, "at {at} of {calls}");
        intact("cut off");
        let again = if clones { lab.promote(&cloning(), point) } else { lab.promote(&HostDisk, point) };
        let asked = point.map_or(2, |point| point as usize - 1);
        assert_same(&shown[asked], &picture(&lab.replica()), &format!("at {at} of {calls}, the files"));
        lab.run_here("disk.raw", 0, &noise(99, GROUP));
        if again.shared.len() == 1 {
            intact("with the machine running");
        }
        assert!(!lab.place().incoming.exists());
        lab.sync();
        lab.assert_converged();
    }
}

#[test]
fn a_promotion_by_copy_survives_a_kill_anywhere() {
    cut_off(Some(1), false, None);
}

#[test]
fn a_promotion_with_clones_survives_a_kill_anywhere() {
    cut_off(None, true, None);
}

#[test]
fn a_promotion_by_copy_survives_the_loss_of_power() {
    cut_off(Some(1), false, Some(Loss::Everything));
}

/// What a region held itself: a machine's files in the place of a replica.
fn own() -> Lab {
    let lab = Lab::brief("vm.web");
    lab.write("vm.xml", b"<domain/>");
    lab.write("etc/net.conf", &noise(2, 100));
    lab.write("disk.raw", &noise(1, GROUP + 3 * BLOCK));
    fs::create_dir_all(lab.replica().join("etc")).unwrap();
    for file in ["vm.xml", "etc/net.conf", "disk.raw"] {
        fs::copy(lab.source().join(file), lab.replica().join(file)).unwrap();
    }
    lab
}

#[test]
fn what_a_region_held_itself_is_kept_and_only_the_difference_travels() {
    let mut lab = own();
    // Written here alone, before anybody knew.
    lab.run_here("disk.raw", 7 * BLOCK + 9, b"late");
    fs::write(lab.replica().join("late.txt"), b"late too").unwrap();
    let late = picture(&lab.replica());
    let point = lab.adopt_on(&HostDisk).unwrap().unwrap();
    assert_same(&late, &picture(&lab.replica()), "nothing of it is touched");
    assert_eq!((point.name.as_deref(), point.state), (Some("diverged-1"), PointState::SetAside));
    assert_eq!(lab.adopt_on(&HostDisk).unwrap().unwrap(), point, "once for all");
    assert_eq!(lab.ledger().shown(), None, "it is no copy");
    let error = lab.promote_on(&HostDisk, None).unwrap_err().to_string();
    assert!(error.starts_with("point 1 of vm.web is what this region held itself: "), "{error}");

    lab.patch("disk.raw", 20 * BLOCK, &noise(3, BLOCK));
    lab.rules.retention.last = 1;
    let report = lab.sync();
    assert_eq!(report.bytes.0, 2 * BLOCK as u64, "the late write, and the successor's");
    assert!(report.published.set_aside.is_empty());
    lab.assert_converged();
    for round in 0..3 {
        lab.patch("disk.raw", 30 * BLOCK, &noise(40 + round, BLOCK));
        lab.patch("disk.raw", 7 * BLOCK, &noise(50 + round, BLOCK));
        lab.write("vm.xml", &noise(60 + round, 60));
        lab.sync();
        assert_same(&late, &lab.export(point.sequence).unwrap(), "what it held");
    }
    assert!(discard(&HostDisk, &*lab.catalog, &lab.place(), "diverged-1").unwrap());
    lab.write("vm.xml", &noise(70, 60));
    lab.sync();
    assert_eq!(lab.points().len(), 1, "nothing is kept for it any more");
    lab.assert_converged();
}

#[test]
fn adopting_is_cut_off_anywhere_and_done_again() {
    let calls = {
        let lab = own();
        let faulty = FaultyDisk::new(Arc::new(HostDisk), Fault::None);
        lab.adopt_on(&faulty).unwrap();
        faulty.count()
    };
    for at in (1..=calls).step_by(2) {
        for power in [None, Some(Loss::Everything)] {
            let lab = own();
            let held = picture(&lab.replica());
            let volatile = VolatileDisk::new(lab.dir.path().join("region"));
            let inner: Arc<dyn Disk> = if power.is_some() { Arc::new(volatile.clone()) } else { Arc::new(HostDisk) };
            let faulty = FaultyDisk::new(inner, Fault::Crash { at });
            *lab.catalog.disk.lock().unwrap() = Some(faulty.clone());
            let _ = lab.adopt_on(&faulty);
            if let Some(loss) = power {
                volatile.lose_power(loss);
            }
            lab.catalog.revive();
            // Meanwhile it changed.
            lab.run_here("disk.raw", GROUP, &[0; 3 * BLOCK]);
            let now = picture(&lab.replica());
            let point = lab.adopt_on(&HostDisk).unwrap().unwrap();
            let kept = lab.export(point.sequence);
            assert_same(&now, &kept.unwrap(), &format!("at {at} of {calls}, adopted"));
            assert_eq!(held.len(), now.len());
            lab.sync();
            lab.assert_converged();
            assert_same(&now, &lab.export(point.sequence).unwrap(), &format!("at {at} of {calls}, later"));
        }
    }
}

#[test]
fn what_cannot_be_a_point_is_not_adopted() {
    let lab = own();
    std::os::unix::fs::symlink("/etc/passwd", lab.replica().join("link")).unwrap();
    let error = lab.adopt_on(&HostDisk).unwrap_err();
    assert_eq!(error.to_string(), "unsupported: link is a link that leads outside, to /etc/passwd");
    assert!(lab.points().is_empty());
    let empty = Lab::brief("vm.web");
    assert_eq!(empty.adopt_on(&HostDisk).unwrap(), None);
    let (replica, _) = self::lab();
    assert_eq!(replica.adopt_on(&HostDisk).unwrap(), None, "copies were kept here before");
    assert_eq!(replica.points().len(), 3);
}
