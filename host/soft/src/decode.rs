//! Decodes bytes into operations, with the decoder of iced-x86.

use alloc::vec::Vec;
use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, OpKind, Register};

use super::cpu::{Cpu, register};
use super::event::{Break, Problem, Step};
use super::instructions;
use super::operation::{Handler, Op};
use super::segment::number;
use super::tlb::OFFSET;
use flatland_x86::Access;
use flatland_x86::instruction::is_floating_point_or_vector;

/// The most bytes of an instruction (SDM volume 2, section 2.3.11).
const MAX_LENGTH: usize = 15;

/// Decodes for the processor that `cpuid` describes. An i686 without TZCNT, LZCNT and WBNOINVD ignores their prefix,
/// and all hint NOPs are NOPs (SDM volume 2, table A-3, 0F 18 to 0F 1F).
const OPTIONS: u32 = DecoderOptions::NO_MPFX_0FBC
    | DecoderOptions::NO_MPFX_0FBD
    | DecoderOptions::NO_WBNOINVD
    | DecoderOptions::FORCE_RESERVED_NOP;

/// Properties of a decoded instruction.
pub struct Decoded {
    /// Whether it must be the last one of its block.
    pub ends_block: bool,
    /// Its length in bytes; at least one, even if it is invalid.
    pub len: u32,
    /// Whether it is longer than the bytes that there are.
    pub is_cut: bool,
}

/// The bytes to decode an instruction from.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    /// The bytes that there are, at most as many as one instruction has.
    pub bytes: &'a [u8],
    /// How many there are up to the code segment's limit.
    pub in_segment: u32,
    /// The physical address behind them, where there is no memory for more, if there are fewer.
    pub end: u32,
}

/// How many bytes an instruction can have if so many are left in the segment.
pub fn most_bytes(room: u64) -> u32 {
    room.min(MAX_LENGTH as u64) as u32
}

/// Decodes the instruction at an address in the code segment, and appends its operations.
///
/// An instruction that cannot be executed becomes an operation that raises the fault.
pub fn decode(cpu: &Cpu, code: Code, eip: u32, ops: &mut Vec<Op>) -> Decoded {
    let Code { bytes, in_segment, end } = code;
    let bitness = if cpu.code_is_32_bit() { 32 } else { 16 };
    let mut decoder = Decoder::with_ip(bitness, bytes, eip.into(), OPTIONS);
    let mut instruction = Instruction::default();
    decoder.decode_out(&mut instruction);

    let mut op = Op { next: eip.wrapping_add(instruction.len() as u32), ..operation(eip) };
    if instruction.is_invalid() {
        let is_cut = decoder.last_error() == DecoderError::NoMoreBytes && bytes.len() < in_segment as usize;
        op.handler = match decoder.last_error() {
            _ if is_cut => {
                op.immediate = end;
                fetch_refused
            }
            DecoderError::NoMoreBytes => fetch_beyond_limit,
            _ if instruction.len() == MAX_LENGTH => fetch_beyond_limit,
            _ => invalid_opcode,
        };
        ops.push(op);
        return Decoded { ends_block: true, len: bytes.len().max(1) as u32, is_cut };
    }

    let address_ahead = set_operands(&instruction, &mut op);
    let selected = instructions::select(&instruction, &mut op);
    op.handler = selected.unwrap_or({
        let is_elsewhere = is_floating_point_or_vector(&bytes[..instruction.len()]);
        if is_elsewhere { unsupported as Handler } else { invalid_opcode }
    });
    if selected.is_some() && instructions::is_privileged(&instruction) {
        ops.push(Op { handler: needs_level_0, ..op });
    }
    ops.extend(address_ahead);
    if let (Some(_), Some(handler)) = (&cpu.comparisons, instructions::select_comparison(&instruction)) {
        ops.push(Op { handler, ..op });
    }
    ops.push(op);
    Decoded {
        ends_block: selected.is_none() || instructions::ends_block(&instruction),
        len: instruction.len() as u32,
        is_cut: false,
    }
}

/// The operation of an instruction that lies on a page without memory: a page fault.
pub fn page_fault(eip: u32) -> Op {
    Op { handler: fetch_page_fault, ordinal: 1, ..operation(eip) }
}

/// An operation without operands.
fn operation(eip: u32) -> Op {
    Op {
        handler: unsupported,
        eip,
        next: eip,
        immediate: 0,
        displacement: 0,
        destination: 0,
        source: 0,
        base: register::ZERO,
        index: register::ZERO,
        scale: 0,
        segment: number::DS,
        ordinal: 0,
    }
}

