//! The body of a snapshot file: each part of a [`Snapshot`], written and read.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::iter;

use flatland_contract::Direction;
use flatland_contract::memory::PAGE_SIZE;
use flatland_x86::entry::Table;
use flatland_x86::{
    Access, CodeBytes, Fault, FaultKind, Fpu, Location, MemoryMap, MemorySize, PendingException, Position,
    Processor, RamCopy, Registers, SegmentRegister, Sent, Shadow, segment,
};

use super::SnapshotFileError::{self as FileError, Impossible, TooMuch};
use super::blocks::{Reader, Writer};
use crate::bus::DeviceState;
use crate::{Outcome, Snapshot};

// Each of these limits is far above what there is. They bound what a small file can make of memory and time.

/// The most read-only ranges.
const MOST_RANGES: usize = 4096;
/// The most model-specific registers: as many as KVM takes at once (kvm-bindings, KVM_MAX_MSR_ENTRIES).
const MOST_MSRS: usize = 256;
/// The most devices.
const MOST_DEVICES: usize = 1024;
/// The most bytes of all devices' states.
const MOST_DEVICE_BYTES: usize = 16 << 20;
/// The most transfers that are not sent yet.
const MOST_SENT: usize = 4096;
/// The most bytes of them, besides as many as RAM has: one instruction may send all of it.
const MOST_SENT_BYTES: usize = 1 << 20;
/// The most instructions that may have been executed: they can be counted on for a thousand years.
const MOST_INSTRUCTIONS: u64 = 1 << 62;

type Written = Result<(), FileError>;
type Result<T, E = FileError> = std::result::Result<T, E>;

pub fn write<W: Write>(snapshot: &Snapshot, to: &mut Writer<W>) -> Written {
    let Snapshot { map, processor, position, ram, devices, unsent, next } = snapshot;
    write_map(map, to)?;
    write_processor(processor, to)?;
    write_position(position, to)?;
    write_next(next.as_ref(), to)?;
    write_devices(devices, to)?;
    write_unsent(unsent, map, to)?;
    write_ram(ram, to)
}

pub fn read<R: Read>(from: &mut Reader<R>) -> Result<Snapshot> {
    let map = read_map(from)?;
    Ok(Snapshot {
        processor: read_processor(from)?,
        position: read_position(from)?,
        next: read_next(from)?,
        devices: read_devices(from)?,
        unsent: read_unsent(&map, from)?,
        ram: read_ram(&map, from)?,
        map,
    })
}

/// Writes a number of things, of which a file can have at most this many.
fn write_count<W: Write>(count: usize, most: usize, what: &'static str, to: &mut Writer<W>) -> Written {
    match u32::try_from(count) {
        Ok(number) if count <= most => to.u32(number),
        _ => Err(TooMuch(what)),
    }
}

fn read_count<R: Read>(most: usize, what: &'static str, from: &mut Reader<R>) -> Result<usize> {
    let count = from.u32()? as usize;
    if count <= most { Ok(count) } else { Err(Impossible(what)) }
}

fn write_bool<W: Write>(value: bool, to: &mut Writer<W>) -> Written {
    to.u8(value.into())
}

fn read_bool<R: Read>(what: &'static str, from: &mut Reader<R>) -> Result<bool> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Impossible(what)),
    }
}

const MAP: &str = "the memory map";

fn write_map<W: Write>(map: &MemoryMap, to: &mut Writer<W>) -> Written {
    to.u32(map.ram().bytes())?;
    to.u32(map.layout().stack_start)?;
    write_bool(map.has_guard(), to)?;
    write_count(map.read_only().len(), MOST_RANGES, "more read-only ranges of memory", to)?;
    for range in map.read_only() {
        to.u32(range.start)?;
        to.u32(range.end)?;
    }
    Ok(())
}

fn read_map<R: Read>(from: &mut Reader<R>) -> Result<MemoryMap> {
    let ram = MemorySize::from_bytes(from.u32()?.into()).map_err(|_| Impossible("the size of RAM"))?;
    let stack_start = from.u32()?;
    let has_guard = read_bool(MAP, from)?;
    let count = read_count(MOST_RANGES, MAP, from)?;
    let read_only = (0..count).map(|_| Ok(from.u32()?..from.u32()?)).collect::<Result<_>>()?;
    MemoryMap::from_fields(ram, stack_start, read_only, has_guard).ok_or(Impossible(MAP))
}

