//! How a replay leaves its recording.

use std::error::Error;
use std::fmt;

use crate::Outcome;

/// How a replay differs from its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diverged {
    /// The guest reads at another port, or with another width.
    OtherPort {
        /// Port and bytes per transfer.
        recorded: (u16, u8),
        /// Port and bytes per transfer.
        came: (u16, u8),
    },
    /// The guest has sent something else.
    OtherOutput {
        /// After this many bytes...
        after: u64,
        /// ...and before as many as this were sent.
        until: u64,
    },
    /// The guest has read or sent more or less until its end.
    OtherTotal {
        /// "read" or "sent".
        what: &'static str,
        /// Bytes.
        recorded: u64,
        /// Bytes.
        came: u64,
    },
    /// The run has ended in another way, or not where the recorded one has.
    OtherEnd {
        /// How the recorded run ended.
        recorded: Box<Outcome>,
        /// How the replay ended. `None` if it goes on.
        came: Option<Box<Outcome>>,
    },
    /// The run has ended with another number of instructions.
    OtherCount {
        /// Instructions since entry.
        recorded: u64,
        /// Instructions since entry.
        came: u64,
    },
    /// The recorded run was stopped from outside, on an engine that does not count, and what RAM was then is not found.
    StopNotFound,
    /// The registers are others at the end.
    OtherRegisters,
    /// RAM is another one at the end.
    OtherRam,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let read = |(port, width): (u16, u8)| match width {
            1 => format!("a byte is read at port {port:#x}"),
            width => format!("{width} bytes are read at port {port:#x}"),
        };
        match self {
            Self::OtherPort { recorded, came } => {
                write!(f, "in the recording {}, and now {}", read(*recorded), read(*came))
            }
            Self::OtherOutput { after, until } => {
                write!(f, "what is sent between byte {after} and byte {until} is not what was recorded")
            }
            Self::OtherTotal { what, recorded, came } => {
                write!(f, "in the recording {recorded} bytes are {what}, and now {came}")
            }
            Self::OtherEnd { came: None, .. } => {
                f.write_str("the recorded run has ended here, and this one goes on")
            }
            Self::OtherEnd { came: Some(_), .. } => f.write_str("the recorded run has ended in another way"),
            Self::OtherCount { recorded, came } => {
                write!(
                    f,
                    "the recorded run has ended after {recorded} instructions, and this one after {came}"
                )
            }
            Self::StopNotFound => f.write_str(
                "the recorded run was stopped here once, and when is not known, because KVM does not count instructions",
            ),
            Self::OtherRegisters => f.write_str("the registers at the end are others than in the recording"),
            Self::OtherRam => f.write_str("RAM at the end is another one than in the recording"),
        }
    }
}

impl Error for Diverged {}
