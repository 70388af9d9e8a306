//! The machine's disk does what the trait says, and the faulty one fails where it is told to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::faulty::{EIO, ENOSPC, Fault, FaultyDisk, Op};
use super::*;
use crate::host::ordinary::as_ordinary_user;

fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn files_are_read_and_written_by_position() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let file = HostDisk.open(&path, Open::CreateNew).unwrap();
    file.write_at(b"world", 6).unwrap();
    file.write_at(b"hello", 0).unwrap();
    let mut buffer = [9; 20];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 11);
    assert_eq!(&buffer[..11], b"hello\0world");
    assert_eq!(file.read_at(&mut buffer, 11).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 11);
    file.set_len(5).unwrap();
    file.sync_all().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    assert_eq!(HostDisk.open(&path, Open::CreateNew).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(HostDisk.open(&path, Open::Create).unwrap().len().unwrap(), 5);
    assert!(HostDisk.open(&path, Open::Read).unwrap().write_at(b"x", 0).is_err());
    assert!(HostDisk.open(&dir.path().join("none"), Open::ReadWrite).is_err());
}

#[test]
fn links_and_pipes_are_not_walked_into() {
    let dir = tempfile::tempdir().unwrap();
    let (target, link, pipe) = (dir.path().join("t"), dir.path().join("l"), dir.path().join("p"));
    put(&target, b"secret");
    HostDisk.symlink(&target, &link).unwrap();
    assert!(HostDisk.open(&link, Open::Read).is_err());
    assert!(HostDisk.clone_file(&link, &dir.path().join("c")).is_err());
    assert_eq!(HostDisk.symlink_metadata(&link).unwrap().kind, FileKind::Link);
    assert_eq!(HostDisk.read_link(&link).unwrap(), target);
    assert_eq!(HostDisk.symlink_metadata(dir.path()).unwrap().kind, FileKind::Directory);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert_eq!(HostDisk.symlink_metadata(&pipe).unwrap().kind, FileKind::Other);
    // Would wait for a writer for ever if opening could wait.
    HostDisk.open(&pipe, Open::Read).unwrap();
}

#[test]
fn a_list_is_what_single_looks_tell() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("d");
    std::fs::create_dir_all(at.join("inner")).unwrap();
    put(&at.join("file"), &[7; 5000]);
    put(&at.join(OsStr::from_bytes(b"not \xff text")), b"");
    HostDisk.symlink(Path::new("nowhere"), &at.join("link")).unwrap();
    HostDisk.set_mode(&at.join("file"), 0o640).unwrap();
    HostDisk.set_mtime(&at.join("file"), -1_500_000_000).unwrap();
    HostDisk.set_mtime(&at.join("link"), 1_700_000_000_123_456_789).unwrap();
    let pipe = at.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let plain = |disk: &dyn Disk| {
        let listed = disk.list(&at).unwrap();
        listed.into_iter().map(|(name, stat)| (name, stat.unwrap())).collect::<Vec<_>>()
    };
    let single = HostDisk.read_dir(&at).unwrap().into_iter().map(|name| {
        let stat = HostDisk.symlink_metadata(&at.join(&name)).unwrap();
        (name, stat)
    });
    let single: Vec<_> = single.collect();
    assert_eq!(single.len(), 5);
    assert_eq!(plain(&HostDisk), single);
    assert_eq!(plain(&FaultyDisk::new(Arc::new(HostDisk), Fault::None)), single, "whatever the disk is");
    HostDisk.symlink(&at, &dir.path().join("to-d")).unwrap();
    for disk in [&HostDisk as &dyn Disk, &FaultyDisk::new(Arc::new(HostDisk), Fault::None)] {
        for (name, kind) in [
            ("none", std::io::ErrorKind::NotFound),
            ("to-d", std::io::ErrorKind::NotADirectory),
            ("d/file", std::io::ErrorKind::NotADirectory),
            ("d/link", std::io::ErrorKind::NotADirectory),
        ] {
            assert_eq!(disk.list(&dir.path().join(name)).unwrap_err().kind(), kind, "{name}");
        }
    }
}