fn write_processor<W: Write>(processor: &Processor, to: &mut Writer<W>) -> Written {
    let Processor {
        registers,
        segments,
        ldtr,
        tr,
        gdt,
        idt,
        cr0,
        cr2,
        cr3,
        cr4,
        debug,
        shadow,
        pending,
        fpu,
        msrs,
        instructions,
    } = processor;
    let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = *registers;
    for register in [eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags] {
        to.u32(register)?;
    }
    for register in segments.iter().chain([ldtr, tr]) {
        let SegmentRegister { selector, base, limit, rights } = *register;
        to.u16(selector)?;
        to.u32(base)?;
        to.u32(limit)?;
        to.u16(rights)?;
    }
    for Table { base, limit } in [gdt, idt] {
        to.u32(*base)?;
        to.u16(*limit)?;
    }
    for register in [cr0, cr2, cr3, cr4].into_iter().chain(debug) {
        to.u32(*register)?;
    }
    to.u8(match shadow {
        Shadow::None => 0,
        Shadow::MovSs => 1,
        Shadow::Sti => 2,
    })?;
    write_bool(pending.is_some(), to)?;
    if let Some(PendingException { vector, error_code }) = pending {
        to.u8(*vector)?;
        write_error_code(*error_code, to)?;
    }
    write_bool(fpu.is_some(), to)?;
    if let Some(fpu) = fpu {
        write_fpu(fpu, to)?;
    }
    write_count(msrs.len(), MOST_MSRS, "more model-specific registers", to)?;
    for (index, value) in msrs {
        to.u32(*index)?;
        to.u64(*value)?;
    }
    write_bool(instructions.is_some(), to)?;
    if let Some(count) = instructions {
        to.u64(*count)?;
    }
    Ok(())
}

fn read_processor<R: Read>(from: &mut Reader<R>) -> Result<Processor> {
    let registers = read_registers(from)?;
    let mut segments = [SegmentRegister { selector: 0, base: 0, limit: 0, rights: 0 }; segment::COUNT];
    for register in &mut segments {
        *register = read_segment(from)?;
    }
    let (ldtr, tr) = (read_segment(from)?, read_segment(from)?);
    let mut table = || Ok(Table { base: from.u32()?, limit: from.u16()? });
    let (gdt, idt) = (table()?, table()?);
    let [cr0, cr2, cr3, cr4] = [from.u32()?, from.u32()?, from.u32()?, from.u32()?];
    let mut debug = [0; 8];
    for register in &mut debug {
        *register = from.u32()?;
    }
    let shadow = match from.u8()? {
        0 => Shadow::None,
        1 => Shadow::MovSs,
        2 => Shadow::Sti,
        _ => return Err(Impossible("the interrupt shadow")),
    };
    let pending = match read_bool(PENDING, from)? {
        true => Some(read_pending(from)?),
        false => None,
    };
    let fpu = match read_bool(FPU, from)? {
        true => Some(Box::new(read_fpu(from)?)),
        false => None,
    };
    let count = read_count(MOST_MSRS, "the model-specific registers", from)?;
    let msrs = (0..count).map(|_| Ok((from.u32()?, from.u64()?))).collect::<Result<_>>()?;
    const COUNT: &str = "the number of instructions";
    let instructions = match read_bool(COUNT, from)? {
        true => {
            Some(from.u64()?).filter(|count| *count <= MOST_INSTRUCTIONS).ok_or(Impossible(COUNT))?.into()
        }
        false => None,
    };
    Ok(Processor {
        registers,
        segments,
        ldtr,
        tr,
        gdt,
        idt,
        cr0,
        cr2,
        cr3,
        cr4,
        debug,
        shadow,
        pending,
        fpu,
        msrs,
        instructions,
    })
}

fn read_registers<R: Read>(from: &mut Reader<R>) -> Result<Registers> {
    use flatland_x86::eflags::*;
    const DEFINED: u32 =
        CF | PF | AF | ZF | SF | TF | IF | DF | OF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
    let mut next = || from.u32();
    let registers = Registers {
        eax: next()?,
        ebx: next()?,
        ecx: next()?,
        edx: next()?,
        esi: next()?,
        edi: next()?,
        ebp: next()?,
        esp: next()?,
        eip: next()?,
        eflags: next()?,
    };
    match registers.eflags & !DEFINED {
        RESERVED_1 => Ok(registers),
        _ => Err(Impossible("the flags")),
    }
}

