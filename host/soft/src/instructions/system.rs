//! System instructions (SDM volume 1, section 5.20). The decoder puts a check in front of those that need privilege level 0.

use flatland_x86::{Access, SegmentRegister, cr0, cr4};
use iced_x86::{Code, Instruction, Mnemonic, Register as Name};

use super::super::cpu::{Cpu, DEBUG_EXCEPTION, SYSENTER, Table, debug_bits::*, register::*};
use super::super::event::{Break, Event, EventKind, Problem, Step};
use super::super::int::{Int, Size, by_word_size};
use super::super::operand::{Kind, by_source, kind};
use super::super::operation::{Destination, Handler, Memory, Op, Place, Register, Source};
use super::super::privilege::system_type;
use super::super::segment::{Descriptor, is_null};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    use Mnemonic as M;
    let stored = |size, to_memory: [Handler; 1], to_register: [Handler; 2]| match (kind(instruction, 0), size)
    {
        (Kind::Memory, _) => to_memory[0],
        (_, Size::Doubleword) => to_register[1],
        _ => to_register[0],
    };
    /// A system register that is stored to a word in memory, or to a register of either size.
    macro_rules! store {
        ($value:ident) => {
            stored(
                super::super::operand::size(instruction, 0),
                [store::<$value, u16, Memory>],
                [store::<$value, u16, Destination>, store::<$value, u32, Destination>],
            )
        };
    }
    Some(match instruction.mnemonic() {
        M::Lgdt => match instruction.code() {
            Lgdt_m1632_16 => lgdt::<true>,
            _ => lgdt::<false>,
        },
        M::Lidt => match instruction.code() {
            Lidt_m1632_16 => lidt::<true>,
            _ => lidt::<false>,
        },
        M::Sgdt => sgdt,
        M::Sidt => sidt,
        M::Sldt => store!(LocalTable),
        M::Str => store!(Task),
        M::Smsw => store!(MachineStatus),
        M::Lldt => by_operand(instruction, lldt::<Destination>, lldt::<Memory>),
        M::Ltr => by_operand(instruction, ltr::<Destination>, ltr::<Memory>),
        M::Lmsw => by_operand(instruction, lmsw::<Destination>, lmsw::<Memory>),
        M::Verr => by_operand(instruction, verify::<Destination, false>, verify::<Memory, false>),
        M::Verw => by_operand(instruction, verify::<Destination, true>, verify::<Memory, true>),
        M::Lar => {
            by_source!(instruction, S => by_word_size!(super::super::operand::size(instruction, 0), T => lar::<T, S>))
        }
        M::Lsl => {
            by_source!(instruction, S => by_word_size!(super::super::operand::size(instruction, 0), T => lsl::<T, S>))
        }
        M::Arpl => by_operand(instruction, arpl::<Destination>, arpl::<Memory>),
        M::Mov => match instruction.code() {
            Mov_r32_cr if is_control_register(instruction.op1_register()) => mov_from_control,
            Mov_cr_r32 if is_control_register(instruction.op0_register()) => mov_to_control,
            Mov_r32_dr if is_debug_register(instruction.op1_register()) => mov_from_debug,
            Mov_dr_r32 if is_debug_register(instruction.op0_register()) => mov_to_debug,
            _ => return None,
        },
        M::Clts => clts,
        // There are no caches, and that of translations is never out of date.
        M::Invlpg | M::Invd | M::Wbinvd => nothing,
        M::Rdmsr => rdmsr,
        M::Wrmsr => wrmsr,
        M::Rdpmc => no_such_register,
        M::Int1 => int1,
        _ => return None,
    })
}

fn by_operand(instruction: &Instruction, register: Handler, memory: Handler) -> Handler {
    if kind(instruction, 0) == Kind::Memory { memory } else { register }
}

fn is_control_register(register: Name) -> bool {
    matches!(register, Name::CR0 | Name::CR2 | Name::CR3 | Name::CR4)
}

fn is_debug_register(register: Name) -> bool {
    (Name::DR0..=Name::DR7).contains(&register)
}

