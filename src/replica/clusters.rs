//! Which bytes of a qcow2 image are what they were when it was hashed last, by its map and a bitmap of what its guest
//! wrote since.
//!
//! A cluster of the file is taken for unchanged only where all of this holds:
//! - the guest's map names it exactly once, as a whole cluster of data, and no table of the image lies in it;
//! - the map named it for the same place of the guest's disk when the image was hashed last;
//! - the bitmap says that nothing was written at that place since.
//!
//! So what was freed and used again is read: the place that has it now was written, or had another cluster. All else
//! of the file is read too: header, maps, reference counts, bitmaps, internal snapshots, compressed clusters, what is
//! free. The map is kept beside the hashes as the image had it, known by its digest.
//!
//! Memory: two bits for each piece of the file of at most a block, at most 34 MiB, and one cluster of the map.

use std::path::Path;

use super::bitmap::{self, BITS_MAX, Bits, Cluster, Written, bytes_at};
use super::block::block_len;
use super::port::{BLOCK_BYTES, GROUP_BLOCKS};
use super::qcow2::{Header, Table};
use crate::host::disk::DiskFile;
use crate::model::Digest;

/// Bits of a map's entry that say where a table or cluster is.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// Nobody else refers to the cluster. Snapshots come and go without a change of its bytes.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The most entries that the map's first level may have: 8 MiB of them.
const L1_MAX: u64 = 1 << 20;

/// The map of an image as it was when it was hashed last, and what its guest has written since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since<'a> {
    /// The map's file.
    pub(super) map: &'a dyn DiskFile,
    /// What its bytes hash to.
    pub(super) digest: Digest,
    /// What was written.
    pub(super) written: &'a Written,
    /// Bytes that the file had.
    pub(super) size: u64,
}

/// Which blocks of a file are what they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unchanged {
    pieces: Bits,
    piece: u64,
    /// As far as the file went then and goes now.
    size: u64,
}

impl Unchanged {
    /// Which blocks of a group, by their places in it.
    pub(super) fn blocks(&self, group: u64) -> u64 {
        let mut found = 0;
        for at in 0..GROUP_BLOCKS {
            let block = group * GROUP_BLOCKS + at;
            // One at the end is hashed as long as it is.
            let whole = block_len(self.size, block) as u64 == BLOCK_BYTES;
            let pieces = BLOCK_BYTES / self.piece;
            let first = block * pieces;
            if whole && (first..first + pieces).all(|piece| self.pieces.get(piece)) {
                found |= 1 << at;
            }
        }
        found
    }
}

/// What the image's map names, piece by piece of the file.
struct Named {
    piece: u64,
    /// Bytes of the file.
    size: u64,
    seen: Bits,
    unchanged: Bits,
}

impl Named {
    fn new(piece: u64, size: u64) -> Result<Self, String> {
        let count = size.div_ceil(piece);
        // A little more than the guest's disk, for the tables.
        if count > BITS_MAX + BITS_MAX / 16 {
            return Err("its file has too many clusters".to_owned());
        }
        Ok(Self { piece, size, seen: Bits::new(count), unchanged: Bits::new(count) })
    }

    /// The piece at this byte of the file is named, and is what it was, or may not be.
    fn name(&mut self, at: u64, unchanged: bool) {
        let piece = at / self.piece;
        let again = self.seen.put(piece, true);
        self.unchanged.put(piece, unchanged && !again);
    }

    /// All pieces of a range are something else than a cluster of data.
    fn other(&mut self, table: Table) {
        let end = table.at.saturating_add(table.count).min(self.size);
        let mut at = table.at / self.piece * self.piece;
        while at < end {
            self.name(at, false);
            at += self.piece;
        }
    }
}

