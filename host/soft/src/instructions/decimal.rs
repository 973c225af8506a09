//! Decimal arithmetic instructions (SDM volume 1, section 5.1.3), by the pseudocode of volume 2.

use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::{Cpu, register::EAX};
use super::super::event::Step;
use super::super::flags::Flags;
use super::super::operation::{Handler, Op};

/// AH's number.
const AH: u8 = 4;

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    Some(match instruction.mnemonic() {
        Mnemonic::Daa => daa,
        Mnemonic::Das => das,
        Mnemonic::Aaa => aaa,
        Mnemonic::Aas => aas,
        Mnemonic::Aam => aam,
        Mnemonic::Aad => aad,
        _ => return None,
    })
}

/// OF is undefined and cleared.
fn daa(cpu: &mut Cpu, _: &Op) -> Step {
    let al: u8 = cpu.reg_part(EAX);
    let low = al & 0xf > 9 || cpu.flags.af();
    let high = al > 0x99 || cpu.flags.cf();
    let result = al.wrapping_add(if low { 6 } else { 0 }).wrapping_add(if high { 0x60 } else { 0 });
    set_packed(cpu, result, low, high);
    Ok(())
}

/// Unlike `daa`, a borrow by the low digit's correction counts for CF on its own.
fn das(cpu: &mut Cpu, _: &Op) -> Step {
    let al: u8 = cpu.reg_part(EAX);
    let low = al & 0xf > 9 || cpu.flags.af();
    let high = al > 0x99 || cpu.flags.cf();
    let result = al.wrapping_sub(if low { 6 } else { 0 }).wrapping_sub(if high { 0x60 } else { 0 });
    set_packed(cpu, result, low, high || low && al < 6);
    Ok(())
}

fn set_packed(cpu: &mut Cpu, result: u8, af: bool, cf: bool) {
    cpu.set_reg_part(EAX, result);
    cpu.flags = Flags::of_result::<u8>(result.into()).with_cf_of(cf, false).with_af(af);
}

/// Carries of the low byte go to AH. SF, ZF, PF and OF are undefined.
fn aaa(cpu: &mut Cpu, _: &Op) -> Step {
    adjust_unpacked(cpu, 0x106)
}

fn aas(cpu: &mut Cpu, _: &Op) -> Step {
    adjust_unpacked(cpu, 0x106_u16.wrapping_neg())
}

fn adjust_unpacked(cpu: &mut Cpu, correction: u16) -> Step {
    let ax: u16 = cpu.reg_part(EAX);
    let adjust = ax & 0xf > 9 || cpu.flags.af();
    let corrected = if adjust { ax.wrapping_add(correction) } else { ax };
    cpu.set_reg_part(EAX, corrected & 0xff0f);
    cpu.flags = Flags::of_result::<u8>(u32::from(corrected & 0xf)).with_cf_of(adjust, false).with_af(adjust);
    Ok(())
}

/// The immediate is the base, usually 10.
fn aam(cpu: &mut Cpu, op: &Op) -> Step {
    let (al, base) = (cpu.reg_part::<u8>(EAX), op.immediate as u8);
    let Some(quotient) = al.checked_div(base) else {
        return Err(cpu.divide_error());
    };
    cpu.set_reg_part(AH, quotient);
    cpu.set_reg_part(EAX, al % base);
    cpu.flags = Flags::of_result::<u8>((al % base).into());
    Ok(())
}

fn aad(cpu: &mut Cpu, op: &Op) -> Step {
    let (al, ah) = (cpu.reg_part::<u8>(EAX), cpu.reg_part::<u8>(AH));
    let result = al.wrapping_add(ah.wrapping_mul(op.immediate as u8));
    cpu.set_reg_part(EAX, u16::from(result));
    cpu.flags = Flags::of_result::<u8>(result.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::{AF, CF, PF, SF, ZF};
    use super::super::table::{Row, check};

    #[test]
    fn digits() {
        check(&[
            Row {
                text: "daa, 0x79 + 0x35",
                code: &[0x27],
                before: ([0xae, 0, 0, 0], 0),
                after: ([0x14, 0, 0, 0], CF | PF | AF),
                flags: CF | AF | PF | ZF | SF,
            },
            Row {
                text: "das, 0x35 - 0x47",
                code: &[0x2f],
                before: ([0xee, 0, 0, 0], CF | AF),
                after: ([0x88, 0, 0, 0], CF | PF | AF | SF),
                flags: CF | AF | PF | ZF | SF,
            },
            Row {
                text: "das, borrow of the low digit alone",
                code: &[0x2f],
                before: ([5, 0, 0, 0], AF),
                after: ([0xff, 0, 0, 0], CF | PF | AF | SF),
                flags: CF | AF | PF | ZF | SF,
            },
            Row {
                text: "aaa",
                code: &[0x37],
                before: ([0xb, 0, 0, 0], 0),
                after: ([0x101, 0, 0, 0], CF | AF),
                flags: CF | AF,
            },
            Row {
                text: "aaa carries into ah",
                code: &[0x37],
                before: ([0xff, 0, 0, 0], 0),
                after: ([0x205, 0, 0, 0], CF | AF),
                flags: CF | AF,
            },
            Row {
                text: "aas",
                code: &[0x3f],
                before: ([0x2ff, 0, 0, 0], AF),
                after: ([0x109, 0, 0, 0], CF | AF),
                flags: CF | AF,
            },
            Row {
                text: "aam",
                code: &[0xd4, 0x0a],
                before: ([0x12000063, 0, 0, 0], 0),
                after: ([0x12000909, 0, 0, 0], PF),
                flags: PF | ZF | SF,
            },
            Row {
                text: "aad",
                code: &[0xd5, 0x0a],
                before: ([0x909, 0, 0, 0], 0),
                after: ([0x63, 0, 0, 0], PF),
                flags: PF | ZF | SF,
            },
        ]);
    }
}
