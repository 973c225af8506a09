//! The calls that led to where the guest is: a walk along the frame pointers that the target (i686-bare.json) keeps.
//!
//! It works on plain data and takes nothing on trust: a guest may have written anything where its stack should be. Each
//! frame must lie above the last one, and each return address must stand behind a `call`, or the walk ends and says why.

use std::fmt;

use iced_x86::{Mnemonic, OpKind, Register};

use flatland_x86::instruction::{Read, decode, word};

use crate::instruction::{self, LARGEST_FUNCTION};

/// Where the walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The instruction, or an address inside it.
    pub eip: u32,
    /// The registers, as they are before it.
    pub esp: u32,
    /// The frame pointer.
    pub ebp: u32,
    /// Where the function begins, if that is known: a frame that is not yet there can then be told.
    pub function: Option<u32>,
}

/// The calls that led somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backtrace {
    /// An address inside each instruction: first where the guest is, and then each `call`, from the innermost on.
    pub addresses: Vec<u32>,
    /// Frames in the middle that were left out, and behind which address.
    pub left_out: Option<(usize, u64)>,
    /// Why the walk did not come to the start of the program.
    pub broken: Option<Broken>,
}

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The frame pointer leads to where no memory is.
    NoMemory(u32),
    /// The frame pointer does not lead up the stack.
    NotUpwards(u32),
    /// What should be a return address is none.
    NoCall {
        /// What stands there.
        found: u32,
        /// Where.
        at: u32,
    },
    /// There is no end to it.
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

/// How a function's caller is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// By the function's frame, to which EBP points.
    InFrame,
    /// By the return address at this place; EBP is still the caller's, or is it again.
    At(u32),
}

impl Backtrace {
    /// Of a long chain, so many frames are kept from its beginning.
    pub const FIRST: usize = 24;
    /// And so many from its end.
    pub const LAST: usize = 8;
    /// The walk goes no further: more frames than fit the largest stack that makes sense.
    pub const FARTHEST: u64 = 1 << 20;

    /// Walks from this start.
    pub fn walk(start: &Start, read: Read) -> Self {
        let mut frames = Frames::default();
        frames.push(start.eip);
        let mut ebp = start.ebp;
        if let Caller::At(address) = caller(start, read)
            && let Some(called_from) =
                word(read, address).filter(|found| instruction::is_behind_call(*found, read))
        {
            frames.push(called_from.wrapping_sub(1));
        }
        let mut lowest = start.esp;
        let broken = loop {
            // The start of the program clears EBP.
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
            if !instruction::is_behind_call(found, read) {
                break Some(Broken::NoCall { found, at });
            }
            if frames.count == Self::FARTHEST {
                break Some(Broken::Endless);
            }
            frames.push(found.wrapping_sub(1));
            // The next frame begins above this one's two words.
            lowest = ebp.saturating_add(8);
            ebp = next;
        };
        frames.finish(broken)
    }
}

/// The first frames and the last ones, however many there are.
#[derive(Default)]
struct Frames {
    first: Vec<u32>,
    /// A ring.
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

/// How the caller of the function is found in which the guest is: by decoding it up to there, since the frame is made by
/// its first instructions and taken down by its last ones.
fn caller(start: &Start, read: Read) -> Caller {
    let Start { eip, esp, function, .. } = *start;
    if read(eip, &mut [0]) == 0 {
        // A call through a bad pointer: the return address is the last thing pushed. After a jump it is something
        // else, in most cases not behind a call.
        return Caller::At(esp);
    }
    // As far as it is sensible to decode.
    let Some(function) = function.filter(|function| eip.wrapping_sub(*function) < LARGEST_FUNCTION) else {
        // What can be seen from here alone.
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
            // The frame pointer is the caller's again, and its return address on top.
            (Mnemonic::Pop, Register::EBP) | (Mnemonic::Leave, _) if has_frame => {
                (has_frame, depth) = (false, 0);
            }
            // What follows is another way through the function.
            (Mnemonic::Ret | Mnemonic::Jmp | Mnemonic::Ud2, _) => has_frame = had_frame,
            (Mnemonic::Sub | Mnemonic::Add, Register::ESP) if is_immediate(decoded.op1_kind()) => {
                let by = decoded.immediate(1) as i32;
                let down = if decoded.mnemonic() == Mnemonic::Sub { by } else { by.wrapping_neg() };
                depth = depth.wrapping_add(down);
            }
            // What it pushes is gone when it is back.
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
