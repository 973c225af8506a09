//! What each processor computes in its own way: transcendental functions of the x87, and approximations of SSE. The soft
//! engine's results are within a bound of those of the processor that runs the test. What is exact (special operands,
//! exceptions, the stack) is the same.

use std::collections::BTreeMap;

use flatland::x86::Fpu;
use iced_x86::Mnemonic;

use super::floats::{area, both, extended, single};
use super::processor::Processor;
use super::random::{Random, seeds};
use super::trace::decode;

/// The most by which results of transcendental functions may differ, in units of the last place.
const MOST: u64 = 1;

/// The functions, and the exponents of operands for which they are defined.
const FUNCTIONS: [(&[u8], Mnemonic); 8] = [
    (&[0xd9, 0xfe], Mnemonic::Fsin),
    (&[0xd9, 0xff], Mnemonic::Fcos),
    (&[0xd9, 0xfb], Mnemonic::Fsincos),
    (&[0xd9, 0xf2], Mnemonic::Fptan),
    (&[0xd9, 0xf3], Mnemonic::Fpatan),
    (&[0xd9, 0xf0], Mnemonic::F2xm1),
    (&[0xd9, 0xf1], Mnemonic::Fyl2x),
    (&[0xd9, 0xf9], Mnemonic::Fyl2xp1),
];

const BIAS: u32 = 0x3fff;

/// An operand: often a special one, or one of an exponent near that of 1, below `most`.
fn operand(random: &mut Random, most: u32) -> [u8; 10] {
    let mut bytes = extended(random);
    if !random.one_in(8) {
        let exponent = BIAS + most - random.below(70);
        let head = (random.next() & 0x8000 | exponent) as u16;
        bytes[7] |= 0x80;
        bytes[8..].copy_from_slice(&head.to_le_bytes());
    }
    bytes
}

fn exponent(bytes: &[u8]) -> u32 {
    u32::from(u16::from_le_bytes([bytes[8], bytes[9]]) & 0x7fff)
}

/// Whether the manual defines the function for ST0.
fn is_defined(function: Mnemonic, st0: &[u8]) -> bool {
    let exponent = exponent(st0);
    match function {
        Mnemonic::F2xm1 => exponent < BIAS,
        // Between -1/4 and 1/4 at least.
        Mnemonic::Fyl2xp1 => exponent < BIAS - 2,
        _ => true,
    }
}

/// A number of 80 bits in the order of their values; consecutive ones are one unit in the last place apart.
fn order(bytes: &[u8; 16]) -> (bool, u128) {
    let significand = u64::from_le_bytes(bytes[..8].try_into().expect("it has 8 bytes"));
    (bytes[9] & 0x80 != 0, u128::from(exponent(bytes)) << 63 | u128::from(significand & (u64::MAX >> 1)))
}

#[test]
fn transcendental_functions_are_within_a_bound() {
    let mut processor = Processor::default();
    let mut distances = BTreeMap::<_, [u32; 3]>::new();
    let mut different = Vec::new();
    for seed in seeds(2_000) {
        let mut random = Random::new(seed);
        let (code, function) = random.choose(&FUNCTIONS);
        let mut start = area(&mut random);
        let most = if *function == Mnemonic::F2xm1 { 0 } else { 62 };
        let least = if *function == Mnemonic::Fyl2xp1 { 64 } else { 0 };
        let st0 = operand(&mut random, most - least.min(most));
        start[32..42].copy_from_slice(&st0);
        start[48..58].copy_from_slice(&operand(&mut random, 30));
        if !is_defined(*function, &st0) {
            continue;
        }
        let (ours, theirs) = both(&mut processor, &start, code);
        let name = format!("{function:?}");
        match distance(&ours, &theirs) {
            Ok(distance) => {
                distances.entry(name).or_default()[distance.min(2) as usize] += 1;
                if distance > MOST {
                    different.push(format!("FLATLAND_SEED={seed}: {function:?}: {distance} units"));
                }
            }
            Err(how) => different.push(format!("FLATLAND_SEED={seed}: {function:?}: {how}")),
        }
    }
    println!("by 0, 1 and more units in the last place: {distances:?}");
    println!("{} different", different.len());
    different.truncate(20);
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// How far the results are from each other at most; or what differs that may not.
fn distance(ours: &Fpu, theirs: &Fpu) -> Result<u64, String> {
    // Whether a result was rounded up is each processor's own.
    const C1: u16 = 1 << 9;
    let states = [ours, theirs].map(|fpu| (fpu.status & !C1, fpu.tags, fpu.control));
    if states[0] != states[1] {
        return Err(format!("{states:x?}"));
    }
    let mut most = 0;
    for number in 0..8 {
        let (a, b) = (order(&ours.st[number]), order(&theirs.st[number]));
        if a.0 != b.0 {
            return Err(format!("signs of {a:x?} and {b:x?}"));
        }
        most = most.max(a.1.abs_diff(b.1).min(u64::MAX.into()) as u64);
    }
    Ok(most)
}

#[test]
fn approximations_are_within_a_bound() {
    const RCPSS: &[u8] = &[0xf3, 0x0f, 0x53, 0xc1];
    const RSQRTSS: &[u8] = &[0xf3, 0x0f, 0x52, 0xc1];
    let mut processor = Processor::default();
    for seed in seeds(500) {
        let mut random = Random::new(seed);
        let code = *random.choose(&[RCPSS, RSQRTSS]);
        let mut start = area(&mut random);
        let operand = single(&mut random);
        start[176..180].copy_from_slice(&operand.to_le_bytes());
        let (ours, theirs) = both(&mut processor, &start, code);
        assert_eq!(ours.mxcsr, theirs.mxcsr, "FLATLAND_SEED={seed}");
        let [a, b] = [&ours, &theirs].map(|fpu| {
            let [low @ .., _, _, _, _, _, _, _, _, _, _, _, _] = fpu.xmm[0];
            f32::from_le_bytes(low)
        });
        // Both have a relative error of at most 1.5 * 2^-12, and what is tiny may be zero.
        let limit = f64::from(b).abs() * 3.0 / 4096.0 + f64::from(f32::MIN_POSITIVE);
        let is_near = (f64::from(a) - f64::from(b)).abs() <= limit;
        let what =
            || format!("FLATLAND_SEED={seed}: {:?} of {operand:#x}: {a} and {b}", decode(code, 0).code());
        assert!(a.to_bits() == b.to_bits() || is_near && a.is_finite(), "{}", what());
    }
}
