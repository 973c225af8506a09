//! The x87's functions: transcendental ones, remainders, and the parts of a number (SDM volume 1, sections 5.2.2 and 5.2.4).

use iced_x86::{Instruction, Mnemonic};

use super::arithmetic::of_top;
use super::operand::INDEFINITE;
use crate::cpu::Cpu;
use crate::event::Step;
use crate::float::{self, Environment, Extended, Number, Quotient, Unit};
use crate::fpu::status::{C0, C1, C2, C3};
use crate::operation::{Handler, Op};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    Some(match instruction.mnemonic() {
        Frndint => |cpu, op| of_top(cpu, op, |_, env, number| float::round_to_integer(env, number)),
        F2xm1 => |cpu, op| of_top(cpu, op, |_, env, number| float::exponential_minus_1(env, number)),
        Fscale => |cpu, op| of_two::<false>(cpu, op, float::scale),
        Fyl2x => |cpu, op| of_two::<true>(cpu, op, |env, top, second| float::logarithm(env, second, top)),
        Fyl2xp1 => {
            |cpu, op| of_two::<true>(cpu, op, |env, top, second| float::logarithm_plus_1(env, second, top))
        }
        Fpatan => |cpu, op| of_two::<true>(cpu, op, |env, top, second| float::arc_tangent(env, second, top)),
        Fprem => remainder::<false>,
        Fprem1 => remainder::<true>,
        Fsin => |cpu, op| of_angle(cpu, op, float::sine),
        Fcos => |cpu, op| of_angle(cpu, op, float::cosine),
        Fptan => |cpu, op| with_second_of_angle(cpu, op, float::tangent, |_, _| Number::ONE),
        Fsincos => |cpu, op| with_second_of_angle(cpu, op, float::sine, float::cosine),
        Fxtract => extract,
        _ => return None,
    })
}

/// A function of ST0 and ST1. It replaces ST0, or if it pops, ST1.
fn of_two<const POP: bool>(
    cpu: &mut Cpu,
    op: &Op,
    function: impl FnOnce(&mut Environment, Number, Number) -> Number,
) -> Step {
    cpu.begin_x87()?;
    let (goes_on, result) = if cpu.fpu.is_empty(0) || cpu.fpu.is_empty(1) {
        (cpu.fpu.stack_fault(false), INDEFINITE)
    } else {
        let mut env = cpu.fpu.environment(Unit::X87);
        let result = function(&mut env, cpu.fpu.st(0).number(), cpu.fpu.st(1).number());
        (cpu.fpu.note(&env), result.into())
    };
    if goes_on {
        if POP {
            cpu.fpu.pop();
        }
        cpu.fpu.set_st(0, result);
    }
    cpu.end_x87(op)
}

/// `fprem` and `fprem1`. C0, C3 and C1 are the quotient's lowest bits; C2 says that there is more to do.
fn remainder<const NEAREST: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    if cpu.fpu.is_empty(0) || cpu.fpu.is_empty(1) {
        if cpu.fpu.stack_fault(false) {
            cpu.fpu.set_st(0, INDEFINITE);
        }
        cpu.fpu.set_conditions(C2, 0);
        return cpu.end_x87(op);
    }
    let mut env = cpu.fpu.environment(Unit::X87);
    let found = float::remainder(&mut env, cpu.fpu.st(0).number(), cpu.fpu.st(1).number(), NEAREST);
    cpu.fpu.set_conditions(C2, 0);
    if cpu.fpu.note(&env) {
        cpu.fpu.set_st(0, found.value.into());
        let bit = |quotient: u64, bit: u32, condition| if quotient >> bit & 1 != 0 { condition } else { 0 };
        let conditions = match found.quotient {
            Quotient::Is(quotient) => bit(quotient, 2, C0) | bit(quotient, 1, C3) | bit(quotient, 0, C1),
            Quotient::Partial => C2,
            Quotient::None => cpu.fpu.status() & (C0 | C3),
        };
        cpu.fpu.set_conditions(C0 | C1 | C2 | C3, conditions);
    }
    cpu.end_x87(op)
}

/// A function of an angle in ST0. C2 says that the angle is too great, and is left as it was.
fn of_angle(cpu: &mut Cpu, op: &Op, function: fn(&mut Environment, Number) -> Number) -> Step {
    let mut conditions = 0;
    let step = of_top(cpu, op, |_, env, angle| {
        if float::is_reducible(angle) {
            return function(env, angle);
        }
        conditions = C2;
        angle
    });
    if step.is_ok() {
        cpu.fpu.set_conditions(C2, conditions);
    }
    step
}

/// A function of an angle whose result replaces ST0, and another that is pushed.
fn with_second_of_angle(
    cpu: &mut Cpu,
    op: &Op,
    first: fn(&mut Environment, Number) -> Number,
    second: fn(&mut Environment, Number) -> Number,
) -> Step {
    cpu.begin_x87()?;
    if !has_room_for_second(cpu) {
        cpu.fpu.set_conditions(C2, 0);
        return cpu.end_x87(op);
    }
    let angle = cpu.fpu.st(0).number();
    if !float::is_reducible(angle) {
        cpu.fpu.set_conditions(C1 | C2, C2);
        return cpu.end_x87(op);
    }
    let mut env = cpu.fpu.environment(Unit::X87);
    let result = first(&mut env, angle);
    let pushed = if result.is_nan() { result } else { second(&mut env, angle) };
    if cpu.fpu.note(&env) {
        cpu.fpu.set_st(0, result.into());
        cpu.fpu.push(pushed.into());
    }
    cpu.fpu.set_conditions(C2, 0);
    cpu.end_x87(op)
}

/// Whether ST0 is not empty and there is room above it. If not, both become indefinite.
fn has_room_for_second(cpu: &mut Cpu) -> bool {
    let is_empty = cpu.fpu.is_empty(0);
    if !is_empty && cpu.fpu.is_empty(7) {
        return true;
    }
    if cpu.fpu.stack_fault(!is_empty) {
        cpu.fpu.set_st(0, INDEFINITE);
        cpu.fpu.push(INDEFINITE);
    }
    false
}

/// `fxtract`: the exponent replaces ST0, and the significand is pushed.
fn extract(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    if has_room_for_second(cpu) {
        let mut env = cpu.fpu.environment(Unit::X87);
        let (exponent, significand) = float::extract(&mut env, cpu.fpu.st(0).number());
        if cpu.fpu.note(&env) {
            cpu.fpu.set_st(0, exponent.into());
            cpu.fpu.push(Extended::from(significand));
        }
    }
    cpu.end_x87(op)
}
