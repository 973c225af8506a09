//! Finds the calls that led to the guest's location, by walking the frame pointers that the target (i686-bare.json)
//! keeps.
//!
//! It works on plain data and trusts none of it: the guest may have overwritten its stack. Each frame must be above
//! the previous one, and each return address must follow a `call`; otherwise the walk ends and reports why.

use std::fmt;

use iced_x86::{Mnemonic, OpKind, Register};

use flatland_program::Symbols;
use flatland_x86::Registers;
use flatland_x86::instruction::{Read, decode, word};

use crate::instruction::{self, LARGEST_FUNCTION};

/// Where the walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The instruction, or an address inside it.
    pub eip: u32,
    /// The stack pointer before the instruction.
    pub esp: u32,
    /// The frame pointer before the instruction.
    pub ebp: u32,
    /// The start of the function, if known: shows whether the function has set up its frame yet.
    pub function: Option<u32>,
}

impl Start {
    /// Where these registers are.
    pub fn of(registers: &Registers, symbols: Option<&Symbols>) -> Self {
        let Registers { eip, esp, ebp, .. } = *registers;
        Self { eip, esp, ebp, function: symbols.and_then(|symbols| symbols.function_start(eip)) }
    }
}

/// The calls that led to a location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backtrace {
    /// Addresses inside instructions: first the guest's location, then each `call`, innermost first.
    pub addresses: Vec<u32>,
    /// The gap in a long chain: after how many addresses, and how many frames were left out.
    pub left_out: Option<(usize, u64)>,
    /// Why the walk did not reach the start of the program.
    pub broken: Option<Broken>,
}

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The frame pointer points outside memory.
    NoMemory(u32),
    /// The frame pointer does not lead up the stack.
    NotUpwards(u32),
    /// The word in place of a return address does not follow a `call`.
    NoCall {
        /// The word.
        found: u32,
        /// The address of the word.
        at: u32,
    },
    /// The chain of frames has no end.
    Endless,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Broken::NoMemory(ebp) => write!(f, "the frame pointer is {ebp:#010x}, where no memory is"),
            Broken::NotUpwards(ebp) => {
                write!(f, "the frame pointer is {ebp:#010x}, which does not lead up the stack")
            }
            Broken::NoCall { found, at } => {
                write!(f, "the return address at {at:#010x} is {found:#010x}, with no call before it")
            }
            Broken::Endless => write!(f, "there are more than {} frames", Backtrace::FARTHEST),
        }
    }
}

/// Where the return address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// In the function's frame, to which EBP points.
    InFrame,
    /// At this address. EBP is the caller's: not changed yet, or restored.
    At(u32),
}

impl Backtrace {
    /// The number of frames kept from the beginning of a long chain.
    pub const FIRST: usize = 24;
    /// The number of frames kept from its end.
    pub const LAST: usize = 8;
    /// The most frames to walk: more than fit any sensible stack.
    pub const FARTHEST: u64 = 1 << 20;

    /// Walks from `start`.
    pub fn walk(start: &Start, read: Read) -> Self {
        let mut frames = Frames::default();
        frames.push(start.eip);
        let mut ebp = start.ebp;
        if let Caller::At(address) = caller(start, read)
            && let Some(called_from) =
                word(read, address).filter(|found| instruction::is_after_call(*found, read))
        {
            frames.push(called_from.wrapping_sub(1));
        }
        let mut lowest = start.esp;
        let broken = loop {
            // The program's start code clears EBP.
            if ebp == 0 {
                break None;
            }
            let at = ebp.wrapping_add(4);
            let (Some(next), Some(found)) = (word(read, ebp), word(read, at)) else {
                break Some(Broken::NoMemory(ebp));
            };
            if ebp < lowest {
                break Some(Broken::NotUpwards(ebp));
            }
            if !instruction::is_after_call(found, read) {
                break Some(Broken::NoCall { found, at });
            }
            if frames.count == Self::FARTHEST {
                break Some(Broken::Endless);
            }
            frames.push(found.wrapping_sub(1));
            // The next frame must be above the two words of this one.
            lowest = ebp.saturating_add(8);
            ebp = next;
        };
        frames.finish(broken)
    }
}

