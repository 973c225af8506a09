//! Host code for a block's instructions.
//!
//! The status flags are saved after an instruction that sets them, by instructions that leave the host's as they are,
//! unless the next one that could show them sets all of them again.

use alloc::vec::Vec;

use iced_x86::{Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register as Guest};

use super::assembler::{Assembler, Label, condition, *};
use super::calls::{LOADED, call_handler, load};
use crate::cpu::{Cpu, register};
use crate::decode::register_number;
use crate::event::Break;
use crate::memory::LINE_SHIFT;
use crate::operation::Op;
use crate::segment::number;

const CPU: Register = R15;
const RAM: Register = R14;
/// The table of flags.
const FLAGS: Register = R13;
/// An address in the guest.
const ADDRESS: Register = R9;
/// What was loaded.
const VALUE: Register = R11;
/// The limit, at the stack pointer, and the lines' marks.
const LIMIT: usize = 0;
const LINES: usize = 8;
/// EAX is not in RAX: `lahf` needs that. The order is that of the numbers in instructions.
const REGISTERS: [Register; 8] = [R8, RCX, RDX, RBX, R12, RBP, RSI, RDI];

/// What an instruction does with the status flags, and whether somebody may see them before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Nothing.
    None,
    /// It sets all of them, and cannot be interrupted before.
    Sets,
    /// They may be seen.
    Seen,
}

/// A slow path: what is executed out of line.
enum Slow {
    /// The value is loaded by the interpreter.
    Load { from: Label, back: Label, width: u32, op: usize },
    /// All of the instruction is executed by the interpreter.
    Instruction { from: Label, back: Label, op: usize },
    /// A load beyond the first end may be above the guard.
    Above { from: Label, back: Label, slow: Label, segment: usize },
    /// The block is left with the reason in RAX.
    Leave { from: Label, op: usize },
}

/// A block's code in the making.
struct Builder<'a> {
    asm: Assembler,
    ops: &'a [Op],
    size: u32,
    slow: Vec<Slow>,
    leave: Label,
    handler: Label,
    loads: [Label; 3],
    /// Whether the host's flags are the guest's.
    has_flags: bool,
}

/// The code of a block that begins at `start`. `None` if it is not better than the interpreter.
pub fn translate(cpu: &Cpu, start: u32, ops: &[Op]) -> Option<Vec<u8>> {
    let is_flat = cpu.code_is_32_bit() && cpu.segment(number::CS).base == 0 && !cpu.is_paged();
    if !is_flat || cpu.comparisons.is_some() {
        return None;
    }
    // The last operation only ends the block.
    let (_, body) = ops.split_last()?;
    let groups: Vec<&[Op]> = body.chunk_by(|one, next| one.ordinal == next.ordinal).collect();
    let instructions: Vec<Option<Instruction>> =
        groups.iter().map(|group| if group.len() == 1 { decode(cpu, &group[0]) } else { None }).collect();
    let known = instructions.iter().filter(|instruction| instruction.is_some()).count();
    if known * 2 < instructions.len() + 1 {
        return None;
    }
    Some(Builder::new(cpu, ops).all(start, &groups, &instructions))
}

/// The instruction of an operation, if there is a template for it.
fn decode(cpu: &Cpu, op: &Op) -> Option<Instruction> {
    let bytes = cpu.memory.code(op.eip, op.next.wrapping_sub(op.eip));
    let instruction = Decoder::with_ip(32, bytes, op.eip.into(), DecoderOptions::NONE).decode();
    (has_template(&instruction) && !instruction.has_lock_prefix()).then_some(instruction)
}

/// A general register of 32 bits.
fn is_register(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Register
        && (Guest::EAX..=Guest::EDI).contains(&instruction.op_register(operand))
}

fn is_low_byte(register: Guest) -> bool {
    (Guest::AL..=Guest::BL).contains(&register)
}

/// Whether the address of the operand in memory is made of registers of 32 bits.
fn has_wide_address(instruction: &Instruction) -> bool {
    [instruction.memory_base(), instruction.memory_index()]
        .iter()
        .all(|register| *register == Guest::None || (Guest::EAX..=Guest::EDI).contains(register))
}

fn is_memory(instruction: &Instruction, operand: u32, width: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Memory
        && width_of(instruction.memory_size()) == width
        && has_wide_address(instruction)
}

/// Bytes of an operand in memory, if it has a template.
fn width_of(size: MemorySize) -> u32 {
    match size {
        MemorySize::UInt8 | MemorySize::Int8 => 1,
        MemorySize::UInt16 | MemorySize::Int16 => 2,
        MemorySize::UInt32 | MemorySize::Int32 => 4,
        _ => 0,
    }
}

