//! What the x87's instructions have in common (SDM volume 1, chapter 8).

use flatland_x86::{cr0, instruction};

use crate::cpu::Cpu;
use crate::event::{Break, Step};
use crate::float::{self, Extended, Number};
use crate::fpu::status;
use crate::operation::Op;
use crate::segment::number;

/// The number that invalid operations have as their result.
pub const INDEFINITE: Extended = Extended { significand: 0xc000_0000_0000_0000, head: 0xffff };

/// A number in memory.
pub trait Operand: 'static {
    /// Loads it.
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break>;
}

/// A number of 32 bits in memory.
pub struct Single;
/// A number of 64 bits.
pub struct Double;
/// A signed integer of 16 bits.
pub struct IntegerWord;
/// A signed integer of 32 bits.
pub struct IntegerDoubleword;
/// A signed integer of 64 bits.
pub struct IntegerQuadword;
/// An integer of 18 decimal digits.
pub struct Decimal;

impl Operand for Single {
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break> {
        Ok(Number::from_single(cpu.load(op.segment, cpu.effective_address(op))?))
    }
}

impl Operand for Double {
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break> {
        Ok(Number::from_double(cpu.load(op.segment, cpu.effective_address(op))?))
    }
}

impl Operand for IntegerWord {
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break> {
        let value: u16 = cpu.load(op.segment, cpu.effective_address(op))?;
        Ok(float::from_integer((value as i16).into()))
    }
}

impl Operand for IntegerDoubleword {
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break> {
        let value: u32 = cpu.load(op.segment, cpu.effective_address(op))?;
        Ok(float::from_integer((value as i32).into()))
    }
}

impl Operand for IntegerQuadword {
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break> {
        let value: u64 = cpu.load(op.segment, cpu.effective_address(op))?;
        Ok(float::from_integer(value as i64))
    }
}

impl Operand for Decimal {
    /// Digits above 9 are undefined; they count as what they are.
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break> {
        let [low @ .., sign] = load_bytes(cpu, op)?;
        let magnitude = low.iter().rev().fold(0_u64, |all, byte| {
            all.wrapping_mul(100).wrapping_add(u64::from(byte >> 4) * 10 + u64::from(byte & 0xf))
        });
        Ok(float::from_integer(magnitude as i64).with_sign(sign & 0x80 != 0))
    }
}

/// Loads the ten bytes of an operand.
pub fn load_bytes(cpu: &mut Cpu, op: &Op) -> Result<[u8; 10], Break> {
    cpu.load(op.segment, cpu.effective_address(op))
}

impl Cpu {
    /// Begins an instruction of the x87 that does not wait: #NM if the unit is switched off (SDM volume 3, table 2-2).
    #[inline]
    pub fn begin_control(&mut self) -> Step {
        if self.cr0 & (cr0::EM | cr0::TS) != 0 { Err(self.no_device()) } else { Ok(()) }
    }

    /// Begins an instruction of the x87: #MF if an earlier one has an exception that is not masked.
    ///
    /// CR0.NE makes no difference: there is no other way to tell a guest, and processors with virtualization behave like
    /// that, too.
    #[inline]
    pub fn begin_x87(&mut self) -> Step {
        self.begin_control()?;
        if self.fpu.has_error() { Err(self.floating_point_error()) } else { Ok(()) }
    }

    /// Ends an instruction of the x87 that may have an exception.
    pub fn end_x87(&mut self, op: &Op) -> Step {
        self.fpu.instruction = op.eip;
        if self.fpu.has_error() {
            self.note_place(op);
        }
        Ok(())
    }

    /// Notes which instruction has an exception that is not masked, and its operand's address.
    #[cold]
    fn note_place(&mut self, op: &Op) {
        let linear = self.segment(number::CS).base.wrapping_add(op.eip);
        let code = self.code_at(linear, op.next.wrapping_sub(op.eip) as usize);
        if let [first, second, ..] = *instruction::opcode(&code) {
            self.fpu.opcode = u16::from(first & 7) << 8 | u16::from(second);
        }
        if op.immediate != 0 {
            self.fpu.data = self.effective_address(op);
        }
    }

    /// Whether the x87's condition codes are these.
    pub fn set_conditions(&mut self, set: u16) {
        self.fpu.set_conditions(status::C0 | status::C2 | status::C3, set);
    }
}
