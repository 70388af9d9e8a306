//! Blocks and groups: how a file is cut, and what its parts are known by.
//!
//! Invariant: a file's root depends on its size and bytes alone, never on its holes: a hole and a run of zeros that
//! was written have the same hashes.

use std::sync::LazyLock;

use super::port::{BLOCK_BYTES, GROUP_BLOCKS, Hash, ZERO};
use crate::model::Digest;

/// Bytes in a group.
pub(super) const GROUP_BYTES: u64 = BLOCK_BYTES * GROUP_BLOCKS;
/// Blocks in a group, as an array length.
pub(super) const SLOTS: usize = GROUP_BLOCKS as usize;

/// Bytes in a piece: runs of zeros that are shorter take room, as they do on most file systems.
const PIECE_BYTES: usize = 4 << 10;

static ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];

/// What stands in an overlay's slot for a block that is there and is zeros; an empty slot means "not here". It is
/// the BLAKE3 of a whole block of zeros, so no other block has it.
pub(super) static PRESENT_ZERO: LazyLock<Hash> = LazyLock::new(|| *blake3::hash(&ZEROS).as_bytes());

/// Whether all bytes of a block are zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// A block's hash.
pub(super) fn hash_block(bytes: &[u8]) -> Hash {
    if is_zero(bytes) { ZERO } else { *blake3::hash(bytes).as_bytes() }
}

/// Pieces of a block that are alike follow each other: where each run of them lies, and whether it is zeros.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = (std::ops::Range<usize>, bool)> {
    let zero_at = |at: usize| is_zero(&bytes[at..(at + PIECE_BYTES).min(bytes.len())]);
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from;
        let zero = (start < bytes.len()).then(|| zero_at(start))?;
        while from < bytes.len() && zero_at(from) == zero {
            from = (from + PIECE_BYTES).min(bytes.len());
        }
        Some((start..from, zero))
    })
}

/// A group's hash, from its blocks'.
pub(super) fn hash_group(blocks: &[Hash]) -> Hash {
    if blocks.iter().all(|hash| *hash == ZERO) { ZERO } else { *blake3::hash(blocks.as_flattened()).as_bytes() }
}

/// How a hash is written into an overlay's slot.
pub(super) fn to_slot(hash: Hash) -> Hash {
    if hash == ZERO { *PRESENT_ZERO } else { hash }
}

/// The hash that an overlay's slot stands for; none: the block is not in the overlay.
pub(super) fn from_slot(slot: Hash) -> Option<Hash> {
    if slot == ZERO {
        None
    } else if slot == *PRESENT_ZERO {
        Some(ZERO)
    } else {
        Some(slot)
    }
}

/// How many blocks a file of `size` bytes has.
pub(super) const fn blocks_in(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES)
}

/// How many groups a file of `size` bytes has.
pub(super) const fn groups_in(size: u64) -> u64 {
    size.div_ceil(GROUP_BYTES)
}

/// How many blocks the group has in a file of `size` bytes.
pub(super) fn blocks_in_group(size: u64, group: u64) -> usize {
    let left = blocks_in(size).saturating_sub(group.saturating_mul(GROUP_BLOCKS));
    left.min(GROUP_BLOCKS) as usize
}

/// How long the block is in a file of `size` bytes.
pub(super) fn block_len(size: u64, block: u64) -> usize {
    size.saturating_sub(block.saturating_mul(BLOCK_BYTES)).min(BLOCK_BYTES) as usize
}

/// Builds a file's root hash from its groups' in order.
#[derive(Debug, Clone)]
pub(super) struct RootHasher(blake3::Hasher);

impl RootHasher {
    /// For a file of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&size.to_le_bytes());
        Self(hasher)
    }

    /// Takes the next groups.
    pub(super) fn add(&mut self, groups: &[Hash]) {
        self.0.update(groups.as_flattened());
    }

    /// The root, once all groups were taken.
    pub(super) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// The hashes of all blocks of a file that is held in memory.
pub(super) fn hash_blocks(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks(BLOCK_BYTES as usize).map(hash_block).collect()
}

/// The root of a file of `size` bytes whose blocks have these hashes.
pub(super) fn root_of(size: u64, blocks: &[Hash]) -> Digest {
    let mut root = RootHasher::new(size);
    for group in blocks.chunks(SLOTS) {
        root.add(&[hash_group(group)]);
    }
    root.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_have_the_zero_hash_whatever_their_length() {
        assert_eq!(hash_block(&[0; 65536]), ZERO);
        assert_eq!(hash_block(&[0; 1]), ZERO);
        assert_ne!(hash_block(&[0, 1]), ZERO);
        assert_eq!(hash_group(&[ZERO; 64]), ZERO);
        assert_ne!(*PRESENT_ZERO, ZERO);
        assert_eq!(from_slot(to_slot(ZERO)), Some(ZERO));
        assert_eq!(from_slot(ZERO), None);
    }

    #[test]
    fn pieces_tell_zeros_from_the_rest() {
        let mut bytes = vec![0; 3 * PIECE_BYTES + 5];
        assert_eq!(pieces(&bytes).collect::<Vec<_>>(), [(0..3 * PIECE_BYTES + 5, true)]);
        bytes[PIECE_BYTES] = 1;
        let found: Vec<_> = pieces(&bytes).collect();
        let (one, two) = (PIECE_BYTES, 2 * PIECE_BYTES);
        assert_eq!(found, [(0..one, true), (one..two, false), (two..3 * PIECE_BYTES + 5, true)]);
        bytes[3 * PIECE_BYTES + 4] = 1;
        assert_eq!(pieces(&bytes).last(), Some((3 * PIECE_BYTES..3 * PIECE_BYTES + 5, false)));
        assert_eq!(pieces(&[]).count(), 0);
    }

    #[test]
    fn the_root_tells_sizes_apart() {
        assert_ne!(root_of(0, &[]), root_of(1, &[ZERO]));
        assert_ne!(root_of(65536, &[ZERO]), root_of(1, &[ZERO]));
        let block = hash_block(b"x");
        assert_ne!(root_of(1 << 22, &[block; 64]), root_of((1 << 22) + 1, &[block; 65]));
    }

    #[test]
    fn files_are_cut_into_blocks_and_groups() {
        assert_eq!((blocks_in(0), groups_in(0)), (0, 0));
        assert_eq!((blocks_in(65537), groups_in(65537)), (2, 1));
        assert_eq!(blocks_in_group((4 << 20) + 1, 1), 1);
        assert_eq!(blocks_in_group((4 << 20) + 1, 2), 0);
        assert_eq!(block_len(65537, 1), 1);
        assert_eq!(block_len(65537, 2), 0);
    }
}
