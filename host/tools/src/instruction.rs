//! Instructions: found in memory, and formatted in NASM syntax.

use flatland_x86::instruction::{Read, decode, value};
use flatland_x86::{Access, CodeBytes, Engine, Registers};
use iced_x86::{Code, Decoder, DecoderOptions, Formatter, Mnemonic, NasmFormatter, OpKind};

/// The limit for decoding a function, in bytes.
pub const LARGEST_FUNCTION: u32 = 1 << 20;

/// A function that reads what the guest itself could read.
pub fn reader(engine: &dyn Engine) -> impl Fn(u32, &mut [u8]) -> usize {
    move |address, bytes| {
        let there = engine.memory_map().end_of_run(Access::Read, address).saturating_sub(address);
        engine.read_ram(address, bytes).min(there as usize)
    }
}

/// An instruction in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Instruction {
    /// The address of its first byte.
    pub address: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its text in NASM syntax.
    pub text: String,
}

/// The failed effect of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deed {
    /// It wrote to this address.
    Write(u32),
    /// It wrote below the stack.
    Stack,
    /// It wrote to this port.
    Out(u16),
    /// It raised an exception deliberately.
    Trap,
}

impl Instruction {
    /// The instruction at this address. None if there is no instruction or no memory.
    pub fn at(address: u32, read: Read) -> Option<Self> {
        let (decoded, bytes) = decode(address, read)?;
        Some(Self::new(&decoded, &bytes))
    }

    /// A decoded instruction, with the bytes that start with it.
    pub fn new(decoded: &iced_x86::Instruction, bytes: &[u8]) -> Self {
        let mut text = String::new();
        formatter().format(decoded, &mut text);
        Self { address: decoded.ip32(), bytes: bytes[..decoded.len()].to_vec(), text }
    }

    /// By how many bytes it moves the stack pointer, if it pushes or pops.
    pub fn moves_stack_pointer(&self) -> i32 {
        moves_stack_pointer(&Decoder::new(32, &self.bytes, DecoderOptions::NONE).decode())
    }
}

/// The most bytes that an integer instruction stores at once: `cmpxchg8b`.
const LARGEST_OPERAND: u32 = 8;

/// By how many bytes an instruction moves the stack pointer, if it pushes or pops.
pub fn moves_stack_pointer(instruction: &iced_x86::Instruction) -> i32 {
    match (instruction.mnemonic(), instruction.code()) {
        (_, Code::Push_r16 | Code::Push_rm16 | Code::Push_imm16 | Code::Pushw_imm8) => -2,
        (_, Code::Pop_r16 | Code::Pop_rm16) => 2,
        (Mnemonic::Push | Mnemonic::Pushfd | Mnemonic::Call, _) => -4,
        (Mnemonic::Pop | Mnemonic::Popfd, _) => 4,
        (Mnemonic::Pushad, _) => -32,
        (Mnemonic::Popad, _) => 32,
        _ => 0,
    }
}

/// The mnemonic of the first instruction in `code`.
pub fn mnemonic(code: &[u8]) -> Option<String> {
    let decoded = Decoder::new(32, code, DecoderOptions::NONE).decode();
    let name = format!("{:?}", decoded.mnemonic()).to_lowercase();
    (!decoded.is_invalid()).then_some(name)
}

/// The bytes of the first instruction in `code`, or all of them if there is none.
pub fn first(code: &CodeBytes) -> &[u8] {
    let bytes = code.as_slice();
    match Decoder::new(32, bytes, DecoderOptions::NONE).decode() {
        instruction if instruction.is_invalid() => bytes,
        instruction => &bytes[..instruction.len()],
    }
}

/// The start of the instruction that ends at `end`, found by decoding from `start`. Data among the code may mislead
/// the decoder; then the result is `None`. The instruction must be able to have this effect with these registers,
/// which are the registers after it.
pub fn ending_at(end: u32, start: u32, deed: Deed, registers: &Registers, read: Read) -> Option<u32> {
    if end.checked_sub(start)? > LARGEST_FUNCTION {
        return None;
    }
    let mut at = start;
    while at < end {
        let (decoded, _) = decode(at, read)?;
        let next = at.checked_add(decoded.len() as u32)?;
        if next == end {
            return did(&decoded, deed, registers).then_some(at);
        }
        at = next;
    }
    None
}

/// Whether a `call` ends at this address, as it does at a return address.
pub fn is_after_call(address: u32, read: Read) -> bool {
    // FF /2 with a register is the shortest form, with a 4-byte displacement and an index the longest; E8 has 5
    // bytes.
    [5, 2, 3, 6, 7, 4].into_iter().any(|length| {
        let Some(start) = address.checked_sub(length) else { return false };
        let mut bytes = [0; 7];
        let code = &mut bytes[..length as usize];
        if read(start, code) != code.len() || !matches!(code[0], 0xe8 | 0xff) {
            return false;
        }
        let decoded = Decoder::new(32, code, DecoderOptions::NONE).decode();
        decoded.len() == code.len() && matches!(decoded.code(), Code::Call_rel32_32 | Code::Call_rm32)
    })
}

