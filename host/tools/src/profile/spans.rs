//! The runs of instructions that a profile counts, and what the last instruction of each does to the calls.

use std::collections::HashMap;
use std::sync::Arc;

use flatland_x86::BlockCode;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

/// What an instruction does to the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next instruction is at this address, or an exception came.
    Next(u32),
    /// The next one is at either of these, or an exception came.
    Jump([u32; 2]),
    /// The next one may be anywhere.
    JumpAnywhere,
    /// It calls this address, or any if none is known.
    Call {
        /// The function, if the instruction says which.
        target: Option<u32>,
        /// Where it returns to.
        returns_to: u32,
    },
    /// It returns to the address on the stack.
    Return,
    /// It returns from the handler of an exception.
    ReturnFromHandler,
}

impl Flow {
    fn of(instruction: &Instruction) -> Self {
        let next = instruction.next_ip32();
        let target = match instruction.op0_kind() {
            OpKind::NearBranch32 | OpKind::NearBranch16 => Some(instruction.near_branch_target() as u32),
            _ => None,
        };
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
                if let Some(target) = target =>
            {
                let other = match instruction.flow_control() {
                    FlowControl::ConditionalBranch => next,
                    _ => target,
                };
                Self::Jump([target, other])
            }
            // A call of the next instruction only asks for its address.
            FlowControl::Call if target == Some(next) => Self::Next(next),
            FlowControl::Call | FlowControl::IndirectCall => Self::Call { target, returns_to: next },
            FlowControl::Return if matches!(instruction.code(), Code::Iretw | Code::Iretd) => {
                Self::ReturnFromHandler
            }
            FlowControl::Return => Self::Return,
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => Self::JumpAnywhere,
            _ => Self::Next(next),
        }
    }
}

/// Instructions of which each but the last leads to the next one.
#[derive(Clone, Debug)]
pub struct Span {
    /// The address of the first one.
    pub address: u32,
    /// What the last one does.
    pub flow: Flow,
    /// The address of the last one.
    pub last: u32,
    /// The size of each, in bytes.
    sizes: Arc<[u8]>,
}

impl Span {
    /// The address of each instruction.
    pub fn addresses(&self) -> impl Iterator<Item = u32> {
        self.sizes.iter().scan(self.address, |next, &size| {
            let address = *next;
            *next = next.wrapping_add(size.into());
            Some(address)
        })
    }
}

/// A span's number.
pub type Id = u32;

/// All spans that were executed. The same instructions at the same place are the same span, however often they are
/// decoded.
#[derive(Debug, Default)]
pub struct Spans {
    spans: Vec<Span>,
    known: HashMap<(u32, Arc<[u8]>, u64), Id>,
}

impl Spans {
    /// The span with this number.
    pub fn get(&self, id: Id) -> &Span {
        &self.spans[id as usize]
    }

    /// The span of the first `instructions` of a block. None if there are this many spans already: code that changes
    /// itself without end has no end of them.
    pub fn add(&mut self, code: &BlockCode, instructions: u32, most: usize) -> Option<Id> {
        let (sizes, flow, last) = decode(code, instructions);
        let sizes: Arc<[u8]> = sizes.into();
        // What decides the flow, besides the sizes.
        let what = match flow {
            Flow::Next(_) => 0,
            Flow::Jump([target, _]) => 1 << 32 | u64::from(target),
            Flow::JumpAnywhere => 2 << 32,
            Flow::Call { target, .. } => 3 << 32 | u64::from(target.unwrap_or(0)),
            Flow::Return => 4 << 32,
            Flow::ReturnFromHandler => 5 << 32,
        };
        let key = (code.address, sizes, what);
        if let Some(&id) = self.known.get(&key) {
            return Some(id);
        }
        if self.spans.len() >= most {
            return None;
        }
        let id = self.spans.len() as Id;
        self.spans.push(Span { address: code.address, flow, last, sizes: key.1.clone() });
        self.known.insert(key, id);
        Some(id)
    }
}

/// The sizes of the first instructions of a block, what the last one of them does, and its address.
fn decode(code: &BlockCode, instructions: u32) -> (Vec<u8>, Flow, u32) {
    // The sink is not told which kind of code segment it is. All bytes are instructions in the right one.
    for bits in [32, 16] {
        let mut decoder = Decoder::with_ip(bits, code.bytes, code.address.into(), DecoderOptions::NONE);
        let decoded: Vec<Instruction> = decoder.iter().collect();
        if decoded.len() == code.instructions as usize
            && let Some(last) = decoded.get((instructions as usize).wrapping_sub(1))
        {
            let sizes = decoded[..instructions as usize].iter().map(|each| each.len() as u8).collect();
            return (sizes, Flow::of(last), last.ip32());
        }
    }
    (vec![0; instructions as usize], Flow::JumpAnywhere, code.address)
}
