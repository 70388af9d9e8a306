//! Persistent dirty bitmaps of a qcow2 image: which parts of the guest's disk were written since one was begun.
//!
//! Read from the file as it lies, which nobody may have open meanwhile. A bitmap counts only where whoever wrote the
//! image last closed it and kept its bitmaps, where it records by itself from when the image is opened, and where it
//! is exactly as large as the format says. All else is told as a reason not to rely on it, never guessed.

use std::path::Path;

use super::qcow2::{Header, Table, u32_at, u64_at};
use crate::host::disk::DiskFile;

/// Flag of a bitmap: somebody has it open for writing, or died with it. What it says is not all.
const IN_USE: u32 = 1;
/// Flag of a bitmap: it records what is written whenever the image is opened.
const AUTO: u32 = 1 << 1;
/// The one type of bitmap that there is: what was written.
const DIRTY_TRACKING: u8 = 1;
/// Bits of a table's entry that say where a cluster is.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// The most bytes that a directory may have.
const DIRECTORY_MAX: u64 = 64 << 20;
/// The most bits that are held in memory: 16 MiB, an 8 TiB disk in pieces of 64 KiB.
pub(super) const BITS_MAX: u64 = 1 << 27;

/// Bits in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Vec<u8>);

impl Bits {
    /// So many, none set.
    pub(super) fn new(count: u64) -> Self {
        Self(vec![0; count.div_ceil(8) as usize])
    }

    /// Whether it is set; those beyond the end are not.
    pub(super) fn get(&self, at: u64) -> bool {
        self.0.get((at / 8) as usize).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
    }

    /// Sets one, or not; says whether it was set. Nothing happens beyond the end.
    pub(super) fn put(&mut self, at: u64, value: bool) -> bool {
        let Some(byte) = self.0.get_mut((at / 8) as usize) else { return false };
        let was = *byte & (1 << (at % 8)) != 0;
        if value {
            *byte |= 1 << (at % 8);
        } else {
            *byte &= !(1 << (at % 8));
        }
        was
    }
}

/// A bitmap as the image's directory names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: String,
    /// Where its clusters are named.
    pub(super) table: Table,
    flags: u32,
    kind: u8,
    granularity_bits: u8,
    extra: u32,
}

/// What was written since a bitmap was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    bits: Bits,
    granularity_bits: u32,
}

impl Written {
    /// Whether anything may have been written into this range of the guest's disk.
    pub(super) fn any(&self, from: u64, len: u64) -> bool {
        let last = from.saturating_add(len.max(1) - 1) >> self.granularity_bits;
        (from >> self.granularity_bits..=last).any(|at| self.bits.get(at))
    }
}

/// Exactly `len` bytes of a file.
pub(super) fn bytes_at(file: &dyn DiskFile, path: &Path, at: u64, len: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len as usize];
    match file.read_at(&mut bytes, at) {
        Ok(read) if read == bytes.len() => Ok(bytes),
        Ok(_) => Err(format!("{} ends before what it names", path.display())),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// All bitmaps of an image; none where nobody keeps them.
pub(super) fn list(file: &dyn DiskFile, path: &Path, header: &Header) -> Result<Vec<Listed>, String> {
    let Some((directory, count)) = header.bitmaps else { return Ok(Vec::new()) };
    let wrong = || "the directory of its bitmaps cannot be read".to_owned();
    if directory.count > DIRECTORY_MAX {
        return Err(wrong());
    }
    let bytes = bytes_at(file, path, directory.at, directory.count)?;
    let (mut rest, mut all) = (&bytes[..], Vec::new());
    for _ in 0..count {
        let (found, len) = entry(rest).ok_or_else(wrong)?;
        all.push(found);
        rest = rest.get(len..).ok_or_else(wrong)?;
    }
    if rest.is_empty() { Ok(all) } else { Err(wrong()) }
}

/// One entry of the directory, and its length.
fn entry(bytes: &[u8]) -> Option<(Listed, usize)> {
    let table = Table { at: u64_at(bytes, 0)?, count: u64::from(u32_at(bytes, 8)?) };
    let (flags, extra) = (u32_at(bytes, 12)?, u32_at(bytes, 20)?);
    let (kind, granularity_bits) = (*bytes.get(16)?, *bytes.get(17)?);
    let name_len = usize::from(u16::from_be_bytes(*bytes.get(18..)?.first_chunk()?));
    let name_at = 24_usize.checked_add(extra as usize)?;
    let name = bytes.get(name_at..name_at.checked_add(name_len)?)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let len = name_at.checked_add(name_len)?.checked_next_multiple_of(8)?;
    Some((Listed { name, table, flags, kind, granularity_bits, extra }, len))
}

/// Why the bitmap does not record all that is written whenever the image is opened; none: it does.
pub(super) fn doubt(listed: &Listed) -> Option<&'static str> {
    if listed.flags & IN_USE != 0 {
        Some("is in use, or was when its program died")
    } else if listed.flags & AUTO == 0 {
        Some("is disabled")
    } else if listed.kind != DIRTY_TRACKING || listed.extra != 0 {
        Some("is of a kind that is not known here")
    } else {
        None
    }
}

/// Where the bitmap's own clusters are.
pub(super) fn clusters(
    file: &dyn DiskFile,
    path: &Path,
    header: &Header,
    listed: &Listed,
) -> Result<Vec<Cluster>, String> {
    if listed.table.count.saturating_mul(header.cluster()) > BITS_MAX / 8 + header.cluster() {
        return Err(format!("the bitmap {} is too large", listed.name));
    }
    let bytes = bytes_at(file, path, listed.table.at, listed.table.count * 8)?;
    let entries = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry));
    let place = |entry: u64| match (entry & OFFSET, entry & !OFFSET) {
        (0, 0) => Ok(Cluster::Clean),
        (0, 1) => Ok(Cluster::Written),
        (at, 0) if at.is_multiple_of(header.cluster()) => Ok(Cluster::At(at)),
        _ => Err(format!("the table of the bitmap {} cannot be read", listed.name)),
    };
    entries.map(place).collect()
}

/// A cluster of a bitmap's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    /// None is set.
    Clean,
    /// All are set.
    Written,
    /// They lie there.
    At(u64),
}

/// What was written since the bitmap was begun, by one that is not doubted; else why nobody may rely on it.
pub(super) fn written(file: &dyn DiskFile, path: &Path, header: &Header, listed: &Listed) -> Result<Written, String> {
    let name = &listed.name;
    let granularity_bits = u32::from(listed.granularity_bits);
    if !(9..=31).contains(&granularity_bits) {
        return Err(format!("the bitmap {name} has a granularity that none has"));
    }
    let count = header.size.div_ceil(1 << granularity_bits);
    if count > BITS_MAX {
        return Err(format!("the bitmap {name} is too large"));
    }
    let clusters = clusters(file, path, header, listed)?;
    if clusters.len() as u64 != count.div_ceil(8).div_ceil(header.cluster()) {
        return Err(format!("the bitmap {name} is not as large as its disk"));
    }
    let mut bits = Bits::new(count);
    let pieces = bits.0.chunks_mut(header.cluster() as usize);
    for (piece, cluster) in pieces.zip(clusters) {
        match cluster {
            Cluster::Clean => {}
            Cluster::Written => piece.fill(0xFF),
            Cluster::At(at) => piece.copy_from_slice(&bytes_at(file, path, at, piece.len() as u64)?),
        }
    }
    Ok(Written { bits, granularity_bits })
}
