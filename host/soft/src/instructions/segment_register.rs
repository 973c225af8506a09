//! Segment register instructions (SDM volume 1, section 5.1.12, and volume 3, chapter 6): `mov`, `pop` and the
//! loads of far pointers.

use flatland_x86::Shadow;
use iced_x86::{Code, Instruction, Mnemonic, Register as Name};

use super::super::cpu::Cpu;
use super::super::event::{Break, Step};
use super::super::int::Int;
use super::super::operand::{Kind, by_source, kind};
use super::super::operation::{Destination, Handler, Memory, Op, Place, Source};
use super::super::segment::{Segment, error_code, is_null, number};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    let to_cs = (Name::CS == instruction.op0_register()) && instruction.mnemonic() == Mnemonic::Mov;
    Some(match instruction.code() {
        Mov_Sreg_rm16 | Mov_Sreg_r32m16 if !to_cs => by_source!(instruction, S => load::<S>),
        Mov_rm16_Sreg | Mov_r32m16_Sreg if kind(instruction, 0) == Kind::Memory => store::<u16, Memory>,
        Mov_rm16_Sreg => store::<u16, Destination>,
        Mov_r32m16_Sreg => store::<u32, Destination>,
        Popw_ES | Popw_SS | Popw_DS | Popw_FS | Popw_GS => pop::<u16>,
        Popd_ES | Popd_SS | Popd_DS | Popd_FS | Popd_GS => pop::<u32>,
        Les_r16_m1616 => load_pointer::<u16, { number::ES }>,
        Les_r32_m1632 => load_pointer::<u32, { number::ES }>,
        Lds_r16_m1616 => load_pointer::<u16, { number::DS }>,
        Lds_r32_m1632 => load_pointer::<u32, { number::DS }>,
        Lss_r16_m1616 => load_pointer::<u16, { number::SS }>,
        Lss_r32_m1632 => load_pointer::<u32, { number::SS }>,
        Lfs_r16_m1616 => load_pointer::<u16, { number::FS }>,
        Lfs_r32_m1632 => load_pointer::<u32, { number::FS }>,
        Lgs_r16_m1616 => load_pointer::<u16, { number::GS }>,
        Lgs_r32_m1632 => load_pointer::<u32, { number::GS }>,
        _ => return None,
    })
}

/// The segment that a selector loads into a register other than CS (SDM volume 2, MOV).
fn segment(cpu: &mut Cpu, register: u8, selector: u16) -> Result<Segment, Break> {
    let is_stack = register == number::SS;
    if is_null(selector) {
        return if is_stack { Err(cpu.general_protection(0)) } else { Ok(Segment::null(selector)) };
    }
    if is_stack {
        return cpu.stack_segment(selector, cpu.privilege_level());
    }
    let code = error_code(selector);
    let Some((descriptor, address)) = cpu.find_descriptor(selector)? else {
        return Err(cpu.general_protection(code));
    };
    if !descriptor.is_readable() || !cpu.reaches(selector, descriptor) {
        return Err(cpu.general_protection(code));
    }
    if !descriptor.is_present() {
        return Err(cpu.not_present(code));
    }
    cpu.mark_accessed(descriptor, address)?;
    Ok(Segment::new(selector, descriptor))
}

/// What `mov` and `pop` do. After `lss` there may be a trap (SDM volume 3, section 7.8.3).
fn set(cpu: &mut Cpu, op: &Op, segment: Segment) {
    cpu.set_segment(op.destination, segment);
    if op.destination == number::SS {
        cpu.cast_shadow(Shadow::MovSs, op.ordinal);
    }
}

fn load<S: Source<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = S::read(cpu, op)?;
    let segment = segment(cpu, op.destination, selector)?;
    set(cpu, op, segment);
    cpu.stored()
}

/// A 32-bit register receives the selector zero-extended. Memory always receives a word.
fn store<T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.segment(op.source).selector;
    P::write(cpu, op, T::truncate(selector.into()))?;
    P::finish(cpu)
}

fn pop<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.peek::<T>(0)?.zero_extend() as u16;
    let segment = segment(cpu, op.destination, selector)?;
    // Before SS changes, because the stack size comes from the old SS.
    cpu.drop_stack(T::BYTES);
    set(cpu, op, segment);
    cpu.stored()
}

fn load_pointer<T: Int, const REGISTER: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    let address = cpu.effective_address(op);
    let offset: T = cpu.load(op.segment, address)?;
    let selector: u16 = cpu.load(op.segment, address.wrapping_add(T::BYTES))?;
    let segment = segment(cpu, REGISTER, selector)?;
    cpu.set_segment(REGISTER, segment);
    cpu.set_reg_part(op.destination, offset);
    cpu.stored()
}
