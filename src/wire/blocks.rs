//! Blocks in binary: for each one its head, which says where it belongs, how it is packed, how long the packed bytes are
//! and what their checksum is; and these bytes.
//!
//! ```text
//! file u32 · block u64 · packing u8 (0 as it is, 1 zstd) · length u32 · CRC-32 u32 · bytes        numbers little-endian
//! ```
//!
//! The [seal](super::seal) of blocks is over their heads, so that nobody hashes the bytes once more whose hash the
//! receiver looks at anyway; what does not read as blocks has none. What a line makes of them is noticed all the same:
//!
//! | what was changed | is found by |
//! | --- | --- |
//! | a block is missing, comes twice, or another one is there | the seal: other heads |
//! | a block's place, packing, length or checksum | the seal |
//! | the end is missing, or something follows | lengths; there is no block there that the seal knows |
//! | bytes, or two blocks' bytes changed places | the checksum, before they are unpacked |
//! | bytes, in a way that the checksum does not see (one of four billion) | the block's BLAKE3, which the target recomputes, and that of an exported file |
//!
//! Guarantee: whatever arrives, unpacking gives no more than [`BLOCK_BYTES`] a block and [`REQUEST_BYTES`] in all, and
//! takes little more memory than that. What the bytes are worth is the receiver's to hash.

use bytes::Bytes;

use crate::replica::port::{BLOCK_BYTES, BlockAddress};

/// The most bytes of blocks in one request or answer, unpacked.
pub const REQUEST_BYTES: usize = 4 << 20;
/// The bytes before each block's own.
const HEAD_BYTES: usize = 4 + 8 + 1 + 4 + 4;
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
    /// Other bytes than were sent.
    #[error("a block is not what its checksum says")]
    Changed,
    /// Bytes that cannot be unpacked.
    #[error("a block cannot be unpacked: {0}")]
    Unpacking(String),
}

/// Blocks as they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// One after the other.
    heads: Bytes,
    /// The bytes that belong to each.
    bodies: Vec<Bytes>,
}

/// What a block's head says.
struct Head {
    address: BlockAddress,
    packing: u8,
    length: usize,
    checksum: u32,
}

impl Head {
    fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let Self { address: BlockAddress { file, block }, packing, length, checksum } = self;
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&file.to_le_bytes());
        head[4..12].copy_from_slice(&block.to_le_bytes());
        head[12] = *packing;
        head[13..17].copy_from_slice(&(*length as u32).to_le_bytes());
        head[17..].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    fn of_bytes(head: &[u8; HEAD_BYTES]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Self {
            address: BlockAddress { file: number(&head[..4]) as u32, block: number(&head[4..12]) },
            packing: head[12],
            length: number(&head[13..17]) as usize,
            checksum: number(&head[17..]) as u32,
        }
    }
}

/// Packs blocks; with `compress`, those that become smaller by it. The others stay where they lie.
///
/// # Errors
/// Where there is no memory for the packing.
pub fn pack(blocks: impl IntoIterator<Item = (BlockAddress, Bytes)>, compress: bool) -> Result<Packed, std::io::Error> {
    let mut packer = if compress { Some(zstd::bulk::Compressor::new(LEVEL)?) } else { None };
    let mut room = vec![0; if compress { BLOCK_BYTES as usize } else { 0 }];
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for (address, bytes) in blocks {
        // What does not fit into fewer bytes than it has goes as it is.
        let smaller = packer.as_mut().and_then(|packer| {
            let most = bytes.len().saturating_sub(1).min(room.len());
            packer.compress_to_buffer(&bytes, &mut room[..most]).ok()
        });
        let (packing, body) = match smaller {
            Some(length) => (ZSTD, Bytes::copy_from_slice(&room[..length])),
            None => (PLAIN, bytes),
        };
        let head = Head { address, packing, length: body.len(), checksum: crc32fast::hash(&body) };
        heads.extend_from_slice(&head.to_bytes());
        bodies.push(body);
    }
    Ok(Packed { heads: heads.into(), bodies })
}

/// What is left of what arrived. No piece is empty.
struct Arrived<I> {
    /// What was begun.
    first: Bytes,
    left: I,
}

impl<I: Iterator<Item = Bytes>> Arrived<I> {
    /// Whether nothing is left; looks at the next piece where the first one is used up.
    fn is_empty(&mut self) -> bool {
        if self.first.is_empty() {
            self.first = self.left.next().unwrap_or_default();
        }
        self.first.is_empty()
    }

    /// The next so many bytes.
    fn take(&mut self, length: usize) -> Result<Bytes, BlocksError> {
        if length <= self.first.len() {
            return Ok(self.first.split_to(length));
        }
        let mut taken = Vec::with_capacity(length);
        while taken.len() < length {
            if self.is_empty() {
                return Err(BlocksError::Cut);
            }
            let part = self.first.split_to(self.first.len().min(length - taken.len()));
            taken.extend_from_slice(&part);
        }
        Ok(taken.into())
    }
}

