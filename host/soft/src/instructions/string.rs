//! String instructions (SDM volume 1, section 5.1.8), without `ins` and `outs`: see [`io`](super::io).
//!
//! A repeated instruction keeps its progress in ECX, ESI and EDI. So it can be restarted after a fault in the middle
//! (SDM volume 2, REP). A long one returns after each portion, so that an interrupt is noticed.

use iced_x86::{Code, Instruction, OpKind};

use super::super::cpu::{Cpu, register::*};
use super::super::event::{Break, Step};
use super::super::flags::TF;
use super::super::int::Int;
use super::super::operation::{Handler, Op};
use super::super::segment::number::ES;
use super::arithmetic::{Binary, Sub};
use flatland_x86::Access;

/// How a string instruction is repeated.
trait Repeat: 'static {
    /// Whether it is repeated at all.
    const REPEATS: bool;
    /// For the instructions that compare: whether the repetition continues after this result.
    fn goes_on(equal: bool) -> bool;
}

struct Once;
struct WhileEqual;
struct WhileNotEqual;

impl Repeat for Once {
    const REPEATS: bool = false;
    fn goes_on(_: bool) -> bool {
        false
    }
}

impl Repeat for WhileEqual {
    const REPEATS: bool = true;
    fn goes_on(equal: bool) -> bool {
        equal
    }
}

impl Repeat for WhileNotEqual {
    const REPEATS: bool = true;
    fn goes_on(equal: bool) -> bool {
        !equal
    }
}

/// The most elements that a repeated instruction executes before it returns.
const PORTION: u32 = 1 << 16;
/// The same limit if whole ranges of RAM are moved at once.
const BLOCK_PORTION: u32 = 1 << 22;

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    if instruction.has_repe_prefix() {
        select_repeat::<WhileEqual>(instruction)
    } else if instruction.has_repne_prefix() {
        select_repeat::<WhileNotEqual>(instruction)
    } else {
        select_repeat::<Once>(instruction)
    }
}

fn select_repeat<R: Repeat>(instruction: &Instruction) -> Option<Handler> {
    if has_16_bit_addresses(instruction) {
        select_address::<R, u16>(instruction.code())
    } else {
        select_address::<R, u32>(instruction.code())
    }
}

/// Whether a string instruction uses SI, DI and CX.
pub fn has_16_bit_addresses(instruction: &Instruction) -> bool {
    instruction
        .op_kinds()
        .any(|kind| matches!(kind, OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI))
}

fn select_address<R: Repeat, A: Int>(code: Code) -> Option<Handler> {
    Some(match code {
        Code::Movsb_m8_m8 => movs::<u8, R, A>,
        Code::Movsw_m16_m16 => movs::<u16, R, A>,
        Code::Movsd_m32_m32 => movs::<u32, R, A>,
        Code::Stosb_m8_AL => stos::<u8, R, A>,
        Code::Stosw_m16_AX => stos::<u16, R, A>,
        Code::Stosd_m32_EAX => stos::<u32, R, A>,
        Code::Lodsb_AL_m8 => lods::<u8, R, A>,
        Code::Lodsw_AX_m16 => lods::<u16, R, A>,
        Code::Lodsd_EAX_m32 => lods::<u32, R, A>,
        Code::Cmpsb_m8_m8 => cmps::<u8, R, A>,
        Code::Cmpsw_m16_m16 => cmps::<u16, R, A>,
        Code::Cmpsd_m32_m32 => cmps::<u32, R, A>,
        Code::Scasb_AL_m8 => scas::<u8, R, A>,
        Code::Scasw_AX_m16 => scas::<u16, R, A>,
        Code::Scasd_EAX_m32 => scas::<u32, R, A>,
        _ => return None,
    })
}

/// Moves ESI or EDI past `count` elements.
pub fn advance<T: Int, A: Int>(cpu: &mut Cpu, register: u8, count: u32) {
    let bytes = count.wrapping_mul(T::BYTES);
    let before = cpu.reg(register);
    let after = if cpu.direction_down() { before.wrapping_sub(bytes) } else { before.wrapping_add(bytes) };
    cpu.set_reg_masked(register, A::MASK, after);
}

/// Whether a repeated instruction makes one iteration at a time, because a trap may come after it: of TF or of a breakpoint (SDM
/// volume 3, sections 19.3.1.4 and 19.3.1.2).
pub fn is_single(cpu: &Cpu) -> bool {
    cpu.control_flags & TF != 0 || cpu.has_breakpoints()
}

