//! The x87's control instructions, and the state of all units in memory (SDM volume 1, sections 5.2.6, 5.3 and 10.5).

use flatland_x86::cr0;
use iced_x86::{Code, Instruction, Mnemonic};

use crate::cpu::{Cpu, register};
use crate::event::{Break, Step};
use crate::float::Extended;
use crate::fpu::{mxcsr, status};
use crate::operation::{Handler, Op};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    use Mnemonic as M;
    Some(match instruction.code() {
        Fnstenv_m14byte => store_environment::<14>,
        Fnstenv_m28byte => store_environment::<28>,
        Fldenv_m14byte => load_environment::<14>,
        Fldenv_m28byte => load_environment::<28>,
        Fnsave_m94byte => save::<14, 94>,
        Fnsave_m108byte => save::<28, 108>,
        Frstor_m94byte => restore::<14, 94>,
        Frstor_m108byte => restore::<28, 108>,
        Fnstsw_AX => status_to_register,
        _ => match instruction.mnemonic() {
            M::Fninit => initialize,
            M::Fnclex => clear_exceptions,
            M::Fnstcw => store_control,
            M::Fldcw => load_control,
            M::Fnstsw => store_status,
            M::Fincstp => turn::<1>,
            M::Fdecstp => turn::<7>,
            M::Ffree => free::<false>,
            M::Ffreep => free::<true>,
            // Those of the 8087 and the 80287 do nothing since the 387.
            M::Fneni | M::Fndisi | M::Fnsetpm => |cpu, _| cpu.begin_control(),
            M::Fnop => nothing,
            M::Wait => wait,
            M::Fxsave => save_all,
            M::Fxrstor => restore_all,
            _ => return None,
        },
    })
}

fn initialize(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.begin_control()?;
    cpu.fpu.initialize();
    Ok(())
}

fn clear_exceptions(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.begin_control()?;
    cpu.fpu.clear_exceptions();
    Ok(())
}

fn store_control(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_control()?;
    cpu.store(op.segment, cpu.effective_address(op), cpu.fpu.control())?;
    cpu.stored()
}

fn load_control(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let control = cpu.load(op.segment, cpu.effective_address(op))?;
    cpu.fpu.set_control(control);
    Ok(())
}

fn store_status(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_control()?;
    cpu.store(op.segment, cpu.effective_address(op), cpu.fpu.status())?;
    cpu.stored()
}

fn status_to_register(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.begin_control()?;
    cpu.set_reg_part(register::EAX, cpu.fpu.status());
    Ok(())
}

fn turn<const BY: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    cpu.fpu.turn(BY);
    cpu.fpu.set_conditions(status::C1, 0);
    cpu.end_x87(op)
}

fn free<const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    cpu.fpu.free(op.destination);
    cpu.fpu.set_conditions(status::C1, 0);
    if POP {
        cpu.fpu.pop();
    }
    cpu.end_x87(op)
}

fn nothing(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    cpu.end_x87(op)
}

/// `wait` has a rule of its own for #NM (SDM volume 3, table 2-2).
fn wait(cpu: &mut Cpu, _: &Op) -> Step {
    const BOTH: u32 = cr0::MP | cr0::TS;
    if cpu.cr0 & BOTH == BOTH {
        return Err(cpu.no_device());
    }
    if cpu.fpu.has_error() { Err(cpu.floating_point_error()) } else { Ok(()) }
}

/// The environment in memory, with operands of 16 or 32 bits (SDM volume 1, figures 8-9 and 8-11). Selectors are 0, as on
/// processors that have deprecated them.
fn environment<const LEN: usize>(cpu: &Cpu) -> [u8; LEN] {
    let fpu = &cpu.fpu;
    let words = [fpu.control(), fpu.status(), fpu.full_tags()];
    let mut bytes = [0; LEN];
    if LEN == 14 {
        let all = [words[0], words[1], words[2], fpu.instruction as u16, 0, fpu.data as u16, 0];
        for (place, word) in bytes.chunks_exact_mut(2).zip(all) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    } else {
        const UNUSED: u32 = 0xffff_0000;
        let [control, status, tags] = words.map(|word| UNUSED | u32::from(word));
        let opcode = u32::from(fpu.opcode) << 16;
        let all = [control, status, tags, fpu.instruction, opcode, fpu.data, UNUSED];
        for (place, word) in bytes.chunks_exact_mut(4).zip(all) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

fn set_environment(cpu: &mut Cpu, bytes: &[u8]) {
    let width = bytes.len() / 7;
    let word = |index: usize| {
        let field = &bytes[index * width..][..width];
        field.iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte))
    };
    let fpu = &mut cpu.fpu;
    fpu.set_control(word(0) as u16);
    fpu.set_status(word(1) as u16);
    fpu.set_full_tags(word(2) as u16);
    (fpu.instruction, fpu.data) = (word(3), word(5));
    if width == 4 {
        fpu.opcode = (word(4) >> 16) as u16 & 0x7ff;
    }
}

