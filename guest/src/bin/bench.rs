//! Sorts, hashes, sieves or copies, for measuring engines.
//!
//! The first byte of input chooses: `s` sorts, `h` hashes, `p` counts primes. The second byte is the binary logarithm
//! of the count of numbers, at most 20. The result depends on all of them, so that an error of an engine shows. `c`
//! and `r`, followed by any byte, copy the rest of the input byte by byte, for comparison with `cat`: `r` asks before
//! each byte whether there is one, and with `c` the end of input ends the run.

#![no_std]
#![no_main]

use core::hint::black_box;

use flatland_guest::{console, entry, println};

entry!(main);

const MOST: usize = 1 << 20;

static mut SIEVE: [u8; MOST] = [0; MOST];
static mut NUMBERS: [u32; MOST] = [0; MOST];

fn main() {
    let what = console::read_byte();
    let size = console::read_byte();
    match what {
        b'c' => loop {
            console::write_byte(console::read_byte());
        },
        b'r' => {
            while console::ready() > 0 {
                console::write_byte(console::read_byte());
            }
        }
        _ => compute(what, 1 << usize::from(size)),
    }
}

fn compute(what: u8, count: usize) {
    let (sieve, numbers) = (&raw mut SIEVE, &raw mut NUMBERS);
    // SAFETY: there is one thread, and this is the only borrow.
    let sieve = unsafe { &mut *sieve };
    // SAFETY: as above.
    let numbers = unsafe { &mut *numbers };
    let result = match what {
        b's' => median(black_box(&mut numbers[..count])),
        b'h' => hash(black_box(&numbers[..count])),
        _ => count_primes(black_box(&mut sieve[..count]), 1),
    };
    println!("{result}");
}

/// Fills the slice with pseudo-random numbers (xorshift), sorts it, and returns the number in the middle.
fn median(numbers: &mut [u32]) -> u32 {
    let mut state = 1_u32;
    for number in numbers.iter_mut() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *number = state;
    }
    quicksort(numbers);
    numbers[numbers.len() / 2]
}

fn quicksort(numbers: &mut [u32]) {
    if numbers.len() < 2 {
        return;
    }
    let pivot = numbers[numbers.len() / 2];
    let (mut low, mut high) = (0, numbers.len() - 1);
    loop {
        while numbers[low] < pivot {
            low += 1;
        }
        while numbers[high] > pivot {
            high -= 1;
        }
        if low >= high {
            break;
        }
        numbers.swap(low, high);
        low += 1;
        high -= 1;
    }
    let (left, right) = numbers.split_at_mut(low);
    quicksort(left);
    quicksort(right);
}

/// Returns the FNV-1a hash of all bytes, eight times over.
fn hash(numbers: &[u32]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for _ in 0..8 {
        for byte in numbers.iter().flat_map(|number| number.to_le_bytes()) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash
}

/// Counts the primes below the length of the sieve. Composite numbers are marked with `round`, so that the sieve can
/// be used again without clearing it.
fn count_primes(composite: &mut [u8], round: u8) -> u32 {
    let mut count = 0;
    for number in 2..composite.len() {
        if composite[number] == round {
            continue;
        }
        count += 1;
        if number < 1 << 15 {
            let mut multiple = number * number;
            while multiple < composite.len() {
                composite[multiple] = round;
                multiple += number;
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use flatland_guest::test;

    use super::*;

    #[test]
    fn quicksort_sorts() {
        let mut numbers = [5, 3, 9, 1, 3, 8, 0, 7];
        quicksort(&mut numbers);
        assert_eq!(numbers, [0, 1, 3, 3, 5, 7, 8, 9]);
    }

    #[test]
    fn there_are_168_primes_below_1000() {
        assert_eq!(count_primes(&mut [0; 1000], 1), 168);
    }

    #[test]
    fn the_hash_of_nothing_is_the_initial_value() {
        assert_eq!(hash(&[]), 0x811c_9dc5);
    }
}
