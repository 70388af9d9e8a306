//! The little of the qcow2 format that is needed to see whether an image is whole by itself, and where its tables lie.
//!
//! An image may say that the blocks it lacks are in a *backing file*, or that its bytes are in an external *data
//! file*. Both are names in its header. `bitmap` and `clusters` read the tables; everything else is the hypervisor's.

/// Bytes from the front that are needed to judge an image: names lie in its first cluster.
pub(super) const HEAD_BYTES: usize = 64 << 10;

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bit of the incompatible features: the bytes are in an external file.
const EXTERNAL_DATA: u64 = 1 << 2;
/// Bit of the incompatible features: whoever wrote it last did not close it.
const DIRTY: u64 = 1;
/// Bit of the incompatible features: something in it contradicts itself.
const CORRUPT: u64 = 1 << 1;
/// Bit of the incompatible features: compressed clusters are so in another way. It changes no place.
const COMPRESSION: u64 = 1 << 3;
/// Bit of the autoclear features: whoever wrote it last kept its bitmaps. A program that does not know them clears it.
const BITMAPS_KEPT: u64 = 1;
/// The header extension that says where the bitmaps are.
const BITMAPS: u32 = 0x2385_2875;
/// The header extension that names it.
const DATA_FILE_NAME: u32 = 0x4441_5441;
/// The longest name that qemu writes.
const NAME_MAX: usize = 1023;

/// What an image's header names outside the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outside {
    /// Where the blocks are that it lacks.
    pub(super) backing: Option<String>,
    /// Where its bytes are.
    pub(super) data: Option<String>,
}

/// The number of four bytes at a place.
pub(super) fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The number of eight bytes at a place.
pub(super) fn u64_at(head: &[u8], at: usize) -> Option<u64> {
    head.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

fn text(head: &[u8], at: usize, len: usize) -> String {
    let end = at.saturating_add(len.min(NAME_MAX)).min(head.len());
    head.get(at..end)
        .map_or_else(|| "(beyond the header)".to_owned(), |name| String::from_utf8_lossy(name).into_owned())
}

/// What the image that begins with `head` names outside itself; none where it is no qcow2 image.
pub(super) fn outside(head: &[u8]) -> Option<Outside> {
    if !head.starts_with(&MAGIC) {
        return None;
    }
    let version = u32_at(head, 4)?;
    let mut found = Outside::default();
    let (offset, size) = (u64_at(head, 8)?, u32_at(head, 16)?);
    if offset != 0 && size != 0 {
        found.backing = Some(text(head, usize::try_from(offset).unwrap_or(usize::MAX), size as usize));
    }
    if version < 3 {
        return Some(found);
    }
    if u64_at(head, 72)? & EXTERNAL_DATA != 0 {
        found.data = Some(data_file_name(head).unwrap_or_else(|| "(not named)".to_owned()));
    }
    Some(found)
}

fn data_file_name(head: &[u8]) -> Option<String> {
    extension(head, DATA_FILE_NAME).map(|content| text(content, 0, content.len()))
}

/// The content of a header extension, as far as it lies in `head`.
fn extension(head: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut at = u32_at(head, 100)? as usize;
    loop {
        let (kind, len) = (u32_at(head, at)?, u32_at(head, at.checked_add(4)?)? as usize);
        let content = at.checked_add(8)?;
        match kind {
            0 => return None,
            kind if kind == wanted => return head.get(content..content.checked_add(len)?.min(head.len())),
            _ => at = content.checked_add(len.checked_next_multiple_of(8)?)?,
        }
    }
}

/// A part of an image: where it begins, and how many entries or clusters it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// Byte in the file.
    pub(super) at: u64,
    /// Entries, or what the format counts there.
    pub(super) count: u64,
}

/// Where an image keeps what it knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// A cluster has two to the power of this many bytes.
    pub(super) cluster_bits: u32,
    /// Bytes that the guest sees.
    pub(super) size: u64,
    /// The first level of the guest's map, in entries.
    pub(super) l1: Table,
    /// The first level of the reference counts, in clusters.
    pub(super) refcounts: Table,
    /// The directory of the bitmaps, in bytes, and how many there are; none: there are none that anybody keeps.
    pub(super) bitmaps: Option<(Table, u32)>,
}

