//! Division (SDM volume 1, section 5.1.2).
//!
//! All status flags are undefined afterwards; they stay as they are.

use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::{Cpu, register};
use super::super::event::Step;
use super::super::int::{Int, by_size};
use super::super::operand::by_place;
use super::super::operation::{Handler, Op, Source};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    Some(match instruction.mnemonic() {
        Mnemonic::Div => by_place!(instruction, S, T => div::<T, S>),
        Mnemonic::Idiv => by_place!(instruction, S, T => idiv::<T, S>),
        _ => return None,
    })
}

/// The dividend: AX, DX:AX or EDX:EAX.
fn dividend<T: Int>(cpu: &Cpu) -> u64 {
    if T::BYTES == 1 {
        return cpu.reg_part::<u16>(register::EAX).into();
    }
    let half = |number| u64::from(cpu.reg_part::<T>(number).zero_extend());
    half(register::EDX) << T::BITS | half(register::EAX)
}

fn set_result<T: Int>(cpu: &mut Cpu, quotient: u32, remainder: u32) {
    const AH: u8 = 4;
    cpu.set_reg_part(register::EAX, T::truncate(quotient));
    let remainder_register = if T::BYTES == 1 { AH } else { register::EDX };
    cpu.set_reg_part(remainder_register, T::truncate(remainder));
}

/// #DE where the divisor is 0 or the quotient does not fit.
fn div<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let divisor = u64::from(S::read(cpu, op)?.zero_extend());
    let dividend = dividend::<T>(cpu);
    match dividend.checked_div(divisor) {
        Some(quotient) if quotient <= u64::from(T::MASK) => {
            set_result::<T>(cpu, quotient as u32, (dividend % divisor) as u32);
            Ok(())
        }
        _ => Err(cpu.divide_error()),
    }
}

fn idiv<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let divisor = i64::from(S::read(cpu, op)?.sign_extend() as i32);
    let unused_bits = 64 - 2 * T::BITS;
    let dividend = ((dividend::<T>(cpu) << unused_bits) as i64) >> unused_bits;
    // `checked_div` also fails for the smallest number divided by -1, whose quotient does not fit.
    match dividend.checked_div(divisor) {
        Some(quotient) if quotient == i64::from(T::truncate(quotient as u32).sign_extend() as i32) => {
            set_result::<T>(cpu, quotient as u32, (dividend % divisor) as u32);
            Ok(())
        }
        _ => Err(cpu.divide_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cpu::register;
    use super::super::table::{Row, check, execute};

    #[test]
    fn quotients_and_remainders() {
        check(&[
            Row {
                text: "div cl",
                code: &[0xf6, 0xf1],
                before: ([0x123400ff, 0x10, 0, 0], 0),
                after: ([0x12340f0f, 0x10, 0, 0], 0),
                flags: 0,
            },
            Row {
                text: "div ecx",
                code: &[0xf7, 0xf1],
                before: ([5, 3, 1, 0], 0),
                after: ([0x55555557, 3, 0, 0], 0),
                flags: 0,
            },
            Row {
                text: "div bx",
                code: &[0x66, 0xf7, 0xf3],
                before: ([0, 0, 1, 2], 0),
                after: ([0x8000, 0, 0, 2], 0),
                flags: 0,
            },
            Row {
                text: "idiv ecx",
                code: &[0xf7, 0xf9],
                before: ([0xfffffff9, 2, 0xffffffff, 0], 0),
                after: ([0xfffffffd, 2, 0xffffffff, 0], 0),
                flags: 0,
            },
            Row {
                text: "idiv cl",
                code: &[0xf6, 0xf9],
                before: ([0xff80, 1, 0, 0], 0),
                after: ([0x80, 1, 0, 0], 0),
                flags: 0,
            },
        ]);
    }

    #[test]
    fn what_does_not_fit_is_a_divide_error() {
        for (text, code, registers) in [
            ("div ecx, by 0", &[0xf7, 0xf1][..], [1, 0, 0, 0]),
            ("div ecx, 2^32 by 1", &[0xf7, 0xf1], [0, 1, 1, 0]),
            ("div cl", &[0xf6, 0xf1], [0x100, 1, 0, 0]),
            ("idiv ecx, -2^63 by -1", &[0xf7, 0xf9], [0, u32::MAX, 0x8000_0000, 0]),
            ("idiv ecx, -2^31 by -1", &[0xf7, 0xf9], [0x8000_0000, u32::MAX, u32::MAX, 0]),
            ("idiv cl, 128 by 1", &[0xf6, 0xf9], [0x80, 1, 0, 0]),
        ] {
            let (cpu, event) = execute(code, (registers, 0));
            assert_eq!(event.map(|event| event.vector), Some(0), "{text}");
            assert_eq!(cpu.reg(register::EAX), registers[0], "{text}");
        }
    }
}
