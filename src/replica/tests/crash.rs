//! The process is killed at every call that changes something, and at every commit; the disk is full from every call
//! on; the machine loses power at every call, and with it what was not synced. Each time the newest point is the old or the new one, byte for byte, before and after recovery, and the next
//! sync converges.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::lab::{BLOCK, GROUP, Lab, Picture, assert_same, difference, noise, picture};
use crate::host::disk::faulty::{ENOSPC, Fault};
use crate::host::disk::volatile::{Loss, VolatileDisk};
use crate::host::disk::{Disk, HostDisk};
use crate::model::policy::Retention;
use crate::replica::publish::recover;

/// How a life up to the sync in question is made anew, and what is changed then.
struct Story {
    before: fn(&mut Lab),
    change: fn(&Lab),
}

#[derive(Debug, Clone, Copy)]
enum Blow {
    Call(u64),
    Commit(u64),
    Full(u64),
    /// The machine loses power at this call; one beyond the last: right after it was told that the sync is done.
    Power(u64, Loss),
}

/// What the story's last sync does without a blow: disk calls and commits.
fn length(story: &Story) -> (u64, u64) {
    let mut lab = Lab::brief("vm.web");
    (story.before)(&mut lab);
    (story.change)(&lab);
    let commits = lab.catalog.commits.load(Ordering::SeqCst);
    let (result, disk) = lab.sync_with(Fault::None);
    result.unwrap();
    (disk.count(), lab.catalog.commits.load(Ordering::SeqCst) - commits)
}

fn strike(story: &Story, blow: Blow) {
    let mut lab = Lab::brief("vm.web");
    (story.before)(&mut lab);
    // Every point so far, as it was.
    let points: Vec<(u64, Picture)> =
        lab.points().iter().map(|point| (point.sequence, lab.export(point.sequence).unwrap())).collect();
    let old = picture(&lab.source());
    (story.change)(&lab);
    let new = picture(&lab.source());
    let fault = match blow {
        Blow::Call(at) => Fault::Crash { at },
        Blow::Full(at) => Fault::FailFrom { at, errno: ENOSPC },
        Blow::Commit(at) => {
            let so_far = lab.catalog.commits.load(Ordering::SeqCst);
            lab.catalog.kill_before.store(so_far + at, Ordering::SeqCst);
            Fault::None
        }
        Blow::Power(at, _) => Fault::Crash { at },
    };
    let first = lab.newest().is_none();
    let result = match blow {
        Blow::Power(_, loss) => {
            let region = lab.dir.path().join("region");
            fs::create_dir_all(&region).unwrap();
            let disk = VolatileDisk::new(region);
            let result = lab.sync_on(Arc::new(disk.clone()), fault).0;
            disk.lose_power(loss);
            result
        }
        Blow::Call(_) | Blow::Commit(_) | Blow::Full(_) => lab.sync_with(fault).0,
    };
    lab.catalog.revive();

    let intact = |when: &str| {
        match lab.newest() {
            None => assert!(first, "{blow:?}, {when}: the newest point is gone"),
            Some(newest) => {
                let found = lab.export(newest).unwrap_or_else(|error| panic!("{blow:?}, {when}: {error}"));
                let same = difference(&found, &old).is_none() && !first || difference(&found, &new).is_none();
                assert!(same, "{blow:?}, {when}: neither old nor new: {:?}", difference(&found, &new));
            }
        }
        for point in lab.points() {
            if let Some((_, was)) = points.iter().find(|(sequence, _)| *sequence == point.sequence) {
                let found = lab.export(point.sequence).unwrap_or_else(|error| panic!("{blow:?}, {when}: {error}"));
                assert_same(was, &found, &format!("{blow:?}, {when}, point {}", point.sequence));
            }
        }
    };
    intact("before recovery");
    if result.is_ok() && matches!(blow, Blow::Call(_) | Blow::Commit(_) | Blow::Power(..)) {
        // Only dropping old points is allowed to fail without saying so.
        assert_same(&new, &lab.export(lab.newest().unwrap()).unwrap(), "a sync that succeeded");
    }
    recover(&HostDisk, &*lab.catalog, &lab.place()).unwrap();
    intact("after recovery");
    let report = lab.sync();
    assert!(report.published.set_aside.is_empty(), "{blow:?}: our own writing was taken for somebody else's");
    intact("after the next sync");
    lab.assert_converged();
}

/// Kills, and a disk that fills up, at every place.
fn kills(story: &Story) {
    let (calls, commits) = length(story);
    assert!(calls > 5 && commits > 2, "{calls} {commits}");
    let calls_and_commits = (1..=calls).map(Blow::Call).chain((1..=commits).map(Blow::Commit));
    strike_all(story, &calls_and_commits.chain((1..=calls).map(Blow::Full)).collect::<Vec<_>>());
}

/// The loss of power at one of so many places, and when all is done.
fn losses_of_power(story: &Story, one_of: usize) {
    let (calls, _) = length(story);
    let places = |from: u64| (from..=calls).step_by(one_of).chain([calls + 1]);
    let blow = |(from, loss)| places(from).map(move |at| Blow::Power(at, loss));
    strike_all(story, &(1..).zip([Loss::Bytes, Loss::Names, Loss::Everything]).flat_map(blow).collect::<Vec<_>>());
}

fn strike_all(story: &Story, blows: &[Blow]) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(blow) = blows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    strike(story, *blow);
                }
            });
        }
    });
}

