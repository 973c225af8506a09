//! What looks at a run. Each tool is an [`Observer`]: it wants some events, and [`observe`] is the loop that resumes the
//! run and hands each event to all of them. Several may look at one run.

pub mod backtrace;
mod ending;
#[cfg(feature = "gdb")]
pub mod gdb;
pub mod instruction;
#[cfg(feature = "report")]
pub mod listing;
mod observer;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "trace")]
pub mod trace;
pub mod words;

pub use observer::{Observer, Verdict, observe};
