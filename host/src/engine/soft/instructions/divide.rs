//! Division (SDM volume 1, section 5.1.2).
//!
//! All status flags are undefined afterwards; they stay as they are.

use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::{Cpu, Step, register};
use super::super::decode::by_place;
use super::super::int::{Int, by_size};
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
    // `checked_div` fails for the smallest number by -1, too, whose quotient fits nowhere.
    match dividend.checked_div(divisor) {
        Some(quotient) if quotient == i64::from(T::truncate(quotient as u32).sign_extend() as i32) => {
            set_result::<T>(cpu, quotient as u32, (dividend % divisor) as u32);
            Ok(())
        }
        _ => Err(cpu.divide_error()),
    }
}
