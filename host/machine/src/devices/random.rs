//! [`Port::Random`](flatland_contract::Port::Random).

use std::fmt;
use std::io;

use crate::{Device, Host, StreamError, Unfinished};

/// A source of random bytes: fills the slice.
type Entropy = dyn FnMut(&mut [u8]) -> io::Result<()> + Send;

/// A source of random bytes.
pub struct Random(Box<Entropy>);

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
        Self(Box::new(source))
    }

    /// The same bytes in each run with this seed. Not for keys. SplitMix64, by Sebastiano Vigna.
    pub fn repeatable(seed: u64) -> Self {
        let mut state = seed;
        let mut word = [0; 8];
        let mut used = word.len();
        Self::of(move |bytes| {
            for byte in bytes {
                if used == word.len() {
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut mixed = state;
                    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                    word = (mixed ^ mixed >> 31).to_le_bytes();
                    used = 0;
                }
                *byte = word[used];
                used += 1;
            }
            Ok(())
        })
    }
}

impl Device for Random {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], _: &mut Host) -> Result<(), Unfinished> {
        self.0(bytes).map_err(|error| StreamError::Random(error).into())
    }
}
