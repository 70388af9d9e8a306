//! Random edits over several syncs: every point that is kept is exactly what the source was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use proptest::prelude::*;

use super::lab::{BLOCK, Lab, Picture, allocated, assert_same, noise, picture};
use crate::model::policy::Retention;

#[derive(Debug, Clone)]
enum Edit {
    Write { file: u8, blocks: u8, seed: u64 },
    Patch { file: u8, at: u8, len: u32, seed: u64 },
    Zero { file: u8, at: u8, blocks: u8 },
    Resize { file: u8, size: u32 },
    Remove { file: u8 },
    Rename { file: u8, to: u8 },
    Link { file: u8, to: u8 },
    Mode { file: u8, private: bool },
}

const NAMES: [&str; 6] = ["a", "b", "d/a", "d/e/f", "d/g", "z"];

fn edit() -> impl Strategy<Value = Edit> {
    let file = 0..NAMES.len() as u8;
    prop_oneof![
        2 => (file.clone(), 0..140_u8, any::<u64>()).prop_map(|(file, blocks, seed)| Edit::Write { file, blocks, seed }),
        4 => (file.clone(), 0..140_u8, 1..200_000_u32, any::<u64>())
            .prop_map(|(file, at, len, seed)| Edit::Patch { file, at, len, seed }),
        2 => (file.clone(), 0..140_u8, 1..30_u8).prop_map(|(file, at, blocks)| Edit::Zero { file, at, blocks }),
        3 => (file.clone(), 0..9_000_000_u32).prop_map(|(file, size)| Edit::Resize { file, size }),
        1 => file.clone().prop_map(|file| Edit::Remove { file }),
        1 => (file.clone(), file.clone()).prop_map(|(file, to)| Edit::Rename { file, to }),
        1 => (file.clone(), file.clone()).prop_map(|(file, to)| Edit::Link { file, to }),
        1 => (file, any::<bool>()).prop_map(|(file, private)| Edit::Mode { file, private }),
    ]
}

fn apply(lab: &Lab, edit: &Edit) {
    let name = |file: u8| NAMES[file as usize];
    let path = |file: u8| lab.source().join(name(file));
    let is_file = |file: u8| fs::symlink_metadata(path(file)).is_ok_and(|metadata| metadata.is_file());
    let size = |file: u8| fs::metadata(path(file)).unwrap().len() as usize;
    match edit {
        Edit::Write { file, blocks, seed } => {
            let mut bytes = noise(*seed, *blocks as usize * BLOCK / 2 + 13);
            // Some runs of zeros.
            for block in bytes.chunks_mut(BLOCK).skip(*seed as usize % 7).step_by(5) {
                block.fill(0);
            }
            lab.write(name(*file), &bytes);
        }
        Edit::Patch { file, at, len, seed } if is_file(*file) => {
            lab.patch(name(*file), *at as usize * BLOCK / 2, &noise(*seed, *len as usize));
        }
        Edit::Zero { file, at, blocks } if is_file(*file) => {
            let at = (*at as usize * BLOCK).min(size(*file));
            let len = (*blocks as usize * BLOCK).min(size(*file) - at);
            lab.patch(name(*file), at, &vec![0; len]);
        }
        Edit::Resize { file, size } if is_file(*file) => lab.resize(name(*file), *size as usize),
        Edit::Remove { file } if path(*file).is_symlink() || is_file(*file) => lab.remove(name(*file)),
        Edit::Rename { file, to } if is_file(*file) => {
            fs::create_dir_all(path(*to).parent().unwrap()).unwrap();
            fs::rename(path(*file), path(*to)).unwrap();
        }
        Edit::Link { file, to } => {
            let _ = fs::remove_file(path(*file));
            fs::create_dir_all(path(*file).parent().unwrap()).unwrap();
            let up = "../".repeat(name(*file).matches('/').count());
            symlink(format!("{up}{}", name(*to)), path(*file)).unwrap();
        }
        Edit::Mode { file, private } if is_file(*file) => {
            use std::os::unix::fs::PermissionsExt;
            let mode = if *private { 0o600 } else { 0o644 };
            fs::set_permissions(path(*file), fs::Permissions::from_mode(mode)).unwrap();
        }
        Edit::Patch { .. } | Edit::Zero { .. } | Edit::Resize { .. } => {}
        Edit::Remove { .. } | Edit::Rename { .. } | Edit::Mode { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kept_point_is_what_the_source_was(
        syncs in prop::collection::vec((prop::collection::vec(edit(), 1..6), 0..50_u64), 2..7),
        last in 1..4_u32,
        hourly in 0..3_u32,
    ) {
        let mut lab = Lab::new("storage.life");
        lab.rules.retention = Retention { last, hourly, daily: 1 };
        lab.write("always", b"here");
        let mut were: BTreeMap<u64, Picture> = BTreeMap::new();
        for (edits, minutes) in &syncs {
            edits.iter().for_each(|edit| apply(&lab, edit));
            lab.pass_time(Duration::from_secs(minutes * 60));
            let (source, _, target) = lab.ends(crate::host::disk::faulty::Fault::None);
            let options = crate::replica::transfer::SyncOptions { accept_change: true, ..Default::default() };
            let report = lab.drive(&source, &target, &options).unwrap();
            let now = picture(&lab.source());
            let replica = picture(&lab.replica());
            if report.published.new {
                assert_same(&now, &replica, "the replica");
                were.insert(report.published.point.sequence, now);
            }
            for point in lab.points() {
                let found = lab.export(point.sequence).unwrap();
                assert_same(&were[&point.sequence], &found, &format!("point {}", point.sequence));
            }
        }
        for name in NAMES {
            let (source, replica) = (lab.source().join(name), lab.replica().join(name));
            if fs::symlink_metadata(&source).is_ok_and(|metadata| metadata.is_file()) {
                // A replica has no block that its source has as zeros; its file system may round up.
                let blocks = fs::read(&source).unwrap().chunks(BLOCK).filter(|b| b.iter().any(|b| *b != 0)).count();
                prop_assert!(allocated(&replica) <= (blocks * BLOCK) as u64 + 65_536, "{name}");
            }
        }
    }
}
