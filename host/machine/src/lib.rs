//! The machine: a processor with RAM, devices at its ports, streams for the devices, and limits.
//!
//! [`Machine::resume`] runs the guest to the next [`Event`] that the caller [wants](Wants). [`Machine::run`] calls it
//! until the run ends. Debuggers, traces and test runners are loops over it, too.
//!
//! ```
//! use flatland_machine::{EngineChoice, Event, Machine, Program, Wants};
//!
//! // mov dx, 0xe9; mov al, 'A'; out dx, al; hlt
//! let program = Program::from_bytes(vec![0x66, 0xba, 0xe9, 0x00, 0xb0, b'A', 0xee, 0xf4])?;
//! let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
//! let wants = Wants { transfers: true, ..Wants::default() };
//! let Event::Transfer(transfer) = machine.resume(&wants)? else { panic!() };
//! assert_eq!((transfer.port, &*transfer.data), (0xe9, &b"A"[..]));
//! assert_eq!(machine.run()?.status(), 0);
//! assert_eq!(machine.streams().output.bytes(), b"A");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alarm;
mod builder;
mod bus;
mod choice;
mod device;
pub mod devices;
mod engines;
mod event;
mod file;
mod interrupt;
mod log;
mod machine;
mod outcome;
mod policy;
mod recording;
mod snapshot;
mod stats;
mod streams;
mod waker;

pub use builder::{BuildError, Builder};
pub use choice::{ChoiceError, EngineChoice, UnknownEngine};
pub use device::{Device, Host, Unfinished};
pub use engines::{EngineKind, Engines};
pub use event::{Event, Stopped, Transfer, Wants};
pub use file::{FileError, FileKind};
pub use flatland_program::{Image, ImageError, Program, ProgramError};
pub use flatland_x86::{MemoryMap, MemorySize};
pub use interrupt::InterruptHandle;
pub use machine::{Checkpoint, Divergence, Machine, MoveError, RestoreError, RunError};
pub use outcome::{Outcome, Signal, Stop};
pub use policy::Why;
pub use recording::{Diverged, End, OtherProgram, RecordedBytes, Recorder, Recording};
pub use snapshot::Snapshot;
pub use stats::{Move, Stats, Transfers};
pub use streams::{Input, Output, StreamError, Streams};
