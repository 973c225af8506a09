//! Bit instructions (SDM volume 1, section 5.1.6), without `setcc`: see [`control`](super::control).

use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::{Cpu, register};
use super::super::event::{Break, Step};
use super::super::flags::Flags;
use super::super::int::{Int, by_word_size};
use super::super::operand::{Kind, by_source, kind, size};
use super::super::operation::{Destination, Handler, Op, Place, Source};

/// What an instruction does to the tested bit.
trait Change: 'static {
    /// Whether anything is stored.
    const STORES: bool = true;
    /// Changes the bit of the mask in the operand.
    fn apply(operand: u32, mask: u32) -> u32;
}

struct Nothing;
struct Set;
struct Reset;
struct Complement;

impl Change for Nothing {
    const STORES: bool = false;
    fn apply(operand: u32, _: u32) -> u32 {
        operand
    }
}

impl Change for Set {
    fn apply(operand: u32, mask: u32) -> u32 {
        operand | mask
    }
}

impl Change for Reset {
    fn apply(operand: u32, mask: u32) -> u32 {
        operand & !mask
    }
}

impl Change for Complement {
    fn apply(operand: u32, mask: u32) -> u32 {
        operand ^ mask
    }
}

/// The handler of an instruction of this module.
///
/// `tzcnt` and `lzcnt` are never decoded: `cpuid` does not advertise them, and their prefix is ignored.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    Some(match instruction.mnemonic() {
        Bt => handler::<Nothing>(instruction),
        Bts => handler::<Set>(instruction),
        Btr => handler::<Reset>(instruction),
        Btc => handler::<Complement>(instruction),
        Bsf => by_source!(instruction, S => by_word_size!(size(instruction, 0), T => bsf::<T, S>)),
        Bsr => by_source!(instruction, S => by_word_size!(size(instruction, 0), T => bsr::<T, S>)),
        Popcnt => by_source!(instruction, S => by_word_size!(size(instruction, 0), T => popcnt::<T, S>)),
        _ => return None,
    })
}

fn handler<C: Change>(instruction: &Instruction) -> Handler {
    use super::super::operation::{Immediate, Memory, Register};
    let operand_size = size(instruction, 0);
    match (kind(instruction, 0), kind(instruction, 1)) {
        (Kind::Memory, Kind::Register) => by_word_size!(operand_size, T => bit_string::<C, T>),
        (Kind::Memory, _) => by_word_size!(operand_size, T => bit::<C, T, Memory, Immediate>),
        (_, Kind::Register) => by_word_size!(operand_size, T => bit::<C, T, Destination, Register>),
        _ => by_word_size!(operand_size, T => bit::<C, T, Destination, Immediate>),
    }
}

/// A bit of a register, or of memory with an immediate offset: the offset counts modulo the operand's size.
fn bit<C: Change, T: Int, P: Place<T>, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = S::read(cpu, op)?.zero_extend() % T::BITS;
    let operand = if C::STORES { P::read_to_write(cpu, op) } else { P::read(cpu, op) }?.zero_extend();
    if C::STORES {
        P::write(cpu, op, T::truncate(C::apply(operand, 1 << offset)))?;
    }
    cpu.flags = cpu.flags.with_cf(operand & (1 << offset) != 0);
    P::finish(cpu)
}

/// A bit of a bit string in memory: the offset in the register is signed, so the bit can lie on either side of the
/// address (SDM volume 1, section 4.4.1, and volume 2, table 3-2).
fn bit_string<C: Change, T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let bit_offset = cpu.reg_part::<T>(op.source).sign_extend() as i32;
    let element = bit_offset.div_euclid(T::BITS as i32);
    let address_mask = if op.base == register::ADDRESS { 0xffff } else { u32::MAX };
    let offset =
        cpu.effective_address(op).wrapping_add((element as u32).wrapping_mul(T::BYTES)) & address_mask;
    let mask = 1 << bit_offset.rem_euclid(T::BITS as i32);
    let operand = match cpu.load::<T>(op.segment, offset) {
        Err(reason) if C::STORES => return Err(cpu.refused_to_write(op.segment, offset, T::BYTES, reason)),
        operand => operand?.zero_extend(),
    };
    if C::STORES {
        cpu.store(op.segment, offset, T::truncate(C::apply(operand, mask)))?;
    }
    cpu.flags = cpu.flags.with_cf(operand & mask != 0);
    cpu.stored()
}

