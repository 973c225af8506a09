//! Multiplication (SDM volume 1, section 5.1.2).
//!
//! CF and OF are set if the product needs its upper half. The manual leaves SF, ZF and PF undefined; here they are
//! those of the lower half.

use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::{Cpu, register};
use super::super::event::Step;
use super::super::flags::Flags;
use super::super::int::{Int, by_size, by_word_size};
use super::super::operand::{by_place, by_source, size};
use super::super::operation::{Handler, Op, Source};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    let operand_size = || size(instruction, 0);
    Some(match (instruction.mnemonic(), instruction.op_count()) {
        (Mnemonic::Mul, _) => by_place!(instruction, S, T => mul::<T, S>),
        (Mnemonic::Imul, 1) => by_place!(instruction, S, T => imul::<T, S>),
        (Mnemonic::Imul, 2) => {
            by_source!(instruction, S => by_word_size!(operand_size(), T => imul_2::<T, S>))
        }
        (Mnemonic::Imul, _) => {
            by_source!(instruction, S => by_word_size!(operand_size(), T => imul_3::<T, S>))
        }
        _ => return None,
    })
}

fn flags<T: Int>(low: u32, upper_half_matters: bool) -> Flags {
    Flags::of_result::<T>(low).with_cf_of(upper_half_matters, upper_half_matters)
}

/// Stores a product to AX, DX:AX or EDX:EAX.
fn set_product<T: Int>(cpu: &mut Cpu, product: u64) {
    if T::BYTES == 1 {
        cpu.set_reg_part(register::EAX, product as u16);
    } else {
        cpu.set_reg_part(register::EAX, T::truncate(product as u32));
        cpu.set_reg_part(register::EDX, T::truncate((product >> T::BITS) as u32));
    }
}

fn mul<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let operand = S::read(cpu, op)?;
    let accumulator: T = cpu.reg_part(register::EAX);
    let product = u64::from(operand.zero_extend()) * u64::from(accumulator.zero_extend());
    set_product::<T>(cpu, product);
    cpu.flags = flags::<T>(product as u32, product >> T::BITS != 0);
    Ok(())
}

/// The product of two signed numbers, and whether it needs more than its lower half.
fn signed_product<T: Int>(first: T, second: T) -> (i64, bool) {
    let product = i64::from(first.sign_extend() as i32) * i64::from(second.sign_extend() as i32);
    let low = T::truncate(product as u32).sign_extend() as i32;
    (product, product != i64::from(low))
}

fn imul<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let operand = S::read(cpu, op)?;
    let (product, overflow) = signed_product(operand, cpu.reg_part(register::EAX));
    set_product::<T>(cpu, product as u64);
    cpu.flags = flags::<T>(product as u32, overflow);
    Ok(())
}

fn imul_2<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let operand = S::read(cpu, op)?;
    let (product, overflow) = signed_product(operand, cpu.reg_part(op.destination));
    cpu.set_reg_part(op.destination, T::truncate(product as u32));
    cpu.flags = flags::<T>(product as u32, overflow);
    Ok(())
}

fn imul_3<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let operand = S::read(cpu, op)?;
    let (product, overflow) = signed_product(operand, T::truncate(op.immediate));
    cpu.set_reg_part(op.destination, T::truncate(product as u32));
    cpu.flags = flags::<T>(product as u32, overflow);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::{CF, OF};
    use super::super::table::{Row, check};

    #[test]
    fn products() {
        check(&[
            Row {
                text: "mul cl",
                code: &[0xf6, 0xe1],
                before: ([0x12340010, 0x10, 0, 0], 0),
                after: ([0x12340100, 0x10, 0, 0], CF | OF),
                flags: CF | OF,
            },
            Row {
                text: "mul ecx",
                code: &[0xf7, 0xe1],
                before: ([0xffffffff, 0xffffffff, 7, 0], 0),
                after: ([1, 0xffffffff, 0xfffffffe, 0], CF | OF),
                flags: CF | OF,
            },
            Row {
                text: "mul dx",
                code: &[0x66, 0xf7, 0xe2],
                before: ([0xa, 0, 0xb, 0], CF | OF),
                after: ([0x6e, 0, 0, 0], 0),
                flags: CF | OF,
            },
            Row {
                text: "imul bl",
                code: &[0xf6, 0xeb],
                before: ([0xff, 0, 0, 0x7f], CF),
                after: ([0xff81, 0, 0, 0x7f], 0),
                flags: CF | OF,
            },
            Row {
                text: "imul ecx",
                code: &[0xf7, 0xe9],
                before: ([0x80000000, 0xffffffff, 0, 0], 0),
                after: ([0x80000000, 0xffffffff, 0, 0], CF | OF),
                flags: CF | OF,
            },
            Row {
                text: "imul eax, ecx",
                code: &[0x0f, 0xaf, 0xc1],
                before: ([0xfffffffe, 3, 0, 0], CF | OF),
                after: ([0xfffffffa, 3, 0, 0], 0),
                flags: CF | OF,
            },
            Row {
                text: "imul ax, cx, 0x100",
                code: &[0x66, 0x69, 0xc1, 0x00, 0x01],
                before: ([0x55550000, 0x80, 0, 0], 0),
                after: ([0x55558000, 0x80, 0, 0], CF | OF),
                flags: CF | OF,
            },
            Row {
                text: "imul eax, edx, -1",
                code: &[0x6b, 0xc2, 0xff],
                before: ([0, 0, 5, 0], 0),
                after: ([0xfffffffb, 0, 5, 0], 0),
                flags: CF | OF,
            },
        ]);
    }
}
