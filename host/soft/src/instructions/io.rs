//! I/O instructions (SDM volume 1, sections 5.1.9 and 20).
//!
//! The machine makes the transfers. An `out` is complete when the machine gets its data. An `in` is completed by
//! [`complete`], when the machine has filled in the data.

use alloc::vec::Vec;
use iced_x86::{Code, Instruction, Mnemonic};

use super::super::cpu::{Cpu, register::*};
use super::super::event::{Break, In, InTarget, OutData, Request, Step};
use super::super::int::Int;
use super::super::operation::{Handler, Immediate, Op, Register, Source};
use super::super::segment::number::ES;
use super::string::{advance, has_16_bit_addresses, is_single};
use flatland_x86::Access;

/// The most bytes that a repeated `ins` asks for at once, or a repeated `outs` copies.
const PORTION: u32 = 4096;

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    Some(match instruction.code() {
        In_AL_imm8 => input::<u8, Immediate>,
        In_AX_imm8 => input::<u16, Immediate>,
        In_EAX_imm8 => input::<u32, Immediate>,
        In_AL_DX => input::<u8, Register>,
        In_AX_DX => input::<u16, Register>,
        In_EAX_DX => input::<u32, Register>,
        Out_imm8_AL => output::<u8, Immediate>,
        Out_imm8_AX => output::<u16, Immediate>,
        Out_imm8_EAX => output::<u32, Immediate>,
        Out_DX_AL => output::<u8, Register>,
        Out_DX_AX => output::<u16, Register>,
        Out_DX_EAX => output::<u32, Register>,
        _ if has_16_bit_addresses(instruction) => string::<u16>(instruction)?,
        _ => string::<u32>(instruction)?,
    })
}

fn string<A: Int>(instruction: &Instruction) -> Option<Handler> {
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    Some(match (instruction.mnemonic(), repeats) {
        (Mnemonic::Insb, false) => ins::<u8, A, false>,
        (Mnemonic::Insb, true) => ins::<u8, A, true>,
        (Mnemonic::Insw, false) => ins::<u16, A, false>,
        (Mnemonic::Insw, true) => ins::<u16, A, true>,
        (Mnemonic::Insd, false) => ins::<u32, A, false>,
        (Mnemonic::Insd, true) => ins::<u32, A, true>,
        (Mnemonic::Outsb, false) => outs::<u8, A, false>,
        (Mnemonic::Outsb, true) => outs::<u8, A, true>,
        (Mnemonic::Outsw, false) => outs::<u16, A, false>,
        (Mnemonic::Outsw, true) => outs::<u16, A, true>,
        (Mnemonic::Outsd, false) => outs::<u32, A, false>,
        (Mnemonic::Outsd, true) => outs::<u32, A, true>,
        _ => return None,
    })
}

/// The port of `in` is its second operand.
fn input<T: Int, P: Port>(cpu: &mut Cpu, op: &Op) -> Step {
    let port = P::number(cpu, op);
    cpu.check_port(port, T::BYTES)?;
    cpu.note_transfer(port, T::BYTES);
    let target = InTarget::Accumulator;
    cpu.request =
        Some(Request::In(In { port, width: T::BYTES as u8, count: 1, target, eip: op.eip, next: op.next }));
    Err(Break::Request)
}

fn output<T: Int, P: Port>(cpu: &mut Cpu, op: &Op) -> Step {
    let port = P::number(cpu, op);
    cpu.check_port(port, T::BYTES)?;
    cpu.note_transfer(port, T::BYTES);
    let data = OutData::Accumulator(cpu.reg(EAX).to_le_bytes());
    cpu.request = Some(Request::Out { port, width: T::BYTES as u8, data, complete: true });
    cpu.eip = op.next;
    Err(Break::Request)
}

/// A port's number: DX or a byte in the instruction.
trait Port: 'static {
    fn number(cpu: &mut Cpu, op: &Op) -> u16;
}

impl Port for Register {
    fn number(cpu: &mut Cpu, _: &Op) -> u16 {
        cpu.reg_part(EDX)
    }
}

impl Port for Immediate {
    fn number(cpu: &mut Cpu, op: &Op) -> u16 {
        <Self as Source<u8>>::read(cpu, op).unwrap_or_default().into()
    }
}

/// How many transfers of a repeated instruction can be made at once.
fn most_at_once(cpu: &Cpu, wanted: u32) -> u32 {
    if is_single(cpu) { wanted.min(1) } else { wanted }
}

/// Requests at most as many transfers as are known to fit in memory.
fn ins<T: Int, A: Int, const REPEATS: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_port(cpu.reg_part(EDX), T::BYTES)?;
    let wanted = if REPEATS { cpu.reg_masked(ECX, A::MASK) } else { 1 };
    if wanted == 0 {
        return Ok(());
    }
    let most = most_at_once(cpu, wanted);
    let to = cpu.reg_masked(EDI, A::MASK);
    let in_one_run = REPEATS && A::BYTES == 4 && !cpu.direction_down();
    let run =
        if in_one_run { cpu.run::<T>(ES, to, most.min(PORTION / T::BYTES), Access::Write).1 } else { 0 };
    if run == 0 {
        cpu.place(ES, to, T::BYTES, Access::Write)?;
    }
    cpu.note_transfer(cpu.reg_part(EDX), T::BYTES);
    cpu.request = Some(Request::In(In {
        port: cpu.reg_part(EDX),
        width: T::BYTES as u8,
        count: run.max(1),
        target: InTarget::String { repeats: REPEATS, address_32: A::BYTES == 4 },
        eip: op.eip,
        next: op.next,
    }));
    Err(Break::Request)
}

