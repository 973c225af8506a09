//! The x87's data transfer and constants (SDM volume 1, sections 5.2.1 and 5.2.5).

use iced_x86::{Code, Instruction, Mnemonic};

use super::operand::{
    Decimal, Double, INDEFINITE, IntegerDoubleword, IntegerQuadword, IntegerWord, Operand, Single, load_bytes,
};
use crate::cpu::Cpu;
use crate::event::Step;
use crate::flags::{A, Ae, B, Be, Condition, E, Ne, Np, P};
use crate::float::{self, Environment, Extended, Format, Number, Rounding, Unit};
use crate::fpu::status::C1;
use crate::operation::{Handler, Op};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    Some(match instruction.code() {
        Fld_m32fp => load::<Single>,
        Fld_m64fp => load::<Double>,
        Fld_m80fp => load_extended,
        Fld_sti => load_register,
        Fild_m16int => load::<IntegerWord>,
        Fild_m32int => load::<IntegerDoubleword>,
        Fild_m64int => load::<IntegerQuadword>,
        Fbld_m80bcd => load::<Decimal>,
        Fst_m32fp => store::<Single, false>,
        Fst_m64fp => store::<Double, false>,
        Fstp_m32fp => store::<Single, true>,
        Fstp_m64fp => store::<Double, true>,
        Fstp_m80fp => store_extended,
        Fist_m16int => store::<IntegerWord, false>,
        Fist_m32int => store::<IntegerDoubleword, false>,
        Fistp_m16int => store::<IntegerWord, true>,
        Fistp_m32int => store::<IntegerDoubleword, true>,
        Fistp_m64int => store::<IntegerQuadword, true>,
        Fbstp_m80bcd => store::<Decimal, true>,
        Fst_sti => store_register::<false>,
        Fstpnce_sti => store_register_unchecked,
        Fstp_sti | Fstp_sti_DFD0 | Fstp_sti_DFD8 => store_register::<true>,
        _ => return by_mnemonic(instruction.mnemonic()),
    })
}

fn by_mnemonic(mnemonic: Mnemonic) -> Option<Handler> {
    use Mnemonic::*;
    Some(match mnemonic {
        Fxch => exchange,
        Fcmovb => conditional::<B>,
        Fcmovbe => conditional::<Be>,
        Fcmove => conditional::<E>,
        Fcmovnb => conditional::<Ae>,
        Fcmovnbe => conditional::<A>,
        Fcmovne => conditional::<Ne>,
        Fcmovnu => conditional::<Np>,
        Fcmovu => conditional::<P>,
        Fld1 => constant::<0>,
        Fldl2t => constant::<1>,
        Fldl2e => constant::<2>,
        Fldpi => constant::<3>,
        Fldlg2 => constant::<4>,
        Fldln2 => constant::<5>,
        Fldz => constant::<6>,
        _ => return None,
    })
}

/// A number as it is stored to memory.
trait Stored: 'static {
    /// What is stored.
    type Bits: crate::int::Bytes;

    /// The result of an invalid operation.
    const INDEFINITE: Self::Bits;

    fn of(env: &mut Environment, number: Number) -> Self::Bits;
}

/// A number rounded to a format. NaNs become quiet.
fn rounded(env: &mut Environment, number: Number, format: Format) -> Number {
    let number = env.unusable(number).unwrap_or(number);
    float::round_number(env, number, format)
}

impl Stored for Single {
    type Bits = u32;

    const INDEFINITE: u32 = 0xffc0_0000;

    fn of(env: &mut Environment, number: Number) -> u32 {
        rounded(env, number, Format::SINGLE).to_single()
    }
}

impl Stored for Double {
    type Bits = u64;

    const INDEFINITE: u64 = 0xfff8_0000_0000_0000;

    fn of(env: &mut Environment, number: Number) -> u64 {
        rounded(env, number, Format::DOUBLE).to_double()
    }
}

impl Stored for IntegerWord {
    type Bits = u16;

    const INDEFINITE: u16 = 1 << 15;

    fn of(env: &mut Environment, number: Number) -> u16 {
        float::to_integer(env, number, 1 << 15).map_or(Self::INDEFINITE, |value| value as u16)
    }
}

impl Stored for IntegerDoubleword {
    type Bits = u32;

    const INDEFINITE: u32 = 1 << 31;

    fn of(env: &mut Environment, number: Number) -> u32 {
        float::to_integer(env, number, 1 << 31).map_or(Self::INDEFINITE, |value| value as u32)
    }
}

impl Stored for IntegerQuadword {
    type Bits = u64;

    const INDEFINITE: u64 = 1 << 63;

    fn of(env: &mut Environment, number: Number) -> u64 {
        float::to_integer(env, number, 1 << 63).map_or(Self::INDEFINITE, |value| value as u64)
    }
}

impl Stored for Decimal {
    type Bits = [u8; 10];

    const INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];

    fn of(env: &mut Environment, number: Number) -> [u8; 10] {
        const MOST: u64 = 999_999_999_999_999_999;
        let before = *env;
        let integer =
            float::to_integer(env, number, 1 << 63).filter(|integer| integer.unsigned_abs() <= MOST);
        let Some(integer) = integer else {
            *env = before;
            env.invalid();
            return Self::INDEFINITE;
        };
        let mut bytes = [0; 10];
        let mut rest = integer.unsigned_abs();
        for byte in &mut bytes[..9] {
            *byte = (rest / 10 % 10 * 16 + rest % 10) as u8;
            rest /= 100;
        }
        bytes[9] = u8::from(number.negative) << 7;
        bytes
    }
}