impl Header {
    /// Bytes in a cluster.
    pub(super) const fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }
}

/// Whether the file that begins with `head` says that it is an image.
pub(super) fn is_image(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// Where an image's tables are, by its first bytes; else why nobody may rely on them.
pub(super) fn header(head: &[u8]) -> Result<Header, String> {
    let cut = || "its header is cut off".to_owned();
    if !is_image(head) {
        return Err("it is no qcow2 image".to_owned());
    }
    let version = u32_at(head, 4).ok_or_else(cut)?;
    if version != 3 {
        return Err(format!("it is an image of version {version}, which keeps no bitmaps"));
    }
    let read = || {
        let l1 = Table { at: u64_at(head, 40)?, count: u64::from(u32_at(head, 36)?) };
        let refcounts = Table { at: u64_at(head, 48)?, count: u64::from(u32_at(head, 56)?) };
        let (size, cluster_bits) = (u64_at(head, 24)?, u32_at(head, 20)?);
        let features = (u64_at(head, 72)?, u64_at(head, 88)?);
        let backed = u64_at(head, 8)? != 0;
        let encrypted = u32_at(head, 32)? != 0;
        Some((Header { cluster_bits, size, l1, refcounts, bitmaps: None }, features, backed, encrypted))
    };
    let (mut header, (incompatible, autoclear), backed, encrypted) = read().ok_or_else(cut)?;
    let doubt = if backed {
        "it has a backing file"
    } else if encrypted {
        "it is encrypted"
    } else if incompatible & EXTERNAL_DATA != 0 {
        "its bytes are in another file"
    } else if incompatible & DIRTY != 0 {
        "it was not closed by whoever wrote it last"
    } else if incompatible & CORRUPT != 0 {
        "it is marked as corrupt"
    } else if incompatible & !COMPRESSION != 0 {
        "it has a feature that is not known here"
    } else if !(9..=21).contains(&header.cluster_bits) {
        "its clusters have a size that no image has"
    } else {
        ""
    };
    if !doubt.is_empty() {
        return Err(doubt.to_owned());
    }
    if let Some(content) = extension(head, BITMAPS).filter(|_| autoclear & BITMAPS_KEPT != 0) {
        let read = || Some((Table { at: u64_at(content, 16)?, count: u64_at(content, 8)? }, u32_at(content, 0)?));
        header.bitmaps = Some(read().ok_or_else(cut)?);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: u32) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&version.to_be_bytes());
        head[100..104].copy_from_slice(&104_u32.to_be_bytes());
        head
    }

    #[test]
    fn a_backing_file_is_found_in_both_versions() {
        for version in [2, 3] {
            let mut head = head(version);
            assert_eq!(outside(&head), Some(Outside::default()));
            head[8..16].copy_from_slice(&300_u64.to_be_bytes());
            head[16..20].copy_from_slice(&9_u32.to_be_bytes());
            head[300..309].copy_from_slice(b"base.img\n");
            assert_eq!(outside(&head).unwrap().backing.as_deref(), Some("base.img\n"));
        }
    }

    #[test]
    fn an_external_data_file_is_found_behind_other_extensions() {
        let mut head = head(3);
        head[72..80].copy_from_slice(&EXTERNAL_DATA.to_be_bytes());
        assert!(outside(&head).unwrap().data.is_some());
        head[104..108].copy_from_slice(&0xE279_2ACA_u32.to_be_bytes());
        head[108..112].copy_from_slice(&3_u32.to_be_bytes());
        head[120..124].copy_from_slice(&DATA_FILE_NAME.to_be_bytes());
        head[124..128].copy_from_slice(&8_u32.to_be_bytes());
        head[128..136].copy_from_slice(b"data.raw");
        assert_eq!(outside(&head).unwrap().data.as_deref(), Some("data.raw"));
    }

    #[test]
    fn nonsense_is_no_panic() {
        assert_eq!(outside(b"raw disk"), None);
        assert_eq!(outside(b"QFI\xfb\0\0"), None);
        let mut head = head(3);
        head[72..80].copy_from_slice(&u64::MAX.to_be_bytes());
        head[100..104].copy_from_slice(&u32::MAX.to_be_bytes());
        head[8..16].copy_from_slice(&u64::MAX.to_be_bytes());
        head[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(outside(&head).unwrap().backing.is_some());
    }
}
