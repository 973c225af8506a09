//! Instructions in memory, decoded with iced-x86.

use iced_x86::{Decoder, DecoderOptions, Register};

use crate::{CodeBytes, Registers};

/// Copies memory from an address on, and returns how many bytes the guest itself could read there.
pub type Read<'a> = &'a dyn Fn(u32, &mut [u8]) -> usize;

/// A word of memory.
pub fn word(read: Read, address: u32) -> Option<u32> {
    let mut bytes = [0; 4];
    (read(address, &mut bytes) == 4).then_some(u32::from_le_bytes(bytes))
}

/// Decodes the instruction at this address. Also returns its bytes and those that follow it.
pub fn decode(address: u32, read: Read) -> Option<(iced_x86::Instruction, [u8; CodeBytes::MOST])> {
    let mut bytes = [0; CodeBytes::MOST];
    let there = read(address, &mut bytes);
    let decoded = Decoder::with_ip(32, &bytes[..there], address.into(), DecoderOptions::NONE).decode();
    (!decoded.is_invalid()).then_some((decoded, bytes))
}

/// The value of a register. Segments are flat.
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

/// The opcode of an instruction: what follows its prefixes (SDM volume 2, section 2.1.1).
pub fn opcode(bytes: &[u8]) -> &[u8] {
    const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
    bytes.iter().position(|byte| !PREFIXES.contains(byte)).map_or(bytes, |start| &bytes[start..])
}

/// Whether these bytes are a string instruction, such as `movs` or `ins`, with a repeat prefix (SDM volume 2, table
///
pub fn is_repeated_string(bytes: &[u8]) -> bool {
    let opcode = opcode(bytes);
    let prefixes = &bytes[..bytes.len() - opcode.len()];
    prefixes.iter().any(|byte| matches!(byte, 0xf2 | 0xf3))
        && matches!(opcode, [0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf, ..])
}

/// Whether these bytes are an instruction of the x87, MMX or SSE units (SDM volume 2, tables ).
pub fn is_floating_point_or_vector(bytes: &[u8]) -> bool {
    match opcode(bytes) {
        [0xd8..=0xdf, ..] => true,
        [0x0f, 0x38, 0xf0..=0xff, ..] => false,
        [0x0f, 0x78 | 0x79, ..] => false,
        [0x0f, 0x10..=0x17 | 0x28..=0x2f | 0x38 | 0x3a | 0x50..=0x7f, ..] => true,
        [0x0f, 0xae | 0xc2..=0xc6 | 0xd0..=0xfe, ..] => true,
        _ => false,
    }
}

/// Whether these bytes are an instruction that the machine does not have because it came later than SSE2, or belongs to
/// operating systems of later processors, such as `haddps` and `sysenter`.
pub fn is_later_than_sse2(bytes: &[u8]) -> bool {
    let opcode = opcode(bytes);
    let has_prefix = |prefix| bytes[..bytes.len() - opcode.len()].contains(&prefix);
    match opcode {
        // SSE3: `movsldup`, `movshdup` and `movddup`; `haddps`, `addsubps` and `lddqu`.
        [0x0f, 0x12, ..] => has_prefix(0xf2) || has_prefix(0xf3),
        [0x0f, 0x16, ..] => has_prefix(0xf3),
        [0x0f, 0x7c | 0x7d | 0xd0, ..] => true,
        [0x0f, 0xf0, ..] => has_prefix(0xf2),
        // `fisttp`.
        [0xdb | 0xdd | 0xdf, mod_rm, ..] if mod_rm >> 6 != 3 => mod_rm >> 3 & 7 == 1,
        // `movntss` of SSE4A.
        [0x0f, 0x2b, ..] => has_prefix(0xf2) || has_prefix(0xf3),
        // `clflushopt` and others that have a prefix, `xsave` and `xrstor`.
        [0x0f, 0xae, mod_rm, ..] => {
            let has_prefix = [0x66, 0xf2, 0xf3].into_iter().any(has_prefix);
            has_prefix || mod_rm >> 6 != 3 && matches!(mod_rm >> 3 & 7, 4..=6)
        }
        [0x0f, 0x05 | 0x07 | 0x0e | 0x0f | 0x24 | 0x26 | 0x34..=0x3f | 0x78 | 0x79, ..] => true,
        [0x0f, 0xa6 | 0xa7 | 0xaa, ..] => true,
        [0x0f, 0x01, mod_rm, ..] if mod_rm >> 3 & 7 == 5 => true,
        // `xabort` and `xbegin`.
        [0xc6 | 0xc7, 0xf8, ..] => true,
        // `smsw` and `lmsw` of a register are older.
        [0x0f, 0x01, mod_rm @ 0xc0..=0xff, ..] => !matches!(mod_rm >> 3 & 7, 4 | 6),
        [0x0f, 0x00, mod_rm, ..] => mod_rm >> 3 & 7 >= 6,
        // `cmpxchg8b` is older.
        [0x0f, 0xc7, mod_rm, ..] => mod_rm >> 3 & 7 != 1,
        _ => false,
    }
}

/// Whether these bytes are a `mov` to a control register.
pub fn stores_to_control_register(bytes: &[u8]) -> bool {
    matches!(opcode(bytes), [0x0f, 0x22, ..])
}
