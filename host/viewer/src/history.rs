//! What is kept of a run while it is executed for the first time: the bytes at its ports, and which calls led to where it
//! was.

use flatland_contract::Direction;
use flatland_machine::{Event, Machine, RunError, Wants};
use flatland_tools::backtrace::{Backtrace, Start};
use flatland_tools::instruction::reader;
use flatland_tools::{Observer, Verdict};
use flatland_x86::Location;

use crate::Lines;

/// A byte that the guest read or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferredByte {
    /// How many instructions were executed before the one that transferred it.
    pub before: u64,
    /// The address of that instruction.
    pub address: u32,
    /// The port.
    pub port: u16,
    /// In is to the guest.
    pub direction: Direction,
    /// The byte.
    pub byte: u8,
}

/// Which calls led to a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The count of instructions.
    pub count: u64,
    /// The addresses as in a [`Backtrace`]: the innermost first.
    pub addresses: Vec<u32>,
}

/// Keeps what happens.
#[derive(Debug)]
pub struct History {
    pub transfers: Vec<TransferredByte>,
    /// How many bytes there were too many of.
    pub left_out: u64,
    pub samples: Vec<Sample>,
    /// How many instructions lie between two samples.
    spacing: u64,
    /// No sample comes before this count.
    next: u64,
    pub lines: Lines,
}

impl History {
    /// The most bytes that are kept: 24 MiB with what is said of each.
    pub const MOST_BYTES: usize = 1 << 20;

    /// The most samples that are kept. If there are more, each second one is forgotten.
    const MOST_SAMPLES: usize = 2048;

    /// The history of a run that has come to `count`. `len` is how many instructions it takes, if that is known.
    pub fn new(count: u64, len: Option<u64>, lines: Lines) -> Self {
        let most = Self::MOST_SAMPLES as u64 / 2;
        let spacing = len.map_or(1024, |len| len.saturating_sub(count).div_ceil(most)).max(1);
        let (transfers, samples) = (Vec::new(), Vec::new());
        Self { transfers, left_out: 0, samples, spacing, next: count, lines }
    }

    fn sample(&mut self, machine: &mut Machine, count: u64) -> Result<(), RunError> {
        let addresses = calls(machine, &self.lines)?.addresses;
        self.samples.push(Sample { count, addresses });
        if self.samples.len() > Self::MOST_SAMPLES {
            let mut is_kept = false;
            self.samples.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.spacing = self.spacing.saturating_mul(2);
        }
        self.next = count.saturating_add(self.spacing);
        Ok(())
    }
}

/// The calls that led to where the machine is.
pub fn calls(machine: &mut Machine, lines: &Lines) -> Result<Backtrace, RunError> {
    let registers = machine.registers()?;
    let function = lines.function_start(registers.eip);
    let start = Start { function, ..Start::of(&registers, None) };
    Ok(Backtrace::walk(&start, &reader(machine.engine())))
}

impl Observer for History {
    fn wants(&self) -> Wants {
        Wants { transfers: true, instructions: Some(self.next), ..Wants::default() }
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        let count = machine.instructions().unwrap_or_default();
        if let Event::Transfer(transfer) = event {
            let eip = machine.registers()?.eip;
            let address = match machine.location()? {
                Location::At(address) => address,
                Location::EndsAt(_) | Location::Unknown => eip,
            };
            // A repeated instruction counts at its end only.
            let before = if address == eip { count } else { count.saturating_sub(1) };
            let room = Self::MOST_BYTES - self.transfers.len();
            let (port, direction) = (transfer.port, transfer.direction);
            let kept = transfer.data.iter().take(room);
            self.transfers.extend(kept.map(|byte| TransferredByte {
                before,
                address,
                port,
                direction,
                byte: *byte,
            }));
            self.left_out += transfer.data.len().saturating_sub(room) as u64;
        }
        if count >= self.next {
            self.sample(machine, count)?;
        }
        Ok(Verdict::Continue)
    }
}