/// Masks all exceptions afterwards.
fn store_environment<const LEN: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_control()?;
    let bytes: [u8; LEN] = environment(cpu);
    cpu.store_block(op.segment, cpu.effective_address(op), &bytes)?;
    cpu.fpu.set_control(cpu.fpu.control() | 0x3f);
    cpu.stored()
}

fn load_environment<const LEN: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let bytes: [u8; LEN] = cpu.load(op.segment, cpu.effective_address(op))?;
    set_environment(cpu, &bytes);
    Ok(())
}

fn save<const ENVIRONMENT: usize, const LEN: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_control()?;
    let mut bytes = [0; LEN];
    bytes[..ENVIRONMENT].copy_from_slice(&environment::<ENVIRONMENT>(cpu));
    for (st, place) in (0..).zip(bytes[ENVIRONMENT..].chunks_exact_mut(10)) {
        place.copy_from_slice(&cpu.fpu.st(st).to_bytes());
    }
    cpu.store_block(op.segment, cpu.effective_address(op), &bytes)?;
    cpu.fpu.initialize();
    cpu.stored()
}

fn restore<const ENVIRONMENT: usize, const LEN: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.begin_x87()?;
    let bytes: [u8; LEN] = cpu.load(op.segment, cpu.effective_address(op))?;
    set_environment(cpu, &bytes[..ENVIRONMENT]);
    let tags = cpu.fpu.tags();
    for (st, value) in (0..).zip(bytes[ENVIRONMENT..].as_chunks().0) {
        cpu.fpu.set_st(st, Extended::from_bytes(*value));
    }
    cpu.fpu.set_tags(tags);
    Ok(())
}

/// The address of FXSAVE's area, if it is aligned and the units are switched on.
fn area(cpu: &mut Cpu, op: &Op) -> Result<u32, Break> {
    cpu.begin_control()?;
    let address = cpu.effective_address(op);
    cpu.check_alignment(op.segment, address)?;
    Ok(address)
}

/// Where the area's parts begin (SDM volume 1, table 10-2). What follows the XMM registers is not stored.
mod layout {
    pub const ST: usize = 32;
    pub const XMM: usize = 160;
    pub const END: usize = 288;
}

fn save_all(cpu: &mut Cpu, op: &Op) -> Step {
    let address = area(cpu, op)?;
    let fpu = &cpu.fpu;
    let mut bytes = [0; layout::END];
    let mut put = |offset: usize, field: &[u8]| bytes[offset..][..field.len()].copy_from_slice(field);
    put(0, &fpu.control().to_le_bytes());
    put(2, &fpu.status().to_le_bytes());
    put(4, &[fpu.tags()]);
    put(6, &fpu.opcode.to_le_bytes());
    put(8, &fpu.instruction.to_le_bytes());
    put(16, &fpu.data.to_le_bytes());
    put(24, &fpu.mxcsr.to_le_bytes());
    put(28, &mxcsr::DEFINED.to_le_bytes());
    for number in 0..8 {
        put(layout::ST + 16 * usize::from(number), &fpu.st(number).to_bytes());
        put(layout::XMM + 16 * usize::from(number), &fpu.xmm[usize::from(number)].to_le_bytes());
    }
    cpu.store_block(op.segment, address, &bytes)?;
    cpu.stored()
}

fn restore_all(cpu: &mut Cpu, op: &Op) -> Step {
    const LEN: u32 = 512;
    let address = area(cpu, op)?;
    let bytes: [u8; LEN as usize] = cpu.load(op.segment, address)?;
    let word = |offset: usize| u16::from_le_bytes([bytes[offset], bytes[offset + 1]]);
    let doubleword = |offset: usize| u32::from(word(offset)) | u32::from(word(offset + 2)) << 16;
    if doubleword(24) & !mxcsr::DEFINED != 0 {
        return Err(cpu.general_protection(0));
    }
    let fpu = &mut cpu.fpu;
    fpu.set_control(word(0));
    fpu.set_status(word(2));
    fpu.opcode = word(6) & 0x7ff;
    (fpu.instruction, fpu.data, fpu.mxcsr) = (doubleword(8), doubleword(16), doubleword(24));
    let (values, _) = bytes[layout::ST..layout::END].as_chunks::<16>();
    for (number, value) in (0..8).zip(values) {
        let (low, _) = value.split_at(10);
        fpu.set_st(number, Extended::from_bytes(low.try_into().expect("it has 10 bytes")));
    }
    for (register, value) in fpu.xmm.iter_mut().zip(&values[8..]) {
        *register = u128::from_le_bytes(*value);
    }
    fpu.set_tags(bytes[4]);
    Ok(())
}
