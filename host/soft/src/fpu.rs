//! The registers of x87, MMX and SSE (SDM volume 1, chapters 8 to 11).

use alloc::boxed::Box;

use super::float::{Environment, Extended, Format, Number, Rounding, Unit, flag};

/// Bits of the x87's status word besides the exceptions (SDM volume 1, figure 8-4).
pub mod status {
    /// A register was empty that should not have been, or the other way round.
    pub const STACK_FAULT: u16 = 1 << 6;
    /// An exception that is not masked.
    pub const ERROR: u16 = 1 << 7;
    /// Condition codes.
    pub const C0: u16 = 1 << 8;
    /// Also: rounded away from zero.
    pub const C1: u16 = 1 << 9;
    /// See [`C0`].
    pub const C2: u16 = 1 << 10;
    /// See [`C0`].
    pub const C3: u16 = 1 << 14;
    /// The same as [`ERROR`].
    pub const BUSY: u16 = 1 << 15;
    /// Where the number of the top register is.
    pub const TOP_SHIFT: u32 = 11;
    /// That field.
    pub const TOP: u16 = 0b111 << TOP_SHIFT;
}

/// Bits of MXCSR besides the exceptions and their masks (SDM volume 1, figure 10-3).
pub mod mxcsr {
    /// Denormal operands are zeros.
    pub const DAZ: u32 = 1 << 6;
    /// Where the masks are.
    pub const MASK_SHIFT: u32 = 7;
    /// Where the rounding control is.
    pub const ROUNDING_SHIFT: u32 = 13;
    /// Tiny results are zeros.
    pub const FTZ: u32 = 1 << 15;
    /// The bits that exist.
    pub const DEFINED: u32 = 0xffff;
}

/// The bits of the control word that can be changed, and the one that is always set.
const CONTROL_DEFINED: u16 = 0x1f3f;
const CONTROL_SET: u16 = 0x40;

/// The registers of x87, MMX and SSE.
#[derive(Clone, Debug)]
pub struct Fpu {
    control: u16,
    /// FSW without TOP.
    status: u16,
    /// The number of the register that is ST0.
    top: u8,
    /// A bit for each register that is not empty, by its number.
    tags: u8,
    /// FOP, of the last instruction with an exception that was not masked.
    pub opcode: u16,
    /// FIP, without a selector.
    pub instruction: u32,
    /// FDP, without a selector.
    pub data: u32,
    /// R0 to R7. MMX's registers are the significands.
    registers: [Extended; 8],
    /// XMM0 to XMM7.
    pub xmm: [u128; 8],
    /// MXCSR.
    pub mxcsr: u32,
}

impl Fpu {
    /// The state after `finit`, but for the registers.
    pub fn initialize(&mut self) {
        let initial = Self::from(&flatland_x86::Fpu::default());
        *self = Self { registers: self.registers, xmm: self.xmm, mxcsr: self.mxcsr, ..initial };
    }

    /// The x87's control word.
    pub fn control(&self) -> u16 {
        self.control
    }

    /// Sets the control word.
    pub fn set_control(&mut self, control: u16) {
        self.control = control & CONTROL_DEFINED | CONTROL_SET;
        self.update_error();
    }

    /// The x87's status word.
    pub fn status(&self) -> u16 {
        self.status | u16::from(self.top) << status::TOP_SHIFT
    }

    /// Sets the status word.
    pub fn set_status(&mut self, value: u16) {
        self.status = value & !status::TOP;
        self.top = (value >> status::TOP_SHIFT) as u8 & 7;
        self.update_error();
    }

    /// The error flag says whether there is an exception that is not masked.
    fn update_error(&mut self) {
        let is_error = self.status & !self.control & u16::from(flag::ALL) != 0;
        self.status &= !(status::ERROR | status::BUSY);
        if is_error {
            self.status |= status::ERROR | status::BUSY;
        }
    }

    /// Whether the next instruction that waits must raise #MF.
    pub fn has_error(&self) -> bool {
        self.status & status::ERROR != 0
    }

    /// Clears the exceptions.
    pub fn clear_exceptions(&mut self) {
        self.status &= status::C0 | status::C1 | status::C2 | status::C3;
    }

    /// Replaces condition codes.
    pub fn set_conditions(&mut self, which: u16, set: u16) {
        self.status = self.status & !which | set;
    }

    /// The tags of all registers, by their numbers: a bit for each that is not empty.
    pub fn tags(&self) -> u8 {
        self.tags
    }

    /// Sets the tags of all registers.
    pub fn set_tags(&mut self, tags: u8) {
        self.tags = tags;
    }

    /// The tag word with two bits for each register (SDM volume 1, figure 8-7).
    pub fn full_tags(&self) -> u16 {
        (0..8).fold(0, |all, number| {
            let Extended { significand, head } = self.registers[number];
            let tag = match head & 0x7fff {
                _ if self.tags & 1 << number == 0 => 3,
                0 if significand == 0 => 1,
                0 | 0x7fff => 2,
                _ if significand >> 63 == 0 => 2,
                _ => 0,
            };
            all | tag << (2 * number)
        })
    }

    /// Sets the tags by a word with two bits for each register.
    pub fn set_full_tags(&mut self, tags: u16) {
        self.tags = (0..8).fold(0, |all, number| all | u8::from(tags >> (2 * number) & 3 != 3) << number);
    }

    fn number(&self, st: u8) -> usize {
        usize::from((self.top + st) & 7)
    }

    /// Whether a register of the stack is empty.
    pub fn is_empty(&self, st: u8) -> bool {
        self.tags & 1 << self.number(st) == 0
    }

    /// Makes a register of the stack empty.
    pub fn free(&mut self, st: u8) {
        self.tags &= !(1 << self.number(st));
    }

