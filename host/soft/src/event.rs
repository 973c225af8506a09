//! Results of an instruction besides its effect on the processor: why its block ends, why it cannot be executed, and
//! what it requests of the host.

use alloc::vec::Vec;
use flatland_x86::Access;

/// Why a block does not continue with its next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The instruction is complete, and EIP is set.
    Branch,
    /// As [`Self::Branch`], but decoded code, CS or TF may have changed.
    BranchAnew,
    /// The instruction is complete, and has stored to decoded code.
    CodeChanged,
    /// A string instruction has made progress, and must be executed again.
    Again,
    /// The instruction needs the host: see `Cpu::request`.
    Request,
    /// The instruction cannot be executed: see `Cpu::problem`. Registers and flags are as before it.
    Problem,
}

/// What an operation returns: whether the block continues.
pub type Step = Result<(), Break>;

/// Why an instruction cannot be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// An exception or a software interrupt.
    Event(Event),
    /// An access that memory refuses, and the first byte that does.
    Refused(Access, u32),
    /// This engine does not have the instruction.
    Unsupported,
}

/// An exception or interrupt (SDM volume 3, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The vector.
    pub vector: u8,
    /// The error code, for the vectors that have one.
    pub error_code: Option<u32>,
    /// Its cause.
    pub kind: EventKind,
}

/// The cause of an event. It decides where the handler returns to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Before the instruction: it can be restarted.
    Fault,
    /// After an instruction.
    Trap,
    /// By `int n`, `int3` or `into`, so after that instruction.
    Software,
    /// By `int1`, so after that instruction. Its delivery counts as that of a processor exception.
    PrivilegedSoftware,
}

impl EventKind {
    /// Whether it is a software interrupt.
    pub fn is_software(self) -> bool {
        matches!(self, Self::Software | Self::PrivilegedSoftware)
    }

    /// Where the handler returns to: the instruction, or the one behind it.
    pub fn return_eip(self, eip: u32, next: u32) -> u32 {
        if self == Self::Fault { eip } else { next }
    }
}

/// What an instruction requests of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Transfers from a port.
    In(In),
    /// Transfers to a port.
    Out {
        /// The port's number.
        port: u16,
        /// Bytes per transfer.
        width: u8,
        /// The transfers' data.
        data: OutData,
        /// Whether the instruction is complete; a repeated one may have more transfers to make.
        complete: bool,
    },
    /// `hlt`.
    Halt,
}

/// Transfers from a port, and where their data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct In {
    /// The port's number.
    pub port: u16,
    /// Bytes per transfer.
    pub width: u8,
    /// The number of transfers.
    pub count: u32,
    /// Where the data goes.
    pub target: InTarget,
    /// The instruction's address.
    pub eip: u32,
    /// The address of the next instruction.
    pub next: u32,
}

impl In {
    /// Whether it is of a repeated instruction, which may be complete in part.
    pub fn repeats(&self) -> bool {
        matches!(self.target, InTarget::String { repeats: true, .. })
    }
}

/// Where the data of an [`In`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InTarget {
    /// AL, AX or EAX.
    Accumulator,
    /// Memory, by `ins`.
    String {
        /// Whether it has a `rep` prefix.
        repeats: bool,
        /// Whether the registers are ECX and EDI, or else CX and DI.
        address_32: bool,
    },
}

/// Where the data of a [`Request::Out`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutData {
    /// In RAM: the first byte's address and the number of bytes.
    Ram(u32, u32),
    /// In the accumulator.
    Accumulator([u8; 4]),
    /// Gathered from memory.
    Bytes(Vec<u8>),
}
