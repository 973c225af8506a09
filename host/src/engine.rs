//! What runs the processor.
//!
//! An engine knows registers, memory and instructions, and nothing of ports, streams or limits: those are
//! the [`Machine`](crate::Machine)'s. It runs until something happens that it cannot settle itself, and
//! says what: that is an [`Exit`].

pub mod kvm;
mod registers;

pub use registers::Registers;

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
    /// The engine said something that this program does not know.
    #[error("KVM ended the run for a reason unknown to this program ({0}): report it, with the image")]
    UnknownExit(String),
}

/// Runs the processor of one machine.
pub trait Engine {
    /// Bytes of RAM, from address 0.
    fn ram_size(&self) -> u32;

    /// Runs the processor until something happens.
    ///
    /// After an [`Exit::In`] whose data was filled, the next call completes the instruction. After an
    /// [`Exit::Fault`] the processor cannot go on, and the engine is for looking at only.
    fn run(&mut self) -> Result<Exit<'_>, EngineError>;

    /// The registers as the last exit left them. At a fault they are those of the instruction that
    /// faulted, before anything was pushed.
    fn registers(&mut self) -> Result<Registers, EngineError>;

    /// Where the instruction stands that the last exit came from.
    fn location(&mut self) -> Result<Location, EngineError>;

    /// Copies RAM from `address` on into `bytes`, and returns how many bytes of it lie in RAM.
    fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize;

    /// Copies `bytes` to RAM from `address` on, and returns how many of them lie in RAM.
    fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize;
}

impl<E: Engine + ?Sized> Engine for Box<E> {
    fn ram_size(&self) -> u32 {
        (**self).ram_size()
    }

    fn run(&mut self) -> Result<Exit<'_>, EngineError> {
        (**self).run()
    }

    fn registers(&mut self) -> Result<Registers, EngineError> {
        (**self).registers()
    }

    fn location(&mut self) -> Result<Location, EngineError> {
        (**self).location()
    }

    fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize {
        (**self).read_ram(address, bytes)
    }

    fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize {
        (**self).write_ram(address, bytes)
    }
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
}
