//! The little of the qcow2 format that is needed to see whether an image is whole by itself.
//!
//! An image may say that the blocks it lacks are in a *backing file*, or that its bytes are in an external *data
//! file*. Both are names in its header. Leaves everything else to the hypervisor.

/// Bytes from the front that are needed to judge an image: names lie in its first cluster.
pub(super) const HEAD_BYTES: usize = 64 << 10;

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bit of the incompatible features: the bytes are in an external file.
const EXTERNAL_DATA: u64 = 1 << 2;
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

fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn u64_at(head: &[u8], at: usize) -> Option<u64> {
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
    let mut at = u32_at(head, 100)? as usize;
    loop {
        let (kind, len) = (u32_at(head, at)?, u32_at(head, at.checked_add(4)?)? as usize);
        let content = at.checked_add(8)?;
        match kind {
            0 => return None,
            DATA_FILE_NAME => return Some(text(head, content, len)),
            _ => at = content.checked_add(len.checked_next_multiple_of(8)?)?,
        }
    }
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
