//! Reproducible random numbers: all of a case comes from one seed.

// Each test program uses only a part of this.
#![allow(dead_code)]

use std::env;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators"): any seed is good, also
/// consecutive ones.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u32
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }

    pub fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u32) as usize]
    }

    /// Overwrites some bytes, at least one and at most this many.
    pub fn overwrite(&mut self, bytes: &mut [u8], most: u32) {
        for _ in 0..=self.below(most) {
            bytes[self.below(bytes.len() as u32) as usize] = self.next() as u8;
        }
    }

    /// A random number, often at the limit of an operand size.
    pub fn number(&mut self) -> u32 {
        const EDGES: [u32; 12] =
            [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        match self.below(3) {
            0 => *self.choose(&EDGES),
            1 => self.below(256),
            _ => self.next(),
        }
    }
}

/// The seeds of the cases of a test: `FLATLAND_CASES` of them, or the quick slice, from `FLATLAND_SEED` on.
pub fn seeds(quick_slice: u64) -> std::ops::Range<u64> {
    let number = |name, default| {
        env::var(name).map_or(default, |value| {
            value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}: set it to a number, or unset it"))
        })
    };
    let first = number("FLATLAND_SEED", 1);
    first..first + number("FLATLAND_CASES", quick_slice)
}
