//! The format of recordings, taken apart and put together: written again here, so that files can be made that no recorder
//! writes.

use crate::common::{HEAD, blocks, compress, decompress};

/// The parts of a recording.
#[derive(Clone)]
pub struct Parts {
    /// The head and the start.
    pub start: Vec<u8>,
    pub blocks: Vec<Block>,
}

pub const INPUT: u8 = 0;
pub const PACKED: u8 = 1;
pub const END: u8 = 2;

/// A block behind the start.
#[derive(Clone)]
pub struct Block {
    pub holds: u8,
    pub len: u32,
    pub stored_len: u32,
    /// How many bytes were read and sent, and the hash of the latter.
    pub mark: [u64; 3],
    pub stored: Vec<u8>,
}

pub const BLOCK_HEADER: usize = 33;

/// The most bytes that a block holds.
pub const BLOCK: u32 = 256 << 10;

impl Block {
    pub fn of(holds: u8, mark: [u64; 3], bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u32;
        let stored = if holds == PACKED { compress(&bytes) } else { bytes };
        Self { holds, len, stored_len: stored.len() as u32, mark, stored }
    }

    /// The bytes that it holds.
    pub fn bytes(&self) -> Vec<u8> {
        match self.holds {
            PACKED => decompress(&self.stored, self.len as usize).unwrap(),
            _ => self.stored.clone(),
        }
    }
}

impl Parts {
    pub fn of(file: &[u8]) -> Self {
        let (_, mut rest) = blocks(file, HEAD);
        let start = file[..file.len() - rest.len()].to_vec();
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(*rest[at..].first_chunk().unwrap());
            let long = |at: usize| u64::from_le_bytes(*rest[at..].first_chunk().unwrap());
            let end = BLOCK_HEADER + word(5) as usize;
            blocks.push(Block {
                holds: rest[0],
                len: word(1),
                stored_len: word(5),
                mark: [long(9), long(17), long(25)],
                stored: rest[BLOCK_HEADER..end].to_vec(),
            });
            rest = &rest[end + 4..];
        }
        Self { start, blocks }
    }

    /// The file, with the checksums that belong to the blocks.
    pub fn file(&self) -> Vec<u8> {
        let mut file = self.start.clone();
        for (number, block) in (0_u32..).zip(&self.blocks) {
            let begin = file.len();
            file.push(block.holds);
            file.extend(block.len.to_le_bytes());
            file.extend(block.stored_len.to_le_bytes());
            file.extend(block.mark.map(u64::to_le_bytes).concat());
            file.extend(&block.stored);
            let mut sum = crc32fast::Hasher::new();
            sum.update(&number.to_le_bytes());
            sum.update(&file[begin..]);
            file.extend(sum.finalize().to_le_bytes());
        }
        file
    }

    /// Makes the marks right again for what the blocks hold, as far as that is known.
    pub fn repair_marks(&mut self) {
        let (mut places, mut read, mut sent, mut last) = (Places::default(), 0, 0, [0; 3]);
        for block in &mut self.blocks {
            if block.holds == END {
                block.mark = last;
                continue;
            }
            let runs = match block.holds {
                PACKED => decompress(&block.stored, block.len.min(BLOCK) as usize),
                _ => Some(block.stored.clone()),
            };
            let Some(runs) = runs.and_then(|bytes| places.runs(&bytes)) else { return };
            read += runs.iter().map(|run| run.bytes.len() as u64).sum::<u64>();
            sent = block.mark[1].max(sent);
            block.mark = [read, sent, block.mark[2]];
            last = block.mark;
        }
    }
}

/// Bytes that are read one after the other at a port.
#[derive(Clone)]
pub struct Run {
    pub port: u16,
    pub width: u8,
    pub bytes: Vec<u8>,
}

/// The ports and widths that have a number.
#[derive(Default)]
pub struct Places {
    known: Vec<(u16, u8)>,
    next: usize,
}

impl Places {
    fn learn(&mut self, place: (u16, u8)) {
        match self.known.get_mut(self.next) {
            Some(known) => *known = place,
            None => self.known.push(place),
        }
        self.next = (self.next + 1) % 7;
    }

    /// The runs of a block. `None` if it has none.
    pub fn runs(&mut self, mut bytes: &[u8]) -> Option<Vec<Run>> {
        let (mut heads, mut len) = (Vec::new(), 0);
        while bytes.len() > len {
            let (mut number, mut shift) = (0, 0);
            loop {
                let byte = *bytes.split_off_first()?;
                number |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                } else if shift > 14 {
                    return None;
                }
            }
            let (port, width) = match number % 8 {
                7 => {
                    let [low, high, width] = *bytes.split_off(..3)?.first_chunk()?;
                    let place = (u16::from_le_bytes([low, high]), width);
                    self.learn(place);
                    place
                }
                index => *self.known.get(index)?,
            };
            heads.push((port, width, number / 8));
            len += number / 8;
        }
        let of_head = |(port, width, len)| Some(Run { port, width, bytes: bytes.split_off(..len)?.to_vec() });
        heads.into_iter().map(of_head).collect()
    }

    /// A block of these runs.
    pub fn block(&mut self, runs: &[Run]) -> Vec<u8> {
        let (mut block, mut all) = (Vec::<u8>::new(), Vec::<u8>::new());
        for Run { port, width, bytes } in runs {
            let index = self.known.iter().position(|place| *place == (*port, *width));
            let mut number = bytes.len() << 3 | index.unwrap_or(7);
            while number >= 0x80 {
                block.push(number as u8 | 0x80);
                number >>= 7;
            }
            block.push(number as u8);
            if index.is_none() {
                block.extend(port.to_le_bytes());
                block.push(*width);
                self.learn((*port, *width));
            }
            all.extend(bytes);
        }
        block.extend(all);
        block
    }
}