fn did(instruction: &iced_x86::Instruction, deed: Deed, registers: &Registers) -> bool {
    match deed {
        Deed::Out(port) => match (instruction.mnemonic(), instruction.op0_kind()) {
            (Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd, _) => registers.edx as u16 == port,
            (Mnemonic::Out, OpKind::Immediate8) => u16::from(instruction.immediate8()) == port,
            (Mnemonic::Out, _) => registers.edx as u16 == port,
            _ => false,
        },
        // A push has already moved ESP to the address that it wrote.
        Deed::Trap => {
            matches!(instruction.mnemonic(), Mnemonic::Int | Mnemonic::Int1 | Mnemonic::Int3 | Mnemonic::Into)
        }
        Deed::Stack => {
            moves_stack_pointer(instruction) < 0
                || instruction
                    .op_kinds()
                    .any(|kind| matches!(kind, OpKind::Memory | OpKind::MemoryESEDI | OpKind::MemoryESDI))
        }
        Deed::Write(address) if moves_stack_pointer(instruction) < 0 => {
            let pushed = moves_stack_pointer(instruction).unsigned_abs();
            address.wrapping_sub(registers.esp) < pushed
        }
        Deed::Write(address) => {
            (0..instruction.op_count()).any(|operand| match instruction.op_kind(operand) {
                OpKind::Memory => {
                    let value = |register, _, _| value(register, registers).map(u64::from);
                    let start = instruction.virtual_address(operand, 0, value).map(|start| start as u32);
                    // A bit string may extend beyond its operand.
                    let is_bit_string =
                        matches!(instruction.mnemonic(), Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc);
                    start.is_some_and(|start| address.wrapping_sub(start) < LARGEST_OPERAND || is_bit_string)
                }
                // EDI has already advanced.
                OpKind::MemoryESEDI | OpKind::MemoryESDI => true,
                _ => false,
            })
        }
    }
}

fn formatter() -> NasmFormatter {
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    formatter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads from these bytes, which start at address 0.
    fn memory(bytes: &[u8]) -> impl Fn(u32, &mut [u8]) -> usize {
        move |address, to| {
            let from = bytes.get(address as usize..).unwrap_or_default();
            let len = from.len().min(to.len());
            to[..len].copy_from_slice(&from[..len]);
            len
        }
    }

    #[test]
    fn instructions_are_in_nasm_syntax() {
        for (code, text) in [
            (&[0xf7, 0xf1][..], "div ecx"),
            (&[0xa2, 0x00, 0x80, 0x0b, 0x00], "mov [0xb8000], al"),
            (&[0xc6, 0x05, 0x0c, 0, 0, 0, 0x31], "mov byte [0xc], 0x31"),
            (&[0xe8, 0xfb, 0xff, 0xff, 0xff], "call 0"),
            (&[0xe8, 0xfb, 0x1e, 0, 0], "call 0x1f00"),
            (&[0xe6, 0x80], "out 0x80, al"),
            (&[0xf3, 0xaa], "rep stosb"),
        ] {
            let memory = memory(code);
            let instruction = Instruction::at(0, &memory).unwrap();
            assert_eq!((&*instruction.text, &*instruction.bytes), (text, code));
        }
        assert_eq!(Instruction::at(0, &memory(&[0xff, 0xff])), None);
        assert_eq!(Instruction::at(0, &memory(&[0xe8])), None);
        assert_eq!(mnemonic(&[0x0f, 0x58, 0xc1, 0, 0]).as_deref(), Some("addps"));
        assert_eq!(mnemonic(&[0xff, 0xff]), None);
    }

    #[test]
    fn what_ends_somewhere_is_found_if_it_did_the_deed() {
        // 0: nop; 1: mov [0x2000], al; 6: out 0x80, al; 8: push eax; 9: out dx, al
        let code = [0x90, 0xa2, 0, 0x20, 0, 0, 0xe6, 0x80, 0x50, 0xee];
        let registers = Registers { edx: 0x3f8, esp: 0x7000, ..Registers::default() };
        let find = |end, start, deed| ending_at(end, start, deed, &registers, &memory(&code));
        assert_eq!(find(6, 0, Deed::Write(0x2000)), Some(1));
        for elsewhere in [0x1fff, 0x2008] {
            assert_eq!(find(6, 0, Deed::Write(elsewhere)), None);
        }
        assert_eq!(find(6, 0, Deed::Out(0x80)), None);
        assert_eq!(find(8, 0, Deed::Out(0x80)), Some(6));
        assert_eq!(find(8, 0, Deed::Out(0x81)), None);
        assert_eq!(find(9, 0, Deed::Write(0x7003)), Some(8));
        assert_eq!(find(9, 0, Deed::Write(0x7004)), None);
        assert_eq!(find(10, 0, Deed::Out(0x3f8)), Some(9));
        // If decoding is misled, nothing is found: from 2 on it finds `and` and more.
        assert_eq!(find(3, 0, Deed::Write(0x2000)), None);
        assert_eq!(find(100, 0, Deed::Write(0x2000)), None);
        assert_eq!(find(0, 4, Deed::Write(0x2000)), None);
    }

    #[test]
    fn calls_are_recognized_by_their_end() {
        for code in [
            &[0xe8, 1, 2, 3, 4][..],
            &[0xff, 0xd3],
            &[0xff, 0x50, 0x08],
            &[0xff, 0x54, 0x24, 0x10],
            &[0xff, 0x15, 0, 0x10, 0, 0],
            &[0xff, 0x94, 0x88, 0, 0x10, 0, 0],
        ] {
            assert!(is_after_call(code.len() as u32, &memory(code)), "{code:02x?}");
        }
        // jmp ebx; push [eax+8]; five times nop
        for code in [&[0xff, 0xe3][..], &[0xff, 0x70, 0x08], &[0x90; 5]] {
            assert!(!is_after_call(code.len() as u32, &memory(code)), "{code:02x?}");
        }
        assert!(!is_after_call(0, &memory(&[0xe8])));
        assert!(!is_after_call(u32::MAX, &memory(&[0xe8])));
    }
}