/// Fills in the fields of an operation that depend on the instruction's operands. For a 16-bit address, returns the
/// operation that computes it first.
fn set_operands(instruction: &Instruction, op: &mut Op) -> Option<Op> {
    let mut address_ahead = None;
    let mut immediates = 0;
    for operand in 0..instruction.op_count() {
        match instruction.op_kind(operand) {
            OpKind::Register => {
                let number = register_number(instruction.op_register(operand));
                match operand {
                    0 => op.destination = number,
                    1 => op.source = number,
                    // The mask of `maskmovq`, whose first operand is in memory; or CL, of `shld` and `shrd`.
                    _ if instruction.op0_kind() != OpKind::Register => op.destination = number,
                    _ => {}
                }
            }
            OpKind::Memory => address_ahead = set_address(instruction, op),
            OpKind::MemorySegSI | OpKind::MemorySegESI | OpKind::MemorySegDI | OpKind::MemorySegEDI => {
                op.segment = register_number(instruction.memory_segment());
            }
            OpKind::NearBranch16 | OpKind::NearBranch32 => {
                op.immediate = instruction.near_branch_target() as u32;
            }
            OpKind::FarBranch16 => {
                op.immediate = instruction.far_branch16().into();
                op.displacement = instruction.far_branch_selector().into();
            }
            OpKind::FarBranch32 => {
                op.immediate = instruction.far_branch32();
                op.displacement = instruction.far_branch_selector().into();
            }
            OpKind::Immediate8
            | OpKind::Immediate8_2nd
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32 => {
                let value = instruction.immediate(operand) as u32;
                if immediates == 0 {
                    op.immediate = value
                } else {
                    op.displacement = value
                }
                immediates += 1;
            }
            _ => {}
        }
    }
    address_ahead
}

/// Sets the address of an operand in memory (SDM volume 2, section 2.1.5).
fn set_address(instruction: &Instruction, op: &mut Op) -> Option<Op> {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let number =
        |register| if register == Register::None { register::ZERO } else { register_number(register) };
    (op.base, op.index) = (number(base), number(index));
    op.scale = instruction.memory_index_scale().trailing_zeros() as u8;
    op.displacement = instruction.memory_displacement32();
    op.segment = register_number(instruction.memory_segment());
    let is_16_bit = |register: Register| (Register::AX..=Register::DI).contains(&register);
    let address_16 =
        is_16_bit(base) || is_16_bit(index) || base == index && instruction.memory_displ_size() == 2;
    address_16.then(|| {
        let ahead = Op { handler: address_of_16_bits, ..*op };
        (op.base, op.index, op.displacement) = (register::ADDRESS, register::ZERO, 0);
        ahead
    })
}

/// A register's number in instructions, for registers of any kind.
pub fn register_number(register: Register) -> u8 {
    let families = [
        (Register::AL, Register::BH),
        (Register::AX, Register::DI),
        (Register::EAX, Register::EDI),
        (Register::ES, Register::GS),
        (Register::CR0, Register::CR15),
        (Register::DR0, Register::DR15),
        (Register::ST0, Register::ST7),
        (Register::MM0, Register::MM7),
        (Register::XMM0, Register::XMM7),
    ];
    families
        .into_iter()
        .find(|(first, last)| (*first..=*last).contains(&register))
        .map_or(0, |(first, _)| (register as u32 - first as u32) as u8)
}

/// The operation that computes a 16-bit address for the next one.
fn address_of_16_bits(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.set_reg(register::ADDRESS, cpu.effective_address(op) & 0xffff);
    Ok(())
}

/// An instruction of a unit that this processor does not have.
fn unsupported(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.fail(Problem::Unsupported))
}

/// The check before a privileged instruction.
fn needs_level_0(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.privilege_level() == 0 { Ok(()) } else { Err(cpu.general_protection(0)) }
}

/// An invalid instruction.
fn invalid_opcode(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.invalid_opcode())
}

/// An instruction that begins or continues outside memory.
fn fetch_refused(cpu: &mut Cpu, op: &Op) -> Step {
    Err(cpu.fail(Problem::Refused(Access::Execute, op.immediate)))
}

/// An instruction that begins or continues on a page that cannot be executed. Its block is found only while that is so.
fn fetch_page_fault(cpu: &mut Cpu, op: &Op) -> Step {
    let first = cpu.segment(number::CS).base.wrapping_add(op.eip);
    cpu.page_of_code(first)?;
    cpu.page_of_code((first | OFFSET).wrapping_add(1))?;
    cpu.branch_anew(op.eip)
}

/// An instruction that crosses the code segment's limit, or is longer than 15 bytes.
fn fetch_beyond_limit(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.general_protection(0))
}

/// Ends a block whose last instruction is no branch.
fn fall_through(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.eip = op.next;
    Err(Break::Branch)
}

/// The operation that ends a block after `last`.
pub fn end_of_block(last: &Op) -> Op {
    Op { handler: fall_through, ..*last }
}
