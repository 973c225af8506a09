//! A processor in a snapshot file.

use std::io::{Read, Write};

use flatland_x86::entry::{Table, VECTORS};
use flatland_x86::{
    Fpu, PendingException, PendingInterrupts, Processor, Registers, SegmentRegister, Shadow, segment,
};

use super::FileError::Impossible;
use super::blocks::{Reader, Writer};
use super::values::{
    Result, Written, read_bool, read_count, read_error_code, write_bool, write_count, write_error_code,
};

/// The most model-specific registers: as many as KVM takes at once (kvm-bindings, KVM_MAX_MSR_ENTRIES).
const MOST_MSRS: usize = 256;
/// The most instructions that may have been executed: they can be counted on for a thousand years.
const MOST_INSTRUCTIONS: u64 = 1 << 62;

/// In the byte of the shadow: the pending interrupts follow, a bit for each vector.
const HAS_INTERRUPTS: u8 = 1 << 2;

pub fn write<W: Write>(processor: &Processor, to: &mut Writer<W>) -> Written {
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
        interrupts,
        fpu,
        msrs,
        time_stamp,
        instructions,
    } = processor;
    write_registers(registers, to)?;
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
    let shadow = match shadow {
        Shadow::None => 0,
        Shadow::MovSs => 1,
        Shadow::Sti => 2,
    };
    let has_interrupts = !interrupts.is_empty();
    to.u8(shadow | if has_interrupts { HAS_INTERRUPTS } else { 0 })?;
    if has_interrupts {
        interrupts.to_bits().into_iter().try_for_each(|bits| to.u64(bits))?;
    }
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
    to.u64(*time_stamp)?;
    write_bool(instructions.is_some(), to)?;
    if let Some(count) = instructions {
        to.u64(*count)?;
    }
    Ok(())
}

pub fn read<R: Read>(from: &mut Reader<R>) -> Result<Processor> {
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
    let first = from.u8()?;
    let shadow = match first & !HAS_INTERRUPTS {
        0 => Shadow::None,
        1 => Shadow::MovSs,
        2 => Shadow::Sti,
        _ => return Err(Impossible("the interrupt shadow")),
    };
    let interrupts = match first & HAS_INTERRUPTS {
        0 => PendingInterrupts::NONE,
        _ => PendingInterrupts::from_bits([from.u64()?, from.u64()?, from.u64()?, from.u64()?])
            .filter(|interrupts| !interrupts.is_empty())
            .ok_or(Impossible("the pending interrupts"))?,
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
    let time_stamp = from.u64()?;
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
        interrupts,
        fpu,
        msrs,
        time_stamp,
        instructions,
    })
}

pub fn write_registers<W: Write>(registers: &Registers, to: &mut Writer<W>) -> Written {
    let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = *registers;
    for register in [eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags] {
        to.u32(register)?;
    }
    Ok(())
}

pub fn read_registers<R: Read>(from: &mut Reader<R>) -> Result<Registers> {
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
    if vector >= VECTORS || vector == NON_MASKABLE_INTERRUPT {
        return Err(Impossible(PENDING));
    }
    Ok(PendingException { vector, error_code: read_error_code(PENDING, from)? })
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