/// A segment register that a descriptor can have been loaded into, or a null selector.
fn read_segment<R: Read>(from: &mut Reader<R>) -> Result<SegmentRegister> {
    let register =
        SegmentRegister { selector: from.u16()?, base: from.u32()?, limit: from.u32()?, rights: from.u16()? };
    let of_null = SegmentRegister { selector: register.selector, base: 0, limit: 0, rights: 0 };
    let of_descriptor = SegmentRegister::of(register.selector, register.descriptor());
    match register == of_null || (register.rights != 0 && register == of_descriptor) {
        true => Ok(register),
        false => Err(Impossible("a segment register")),
    }
}

const PENDING: &str = "the pending exception";

fn read_pending<R: Read>(from: &mut Reader<R>) -> Result<PendingException> {
    const NON_MASKABLE_INTERRUPT: u8 = 2;
    let vector = from.u8()?;
    if vector >= flatland_x86::entry::VECTORS || vector == NON_MASKABLE_INTERRUPT {
        return Err(Impossible(PENDING));
    }
    Ok(PendingException { vector, error_code: read_error_code(PENDING, from)? })
}

fn write_error_code<W: Write>(code: Option<u32>, to: &mut Writer<W>) -> Written {
    write_bool(code.is_some(), to)?;
    to.u32(code.unwrap_or(0))
}

fn read_error_code<R: Read>(what: &'static str, from: &mut Reader<R>) -> Result<Option<u32>> {
    let is_there = read_bool(what, from)?;
    let code = from.u32()?;
    Ok(is_there.then_some(code))
}

const FPU: &str = "the x87 and SSE registers";

fn write_fpu<W: Write>(fpu: &Fpu, to: &mut Writer<W>) -> Written {
    let Fpu { control, status, tags, opcode, instruction, data, st, xmm, mxcsr } = fpu;
    to.u16(*control)?;
    to.u16(*status)?;
    to.u8(*tags)?;
    to.u16(*opcode)?;
    to.u64(*instruction)?;
    to.u64(*data)?;
    for register in st.iter().chain(xmm) {
        to.bytes(register)?;
    }
    to.u32(*mxcsr)
}

fn read_fpu<R: Read>(from: &mut Reader<R>) -> Result<Fpu> {
    let mut fpu = Fpu {
        control: from.u16()?,
        status: from.u16()?,
        tags: from.u8()?,
        opcode: from.u16()?,
        instruction: from.u64()?,
        data: from.u64()?,
        ..Fpu::default()
    };
    for register in fpu.st.iter_mut().chain(&mut fpu.xmm) {
        from.fill(register)?;
    }
    fpu.mxcsr = from.u32()?;
    // Bits that no processor has: a load of them is an exception, in the host's kernel too (SDM volume 1, 11.6.6).
    if fpu.mxcsr > 0xffff { Err(Impossible(FPU)) } else { Ok(fpu) }
}

fn write_position<W: Write>(position: &Position, to: &mut Writer<W>) -> Written {
    let Position { location, was_reported } = position;
    write_location(*location, to)?;
    write_bool(*was_reported, to)
}

fn read_position<R: Read>(from: &mut Reader<R>) -> Result<Position> {
    Ok(Position { location: read_location(from)?, was_reported: read_bool("the position", from)? })
}

fn write_location<W: Write>(location: Location, to: &mut Writer<W>) -> Written {
    let (tag, address) = match location {
        Location::At(address) => (0, address),
        Location::EndsAt(address) => (1, address),
        Location::Unknown => (2, 0),
    };
    to.u8(tag)?;
    to.u32(address)
}

fn read_location<R: Read>(from: &mut Reader<R>) -> Result<Location> {
    match (from.u8()?, from.u32()?) {
        (0, address) => Ok(Location::At(address)),
        (1, address) => Ok(Location::EndsAt(address)),
        (2, 0) => Ok(Location::Unknown),
        _ => Err(Impossible("the location")),
    }
}

const END: &str = "the end of the run";

