//! How a recorded run ended.

use std::hash::Hasher;
use std::io::{Read, Write};
use std::time::Duration;

use flatland_x86::{Page, RamCopy, Registers};
use twox_hash::XxHash3_64;

use super::blocks::Mark;
use crate::FileError::{self, Impossible, TooMuch};
use crate::file::blocks::{Reader, Writer};
use crate::file::values::{read_bool, write_bool};
use crate::file::{outcome, processor};
use crate::{Outcome, Signal, Stop};

/// How a recorded run ended, and the state of its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// How many instructions it had executed since entry, if they were counted.
    pub instructions: Option<u64>,
    /// The registers.
    pub registers: Registers,
    /// The hash of RAM (XXH3-64 of the pages that have another byte than 0, each after its number).
    pub ram: u64,
    /// How much was read and sent.
    pub(crate) mark: Mark,
}

/// The hash of RAM. Pages of zeros do not count.
#[derive(Clone)]
pub struct HashOfRam(XxHash3_64);

impl Default for HashOfRam {
    fn default() -> Self {
        Self(XxHash3_64::with_seed(0))
    }
}

impl HashOfRam {
    /// Adds a page. Pages come in the order of their numbers.
    pub fn add(&mut self, number: u32, page: &Page) {
        if *page != RamCopy::ZEROS {
            self.0.write(&number.to_le_bytes());
            self.0.write(page);
        }
    }

    pub fn value(&self) -> u64 {
        self.0.finish()
    }

    /// The hash of RAM with these pages.
    pub fn of(ram: &RamCopy) -> u64 {
        let mut hash = Self::default();
        ram.pages().for_each(|(number, page)| hash.add(number, page));
        hash.value()
    }
}

const END: &str = "the end of the run";

impl End {
    /// All but the mark, which is the block's.
    pub(super) fn write(&self, to: impl Write) -> Result<(), FileError> {
        let Self { outcome, instructions, registers, ram, mark: _ } = self;
        let mut to = Writer::new(to);
        write_outcome(outcome, &mut to)?;
        write_bool(instructions.is_some(), &mut to)?;
        to.u64(instructions.unwrap_or(0))?;
        processor::write_registers(registers, &mut to)?;
        to.u64(*ram)?;
        to.finish()
    }

    pub(super) fn read(from: impl Read, mark: Mark) -> Result<Self, FileError> {
        let mut from = Reader::new(from);
        let outcome = read_outcome(&mut from)?;
        let is_counted = read_bool(END, &mut from)?;
        let instructions = Some(from.u64()?).filter(|_| is_counted);
        let registers = processor::read_registers(&mut from)?;
        let ram = from.u64()?;
        from.finish()?;
        Ok(Self { outcome, instructions, registers, ram, mark })
    }
}

fn write_outcome<W: Write>(outcome: &Outcome, to: &mut Writer<W>) -> Result<(), FileError> {
    let (stop, location) = match outcome {
        Outcome::EndOfInput => return to.u8(1),
        Outcome::Stopped(stop, location) => (*stop, *location),
        other => {
            to.u8(0)?;
            return outcome::write(Some(other), to);
        }
    };
    match stop {
        Stop::TimeLimit(limit) => {
            to.u8(2)?;
            to.u64(limit.as_secs())?;
            to.u32(limit.subsec_nanos())?;
        }
        Stop::InstructionLimit(limit) => {
            to.u8(3)?;
            to.u64(limit)?;
        }
        Stop::Interrupted => to.u8(4)?,
        Stop::Signal(signal) => {
            to.u8(5)?;
            to.u8(signal.number())?;
        }
        Stop::Debugger => to.u8(6)?,
        Stop::EndOfRecording => return Err(TooMuch("another kind of end")),
    }
    outcome::write_location(location, to)
}

fn read_outcome<R: Read>(from: &mut Reader<R>) -> Result<Outcome, FileError> {
    let stop = match from.u8()? {
        0 => return outcome::read(from)?.ok_or(Impossible(END)),
        1 => return Ok(Outcome::EndOfInput),
        2 => {
            let (seconds, nanoseconds) = (from.u64()?, from.u32()?);
            if nanoseconds >= 1_000_000_000 {
                return Err(Impossible(END));
            }
            Stop::TimeLimit(Duration::new(seconds, nanoseconds))
        }
        3 => Stop::InstructionLimit(from.u64()?),
        4 => Stop::Interrupted,
        5 => Stop::Signal(Signal::from_number(from.u8()?.into()).ok_or(Impossible(END))?),
        6 => Stop::Debugger,
        _ => return Err(Impossible(END)),
    };
    Ok(Outcome::Stopped(stop, outcome::read_location(from)?))
}
