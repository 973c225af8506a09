//! Far control transfer instructions (SDM volume 1, section 5.1.7, and volume 3, section 6.8) within
//! privilege level 0. Transfers to another level and task switches are not supported.

use iced_x86::{Code, Instruction};

use super::super::cpu::Cpu;
use super::super::event::{Break, Problem, Step};
use super::super::flags::{NT, RF, VM};
use super::super::int::Int;
use super::super::operation::{Handler, Op};
use super::super::segment::{Segment, error_code, is_null, number::CS};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    Some(match instruction.code() {
        Jmp_ptr1616 | Jmp_ptr1632 => jmp_direct,
        Jmp_m1616 => jmp_indirect::<u16>,
        Jmp_m1632 => jmp_indirect::<u32>,
        Call_ptr1616 => call_direct::<u16>,
        Call_ptr1632 => call_direct::<u32>,
        Call_m1616 => call_indirect::<u16>,
        Call_m1632 => call_indirect::<u32>,
        Retfw | Retfw_imm16 => retf::<u16>,
        Retfd | Retfd_imm16 => retf::<u32>,
        Iretw => iret::<u16>,
        Iretd => iret::<u32>,
        _ => return None,
    })
}

/// A far pointer in memory: the offset, followed by the selector.
fn pointer<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(u16, u32), Break> {
    let address = cpu.effective_address(op);
    let offset: T = cpu.load(op.segment, address)?;
    let selector: u16 = cpu.load(op.segment, address.wrapping_add(T::BYTES))?;
    Ok((selector, offset.zero_extend()))
}

fn jmp_direct(cpu: &mut Cpu, op: &Op) -> Step {
    jmp(cpu, op.displacement as u16, op.immediate)
}

fn jmp_indirect<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (selector, offset) = pointer::<T>(cpu, op)?;
    jmp(cpu, selector, offset)
}

fn jmp(cpu: &mut Cpu, selector: u16, offset: u32) -> Step {
    let (code, offset) = target(cpu, selector, offset)?;
    cpu.set_segment(CS, code);
    cpu.branch_anew(offset)
}

fn call_direct<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    call::<T>(cpu, op, op.displacement as u16, op.immediate)
}

fn call_indirect<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (selector, offset) = pointer::<T>(cpu, op)?;
    call::<T>(cpu, op, selector, offset)
}

fn call<T: Int>(cpu: &mut Cpu, op: &Op, selector: u16, offset: u32) -> Step {
    let (code, offset) = target(cpu, selector, offset)?;
    let before = cpu.stack_pointer();
    cpu.push(T::truncate(cpu.segment(CS).selector.into()))?;
    cpu.push(T::truncate(op.next)).inspect_err(|_| cpu.set_stack_pointer(before))?;
    cpu.set_segment(CS, code);
    cpu.branch_anew(offset)
}

/// The code segment and offset that a far `jmp` or `call` leads to.
fn target(cpu: &mut Cpu, selector: u16, offset: u32) -> Result<(Segment, u32), Break> {
    Ok((code_segment(cpu, selector, offset, Transfer::Into)?, offset))
}

/// How a code segment is reached. This decides which checks are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// By `jmp` or `call`.
    Into,
    /// By `ret` or `iret`.
    Back,
}

/// The segment that a selector loads into CS, for a transfer to an offset in it (SDM volume 2, CALL, JMP, RET and
/// IRET).
pub fn code_segment(cpu: &mut Cpu, selector: u16, offset: u32, transfer: Transfer) -> Result<Segment, Break> {
    if is_null(selector) {
        return Err(cpu.general_protection(0));
    }
    let code = error_code(selector);
    let Some((descriptor, address)) = cpu.find_descriptor(selector)? else {
        return Err(cpu.general_protection(code));
    };
    if !descriptor.is_code() {
        // Call gates, task gates and task state segments (SDM volume 3, table 3-2).
        const LEADS_ELSEWHERE: [u8; 7] = [0x1, 0x3, 0x4, 0x5, 0x9, 0xb, 0xc];
        let leads_elsewhere = !descriptor.is_code_or_data() && LEADS_ELSEWHERE.contains(&descriptor.type_());
        if leads_elsewhere && transfer == Transfer::Into {
            return Err(cpu.fail(Problem::Unsupported));
        }
        return Err(cpu.general_protection(code));
    }
    let requested = selector & 0b11;
    if transfer == Transfer::Back && requested != 0 {
        return Err(cpu.fail(Problem::Unsupported));
    }
    let allowed = descriptor.privilege_level() == 0 && (requested == 0 || descriptor.is_conforming());
    if !allowed {
        return Err(cpu.general_protection(code));
    }
    if !descriptor.is_present() {
        return Err(cpu.not_present(code));
    }
    // The descriptor is marked as accessed only after all checks.
    if offset > descriptor.limit() {
        return Err(cpu.general_protection(0));
    }
    cpu.mark_accessed(descriptor, address)?;
    // The selector's privilege level becomes the current one.
    Ok(Segment::new(selector & !0b11, descriptor))
}

/// The immediate is the number of bytes of arguments to drop.
fn retf<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = cpu.peek::<T>(0)?.zero_extend();
    let selector = cpu.peek::<T>(1)?.zero_extend() as u16;
    let code = code_segment(cpu, selector, offset, Transfer::Back)?;
    cpu.drop_stack(2 * T::BYTES + op.immediate);
    cpu.set_segment(CS, code);
    cpu.branch_anew(offset)
}

fn iret<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let eflags = cpu.eflags();
    if eflags & NT != 0 {
        return Err(cpu.fail(Problem::Unsupported));
    }
    let offset = cpu.peek::<T>(0)?.zero_extend();
    let selector = cpu.peek::<T>(1)?.zero_extend() as u16;
    let image = cpu.peek::<T>(2)?.zero_extend();
    if image & VM != 0 {
        return Err(cpu.fail(Problem::Unsupported));
    }
    let code = code_segment(cpu, selector, offset, Transfer::Back)?;
    cpu.drop_stack(3 * T::BYTES);
    cpu.set_segment(CS, code);
    // RF would be clear again after the next instruction, and nothing here reads it until then.
    cpu.set_eflags((eflags & !T::MASK | image) & !RF);
    cpu.branch_anew(offset)
}
