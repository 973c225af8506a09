//! What runs the processor.
//!
//! An engine knows registers, memory and instructions, and nothing of ports, streams or limits: those are
//! the [`Machine`](crate::Machine)'s. It runs until something happens that it cannot settle itself, and
//! says what: that is an [`Exit`].

pub mod choice;
#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
pub mod kvm;
mod registers;
pub mod soft;
mod stops;

pub use registers::{Registers, SystemRegisters};
pub use stops::{DebugStop, Stops, Unsupported, WatchKind, Watchpoint};

use crate::MemoryMap;
use crate::fault::{Fault, Location};

/// Why an engine itself could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A call to the operating system failed.
    #[error("{call} failed ({cause}): this is not the guest's doing; try again, and report it if it stays")]
    Call {
        /// Its name.
        call: &'static str,
        /// How.
        #[source]
        cause: std::io::Error,
    },
    /// A snapshot of something else.
    #[error(
        "the snapshot is of a machine with another engine or another memory: take one in a machine like this"
    )]
    ForeignSnapshot,
    /// Not all of a snapshot could be put back.
    #[error(
        "KVM does not take model-specific register {index:#x} of the snapshot: make a new machine, and a new snapshot in it"
    )]
    RegisterRefused {
        /// The register.
        index: u32,
    },
    /// The engine said something that this program does not know.
    #[error("KVM ended the run for a reason unknown to this program ({0}): report it, with the image")]
    UnknownExit(String),
}

/// Runs the processor of one machine.
pub trait Engine {
    /// Its name: `kvm` or `soft`.
    fn name(&self) -> &'static str;

    /// What lies where in RAM.
    fn memory_map(&self) -> &MemoryMap;

    /// Bytes of RAM, from address 0.
    fn ram_size(&self) -> u32 {
        self.memory_map().ram().bytes()
    }

    /// Runs the processor until something happens.
    ///
    /// After an [`Exit::In`] whose data was filled, the next call completes the instruction. After an
    /// [`Exit::Fault`] the processor cannot go on, and the engine is for looking at only.
    fn run(&mut self) -> Result<Exit<'_>, EngineError>;

    /// What the last exit was, if that was an [`Exit::In`] that can still be filled: its port, width and data.
    fn pending_input(&mut self) -> Option<(u16, u8, &mut [u8])>;

    /// The registers as the last exit left them. At a fault they are those of the instruction that
    /// faulted, before anything was pushed.
    fn registers(&mut self) -> Result<Registers, EngineError>;

    /// Changes the registers, to what a processor can hold ([`Registers::as_held`]). Where the last exit was an [`Exit::In`], its instruction is given up, and what was
    /// filled is lost.
    fn set_registers(&mut self, registers: &Registers) -> Result<(), EngineError>;

    /// The registers beside the general ones.
    fn system_registers(&mut self) -> Result<SystemRegisters, EngineError>;

    /// Sets where runs stop from now on, in place of what was set before.
    ///
    /// A run that begins at a breakpoint stops there at once, unless the last exit was an [`Exit::Debug`] at that
    /// very address.
    fn set_stops(&mut self, stops: &Stops) -> Result<(), Unsupported>;

    /// How many instructions have been executed, exactly, if the engine counts them. A repeated string
    /// instruction counts once, when it is through; one that faults does not count.
    fn instructions(&self) -> Option<u64>;

    /// Whether output may be kept back while the guest runs, until an exit or a [kick](crate::kick). What was sent is told
    /// of before the exit that comes behind it.
    fn holds_output(&self) -> bool {
        false
    }

    /// Where the instruction stands that the last exit came from. At a breakpoint, at the limit of instructions
    /// and after a kick it is the one to execute next.
    fn location(&mut self) -> Result<Location, EngineError>;

    /// The state as it is, for [`Self::restore`]. What an [`Exit::In`] waits for is given up: its instruction is the next
    /// one.
    fn snapshot(&mut self) -> Result<EngineSnapshot, EngineError>;

    /// Puts the state back: RAM, registers, all that a guest can see but the time. Only pages that were written since
    /// are touched if this snapshot was the last one to be taken or restored.
    fn restore(&mut self, snapshot: &EngineSnapshot) -> Result<(), EngineError>;

    /// Copies RAM from `address` on into `bytes`, and returns how many bytes of it lie in RAM.
    /// The hole below the stack counts as RAM here, and read-only memory is the guest's only.
    fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize;

    /// Copies `bytes` to RAM from `address` on, and returns how many of them lie in RAM.
    /// The same holds as for [`Self::read_ram`].
    fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize;
}

impl<E: Engine + ?Sized> Engine for Box<E> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn memory_map(&self) -> &MemoryMap {
        (**self).memory_map()
    }

    fn run(&mut self) -> Result<Exit<'_>, EngineError> {
        (**self).run()
    }

    fn pending_input(&mut self) -> Option<(u16, u8, &mut [u8])> {
        (**self).pending_input()
    }

    fn registers(&mut self) -> Result<Registers, EngineError> {
        (**self).registers()
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<(), EngineError> {
        (**self).set_registers(registers)
    }

    fn system_registers(&mut self) -> Result<SystemRegisters, EngineError> {
        (**self).system_registers()
    }

    fn set_stops(&mut self, stops: &Stops) -> Result<(), Unsupported> {
        (**self).set_stops(stops)
    }

    fn instructions(&self) -> Option<u64> {
        (**self).instructions()
    }

    fn holds_output(&self) -> bool {
        (**self).holds_output()
    }

    fn location(&mut self) -> Result<Location, EngineError> {
        (**self).location()
    }

    fn snapshot(&mut self) -> Result<EngineSnapshot, EngineError> {
        (**self).snapshot()
    }

    fn restore(&mut self, snapshot: &EngineSnapshot) -> Result<(), EngineError> {
        (**self).restore(snapshot)
    }

    fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize {
        (**self).read_ram(address, bytes)
    }

    fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize {
        (**self).write_ram(address, bytes)
    }
}

/// The state of an engine at some time. It may be restored in any machine of the same engine and the same
/// [`MemoryMap`], and as often as one likes.
#[derive(Clone, Debug)]
pub struct EngineSnapshot(pub(crate) EngineState);

/// Each engine's own.
#[derive(Clone, Debug)]
pub(crate) enum EngineState {
    Soft(Box<soft::State>),
    #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
    Kvm(kvm::State),
}

/// What happened.
#[derive(Debug)]
pub enum Exit<'a> {
    /// The guest waits for `data` from a port: whole transfers of `width` bytes, at least one.
    In {
        /// The port's number.
        port: u16,
        /// Bytes a transfer: 1, 2 or 4.
        width: u8,
        /// To be filled before the next [`Engine::run`].
        data: &'a mut [u8],
    },
    /// The guest sent `data` to a port: whole transfers of `width` bytes, at least one.
    Out {
        /// The port's number.
        port: u16,
        /// Bytes a transfer: 1, 2 or 4.
        width: u8,
        /// What it sent.
        data: &'a [u8],
    },
    /// The guest executed `hlt`.
    Halt,
    /// The processor cannot go on.
    Fault(Fault),
    /// Somebody outside wants attention: see [`kick`](crate::kick). Nothing of the guest is lost.
    Kicked,
    /// What [`Engine::set_stops`] asked for has happened.
    Debug(DebugStop),
}
