#![doc = include_str!("../README.md")]
//!
//! Each tool is an [`Observer`] that wants some events. [`observe`] is the loop that resumes the run and passes each event to
//! all observers.

pub mod address_space;
pub mod backtrace;
#[cfg(feature = "report")]
pub mod coverage;
#[cfg(any(feature = "report", feature = "trace"))]
mod ending;
#[cfg(feature = "gdb")]
pub mod gdb;
pub mod instruction;
#[cfg(feature = "report")]
pub mod listing;
#[cfg(feature = "report")]
pub mod markup;
mod observer;
#[cfg(feature = "report")]
pub mod origins;
#[cfg(feature = "report")]
pub mod profile;
#[cfg(feature = "report")]
pub mod report;
pub mod timeline;
#[cfg(feature = "trace")]
pub mod trace;
pub mod words;

pub use observer::{Observer, Verdict, observe};
