//! A sieve that is too large for the stack: the exercise of the chapter "Faults".

#![no_std]
#![no_main]

use flatland_guest::test;

const LIMIT: usize = 3_000_000;

/// How many primes there are below [`LIMIT`].
#[inline(never)]
fn primes() -> usize {
    let mut is_composite = [false; LIMIT];
    count(&mut is_composite)
}

// The tests: leave them as they are.

fn count(is_composite: &mut [bool]) -> usize {
    let mut primes = 0;
    for number in 2..is_composite.len() {
        if is_composite[number] {
            continue;
        }
        primes += 1;
        let mut multiple = 2 * number;
        while multiple < is_composite.len() {
            is_composite[multiple] = true;
            multiple += number;
        }
    }
    primes
}

#[test]
fn there_are_216816_primes_below_three_million() {
    assert_eq!(primes(), 216_816);
}
