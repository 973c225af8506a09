//! A decoded instruction: its handler and its operands.

use super::cpu::Cpu;
use super::event::{Break, Step};
use super::int::Int;

/// Executes an operation. It does everything that can fail before it changes registers and flags.
pub type Handler = fn(&mut Cpu, &Op) -> Step;

/// An instruction, or a part of one, ready to be executed.
///
/// The handler decides which fields it uses.
#[derive(Clone, Copy)]
pub struct Op {
    /// What to call.
    pub handler: Handler,
    /// The instruction's address.
    pub eip: u32,
    /// The address of the next instruction.
    pub next: u32,
    /// An immediate operand, or a branch's target.
    pub immediate: u32,
    /// The displacement of a memory operand, or a second immediate.
    pub displacement: u32,
    /// The first operand's register.
    pub destination: u8,
    /// The second operand's register.
    pub source: u8,
    /// The base register of a memory operand.
    pub base: u8,
    /// The index register of a memory operand.
    pub index: u8,
    /// How far the index is shifted, 0 to 3.
    pub scale: u8,
    /// The segment register of a memory operand.
    pub segment: u8,
    /// The number of instructions in the block up to the end of this one.
    pub ordinal: u8,
}

impl core::fmt::Debug for Op {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(f, "Op({:#010x})", self.eip)
    }
}

/// Executes operations up to the first one that leaves the block. The last one always does.
#[inline(always)]
pub fn execute_block<'a>(cpu: &mut Cpu, ops: &'a [Op]) -> (&'a Op, Break) {
    let mut last = &ops[0];
    for op in ops {
        if let Err(reason) = (op.handler)(cpu, op) {
            return (op, reason);
        }
        last = op;
    }
    cpu.eip = last.next;
    (last, Break::Branch)
}

/// An operand that can be read.
pub trait Source<T: Int>: 'static {
    /// Its value.
    fn read(cpu: &mut Cpu, op: &Op) -> Result<T, Break>;
}

/// An operand that can be written.
pub trait Place<T: Int>: Source<T> {
    /// Whether it is in memory, where writing can fail.
    const IN_MEMORY: bool;

    /// Its value, for an instruction that replaces it. Reading fails if writing would not be allowed.
    fn read_to_write(cpu: &mut Cpu, op: &Op) -> Result<T, Break>;

    /// Stores to it: all or nothing.
    fn write(cpu: &mut Cpu, op: &Op, value: T) -> Step;

    /// Ends an instruction that wrote it.
    fn finish(cpu: &Cpu) -> Step;
}

/// The register that is the first operand.
pub struct Destination;

/// The register that is the second operand.
pub struct Register;

/// The operand in memory.
pub struct Memory;

/// The immediate operand.
pub struct Immediate;

impl<T: Int> Source<T> for Destination {
    #[inline(always)]
    fn read(cpu: &mut Cpu, op: &Op) -> Result<T, Break> {
        Ok(cpu.reg_part(op.destination))
    }
}

impl<T: Int> Place<T> for Destination {
    const IN_MEMORY: bool = false;

    #[inline(always)]
    fn read_to_write(cpu: &mut Cpu, op: &Op) -> Result<T, Break> {
        Self::read(cpu, op)
    }

    #[inline(always)]
    fn write(cpu: &mut Cpu, op: &Op, value: T) -> Step {
        cpu.set_reg_part(op.destination, value);
        Ok(())
    }

    #[inline(always)]
    fn finish(_: &Cpu) -> Step {
        Ok(())
    }
}

impl<T: Int> Source<T> for Register {
    #[inline(always)]
    fn read(cpu: &mut Cpu, op: &Op) -> Result<T, Break> {
        Ok(cpu.reg_part(op.source))
    }
}

impl<T: Int> Source<T> for Memory {
    #[inline(always)]
    fn read(cpu: &mut Cpu, op: &Op) -> Result<T, Break> {
        cpu.load(op.segment, cpu.effective_address(op))
    }
}

impl<T: Int> Place<T> for Memory {
    const IN_MEMORY: bool = true;

    #[inline(always)]
    fn read_to_write(cpu: &mut Cpu, op: &Op) -> Result<T, Break> {
        let offset = cpu.effective_address(op);
        cpu.load(op.segment, offset)
            .map_err(|reason| cpu.refused_to_write(op.segment, offset, T::BYTES, reason))
    }

    #[inline(always)]
    fn write(cpu: &mut Cpu, op: &Op, value: T) -> Step {
        cpu.store(op.segment, cpu.effective_address(op), value)
    }

    #[inline(always)]
    fn finish(cpu: &Cpu) -> Step {
        cpu.stored()
    }
}

impl<T: Int> Source<T> for Immediate {
    #[inline(always)]
    fn read(_: &mut Cpu, op: &Op) -> Result<T, Break> {
        Ok(T::truncate(op.immediate))
    }
}

impl Cpu {
    /// The offset of an operand in memory.
    #[inline(always)]
    pub fn effective_address(&self, op: &Op) -> u32 {
        let index = self.reg(op.index) << (op.scale & 0b11);
        self.reg(op.base).wrapping_add(index).wrapping_add(op.displacement)
    }

    /// The time stamp counter. It counts instructions, so that runs are repeatable.
    pub fn time_stamp(&self, op: &Op) -> u64 {
        self.time_stamp_base.wrapping_add(self.instructions) + u64::from(op.ordinal)
    }
}
