//! Blocks in binary: for each one its address, how it is packed, how long the packed bytes are, and these.
//!
//! ```text
//! file u32 · block u64 · packing u8 (0 as it is, 1 zstd) · length u32 · bytes        numbers little-endian
//! ```
//!
//! Guarantee: whatever arrives, unpacking gives no more than [`BLOCK_BYTES`] a block and [`REQUEST_BYTES`] in all, and
//! takes little more memory than that. What the bytes are worth is the receiver's to hash.

use bytes::Bytes;

use crate::replica::port::{BLOCK_BYTES, BlockAddress};

/// The most bytes of blocks in one request or answer, unpacked.
pub const REQUEST_BYTES: usize = 4 << 20;
/// The bytes before each block's own.
const HEAD_BYTES: usize = 4 + 8 + 1 + 4;
/// Quick, and close to what stronger levels reach on disk images.
const LEVEL: i32 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// The most that so many blocks are, packed, which have so many bytes together.
pub const fn packed_most(bytes: usize, blocks: usize) -> usize {
    bytes + blocks * HEAD_BYTES
}

/// Bytes that are no blocks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlocksError {
    /// They end within a block.
    #[error("the blocks end in the middle of one")]
    Cut,
    /// A packing that nobody knows.
    #[error("a block is packed as {0}, which is unknown")]
    Packing(u8),
    /// A block longer than blocks are.
    #[error("a block is longer than {BLOCK_BYTES} bytes")]
    TooLong,
    /// More than a request may carry.
    #[error("the blocks are more than {REQUEST_BYTES} bytes")]
    TooMany,
    /// Bytes that cannot be unpacked.
    #[error("a block cannot be unpacked: {0}")]
    Unpacking(String),
}

/// Packs blocks; with `compress`, those that become smaller by it.
///
/// # Errors
/// Where there is no memory for the packing.
pub fn pack<'a>(
    blocks: impl IntoIterator<Item = (BlockAddress, &'a [u8])>,
    compress: bool,
) -> Result<Vec<u8>, std::io::Error> {
    let mut packer = if compress { Some(zstd::bulk::Compressor::new(LEVEL)?) } else { None };
    let mut room = vec![0; BLOCK_BYTES as usize];
    let blocks: Vec<(BlockAddress, &[u8])> = blocks.into_iter().collect();
    let bytes = blocks.iter().map(|(_, bytes)| bytes.len()).sum();
    // It never grows: a buffer that does is there twice for a while.
    let mut packed = Vec::with_capacity(packed_most(bytes, blocks.len()));
    for (address, bytes) in blocks {
        // What does not fit into fewer bytes than it has goes as it is.
        let smaller = packer.as_mut().and_then(|packer| {
            let most = bytes.len().saturating_sub(1).min(room.len());
            packer.compress_to_buffer(bytes, &mut room[..most]).ok()
        });
        let (packing, body) = match smaller {
            Some(length) => (ZSTD, &room[..length]),
            None => (PLAIN, bytes),
        };
        packed.extend_from_slice(&address.file.to_le_bytes());
        packed.extend_from_slice(&address.block.to_le_bytes());
        packed.push(packing);
        packed.extend_from_slice(&(body.len() as u32).to_le_bytes());
        packed.extend_from_slice(body);
    }
    Ok(packed)
}

/// Unpacks blocks. Those that travelled as they are stay where they lie.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn unpack(whole: &Bytes) -> Result<Vec<(BlockAddress, Bytes)>, BlocksError> {
    let mut packed: &[u8] = whole;
    let mut unpacker = None;
    let mut blocks = Vec::new();
    let mut room = REQUEST_BYTES;
    while !packed.is_empty() {
        let (head, rest) = packed.split_at_checked(HEAD_BYTES).ok_or(BlocksError::Cut)?;
        let (file, head) = head.split_at(4);
        let (block, head) = head.split_at(8);
        let (packing, length) = head.split_at(1);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let address = BlockAddress { file: number(file) as u32, block: number(block) };
        let length = usize::try_from(number(length)).map_err(|_| BlocksError::TooLong)?;
        if length > BLOCK_BYTES as usize {
            return Err(BlocksError::TooLong);
        }
        let (body, rest) = rest.split_at_checked(length).ok_or(BlocksError::Cut)?;
        let bytes = match packing[0] {
            PLAIN => whole.slice_ref(body),
            ZSTD => {
                let unpacking = |error: std::io::Error| BlocksError::Unpacking(error.to_string());
                let unpacker = match &mut unpacker {
                    Some(unpacker) => unpacker,
                    None => unpacker.insert(zstd::bulk::Decompressor::new().map_err(unpacking)?),
                };
                Bytes::from(unpacker.decompress(body, BLOCK_BYTES as usize).map_err(unpacking)?)
            }
            unknown => return Err(BlocksError::Packing(unknown)),
        };
        // An empty block counts too: nobody sends one, and they must not come without end.
        room = room.checked_sub(bytes.len().max(1)).ok_or(BlocksError::TooMany)?;
        blocks.push((address, bytes));
        packed = rest;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: BlockAddress = BlockAddress { file: 3, block: 1 << 40 };

    #[test]
    fn blocks_come_back_as_they_were() {
        let (zeros, noise) =
            (vec![0; 65536], (0..65536_u32).map(|n| ((n * n) >> 7) as u8 ^ n as u8).collect::<Vec<_>>());
        let given = [(AT, zeros.as_slice()), (BlockAddress { file: 0, block: 0 }, noise.as_slice()), (AT, b"x")];
        for compress in [false, true] {
            let packed = Bytes::from(pack(given, compress).unwrap());
            let back = unpack(&packed).unwrap();
            let back: Vec<(BlockAddress, &[u8])> = back.iter().map(|(at, bytes)| (*at, &**bytes)).collect();
            assert_eq!(back, given);
            assert!(!compress || packed.len() < 70_000, "{}", packed.len());
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let packed = pack([(AT, b"some bytes".as_slice())], false).unwrap();
        let unpack = |packed: &[u8]| unpack(&Bytes::copy_from_slice(packed));
        assert_eq!(unpack(&packed[..packed.len() - 1]), Err(BlocksError::Cut));
        assert_eq!(unpack(&packed[..5]), Err(BlocksError::Cut));
        let mut unknown = packed.clone();
        unknown[12] = 9;
        assert_eq!(unpack(&unknown), Err(BlocksError::Packing(9)));
        let mut long = packed.clone();
        long[13..17].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpack(&long), Err(BlocksError::TooLong));
        let mut garbled = packed;
        garbled[12] = ZSTD;
        assert!(matches!(unpack(&garbled), Err(BlocksError::Unpacking(_))));
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = zstd::bulk::compress(&vec![0; 1 << 30], LEVEL).unwrap();
        let mut packed = pack([(AT, bomb.as_slice())], false).unwrap();
        packed[12] = ZSTD;
        assert!(bomb.len() < BLOCK_BYTES as usize, "{}", bomb.len());
        assert!(matches!(unpack(&packed.into()), Err(BlocksError::Unpacking(_))));
    }

    #[test]
    fn many_small_bombs_do_not_go_off_either() {
        let zeros = vec![0; BLOCK_BYTES as usize];
        let full = REQUEST_BYTES / zeros.len();
        let packed = |count: usize| Bytes::from(pack((0..count).map(|_| (AT, zeros.as_slice())), true).unwrap());
        assert_eq!(unpack(&packed(full)).unwrap().len(), full);
        assert!(packed(full + 1).len() < 8192);
        assert_eq!(unpack(&packed(full + 1)), Err(BlocksError::TooMany));
    }
}
