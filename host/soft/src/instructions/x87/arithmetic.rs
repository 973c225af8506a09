//! The x87's basic arithmetic (SDM volume 1, section 5.2.2).

use iced_x86::{Code, Instruction, Mnemonic};

use super::operand::{Double, INDEFINITE, IntegerDoubleword, IntegerWord, Operand, Single};
use crate::cpu::Cpu;
use crate::event::Step;
use crate::float::{self, Environment, Format, Number, Unit};
use crate::operation::{Handler, Op};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Fadd | M::Fiadd | M::Faddp => by_operands::<Add>(instruction),
        M::Fmul | M::Fimul | M::Fmulp => by_operands::<Multiply>(instruction),
        M::Fsub | M::Fisub | M::Fsubp => by_operands::<Subtract>(instruction),
        M::Fsubr | M::Fisubr | M::Fsubrp => by_operands::<SubtractReversed>(instruction),
        M::Fdiv | M::Fidiv | M::Fdivp => by_operands::<Divide>(instruction),
        M::Fdivr | M::Fidivr | M::Fdivrp => by_operands::<DivideReversed>(instruction),
        M::Fsqrt => square_root,
        M::Fabs => change_sign::<true>,
        M::Fchs => change_sign::<false>,
        _ => return None,
    })
}

fn by_operands<O: Operation>(instruction: &Instruction) -> Handler {
    use Code::*;
    match instruction.code() {
        Fadd_m32fp | Fmul_m32fp | Fsub_m32fp | Fsubr_m32fp | Fdiv_m32fp | Fdivr_m32fp => {
            of_memory::<O, Single>
        }
        Fadd_m64fp | Fmul_m64fp | Fsub_m64fp | Fsubr_m64fp | Fdiv_m64fp | Fdivr_m64fp => {
            of_memory::<O, Double>
        }
        Fiadd_m16int | Fimul_m16int | Fisub_m16int | Fisubr_m16int | Fidiv_m16int | Fidivr_m16int => {
            of_memory::<O, IntegerWord>
        }
        Fiadd_m32int | Fimul_m32int | Fisub_m32int | Fisubr_m32int | Fidiv_m32int | Fidivr_m32int => {
            of_memory::<O, IntegerDoubleword>
        }
        Faddp_sti_st0 | Fmulp_sti_st0 | Fsubp_sti_st0 | Fsubrp_sti_st0 | Fdivp_sti_st0 | Fdivrp_sti_st0 => {
            of_registers::<O, true>
        }
        _ => of_registers::<O, false>,
    }
}

/// An operation on two numbers.
trait Operation: 'static {
    fn of(env: &mut Environment, destination: Number, source: Number, format: Format) -> Number;
}

struct Add;
struct Multiply;
struct Subtract;
struct SubtractReversed;
struct Divide;
struct DivideReversed;

impl Operation for Add {
    fn of(env: &mut Environment, destination: Number, source: Number, format: Format) -> Number {
        float::add(env, destination, source, format)
    }
}

impl Operation for Multiply {
    fn of(env: &mut Environment, destination: Number, source: Number, format: Format) -> Number {
        float::multiply(env, destination, source, format)
    }
}

impl Operation for Subtract {
    fn of(env: &mut Environment, destination: Number, source: Number, format: Format) -> Number {
        float::add(env, destination, source.subtracted(), format)
    }
}

impl Operation for SubtractReversed {
    fn of(env: &mut Environment, destination: Number, source: Number, format: Format) -> Number {
        float::add(env, source, destination.subtracted(), format)
    }
}

impl Operation for Divide {
    fn of(env: &mut Environment, destination: Number, source: Number, format: Format) -> Number {
        float::divide(env, destination, source, format)
    }
}

impl Operation for DivideReversed {
    fn of(env: &mut Environment, destination: Number, source: Number, format: Format) -> Number {
        float::divide(env, source, destination, format)
    }
}

/// ST0 and an operand in memory.
fn of_memory<O: Operation, S: Operand>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let source = S::load(cpu, op)?;
    if cpu.fpu.is_empty(0) {
        if cpu.fpu.stack_fault(false) {
            cpu.fpu.set_st(0, INDEFINITE);
        }
        return cpu.end_x87(op);
    }
    let mut env = cpu.fpu.environment(Unit::X87);
    let result = O::of(&mut env, cpu.fpu.st(0).number(), source, cpu.fpu.precision());
    if cpu.fpu.note(&env) {
        cpu.fpu.set_st(0, result.into());
    }
    cpu.end_x87(op)
}

fn of_registers<O: Operation, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let (destination, source) = (op.destination, op.source);
    let (goes_on, result) = if cpu.fpu.is_empty(destination) || cpu.fpu.is_empty(source) {
        (cpu.fpu.stack_fault(false), INDEFINITE)
    } else {
        let mut env = cpu.fpu.environment(Unit::X87);
        let [a, b] = [destination, source].map(|st| cpu.fpu.st(st).number());
        let result = O::of(&mut env, a, b, cpu.fpu.precision());
        (cpu.fpu.note(&env), result.into())
    };
    if goes_on {
        cpu.fpu.set_st(destination, result);
        if POP {
            cpu.fpu.pop();
        }
    }
    cpu.end_x87(op)
}

fn square_root(cpu: &mut Cpu, op: &Op) -> Step {
    of_top(cpu, op, |cpu, env, number| float::square_root(env, number, cpu.fpu.precision()))
}

/// An instruction that replaces ST0 by a function of it.
pub fn of_top(
    cpu: &mut Cpu,
    op: &Op,
    function: impl FnOnce(&mut Cpu, &mut Environment, Number) -> Number,
) -> Step {
    cpu.begin_x87()?;
    if cpu.fpu.is_empty(0) {
        if cpu.fpu.stack_fault(false) {
            cpu.fpu.set_st(0, INDEFINITE);
        }
        return cpu.end_x87(op);
    }
    let mut env = cpu.fpu.environment(Unit::X87);
    let number = cpu.fpu.st(0).number();
    let result = function(cpu, &mut env, number);
    if cpu.fpu.note(&env) {
        cpu.fpu.set_st(0, result.into());
    }
    cpu.end_x87(op)
}

/// `fabs` and `fchs`, which change the sign of anything.
fn change_sign<const CLEAR: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    const SIGN: u16 = 0x8000;
    cpu.begin_x87()?;
    if cpu.fpu.is_empty(0) {
        if cpu.fpu.stack_fault(false) {
            cpu.fpu.set_st(0, INDEFINITE);
        }
    } else {
        let mut value = cpu.fpu.st(0);
        value.head = if CLEAR { value.head & !SIGN } else { value.head ^ SIGN };
        cpu.fpu.set_st(0, value);
        cpu.fpu.set_conditions(crate::fpu::status::C1, 0);
    }
    cpu.end_x87(op)
}