#[test]
fn metadata_is_set_and_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    put(&path, b"x");
    HostDisk.set_mode(&path, 0o640).unwrap();
    for mtime in [1_700_000_000_123_456_789, -1_500_000_000, 0] {
        HostDisk.set_mtime(&path, mtime).unwrap();
        assert_eq!(HostDisk.symlink_metadata(&path).unwrap().mtime_ns, mtime);
    }
    let stat = HostDisk.symlink_metadata(&path).unwrap();
    assert_eq!((stat.kind, stat.mode, stat.size), (FileKind::File, 0o640, 1));
    HostDisk.set_owner(&path, stat.uid, stat.gid).unwrap();
    assert_eq!(HostDisk.open(&path, Open::Read).unwrap().stat().unwrap().ino, stat.ino);
    assert!(HostDisk.free_space(dir.path()).unwrap() > 0);
}

#[test]
fn holes_are_punched_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let file = HostDisk.open(&dir.path().join("a"), Open::CreateNew).unwrap();
    file.set_len(4 << 20).unwrap();
    file.write_at(&vec![7; 1 << 20], 1 << 20).unwrap();
    assert_eq!(file.next_data(2 << 20).unwrap().map_or(4 << 20, |(start, _)| start), 4 << 20);
    let (start, end) = file.next_data(0).unwrap().unwrap();
    assert!(start <= 1 << 20 && end >= 2 << 20);
    let before = file.stat().unwrap().allocated;
    file.punch_hole(1 << 20, 512 << 10).unwrap();
    // Nothing of a hole beyond the end, and the size stays.
    file.punch_hole(3 << 20, 4 << 20).unwrap();
    file.punch_hole(3 << 20, u64::MAX).unwrap();
    file.punch_hole(9 << 20, 1).unwrap();
    assert_eq!(file.len().unwrap(), 4 << 20);
    let mut bytes = vec![1; 1 << 20];
    file.read_at(&mut bytes, 1 << 20).unwrap();
    assert!(bytes[..512 << 10].iter().all(|b| *b == 0) && bytes[512 << 10..].iter().all(|b| *b == 7));
    assert!(file.stat().unwrap().allocated <= before);
    assert_eq!(file.next_data(4 << 20).unwrap(), None);
    assert_eq!(HostDisk.open(&dir.path().join("e"), Open::CreateNew).unwrap().next_data(0).unwrap(), None);
}

#[test]
fn directories_are_made_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x/y");
    HostDisk.create_dir_all(&deep).unwrap();
    HostDisk.create_dir_all(&deep).unwrap();
    for name in ["b", "a", "c"] {
        put(&deep.join(name), b"");
    }
    assert_eq!(HostDisk.read_dir(&deep).unwrap(), ["a", "b", "c"]);
    HostDisk.rename(&deep.join("a"), &deep.join("b")).unwrap();
    HostDisk.remove_file(&deep.join("c")).unwrap();
    HostDisk.sync_dir(&deep).unwrap();
    assert!(HostDisk.remove_dir(&deep).is_err());
    HostDisk.remove_dir_all(&dir.path().join("x")).unwrap();
    assert_eq!(HostDisk.read_dir(dir.path()).unwrap().len(), 0);
}

#[test]
fn a_clone_is_a_copy_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    put(&from, b"bytes");
    if HostDisk.clone_file(&from, &to).unwrap() {
        assert_eq!(std::fs::read(&to).unwrap(), b"bytes");
        assert!(HostDisk.clone_file(&from, &to).is_err());
    } else {
        assert!(!to.exists());
        put(&to, b"mine");
        assert!(HostDisk.clone_file(&from, &to).is_err());
        assert_eq!(std::fs::read(&to).unwrap(), b"mine");
    }
}