/// Each story under all blows; the loss of power at every place takes minutes.
macro_rules! struck {
    ($($story:ident),+ $(,)?) => {
        mod killed {
            $(#[test] fn $story() { super::kills(&super::$story()); })+
        }
        mod without_power {
            $(#[test] fn $story() { super::losses_of_power(&super::$story(), 10); })+
        }
        mod without_power_anywhere {
            $(#[test] #[ignore = "long: cargo test --release --lib replica::tests::crash -- --ignored"] fn $story() { super::losses_of_power(&super::$story(), 1); })+
        }
    };
}

struck! {
    a_first_copy,
    an_update,
    files_that_go_come_and_change_their_kind,
    what_is_dressed_anew,
    a_disk_that_grows,
    a_disk_that_shrinks,
    a_sync_that_drops_a_point_in_the_middle,
}

/// Bytes of a large file: a few blocks here and there.
fn sparse(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for start in [0, 40 * BLOCK, GROUP - 2 * BLOCK, GROUP + 2 * BLOCK, 2 * GROUP].into_iter().filter(|at| *at < len) {
        let end = (start + 4 * BLOCK).min(len);
        bytes[start..end].copy_from_slice(&noise(seed + start as u64, end - start));
    }
    bytes
}

/// A definition, a large disk of 66 blocks with holes, a directory with a link.
fn found(lab: &Lab) {
    lab.write("vm.xml", b"<domain/>");
    lab.write("disk.raw", &sparse(1, GROUP + 2 * BLOCK));
    lab.write("etc/net.conf", &noise(2, 100));
    symlink("net.conf", lab.source().join("etc/link")).unwrap();
}

fn a_first_copy() -> Story {
    Story { before: |_| (), change: found }
}

fn an_update() -> Story {
    Story {
        before: |lab| {
            found(lab);
            lab.sync();
        },
        change: |lab| {
            // Changed, filled, emptied, and a small file anew.
            lab.patch("disk.raw", BLOCK + 5, &noise(3, 100));
            lab.patch("disk.raw", 10 * BLOCK, &noise(4, 2 * BLOCK));
            lab.patch("disk.raw", 41 * BLOCK, &vec![0; BLOCK]);
            lab.patch("disk.raw", 64 * BLOCK, &noise(5, BLOCK));
            lab.write("vm.xml", b"<domain><new/></domain>");
        },
    }
}

fn files_that_go_come_and_change_their_kind() -> Story {
    Story {
        before: |lab| {
            // Of a machine, a disk that is gone would be suspicious.
            lab.key = "storage.web".parse().unwrap();
            found(lab);
            lab.write("old/a", &noise(6, 10));
            lab.write("old/deep/b", &noise(7, 10));
            lab.write("spare.raw", &sparse(8, GROUP + BLOCK));
            lab.write("kind", b"file");
            lab.sync();
        },
        change: |lab| {
            let source = lab.source();
            fs::rename(source.join("spare.raw"), source.join("renamed.raw")).unwrap();
            fs::remove_dir_all(source.join("old")).unwrap();
            fs::remove_file(source.join("etc/link")).unwrap();
            symlink("../vm.xml", source.join("etc/link")).unwrap();
            lab.remove("kind");
            lab.write("kind/inside", b"directory now");
            lab.write("old", b"a file now");
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(source.join("etc/net.conf"), mode).unwrap();
        },
    }
}

/// Modes and times alone, at the source and by a hand at the replica.
fn what_is_dressed_anew() -> Story {
    Story {
        before: |lab| {
            found(lab);
            lab.write("plain", &noise(6, 10));
            lab.sync();
        },
        change: |lab| {
            let (source, replica) = (lab.source(), lab.replica());
            HostDisk.set_mtime(&source.join("vm.xml"), 7).unwrap();
            HostDisk.set_mtime(&source.join("disk.raw"), 8).unwrap();
            let mode = |mode| fs::Permissions::from_mode(mode);
            fs::set_permissions(source.join("etc"), mode(0o700)).unwrap();
            fs::set_permissions(replica.join("plain"), mode(0o666)).unwrap();
            fs::set_permissions(replica.join("disk.raw"), mode(0o600)).unwrap();
        },
    }
}

fn a_disk_that_grows() -> Story {
    Story {
        before: |lab| {
            found(lab);
            lab.sync();
        },
        change: |lab| {
            lab.resize("disk.raw", 2 * GROUP + 5000);
            lab.patch("disk.raw", 2 * GROUP + 10, &noise(9, 1000));
            lab.resize("etc/net.conf", GROUP + 1);
        },
    }
}

fn a_disk_that_shrinks() -> Story {
    Story {
        before: |lab| {
            lab.key = "storage.web".parse().unwrap();
            found(lab);
            lab.write("big", &sparse(10, 2 * GROUP + 3 * BLOCK));
            lab.sync();
        },
        change: |lab| {
            lab.resize("big", GROUP + 3 * BLOCK + 77);
            lab.resize("disk.raw", GROUP / 2 + 1);
        },
    }
}

fn a_sync_that_drops_a_point_in_the_middle() -> Story {
    Story {
        before: |lab| {
            lab.rules.retention = Retention { last: 1, hourly: 0, daily: 3 };
            found(lab);
            lab.sync();
            lab.pass_time(Duration::from_secs(86_400));
            lab.patch("disk.raw", 0, &noise(11, BLOCK));
            lab.write("gone", b"in the second point only");
            lab.sync();
        },
        change: |lab| {
            lab.patch("disk.raw", 0, &noise(12, BLOCK));
            lab.patch("disk.raw", BLOCK, &noise(13, BLOCK));
            lab.remove("gone");
        },
    }
}
