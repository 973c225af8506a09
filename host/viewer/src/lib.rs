#![doc = include_str!("../README.md")]

mod exports;
mod history;
mod lines;
mod moves;
mod view;

pub use history::{Sample, TransferredByte};
pub use lines::{Line, Lines};
pub use view::{Progress, View, ViewError};
