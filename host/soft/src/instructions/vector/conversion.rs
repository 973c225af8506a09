//! Conversions of SSE (SDM volume 1, sections 5.5.1.6 and 5.6.1.5).

use iced_x86::{Instruction, Mnemonic};

use super::arithmetic::Float;
use super::operand::{Place, Vector, by_vector_place, is_memory, set_low};
use crate::cpu::Cpu;
use crate::event::{Break, Step};
use crate::float::{self, Environment, Format, Number, Rounding};
use crate::operation::{Handler, Memory, Op, Register};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    let is_load = is_memory(instruction, 1);
    Some(match instruction.mnemonic() {
        Cvtsi2ss if is_load => from_general::<u32, true>,
        Cvtsi2ss => from_general::<u32, false>,
        Cvtsi2sd if is_load => from_general::<u64, true>,
        Cvtsi2sd => from_general::<u64, false>,
        Cvtss2si => by_vector_place!(instruction, P => to_general::<u32, false, P>),
        Cvttss2si => by_vector_place!(instruction, P => to_general::<u32, true, P>),
        Cvtsd2si => by_vector_place!(instruction, P => to_general::<u64, false, P>),
        Cvttsd2si => by_vector_place!(instruction, P => to_general::<u64, true, P>),
        Cvtss2sd => by_vector_place!(instruction, P => between::<u32, u64, P>),
        Cvtsd2ss => by_vector_place!(instruction, P => between::<u64, u32, P>),
        Cvtps2pd => by_vector_place!(instruction, P => widen::<Singles, P>),
        Cvtdq2pd => by_vector_place!(instruction, P => widen::<Integers, P>),
        Cvtpd2ps => by_vector_place!(instruction, P => narrow::<ToSingles, P>),
        Cvtpd2dq => by_vector_place!(instruction, P => narrow::<ToIntegers<false>, P>),
        Cvttpd2dq => by_vector_place!(instruction, P => narrow::<ToIntegers<true>, P>),
        Cvtdq2ps => by_vector_place!(instruction, P => same_width::<FromIntegers, P>),
        Cvtps2dq => by_vector_place!(instruction, P => same_width::<SinglesToIntegers<false>, P>),
        Cvttps2dq => by_vector_place!(instruction, P => same_width::<SinglesToIntegers<true>, P>),
        Cvtpi2ps if is_load => from_mmx::<Memory, true, false>,
        Cvtpi2ps => from_mmx::<Register, false, false>,
        Cvtpi2pd if is_load => from_mmx::<Memory, true, true>,
        Cvtpi2pd => from_mmx::<Register, false, true>,
        Cvtps2pi => by_vector_place!(instruction, P => singles_to_mmx::<false, P>),
        Cvttps2pi => by_vector_place!(instruction, P => singles_to_mmx::<true, P>),
        Cvtpd2pi => by_vector_place!(instruction, P => doubles_to_mmx::<false, P>),
        Cvttpd2pi => by_vector_place!(instruction, P => doubles_to_mmx::<true, P>),
        _ => return None,
    })
}

/// A signed integer of 32 bits, rounded to a format.
fn number_of(env: &mut Environment, integer: u32, format: Format) -> Number {
    float::round_number(env, float::from_integer((integer as i32).into()), format)
}

/// A number as a signed integer of 32 bits, rounded or truncated.
fn integer_of<const TRUNCATED: bool>(env: &mut Environment, number: Number) -> u32 {
    const INDEFINITE: u32 = 1 << 31;
    let rounding = env.rounding;
    if TRUNCATED {
        env.rounding = Rounding::Zero;
    }
    let integer = float::to_integer(env, number, 1 << 31);
    env.rounding = rounding;
    integer.map_or(INDEFINITE, |integer| integer as u32)
}

/// A number in another format.
fn converted(env: &mut Environment, number: Number, format: Format) -> Number {
    if let Some(nan) = env.unusable(number) {
        return nan;
    }
    env.note_denormal(number);
    float::round_number(env, number, format)
}

fn from_general<F: Float, const IN_MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let integer = match IN_MEMORY {
        true => cpu.load(op.segment, cpu.effective_address(op))?,
        false => cpu.reg(op.source),
    };
    let mut env = cpu.fpu.sse_environment();
    let number = number_of(&mut env, integer, F::FORMAT);
    cpu.note_sse(&env)?;
    set_low(cpu, op.destination, F::packed(number));
    Ok(())
}

fn to_general<F: Float, const TRUNCATED: bool, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let bits: F = P::low(cpu, op)?;
    let mut env = cpu.fpu.sse_environment();
    let integer = integer_of::<TRUNCATED>(&mut env, cpu.fpu.operand(bits.number()));
    cpu.note_sse(&env)?;
    cpu.set_reg(op.destination, integer);
    Ok(())
}

fn between<From: Float, To: Float, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let bits: From = P::low(cpu, op)?;
    let mut env = cpu.fpu.sse_environment();
    let number = converted(&mut env, cpu.fpu.operand(bits.number()), To::FORMAT);
    cpu.note_sse(&env)?;
    set_low(cpu, op.destination, To::packed(number));
    Ok(())
}

/// Elements of 32 bits, as numbers of 64.
trait Widen: 'static {
    fn of(cpu: &Cpu, env: &mut Environment, bits: u32) -> Number;
}

