//! Miscellaneous instructions (SDM volume 1, section 5.1.13), `bound` and `hlt`, and instructions for caches,
//! prefetching and memory order, which do nothing here.

use iced_x86::{Code, Instruction, Mnemonic};

use super::super::cpu::{Cpu, register::*};
use super::super::event::{Break, Request, Step};
use super::super::int::Int;
use super::super::operation::{Handler, Op};

/// The handler of an instruction of this module.
///
/// `ud0`, `ud1` and `ud2` have no handler, so they are invalid.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    Some(match instruction.mnemonic() {
        // `wait` waits for the x87 unit, which this processor does not have.
        Nop | Reservednop | Pause | Wait => nop,
        Prefetch | Prefetchw | Prefetchwt1 | Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 => nop,
        Mfence | Lfence | Sfence | Clflush => nop,
        Cpuid => cpuid,
        Rdtsc => rdtsc,
        Hlt => hlt,
        Bound => match instruction.code() {
            Code::Bound_r16_m1616 => bound::<u16>,
            _ => bound::<u32>,
        },
        _ => return None,
    })
}

fn nop(_: &mut Cpu, _: &Op) -> Step {
    Ok(())
}

/// The answers of an i686 without an x87 unit (SDM volume 2, CPUID).
fn cpuid(cpu: &mut Cpu, _: &Op) -> Step {
    const HIGHEST_LEAF: u32 = 1;
    const VENDOR: &[u8; 12] = b"FlatlandSoft";
    /// Family 6, model 1: a Pentium Pro.
    const SIGNATURE: u32 = 0x610;
    const TSC: u32 = 1 << 4;
    const CX8: u32 = 1 << 8;
    const CMOV: u32 = 1 << 15;
    let word = |index: usize| {
        let bytes = &VENDOR[index * 4..][..4];
        u32::from_bytes(bytes).unwrap_or_default()
    };
    let (eax, ebx, ecx, edx) = match cpu.reg(EAX) {
        0 => (HIGHEST_LEAF, word(0), word(2), word(1)),
        // The highest extended leaf: there are none.
        0x8000_0000.. => (0, 0, 0, 0),
        // Leaves above the highest basic one answer as the highest does.
        _ => (SIGNATURE, 0, 0, TSC | CX8 | CMOV),
    };
    for (register, value) in [(EAX, eax), (EBX, ebx), (ECX, ecx), (EDX, edx)] {
        cpu.set_reg(register, value);
    }
    Ok(())
}

fn rdtsc(cpu: &mut Cpu, op: &Op) -> Step {
    let time = cpu.time_stamp(op);
    cpu.set_reg(EAX, time as u32);
    cpu.set_reg(EDX, (time >> 32) as u32);
    Ok(())
}

fn hlt(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.eip = op.next;
    cpu.request = Some(Request::Halt);
    Err(Break::Request)
}

/// The bounds are signed, and both belong to the range.
fn bound<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let address = cpu.effective_address(op);
    let lower = cpu.load::<T>(op.segment, address)?.sign_extend() as i32;
    let upper = cpu.load::<T>(op.segment, address.wrapping_add(T::BYTES))?.sign_extend() as i32;
    let index = cpu.reg_part::<T>(op.destination).sign_extend() as i32;
    if (lower..=upper).contains(&index) { Ok(()) } else { Err(cpu.bound_range()) }
}
