//! Far control transfer instructions (SDM volume 1, section 5.1.7, and volume 3, section 6.8), `sysenter` and `sysexit`.
//! Task switches by the processor and virtual-8086 mode are not supported.

use iced_x86::{Code, Instruction};

use super::super::cpu::{Cpu, register::*};
use super::super::event::{Break, Problem, Step};
use super::super::flags::*;
use super::super::int::Int;
use super::super::operation::{Handler, Op};
use super::super::privilege::{Target, system_type::*};
use super::super::segment::number::{CS, SS};
use super::super::segment::{Descriptor, error_code, is_null};

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
        Sysenter => sysenter,
        Sysexitd => sysexit,
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

/// What a far pointer selects.
enum Selected {
    Code(Descriptor, u32),
    /// A call gate: the selector and offset that it leads to, how many parameters it copies, and whether it is one of 32
    /// bits.
    Gate {
        selector: u16,
        offset: u32,
        parameters: u32,
        is_32_bit: bool,
    },
}

fn select_target(cpu: &mut Cpu, selector: u16) -> Result<Selected, Break> {
    if is_null(selector) {
        return Err(cpu.general_protection(0));
    }
    let code = error_code(selector);
    let Some((descriptor, address)) = cpu.find_descriptor(selector)? else {
        return Err(cpu.general_protection(code));
    };
    if descriptor.is_code() {
        return Ok(Selected::Code(descriptor, address));
    }
    let is_reachable = descriptor.privilege_level() >= cpu.privilege_level().max((selector & 0b11) as u8);
    let is_32_bit = match descriptor.type_() {
        _ if descriptor.is_code_or_data() || !is_reachable => return Err(cpu.general_protection(code)),
        CALL_GATE_16 => false,
        CALL_GATE_32 => true,
        TASK_GATE | AVAILABLE_TSS_16 | AVAILABLE_TSS_32 if !descriptor.is_present() => {
            return Err(cpu.not_present(code));
        }
        TASK_GATE | AVAILABLE_TSS_16 | AVAILABLE_TSS_32 => return Err(cpu.task_switch()),
        _ => return Err(cpu.general_protection(code)),
    };
    if !descriptor.is_present() {
        return Err(cpu.not_present(code));
    }
    let high = if is_32_bit { descriptor.high() & 0xffff_0000 } else { 0 };
    Ok(Selected::Gate {
        selector: (descriptor.0 >> 16) as u16,
        offset: descriptor.0 as u32 & 0xffff | high,
        parameters: descriptor.high() & 0x1f,
        is_32_bit,
    })
}

fn jmp_direct(cpu: &mut Cpu, op: &Op) -> Step {
    jmp(cpu, op.displacement as u16, op.immediate)
}

fn jmp_indirect<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (selector, offset) = pointer::<T>(cpu, op)?;
    jmp(cpu, selector, offset)
}

fn jmp(cpu: &mut Cpu, selector: u16, offset: u32) -> Step {
    let (target, offset) = match select_target(cpu, selector)? {
        Selected::Code(descriptor, address) => (cpu.direct_target(selector, descriptor, address)?, offset),
        Selected::Gate { selector, offset, .. } => (cpu.gate_target(selector, false, 0)?, offset),
    };
    cpu.enter_code(target, offset, 0)?;
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
    match select_target(cpu, selector)? {
        Selected::Code(descriptor, address) => {
            let target = cpu.direct_target(selector, descriptor, address)?;
            cpu.attempt(|cpu| {
                push_return::<T>(cpu, op)?;
                cpu.enter_code(target, offset, 0)
            })?;
            cpu.branch_anew(offset)
        }
        Selected::Gate { selector, offset, parameters, is_32_bit: true } => {
            call_gate::<u32>(cpu, op, selector, offset, parameters)
        }
        Selected::Gate { selector, offset, parameters, is_32_bit: false } => {
            call_gate::<u16>(cpu, op, selector, offset, parameters)
        }
    }
}

fn push_return<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.push(T::truncate(cpu.segment(CS).selector.into()))?;
    cpu.push(T::truncate(op.next))
}