fn nothing(_: &mut Cpu, _: &Op) -> Step {
    Ok(())
}

/// There are no performance counters.
fn no_such_register(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.general_protection(0))
}

/// IA32_TIME_STAMP_COUNTER (SDM volume 4, table 2-2).
const TIME_STAMP: u32 = 0x10;

/// The model-specific registers are the time stamp and those of `sysenter`.
fn rdmsr(cpu: &mut Cpu, op: &Op) -> Step {
    let number = cpu.reg(ECX);
    let value = match SYSENTER.iter().position(|known| *known == number) {
        Some(index) => cpu.sysenter[index].into(),
        None if number == TIME_STAMP => cpu.time_stamp(op),
        None => return Err(cpu.general_protection(0)),
    };
    cpu.set_reg(EAX, value as u32);
    cpu.set_reg(EDX, (value >> 32) as u32);
    Ok(())
}

fn wrmsr(cpu: &mut Cpu, op: &Op) -> Step {
    let number = cpu.reg(ECX);
    match SYSENTER.iter().position(|known| *known == number) {
        Some(index) => cpu.sysenter[index] = cpu.reg(EAX),
        None if number == TIME_STAMP => {
            let value = u64::from(cpu.reg(EDX)) << 32 | u64::from(cpu.reg(EAX));
            cpu.time_stamp_base = cpu.time_stamp_base.wrapping_add(value.wrapping_sub(cpu.time_stamp(op)));
        }
        None => return Err(cpu.general_protection(0)),
    }
    Ok(())
}

/// A debug exception, as a trap.
fn int1(cpu: &mut Cpu, _: &Op) -> Step {
    let (vector, kind) = (DEBUG_EXCEPTION, EventKind::PrivilegedSoftware);
    Err(cpu.fail(Problem::Event(Event { vector, error_code: None, kind })))
}

/// A table's limit and base in memory. With an operand size of 16 bits the base has 24 (SDM volume 2, LGDT).
fn load_table<const WORD: bool>(cpu: &mut Cpu, op: &Op) -> Result<Table, Break> {
    let address = cpu.effective_address(op);
    let limit: u16 = cpu.load(op.segment, address)?;
    let base: u32 = cpu.load(op.segment, address.wrapping_add(2))?;
    Ok(Table { base: if WORD { base & 0x00ff_ffff } else { base }, limit })
}

fn lgdt<const WORD: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.gdt = load_table::<WORD>(cpu, op)?;
    Ok(())
}

fn lidt<const WORD: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.idt = load_table::<WORD>(cpu, op)?;
    Ok(())
}

/// Stores all 32 bits of the base for any operand size, like processors since the 386.
fn store_table(cpu: &mut Cpu, op: &Op, table: Table) -> Step {
    let address = cpu.effective_address(op);
    if cpu.is_paged() {
        cpu.place(op.segment, address, 6, Access::Write)?;
    }
    // The second part first: if it is refused, nothing has been stored.
    cpu.store(op.segment, address.wrapping_add(2), table.base)?;
    cpu.store(op.segment, address, table.limit)?;
    cpu.stored()
}

fn sgdt(cpu: &mut Cpu, op: &Op) -> Step {
    store_table(cpu, op, cpu.gdt)
}

fn sidt(cpu: &mut Cpu, op: &Op) -> Step {
    store_table(cpu, op, cpu.idt)
}

/// A system register that instructions store.
trait SystemRegister: 'static {
    fn value(cpu: &Cpu) -> u32;
}

/// LDTR.
struct LocalTable;
/// TR.
struct Task;
/// CR0, of which `smsw` stores the low word, or all to a register of 32 bits.
struct MachineStatus;

impl SystemRegister for LocalTable {
    fn value(cpu: &Cpu) -> u32 {
        cpu.ldt.selector.into()
    }
}

impl SystemRegister for Task {
    fn value(cpu: &Cpu) -> u32 {
        cpu.task.selector.into()
    }
}

