//! Streams of random valid instructions, on the soft engine and on others.
//!
//! A stream is written while the soft engine executes it, so that the next instruction suits the registers: operands
//! lie in RAM, nothing faults, and no undefined flag is used.

use flatland::x86::{Engine, Registers, Stops};
use iced_x86::Mnemonic;

use super::case::{self, CODE, DATA, STACK};
use super::catalogue::{Form, forms};
use super::random::{Random, seeds};
use super::subject::{Before, Bus, End, Kvm, Soft, Subject, after, soft_engine, to_the_end};
use super::trace::{decode, effect};
use super::unicorn::UnicornSubject;
use super::verdict::{Tally, suits};

/// The most instructions of a stream.
const LENGTH: u32 = 100;
/// Where code must end, so that a short jump from there stays below [`DATA`].
const CODE_END: u32 = DATA - 0x400;

#[test]
fn random_streams_against_kvm() {
    let Some(mut kvm) = Kvm::to_compare_with() else { return };
    compare_with(&mut kvm);
}

#[test]
#[ignore = "it needs libunicorn2: `cargo xtask differential --unicorn`"]
fn random_streams_against_unicorn() {
    compare_with(&mut UnicornSubject::to_compare_with());
}

fn compare_with(other: &mut impl Subject) {
    let streams = Streams::that_suit(other);
    let mut tally = Tally::default();
    for seed in seeds(12) {
        tally.case(seed, &streams.stream(seed), &mut Soft, other);
    }
    tally.finish(&format!(
        "(d) streams of random valid instructions of {} forms, soft and {}",
        streams.forms.len(),
        other.name()
    ));
}

/// Streams of instructions of these forms.
pub struct Streams {
    forms: Vec<Form>,
}

impl Streams {
    /// Of the forms that this subject can execute. One instruction that it does not support, or executes incorrectly,
    /// would make a whole stream useless.
    pub fn that_suit(other: &mut impl Subject) -> Self {
        let mut suits = |form: &Form| {
            (0..2).all(|seed| suits(&case::case(form, &mut Random::new(seed)), &mut Soft, other))
        };
        let forms = forms().into_iter().filter(|form| belongs_in_a_stream(form) && suits(form)).collect();
        Self { forms }
    }

    /// The stream of a seed. It ends with `hlt`.
    pub fn stream(&self, seed: u64) -> Before {
        stream(&self.forms, seed)
    }
}

/// Whether KVM's instruction emulator also supports this form, and the next instruction follows it.
fn belongs_in_a_stream(form: &Form) -> bool {
    use Mnemonic as M;
    let name = format!("{:?}", form.code);
    let loads_selector = ["Mov_Sreg", "Popw_", "Popd_"].iter().any(|start| name.starts_with(start));
    !loads_selector
        && !matches!(
            form.code.mnemonic(),
            // Not on every KVM: see `exceptions`.
            M::Daa | M::Das | M::Aaa | M::Aas | M::Aam | M::Aad | M::Enter | M::Into | M::Bound | M::Arpl
            | M::Int | M::Int1 | M::Int3 | M::Iret | M::Iretd | M::Popf | M::Popfd | M::Ud0 | M::Ud1 | M::Ud2
            // They lead to an address without code.
            | M::Ret | M::Retf | M::Jmp | M::Call
            // Selectors are 8 and 16.
            | M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss | M::Lar | M::Lsl | M::Verr | M::Verw
        )
}

/// A stream that ends with `hlt`.
fn stream(forms: &[Form], seed: u64) -> Before {
    let mut random = Random::new(seed);
    let start = Before { registers: case::registers(&mut random), ram: case::ram(&mut random) };
    let mut now = start.clone();
    let mut code = start.ram.clone();
    let mut undefined_flags = 0;
    let mut left = LENGTH;
    for _ in 0..LENGTH * 50 {
        if left == 0 || now.registers.eip >= CODE_END {
            break;
        }
        if let Some((next, flags)) = append(forms, &mut random, &now, undefined_flags) {
            let (from, to) = (now.registers.eip as usize, CODE_END as usize);
            code[from..to].copy_from_slice(&next.ram[from..to]);
            now = next;
            undefined_flags = flags;
            left -= 1;
        }
    }
    code[now.registers.eip as usize] = 0xf4; // hlt
    Before { registers: start.registers, ram: code }
}

/// Executes one more instruction. Returns the state after it, and the flags that are undefined then. `None` if the
/// random choice cannot be used.
fn append(forms: &[Form], random: &mut Random, now: &Before, undefined_flags: u32) -> Option<(Before, u32)> {
    let mut wanted = now.registers;
    if random.one_in(4) {
        wanted.esp = STACK + random.below(16);
    }
    // Registers whose values must change for the instruction are loaded before it. The number of these loads decides
    // its address.
    let mut trial = random.clone();
    let form = trial.choose(forms);
    let mut suited = wanted;
    case::encode(form, &mut trial, &mut suited, wanted.eip)?;
    let mut code = moves(&now.registers, &suited);
    const MOV: usize = 5; // bytes
    let setup = code.len() / MOV;
    suited.eip += code.len() as u32;
    let instruction_at = suited.eip;
    random.choose(forms);
    let mut again = suited;
    let bytes = case::encode(form, random, &mut again, instruction_at)?;
    if !moves(&suited, &again).is_empty() {
        return None;
    }
    code.extend(&bytes);
    let instruction = decode(&bytes, instruction_at);
    let effect = effect(&instruction, &suited);
    if instruction.is_invalid() || effect.flags_read & undefined_flags != 0 || effect.undefined.is_some() {
        return None;
    }
    let mut attempt = now.clone();
    attempt.ram[now.registers.eip as usize..][..code.len()].copy_from_slice(&code);
    let mut engine = soft_engine(&attempt);
    engine.set_stops(&Stops { step: true, ..Stops::default() }).expect("it steps");
    let end = instruction_at + bytes.len() as u32;
    let mut bus = Bus::default();
    for _ in 0..=setup {
        if to_the_end(&mut engine, &mut bus).is_some() {
            return None;
        }
    }
    let next = after(&mut engine, End::Halt, bus);
    let code_is_whole = next.ram[CODE as usize..DATA as usize] == attempt.ram[CODE as usize..DATA as usize];
    let leads_on = (end..CODE_END).contains(&next.registers.eip);
    // No input: its value would depend on how much there was before.
    (code_is_whole && leads_on && next.bus.bytes == 0).then(|| {
        let flags = undefined_flags & !effect.flags_defined | effect.flags_undefined;
        (Before { registers: next.registers, ram: next.ram }, flags)
    })
}

/// `mov` for each register that differs.
fn moves(from: &Registers, to: &Registers) -> Vec<u8> {
    let values = |of: &Registers| [of.eax, of.ecx, of.edx, of.ebx, of.esp, of.ebp, of.esi, of.edi];
    let mut code = Vec::new();
    for (number, (from, to)) in values(from).into_iter().zip(values(to)).enumerate() {
        if from != to {
            code.push(0xb8 | number as u8);
            code.extend(to.to_le_bytes());
        }
    }
    code
}