fn write_next<W: Write>(next: Option<&Outcome>, to: &mut Writer<W>) -> Written {
    match next {
        // A run that was ended from outside goes on.
        None | Some(Outcome::Stopped(..)) => to.u8(0),
        Some(Outcome::Halted) => to.u8(1),
        Some(Outcome::EndOfInput) => to.u8(2),
        Some(Outcome::Exited(status)) => {
            to.u8(3)?;
            to.u8(*status)
        }
        Some(Outcome::OutputClosed) => to.u8(4),
        Some(Outcome::Fault(Fault { kind, location })) => {
            to.u8(5)?;
            write_fault_kind(kind, to)?;
            write_location(*location, to)
        }
    }
}

fn read_next<R: Read>(from: &mut Reader<R>) -> Result<Option<Outcome>> {
    Ok(Some(match from.u8()? {
        0 => return Ok(None),
        1 => Outcome::Halted,
        2 => Outcome::EndOfInput,
        3 => Outcome::Exited(from.u8()?),
        4 => Outcome::OutputClosed,
        5 => Outcome::Fault(Fault { kind: read_fault_kind(from)?, location: read_location(from)? }),
        _ => return Err(Impossible(END)),
    }))
}

/// The names of the engines that report [`FaultKind::Unsupported`]. An engine of somebody else's has the last one.
const ENGINES: [&str; 3] = ["the soft engine", "KVM", "the engine"];

fn write_fault_kind<W: Write>(kind: &FaultKind, to: &mut Writer<W>) -> Written {
    match kind {
        FaultKind::Exception { vector, error_code } => {
            to.u8(0)?;
            to.u8(*vector)?;
            write_error_code(*error_code, to)
        }
        FaultKind::TripleFault => to.u8(1),
        FaultKind::OutsideRam { access, address, ram_size } => {
            to.u8(2)?;
            write_access(*access, to)?;
            to.u32(*address)?;
            to.u32(*ram_size)
        }
        FaultKind::ReadOnly { address } => {
            to.u8(3)?;
            to.u32(*address)
        }
        FaultKind::StackOverflow { stack_size } => {
            to.u8(4)?;
            to.u32(*stack_size)
        }
        FaultKind::Guard { access, address, start, end } => {
            to.u8(5)?;
            write_access(*access, to)?;
            to.u32(*address)?;
            to.u32(*start)?;
            to.u32(*end)
        }
        FaultKind::Port { port, width, direction } => {
            to.u8(6)?;
            to.u16(*port)?;
            to.u8(*width)?;
            write_bool(*direction == Direction::Out, to)
        }
        FaultKind::Unsupported { engine, code } => {
            to.u8(7)?;
            let number = ENGINES.iter().position(|name| name == engine).unwrap_or(ENGINES.len() - 1);
            to.u8(number as u8)?;
            to.u8(code.as_slice().len() as u8)?;
            to.bytes(code.as_slice())
        }
        _ => Err(TooMuch("another kind of fault")),
    }
}

fn read_fault_kind<R: Read>(from: &mut Reader<R>) -> Result<FaultKind> {
    Ok(match from.u8()? {
        0 => FaultKind::Exception { vector: from.u8()?, error_code: read_error_code(END, from)? },
        1 => FaultKind::TripleFault,
        2 => {
            FaultKind::OutsideRam { access: read_access(from)?, address: from.u32()?, ram_size: from.u32()? }
        }
        3 => FaultKind::ReadOnly { address: from.u32()? },
        4 => FaultKind::StackOverflow { stack_size: from.u32()? },
        5 => FaultKind::Guard {
            access: read_access(from)?,
            address: from.u32()?,
            start: from.u32()?,
            end: from.u32()?,
        },
        6 => FaultKind::Port {
            port: from.u16()?,
            width: read_width(END, from)?,
            direction: if read_bool(END, from)? { Direction::Out } else { Direction::In },
        },
        7 => {
            let engine = ENGINES.get(usize::from(from.u8()?)).ok_or(Impossible(END))?;
            let len = Some(usize::from(from.u8()?)).filter(|len| *len <= CodeBytes::MOST);
            FaultKind::Unsupported { engine, code: CodeBytes::new(&from.vec(len.ok_or(Impossible(END))?)?) }
        }
        _ => return Err(Impossible(END)),
    })
}

fn write_access<W: Write>(access: Access, to: &mut Writer<W>) -> Written {
    to.u8(match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::Execute => 2,
    })
}