/// Completes an instruction that waited for data. Returns whether it is complete. A repeated one may need more.
pub fn complete(cpu: &mut Cpu, input: &In, data: &[u8]) -> bool {
    match input.width {
        1 => complete_of::<u8>(cpu, input, data),
        2 => complete_of::<u16>(cpu, input, data),
        _ => complete_of::<u32>(cpu, input, data),
    }
}

fn complete_of<T: Int>(cpu: &mut Cpu, input: &In, data: &[u8]) -> bool {
    if input.target == (InTarget::String { repeats: true, address_32: true }) && store_run::<T>(cpu, data) {
        let through = cpu.reg(ECX) == 0;
        cpu.eip = if through { input.next } else { input.eip };
        return through;
    }
    let mut values = data.chunks_exact(T::BYTES as usize).filter_map(T::from_bytes);
    let through = match input.target {
        InTarget::Accumulator => {
            if let Some(value) = values.next() {
                cpu.set_reg_part(EAX, value);
            }
            true
        }
        InTarget::String { repeats, address_32: true } => store_string::<T, u32>(cpu, repeats, values),
        InTarget::String { repeats, address_32: false } => store_string::<T, u16>(cpu, repeats, values),
    };
    cpu.eip = if through { input.next } else { input.eip };
    through
}

/// Stores all elements at once, if they lie in one run of RAM. Returns whether they do.
fn store_run<T: Int>(cpu: &mut Cpu, data: &[u8]) -> bool {
    let count = data.len() as u32 / T::BYTES;
    let (to, run) = cpu.run::<T>(ES, cpu.reg(EDI), count, Access::Write);
    if cpu.direction_down() || run < count {
        return false;
    }
    cpu.memory.store_bytes(to, data);
    advance::<T, u32>(cpu, EDI, count);
    cpu.set_reg(ECX, cpu.reg(ECX).wrapping_sub(count));
    true
}

fn store_string<T: Int, A: Int>(cpu: &mut Cpu, repeats: bool, values: impl Iterator<Item = T>) -> bool {
    for value in values {
        // The memory was checked when the data was requested. If the host has changed EDI since, the fault comes when
        // the instruction is executed again.
        if cpu.store(ES, cpu.reg_masked(EDI, A::MASK), value).is_err() {
            return false;
        }
        advance::<T, A>(cpu, EDI, 1);
        if repeats {
            cpu.set_reg_masked(ECX, A::MASK, cpu.reg(ECX).wrapping_sub(1));
        }
    }
    !repeats || cpu.reg_masked(ECX, A::MASK) == 0
}

/// Sends the elements that lie in one run of RAM. If there is no such run, gathers elements one by one.
fn outs<T: Int, A: Int, const REPEATS: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_port(cpu.reg_part(EDX), T::BYTES)?;
    let wanted = if REPEATS { cpu.reg_masked(ECX, A::MASK) } else { 1 };
    if wanted == 0 {
        return Ok(());
    }
    let most = most_at_once(cpu, wanted);
    let from = cpu.reg_masked(ESI, A::MASK);
    let in_one_run = A::BYTES == 4 && !cpu.direction_down();
    let (from, run) = if in_one_run { cpu.run::<T>(op.segment, from, most, Access::Read) } else { (0, 0) };
    let data = if run > 0 {
        advance::<T, A>(cpu, ESI, run);
        OutData::Ram(from, run * T::BYTES)
    } else {
        OutData::Bytes(gather::<T, A>(cpu, op.segment, most.min(PORTION / T::BYTES))?)
    };
    let len = match &data {
        OutData::Bytes(bytes) => bytes.len() as u32,
        _ => run * T::BYTES,
    };
    cpu.note_transfer(cpu.reg_part(EDX), T::BYTES);
    let left = wanted - len / T::BYTES;
    if REPEATS {
        cpu.set_reg_masked(ECX, A::MASK, left);
    }
    let complete = left == 0;
    cpu.eip = if complete { op.next } else { op.eip };
    cpu.request = Some(Request::Out { port: cpu.reg_part(EDX), width: T::BYTES as u8, data, complete });
    Err(Break::Request)
}

/// At least one element, and at most `count`, up to one that faults. The fault comes when the instruction is executed
/// again.
fn gather<T: Int, A: Int>(cpu: &mut Cpu, segment: u8, count: u32) -> Result<Vec<u8>, Break> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        let value: T = match cpu.load(segment, cpu.reg_masked(ESI, A::MASK)) {
            Ok(value) => value,
            Err(problem) if bytes.is_empty() => return Err(problem),
            Err(_) => break,
        };
        bytes.extend_from_slice(&value.zero_extend().to_le_bytes()[..T::BYTES as usize]);
        advance::<T, A>(cpu, ESI, 1);
    }
    Ok(bytes)
}