/// `T` is the gate's size.
fn call_gate<T: Int>(cpu: &mut Cpu, op: &Op, selector: u16, offset: u32, parameters: u32) -> Step {
    let target = cpu.gate_target(selector, true, 0)?;
    cpu.attempt(|cpu| {
        if target.level < cpu.privilege_level() {
            let outer = cpu.stack();
            let (stack, stack_pointer) = cpu.enter_inner_stack(target.level, 0)?;
            let inner = cpu.stack();
            // The inner stack is checked before the outer one is read.
            cpu.set_stack(outer);
            let mut copied = [T::truncate(0); 31];
            for index in 0..parameters {
                copied[index as usize] = cpu.peek(index)?;
            }
            cpu.set_stack(inner);
            let full = error_code(cpu.segment(SS).selector);
            let pushes = [T::truncate(stack.into()), T::truncate(stack_pointer)];
            let copied = copied[..parameters as usize].iter().rev();
            pushes
                .iter()
                .chain(copied)
                .try_for_each(|value| cpu.push(*value))
                .and_then(|()| push_return::<T>(cpu, op))
                .map_err(|reason| cpu.stack_is_full(reason, full))?;
        } else {
            push_return::<T>(cpu, op)?;
        }
        cpu.enter_code(target, offset, 0)
    })?;
    cpu.branch_anew(offset)
}

/// Goes back to code, at an outer level with the stack that lies on the top of this one, of which `arguments` bytes are
/// dropped.
fn go_back<T: Int>(cpu: &mut Cpu, target: Target, offset: u32, arguments: u32) -> Step {
    if target.level == cpu.privilege_level() {
        return cpu.enter_code(target, offset, 0);
    }
    let stack_pointer = cpu.peek::<T>(0)?.zero_extend();
    let stack = cpu.peek::<T>(1)?.zero_extend() as u16;
    cpu.enter_outer_stack(target.level, stack, stack_pointer)?;
    cpu.enter_code(target, offset, 0)?;
    cpu.drop_stack(arguments);
    cpu.drop_inner_segments();
    Ok(())
}

/// The immediate is the number of bytes of arguments to drop, from both stacks where there are two.
fn retf<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = cpu.peek::<T>(0)?.zero_extend();
    let selector = cpu.peek::<T>(1)?.zero_extend() as u16;
    let target = cpu.return_target(selector)?;
    cpu.attempt(|cpu| {
        cpu.drop_stack(2 * T::BYTES + op.immediate);
        go_back::<T>(cpu, target, offset, op.immediate)
    })?;
    cpu.branch_anew(offset)
}

fn iret<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let before = cpu.eflags();
    if before & NT != 0 {
        return Err(cpu.task_switch());
    }
    let offset = cpu.peek::<T>(0)?.zero_extend();
    let selector = cpu.peek::<T>(1)?.zero_extend() as u16;
    let image = cpu.peek::<T>(2)?.zero_extend();
    let is_innermost = cpu.privilege_level() == 0;
    if image & VM != 0 && is_innermost {
        return Err(cpu.fail(Problem::Unsupported));
    }
    let target = cpu.return_target(selector)?;
    let mut changed = CF | PF | AF | ZF | SF | OF | TF | DF | NT | AC | ID;
    changed |= if cpu.has_io_privilege() { IF } else { 0 };
    changed |= if is_innermost { IOPL | VIF | VIP } else { 0 };
    changed &= T::MASK;
    cpu.attempt(|cpu| {
        cpu.drop_stack(3 * T::BYTES);
        go_back::<T>(cpu, target, offset, 0)
    })?;
    // It would be clear again after the next instruction, and only breakpoints look at it until then.
    let resume = if cpu.has_breakpoints() { image & T::MASK & RF } else { 0 };
    cpu.set_eflags((before & !changed | image & changed) & !RF | resume);
    cpu.branch_anew(offset)
}

fn sysenter(cpu: &mut Cpu, _: &Op) -> Step {
    let [code, esp, eip] = cpu.sysenter;
    if is_null(code as u16) {
        return Err(cpu.general_protection(0));
    }
    cpu.control_flags &= !(VM | IF);
    cpu.enter_flat(code as u16, 0);
    cpu.set_reg(ESP, esp);
    cpu.branch_anew(eip)
}

fn sysexit(cpu: &mut Cpu, _: &Op) -> Step {
    let code = cpu.sysenter[0] as u16;
    if is_null(code) {
        return Err(cpu.general_protection(0));
    }
    cpu.enter_flat(code.wrapping_add(16), 3);
    cpu.set_reg(ESP, cpu.reg(ECX));
    cpu.branch_anew(cpu.reg(EDX))
}
