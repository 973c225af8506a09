//! What the tests of damaged snapshots and recordings share: the blocks of a file with their checksums made right again.

pub mod damage;

use flatland_contract::Port;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use damage::Random;

impl Random {
    /// Changes compressed data and lengths, and makes the checksums right again.
    pub fn change_blocks(&mut self, changes: usize, head: &[u8], old: &[(u32, &[u8])]) -> Vec<u8> {
        let mut blocks: Vec<_> = old.iter().map(|(len, packed)| (*len, packed.to_vec())).collect();
        for _ in 0..changes {
            let index = self.below(blocks.len());
            match self.below(6) {
                0 => blocks[index].0 = [1, 0xffff, 0x1_0000, 0x1_0001, u32::MAX][self.below(5)],
                1 => blocks.truncate(index),
                _ => self.change(&mut blocks[index].1),
            }
            if blocks.is_empty() {
                break;
            }
        }
        let blocks: Vec<_> = blocks.iter().map(|(len, packed)| (*len, &packed[..])).collect();
        file_of(head, &blocks)
    }

    /// Changes a body. Half of the time only what comes before RAM, which is shorter and has more to go wrong.
    pub fn change_body(&mut self, changes: usize, mut body: Vec<u8>) -> Vec<u8> {
        let rest = match self.below(2) {
            0 => body.split_off(body.len().min(700)),
            _ => Vec::new(),
        };
        (0..changes).for_each(|_| self.change(&mut body));
        [body, rest].concat()
    }
}

/// The bytes before the first block.
pub const HEAD: usize = 20;

/// The blocks behind a head: how many bytes each holds, and these compressed. Also what follows them.
pub fn blocks(file: &[u8], head: usize) -> (Vec<(u32, &[u8])>, &[u8]) {
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
    let mut blocks = Vec::new();
    let mut at = head;
    while word(at) > 0 {
        let packed_end = at + 8 + word(at + 4) as usize;
        blocks.push((word(at), &file[at + 8..packed_end]));
        at = packed_end + 4;
    }
    (blocks, &file[at + 12..])
}

/// A file of this head and these blocks, with the checksums that belong to them.
pub fn file_of(head: &[u8], blocks: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = head.to_vec();
    let mut sum = crc32fast::Hasher::new();
    let mut summed = 0;
    for (len, packed) in blocks.iter().chain([&(0, &[][..])]) {
        file.extend(len.to_le_bytes());
        file.extend((packed.len() as u32).to_le_bytes());
        file.extend(*packed);
        sum.update(&file[summed..]);
        summed = file.len();
        file.extend(sum.clone().finalize().to_le_bytes());
    }
    file
}

pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; get_maximum_output_size(bytes.len())];
    let len = compress_into(bytes, &mut packed).unwrap();
    packed.truncate(len);
    packed
}

/// `None` if it is not as many bytes.
pub fn decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    (decompress_into(packed, &mut bytes).ok()? == len).then_some(bytes)
}

pub fn body(file: &[u8], head: usize) -> Vec<u8> {
    let (blocks, _) = blocks(file, head);
    blocks.into_iter().flat_map(|(len, packed)| decompress(packed, len as usize).unwrap()).collect()
}

pub fn with_body(head: &[u8], body: &[u8]) -> Vec<u8> {
    let packed: Vec<_> = body.chunks(64 << 10).map(|piece| (piece.len() as u32, compress(piece))).collect();
    let blocks: Vec<_> = packed.iter().map(|(len, packed)| (*len, &packed[..])).collect();
    file_of(head, &blocks)
}

/// How many bytes the contract's devices take in a file, with nothing read yet: their number, and for each its ports,
/// a length, and the state.
pub const DEVICES_LEN: usize = {
    let arguments = 4;
    let clock = 8;
    let timer = 12;
    4 + Port::ALL.len() * 12 + arguments + clock + timer
};