impl SystemRegister for MachineStatus {
    fn value(cpu: &Cpu) -> u32 {
        cpu.cr0
    }
}

fn store<R: SystemRegister, T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    P::write(cpu, op, T::truncate(R::value(cpu)))?;
    P::finish(cpu)
}

fn lldt<S: Source<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = S::read(cpu, op)?;
    cpu.ldt = if is_null(selector) {
        SegmentRegister { selector, base: 0, limit: 0, rights: 0 }
    } else {
        let (descriptor, _) = cpu.system_descriptor(selector, &[system_type::LDT])?;
        SegmentRegister::of(selector, descriptor.0)
    };
    Ok(())
}

fn ltr<S: Source<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    const AVAILABLE: [u8; 2] = [system_type::AVAILABLE_TSS_16, system_type::AVAILABLE_TSS_32];
    const BUSY: u64 = 1 << 41;
    let selector = S::read(cpu, op)?;
    if is_null(selector) {
        return Err(cpu.general_protection(0));
    }
    let (descriptor, address) = cpu.system_descriptor(selector, &AVAILABLE)?;
    cpu.write_access_byte(Descriptor(descriptor.0 | BUSY), address)?;
    cpu.task = SegmentRegister::of(selector, descriptor.0 | BUSY);
    cpu.stored()
}

/// Sets CR0: bits 0 to 5, 16, 18, 29, 30 and 31. Leaving protected mode is not supported.
fn set_cr0(cpu: &mut Cpu, op: &Op, value: u32) -> Step {
    use cr0::*;
    const DEFINED: u32 = 0x3f | WP | AM | NW | CD | PG;
    let value = value & DEFINED | ET;
    // SDM volume 2, MOV to control registers: #GP(0).
    let invalid = value & (PG | PE) == PG || value & (CD | NW) == NW;
    if invalid {
        return Err(cpu.general_protection(0));
    }
    if value & PE == 0 {
        return Err(cpu.fail(Problem::Unsupported));
    }
    cpu.set_paging(value, cpu.cr3, cpu.cr4);
    cpu.branch_anew(op.next)
}

/// It cannot clear PE (SDM volume 2, LMSW).
fn lmsw<S: Source<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    const LOADED: u32 = 0b1111;
    let source = S::read(cpu, op)?.zero_extend() & LOADED;
    set_cr0(cpu, op, cpu.cr0 & (!LOADED | cr0::PE) | source)
}

fn clts(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.cr0 &= !cr0::TS;
    Ok(())
}

fn mov_from_control(cpu: &mut Cpu, op: &Op) -> Step {
    let value = match op.source {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        _ => cpu.cr4,
    };
    cpu.set_reg(op.destination, value);
    Ok(())
}

fn mov_to_control(cpu: &mut Cpu, op: &Op) -> Step {
    let value = cpu.reg(op.source);
    match op.destination {
        0 => return set_cr0(cpu, op, value),
        2 => {
            cpu.cr2 = value;
            return Ok(());
        }
        3 => cpu.set_paging(cpu.cr0, value, cpu.cr4),
        _ => {
            // The bits of what `cpuid` promises, and of a Pentium's other modes.
            const PAGING: u32 = cr4::PSE | cr4::PGE;
            const SSE: u32 = cr4::OSFXSR | cr4::OSXMMEXCPT;
            const KNOWN: u32 = cr4::VME | cr4::PVI | cr4::TSD | cr4::DE | PAGING | SSE;
            if value & !KNOWN != 0 {
                return Err(cpu.general_protection(0));
            }
            cpu.set_paging(cpu.cr0, cpu.cr3, value);
        }
    }
    cpu.branch_anew(op.next)
}

/// Which debug register an instruction accesses. DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE is set (SDM volume
/// 3, sections 19.2.2 and 19.2.4).
fn debug_register(cpu: &mut Cpu, number: u8) -> Result<usize, Break> {
    let index = match number {
        4 | 5 if cpu.cr4 & cr4::DE != 0 => return Err(cpu.invalid_opcode()),
        4 | 5 => number + 2,
        _ => number & 7,
    };
    if cpu.debug[7] & DR7_DETECT != 0 {
        cpu.note_debug_exception(DR6_ACCESS);
        return Err(cpu.exception(DEBUG_EXCEPTION, None));
    }
    Ok(index.into())
}

