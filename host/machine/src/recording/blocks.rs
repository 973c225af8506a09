//! The blocks of a recording behind its start: what was read, one block after the other, and the end.
//!
//! A block is a header, the stored bytes, and the CRC-32 of the block's number, the header and these bytes. A block of
//! input holds runs: a number and that many bytes. The number is the count of bytes, and in its lowest three bits
//! which port and width: one of the last seven that were new, or 7 for a new one, which follows.

use crc32fast::Hasher;

use super::Place;

/// The most bytes that a block holds.
pub const BLOCK: usize = 64 << 10;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Runs of input.
    Input,
    /// The same, compressed (LZ4).
    PackedInput,
    /// The end of the run: the last block.
    End,
}

impl Holds {
    const ALL: [Self; 3] = [Self::Input, Self::PackedInput, Self::End];
}

/// What stands before the bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub holds: Holds,
    /// How many bytes it holds.
    pub len: u32,
    /// How many bytes are stored, if they are compressed.
    pub stored: u32,
    pub mark: Mark,
}

/// Where a run was when a block was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How many bytes had been read.
    pub read: u64,
    /// How many had been sent.
    pub sent: u64,
    /// The [`Sum`](super::sum::Sum) of these.
    pub sum: u64,
}

impl Header {
    pub const SIZE: usize = 1 + 4 + 4 + 3 * 8;

    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let Self { holds, len, stored, mark: Mark { read, sent, sum } } = self;
        let mut bytes = [0; Self::SIZE];
        bytes[0] = holds as u8;
        bytes[1..5].copy_from_slice(&len.to_le_bytes());
        bytes[5..9].copy_from_slice(&stored.to_le_bytes());
        for (value, to) in [read, sent, sum].into_iter().zip(bytes[9..].chunks_exact_mut(8)) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// `None` if no block begins so.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let holds = *Holds::ALL.get(usize::from(bytes[0]))?;
        let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("there are more bytes"));
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("there are more bytes"));
        let mark = Mark { read: long(9), sent: long(17), sum: long(25) };
        let header = Self { holds, len: word(1), stored: word(5), mark };
        let is_possible = header.len as usize <= BLOCK
            && match holds {
                Holds::PackedInput => header.stored < header.len,
                Holds::Input | Holds::End => header.stored == header.len,
            };
        is_possible.then_some(header)
    }
}

/// The checksum of a block.
pub fn checksum(number: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&number.to_le_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The ports and widths that a run names by a small number.
#[derive(Clone, Debug, Default)]
pub struct Places {
    known: Vec<Place>,
    /// The index that the next new one gets.
    next: usize,
}

impl Places {
    /// The number that means a new one.
    pub const NEW: u64 = 7;

    pub fn index(&self, place: Place) -> Option<u64> {
        self.known.iter().position(|known| *known == place).map(|index| index as u64)
    }

    pub fn get(&self, index: u64) -> Option<Place> {
        self.known.get(usize::try_from(index).ok()?).copied()
    }

    pub fn learn(&mut self, place: Place) {
        match self.known.get_mut(self.next) {
            Some(known) => *known = place,
            None => self.known.push(place),
        }
        self.next = (self.next + 1) % Self::NEW as usize;
    }
}

/// The most bytes in front of those of a run.
pub const RUN_HEAD: usize = 6;

/// Writes what stands before the bytes of a run: they follow.
pub fn write_run_head(len: usize, place: Place, places: &mut Places, to: &mut Vec<u8>) {
    let index = places.index(place);
    let mut number = (len as u64) << 3 | index.unwrap_or(Places::NEW);
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
    if index.is_none() {
        to.extend_from_slice(&place.port.to_le_bytes());
        to.push(place.width);
        places.learn(place);
    }
}

/// Splits the first run off the bytes of a block. `None` if they are none.
pub fn split_run<'a>(bytes: &mut &'a [u8], places: &mut Places) -> Option<(Place, &'a [u8])> {
    let mut number = 0;
    // More bytes than these make more than a block holds.
    for shift in [0, 7, 14] {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let place = match number & 7 {
        Places::NEW => {
            let [low, high, width] = *bytes.split_off(..3)?.first_chunk()?;
            if !matches!(width, 1 | 2 | 4) {
                return None;
            }
            let place = Place { port: u16::from_le_bytes([low, high]), width };
            places.learn(place);
            place
        }
        index => places.get(index)?,
    };
    let run = bytes.split_off(..usize::try_from(number >> 3).ok()?)?;
    (!run.is_empty()).then_some((place, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive() {
        for holds in Holds::ALL {
            let stored = if holds == Holds::PackedInput { 17 } else { 1000 };
            let header =
                Header { holds, len: 1000, stored, mark: Mark { read: 1 << 40, sent: 2, sum: u64::MAX } };
            assert_eq!(Header::from_bytes(&header.to_bytes()), Some(header));
        }
        let too_long = Header { holds: Holds::Input, len: 70_000, stored: 70_000, mark: Mark::default() };
        assert_eq!(Header::from_bytes(&too_long.to_bytes()), None);
        assert_eq!(Header::from_bytes(&[3; Header::SIZE]), None);
    }

    #[test]
    fn runs_survive_with_any_number_of_ports() {
        let mut runs = Vec::new();
        for n in 0..100_u32 {
            // More ports than have a number.
            let place = Place { port: (n * n % 11) as u16 * 0x101, width: 1 << (n % 3) };
            runs.push((place, vec![n as u8; [1, 15, 16, 17, 2047, 2048, 5000][n as usize % 7]]));
        }
        let (mut bytes, mut places) = (Vec::new(), Places::default());
        for (place, run) in &runs {
            let before = bytes.len();
            write_run_head(run.len(), *place, &mut places, &mut bytes);
            assert!(bytes.len() - before <= RUN_HEAD);
            bytes.extend_from_slice(run);
        }
        let (mut rest, mut places) = (&bytes[..], Places::default());
        for (place, run) in &runs {
            assert_eq!(split_run(&mut rest, &mut places), Some((*place, &run[..])));
        }
        assert_eq!(split_run(&mut rest, &mut places), None);
    }

    #[test]
    fn what_is_no_run_is_refused() {
        // A port that was never named; no width; more bytes than there are; none; a number that goes on and on.
        for bytes in
            [&[0x08, 0][..], &[0x0f, 1, 0, 3, 0], &[0x17, 1, 0, 1, 0], &[0x07, 1, 0, 1], &[0xff; 9], &[]]
        {
            assert_eq!(split_run(&mut &bytes[..], &mut Places::default()), None, "{bytes:x?}");
        }
    }
}
