//! Floating-point arithmetic and comparisons of SSE (SDM volume 1, sections 5.5.1.2, 5.5.1.3, 5.6.1.2 and 5.6.1.3).
//!
//! The host's own operations are used where the result and the exceptions are known to be the same: see [`is_host_exact`].

use iced_x86::{Code, Instruction, Mnemonic};

use super::operand::{Low, Place, Vector, by_vector_place, set_low};
use crate::cpu::Cpu;
use crate::event::{Break, Step};
use crate::float::{self, Compared, Environment, Format, Kind, Number, flag};
use crate::fpu::mxcsr;
use crate::instructions::x87::set_flags;
use crate::operation::{Handler, Op};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    macro_rules! scalar {
        ($F:ty, $O:ty) => {
            by_vector_place!(instruction, P => scalar::<$F, $O, P>)
        };
    }
    macro_rules! packed {
        ($F:ty, $O:ty) => {
            by_vector_place!(instruction, P => packed::<$F, $O, P>)
        };
    }
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Addss => scalar!(u32, Add),
        M::Addsd => scalar!(u64, Add),
        M::Addps => packed!(u32, Add),
        M::Addpd => packed!(u64, Add),
        M::Subss => scalar!(u32, Subtract),
        M::Subsd => scalar!(u64, Subtract),
        M::Subps => packed!(u32, Subtract),
        M::Subpd => packed!(u64, Subtract),
        M::Mulss => scalar!(u32, Multiply),
        M::Mulsd => scalar!(u64, Multiply),
        M::Mulps => packed!(u32, Multiply),
        M::Mulpd => packed!(u64, Multiply),
        M::Divss => scalar!(u32, Divide),
        M::Divsd => scalar!(u64, Divide),
        M::Divps => packed!(u32, Divide),
        M::Divpd => packed!(u64, Divide),
        M::Minss => scalar!(u32, Extreme<false>),
        M::Minsd => scalar!(u64, Extreme<false>),
        M::Minps => packed!(u32, Extreme<false>),
        M::Minpd => packed!(u64, Extreme<false>),
        M::Maxss => scalar!(u32, Extreme<true>),
        M::Maxsd => scalar!(u64, Extreme<true>),
        M::Maxps => packed!(u32, Extreme<true>),
        M::Maxpd => packed!(u64, Extreme<true>),
        M::Sqrtss => scalar!(u32, SquareRoot),
        M::Sqrtsd => scalar!(u64, SquareRoot),
        M::Sqrtps => packed!(u32, SquareRoot),
        M::Sqrtpd => packed!(u64, SquareRoot),
        M::Rcpss => scalar!(u32, Reciprocal),
        M::Rcpps => packed!(u32, Reciprocal),
        M::Rsqrtss => scalar!(u32, ReciprocalRoot),
        M::Rsqrtps => packed!(u32, ReciprocalRoot),
        M::Cmpss => scalar!(u32, Compare),
        M::Cmpps => packed!(u32, Compare),
        M::Cmppd => packed!(u64, Compare),
        M::Comiss => by_vector_place!(instruction, P => to_eflags::<u32, false, P>),
        M::Comisd => by_vector_place!(instruction, P => to_eflags::<u64, false, P>),
        M::Ucomiss => by_vector_place!(instruction, P => to_eflags::<u32, true, P>),
        M::Ucomisd => by_vector_place!(instruction, P => to_eflags::<u64, true, P>),
        _ if instruction.code() == Code::Cmpsd_xmm_xmmm64_imm8 => scalar!(u64, Compare),
        _ => return None,
    })
}

/// The bits of a number: of 32 bits or of 64.
pub trait Float: Low + Into<u128> + Eq {
    /// The host's type.
    type Host: Copy + PartialOrd;

    /// Its format.
    const FORMAT: Format;
    /// All bits.
    const ONES: Self;
    /// Zero.
    const ZERO: Self;

    /// Unpacks it.
    fn number(self) -> Number;
    /// Packs a number that has been rounded to it.
    fn packed(number: Number) -> Self;
    /// As the host's type.
    fn host(self) -> Self::Host;
    /// From the host's type.
    fn of_host(value: Self::Host) -> Self;
    /// The exponent's field.
    fn exponent(self) -> u32;
    /// Whether it is zero.
    fn is_zero(self) -> bool;
    /// The host's sum, difference, product and quotient.
    fn compute(a: Self::Host, b: Self::Host, with: Arithmetic) -> Self::Host;
}

/// An operation of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

