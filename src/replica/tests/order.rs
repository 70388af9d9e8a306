//! What must be durable before a commit that relies on it. A killed process loses nothing that a call returned from;
//! only the order of writes and syncs shows what a machine that loses power would.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::lab::{BLOCK, GROUP, Lab, noise};
use crate::host::disk::faulty::{Call, Fault, Op};
use crate::model::policy::Retention;
use crate::replica::catalog::Phase;

/// Files and directories that were changed and not synced since.
#[derive(Debug, Default)]
struct Dirty {
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

impl Dirty {
    fn take(&mut self, call: &Call) {
        let Call { op, path } = call;
        let above = path.parent().unwrap().to_owned();
        match op {
            Op::Create | Op::CreateDir | Op::Rename | Op::Link => {
                self.directories.insert(above);
            }
            Op::Remove | Op::RemoveDir => {
                self.files.remove(path);
            }
            Op::Write | Op::SetLen | Op::Punch | Op::Clone => {
                self.files.insert(path.clone());
            }
            Op::SetMetadata if path.is_symlink() => {}
            Op::SetMetadata if path.is_dir() => {
                self.directories.insert(path.clone());
            }
            Op::SetMetadata => {
                self.files.insert(path.clone());
            }
            Op::Sync => {
                self.files.remove(path);
            }
            Op::SyncDir => {
                self.directories.remove(path);
            }
        }
    }

    fn below(&self, place: &Path) -> Vec<&PathBuf> {
        let passing = |path: &&PathBuf| path.extension().is_some_and(|suffix| suffix == "want" || suffix == "actual");
        let files = self.files.iter().filter(|path| path.starts_with(place) && !passing(path));
        files.chain(self.directories.iter().filter(|path| path.starts_with(place))).collect()
    }
}

/// Syncs, checks what was durable at each commit, and says which phases were committed.
fn phases_of_a_sync(lab: &Lab) -> BTreeSet<Option<Phase>> {
    lab.catalog.phases.lock().unwrap().clear();
    let (result, disk) = lab.sync_with(Fault::None);
    result.unwrap();
    let place = lab.place();
    let mut calls = disk.calls().into_iter();
    let mut dirty = Dirty::default();
    let mut done = 0;
    let mut seen = BTreeSet::new();
    for (count, phase) in lab.catalog.phases.lock().unwrap().iter() {
        calls.by_ref().take((count - done) as usize).for_each(|call| dirty.take(&call));
        done = *count;
        let must: Vec<&Path> = match phase {
            // The record of what arrives comes before the first file; checkpoints after their blocks.
            Some(Phase::Receiving) => vec![],
            Some(Phase::Sealed) => vec![&place.incoming],
            Some(Phase::TakingOut) => vec![&place.incoming, &place.points],
            Some(Phase::PuttingIn) => vec![&place.incoming, &place.points, &place.files],
            None => vec![&place.points, &place.files, &place.index],
        };
        for place in must {
            assert!(dirty.below(place).is_empty(), "{phase:?}: {:?}", dirty.below(place));
        }
        seen.insert(*phase);
    }
    seen
}

#[test]
fn nothing_is_committed_that_is_not_durable() {
    let lab = Lab::new("storage.s");
    lab.write("disk", &noise(1, GROUP + 3 * BLOCK));
    lab.write("gone", &noise(2, GROUP + BLOCK));
    lab.write("old/small", b"small");
    lab.write("kind", b"file");
    lab.write("plain", b"plain");
    assert_eq!(phases_of_a_sync(&lab).len(), 3, "a first copy has nothing to take out");
    lab.patch("disk", BLOCK, &noise(3, BLOCK));
    lab.patch("disk", 3 * BLOCK, &vec![0; BLOCK]);
    lab.remove("gone");
    fs::remove_dir_all(lab.source().join("old")).unwrap();
    lab.remove("kind");
    lab.write("kind/of/new", &noise(4, GROUP + 9));
    symlink("of/new", lab.source().join("kind/link")).unwrap();
    fs::set_permissions(lab.source().join("plain"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(phases_of_a_sync(&lab).len(), 5, "every phase was committed");
    lab.patch("disk", BLOCK, &noise(5, BLOCK));
    assert_eq!(phases_of_a_sync(&lab).len(), 4, "nothing is taken out where no file leaves");
    lab.assert_converged();
}

/// A sync of small files is so many durable steps: three commits of its own, and each file and directory once.
#[test]
fn a_first_copy_syncs_nothing_twice() {
    let lab = Lab::new("config.app");
    lab.write("a", b"a");
    lab.write("b", b"b");
    let commits = lab.catalog.commits.load(Ordering::SeqCst);
    let (result, disk) = lab.sync_with(Fault::None);
    result.unwrap();
    assert_eq!(lab.catalog.commits.load(Ordering::SeqCst) - commits, 3);
    let mut synced = BTreeSet::new();
    for call in disk.calls().into_iter().filter(|call| matches!(call.op, Op::Sync | Op::SyncDir)) {
        assert!(
            synced.insert(call.path.clone()) || !call.path.starts_with(lab.place().incoming),
            "{:?} again",
            call.path
        );
    }
}

/// What is given up goes with the commit that publishes, and one more ends the dropping.
#[test]
fn a_change_that_pushes_an_old_point_out_is_five_commits() {
    let mut lab = Lab::new("storage.s");
    lab.rules.retention = Retention { last: 1, hourly: 0, daily: 0 };
    lab.write("disk", &noise(1, GROUP + 3 * BLOCK));
    lab.sync();
    lab.patch("disk", BLOCK, &noise(3, BLOCK));
    let commits = lab.catalog.commits.load(Ordering::SeqCst);
    lab.sync();
    assert_eq!(lab.catalog.commits.load(Ordering::SeqCst) - commits, 5);
    assert_eq!(lab.points().len(), 1);
    assert!(!lab.place().undo(1).exists(), "its bytes are gone");
    lab.assert_converged();
}

#[test]
fn a_slot_is_written_after_its_block_is_durable() {
    let lab = Lab::new("storage.s");
    lab.write("disk", &noise(1, GROUP + 3 * BLOCK));
    lab.sync();
    lab.patch("disk", BLOCK, &noise(3, BLOCK));
    lab.write("more", &noise(4, 3 * GROUP));
    let (result, disk) = lab.sync_with(Fault::None);
    result.unwrap();
    let incoming = lab.place().incoming;
    let mut dirty = Dirty::default();
    let mut copying = false;
    for call in disk.calls() {
        let name = call.path.file_name().unwrap().to_str().unwrap();
        copying |= call.op == Op::Write && name.ends_with(".data");
        if copying && call.op == Op::Write && call.path.starts_with(&incoming) && name.ends_with(".idx") {
            let data = call.path.with_extension("data");
            assert!(!dirty.files.contains(&data), "{name} shows blocks that are not durable");
        }
        dirty.take(&call);
    }
    assert!(copying);
}