impl Packed {
    /// Finds the blocks in what arrived, piece by piece, and looks at their checksums. They stay where they lie, but for
    /// those that came in several pieces.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn read(pieces: impl IntoIterator<Item = Bytes>) -> Result<Self, BlocksError> {
        let mut rest = Arrived { left: pieces.into_iter().filter(|piece| !piece.is_empty()), first: Bytes::new() };
        let (mut heads, mut bodies) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let bytes = rest.take(HEAD_BYTES)?;
            let head = Head::of_bytes(bytes.first_chunk().ok_or(BlocksError::Cut)?);
            if head.length > BLOCK_BYTES as usize {
                return Err(BlocksError::TooLong);
            }
            let body = rest.take(head.length)?;
            if crc32fast::hash(&body) != head.checksum {
                return Err(BlocksError::Changed);
            }
            heads.extend_from_slice(&bytes);
            bodies.push(body);
        }
        Ok(Self { heads: heads.into(), bodies })
    }

    /// What their seal is over.
    pub fn heads(&self) -> &[u8] {
        &self.heads
    }

    /// The same, where nothing else of them is needed any more.
    pub fn into_heads(self) -> Bytes {
        self.heads
    }

    /// What they are together, heads included.
    pub fn length(&self) -> usize {
        self.heads.len() + self.bodies.iter().map(Bytes::len).sum::<usize>()
    }

    /// Head and bytes of each, one after the other.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let heads = (0..self.heads.len()).step_by(HEAD_BYTES).map(|at| self.heads.slice(at..at + HEAD_BYTES));
        heads.zip(&self.bodies).flat_map(|(head, body)| [head, body.clone()])
    }

    /// The same in one piece.
    pub fn joined(&self) -> Bytes {
        // It never grows: a buffer that does is there twice for a while.
        let mut joined = Vec::with_capacity(self.length());
        self.pieces().for_each(|piece| joined.extend_from_slice(&piece));
        joined.into()
    }

    /// Unpacks the blocks. Those that travelled as they are stay where they lie.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn unpack(&self) -> Result<Vec<(BlockAddress, Bytes)>, BlocksError> {
        let mut unpacker = None;
        let mut blocks = Vec::with_capacity(self.bodies.len());
        let mut room = REQUEST_BYTES;
        let (heads, _) = self.heads.as_chunks();
        for (head, body) in heads.iter().map(Head::of_bytes).zip(&self.bodies) {
            let bytes = match head.packing {
                PLAIN => body.clone(),
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
            blocks.push((head.address, bytes));
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::seal::Seal;

    const AT: BlockAddress = BlockAddress { file: 3, block: 1 << 40 };

    fn unpack(whole: &[u8]) -> Result<Vec<(BlockAddress, Bytes)>, BlocksError> {
        Packed::read([Bytes::copy_from_slice(whole)])?.unpack()
    }

    /// One block with a head of any kind and the right checksum.
    fn block(packing: u8, body: &[u8]) -> Vec<u8> {
        let head = Head { address: AT, packing, length: body.len(), checksum: crc32fast::hash(body) };
        [&head.to_bytes(), body].concat()
    }

    /// A block that no packer makes smaller.
    fn noise(seed: u8) -> Bytes {
        let mut noise = vec![0; BLOCK_BYTES as usize];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
        noise.into()
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        let zeros = Bytes::from(vec![0; 65536]);
        let given = [(AT, zeros), (BlockAddress { file: 0, block: 0 }, noise(1)), (AT, Bytes::from_static(b"x"))];
        for compress in [false, true] {
            let packed = pack(given.clone(), compress).unwrap();
            let joined = packed.joined();
            assert_eq!(joined.len(), packed.length());
            assert_eq!(packed.pieces().collect::<Vec<_>>().concat(), joined);
            assert_eq!(Packed::read([joined.clone()]).unwrap(), packed);
            for length in [1, 20, 21, 65_557, 100_000] {
                let pieces = joined.chunks(length).map(|piece| joined.slice_ref(piece));
                assert_eq!(Packed::read([Bytes::new()].into_iter().chain(pieces)).unwrap(), packed, "{length}");
            }
            assert_eq!(packed.unpack().unwrap(), given);
            assert_eq!(unpack(&joined).unwrap(), given);
            assert!(!compress || joined.len() < 70_000, "{}", joined.len());
        }
        assert_eq!(unpack(b"").unwrap(), []);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let whole = block(PLAIN, b"some bytes");
        assert_eq!(unpack(&whole).unwrap().len(), 1);
        assert_eq!(unpack(&whole[..whole.len() - 1]), Err(BlocksError::Cut));
        assert_eq!(unpack(&whole[..5]), Err(BlocksError::Cut));
        assert_eq!(unpack(&block(9, b"some bytes")), Err(BlocksError::Packing(9)));
        let mut long = whole.clone();
        long[13..17].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpack(&long), Err(BlocksError::TooLong));
        assert!(matches!(unpack(&block(ZSTD, b"some bytes")), Err(BlocksError::Unpacking(_))));
        let mut garbled = whole;
        *garbled.last_mut().unwrap() ^= 1;
        assert_eq!(unpack(&garbled), Err(BlocksError::Changed));
    }

    /// The seal of blocks refuses whatever one over all of their bytes would refuse.
    #[test]
    fn whatever_a_line_makes_of_blocks_is_noticed() {
        let asked = Seal::of_request("POST", "/blocks", None, None, b"");
        let seal = |whole: &[u8]| {
            let read = Packed::read([Bytes::copy_from_slice(whole)]);
            read.ok().map(|packed| asked.of_answer(200, packed.heads()))
        };
        let at = |block| BlockAddress { file: 0, block };
        for compress in [false, true] {
            // Three of a length, so that their bytes may change places, and a short one.
            let text = |word: &str| Bytes::from(word.repeat(16384));
            let blocks = [(at(4), noise(1)), (at(5), noise(3)), (at(6), text("abcd")), (at(7), text("efgh"))];
            let packed = pack(blocks.clone(), compress).unwrap();
            let whole = packed.joined();
            assert_eq!(seal(&whole), Some(asked.of_answer(200, packed.heads())), "the sender's");
            let noticed = |what: &str, other: &[u8]| assert_ne!(seal(other), seal(&whole), "{what}");
            let joined = |pieces: &[Bytes]| pieces.concat();
            let pieces: Vec<Bytes> = packed.pieces().collect();
            let exchanged = |a: usize, b: usize| {
                let mut pieces = pieces.clone();
                pieces.swap(a, b);
                joined(&pieces)
            };
            assert_eq!(pieces[1].len(), pieces[3].len());
            assert_eq!(pieces[5].len(), pieces[7].len());
            noticed("bytes of two blocks changed places", &exchanged(1, 3));
            noticed("packed bytes of two blocks changed places", &exchanged(5, 7));
            noticed("heads of two blocks changed places", &exchanged(0, 2));
            let mut turned = pieces.clone();
            turned.rotate_left(2);
            noticed("the first block comes last", &joined(&turned));
            noticed("the first block is missing", &joined(&pieces[2..]));
            noticed("the last block is missing", &joined(&pieces[..6]));
            noticed("all blocks are missing", b"");
            noticed("a block comes twice", &joined(&[&pieces[..2], &pieces[..]].concat()));
            let stranger = pack([(at(9), noise(5))], compress).unwrap().joined();
            noticed("a block came in addition", &[&whole[..], &stranger].concat());
            for end in [1, 20, 21, 22, 65536 + 21, whole.len() - 1] {
                noticed("the end is missing", &whole[..end]);
            }
            noticed("something follows", &[&whole[..], b"\0"].concat());
            let one = pack(blocks[..1].to_vec(), compress).unwrap().joined();
            assert_eq!(seal(&one[..HEAD_BYTES]), None, "nothing but what the seal is over");
            // One bit of each head, and of bytes all over.
            let head = |nth: usize| pieces[..nth].iter().map(Bytes::len).sum::<usize>();
            let heads = (0..pieces.len()).step_by(2).flat_map(|nth| head(nth)..head(nth + 1));
            for place in heads.chain((0..whole.len()).step_by(211)) {
                let mut flipped = whole.to_vec();
                flipped[place] ^= 1 << (place % 8);
                noticed("a bit is another", &flipped);
            }
            // A place that was moved together with its block.
            let mut moved = blocks.clone();
            moved[2].0 = at(8);
            noticed("a block at another place", &pack(moved, compress).unwrap().joined());
        }
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = zstd::bulk::compress(&vec![0; 1 << 30], LEVEL).unwrap();
        assert!(bomb.len() < BLOCK_BYTES as usize, "{}", bomb.len());
        assert!(matches!(unpack(&block(ZSTD, &bomb)), Err(BlocksError::Unpacking(_))));
    }

    #[test]
    fn many_small_bombs_do_not_go_off_either() {
        let zeros = Bytes::from(vec![0; BLOCK_BYTES as usize]);
        let full = REQUEST_BYTES / zeros.len();
        let packed = |count: usize| pack((0..count).map(|_| (AT, zeros.clone())), true).unwrap().joined();
        assert_eq!(unpack(&packed(full)).unwrap().len(), full);
        assert!(packed(full + 1).len() < 8192);
        assert_eq!(unpack(&packed(full + 1)), Err(BlocksError::TooMany));
    }
}
