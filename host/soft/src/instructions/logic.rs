//! `not` (SDM volume 1, section 5.1.4), the one logical instruction that is not like an addition: see
//! [`arithmetic`](super::arithmetic) for the others.

use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::Cpu;
use super::super::event::Step;
use super::super::int::{Int, by_size};
use super::super::operand::by_place;
use super::super::operation::{Handler, Op, Place};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    (instruction.mnemonic() == Mnemonic::Not).then(|| by_place!(instruction, P, T => not::<T, P>))
}

/// It does not change the flags.
fn not<T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let operand = P::read_to_write(cpu, op)?;
    P::write(cpu, op, T::truncate(!operand.zero_extend()))?;
    P::finish(cpu)
}
