//! Data transfer of MMX and SSE (SDM volume 1, sections 5.4.1, 5.5.1.1, 5.5.3, 5.6.1.1 and 5.6.4).

use iced_x86::{Code, Instruction, Mnemonic};

use super::operand::{Low, Place, Vector, by_vector_place, is_memory, set_low};
use crate::cpu::{Cpu, register};
use crate::event::Step;
use crate::fpu::mxcsr;
use crate::instructions::string::has_16_bit_addresses;
use crate::operation::{Handler, Memory, Op, Register};
use flatland_x86::Access;

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    use Mnemonic as M;
    let is_load = is_memory(instruction, 1);
    let is_store = is_memory(instruction, 0);
    Some(match instruction.mnemonic() {
        M::Movaps | M::Movapd | M::Movdqa if is_load => load::<true>,
        M::Movaps | M::Movapd | M::Movdqa if is_store => store::<true>,
        M::Movups | M::Movupd | M::Movdqu if is_load => load::<false>,
        M::Movups | M::Movupd | M::Movdqu if is_store => store::<false>,
        M::Movntps | M::Movntpd | M::Movntdq => store::<true>,
        M::Movaps | M::Movapd | M::Movdqa | M::Movups | M::Movupd | M::Movdqu => copy,
        M::Movnti => store_general,
        M::Movntq => store_low::<u64, u64>,
        M::Movq2dq => from_mmx,
        M::Movdq2q => to_mmx,
        M::Movhlps => high_to_low,
        M::Movlhps => low_to_high,
        M::Movlps | M::Movlpd if is_load => load_half::<0>,
        M::Movhps | M::Movhpd if is_load => load_half::<64>,
        M::Movlps | M::Movlpd => store_half::<0>,
        M::Movhps | M::Movhpd => store_half::<64>,
        M::Maskmovq if has_16_bit_addresses(instruction) => masked::<u64, 0xffff>,
        M::Maskmovq => masked::<u64, { u32::MAX }>,
        M::Maskmovdqu if has_16_bit_addresses(instruction) => masked::<u128, 0xffff>,
        M::Maskmovdqu => masked::<u128, { u32::MAX }>,
        M::Ldmxcsr => load_mxcsr,
        M::Stmxcsr => store_mxcsr,
        M::Emms => emms,
        _ => match instruction.code() {
            Movss_xmm_xmmm32 if is_load => load_low::<u32>,
            Movss_xmm_xmmm32 => copy_low::<u32>,
            Movss_xmmm32_xmm if is_store => store_low::<u128, u32>,
            Movss_xmmm32_xmm => copy_low::<u32>,
            Movsd_xmm_xmmm64 if is_load => load_low::<u64>,
            Movsd_xmm_xmmm64 => copy_low::<u64>,
            Movsd_xmmm64_xmm if is_store => store_low::<u128, u64>,
            Movsd_xmmm64_xmm => copy_low::<u64>,
            Movq_xmm_xmmm64 => by_vector_place!(instruction, P => low_and_zero::<P>),
            Movq_xmmm64_xmm if is_store => store_low::<u128, u64>,
            Movq_xmmm64_xmm => low_and_zero::<Register>,
            Movq_mm_mmm64 if is_load => move_mmx::<Memory>,
            Movq_mm_mmm64 | Movq_mmm64_mm if !is_store => move_mmx::<Register>,
            Movq_mmm64_mm => store_low::<u64, u64>,
            Movd_mm_rm32 if is_load => from_general::<u64, true>,
            Movd_mm_rm32 => from_general::<u64, false>,
            Movd_xmm_rm32 if is_load => from_general::<u128, true>,
            Movd_xmm_rm32 => from_general::<u128, false>,
            Movd_rm32_mm if is_store => store_low::<u64, u32>,
            Movd_rm32_mm => to_general::<u64>,
            Movd_rm32_xmm if is_store => store_low::<u128, u32>,
            Movd_rm32_xmm => to_general::<u128>,
            _ => return None,
        },
    })
}

fn copy(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value = u128::get(cpu, op.source);
    u128::set(cpu, op.destination, value);
    Ok(())
}

fn load<const ALIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let address = cpu.effective_address(op);
    if ALIGNED {
        cpu.check_alignment(op.segment, address)?;
    }
    let value = cpu.load(op.segment, address)?;
    u128::set(cpu, op.destination, value);
    Ok(())
}

fn store<const ALIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let address = cpu.effective_address(op);
    if ALIGNED {
        cpu.check_alignment(op.segment, address)?;
    }
    cpu.store(op.segment, address, u128::get(cpu, op.source))?;
    cpu.stored()
}

