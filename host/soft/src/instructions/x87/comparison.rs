//! The x87's comparisons (SDM volume 1, section 5.2.3).

use iced_x86::{Code, Instruction, Mnemonic};

use super::operand::{Double, IntegerDoubleword, IntegerWord, Operand, Single};
use crate::cpu::Cpu;
use crate::event::Step;
use crate::flags::{AF, CF, Flags, OF, PF, SF, ZF};
use crate::float::{self, Compared, Kind, Number, Unit};
use crate::fpu::status::{C0, C1, C2, C3};
use crate::operation::{Handler, Op};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    use Mnemonic as M;
    Some(match instruction.code() {
        Fcom_m32fp => with_memory::<Single, false>,
        Fcom_m64fp => with_memory::<Double, false>,
        Fcomp_m32fp => with_memory::<Single, true>,
        Fcomp_m64fp => with_memory::<Double, true>,
        Ficom_m16int => with_memory::<IntegerWord, false>,
        Ficom_m32int => with_memory::<IntegerDoubleword, false>,
        Ficomp_m16int => with_memory::<IntegerWord, true>,
        Ficomp_m32int => with_memory::<IntegerDoubleword, true>,
        _ => match instruction.mnemonic() {
            M::Fcom => with_register::<false, 0>,
            M::Fcomp => with_register::<false, 1>,
            M::Fcompp => with_register::<false, 2>,
            M::Fucom => with_register::<true, 0>,
            M::Fucomp => with_register::<true, 1>,
            M::Fucompp => with_register::<true, 2>,
            M::Fcomi => to_eflags::<false, false>,
            M::Fcomip => to_eflags::<false, true>,
            M::Fucomi => to_eflags::<true, false>,
            M::Fucomip => to_eflags::<true, true>,
            M::Ftst => test,
            M::Fxam => examine,
            _ => return None,
        },
    })
}

fn conditions(compared: Compared) -> u16 {
    match compared {
        Compared::Greater => 0,
        Compared::Less => C0,
        Compared::Equal => C3,
        Compared::Unordered => C0 | C2 | C3,
    }
}

/// Compares ST0 with a number, or with an empty register.
fn compare(cpu: &mut Cpu, other: Option<Number>, quiet: bool) -> (bool, Compared) {
    match other {
        Some(other) if !cpu.fpu.is_empty(0) => {
            let mut env = cpu.fpu.environment(Unit::X87);
            let compared = float::compare(&mut env, cpu.fpu.st(0).number(), other, quiet);
            (cpu.fpu.note(&env), compared)
        }
        _ => (cpu.fpu.stack_fault(false), Compared::Unordered),
    }
}

/// Compares, sets the condition codes and pops so many registers.
fn finish(cpu: &mut Cpu, op: &Op, other: Option<Number>, quiet: bool, pops: u8) -> Step {
    let (goes_on, compared) = compare(cpu, other, quiet);
    cpu.set_conditions(conditions(compared));
    if goes_on {
        (0..pops).for_each(|_| cpu.fpu.pop());
    }
    cpu.end_x87(op)
}

fn with_memory<S: Operand, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let other = S::load(cpu, op)?;
    finish(cpu, op, Some(other), false, u8::from(POP))
}

/// The number in a register, if it is not empty.
fn register(cpu: &Cpu, st: u8) -> Option<Number> {
    (!cpu.fpu.is_empty(st)).then(|| cpu.fpu.st(st).number())
}

fn with_register<const QUIET: bool, const POPS: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    // Those that pop twice name no register.
    let other = register(cpu, if POPS == 2 { 1 } else { op.source });
    finish(cpu, op, other, QUIET, POPS)
}

fn test(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    finish(cpu, op, Some(Number::zero(false)), false, 0)
}

fn to_eflags<const QUIET: bool, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let other = register(cpu, op.source);
    // Only an empty register clears C1.
    let kept = if other.is_some() && !cpu.fpu.is_empty(0) { cpu.fpu.status() & C1 } else { 0 };
    let (goes_on, compared) = compare(cpu, other, QUIET);
    cpu.fpu.set_conditions(C1, kept);
    set_flags(cpu, compared);
    if goes_on && POP {
        cpu.fpu.pop();
    }
    cpu.end_x87(op)
}

/// Sets the flags to the result of a comparison; OF, SF and AF are cleared.
pub fn set_flags(cpu: &mut Cpu, compared: Compared) {
    let flags = match compared {
        Compared::Greater => 0,
        Compared::Less => CF,
        Compared::Equal => ZF,
        Compared::Unordered => ZF | PF | CF,
    };
    cpu.flags = Flags::from_eflags(cpu.flags.to_eflags() & !(OF | SF | AF | ZF | PF | CF) | flags);
}

/// `fxam`: the class of ST0, and in C1 its sign.
fn examine(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let value = cpu.fpu.st(0);
    let number = value.number();
    let class = match number.kind {
        _ if cpu.fpu.is_empty(0) => C3 | C0,
        Kind::Unsupported => 0,
        Kind::Quiet | Kind::Signaling => C0,
        Kind::Finite if number.denormal => C3 | C2,
        Kind::Finite => C2,
        Kind::Infinity => C2 | C0,
        Kind::Zero => C3,
    };
    cpu.set_conditions(class);
    cpu.fpu.set_conditions(C1, if value.head & 0x8000 != 0 { C1 } else { 0 });
    cpu.end_x87(op)
}