/// Pushes a number.
fn push(cpu: &mut Cpu, value: Extended) {
    cpu.fpu.set_conditions(C1, 0);
    if cpu.fpu.is_empty(7) {
        cpu.fpu.push(value);
    } else if cpu.fpu.stack_fault(true) {
        cpu.fpu.push(INDEFINITE);
    }
}

fn load<S: Operand>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let number = S::load(cpu, op)?;
    if !cpu.fpu.is_empty(7) {
        push(cpu, INDEFINITE);
        return cpu.end_x87(op);
    }
    let mut env = cpu.fpu.environment(Unit::X87);
    env.note_denormal(number);
    let number = env.unusable(number).unwrap_or(number);
    // A denormal number is loaded even if its exception is not masked.
    if cpu.fpu.note(&env) || number.denormal {
        cpu.fpu.push(number.into());
    }
    cpu.end_x87(op)
}

/// A number of 80 bits is loaded as it is.
fn load_extended(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let value = Extended::from_bytes(load_bytes(cpu, op)?);
    push(cpu, value);
    cpu.end_x87(op)
}

fn load_register(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    if cpu.fpu.is_empty(op.destination) {
        if cpu.fpu.stack_fault(false) {
            cpu.fpu.push(INDEFINITE);
        }
    } else {
        let value = cpu.fpu.st(op.destination);
        push(cpu, value);
    }
    cpu.end_x87(op)
}

fn store<S: Stored, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let address = cpu.effective_address(op);
    let goes_on = if cpu.fpu.is_empty(0) {
        if cpu.fpu.masks_invalid() {
            cpu.store(op.segment, address, S::INDEFINITE)?;
        }
        cpu.fpu.stack_fault(false)
    } else {
        let mut env = cpu.fpu.environment(Unit::X87Memory);
        let bits = S::of(&mut env, cpu.fpu.st(0).number());
        if env.is_stored() {
            cpu.store(op.segment, address, bits)?;
        }
        cpu.fpu.note(&env)
    };
    if goes_on && POP {
        cpu.fpu.pop();
    }
    cpu.end_x87(op)?;
    cpu.stored()
}

fn store_extended(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let address = cpu.effective_address(op);
    let is_empty = cpu.fpu.is_empty(0);
    if !is_empty || cpu.fpu.masks_invalid() {
        let value = if is_empty { INDEFINITE } else { cpu.fpu.st(0) };
        cpu.store(op.segment, address, value.to_bytes())?;
    }
    cpu.fpu.set_conditions(C1, 0);
    if !is_empty || cpu.fpu.stack_fault(false) {
        cpu.fpu.pop();
    }
    cpu.end_x87(op)?;
    cpu.stored()
}

fn store_register<const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    cpu.fpu.set_conditions(C1, 0);
    let (goes_on, value) = match cpu.fpu.is_empty(0) {
        true => (cpu.fpu.stack_fault(false), INDEFINITE),
        false => (true, cpu.fpu.st(0)),
    };
    if goes_on {
        cpu.fpu.set_st(op.destination, value);
        if POP {
            cpu.fpu.pop();
        }
    }
    cpu.end_x87(op)
}

/// `fstpnce`, to which an empty register is no fault.
fn store_register_unchecked(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    cpu.fpu.set_conditions(C1, 0);
    if !cpu.fpu.is_empty(0) {
        let value = cpu.fpu.st(0);
        cpu.fpu.set_st(op.destination, value);
    }
    cpu.fpu.pop();
    cpu.end_x87(op)
}

fn exchange(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    cpu.fpu.set_conditions(C1, 0);
    let [first, second] = [0, op.source].map(|st| (cpu.fpu.is_empty(st), cpu.fpu.st(st)));
    if !(first.0 || second.0) || cpu.fpu.stack_fault(false) {
        let [first, second] =
            [first, second].map(|(is_empty, value)| if is_empty { INDEFINITE } else { value });
        cpu.fpu.set_st(0, second);
        cpu.fpu.set_st(op.source, first);
    }
    cpu.end_x87(op)
}

/// `fcmov`. Empty registers are a fault whether the condition holds or not.
fn conditional<C: Condition>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    if cpu.fpu.is_empty(0) || cpu.fpu.is_empty(op.source) {
        if cpu.fpu.stack_fault(false) {
            cpu.fpu.set_st(0, INDEFINITE);
        }
    } else if C::holds(cpu.flags) {
        let value = cpu.fpu.st(op.source);
        cpu.fpu.set_st(0, value);
    }
    cpu.end_x87(op)
}

/// The constants: exponent, significand, and by how much it is more if rounded down and up.
const CONSTANTS: [(u16, u64, u64, u64); 7] = [
    (0x3fff, 0x8000_0000_0000_0000, 0, 0),
    (0x4000, 0xd49a_784b_cd1b_8afe, 0, 1),
    (0x3fff, 0xb8aa_3b29_5c17_f0bc, 1, 0),
    (0x4000, 0xc90f_daa2_2168_c235, 1, 0),
    (0x3ffd, 0x9a20_9a84_fbcf_f799, 1, 0),
    (0x3ffe, 0xb172_17f7_d1cf_79ac, 1, 0),
    (0, 0, 0, 0),
];

fn constant<const INDEX: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let (head, nearest, down, up) = CONSTANTS[INDEX];
    let significand = match cpu.fpu.environment(Unit::X87).rounding {
        Rounding::Nearest => nearest,
        Rounding::Up => nearest + up,
        Rounding::Down | Rounding::Zero => nearest - down,
    };
    push(cpu, Extended { significand, head });
    cpu.end_x87(op)
}
