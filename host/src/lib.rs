//! A bare 32-bit processor for flat images.
//!
//! A [`Machine`] owns RAM, the ports of the contract, the streams behind them and the time limit. An
//! [`engine::Engine`] runs the processor until something happens and says what. The machine decides what
//! that means, and ends with an [`Outcome`].
//!
//! ```
//! use flatland::{Image, Machine, MemorySize, Output, Streams, engine::soft::SoftEngine};
//!
//! // mov dx, 0xe9; mov al, 'A'; out dx, al; hlt
//! let image = Image::from_bytes(vec![0x66, 0xba, 0xe9, 0x00, 0xb0, b'A', 0xee, 0xf4])?;
//! let engine = SoftEngine::new(MemorySize::default());
//! let mut machine = Machine::new(engine, &image, Streams { output: Output::memory(), ..Streams::none() })?;
//! assert_eq!(machine.run()?.status(), 0);
//! assert_eq!(machine.streams().output.bytes(), b"A");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backtrace;
mod elf;
pub mod engine;
pub mod fault;
pub mod gdb;
mod image;
pub mod instruction;
pub mod kick;
pub mod listing;
mod machine;
mod memory_map;
mod memory_size;
mod os;
mod outcome;
pub mod report;
mod streams;
pub mod suite;
mod symbols;
pub mod trace;

pub use elf::{SegmentsError, segments};
pub use image::{Image, ImageError};
pub use machine::{Machine, Nobody, RunError, Snapshot, Stats, Transfer, Transfers, Watcher};
pub use memory_map::{MemoryMap, MemoryMapError, Part, Segment};
pub use memory_size::{MemorySize, MemorySizeError};
pub use outcome::{Outcome, Signal, Stop};
pub use report::{Backtraces, Paint, Report};
pub use streams::{Input, Output, StreamError, Streams};
pub use symbols::{Function, Names, Place, Source, Symbols, SymbolsError};
