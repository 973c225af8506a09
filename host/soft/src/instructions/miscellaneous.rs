//! Miscellaneous instructions (SDM volume 1, section 5.1.13), `bound` and `hlt`, and instructions for caches,
//! prefetching and memory order, which do nothing here.

use flatland_x86::{cpuid, cr4};
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
        Nop | Reservednop | Pause => nop,
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

fn cpuid(cpu: &mut Cpu, _: &Op) -> Step {
    let answer = cpuid::answer(cpu.reg(EAX));
    for (register, value) in [EAX, EBX, ECX, EDX].into_iter().zip(answer) {
        cpu.set_reg(register, value);
    }
    Ok(())
}

fn rdtsc(cpu: &mut Cpu, op: &Op) -> Step {
    if cpu.cr4 & cr4::TSD != 0 && cpu.privilege_level() != 0 {
        return Err(cpu.general_protection(0));
    }
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