/// The first frames and the last ones of a chain of any length.
#[derive(Default)]
struct Frames {
    first: Vec<u32>,
    /// A ring buffer.
    last: Vec<u32>,
    count: u64,
}

impl Frames {
    fn push(&mut self, address: u32) {
        if self.first.len() < Backtrace::FIRST {
            self.first.push(address);
        } else if self.last.len() < Backtrace::LAST {
            self.last.push(address);
        } else {
            let behind_first = self.count - Backtrace::FIRST as u64;
            self.last[(behind_first % Backtrace::LAST as u64) as usize] = address;
        }
        self.count += 1;
    }

    fn finish(mut self, broken: Option<Broken>) -> Backtrace {
        let kept = (self.first.len() + self.last.len()) as u64;
        let left_out = (self.count > kept).then_some((self.first.len(), self.count - kept));
        if left_out.is_some() {
            let oldest = (self.count - Backtrace::FIRST as u64) % Backtrace::LAST as u64;
            self.last.rotate_left(oldest as usize);
        }
        self.first.append(&mut self.last);
        Backtrace { addresses: self.first, left_out, broken }
    }
}

/// Finds where the return address is, by decoding the function up to EIP: its first instructions set up the frame,
/// and its last ones remove it.
fn caller(start: &Start, read: Read) -> Caller {
    let Start { eip, esp, function, .. } = *start;
    if read(eip, &mut [0]) == 0 {
        // After a call through a bad pointer, the return address is the last word pushed. After a jump it is some
        // other word, which in most cases does not follow a call.
        return Caller::At(esp);
    }
    // Only if the function's length is sensible.
    let Some(function) = function.filter(|function| eip.wrapping_sub(*function) < LARGEST_FUNCTION) else {
        // Without the function's start, check only the code at EIP.
        let is_at = |address: u32, code: &[u8]| {
            let mut bytes = [0; 3];
            read(address, &mut bytes) >= code.len() && bytes.starts_with(code)
        };
        return if is_at(eip, &[0xc3]) || is_at(eip, &[0xc2]) || is_at(eip, &[0x55, 0x89, 0xe5]) {
            Caller::At(esp)
        } else if eip > 0 && is_at(eip - 1, &[0x55, 0x89, 0xe5]) {
            Caller::At(esp.wrapping_add(4))
        } else {
            Caller::InFrame
        };
    };
    let mut at = function;
    let mut depth = 0_i32;
    let (mut has_frame, mut had_frame) = (false, false);
    while let Some((decoded, _)) = decode(at, read)
        && let Some(next) = at.checked_add(decoded.len() as u32)
        && next <= eip
    {
        match (decoded.mnemonic(), decoded.op0_register()) {
            (Mnemonic::Mov, Register::EBP) if decoded.op1_register() == Register::ESP => {
                (has_frame, had_frame) = (true, true);
            }
            // EBP is the caller's again, and the return address is on top of the stack.
            (Mnemonic::Pop, Register::EBP) | (Mnemonic::Leave, _) if has_frame => {
                (has_frame, depth) = (false, 0);
            }
            // The following code is reached by another path through the function.
            (Mnemonic::Ret | Mnemonic::Jmp | Mnemonic::Ud2, _) => has_frame = had_frame,
            (Mnemonic::Sub | Mnemonic::Add, Register::ESP) if is_immediate(decoded.op1_kind()) => {
                let by = decoded.immediate(1) as i32;
                let down = if decoded.mnemonic() == Mnemonic::Sub { by } else { by.wrapping_neg() };
                depth = depth.wrapping_add(down);
            }
            // The callee has popped what the call pushed.
            (Mnemonic::Call, _) => {}
            _ => depth = depth.wrapping_sub(instruction::moves_stack_pointer(&decoded)),
        }
        at = next;
    }
    if has_frame { Caller::InFrame } else { Caller::At(esp.wrapping_add(depth as u32)) }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(kind, OpKind::Immediate8to32 | OpKind::Immediate32)
}

#[cfg(test)]
mod tests;