struct Singles;
struct Integers;

impl Widen for Singles {
    fn of(cpu: &Cpu, env: &mut Environment, bits: u32) -> Number {
        converted(env, cpu.fpu.operand(bits.number()), Format::DOUBLE)
    }
}

impl Widen for Integers {
    fn of(_: &Cpu, env: &mut Environment, bits: u32) -> Number {
        number_of(env, bits, Format::DOUBLE)
    }
}

/// Two elements, as two of twice the width.
fn widened<O: Widen>(cpu: &mut Cpu, source: u64) -> Result<u128, Break> {
    let mut env = cpu.fpu.sse_environment();
    let [low, high] = [source as u32, (source >> 32) as u32]
        .map(|bits| u128::from(u64::packed(O::of(cpu, &mut env, bits))));
    cpu.note_sse(&env).map(|()| low | high << 64)
}

fn widen<O: Widen, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let source: u64 = P::low(cpu, op)?;
    let result = widened::<O>(cpu, source)?;
    u128::set(cpu, op.destination, result);
    Ok(())
}

/// A number of 64 bits, as an element of 32.
trait Narrow: 'static {
    fn of(env: &mut Environment, number: Number) -> u32;
}

struct ToSingles;
struct ToIntegers<const TRUNCATED: bool>;

impl Narrow for ToSingles {
    fn of(env: &mut Environment, number: Number) -> u32 {
        u32::packed(converted(env, number, Format::SINGLE))
    }
}

impl<const TRUNCATED: bool> Narrow for ToIntegers<TRUNCATED> {
    fn of(env: &mut Environment, number: Number) -> u32 {
        integer_of::<TRUNCATED>(env, number)
    }
}

/// Two numbers of 64 bits, as two of half the width.
fn narrowed<O: Narrow>(cpu: &mut Cpu, source: u128) -> Result<u64, Break> {
    let mut env = cpu.fpu.sse_environment();
    let [low, high] = [source as u64, (source >> 64) as u64]
        .map(|bits| u64::from(O::of(&mut env, cpu.fpu.operand(bits.number()))));
    cpu.note_sse(&env).map(|()| low | high << 32)
}

fn narrow<O: Narrow, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let source: u128 = P::vector(cpu, op)?;
    let result = narrowed::<O>(cpu, source)?;
    u128::set(cpu, op.destination, result.into());
    Ok(())
}

/// An element of 32 bits, as another one.
trait SameWidth: 'static {
    fn of(cpu: &Cpu, env: &mut Environment, bits: u32) -> u32;
}

struct FromIntegers;
struct SinglesToIntegers<const TRUNCATED: bool>;

impl SameWidth for FromIntegers {
    fn of(_: &Cpu, env: &mut Environment, bits: u32) -> u32 {
        u32::packed(number_of(env, bits, Format::SINGLE))
    }
}

impl<const TRUNCATED: bool> SameWidth for SinglesToIntegers<TRUNCATED> {
    fn of(cpu: &Cpu, env: &mut Environment, bits: u32) -> u32 {
        integer_of::<TRUNCATED>(env, cpu.fpu.operand(bits.number()))
    }
}

fn elements<O: SameWidth>(cpu: &mut Cpu, source: u128, width: u32) -> Result<u128, Break> {
    let mut env = cpu.fpu.sse_environment();
    let mut result = 0;
    for shift in (0..width).step_by(32) {
        result |= u128::from(O::of(cpu, &mut env, (source >> shift) as u32)) << shift;
    }
    cpu.note_sse(&env).map(|()| result)
}

fn same_width<O: SameWidth, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let source: u128 = P::vector(cpu, op)?;
    let result = elements::<O>(cpu, source, 128)?;
    u128::set(cpu, op.destination, result);
    Ok(())
}

/// `cvtpi2ps` and `cvtpi2pd`. Of memory they use no MMX register, and leave the x87 as it is.
fn from_mmx<P: Place, const IN_MEMORY: bool, const DOUBLES: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    if !IN_MEMORY {
        u64::begin(cpu)?;
    }
    let source: u64 = P::vector(cpu, op)?;
    if !IN_MEMORY {
        u64::end(cpu);
    }
    if DOUBLES {
        let result = widened::<Integers>(cpu, source)?;
        u128::set(cpu, op.destination, result);
    } else {
        let result = elements::<FromIntegers>(cpu, source.into(), 64)?;
        set_low(cpu, op.destination, result as u64);
    }
    Ok(())
}

fn singles_to_mmx<const TRUNCATED: bool, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    u64::begin(cpu)?;
    let source: u64 = P::low(cpu, op)?;
    // An exception that is not masked comes after that.
    u64::end(cpu);
    let result = elements::<SinglesToIntegers<TRUNCATED>>(cpu, source.into(), 64)?;
    u64::set(cpu, op.destination, result as u64);
    Ok(())
}

fn doubles_to_mmx<const TRUNCATED: bool, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    u64::begin(cpu)?;
    let source: u128 = P::vector(cpu, op)?;
    u64::end(cpu);
    let result = narrowed::<ToIntegers<TRUNCATED>>(cpu, source)?;
    u64::set(cpu, op.destination, result);
    Ok(())
}