fn is_immediate(instruction: &Instruction, operand: u32) -> bool {
    matches!(instruction.op_kind(operand), OpKind::Immediate32 | OpKind::Immediate8to32)
}

fn has_template(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let is = |operand| is_register(instruction, operand);
    let from_memory = |operand| is_memory(instruction, operand, 4);
    let has_source = || is(1) || is_immediate(instruction, 1) || from_memory(1);
    match instruction.mnemonic() {
        Mov => is(0) && has_source() || from_memory(0) && (is(1) || is_immediate(instruction, 1)),
        Add | Or | Adc | Sbb | And | Sub | Xor => is(0) && has_source(),
        Cmp | Test => {
            (is(0) || from_memory(0)) && (is(1) || is_immediate(instruction, 1)) || is(0) && from_memory(1)
        }
        Lea => is(0) && has_wide_address(instruction) && instruction.memory_displ_size() != 2,
        Movzx | Movsx => {
            is(0)
                && match instruction.op1_kind() {
                    OpKind::Register => {
                        let from = instruction.op1_register();
                        is_low_byte(from) || (Guest::AX..=Guest::DI).contains(&from)
                    }
                    _ => is_memory(instruction, 1, 1) || is_memory(instruction, 1, 2),
                }
        }
        Inc | Dec | Neg | Not => is(0),
        Jmp => instruction.op0_kind() == OpKind::NearBranch32,
        other if condition_of(other).is_some() => instruction.op0_kind() == OpKind::NearBranch32,
        _ => false,
    }
}

