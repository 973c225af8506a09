//! What a run needs of the operating system: files that can be waited for together with the time limit and
//! with Ctrl-C, a clock that rings, and the bell that it rings (see [`kick`](crate::kick)).
//!
//! Two implementations of the same items. `linux` has what an engine inside the kernel needs; `portable` has
//! threads and nothing else, for a machine whose processor is software.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;

// Compiled for the tests on Linux too, so that it does not rot.
#[cfg(any(not(target_os = "linux"), test))]
#[cfg_attr(target_os = "linux", allow(dead_code, unused_imports, reason = "what no test uses"))]
mod portable;
#[cfg(not(target_os = "linux"))]
pub use portable::*;

use std::io;

#[cfg(doc)]
use crate::machine::Limits;
use crate::outcome::Stop;

/// What came of reading or writing.
#[derive(Debug)]
pub(crate) enum Transfer {
    /// So many bytes; when reading, 0 is the end.
    Bytes(usize),
    /// None, because the run must stop.
    Stopped(Stop),
    /// None, because somebody wants attention. Only where a wait for input comes back for it: see [`Limits`].
    Kicked,
}

pub(crate) type TransferResult = io::Result<Transfer>;