/// `movnti` belongs to no unit that can be switched off.
fn store_general(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.store(op.segment, cpu.effective_address(op), cpu.reg(op.source))?;
    cpu.stored()
}

/// Stores the low bits of a register.
fn store_low<V: Vector, T: Low>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    cpu.store(op.segment, cpu.effective_address(op), T::of(V::get(cpu, op.source).wide()))?;
    V::end(cpu);
    cpu.stored()
}

/// Loads a number, and clears the rest of the register.
fn load_low<T: Low + Into<u128>>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value: T = Memory::low(cpu, op)?;
    u128::set(cpu, op.destination, value.into());
    Ok(())
}

/// Copies a number, and leaves the rest of the register.
fn copy_low<T: Low + Into<u128>>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value: T = Register::low(cpu, op)?;
    set_low(cpu, op.destination, value);
    Ok(())
}

fn low_and_zero<P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value: u64 = P::low(cpu, op)?;
    u128::set(cpu, op.destination, value.into());
    Ok(())
}

fn move_mmx<P: Place>(cpu: &mut Cpu, op: &Op) -> Step {
    u64::begin(cpu)?;
    let value: u64 = P::vector(cpu, op)?;
    u64::end(cpu);
    u64::set(cpu, op.destination, value);
    Ok(())
}

fn from_general<V: Vector, const IN_MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let value: u32 = match IN_MEMORY {
        true => cpu.load(op.segment, cpu.effective_address(op))?,
        false => cpu.reg(op.source),
    };
    V::end(cpu);
    V::set(cpu, op.destination, V::narrow(value.into()));
    Ok(())
}

fn to_general<V: Vector>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let value = V::get(cpu, op.source).wide() as u32;
    V::end(cpu);
    cpu.set_reg(op.destination, value);
    Ok(())
}

fn from_mmx(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    u64::begin(cpu)?;
    let value = u64::get(cpu, op.source);
    u64::end(cpu);
    u128::set(cpu, op.destination, value.into());
    Ok(())
}

fn to_mmx(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    u64::begin(cpu)?;
    let value = u128::get(cpu, op.source) as u64;
    u64::end(cpu);
    u64::set(cpu, op.destination, value);
    Ok(())
}

/// Replaces a half of a register.
fn set_half<const SHIFT: u32>(cpu: &mut Cpu, number: u8, value: u64) {
    let rest = u128::get(cpu, number) & !(u128::from(u64::MAX) << SHIFT);
    u128::set(cpu, number, rest | u128::from(value) << SHIFT);
}

fn high_to_low(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value = (u128::get(cpu, op.source) >> 64) as u64;
    set_half::<0>(cpu, op.destination, value);
    Ok(())
}

fn low_to_high(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value = u128::get(cpu, op.source) as u64;
    set_half::<64>(cpu, op.destination, value);
    Ok(())
}

fn load_half<const SHIFT: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value = Memory::low(cpu, op)?;
    set_half::<SHIFT>(cpu, op.destination, value);
    Ok(())
}

fn store_half<const SHIFT: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value = (u128::get(cpu, op.source) >> SHIFT) as u64;
    cpu.store(op.segment, cpu.effective_address(op), value)?;
    cpu.stored()
}

/// `maskmovq` and `maskmovdqu`: stores the bytes whose mask has its highest bit set, all of them or none.
fn masked<V: Vector, const ADDRESS: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    // Also if memory refuses the store.
    V::end(cpu);
    let start = cpu.reg_masked(register::EDI, ADDRESS);
    // The first operand is the address, so the registers are the second and the third.
    let bytes = V::get(cpu, op.source).wide().to_le_bytes();
    let mask = V::get(cpu, op.destination).wide().to_le_bytes();
    let chosen = || (0..V::BYTES).filter(|index| mask[*index as usize] & 0x80 != 0);
    // Whatever the mask is.
    cpu.check_operand_alignment(op.segment, start, 8)?;
    for index in chosen() {
        cpu.place(op.segment, start.wrapping_add(index), 1, Access::Write)?;
    }
    for index in chosen() {
        cpu.store(op.segment, start.wrapping_add(index), bytes[index as usize])?;
    }
    cpu.stored()
}

fn load_mxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value: u32 = cpu.load(op.segment, cpu.effective_address(op))?;
    if value & !mxcsr::DEFINED != 0 {
        return Err(cpu.general_protection(0));
    }
    cpu.fpu.mxcsr = value;
    Ok(())
}

fn store_mxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    cpu.store(op.segment, cpu.effective_address(op), cpu.fpu.mxcsr)?;
    cpu.stored()
}

fn emms(cpu: &mut Cpu, _: &Op) -> Step {
    u64::begin(cpu)?;
    cpu.fpu.begin_mmx();
    cpu.fpu.set_tags(0);
    Ok(())
}