#[test]
fn a_file_is_replaced_whole_wherever_it_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record.json");
    let good = FaultyDisk::new(Arc::new(HostDisk), Fault::None);
    replace_file(&good, &path, b"first").unwrap();
    let ops: Vec<Op> = good.calls().into_iter().map(|call| call.op).collect();
    assert_eq!(ops, [Op::Remove, Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir]);
    for at in 1..=good.count() {
        put(&path, b"old");
        let disk = FaultyDisk::new(Arc::new(HostDisk), Fault::Crash { at });
        replace_file(&disk, &path, b"new one").unwrap_err();
        assert!(disk.crashed());
        let found = std::fs::read(&path).unwrap();
        assert!(found == b"old" || (at == good.count() && found == b"new one"), "call {at}: {found:?}");
        replace_file(&HostDisk, &path, b"new one").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new one");
    }
}

#[test]
fn a_crash_fails_everything_after_it_and_tears_the_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let disk = FaultyDisk::new(Arc::new(HostDisk), Fault::Crash { at: 3 });
    let file = disk.open(&path, Open::CreateNew).unwrap();
    file.write_at(b"kept", 0).unwrap();
    file.write_at(b"torn", 4).unwrap_err();
    assert!(file.stat().is_err() && file.read_at(&mut [0], 0).is_err() && file.sync_all().is_err());
    assert!(disk.open(&path, Open::Read).is_err() && disk.read_dir(dir.path()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"keptto");
    assert_eq!(disk.count(), 3);
}

#[test]
fn a_full_disk_stays_full_and_a_bad_block_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let full = FaultyDisk::new(Arc::new(HostDisk), Fault::FailFrom { at: 2, errno: ENOSPC });
    let file = full.open(&dir.path().join("a"), Open::CreateNew).unwrap();
    for _ in 0..2 {
        assert_eq!(file.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(ENOSPC));
    }
    assert_eq!(file.len().unwrap(), 0);
    let flaky = FaultyDisk::new(Arc::new(HostDisk), Fault::Fail { at: 2, errno: EIO });
    let file = flaky.open(&dir.path().join("b"), Open::CreateNew).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(EIO));
    file.sync_data().unwrap();
    assert!(!flaky.crashed());
}

#[test]
fn a_tree_is_removed_whatever_modes_it_has() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    put(&tree.join("a/b/c"), b"x");
    put(&outside.join("kept"), b"x");
    std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
    for (path, mode) in
        [(tree.join("a/b"), 0o000), (tree.join("a"), 0o555), (tree.clone(), 0o555), (outside.clone(), 0o555)]
    {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    as_ordinary_user(|| {
        assert!(HostDisk.remove_dir_all(&tree).is_err(), "the modes are met");
        remove_tree(&HostDisk, &tree).unwrap();
        remove_tree(&HostDisk, &tree).unwrap();
    });
    assert!(!tree.exists());
    let mode = std::fs::metadata(&outside).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, outside.join("kept").exists()), (0o555, true), "links are not followed");

    std::fs::create_dir_all(&tree).unwrap();
    let refusing = FaultyDisk::new(Arc::new(HostDisk), Fault::FailEach { op: Op::RemoveDir, errno: EIO });
    assert_eq!(remove_tree(&refusing, &tree).unwrap_err().raw_os_error(), Some(EIO));
}

#[test]
fn times_are_as_fine_as_the_file_system_that_gives_them() {
    use super::machine::grain_of;
    let (local, other) = (Duration::from_millis(20), Duration::from_secs(2));
    // ext4, xfs, btrfs, f2fs, zfs, tmpfs, overlayfs, bcachefs.
    for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0x0102_1994, 0x794C_7630, 0xCA45_1A4E] {
        assert_eq!(grain_of(magic), local, "{magic:x}");
    }
    // NFS, CIFS, SMB2, FUSE, 9p, vfat, one that nobody knows.
    for magic in [0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997, 0x4D44, 0] {
        assert_eq!(grain_of(magic), other, "{magic:x}");
    }
    assert_eq!(HostDisk.grain(Path::new("/nonexistent")), other);
    assert_eq!(HostDisk.grain(Path::new("/proc/self")), other);
}
