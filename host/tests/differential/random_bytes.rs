//! Random bytes as code, on the soft engine and on others.

use flatland::x86::Registers;

use super::case::{self, CODE};
use super::random::{Random, seeds};
use super::subject::{Before, Kvm, RAM, Soft, Subject};
use super::unicorn::UnicornSubject;
use super::verdict::Tally;

/// The number of random bytes.
const BYTES: usize = 64;

#[test]
fn random_bytes_against_kvm() {
    let Some(mut kvm) = Kvm::to_compare_with() else { return };
    compare_with(&mut kvm);
}

#[test]
#[ignore = "it needs libunicorn2: `cargo xtask differential --unicorn`"]
fn random_bytes_against_unicorn() {
    compare_with(&mut UnicornSubject::to_compare_with());
}

fn compare_with(other: &mut impl Subject) {
    let mut tally = Tally::default();
    for seed in seeds(1_000) {
        tally.case(seed, &before(&mut Random::new(seed)), &mut Soft, other);
    }
    tally.finish(&format!("(d) sequences of random bytes, soft and {}", other.name()));
}

pub fn before(random: &mut Random) -> Before {
    let mut ram = case::ram(random);
    ram[CODE as usize..][..BYTES].fill_with(|| random.next() as u8);
    let mut pointer = || if random.one_in(4) { random.number() } else { random.below(RAM) };
    let [eax, ebx, ecx, edx, esi, edi, ebp] = std::array::from_fn(|_| pointer());
    let registers = Registers { eax, ebx, ecx, edx, esi, edi, ebp, ..case::registers(random) };
    Before { registers, ram }
}
