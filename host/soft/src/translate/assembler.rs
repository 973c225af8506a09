//! Writes x86-64 instructions (SDM volume 2, chapter 2).

use alloc::vec::Vec;

/// A register of the host, by its number in instructions.
pub type Register = u8;

pub const RAX: Register = 0;
pub const RCX: Register = 1;
pub const RDX: Register = 2;
pub const RBX: Register = 3;
pub const RSP: Register = 4;
pub const RBP: Register = 5;
pub const RSI: Register = 6;
pub const RDI: Register = 7;
pub const R8: Register = 8;
pub const R9: Register = 9;
pub const R10: Register = 10;
pub const R11: Register = 11;
pub const R12: Register = 12;
pub const R13: Register = 13;
pub const R14: Register = 14;
pub const R15: Register = 15;

/// Conditions, by their number in instructions (SDM volume 1, appendix B).
pub mod condition {
    pub const BELOW: u8 = 2;
    pub const NOT_EQUAL: u8 = 5;
    pub const NOT_ABOVE: u8 = 6;
    pub const ABOVE: u8 = 7;
}

/// A place in the code, which may be known later.
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

/// Code in the making. It depends on its own place in no way.
#[derive(Debug, Default)]
pub struct Assembler {
    pub code: Vec<u8>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
    /// Where a distance of 32 bits to a label is to be filled in.
    fixups: Vec<(usize, Label)>,
}

impl Assembler {
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// The code, with all distances.
    pub fn finish(mut self) -> Vec<u8> {
        for (at, label) in self.fixups {
            let target = self.labels[label.0].expect("each label is bound");
            let distance = target as i64 - (at as i64 + 4);
            self.code[at..at + 4].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        self.code
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    pub fn immediate(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn distance_to(&mut self, label: Label) {
        self.fixups.push((self.code.len(), label));
        self.immediate(0);
    }

    pub fn jump(&mut self, label: Label) {
        self.bytes(&[0xe9]);
        self.distance_to(label);
    }

    pub fn jump_if(&mut self, condition: u8, label: Label) {
        self.bytes(&[0x0f, 0x80 | condition]);
        self.distance_to(label);
    }

    pub fn call(&mut self, label: Label) {
        self.bytes(&[0xe8]);
        self.distance_to(label);
    }

    fn rex(&mut self, is_64_bit: bool, reg: Register, index: Register, rm: Register, is_forced: bool) {
        let rex = 0x40 | u8::from(is_64_bit) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | rm >> 3;
        if rex != 0x40 || is_forced {
            self.bytes(&[rex]);
        }
    }

    /// An instruction with two registers of 32 bits, or of 8 if the second is forced to be a low byte.
    pub fn registers(&mut self, opcode: &[u8], reg: Register, rm: Register) {
        // The prefix makes SPL to DIL of what would be AH to BH. It changes nothing in registers of 32 bits.
        self.rex(false, reg, 0, rm, (4..8).contains(&rm));
        self.bytes(opcode);
        self.bytes(&[0xc0 | (reg & 7) << 3 | rm & 7]);
    }

    /// The same with registers of 64 bits.
    pub fn registers_64(&mut self, opcode: &[u8], reg: Register, rm: Register) {
        self.rex(true, reg, 0, rm, false);
        self.bytes(opcode);
        self.bytes(&[0xc0 | (reg & 7) << 3 | rm & 7]);
    }

    /// An instruction with a register and memory at `[base + displacement]`.
    pub fn memory(
        &mut self,
        opcode: &[u8],
        is_64_bit: bool,
        reg: Register,
        base: Register,
        displacement: usize,
    ) {
        self.rex(is_64_bit, reg, 0, base, false);
        self.bytes(opcode);
        self.bytes(&[0x80 | (reg & 7) << 3 | base & 7]);
        if base & 7 == RSP {
            self.bytes(&[0x24]);
        }
        self.immediate(displacement as u32);
    }

    /// An instruction with a register and memory at `[base + index * 2^scale + displacement]`, with base and index if
    /// there are any.
    pub fn indexed(
        &mut self,
        opcode: &[u8],
        is_64_bit: bool,
        reg: Register,
        (base, index, scale): (Option<Register>, Option<Register>, u8),
        displacement: u32,
    ) {
        self.rex(is_64_bit, reg, index.unwrap_or(0), base.unwrap_or(0), reg >= 4);
        self.bytes(opcode);
        let form = if base.is_some() { 0x80 } else { 0 };
        let sib = scale << 6 | (index.unwrap_or(RSP) & 7) << 3 | base.unwrap_or(RBP) & 7;
        self.bytes(&[form | (reg & 7) << 3 | 4, sib]);
        self.immediate(displacement);
    }

    /// `mov reg, imm32`.
    pub fn set(&mut self, reg: Register, value: u32) {
        self.rex(false, 0, 0, reg, false);
        self.bytes(&[0xb8 | reg & 7]);
        self.immediate(value);
    }

    /// `mov reg, imm64`.
    pub fn set_64(&mut self, reg: Register, value: u64) {
        self.rex(true, 0, 0, reg, false);
        self.bytes(&[0xb8 | reg & 7]);
        self.bytes(&value.to_le_bytes());
    }

    pub fn push(&mut self, reg: Register) {
        self.rex(false, 0, 0, reg, false);
        self.bytes(&[0x50 | reg & 7]);
    }

    pub fn pop(&mut self, reg: Register) {
        self.rex(false, 0, 0, reg, false);
        self.bytes(&[0x58 | reg & 7]);
    }
}