    /// A register of the stack, empty or not.
    pub fn st(&self, st: u8) -> Extended {
        self.registers[self.number(st)]
    }

    /// Stores to a register of the stack.
    pub fn set_st(&mut self, st: u8, value: Extended) {
        let number = self.number(st);
        self.registers[number] = value;
        self.tags |= 1 << number;
    }

    /// Pushes a value. The caller has looked whether there is room.
    pub fn push(&mut self, value: Extended) {
        self.turn(7);
        self.set_st(0, value);
    }

    /// Removes ST0.
    pub fn pop(&mut self) {
        self.free(0);
        self.turn(1);
    }

    /// Adds to the number of the top register.
    pub fn turn(&mut self, by: u8) {
        self.top = (self.top + by) & 7;
    }

    /// An MMX register.
    pub fn mm(&self, number: u8) -> u64 {
        self.registers[usize::from(number & 7)].significand
    }

    /// Stores to an MMX register.
    pub fn set_mm(&mut self, number: u8, value: u64) {
        self.registers[usize::from(number & 7)] = Extended { significand: value, head: 0xffff };
    }

    /// What an MMX instruction does to the x87 (SDM volume 1, section 9.5.1).
    pub fn begin_mmx(&mut self) {
        (self.top, self.tags) = (0, 0xff);
    }

    /// How the x87 computes, for a result in a register or in memory.
    pub fn environment(&self, unit: Unit) -> Environment {
        Environment {
            unit,
            rounding: Rounding::of(u32::from(self.control) >> 10),
            masks: self.control as u8 & flag::ALL,
            flushes: false,
            flags: 0,
            rounded_up: false,
        }
    }

    /// The format of the precision control.
    pub fn precision(&self) -> Format {
        let bits = match self.control >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        };
        Format { bits, ..Format::EXTENDED }
    }

    /// Notes the exceptions of an operation. Returns whether its result is to be stored.
    pub fn note(&mut self, env: &Environment) -> bool {
        let (mut flags, mut rounded_up) = (env.flags, env.rounded_up);
        let is_stored = env.is_stored();
        if env.is_before_result() {
            flags &= flag::INVALID | flag::ZERO_DIVIDE | flag::DENORMAL;
            rounded_up = false;
        } else if !is_stored {
            flags &= !flag::PRECISION;
            rounded_up = false;
        }
        self.set_conditions(status::C1, if rounded_up { status::C1 } else { 0 });
        self.status |= u16::from(flags);
        self.update_error();
        is_stored
    }

    /// Whether invalid operations are masked.
    pub fn masks_invalid(&self) -> bool {
        self.control & u16::from(flag::INVALID) != 0
    }

    /// Notes that a register was empty, or if `is_overflow` not empty. Returns whether the instruction goes on with the
    /// indefinite number.
    pub fn stack_fault(&mut self, is_overflow: bool) -> bool {
        self.set_conditions(status::C1, if is_overflow { status::C1 } else { 0 });
        self.status |= u16::from(flag::INVALID) | status::STACK_FAULT;
        self.update_error();
        self.masks_invalid()
    }

    /// How SSE computes.
    pub fn sse_environment(&self) -> Environment {
        let masks = (self.mxcsr >> mxcsr::MASK_SHIFT) as u8 & flag::ALL;
        Environment {
            unit: Unit::Sse,
            rounding: Rounding::of(self.mxcsr >> mxcsr::ROUNDING_SHIFT),
            masks,
            flushes: self.mxcsr & mxcsr::FTZ != 0,
            flags: 0,
            rounded_up: false,
        }
    }

    /// What an operand of SSE counts as.
    pub fn operand(&self, number: Number) -> Number {
        if number.denormal && self.mxcsr & mxcsr::DAZ != 0 { Number::zero(number.negative) } else { number }
    }
}

impl From<&flatland_x86::Fpu> for Fpu {
    fn from(state: &flatland_x86::Fpu) -> Self {
        let mut fpu = Self {
            control: 0,
            status: 0,
            top: 0,
            tags: state.tags,
            opcode: state.opcode & 0x7ff,
            instruction: state.instruction as u32,
            data: state.data as u32,
            registers: [Extended::default(); 8],
            xmm: state.xmm.map(u128::from_le_bytes),
            mxcsr: state.mxcsr & mxcsr::DEFINED,
        };
        fpu.set_control(state.control);
        fpu.set_status(state.status);
        for (st, bytes) in (0..).zip(&state.st) {
            let number = fpu.number(st);
            let (value, _) = bytes.split_at(10);
            fpu.registers[number] = Extended::from_bytes(value.try_into().expect("it has 10 bytes"));
        }
        fpu
    }
}

impl From<&Fpu> for flatland_x86::Fpu {
    fn from(fpu: &Fpu) -> Self {
        let mut st = [[0; 16]; 8];
        for (number, bytes) in (0..).zip(&mut st) {
            bytes[..10].copy_from_slice(&fpu.st(number).to_bytes());
        }
        Self {
            control: fpu.control,
            status: fpu.status(),
            tags: fpu.tags,
            opcode: fpu.opcode,
            instruction: fpu.instruction.into(),
            data: fpu.data.into(),
            st,
            xmm: fpu.xmm.map(u128::to_le_bytes),
            mxcsr: fpu.mxcsr,
        }
    }
}

impl Fpu {
    /// The state that engines exchange; `None` if it is as after a reset.
    pub fn state(&self) -> Option<Box<flatland_x86::Fpu>> {
        let state = flatland_x86::Fpu::from(self);
        (state != flatland_x86::Fpu::default()).then(|| Box::new(state))
    }
}
