//! A replica takes no more room than its source: pieces of zeros within a block are holes too.

use std::fs;

use super::lab::{BLOCK, GROUP, Lab, allocated, noise};
use crate::host::disk::faulty::Fault;
use crate::host::disk::{Disk, HostDisk, Open};

const PIECE: usize = 4096;

/// One piece of data in each block.
fn thin(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (at, block) in bytes.chunks_mut(BLOCK).enumerate() {
        let end = block.len().min(2 * PIECE);
        block[PIECE.min(end)..end].copy_from_slice(&noise(at as u64, PIECE)[..end - PIECE.min(end)]);
    }
    bytes
}

/// Writes a file of the source with a hole for each piece of zeros.
fn write_thin(lab: &Lab, path: &str, bytes: &[u8]) {
    lab.write(path, &vec![0; bytes.len()]);
    for (at, piece) in bytes.chunks(PIECE).enumerate().filter(|(_, piece)| piece.iter().any(|byte| *byte != 0)) {
        lab.patch(path, at * PIECE, piece);
    }
}

fn assert_as_sparse(lab: &Lab, path: &str) {
    let paths = [lab.source().join(path), lab.replica().join(path)];
    // Until it is synced, a file does not count what the file system remembers its pieces by.
    let [source, replica] = paths.map(|path| {
        fs::File::open(&path).unwrap().sync_all().unwrap();
        allocated(&path)
    });
    assert!(replica <= source, "{path}: {replica} bytes for {source}");
}

#[test]
fn a_replica_is_as_sparse_as_its_source() {
    for size in [5 * BLOCK + 100, GROUP, GROUP + 9 * BLOCK + 2 * PIECE + 1] {
        let lab = Lab::new("storage.s");
        write_thin(&lab, "disk", &thin(size));
        lab.sync();
        assert_as_sparse(&lab, "disk");
        lab.assert_converged();
        // Data that becomes a hole in the middle of a block, where the file is patched and where it is put anew.
        let full = noise(7, 3 * BLOCK);
        lab.patch("disk", 0, &full);
        lab.sync();
        lab.assert_converged();
        let file = HostDisk.open(&lab.source().join("disk"), Open::ReadWrite).unwrap();
        file.punch_hole(PIECE as u64, (2 * BLOCK) as u64).unwrap();
        drop(file);
        lab.patch("disk", 0, &full[..PIECE]);
        lab.sync();
        assert_as_sparse(&lab, "disk");
        lab.assert_converged();
    }
}

#[test]
fn what_an_earlier_sync_left_below_a_piece_of_zeros_is_gone() {
    for size in [9 * BLOCK, GROUP + 9 * BLOCK] {
        let story = |bytes: &[u8]| {
            let lab = Lab::brief("storage.s");
            write_thin(&lab, "disk", bytes);
            lab
        };
        let calls = story(&noise(3, size)).sync_with(Fault::None).1.count();
        for at in (1..=calls).step_by(3) {
            let lab = story(&noise(3, size));
            let _ = lab.sync_with(Fault::Crash { at });
            lab.catalog.revive();
            if lab.newest().is_some() {
                continue;
            }
            write_thin(&lab, "disk", &thin(size));
            lab.sync();
            lab.assert_converged();
            assert_as_sparse(&lab, "disk");
        }
    }
}