macro_rules! float {
    ($bits:ty, $host:ty, $format:ident, $fraction:literal, $from:ident, $to:ident) => {
        impl Float for $bits {
            type Host = $host;

            const FORMAT: Format = Format::$format;
            const ONES: Self = !0;
            const ZERO: Self = 0;

            #[inline]
            fn number(self) -> Number {
                Number::$from(self)
            }

            #[inline]
            fn packed(number: Number) -> Self {
                number.$to()
            }

            #[inline]
            fn host(self) -> $host {
                <$host>::from_bits(self)
            }

            #[inline]
            fn of_host(value: $host) -> Self {
                value.to_bits()
            }

            #[inline]
            fn exponent(self) -> u32 {
                (self << 1 >> ($fraction + 1)) as u32
            }

            #[inline]
            fn is_zero(self) -> bool {
                self << 1 == 0
            }

            #[inline]
            fn compute(a: $host, b: $host, with: Arithmetic) -> $host {
                match with {
                    Arithmetic::Add => a + b,
                    Arithmetic::Subtract => a - b,
                    Arithmetic::Multiply => a * b,
                    Arithmetic::Divide => a / b,
                }
            }
        }
    };
}

float!(u32, f32, SINGLE, 23, from_single, to_single);
float!(u64, f64, DOUBLE, 52, from_double, to_double);

/// Whether a number is neither denormal nor infinite nor a NaN.
#[inline]
pub fn is_plain<F: Float>(bits: F) -> bool {
    // The greatest exponent's field is that of infinities and NaNs.
    bits.exponent().wrapping_sub(1) < (F::FORMAT.max * 2) as u32 || bits.is_zero()
}

/// Whether the host computes like this processor, whose only exception can be that of an inexact result: it rounds to the
/// nearest, and the exception is masked and noted already.
#[inline]
pub fn is_host_exact(mxcsr: u32) -> bool {
    const ROUNDING: u32 = 3 << mxcsr::ROUNDING_SHIFT;
    const PRECISION: u32 = flag::PRECISION as u32;
    const MASKED: u32 = PRECISION << mxcsr::MASK_SHIFT;
    mxcsr & (ROUNDING | PRECISION | MASKED) == PRECISION | MASKED
}

/// An operation on two numbers. One that has a single operand takes the second.
trait Operation: 'static {
    fn of<F: Float>(cpu: &Cpu, env: &mut Environment, op: &Op, a: F, b: F) -> F;

    /// By the host, if it has the same result without a new exception.
    #[inline]
    fn by_host<F: Float>(_: u32, _: F, _: F) -> Option<F> {
        None
    }
}

struct Add;
struct Subtract;
struct Multiply;
struct Divide;
/// The minimum, or the maximum.
struct Extreme<const MAXIMUM: bool>;
struct SquareRoot;
struct Compare;
struct Reciprocal;
struct ReciprocalRoot;

/// The host's result, if operands and result are normal numbers far enough from the limits.
#[inline]
fn computed<F: Float>(mxcsr: u32, a: F, b: F, with: Arithmetic) -> Option<F> {
    if !is_host_exact(mxcsr) || !is_plain(a) || !is_plain(b) {
        return None;
    }
    let result = F::of_host(F::compute(a.host(), b.host(), with));
    // The least normal number may have been rounded up from a tiny one.
    let is_normal = result.exponent().wrapping_sub(2) < (F::FORMAT.max * 2 - 1) as u32;
    let is_sum = matches!(with, Arithmetic::Add | Arithmetic::Subtract);
    (is_normal || is_sum && result.is_zero()).then_some(result)
}

macro_rules! arithmetic {
    ($($name:ident: $of:expr;)*) => {$(
        impl Operation for $name {
            fn of<F: Float>(cpu: &Cpu, env: &mut Environment, _: &Op, a: F, b: F) -> F {
                let of: fn(&mut Environment, Number, Number, Format) -> Number = $of;
                F::packed(of(env, cpu.fpu.operand(a.number()), cpu.fpu.operand(b.number()), F::FORMAT))
            }

            #[inline]
            fn by_host<F: Float>(mxcsr: u32, a: F, b: F) -> Option<F> {
                computed(mxcsr, a, b, Arithmetic::$name)
            }
        }
    )*};
}

arithmetic! {
    Add: float::add;
    Subtract: |env, a, b, format| float::add(env, a, b.subtracted(), format);
    Multiply: float::multiply;
    Divide: float::divide;
}

impl Operation for SquareRoot {
    fn of<F: Float>(cpu: &Cpu, env: &mut Environment, _: &Op, _: F, b: F) -> F {
        F::packed(float::square_root(env, cpu.fpu.operand(b.number()), F::FORMAT))
    }
}

impl<const MAXIMUM: bool> Operation for Extreme<MAXIMUM> {
    /// The second operand if they are equal, or if one is a NaN.
    fn of<F: Float>(cpu: &Cpu, env: &mut Environment, _: &Op, a: F, b: F) -> F {
        let [first, second] = [a, b].map(|bits| cpu.fpu.operand(bits.number()));
        // What counts as zero is zero in the result, too.
        let result =
            |bits: F, number: Number| if number.kind == Kind::Zero { F::packed(number) } else { bits };
        match float::compare(env, first, second, false) {
            Compared::Less if !MAXIMUM => result(a, first),
            Compared::Greater if MAXIMUM => result(a, first),
            _ => result(b, second),
        }
    }