fn mov_from_debug(cpu: &mut Cpu, op: &Op) -> Step {
    let index = debug_register(cpu, op.source)?;
    cpu.set_reg(op.destination, cpu.debug[index]);
    Ok(())
}

fn mov_to_debug(cpu: &mut Cpu, op: &Op) -> Step {
    let index = debug_register(cpu, op.destination)?;
    let value = cpu.reg(op.source);
    cpu.debug[index] = match index {
        // The bits that are always set, and always clear (SDM volume 3, sections 19.2.3 and 19.2.4).
        6 => value & 0x0000_e00f | 0xffff_0ff0,
        7 => value & 0xffff_2bff | 0x400,
        _ => value,
    };
    cpu.update_accesses();
    cpu.branch_anew(op.next)
}

/// The descriptor that `verr`, `verw`, `lar` or `lsl` examines, if there is one of a known kind.
fn examined(cpu: &mut Cpu, selector: u16) -> Result<Option<Descriptor>, Break> {
    if is_null(selector) {
        return Ok(None);
    }
    Ok(cpu.find_descriptor(selector)?.map(|(descriptor, _)| descriptor))
}

/// Sets ZF if the segment can be read or written. Whether it is present does not matter.
fn verify<S: Source<u16>, const WRITE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = S::read(cpu, op)?;
    let verified = examined(cpu, selector)?.is_some_and(|descriptor| {
        cpu.reaches(selector, descriptor)
            && if WRITE { descriptor.is_writable() } else { descriptor.is_readable() }
    });
    cpu.flags = cpu.flags.with_zf(verified);
    Ok(())
}

/// Whether `lar` or `lsl` may see a descriptor: its type must be one of these, or code or data, and its privilege
/// level must allow it.
fn is_visible(cpu: &Cpu, descriptor: Descriptor, selector: u16, system_types: &[u8]) -> bool {
    let known = descriptor.is_code_or_data() || system_types.contains(&descriptor.type_());
    known && cpu.reaches(selector, descriptor)
}

/// Access rights (SDM volume 2, LAR).
fn lar<T: Int, S: Source<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    const TYPES: [u8; 8] = [0x1, 0x2, 0x3, 0x4, 0x5, 0x9, 0xb, 0xc];
    let selector = S::read(cpu, op)?;
    let seen = examined(cpu, selector)?.filter(|&descriptor| is_visible(cpu, descriptor, selector, &TYPES));
    if let Some(descriptor) = seen {
        cpu.set_reg_part(op.destination, T::truncate(descriptor.high() & 0x00f0_ff00));
    }
    cpu.flags = cpu.flags.with_zf(seen.is_some());
    Ok(())
}

/// The limit in bytes (SDM volume 2, LSL).
fn lsl<T: Int, S: Source<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    const TYPES: [u8; 5] = [0x1, 0x2, 0x3, 0x9, 0xb];
    let selector = S::read(cpu, op)?;
    let seen = examined(cpu, selector)?.filter(|&descriptor| is_visible(cpu, descriptor, selector, &TYPES));
    if let Some(descriptor) = seen {
        cpu.set_reg_part(op.destination, T::truncate(descriptor.limit()));
    }
    cpu.flags = cpu.flags.with_zf(seen.is_some());
    Ok(())
}

/// Raises the destination's requested privilege level to the source's.
fn arpl<P: Place<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    let destination = P::read_to_write(cpu, op)?;
    let level = <Register as Source<u16>>::read(cpu, op)? & 0b11;
    let raises = destination & 0b11 < level;
    if raises {
        P::write(cpu, op, destination & !0b11 | level)?;
    }
    cpu.flags = cpu.flags.with_zf(raises);
    P::finish(cpu)
}
