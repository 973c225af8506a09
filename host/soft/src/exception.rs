//! Exceptions and interrupts through the guest's IDT (SDM volume 3, chapter 7).

use super::cpu::{Cpu, PAGE_FAULT};
use super::event::{Break, Event, EventKind, Problem};
use super::flags::{IF, NT, RF, TF, VM};
use super::privilege::system_type::*;
use super::segment::error_code;
use super::segment::number::{CS, SS};

/// An error code's flag for an exception during the delivery of an event other than a software interrupt (SDM volume
/// 3, section 7.13).
const EXTERNAL: u32 = 1 << 0;
/// An error code's flag for an index into the IDT.
const IDT: u32 = 1 << 1;

const DOUBLE_FAULT: u8 = 8;

/// Why an event has not reached a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// An exception while a double fault was being delivered.
    TripleFault,
    /// The handler is another task, which this engine does not support.
    Unsupported,
}

/// Delivers an event of the instruction between two addresses: on success EIP is at a handler. Returns the event that
/// was delivered: a fault during delivery replaces the first one.
pub fn deliver(cpu: &mut Cpu, event: Event, eip: u32, next: u32) -> Result<Event, Undelivered> {
    let mut event = event;
    loop {
        // A software interrupt that cannot be delivered counts as not executed: the fault returns to it.
        if enter_handler(cpu, event, event.kind.return_eip(eip, next)).is_ok() {
            return Ok(event);
        }
        let second = match cpu.problem {
            Problem::Event(second) => second,
            Problem::Unsupported => return Err(Undelivered::Unsupported),
            // The stack or a table lies outside memory. A processor ends in a triple fault after some steps.
            Problem::Refused(..) => return Err(Undelivered::TripleFault),
        };
        // Also if the two are a double fault: CR2 is that of the second.
        cpu.note_page_fault(second);
        event = match (event.vector, event.kind) {
            (DOUBLE_FAULT, EventKind::Fault) => return Err(Undelivered::TripleFault),
            (first, EventKind::Fault) if is_double_fault(first, second.vector) => {
                Event { vector: DOUBLE_FAULT, error_code: Some(0), kind: EventKind::Fault }
            }
            _ => second,
        };
    }
}

/// Writes the frame of an event for which the host has the handler, and takes it off the stack again. An event that
/// finds no memory for its frame leaves none.
pub fn leave_frame(cpu: &mut Cpu, event: Event, eip: u32, next: u32) {
    let stack_pointer = cpu.stack_pointer();
    let _ = push_frame(cpu, true, event, event.kind.return_eip(eip, next));
    cpu.set_stack_pointer(stack_pointer);
}

/// Whether two exceptions, one in the delivery of the other, are a double fault (SDM volume 3, tables 7-4 and 7-5).
fn is_double_fault(first: u8, second: u8) -> bool {
    let is_contributory = |vector| matches!(vector, 0 | 10..=13);
    match first {
        PAGE_FAULT => second == PAGE_FAULT || is_contributory(second),
        _ => is_contributory(first) && is_contributory(second),
    }
}

/// Goes through a vector's gate (SDM volume 3, section 7.12.1).
fn enter_handler(cpu: &mut Cpu, event: Event, return_eip: u32) -> Result<(), Break> {
    let external = if event.kind == EventKind::Software { 0 } else { EXTERNAL };
    let gate_error = (u32::from(event.vector) * 8) | IDT | external;
    let offset = u32::from(event.vector) * 8;
    if offset + 7 > u32::from(cpu.idt.limit) {
        return Err(cpu.general_protection(gate_error));
    }
    let gate = cpu.read_table(cpu.idt.base.wrapping_add(offset))?;

    let (is_32_bit, disables_interrupts) = match gate.type_() {
        _ if gate.is_code_or_data() => return Err(cpu.general_protection(gate_error)),
        INTERRUPT_GATE_16 => (false, true),
        TRAP_GATE_16 => (false, false),
        INTERRUPT_GATE_32 => (true, true),
        TRAP_GATE_32 => (true, false),
        TASK_GATE => (true, false),
        _ => return Err(cpu.general_protection(gate_error)),
    };
    if event.kind == EventKind::Software && gate.privilege_level() < cpu.privilege_level() {
        return Err(cpu.general_protection(gate_error));
    }
    if !gate.is_present() {
        return Err(cpu.not_present(gate_error));
    }
    if gate.type_() == TASK_GATE {
        return Err(cpu.task_switch());
    }

    let selector = (gate.0 >> 16) as u16;
    let handler = gate.0 as u32 & 0xffff | if is_32_bit { (gate.0 >> 32) as u32 & 0xffff_0000 } else { 0 };
    let target = cpu.gate_target(selector, true, external)?;
    cpu.attempt(|cpu| {
        let full = if target.level < cpu.privilege_level() {
            let (stack, stack_pointer) = cpu.enter_inner_stack(target.level, external)?;
            let full = error_code(cpu.segment(SS).selector) | external;
            push(cpu, is_32_bit, stack.into())
                .and_then(|()| push(cpu, is_32_bit, stack_pointer))
                .map_err(|reason| cpu.stack_is_full(reason, full))?;
            full
        } else {
            external
        };
        push_frame(cpu, is_32_bit, event, return_eip).map_err(|reason| cpu.stack_is_full(reason, full))?;
        cpu.enter_code(target, handler, external)
    })?;
    cpu.set_eflags(cpu.eflags() & !(TF | NT | RF | VM | if disables_interrupts { IF } else { 0 }));
    cpu.eip = handler;
    Ok(())
}

fn push(cpu: &mut Cpu, is_32_bit: bool, value: u32) -> Result<(), Break> {
    if is_32_bit { cpu.push(value) } else { cpu.push(value as u16) }
}

fn push_frame(cpu: &mut Cpu, is_32_bit: bool, event: Event, return_eip: u32) -> Result<(), Break> {
    // RF lets the handler return to an instruction with a breakpoint (SDM volume 3, section 19.3.1.1). A software interrupt
    // returns to the next instruction, and so does a trap, unless a repeated one is not complete.
    let eflags = match event.kind {
        EventKind::Fault => cpu.eflags() | RF,
        EventKind::Trap => cpu.eflags(),
        EventKind::Software | EventKind::PrivilegedSoftware => cpu.eflags() & !RF,
    };
    push(cpu, is_32_bit, eflags)?;
    push(cpu, is_32_bit, cpu.segment(CS).selector.into())?;
    push(cpu, is_32_bit, return_eip)?;
    event.error_code.map_or(Ok(()), |code| push(cpu, is_32_bit, code))
}