/// Executes `element` once, or as often as the instruction is repeated. `element` returns the number of elements that
/// it has executed, from one to the number requested, and whether to continue.
#[inline(always)]
fn repeat<R: Repeat, A: Int>(
    cpu: &mut Cpu,
    element: impl Fn(&mut Cpu, u32) -> Result<(u32, bool), Break>,
) -> Step {
    if !R::REPEATS {
        element(cpu, 1)?;
        return cpu.stored();
    }
    let mut portion = if is_single(cpu) { 1 } else { PORTION };
    let mut blocks = if portion == 1 { 1 } else { BLOCK_PORTION };
    loop {
        let count = cpu.reg_masked(ECX, A::MASK);
        if count == 0 {
            return cpu.stored();
        }
        if portion == 0 || blocks == 0 {
            return Err(Break::Again);
        }
        let (done, go_on) = element(cpu, count.min(blocks))?;
        cpu.set_reg_masked(ECX, A::MASK, count - done);
        if !go_on {
            return cpu.stored();
        }
        portion -= 1;
        blocks -= done.min(blocks);
    }
}

/// Whether a whole range of RAM can be moved at once.
fn as_block<R: Repeat, A: Int>(cpu: &Cpu) -> bool {
    R::REPEATS && A::BYTES == 4 && !cpu.direction_down()
}

fn movs<T: Int, R: Repeat, A: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let segment = op.segment;
    repeat::<R, A>(cpu, |cpu, offered| {
        let from = cpu.reg_masked(ESI, A::MASK);
        let to = cpu.reg_masked(EDI, A::MASK);
        let mut done = 1;
        let (mut source, mut target, mut blocks) = (0, 0, 0);
        if as_block::<R, A>(cpu) {
            (source, blocks) = cpu.run::<T>(segment, from, offered, Access::Read);
            (target, blocks) = cpu.run::<T>(ES, to, blocks, Access::Write);
        }
        // If the ranges overlap, copying elements differs from copying bytes.
        let overlaps = (1..T::BYTES).contains(&target.wrapping_sub(source));
        if blocks > 1 && !overlaps {
            cpu.memory.copy_forward(source, target, blocks * T::BYTES);
            done = blocks;
        } else {
            let value: T = cpu.load(segment, from)?;
            cpu.store(ES, to, value)?;
        }
        advance::<T, A>(cpu, ESI, done);
        advance::<T, A>(cpu, EDI, done);
        Ok((done, true))
    })
}

fn stos<T: Int, R: Repeat, A: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    repeat::<R, A>(cpu, |cpu, offered| {
        let to = cpu.reg_masked(EDI, A::MASK);
        let value: T = cpu.reg_part(EAX);
        let mut done = 1;
        let (mut target, mut blocks) = (0, 0);
        if as_block::<R, A>(cpu) {
            (target, blocks) = cpu.run::<T>(ES, to, offered, Access::Write);
        }
        if blocks > 1 {
            cpu.memory.fill(target, blocks, value);
            done = blocks;
        } else {
            cpu.store(ES, to, value)?;
        }
        advance::<T, A>(cpu, EDI, done);
        Ok((done, true))
    })
}

fn lods<T: Int, R: Repeat, A: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let segment = op.segment;
    repeat::<R, A>(cpu, |cpu, _| {
        let value: T = cpu.load(segment, cpu.reg_masked(ESI, A::MASK))?;
        cpu.set_reg_part(EAX, value);
        advance::<T, A>(cpu, ESI, 1);
        Ok((1, true))
    })
}

fn cmps<T: Int, R: Repeat, A: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let segment = op.segment;
    repeat::<R, A>(cpu, |cpu, _| {
        let first: T = cpu.load(segment, cpu.reg_masked(ESI, A::MASK))?;
        let second: T = cpu.load(ES, cpu.reg_masked(EDI, A::MASK))?;
        (_, cpu.flags) = Sub::apply(first, second, cpu.flags);
        advance::<T, A>(cpu, ESI, 1);
        advance::<T, A>(cpu, EDI, 1);
        Ok((1, R::goes_on(cpu.flags.zf())))
    })
}

fn scas<T: Int, R: Repeat, A: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    repeat::<R, A>(cpu, |cpu, _| {
        let second: T = cpu.load(ES, cpu.reg_masked(EDI, A::MASK))?;
        (_, cpu.flags) = Sub::apply(cpu.reg_part(EAX), second, cpu.flags);
        advance::<T, A>(cpu, EDI, 1);
        Ok((1, R::goes_on(cpu.flags.zf())))
    })
}
