//! Rust code on a bare 32-bit processor: the machine, and the tools that observe its runs.
//!
//! A program is a flat image, which is at address 0 of a machine's RAM when it starts. It can only compute and
//! transfer bytes at ports. Make a [`Machine`] with [`Machine::builder`] and [run](Machine::run) it:
//!
//! ```
//! use std::time::Duration;
//! use flatland::{EngineChoice, Machine, MemorySize, Outcome, Program};
//!
//! // Reads a byte, sends it back plus one, and ends with status 7.
//! let program = Program::from_bytes(vec![
//!     0xe4, 0xe9, // in al, 0xe9    console
//!     0xfe, 0xc0, // inc al
//!     0xe6, 0xe9, // out 0xe9, al
//!     0xb0, 0x07, // mov al, 7
//!     0xe6, 0xf4, // out 0xf4, al   exit
//! ])?;
//! let mut machine = Machine::builder()
//!     .engine(EngineChoice::Auto)
//!     .memory(MemorySize::mib(1))
//!     .input("a")
//!     .output(Vec::new())
//!     .time_limit(Duration::from_secs(10))
//!     .build(&program)?;
//! assert_eq!(machine.run()?, Outcome::Exited(7));
//! assert_eq!(machine.streams().output.bytes(), b"b");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Machine::resume`] runs only to the next [`Event`]. The tools `gdb`, `trace` and `report` are built on it, each
//! in a feature of its name. `observe` runs the machine with several of them.
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `kvm` | the engine that runs the guest with Linux KVM | yes |
//! | `elf` | programs from ELF files, with memory protection; without it, flat images only | yes |
//! | `symbols` | names and lines from ELF files | yes |
//! | `gdb` | a debugger for a run | yes |
//! | `trace` | a log of what a guest does | yes |
//! | `report` | how a run ended, as text and as JSON | yes |
//! | `cli` | the programs `flatland` and `flatland-inspect`: a library leaves it out | yes |

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
pub use flatland_kvm as kvm;
pub use flatland_machine::*;
pub use flatland_program as program;
pub use flatland_soft as soft;
#[cfg(feature = "gdb")]
pub use flatland_tools::gdb;
#[cfg(feature = "trace")]
pub use flatland_tools::trace;
#[cfg(any(feature = "gdb", feature = "report", feature = "trace"))]
pub use flatland_tools::{Observer, Verdict, observe, timeline};
#[cfg(feature = "report")]
pub use flatland_tools::{backtrace, coverage, instruction, listing, origins, profile, report, words};
pub use flatland_x86 as x86;
