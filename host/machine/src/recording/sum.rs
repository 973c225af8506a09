//! A running hash of what a run has sent.

use std::fmt;
use std::hash::Hasher;

use twox_hash::XxHash3_64;

use super::Place;

/// The hash of all output so far, with the ports it went to. It does not depend on how transfers were grouped: engines
/// differ in that.
#[derive(Clone)]
pub struct Sum {
    /// Where the last bytes went.
    place: Option<Place>,
    /// How many bytes went there in a row and are hashed.
    in_a_row: u64,
    /// How many bytes are hashed.
    hashed: u64,
    /// Bytes that went there and are not hashed yet. A guest may send byte by byte, and hashing them one by one is slow.
    waiting: Vec<u8>,
    hash: XxHash3_64,
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Sum").field("total", &self.total()).finish_non_exhaustive()
    }
}

impl Default for Sum {
    fn default() -> Self {
        let hash = XxHash3_64::with_seed(0);
        Self { place: None, in_a_row: 0, hashed: 0, waiting: Vec::with_capacity(Self::WAITING), hash }
    }
}

impl Sum {
    /// The most bytes that wait.
    const WAITING: usize = 4096;

    /// These bytes were sent.
    #[inline(always)]
    pub fn add(&mut self, place: Place, bytes: &[u8]) {
        match bytes {
            // A copy of one byte is a call.
            [byte] if self.place == Some(place) && self.waiting.len() < Self::WAITING => {
                self.waiting.push(*byte)
            }
            [] => {}
            _ => self.add_slowly(place, bytes),
        }
    }

    fn add_slowly(&mut self, place: Place, bytes: &[u8]) {
        if self.place != Some(place) {
            self.hash_waiting();
            // How long the last row was, and where the next one goes.
            let [low, high] = place.port.to_le_bytes();
            self.hash.write(&self.in_a_row.to_le_bytes());
            self.hash.write(&[low, high, place.width]);
            self.place = Some(place);
            self.in_a_row = 0;
        }
        if self.waiting.len() + bytes.len() <= Self::WAITING {
            self.waiting.extend_from_slice(bytes);
        } else {
            self.hash_waiting();
            self.hash.write(bytes);
            self.count(bytes.len());
        }
    }

    fn hash_waiting(&mut self) {
        self.hash.write(&self.waiting);
        self.count(self.waiting.len());
        self.waiting.clear();
    }

    /// This many bytes are hashed.
    fn count(&mut self, len: usize) {
        self.in_a_row += len as u64;
        self.hashed += len as u64;
    }

    /// How many bytes were sent.
    pub fn total(&self) -> u64 {
        self.hashed + self.waiting.len() as u64
    }

    /// The hash.
    pub fn value(&mut self) -> u64 {
        self.hash_waiting();
        self.hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: Place = Place { port: 0xe9, width: 1 };
    const OTHER: Place = Place { port: 0xe9, width: 2 };

    fn of(sent: &[(Place, &[u8])]) -> u64 {
        let mut sum = Sum::default();
        sent.iter().for_each(|(place, bytes)| sum.add(*place, bytes));
        sum.value()
    }

    #[test]
    fn grouping_does_not_matter_and_ports_do() {
        let long = [7; 10_000];
        assert_eq!(of(&[(CONSOLE, b"abc")]), of(&[(CONSOLE, b"a"), (CONSOLE, b"bc")]));
        let mut pieces = Sum::default();
        for (index, piece) in long.chunks(999).enumerate() {
            pieces.add(CONSOLE, piece);
            if index % 3 == 0 {
                // Looking changes nothing.
                pieces.value();
            }
        }
        assert_eq!((pieces.total(), pieces.value()), (10_000, of(&[(CONSOLE, &long)])));
        let different: [&[(Place, &[u8])]; 5] = [
            &[(CONSOLE, b"ab")],
            &[(OTHER, b"ab")],
            &[(CONSOLE, b"a"), (OTHER, b"b")],
            &[(OTHER, b"a"), (CONSOLE, b"b")],
            &[(CONSOLE, b"ba")],
        ];
        for (index, one) in different.iter().enumerate() {
            different[..index].iter().for_each(|other| assert_ne!(of(one), of(other), "{one:?}, {other:?}"));
        }
    }
}