/// What comes before it is seen by a load that faults, and by a handler.
fn sight(instruction: &Option<Instruction>) -> Sight {
    use Mnemonic::*;
    let Some(instruction) = instruction else { return Sight::Seen };
    let accesses = instruction.mnemonic() != Lea
        && (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    match instruction.mnemonic() {
        _ if accesses => Sight::Seen,
        Add | Or | And | Sub | Xor | Cmp | Test | Neg => Sight::Sets,
        Mov | Lea | Movzx | Movsx | Not => Sight::None,
        _ => Sight::Seen,
    }
}

fn host(register: Guest) -> Register {
    REGISTERS[usize::from(register_number(register) & 7)]
}

impl<'a> Builder<'a> {
    fn new(cpu: &Cpu, ops: &'a [Op]) -> Self {
        let mut asm = Assembler::default();
        let mut label = || asm.label();
        let (leave, handler, loads) = (label(), label(), [label(), label(), label()]);
        Self { asm, ops, size: cpu.memory.size(), slow: Vec::new(), leave, handler, loads, has_flags: false }
    }

    fn all(mut self, start: u32, groups: &[&[Op]], instructions: &[Option<Instruction>]) -> Vec<u8> {
        let head = self.asm.label();
        self.enter();
        self.asm.bind(head);
        let mut at = 0;
        for (index, group) in groups.iter().enumerate() {
            match &instructions[index] {
                Some(instruction) => {
                    let next =
                        instructions[index + 1..].iter().map(sight).find(|sight| *sight != Sight::None);
                    self.instruction(instruction, at, next != Some(Sight::Sets), (start, head));
                }
                None => (at..at + group.len()).for_each(|op| self.call(op)),
            }
            at += group.len();
        }
        self.exit(at, self.ops[at].next);
        self.out_of_line();
        self.shared();
        self.asm.finish()
    }

    fn enter(&mut self) {
        for register in [RBX, RBP, R12, R13, R14, R15] {
            self.asm.push(register);
        }
        self.asm.bytes(&[0x48, 0x83, 0xec, 24]);
        for (to, from) in [(CPU, RDI), (RAM, RSI), (FLAGS, RDX)] {
            self.asm.registers_64(&[0x89], from, to);
        }
        self.asm.memory(&[0x89], true, RCX, RSP, LIMIT);
        self.asm.memory(&[0x89], true, R8, RSP, LINES);
        self.guest_registers(0x8b);
    }

    /// Loads (8b) or stores (89) the guest's registers.
    fn guest_registers(&mut self, opcode: u8) {
        for (number, host) in REGISTERS.into_iter().enumerate() {
            self.asm.memory(&[opcode], false, host, CPU, Cpu::OFFSETS.registers + number * 4);
        }
    }

    /// What several places use: calls of the interpreter, and the end.
    fn shared(&mut self) {
        let functions = [
            (self.handler, call_handler as *const () as usize),
            (self.loads[0], load::<u8> as *const () as usize),
            (self.loads[1], load::<u16> as *const () as usize),
            (self.loads[2], load::<u32> as *const () as usize),
        ];
        for (label, function) in functions {
            self.asm.bind(label);
            self.asm.bytes(&[0x48, 0x83, 0xec, 8]);
            self.guest_registers(0x89);
            self.asm.registers_64(&[0x89], CPU, RDI);
            self.asm.registers_64(&[0x89], R9, RSI);
            self.asm.set_64(RAX, function as u64);
            self.asm.bytes(&[0xff, 0xd0]);
            self.guest_registers(0x8b);
            self.asm.bytes(&[0x48, 0x83, 0xc4, 8]);
            self.asm.registers(&[0x85], RAX, RAX);
            self.asm.bytes(&[0xc3]);
        }
        self.asm.bind(self.leave);
        self.guest_registers(0x89);
        self.asm.bytes(&[0x48, 0x83, 0xc4, 24]);
        for register in [R15, R14, R13, R12, RBP, RBX] {
            self.asm.pop(register);
        }
        self.asm.bytes(&[0xc3]);
    }

    /// Leaves the block as complete.
    fn exit(&mut self, op: usize, eip: u32) {
        self.asm.memory(&[0xc7], false, 0, CPU, Cpu::OFFSETS.eip);
        self.asm.immediate(eip);
        self.asm.set(RAX, (Break::Branch as u32) << 16 | op as u32);
        self.asm.jump(self.leave);
    }

    /// Calls one of the shared functions for an operation, and leaves the block if it says so.
    fn call_for(&mut self, function: Label, op: usize) {
        self.asm.set_64(R9, &raw const self.ops[op] as u64);
        self.asm.call(function);
        let from = self.asm.label();
        self.asm.jump_if(condition::NOT_EQUAL, from);
        self.slow.push(Slow::Leave { from, op });
        self.has_flags = false;
    }

    fn call(&mut self, op: usize) {
        self.call_for(self.handler, op);
    }

    fn out_of_line(&mut self) {
        while let Some(slow) = self.slow.pop() {
            match slow {
                Slow::Load { from, back, width, op } => {
                    self.asm.bind(from);
                    self.call_for(self.loads[width.trailing_zeros() as usize], op);
                    self.asm.memory(&[0x8b], false, VALUE, CPU, LOADED);
                    self.asm.jump(back);
                }
                Slow::Instruction { from, back, op } => {
                    self.asm.bind(from);
                    self.call(op);
                    self.asm.jump(back);
                }
                Slow::Above { from, back, slow, segment } => {
                    self.asm.bind(from);
                    self.asm.memory(&[0x3b], false, ADDRESS, CPU, Cpu::OFFSETS.readable_from + segment * 4);
                    self.asm.jump_if(condition::BELOW, slow);
                    self.asm.set(RAX, self.size);
                    self.asm.registers_64(&[0x3b], R10, RAX);
                    self.asm.jump_if(condition::NOT_ABOVE, back);
                    self.asm.jump(slow);
                }
                Slow::Leave { from, op } => {
                    self.asm.bind(from);
                    // One less is the reason's number.
                    self.asm.bytes(&[0xff, 0xc8]);
                    self.asm.bytes(&[0xc1, 0xe0, 16]);
                    self.asm.bytes(&[0x0d]);
                    self.asm.immediate(op as u32);
                    self.asm.jump(self.leave);
                }
            }
        }
    }

    /// Saves the host's flags as the guest's.
    fn save_flags(&mut self) {
        self.asm.set(R10, 0);
        self.asm.bytes(&[0x9f]);
        // movzx eax, ah
        self.asm.bytes(&[0x0f, 0xb6, 0xc4]);
        // seto r10b
        self.asm.bytes(&[0x41, 0x0f, 0x90, 0xc2]);
        self.asm.indexed(&[0x8d], true, R10, (Some(R10), Some(RAX), 1), 0);
        self.asm.indexed(&[0x8b], true, RAX, (Some(FLAGS), Some(R10), 3), 0);
        self.asm.memory(&[0x89], true, RAX, CPU, Cpu::OFFSETS.flags);
    }

    /// Saves the flags of a result of `and`, `or`, `xor` or `test`: AF is clear, which the host's need not be.
    fn save_logic(&mut self, result: Register) {
        self.asm.memory(&[0x89], false, result, CPU, Cpu::OFFSETS.flags);
        self.asm.memory(&[0xc7], false, 0, CPU, Cpu::OFFSETS.carries);
        self.asm.immediate(0);
    }

    /// CF as the guest has it.
    fn restore_carry(&mut self) {
        self.asm.memory(&[0x0f, 0xba], false, 4, CPU, Cpu::OFFSETS.carries);
        self.asm.bytes(&[31]);
    }

    /// The address of a memory operand.
    fn address(&mut self, instruction: &Instruction, to: Register) {
        let register = |register| (register != Guest::None).then(|| host(register));
        let (base, index) = (register(instruction.memory_base()), register(instruction.memory_index()));
        let scale = instruction.memory_index_scale().trailing_zeros() as u8;
        self.asm.indexed(&[0x8d], false, to, (base, index, scale), instruction.memory_displacement32());
    }

    /// Compares the end of an access with one of the processor's.
    fn compare_end(&mut self, ends: usize, op: usize, width: u32) {
        self.asm.indexed(&[0x8d], true, R10, (Some(ADDRESS), None, 0), width);
        let segment = usize::from(self.ops[op].segment & 7);
        self.asm.memory(&[0x8b], false, RAX, CPU, ends + segment * 4);
        self.asm.registers_64(&[0x3b], R10, RAX);
    }

    /// Loads the operand in memory, extended by the opcode.
    fn load(&mut self, instruction: &Instruction, op: usize, width: u32) {
        self.address(instruction, ADDRESS);
        let (above, ready, slow, back) =
            (self.asm.label(), self.asm.label(), self.asm.label(), self.asm.label());
        self.compare_end(Cpu::OFFSETS.readable, op, width);
        self.asm.jump_if(condition::ABOVE, above);
        self.asm.bind(ready);
        let opcode: &[u8] = match width {
            1 => &[0x0f, 0xb6],
            2 => &[0x0f, 0xb7],
            _ => &[0x8b],
        };
        self.asm.indexed(opcode, false, VALUE, (Some(RAM), Some(ADDRESS), 0), 0);
        self.asm.bind(back);
        let segment = usize::from(self.ops[op].segment & 7);
        self.slow.push(Slow::Above { from: above, back: ready, slow, segment });
        self.slow.push(Slow::Load { from: slow, back, width, op });
        self.has_flags = false;
    }

    /// `mov` to memory.
    fn store(&mut self, instruction: &Instruction, op: usize) {
        let (slow, back) = (self.asm.label(), self.asm.label());
        self.address(instruction, ADDRESS);
        self.compare_end(Cpu::OFFSETS.writable, op, 4);
        self.asm.jump_if(condition::ABOVE, slow);
        self.asm.memory(&[0x8b], true, VALUE, RSP, LINES);
        for offset in [0, 3] {
            self.asm.indexed(&[0x8d], false, RAX, (Some(ADDRESS), None, 0), offset);
            // shr eax, LINE_SHIFT; cmp byte [r11 + rax], 0
            self.asm.bytes(&[0xc1, 0xe8, LINE_SHIFT as u8]);
            self.asm.bytes(&[0x41, 0x80, 0x3c, 0x03, 0]);
            self.asm.jump_if(condition::NOT_EQUAL, slow);
        }
        let memory = (Some(RAM), Some(ADDRESS), 0);
        if instruction.op1_kind() == OpKind::Register {
            self.asm.indexed(&[0x89], false, host(instruction.op1_register()), memory, 0);
        } else {
            self.asm.indexed(&[0xc7], false, 0, memory, 0);
            self.asm.immediate(instruction.immediate(1) as u32);
        }
        self.asm.bind(back);
        self.slow.push(Slow::Instruction { from: slow, back, op });
        self.has_flags = false;
    }

    /// An operand, in a register: what was loaded in [`VALUE`], an immediate in R10, which a load uses, too.
    fn source(&mut self, instruction: &Instruction, op: usize, operand: u32) -> Register {
        match instruction.op_kind(operand) {
            OpKind::Register => host(instruction.op_register(operand)),
            OpKind::Memory => {
                self.load(instruction, op, 4);
                VALUE
            }
            _ => {
                self.asm.set(R10, instruction.immediate(operand) as u32);
                R10
            }
        }
    }

    fn instruction(&mut self, instruction: &Instruction, op: usize, is_seen: bool, head: (u32, Label)) {
        use Mnemonic::*;
        let mnemonic = instruction.mnemonic();
        let destination = || host(instruction.op0_register());
        match mnemonic {
            Mov if instruction.op0_kind() == OpKind::Memory => self.store(instruction, op),
            Mov if instruction.op1_kind() != OpKind::Memory && !is_register(instruction, 1) => {
                self.asm.set(destination(), instruction.immediate(1) as u32);
            }
            Mov => {
                let source = self.source(instruction, op, 1);
                self.asm.registers(&[0x89], source, destination());
            }
            Lea => self.address(instruction, destination()),
            Movzx | Movsx => self.extend(instruction, op),
            Add | Or | Adc | Sbb | And | Sub | Xor | Cmp | Test => self.binary(instruction, op, is_seen),
            Not => self.asm.registers(&[0xf7], 2, destination()),
            Neg => {
                self.asm.registers(&[0xf7], 3, destination());
                self.flags_set(is_seen);
            }
            Inc | Dec => {
                self.restore_carry();
                self.asm.registers(&[0xff], u8::from(mnemonic == Dec), destination());
                self.flags_set(true);
            }
            Jmp => self.branch(op, instruction.near_branch32(), head),
            _ => self.branch_if(instruction, op, head),
        }
    }

    fn flags_set(&mut self, is_seen: bool) {
        if is_seen {
            self.save_flags();
        }
        self.has_flags = true;
    }

    fn extend(&mut self, instruction: &Instruction, op: usize) {
        let destination = host(instruction.op0_register());
        let is_signed = instruction.mnemonic() == Mnemonic::Movsx;
        let (source, is_byte) = match instruction.op1_kind() {
            OpKind::Register => {
                let from = instruction.op1_register();
                (host(from), is_low_byte(from))
            }
            _ => {
                let width = width_of(instruction.memory_size());
                self.load(instruction, op, width);
                (VALUE, width == 1)
            }
        };
        let opcode = if is_signed { 0xbe } else { 0xb6 } | u8::from(!is_byte);
        self.asm.registers(&[0x0f, opcode], destination, source);
    }

    fn binary(&mut self, instruction: &Instruction, op: usize, is_seen: bool) {
        use Mnemonic::*;
        let mnemonic = instruction.mnemonic();
        let first = self.source(instruction, op, 0);
        let source = self.source(instruction, op, 1);
        let (opcode, is_logic) = match mnemonic {
            Add => (0x01, false),
            Or => (0x09, true),
            Adc => (0x11, false),
            Sbb => (0x19, false),
            And => (0x21, true),
            Sub => (0x29, false),
            Xor => (0x31, true),
            Cmp => (0x39, false),
            _ => (0x85, true),
        };
        if matches!(mnemonic, Adc | Sbb) {
            self.restore_carry();
        }
        if mnemonic == Test && is_seen {
            // The result is needed.
            self.asm.registers(&[0x89], first, RAX);
            self.asm.registers(&[0x21], source, RAX);
            self.save_logic(RAX);
        } else {
            self.asm.registers(&[opcode], source, first);
            if is_logic && is_seen {
                self.save_logic(first);
            } else if is_seen {
                self.save_flags();
            }
        }
        self.has_flags = true;
    }

    fn branch_if(&mut self, instruction: &Instruction, op: usize, head: (u32, Label)) {
        let Some(condition) = condition_of(instruction.mnemonic()).filter(|_| self.has_flags) else {
            return self.call(op);
        };
        let taken = self.asm.label();
        self.asm.jump_if(condition, taken);
        self.exit(op, instruction.next_ip32());
        self.asm.bind(taken);
        self.branch(op, instruction.near_branch32(), head);
    }

    /// Continues at another address: in the same block, if it is its own and no limit is near.
    fn branch(&mut self, op: usize, target: u32, (start, head): (u32, Label)) {
        if target == start {
            let executed = u32::from(self.ops[op].ordinal);
            let exit = self.asm.label();
            self.asm.memory(&[0x8b], true, RAX, CPU, Cpu::OFFSETS.instructions);
            self.asm.indexed(&[0x8d], true, RAX, (Some(RAX), None, 0), executed);
            // The next pass costs as much.
            self.asm.indexed(&[0x8d], true, R10, (Some(RAX), None, 0), executed);
            self.asm.memory(&[0x3b], true, R10, RSP, LIMIT);
            self.asm.jump_if(condition::ABOVE, exit);
            self.asm.memory(&[0x89], true, RAX, CPU, Cpu::OFFSETS.instructions);
            self.asm.jump(head);
            self.asm.bind(exit);
        }
        self.exit(op, target);
    }
}

/// The condition of a conditional jump, by its number in instructions.
fn condition_of(mnemonic: Mnemonic) -> Option<u8> {
    use Mnemonic::*;
    let all = [Jo, Jno, Jb, Jae, Je, Jne, Jbe, Ja, Js, Jns, Jp, Jnp, Jl, Jge, Jle, Jg];
    all.iter().position(|known| *known == mnemonic).map(|number| number as u8)
}

const _: () = assert!(register::EDI as usize + 1 == REGISTERS.len());
