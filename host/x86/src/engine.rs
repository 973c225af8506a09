//! The trait of all engines.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use crate::{
    BlockSink, Comparison, DebugStop, Fault, Location, MemoryMap, PendingInterrupts, Processor, RamCopy,
    Registers, Stops, SystemRegisters, Unsupported, Vector,
};

/// What an engine answers that shows nothing of what it executes.
const SHOWS_NOTHING: Unsupported = Unsupported {
    engine: "this engine",
    what: "show the blocks that it executes",
    advice: "run it with the soft engine (--engine soft)",
};

/// Runs the processor of one machine.
///
/// An engine handles registers, memory and instructions. The machine handles ports, streams and time limits. An
/// engine runs until something happens that it cannot handle itself, and returns that as an [`Exit`].
///
/// The trait is not sealed: you can write an engine of your own.
pub trait Engine: fmt::Debug {
    /// Its name: `kvm` or `soft`.
    fn name(&self) -> &'static str;

    /// The memory map.
    fn memory_map(&self) -> &MemoryMap;

    /// Bytes of RAM, from address 0.
    fn ram_size(&self) -> u32 {
        self.memory_map().ram().bytes()
    }

    /// Prepares this thread for calls of [`Self::run`], until [`Self::leave`]. Calls do not nest.
    ///
    /// It does the work that many runs need only once. A run without it is correct, but slower.
    fn enter(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Undoes [`Self::enter`], on the same thread.
    fn leave(&mut self) {}

    /// Runs the processor until something happens.
    ///
    /// After an [`Exit::In`] whose data was filled, the next call completes the instruction. After an [`Exit::Fault`]
    /// the processor cannot continue unless its registers are set; its state can be read.
    fn run(&mut self) -> Result<Exit<'_>, EngineError>;

    /// The handle that makes [`Self::run`] return [`Exit::Interrupted`].
    fn interrupt_handle(&self) -> Arc<dyn Interrupt>;

    /// Makes [`Self::run`] return [`Exit::Interrupted`] once after this time, unless [`Self::leave`] comes before. It is
    /// for a time that mostly does not pass, and cheaper than a thread. `false` if the engine cannot do it.
    fn interrupt_after(&mut self, _time: Duration) -> bool {
        false
    }

    /// Port, width and data of the last exit, if it was an [`Exit::In`] that can still be filled.
    fn pending_input(&mut self) -> Option<(u16, u8, &mut [u8])>;

    /// The registers as the last exit left them. At a fault they are those of the instruction that
    /// faulted, before anything was pushed.
    fn registers(&mut self) -> Result<Registers, EngineError>;

    /// Changes the registers, to values that a processor can hold ([`Registers::as_held`]). If the last exit was an
    /// [`Exit::In`], its instruction is given up, and its data is lost.
    fn set_registers(&mut self, registers: &Registers) -> Result<(), EngineError>;

    /// A device raises an interrupt. It is pending until it is delivered: before the next instruction at which IF is set and
    /// which does not follow an `sti` that has set IF, or a load of SS (SDM volume 3, section 7.8). Pending ones are part of
    /// the processor's state.
    fn raise(&mut self, _vector: Vector) -> Result<(), Unsupported> {
        Err(Unsupported {
            engine: "this engine",
            what: "deliver interrupts of devices",
            advice: "run it with the soft engine (--engine soft)",
        })
    }

    /// The interrupts that have been raised and not delivered.
    fn pending_interrupts(&self) -> PendingInterrupts {
        PendingInterrupts::NONE
    }

    /// Makes [`Self::run`] return [`Exit::Interrupted`] once [`Self::progress`] has come to this number, exactly then.
    /// `false` if the engine does not count.
    fn interrupt_at(&mut self, _progress: Option<u64>) -> bool {
        false
    }

    /// Segment selectors and CR0.
    fn system_registers(&mut self) -> Result<SystemRegisters, EngineError>;

    /// Sets where runs stop from now on, and replaces what was set before.
    ///
    /// A run that begins at a breakpoint stops there at once, unless the last exit was an [`Exit::Debug`] at the
    /// same address.
    fn set_stops(&mut self, stops: &Stops) -> Result<(), Unsupported>;

    /// Turns on or off the shortcuts that save exits for bulk input and output. A guest cannot tell the difference.
    fn set_fast_transfers(&mut self, _on: bool) {}

    /// Keeps what is compared from now on, or no more.
    fn watch_comparisons(&mut self, on: bool) -> Result<(), Unsupported> {
        match on {
            false => Ok(()),
            true => Err(Unsupported { what: "show what it compares", ..SHOWS_NOTHING }),
        }
    }

    /// What has been compared since the last call, in order: of each instruction the first
    /// [`Comparison::OF_EACH`] times.
    fn take_comparisons(&mut self) -> Vec<Comparison> {
        Vec::new()
    }

    /// Lets a sink see the blocks that are executed from now on. Returns the one that has seen them so far.
    fn set_block_sink(
        &mut self,
        sink: Option<Box<dyn BlockSink>>,
    ) -> Result<Option<Box<dyn BlockSink>>, Unsupported> {
        match sink {
            None => Ok(None),
            Some(_) => Err(SHOWS_NOTHING),
        }
    }

    /// The sink that sees the blocks.
    fn block_sink(&mut self) -> Option<&mut dyn BlockSink> {
        None
    }

    /// Lets the sink see nothing for a while, because this part of the run has been seen before.
    fn pause_block_sink(&mut self, _is_paused: bool) {}

    /// The exact number of instructions executed since entry, if the engine counts them. A repeated string
    /// instruction counts once, when it is complete; one that faults does not count. [`Self::set_processor`] sets the
    /// count.
    fn instructions(&self) -> Option<u64>;

    /// A number that grows with each executed instruction, if the engine counts them at all. Its differences matter.
    fn progress(&self) -> Option<u64> {
        self.instructions()
    }

    /// Whether the engine may collect output while the guest runs, until an exit or an interrupt. It returns that
    /// output before the exit that follows it.
    fn holds_output(&self) -> bool {
        false
    }

    /// The location of the instruction that the last exit came from. At a breakpoint, at the limit of instructions
    /// and after an interrupt it is the next instruction.
    fn location(&mut self) -> Result<Location, EngineError>;

    /// Finishes the last exit, so that the processor is between two instructions and its state can be taken. `filled` is
    /// how many bytes of the data of an [`Exit::In`] were filled. If all were, its instruction is completed. Otherwise
    /// it is given up, and is the next one; a repeated one has made the whole transfers that were filled.
    fn settle(&mut self, filled: usize) -> Result<Settled, EngineError>;

    /// The state of the processor and its position, after [`Self::settle`].
    fn processor(&mut self) -> Result<(Processor, Position), EngineError>;

    /// Sets the state of the processor. What has not been reported is dropped. [`EngineError::CannotCarryOn`] if this
    /// engine cannot run on from the state; nothing has changed then.
    fn set_processor(&mut self, processor: &Processor, position: Position) -> Result<(), EngineError>;

    /// A copy of RAM. Later [`Self::restore_ram`] with this copy restores only memory that was written since. It may
    /// share pages with the copy that was made or restored before.
    fn save_ram(&mut self) -> Result<RamCopy, EngineError>;

    /// Restores RAM. The copy is of as much RAM. If it was the last one to be made or restored, only memory that was
    /// written since is restored.
    fn restore_ram(&mut self, copy: &RamCopy) -> Result<(), EngineError>;

    /// Measures how fast the engine is, in about a millisecond. The state of the processor is as before. For engines
    /// whose speed depends on the machine; `None` for others, and if it cannot be measured now.
    fn measure(&mut self) -> Option<Speed> {
        None
    }

    /// Another engine, which shares this one's RAM, has written to it.
    fn ram_was_written(&mut self);

    /// Copies RAM from `address` on into `bytes`, and returns how many bytes of it lie in RAM.
    /// Here the guard below the stack counts as RAM.
    fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize;

    /// Copies `bytes` to RAM from `address` on, and returns how many of them lie in RAM.
    /// Here the guard below the stack counts as RAM, and read-only memory can be written.
    fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize;
}

/// Interrupts an engine's run from outside.
pub trait Interrupt: fmt::Debug + Send + Sync {
    /// Makes the current run, or else the next one, return [`Exit::Interrupted`] soon. Several calls may count as
    /// one. It may be called in a signal handler: it allocates nothing, takes no lock and does not panic.
    fn interrupt(&self);
}

/// Why an engine failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum EngineError {
    /// A call to the operating system failed.
    Call {
        /// Its name.
        call: &'static str,
        /// The error.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The engine cannot run on from this state of a processor.
    CannotCarryOn {
        /// The engine's name in a sentence.
        engine: &'static str,
        /// What it lacks.
        what: &'static str,
    },
    /// The engine does not take this state of a processor: no processor can have it, or not this one.
    StateRefused {
        /// The call that failed.
        call: &'static str,
        /// The error.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The state of a processor could not be set completely.
    RegisterRefused {
        /// The model-specific register.
        index: u32,
    },
    /// KVM returned for a reason that this program does not know.
    UnknownExit(Box<str>),
}

impl EngineError {
    /// For `map_err`: the named call failed.
    pub fn call<E: Error + Send + Sync + 'static>(call: &'static str) -> impl Fn(E) -> Self {
        move |cause| Self::Call { call, cause: Box::new(cause) }
    }

    /// For `map_err`: the named call did not take the state of a processor.
    pub fn refused<E: Error + Send + Sync + 'static>(call: &'static str) -> impl Fn(E) -> Self {
        move |cause| Self::StateRefused { call, cause: Box::new(cause) }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Call { call, cause } => write!(
                f,
                "{call} failed ({cause}): this is not the guest's doing; try again, and report it if it stays"
            ),
            Self::CannotCarryOn { engine, what } => {
                let other = if *engine == "KVM" { "the soft engine" } else { "KVM" };
                write!(f, "{engine} cannot go on from here, because it has no {what}: go on with {other}")
            }
            Self::StateRefused { call, cause } => write!(
                f,
                "the processor does not take this state ({call}: {cause}): make a new snapshot on a \
                 machine like this one"
            ),
            Self::RegisterRefused { index } => write!(
                f,
                "KVM does not take model-specific register {index:#x} of this state: make a new machine, and a new \
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
            Self::Call { cause, .. } | Self::StateRefused { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

/// What happened before [`Engine::settle`] that has not been reported.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Output that the guest has sent, in order.
    pub sent: Vec<Sent>,
    /// How the processor stopped after it, if it has.
    pub end: Option<End>,
    /// The stop after the last instruction, if it was asked for.
    pub stop: Option<DebugStop>,
}

/// How fast an engine is, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// For one instruction of a simple loop.
    pub instruction: f64,
    /// For one exit.
    pub exit: f64,
}

impl Speed {
    /// The loop that is timed, of ECX iterations: `dec ecx; jnz; hlt`.
    pub const LOOP: [u8; 4] = [0x49, 0x75, 0xfd, 0xf4];
}

/// Where a run stands, as far as the processor's state does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// What [`Engine::location`] returns.
    pub location: Location,
    /// The last exit was an [`Exit::Debug`] here, so that a breakpoint here does not stop the run again.
    pub was_reported: bool,
}

/// Transfers to a port: see [`Exit::Out`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The port's number.
    pub port: u16,
    /// Bytes per transfer: 1, 2 or 4.
    pub width: u8,
    /// The data.
    pub data: Vec<u8>,
}

/// How a processor stopped: see [`Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By `hlt`.
    Halt,
    /// It cannot continue.
    Fault(Fault),
}

/// Why an engine returned. The caller must handle all of them, so the enum is exhaustive on purpose.
#[derive(Debug)]
pub enum Exit<'a> {
    /// The guest waits for `data` from a port: whole transfers of `width` bytes, at least one.
    In {
        /// The port's number.
        port: u16,
        /// Bytes per transfer: 1, 2 or 4.
        width: u8,
        /// To be filled before the next [`Engine::run`].
        data: &'a mut [u8],
    },
    /// The guest sent `data` to a port: whole transfers of `width` bytes, at least one.
    Out {
        /// The port's number.
        port: u16,
        /// Bytes per transfer: 1, 2 or 4.
        width: u8,
        /// The data.
        data: &'a [u8],
    },
    /// The guest executed `hlt`.
    Halt,
    /// The processor cannot continue.
    Fault(Fault),
    /// Interrupted from outside: see [`Interrupt`]. The guest can continue.
    Interrupted,
    /// A stop of [`Engine::set_stops`].
    Debug(DebugStop),
}
