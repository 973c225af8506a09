//! What runs the processor.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::error::Error;
use core::fmt;

use crate::{DebugStop, Fault, Location, MemoryMap, Registers, Stops, SystemRegisters, Unsupported};

/// Runs the processor of one machine.
///
/// An engine knows registers, memory and instructions, and nothing of ports, streams or limits: those are the
/// machine's. It runs until something happens that it cannot settle itself, and says what: that is an [`Exit`].
///
/// Anybody may write one: nothing here is sealed.
pub trait Engine: fmt::Debug {
    /// Its name: `kvm` or `soft`.
    fn name(&self) -> &'static str;

    /// What lies where in RAM.
    fn memory_map(&self) -> &MemoryMap;

    /// Bytes of RAM, from address 0.
    fn ram_size(&self) -> u32 {
        self.memory_map().ram().bytes()
    }

    /// Prepares this thread for calls of [`Self::run`], until [`Self::leave`]. Calls do not nest.
    ///
    /// What has to be done once for many runs is done here. A run without it is right, too, only slower.
    fn enter(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Undoes [`Self::enter`], on the same thread.
    fn leave(&mut self) {}

    /// Runs the processor until something happens.
    ///
    /// After an [`Exit::In`] whose data was filled, the next call completes the instruction. After an
    /// [`Exit::Fault`] the processor cannot go on, and the engine is for looking at only.
    fn run(&mut self) -> Result<Exit<'_>, EngineError>;

    /// Makes [`Self::run`] return [`Exit::Interrupted`].
    fn interrupt_handle(&self) -> Arc<dyn Interrupt>;

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

    /// Turns the shortcuts off, or on again, that make bulk input and output faster than one exit for each transfer
    /// that the processor makes. A guest cannot tell the difference.
    fn set_fast_transfers(&mut self, _on: bool) {}

    /// How many instructions have been executed since entry, exactly, if the engine counts them. A repeated string
    /// instruction counts once, when it is through; one that faults does not count. [`Self::restore`] puts the count
    /// back.
    fn instructions(&self) -> Option<u64>;

    /// Whether output may be kept back while the guest runs, until an exit or an interrupt. What was sent is told
    /// of before the exit that comes behind it.
    fn holds_output(&self) -> bool {
        false
    }

    /// Where the instruction stands that the last exit came from. At a breakpoint, at the limit of instructions
    /// and after an interrupt it is the one to execute next.
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

/// Interrupts an engine's run from outside.
pub trait Interrupt: fmt::Debug + Send + Sync {
    /// Makes the run that goes on now, or else the next one, return [`Exit::Interrupted`] soon. Several calls may
    /// count as one. It may be called in a signal handler: it allocates nothing, takes no lock and does not panic.
    fn interrupt(&self);
}

/// Why an engine itself could not go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum EngineError {
    /// A call to the operating system failed.
    Call {
        /// Its name.
        call: &'static str,
        /// How.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// A snapshot of something else.
    ForeignSnapshot,
    /// Not all of a snapshot could be put back.
    RegisterRefused {
        /// The model-specific register.
        index: u32,
    },
    /// The engine came back for a reason that this program does not know.
    UnknownExit(Box<str>),
}

impl EngineError {
    /// For `map_err`: the named call failed.
    pub fn call<E: Error + Send + Sync + 'static>(call: &'static str) -> impl Fn(E) -> Self {
        move |cause| Self::Call { call, cause: Box::new(cause) }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Call { call, cause } => write!(
                f,
                "{call} failed ({cause}): this is not the guest's doing; try again, and report it if it stays"
            ),
            Self::ForeignSnapshot => f.write_str(
                "the snapshot is of a machine with another engine or another memory: take one in a machine like this",
            ),
            Self::RegisterRefused { index } => write!(
                f,
                "KVM does not take model-specific register {index:#x} of the snapshot: make a new machine, and a new \
                 snapshot in it"
            ),
            Self::UnknownExit(what) => write!(
                f,
                "KVM ended the run for a reason unknown to this program ({what}): report it, with the image"
            ),
        }
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Call { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

/// The state of an engine at some time. It may be restored in any machine of the same engine and the same
/// [`MemoryMap`], and as often as one likes. What is in it only its engine knows.
#[derive(Clone)]
pub struct EngineSnapshot(Arc<dyn Any + Send + Sync>);

impl EngineSnapshot {
    /// With this state of an engine's own.
    pub fn new(state: impl Any + Send + Sync) -> Self {
        Self(Arc::new(state))
    }

    /// The state, if it is of this type.
    pub fn state<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for EngineSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("EngineSnapshot").finish_non_exhaustive()
    }
}

/// Why an engine came back. Whoever runs one has to deal with all of them, so a new one is a new version.
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
    /// Interrupted from outside: see [`Interrupt`]. Nothing of the guest is lost.
    Interrupted,
    /// What [`Engine::set_stops`] asked for has happened.
    Debug(DebugStop),
}
