//! Flag control instructions (SDM volume 1, section 5.1.11), without `pushf` and `popf`: see
//! [`stack`](super::stack).

use flatland_x86::{Shadow, cr4};
use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::{Cpu, register::EAX};
use super::super::event::Step;
use super::super::flags::{AF, CF, DF, Flags, IF, OF, PF, RESERVED_1, SF, VIF, VIP, ZF};
use super::super::operation::{Handler, Op};

/// AH's number.
const AH: u8 = 4;

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    Some(match instruction.mnemonic() {
        Mnemonic::Clc => clc,
        Mnemonic::Stc => stc,
        Mnemonic::Cmc => cmc,
        Mnemonic::Cld => set_flag::<DF, false>,
        Mnemonic::Std => set_flag::<DF, true>,
        Mnemonic::Cli => set_interrupts::<false>,
        Mnemonic::Sti => set_interrupts::<true>,
        Mnemonic::Lahf => lahf,
        Mnemonic::Sahf => sahf,
        Mnemonic::Salc => salc,
        _ => return None,
    })
}

fn clc(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.flags = cpu.flags.with_cf(false);
    Ok(())
}

fn stc(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.flags = cpu.flags.with_cf(true);
    Ok(())
}

fn cmc(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.flags = cpu.flags.with_cf(!cpu.flags.cf());
    Ok(())
}

fn set_flag<const FLAG: u32, const SET: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.control_flags = cpu.control_flags & !FLAG | if SET { FLAG } else { 0 };
    Ok(())
}

/// At an outer level it needs IOPL, or at level 3 changes VIF where CR4.PVI is set (SDM volume 2, CLI and STI).
fn set_interrupts<const SET: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let is_virtual = cpu.privilege_level() == 3 && cpu.cr4 & cr4::PVI != 0;
    match cpu.has_io_privilege() {
        true if SET => {
            if cpu.control_flags & IF == 0 {
                cpu.cast_shadow(Shadow::Sti, op.ordinal);
            }
            cpu.control_flags |= IF;
            // What is pending is delivered after the next instruction, between two blocks.
            if cpu.interrupts.is_empty() { Ok(()) } else { cpu.branch_anew(op.next) }
        }
        true => set_flag::<IF, false>(cpu, op),
        false if is_virtual && !(SET && cpu.control_flags & VIP != 0) => set_flag::<VIF, SET>(cpu, op),
        false => Err(cpu.general_protection(0)),
    }
}

/// The flags that `lahf` and `sahf` move.
const LOW: u32 = SF | ZF | AF | PF | CF;

fn lahf(cpu: &mut Cpu, _: &Op) -> Step {
    let image = cpu.flags.to_eflags() & LOW | RESERVED_1;
    cpu.set_reg_part(AH, image as u8);
    Ok(())
}

fn sahf(cpu: &mut Cpu, _: &Op) -> Step {
    let image = u32::from(cpu.reg_part::<u8>(AH));
    cpu.flags = Flags::from_eflags(cpu.flags.to_eflags() & OF | image & LOW);
    Ok(())
}

/// AL becomes 0xff or 0 by CF: an instruction of every i686 that the manual leaves out.
fn salc(cpu: &mut Cpu, _: &Op) -> Step {
    let value = if cpu.flags.cf() { 0xff_u8 } else { 0 };
    cpu.set_reg_part(EAX, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::{AF, CF, DF, OF, PF, SF, ZF};
    use super::super::table::{Row, check};

    #[test]
    fn flags_are_moved() {
        check(&[
            Row {
                text: "cmc",
                code: &[0xf5],
                before: ([0, 0, 0, 0], CF | OF),
                after: ([0, 0, 0, 0], OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "lahf",
                code: &[0x9f],
                before: ([0, 0, 0, 0], CF | PF | AF | ZF | SF | OF),
                after: ([0xd700, 0, 0, 0], CF | PF | AF | ZF | SF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "sahf keeps OF",
                code: &[0x9e],
                before: ([0xff00, 0, 0, 0], OF),
                after: ([0xff00, 0, 0, 0], CF | PF | AF | ZF | SF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "salc",
                code: &[0xd6],
                before: ([0x100, 0, 0, 0], CF),
                after: ([0x1ff, 0, 0, 0], CF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "std",
                code: &[0xfd],
                before: ([0, 0, 0, 0], 0),
                after: ([0, 0, 0, 0], DF),
                flags: DF,
            },
        ]);
    }
}
