//! Finds the `call` that made a push.
//!
//! KVM reports a refused store after its instruction. After a `call`, EIP is at the function, so only the pushed
//! address leads back to the instruction. Most stack overflows happen at a `call`.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};

use flatland_x86::Registers;
use flatland_x86::instruction::value;

/// The lengths of a near `call` without superfluous prefixes: from FF /2 with a register to FF /2 with a segment
/// prefix and a displacement of 4 bytes.
const LENGTHS: std::ops::RangeInclusive<u32> = 2..=8;

/// Whether the instruction that ends at `pushed` is a `call` to EIP. `registers` holds the values after the `call`.
pub fn is_behind_one(pushed: u32, registers: &Registers, read: impl Fn(u32) -> Option<u32>) -> bool {
    LENGTHS.filter_map(|len| Some((len, pushed.checked_sub(len)?))).any(|(len, start)| {
        let words = [0, 4].map(|at| read(start.wrapping_add(at)).unwrap_or(0).to_le_bytes());
        let code = &words.as_flattened()[..len as usize];
        let instruction = Decoder::with_ip(32, code, start.into(), DecoderOptions::NONE).decode();
        instruction.len() == code.len() && target(&instruction, registers, &read) == Some(registers.eip)
    })
}

/// The target of a `call`.
fn target(
    instruction: &Instruction,
    registers: &Registers,
    read: impl Fn(u32) -> Option<u32>,
) -> Option<u32> {
    match (instruction.code(), instruction.op0_kind()) {
        (Code::Call_rel32_32, _) => Some(instruction.near_branch32()),
        (Code::Call_rm32, OpKind::Register) => before(instruction.op0_register(), registers),
        (Code::Call_rm32, _) => {
            let register = |register, _, _| before(register, registers).map(u64::from);
            read(instruction.virtual_address(0, 0, register)? as u32)
        }
        _ => None,
    }
}

/// The value of a register before the `call`, which has changed ESP.
fn before(register: Register, registers: &Registers) -> Option<u32> {
    value(register, &Registers { esp: registers.esp.wrapping_add(4), ..*registers })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code at 0x100, and 0x2000 at 0x1000.
    fn is_behind(code: &[u8], registers: Registers) -> bool {
        let mut ram = vec![0; 0x1004];
        ram[0x100..][..code.len()].copy_from_slice(code);
        ram[0x1000..].copy_from_slice(&0x2000_u32.to_le_bytes());
        let read = |address: u32| Some(u32::from_le_bytes(*ram.get(address as usize..)?.first_chunk()?));
        is_behind_one(0x100 + code.len() as u32, &registers, read)
    }

    #[test]
    fn calls_are_found() {
        let at = Registers { eip: 0x2000, ..Registers::default() };
        // call 0x2000
        assert!(is_behind(&[0xe8, 0xfb, 0x1e, 0, 0], at));
        // call ebx
        assert!(is_behind(&[0xff, 0xd3], Registers { ebx: 0x2000, ..at }));
        // call [0x1000]
        assert!(is_behind(&[0xff, 0x15, 0, 0x10, 0, 0], at));
        // call [eax+ecx*4+0x10]
        assert!(is_behind(&[0xff, 0x54, 0x88, 0x10], Registers { eax: 0xfd0, ecx: 8, ..at }));
        // call [esp+0x10]; the push has lowered ESP by 4
        assert!(is_behind(&[0xff, 0x54, 0x24, 0x10], Registers { esp: 0xfec, ..at }));
    }

    #[test]
    fn what_is_none_or_leads_elsewhere_is_not() {
        let at = Registers { eip: 0x2000, ..Registers::default() };
        // call 0x2001
        assert!(!is_behind(&[0xe8, 0xfc, 0x1e, 0, 0], at));
        // call ebx
        assert!(!is_behind(&[0xff, 0xd3], at));
        // jmp 0x2000
        assert!(!is_behind(&[0xe9, 0xfb, 0x1e, 0, 0], at));
        // jmp ebx
        assert!(!is_behind(&[0xff, 0xe3], Registers { ebx: 0x2000, ..at }));
        // nop; nop
        assert!(!is_behind(&[0x90, 0x90], at));
    }
}