    #[inline]
    fn by_host<F: Float>(_: u32, a: F, b: F) -> Option<F> {
        if !is_plain(a) || !is_plain(b) {
            return None;
        }
        let takes_first = if MAXIMUM { a.host() > b.host() } else { a.host() < b.host() };
        Some(if takes_first { a } else { b })
    }
}

impl Operation for Compare {
    /// The condition is in the immediate (SDM volume 2, CMPPS).
    fn of<F: Float>(cpu: &Cpu, env: &mut Environment, op: &Op, a: F, b: F) -> F {
        let [first, second] = [a, b].map(|bits| cpu.fpu.operand(bits.number()));
        let condition = op.immediate & 7;
        let is_quiet = matches!(condition, 0 | 3 | 4 | 7);
        let compared = float::compare(env, first, second, is_quiet);
        let holds = match condition & 3 {
            0 => compared == Compared::Equal,
            1 => compared == Compared::Less,
            2 => matches!(compared, Compared::Less | Compared::Equal),
            _ => compared == Compared::Unordered,
        };
        if holds != (condition & 4 != 0) { F::ONES } else { F::ZERO }
    }
}

impl Operation for Reciprocal {
    fn of<F: Float>(_: &Cpu, env: &mut Environment, _: &Op, _: F, b: F) -> F {
        approximate(env, b, |env, number| float::divide(env, Number::ONE, number, APPROXIMATE))
    }
}

impl Operation for ReciprocalRoot {
    fn of<F: Float>(_: &Cpu, env: &mut Environment, _: &Op, _: F, b: F) -> F {
        approximate(env, b, |env, number| {
            let root = float::square_root(env, number, Format::EXTENDED);
            if root.is_nan() { root } else { float::divide(env, Number::ONE, root, APPROXIMATE) }
        })
    }
}

/// As exact as approximations are: their relative error is at most 1.5 * 2^-12, and each processor has its own.
const APPROXIMATE: Format = Format { bits: 13, ..Format::SINGLE };

/// Approximations have no exceptions, round to the nearest, and know no denormal numbers.
fn approximate<F: Float>(env: &Environment, bits: F, of: impl Fn(&mut Environment, Number) -> Number) -> F {
    let mut own = Environment { rounding: float::Rounding::Nearest, masks: flag::ALL, flushes: true, ..*env };
    let number = bits.number();
    F::packed(of(&mut own, if number.denormal { Number::zero(number.negative) } else { number }))
}

fn scalar<F: Float, O: Operation, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let b: F = P::low(cpu, op)?;
    let a = F::of(u128::get(cpu, op.destination));
    let result = match O::by_host(cpu.fpu.mxcsr, a, b) {
        Some(result) => result,
        None => slow_scalar::<F, O>(cpu, op, a, b)?,
    };
    set_low(cpu, op.destination, result);
    Ok(())
}

#[inline(never)]
fn slow_scalar<F: Float, O: Operation>(cpu: &mut Cpu, op: &Op, a: F, b: F) -> Result<F, Break> {
    let mut env = cpu.fpu.sse_environment();
    let result = O::of(cpu, &mut env, op, a, b);
    cpu.note_sse(&env).map(|()| result)
}

fn packed<F: Float, O: Operation, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let b: u128 = P::vector(cpu, op)?;
    let a = u128::get(cpu, op.destination);
    let mut env = cpu.fpu.sse_environment();
    let mut result = 0;
    for shift in (0..128).step_by(F::BYTES as usize * 8) {
        let (a, b) = (F::of(a >> shift), F::of(b >> shift));
        let element = match O::by_host(cpu.fpu.mxcsr, a, b) {
            Some(element) => element,
            None => O::of(cpu, &mut env, op, a, b),
        };
        result |= element.into() << shift;
    }
    cpu.note_sse(&env)?;
    u128::set(cpu, op.destination, result);
    Ok(())
}

fn compared_by_host<T: PartialOrd>(a: T, b: T) -> Compared {
    if a < b {
        Compared::Less
    } else if a > b {
        Compared::Greater
    } else {
        Compared::Equal
    }
}

/// `comiss` and its like.
fn to_eflags<F: Float, const QUIET: bool, P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let b: F = P::low(cpu, op)?;
    let a = F::of(u128::get(cpu, op.destination));
    if is_plain(a) && is_plain(b) {
        set_flags(cpu, compared_by_host(a.host(), b.host()));
        return Ok(());
    }
    let mut env = cpu.fpu.sse_environment();
    let [first, second] = [a, b].map(|bits| cpu.fpu.operand(bits.number()));
    let compared = float::compare(&mut env, first, second, QUIET);
    cpu.note_sse(&env)?;
    set_flags(cpu, compared);
    Ok(())
}
