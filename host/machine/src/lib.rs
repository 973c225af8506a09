#![doc = include_str!("../README.md")]

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
mod time;
mod waker;

pub use builder::{BuildError, Builder};
pub use choice::{ChoiceError, EngineChoice, UnknownEngine};
pub use device::{Device, Host, Unfinished};
pub use engines::{EngineKind, Engines};
pub use event::{Event, Stopped, Transfer, Wants};
pub use file::{FileError, FileKind};
pub use flatland_program::{Image, ImageError, Program, ProgramError};
pub use flatland_x86::{MemoryMap, MemorySize, Vector};
pub use interrupt::{InterruptHandle, InterruptLine};
pub use machine::{Checkpoint, Divergence, Machine, MoveError, RestoreError, RunError};
pub use outcome::{Outcome, Signal, Stop};
pub use policy::Why;
pub use recording::{Diverged, End, OtherProgram, RecordedBytes, Recorder, Recording};
pub use snapshot::Snapshot;
pub use stats::{Move, Stats, Transfers};
pub use streams::{Input, Output, StreamError, Streams};