/// Writes the image's map into `map`, an empty file, and says its digest and, against an earlier one, which blocks are
/// what they were; else why nobody may rely on the image's tables.
pub(super) fn unchanged(
    (file, path): (&dyn DiskFile, &Path),
    header: &Header,
    size: u64,
    map: (&dyn DiskFile, &Path),
    since: Option<Since<'_>>,
) -> Result<(Digest, Option<Unchanged>), String> {
    let cluster = header.cluster();
    let entries = cluster / 8;
    if header.l1.count > L1_MAX || header.l1.count.saturating_mul(entries) < header.size.div_ceil(cluster) {
        return Err("the first level of its map has a size that no image has".to_owned());
    }
    let piece = cluster.min(BLOCK_BYTES);
    let mut named = Named::new(piece, if since.is_some() { size } else { 0 })?;
    let l1 = bytes_at(file, path, header.l1.at, header.l1.count * 8)?;
    let (mut now, mut then) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut was = vec![0; cluster as usize];
    for (at, entry) in (0_u64..).zip(l1.as_chunks::<8>().0) {
        let table = u64::from_be_bytes(*entry) & OFFSET;
        if !table.is_multiple_of(cluster) {
            return Err("its map names a table within a cluster".to_owned());
        }
        was.fill(0);
        if let Some(since) = &since {
            // What lies beyond the map's end, and in its holes, is a table that was not there.
            since.map.read_at(&mut was, at * cluster).map_err(|error| format!("cannot read its last map: {error}"))?;
            take(&mut then, at, &was);
        }
        if table == 0 {
            continue;
        }
        let bytes = bytes_at(file, path, table, cluster)?;
        take(&mut now, at, &bytes);
        map.0.write_at(&bytes, at * cluster).map_err(|error| format!("cannot write {}: {error}", map.1.display()))?;
        let Some(since) = &since else { continue };
        named.other(Table { at: table, count: cluster });
        for (slot, (entry, before)) in (0_u64..).zip(bytes.as_chunks::<8>().0.iter().zip(was.as_chunks::<8>().0)) {
            let (entry, before) = (u64::from_be_bytes(*entry), u64::from_be_bytes(*before));
            let guest = (at * entries + slot) * cluster;
            each(&mut named, header, entry, |offset| {
                let same = entry & !COPIED == before & !COPIED;
                same && !since.written.any(guest + offset, piece)
            })?;
        }
    }
    let digest = Digest(*now.finalize().as_bytes());
    let Some(since) = since else { return Ok((digest, None)) };
    if Digest(*then.finalize().as_bytes()) != since.digest {
        return Err("the map that was kept of it is damaged".to_owned());
    }
    tables((file, path), header, &mut named)?;
    Ok((digest, Some(Unchanged { pieces: named.unchanged, piece, size: size.min(since.size) })))
}

/// Takes one table of a map into its digest. One that names nothing is as good as none.
fn take(hasher: &mut blake3::Hasher, at: u64, table: &[u8]) {
    if table.iter().any(|byte| *byte != 0) {
        hasher.update(&at.to_le_bytes()).update(table);
    }
}

/// Names what an entry of the map does. `unchanged` is asked of each piece of a cluster of data.
fn each(named: &mut Named, header: &Header, entry: u64, unchanged: impl Fn(u64) -> bool) -> Result<(), String> {
    let cluster = header.cluster();
    if entry & COMPRESSED != 0 {
        let shift = 62 - (header.cluster_bits - 8);
        let at = entry & ((1 << shift) - 1);
        let sectors = ((entry & !COPIED & !COMPRESSED) >> shift) + 1;
        named.other(Table { at, count: sectors * 512 });
        return Ok(());
    }
    let at = entry & OFFSET;
    if at == 0 {
        return Ok(());
    }
    if !at.is_multiple_of(cluster) {
        return Err("its map names data within a cluster".to_owned());
    }
    // One that reads as zeros has other bytes below, and so have those with bits that mean nothing yet.
    let data = entry & !OFFSET & !COPIED == 0;
    let mut offset = 0;
    while offset < cluster {
        named.name(at + offset, data && unchanged(offset));
        offset += named.piece;
    }
    Ok(())
}

/// Names where the image's own tables are: no data lies there, unless the image contradicts itself.
fn tables((file, path): (&dyn DiskFile, &Path), header: &Header, named: &mut Named) -> Result<(), String> {
    let cluster = header.cluster();
    named.other(Table { at: 0, count: cluster });
    named.other(Table { at: header.l1.at, count: header.l1.count * 8 });
    let refcounts = Table { at: header.refcounts.at, count: header.refcounts.count.saturating_mul(cluster) };
    if refcounts.count > L1_MAX * 8 {
        return Err("its reference counts have a size that no image has".to_owned());
    }
    named.other(refcounts);
    for entry in bytes_at(file, path, refcounts.at, refcounts.count)?.as_chunks::<8>().0 {
        let at = u64::from_be_bytes(*entry) & OFFSET;
        if at != 0 {
            named.other(Table { at, count: cluster });
        }
    }
    if let Some((directory, _)) = header.bitmaps {
        named.other(directory);
    }
    for listed in bitmap::list(file, path, header)? {
        named.other(Table { at: listed.table.at, count: listed.table.count * 8 });
        for place in bitmap::clusters(file, path, header, &listed)? {
            match place {
                Cluster::Clean | Cluster::Written => {}
                Cluster::At(at) => named.other(Table { at, count: cluster }),
            }
        }
    }
    Ok(())
}
