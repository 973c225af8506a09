//! Shows what is compared, before the instruction itself is executed.

use flatland_x86::{Comparison, Operands};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::super::cpu::{Cpu, register};
use super::super::event::Step;
use super::super::int::{Int, by_size};
use super::super::operand::{by_place, by_source};
use super::super::operation::{Handler, Immediate, Op, Source};
use super::super::segment::number;
use super::string::has_16_bit_addresses;

/// The operation that shows what this instruction is about to compare, if it compares anything. It comes before the
/// instruction's own.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    match instruction.mnemonic() {
        Cmpsb if !has_16_bit_addresses(instruction) => Some(by_repetition::<u8>(instruction)),
        Cmpsw if !has_16_bit_addresses(instruction) => Some(by_repetition::<u16>(instruction)),
        Cmpsd if instruction.code() == Code::Cmpsd_m32_m32 && !has_16_bit_addresses(instruction) => {
            Some(by_repetition::<u32>(instruction))
        }
        Cmp | Sub | Xor | Test => {
            let [first, second] = [0, 1].map(|operand| instruction.op_kind(operand));
            let registers = (instruction.op0_register(), instruction.op1_register());
            // `test eax, eax` and `xor eax, eax` compare nothing with anything, and the stack pointer is no data.
            let is_itself =
                first == OpKind::Register && second == OpKind::Register && registers.0 == registers.1;
            let is_data = !is_itself && registers.0 != Register::ESP;
            is_data.then(|| by_source!(instruction, S => by_place!(instruction, P, T => numbers::<T, P, S>)))
        }
        _ => None,
    }
}

fn by_repetition<T: Int>(instruction: &Instruction) -> Handler {
    match instruction.has_repe_prefix() || instruction.has_repne_prefix() {
        true => bytes::<T, true>,
        false => bytes::<T, false>,
    }
}

/// What cannot be read is the matter of the instruction itself.
fn numbers<T: Int, P: Source<T>, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    if cpu.comparisons.as_mut().is_some_and(|comparisons| comparisons.wants(op.eip))
        && let (Ok(first), Ok(second)) = (P::read(cpu, op), S::read(cpu, op))
        && let Some(comparisons) = &mut cpu.comparisons
    {
        let is_constant = core::any::TypeId::of::<S>() == core::any::TypeId::of::<Immediate>();
        let (first, second) = (first.zero_extend(), second.zero_extend());
        let operands = Operands::Numbers { width: T::BYTES as u8, first, second, is_constant };
        comparisons.push(Comparison { address: op.eip, operands });
    }
    Ok(())
}

fn bytes<T: Int, const REPEATS: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = if REPEATS { cpu.reg(register::ECX) } else { 1 };
    let len = count.saturating_mul(T::BYTES).min(Comparison::MOST as u32);
    if len == 0 || !cpu.comparisons.as_mut().is_some_and(|comparisons| comparisons.wants(op.eip)) {
        return Ok(());
    }
    let mut read = |segment, register| {
        let mut bytes = [0; Comparison::MOST];
        let start = cpu.reg(register);
        for (byte, offset) in bytes.iter_mut().zip(0..len) {
            *byte = cpu.load(segment, start.wrapping_add(offset)).ok()?;
        }
        Some(bytes)
    };
    let texts = (read(op.segment, register::ESI), read(number::ES, register::EDI));
    if let ((Some(first), Some(second)), Some(comparisons)) = (texts, &mut cpu.comparisons) {
        let operands = Operands::Bytes { len: len as u8, first, second };
        comparisons.push(Comparison { address: op.eip, operands });
    }
    Ok(())
}