/// Stores the number of a bit. If the source is 0, the destination does not change. The manual leaves it, and the
/// flags other than ZF, undefined.
fn scan<T: Int>(cpu: &mut Cpu, op: &Op, source: T, number: fn(u32) -> u32) -> Result<(), Break> {
    let source = source.zero_extend();
    if source != 0 {
        cpu.set_reg_part(op.destination, T::truncate(number(source)));
    }
    cpu.flags = cpu.flags.with_zf(source == 0);
    Ok(())
}

fn bsf<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = S::read(cpu, op)?;
    scan(cpu, op, source, u32::trailing_zeros)
}

fn bsr<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = S::read(cpu, op)?;
    scan(cpu, op, source, |source| source.ilog2())
}

/// Clears all status flags but ZF.
fn popcnt<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let source: T = S::read(cpu, op)?;
    let source = source.zero_extend();
    cpu.set_reg_part(op.destination, T::truncate(source.count_ones()));
    cpu.flags = Flags::from_eflags(0).with_zf(source == 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::{CF, ZF};
    use super::super::table::{Row, check, execute};

    #[test]
    fn bits() {
        check(&[
            Row {
                text: "bt eax, ecx modulo 32",
                code: &[0x0f, 0xa3, 0xc8],
                before: ([2, 0x21, 0, 0], 0),
                after: ([2, 0x21, 0, 0], CF),
                flags: CF,
            },
            Row {
                text: "bts ax, 15",
                code: &[0x66, 0x0f, 0xba, 0xe8, 0x0f],
                before: ([0, 0, 0, 0], CF),
                after: ([0x8000, 0, 0, 0], 0),
                flags: CF,
            },
            Row {
                text: "btr ecx, 0",
                code: &[0x0f, 0xba, 0xf1, 0x00],
                before: ([0, 0xffffffff, 0, 0], 0),
                after: ([0, 0xfffffffe, 0, 0], CF),
                flags: CF,
            },
            Row {
                text: "btc ecx, edx",
                code: &[0x0f, 0xbb, 0xd1],
                before: ([0, 0, 0x1f, 0], 0),
                after: ([0, 0x80000000, 0x1f, 0], 0),
                flags: CF,
            },
            Row {
                text: "bsf eax, ecx",
                code: &[0x0f, 0xbc, 0xc1],
                before: ([7, 0x80, 0, 0], ZF),
                after: ([7, 0x80, 0, 0], 0),
                flags: ZF,
            },
            Row {
                text: "bsf eax, ecx, of 0",
                code: &[0x0f, 0xbc, 0xc1],
                before: ([9, 0, 0, 0], 0),
                after: ([9, 0, 0, 0], ZF),
                flags: ZF,
            },
            Row {
                text: "bsr ax, cx",
                code: &[0x66, 0x0f, 0xbd, 0xc1],
                before: ([0x10000, 0x18000, 0, 0], 0),
                after: ([0x1000f, 0x18000, 0, 0], 0),
                flags: ZF,
            },
            Row {
                text: "lzcnt is bsr",
                code: &[0xf3, 0x0f, 0xbd, 0xc1],
                before: ([0, 0x10, 0, 0], 0),
                after: ([4, 0x10, 0, 0], 0),
                flags: ZF,
            },
            Row {
                text: "tzcnt is bsf",
                code: &[0xf3, 0x0f, 0xbc, 0xc1],
                before: ([5, 0, 0, 0], 0),
                after: ([5, 0, 0, 0], ZF),
                flags: ZF,
            },
        ]);
    }

    #[test]
    fn bit_strings_reach_in_both_directions() {
        // bts [0x400], ecx
        for (offset, address, byte) in
            [(0, 0x400, 1), (33, 0x404, 2), (u32::MAX, 0x3ff, 0x80), (0x1000, 0x600, 1)]
        {
            let (cpu, _) = execute(&[0x0f, 0xab, 0x0d, 0, 4, 0, 0], ([0, offset, 0, 0], 0));
            assert_eq!(cpu.memory.read::<u8>(address), Some(byte), "{offset:#x}");
        }
    }
}
