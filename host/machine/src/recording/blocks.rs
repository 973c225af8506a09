//! The blocks of a recording behind its start: what was read, one block after the other, and the end.
//!
//! A block is a header, the stored bytes, and the CRC-32 of the block's number, the header and these bytes. A block of
//! input holds runs, bytes that were read one after the other at one port: first the heads of all runs, then the bytes of
//! all runs. So where ports alternate the heads repeat, and compress to next to nothing. The heads end where as many
//! bytes follow as they say.
//!
//! A head is a number: the count of bytes, and in its lowest three bits which port and width: one of the last seven that
//! were new, or 7 for a new one, which follows. It is stored in groups of seven bits, the lowest first; all but the last
//! have bit 7 set.

use crc32fast::Hasher;

use super::Place;

/// The most bytes that a block holds. In smaller ones bulk input takes longer, and in larger ones it takes no less.
pub const BLOCK: usize = 256 << 10;

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

/// The most bytes of the head of a run.
pub const RUN_HEAD: usize = 6;

/// Writes the head of a run.
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

/// Splits the head of a run off the bytes of a block: where it was read, and how many bytes it has. `None` if there is
/// none.
fn split_head(bytes: &mut &[u8], places: &mut Places) -> Option<(Place, usize)> {
    let mut number = 0;
    // More groups than these make more bytes than a block holds.
    for shift in [0, 7, 14] {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        } else if shift == 14 {
            return None;
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
    let len = usize::try_from(number >> 3).ok()?;
    (len > 0).then_some((place, len))
}

/// Calls `each` with the runs of a block. `None` if they are none.
pub fn split_runs(block: &[u8], places: &mut Places, mut each: impl FnMut(Place, &[u8])) -> Option<()> {
    let (mut rest, mut len, mut places_there) = (block, 0_usize, places.clone());
    while rest.len() > len {
        len = len.checked_add(split_head(&mut rest, &mut places_there)?.1)?;
    }
    let (mut heads, mut bytes) = block.split_at_checked(block.len().checked_sub(len)?)?;
    if rest.len() != len {
        return None;
    }
    while !heads.is_empty() {
        let (place, len) = split_head(&mut heads, places)?;
        each(place, bytes.split_off(..len)?);
    }
    Some(())
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
        let too_long = Header { holds: Holds::Input, len: 0x4_0001, stored: 0x4_0001, mark: Mark::default() };
        assert_eq!(Header::from_bytes(&too_long.to_bytes()), None);
        assert_eq!(Header::from_bytes(&[3; Header::SIZE]), None);
    }

    /// The runs of a block, if they are some.
    fn runs(block: &[u8], places: &mut Places) -> Option<Vec<(Place, Vec<u8>)>> {
        let mut runs = Vec::new();
        split_runs(block, places, |place, bytes| runs.push((place, bytes.to_vec())))?;
        Some(runs)
    }

    #[test]
    fn runs_survive_with_any_number_of_ports() {
        let mut expected = Vec::new();
        for n in 0..100_u32 {
            // More ports than have a number.
            let place = Place { port: (n * n % 11) as u16 * 0x101, width: 1 << (n % 3) };
            expected.push((place, vec![n as u8; [1, 15, 16, 17, 2047, 2048, 5000][n as usize % 7]]));
        }
        expected.push((Place { port: 1, width: 1 }, vec![7; BLOCK - 2 * RUN_HEAD]));
        let (mut to, mut from) = (Places::default(), Places::default());
        for several in expected.chunks(100) {
            let (mut heads, mut bytes) = (Vec::new(), Vec::new());
            for (place, run) in several {
                let before = heads.len();
                write_run_head(run.len(), *place, &mut to, &mut heads);
                assert!(heads.len() - before <= RUN_HEAD);
                bytes.extend_from_slice(run);
            }
            assert_eq!(runs(&[heads, bytes].concat(), &mut from).unwrap(), several);
        }
        assert_eq!(runs(&[], &mut from), Some(vec![]));
    }

    #[test]
    fn what_is_no_run_is_refused() {
        // A port that was never named; no width; more bytes than there are; fewer; none; half of a head; a number that
        // goes on and on.
        for bytes in [
            &[0x08, 0][..],
            &[0x0f, 1, 0, 3, 0],
            &[0x17, 1, 0, 1, 0],
            &[0x0f, 1, 0, 1, 0, 0],
            &[0x0f, 1, 0, 1, 0x08, 0, 0, 0],
            &[0x07, 1, 0, 1],
            &[0x0f, 1, 0],
            &[0x88],
            &[0xff; 9],
            &[0xff, 0xff, 0xff, 0, 1, 0, 1],
        ] {
            assert_eq!(runs(bytes, &mut Places::default()), None, "{bytes:x?}");
        }
    }
}