fn read_access<R: Read>(from: &mut Reader<R>) -> Result<Access> {
    match from.u8()? {
        0 => Ok(Access::Read),
        1 => Ok(Access::Write),
        2 => Ok(Access::Execute),
        _ => Err(Impossible(END)),
    }
}

fn read_width<R: Read>(what: &'static str, from: &mut Reader<R>) -> Result<u8> {
    match from.u8()? {
        width @ (1 | 2 | 4) => Ok(width),
        _ => Err(Impossible(what)),
    }
}

const DEVICES: &str = "the devices";

fn write_devices<W: Write>(devices: &[DeviceState], to: &mut Writer<W>) -> Written {
    write_count(devices.len(), MOST_DEVICES, "more devices", to)?;
    let mut left = MOST_DEVICE_BYTES;
    for DeviceState { ports, state } in devices {
        to.u32(ports.start)?;
        to.u32(ports.end)?;
        write_count(state.len(), left, "larger states of devices", to)?;
        left -= state.len();
        to.bytes(state)?;
    }
    Ok(())
}

fn read_devices<R: Read>(from: &mut Reader<R>) -> Result<Vec<DeviceState>> {
    const PORTS: u32 = 1 << 16;
    let mut left = MOST_DEVICE_BYTES;
    let count = read_count(MOST_DEVICES, DEVICES, from)?;
    let device = |_| {
        let ports = from.u32()?..from.u32()?;
        if ports.start > ports.end || ports.end > PORTS {
            return Err(Impossible(DEVICES));
        }
        let len = read_count(left, DEVICES, from)?;
        left -= len;
        Ok(DeviceState { ports, state: from.vec(len)? })
    };
    (0..count).map(device).collect()
}

const UNSENT: &str = "the output that is not sent yet";

/// The most bytes of output that is not sent yet, on a machine with this memory.
fn most_sent(map: &MemoryMap) -> usize {
    map.ram().bytes() as usize + MOST_SENT_BYTES
}

fn write_unsent<W: Write>(unsent: &VecDeque<Sent>, map: &MemoryMap, to: &mut Writer<W>) -> Written {
    write_count(unsent.len(), MOST_SENT, "more output that is not sent yet", to)?;
    let mut left = most_sent(map);
    for Sent { port, width, data } in unsent {
        to.u16(*port)?;
        to.u8(*width)?;
        write_count(data.len(), left, "more output that is not sent yet", to)?;
        left -= data.len();
        to.bytes(data)?;
    }
    Ok(())
}

fn read_unsent<R: Read>(map: &MemoryMap, from: &mut Reader<R>) -> Result<VecDeque<Sent>> {
    let mut left = most_sent(map);
    let count = read_count(MOST_SENT, UNSENT, from)?;
    let sent = |_| {
        let (port, width) = (from.u16()?, read_width(UNSENT, from)?);
        let len = read_count(left, UNSENT, from)?;
        left -= len;
        // Whole transfers, at least one: see `Exit::Out`.
        if len == 0 || !len.is_multiple_of(width.into()) {
            return Err(Impossible(UNSENT));
        }
        Ok(Sent { port, width, data: from.vec(len)? })
    };
    (0..count).map(sent).collect()
}

fn write_ram<W: Write>(ram: &RamCopy, to: &mut Writer<W>) -> Written {
    // RAM has fewer than 2^20 pages.
    to.u32(ram.pages().count() as u32)?;
    for (number, page) in ram.pages() {
        to.u32(number)?;
        to.bytes(page)?;
    }
    Ok(())
}

fn read_ram<R: Read>(map: &MemoryMap, from: &mut Reader<R>) -> Result<RamCopy> {
    let count = from.u32()?;
    let mut free = 0..map.ram().bytes() / PAGE_SIZE;
    let mut page = || {
        let number = from.u32()?;
        let mut page = RamCopy::ZEROS;
        from.fill(&mut page)?;
        // In order, each once, and none that would be left out.
        if !free.contains(&number) || page == RamCopy::ZEROS {
            return Err(Impossible("the pages of RAM"));
        }
        free.start = number + 1;
        Ok((number, page))
    };
    let mut result = Ok(());
    let pages = iter::repeat_with(|| page().map_err(|error| result = Err(error)).ok());
    let ram = RamCopy::from_pages(pages.take(count as usize).map_while(|page| page));
    result.map(|()| ram)
}
