//! [`Port::Random`](flatland_contract::Port::Random).

use std::fmt;
use std::io;

use crate::{Device, Host, StreamError, Unfinished};

/// A source of random bytes.
pub struct Random(Source);

/// Fills the slice with random bytes.
type Fill = dyn FnMut(&mut [u8]) -> io::Result<()> + Send;

enum Source {
    Other(Box<Fill>),
    /// The bytes that belong to this seed, of which the guest has read `read`.
    Repeatable {
        seed: u64,
        read: u64,
    },
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

impl Random {
    /// The random bytes of the operating system.
    pub fn system() -> Self {
        Self::of(|bytes| getrandom::fill(bytes).map_err(Into::into))
    }

    /// The bytes that this function fills in.
    pub fn of(source: impl FnMut(&mut [u8]) -> io::Result<()> + Send + 'static) -> Self {
        Self(Source::Other(Box::new(source)))
    }

    /// The same bytes in each run with this seed. Not for keys. SplitMix64, by Sebastiano Vigna.
    pub fn repeatable(seed: u64) -> Self {
        Self(Source::Repeatable { seed, read: 0 })
    }
}

/// Word `index` of SplitMix64.
fn split_mix(seed: u64, index: u64) -> u64 {
    let mut word = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

impl Device for Random {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], _: &mut Host) -> Result<(), Unfinished> {
        match &mut self.0 {
            Source::Other(source) => source(bytes).map_err(|error| StreamError::Random(error).into()),
            Source::Repeatable { seed, read } => {
                for byte in bytes {
                    *byte = split_mix(*seed, *read / 8).to_le_bytes()[(*read % 8) as usize];
                    // A restored count may be any.
                    *read = read.wrapping_add(1);
                }
                Ok(())
            }
        }
    }

    fn reset(&mut self) {
        if let Source::Repeatable { read, .. } = &mut self.0 {
            *read = 0;
        }
    }

    /// How many bytes of a repeatable source the guest has read.
    fn save(&self) -> Vec<u8> {
        match self.0 {
            Source::Other(_) => Vec::new(),
            Source::Repeatable { read, .. } => read.to_le_bytes().into(),
        }
    }

    fn restore(&mut self, state: &[u8]) {
        if let (Source::Repeatable { read, .. }, Some(saved)) = (&mut self.0, state.first_chunk()) {
            *read = u64::from_le_bytes(*saved);
        }
    }
}
