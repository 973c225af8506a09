//! What the instructions of MMX and SSE have in common (SDM volume 1, chapters 9 to 11).

use flatland_x86::{cr0, cr4};
use iced_x86::{Instruction, OpKind, Register as Name};

use crate::cpu::Cpu;
use crate::event::{Break, Step};
use crate::float::{Environment, flag};
use crate::int::Bytes;
use crate::operation::{Memory, Op, Register};

/// A register of MMX or SSE.
pub trait Vector: Bytes {
    /// Begins an instruction: #UD and #NM if the unit is switched off, and for MMX #MF.
    fn begin(cpu: &mut Cpu) -> Step;

    /// Ends an instruction that used a register.
    fn end(cpu: &mut Cpu);

    /// A register.
    fn get(cpu: &Cpu, number: u8) -> Self;

    /// Stores to a register.
    fn set(cpu: &mut Cpu, number: u8, value: Self);

    /// Zero-extended.
    fn wide(self) -> u128;

    /// The low bits.
    fn narrow(value: u128) -> Self;
}

impl Vector for u64 {
    #[inline]
    fn begin(cpu: &mut Cpu) -> Step {
        if cpu.cr0 & cr0::EM != 0 {
            return Err(cpu.invalid_opcode());
        }
        if cpu.cr0 & cr0::TS != 0 {
            return Err(cpu.no_device());
        }
        if cpu.fpu.has_error() { Err(cpu.floating_point_error()) } else { Ok(()) }
    }

    #[inline]
    fn end(cpu: &mut Cpu) {
        cpu.fpu.begin_mmx();
    }

    #[inline]
    fn get(cpu: &Cpu, number: u8) -> Self {
        cpu.fpu.mm(number)
    }

    #[inline]
    fn set(cpu: &mut Cpu, number: u8, value: Self) {
        cpu.fpu.set_mm(number, value);
    }

    #[inline]
    fn wide(self) -> u128 {
        self.into()
    }

    #[inline]
    fn narrow(value: u128) -> Self {
        value as u64
    }
}

impl Vector for u128 {
    #[inline]
    fn begin(cpu: &mut Cpu) -> Step {
        let is_on = cpu.cr0 & (cr0::EM | cr0::TS) == 0 && cpu.cr4 & cr4::OSFXSR != 0;
        if is_on { Ok(()) } else { Err(cpu.sse_is_off()) }
    }

    #[inline]
    fn end(_: &mut Cpu) {}

    #[inline]
    fn get(cpu: &Cpu, number: u8) -> Self {
        cpu.fpu.xmm[usize::from(number & 7)]
    }

    #[inline]
    fn set(cpu: &mut Cpu, number: u8, value: Self) {
        cpu.fpu.xmm[usize::from(number & 7)] = value;
    }

    #[inline]
    fn wide(self) -> u128 {
        self
    }

    #[inline]
    fn narrow(value: u128) -> Self {
        value
    }
}

/// Where an instruction finds its second operand: in a register, or in memory.
pub trait Place: 'static {
    /// All of a register, or as many bytes of memory, aligned if they are 16.
    fn vector<V: Vector>(cpu: &mut Cpu, op: &Op) -> Result<V, Break>;

    /// The low bits of an XMM register, or bytes of memory.
    fn low<T: Low>(cpu: &mut Cpu, op: &Op) -> Result<T, Break>;
}

/// The low bits of a register.
pub trait Low: Bytes {
    /// Of this value.
    fn of(value: u128) -> Self;
}

impl Low for u32 {
    #[inline]
    fn of(value: u128) -> Self {
        value as Self
    }
}

impl Low for u64 {
    #[inline]
    fn of(value: u128) -> Self {
        value as Self
    }
}

impl Place for Register {
    #[inline]
    fn vector<V: Vector>(cpu: &mut Cpu, op: &Op) -> Result<V, Break> {
        Ok(V::get(cpu, op.source))
    }

    #[inline]
    fn low<T: Low>(cpu: &mut Cpu, op: &Op) -> Result<T, Break> {
        Ok(T::of(u128::get(cpu, op.source)))
    }
}

impl Place for Memory {
    #[inline]
    fn vector<V: Vector>(cpu: &mut Cpu, op: &Op) -> Result<V, Break> {
        let address = cpu.effective_address(op);
        if V::BYTES == 16 {
            cpu.check_alignment(op.segment, address)?;
        }
        cpu.load(op.segment, address)
    }

    #[inline]
    fn low<T: Low>(cpu: &mut Cpu, op: &Op) -> Result<T, Break> {
        cpu.load(op.segment, cpu.effective_address(op))
    }
}

/// Stores to the low bits of an XMM register.
#[inline]
pub fn set_low<T: Low + Into<u128>>(cpu: &mut Cpu, number: u8, value: T) {
    let rest = u128::get(cpu, number) & (u128::MAX << (T::BYTES * 8));
    u128::set(cpu, number, rest | value.into());
}

/// Whether it is one of MMX's registers.
pub fn is_mmx(register: Name) -> bool {
    (Name::MM0..=Name::MM7).contains(&register)
}

/// Whether an operand is in memory.
pub fn is_memory(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Memory
}

/// The handler for an instruction's second operand, a register or in memory.
macro_rules! by_vector_place {
    ($instruction:expr, $P:ident => $handler:expr) => {
        if $crate::instructions::vector::operand::is_memory($instruction, 1) {
            type $P = $crate::operation::Memory;
            $handler as $crate::operation::Handler
        } else {
            type $P = $crate::operation::Register;
            $handler as $crate::operation::Handler
        }
    };
}

/// The handler for an instruction of MMX or SSE: by its first register, and by the place of its second operand.
macro_rules! by_vector {
    ($instruction:expr, $V:ident, $P:ident => $handler:expr) => {
        if $crate::instructions::vector::operand::is_mmx($instruction.op0_register()) {
            type $V = u64;
            by_vector_place!($instruction, $P => $handler)
        } else {
            type $V = u128;
            by_vector_place!($instruction, $P => $handler)
        }
    };
}

pub(super) use {by_vector, by_vector_place};

impl Cpu {
    /// Why SSE is switched off (SDM volume 3, section 15.1).
    #[cold]
    fn sse_is_off(&mut self) -> Break {
        let is_known = self.cr0 & cr0::EM == 0 && self.cr4 & cr4::OSFXSR != 0;
        if is_known { self.no_device() } else { self.invalid_opcode() }
    }

    /// Notes the exceptions of an instruction of SSE in MXCSR. One that is not masked is a fault.
    #[inline]
    pub fn note_sse(&mut self, env: &Environment) -> Step {
        if env.flags == 0 {
            return Ok(());
        }
        let before_result = flag::INVALID | flag::ZERO_DIVIDE | flag::DENORMAL;
        let flags = if env.is_before_result() { env.flags & before_result } else { env.flags };
        self.fpu.mxcsr |= u32::from(flags);
        if flags & !env.masks == 0 {
            return Ok(());
        }
        Err(if self.cr4 & cr4::OSXMMEXCPT != 0 { self.simd_error() } else { self.invalid_opcode() })
    }
}
