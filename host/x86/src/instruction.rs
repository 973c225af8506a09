//! Instructions in memory, decoded by iced.

use iced_x86::{Decoder, DecoderOptions, Register};

use crate::{CodeBytes, Registers};

/// Copies memory from an address on, and returns how many bytes of it are there: what the guest itself could read.
pub type Read<'a> = &'a dyn Fn(u32, &mut [u8]) -> usize;

/// A word of memory.
pub fn word(read: Read, address: u32) -> Option<u32> {
    let mut bytes = [0; 4];
    (read(address, &mut bytes) == 4).then_some(u32::from_le_bytes(bytes))
}

/// Decodes the instruction at this address, of which this many bytes are there.
pub fn decode(address: u32, read: Read) -> Option<(iced_x86::Instruction, [u8; CodeBytes::MOST])> {
    let mut bytes = [0; CodeBytes::MOST];
    let there = read(address, &mut bytes);
    let decoded = Decoder::with_ip(32, &bytes[..there], address.into(), DecoderOptions::NONE).decode();
    (!decoded.is_invalid()).then_some((decoded, bytes))
}

/// What a register holds. Segments are flat.
pub fn value(register: Register, registers: &Registers) -> Option<u32> {
    Some(match register {
        Register::EAX => registers.eax,
        Register::EBX => registers.ebx,
        Register::ECX => registers.ecx,
        Register::EDX => registers.edx,
        Register::ESI => registers.esi,
        Register::EDI => registers.edi,
        Register::EBP => registers.ebp,
        Register::ESP => registers.esp,
        Register::BX => registers.ebx & 0xffff,
        Register::BP => registers.ebp & 0xffff,
        Register::SI => registers.esi & 0xffff,
        Register::DI => registers.edi & 0xffff,
        Register::CS | Register::DS | Register::ES | Register::FS | Register::GS | Register::SS => 0,
        _ => return None,
    })
}
