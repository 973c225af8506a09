//! The end of a run in a snapshot file.

use std::io::{Read, Write};

use flatland_contract::Direction;
use flatland_x86::{Access, CodeBytes, Fault, FaultKind, Location};

use super::FileError::{Impossible, TooMuch};
use super::blocks::{Reader, Writer};
use super::values::{Result, Written, read_bool, read_error_code, read_width, write_bool, write_error_code};
use crate::Outcome;

pub fn write_location<W: Write>(location: Location, to: &mut Writer<W>) -> Written {
    let (tag, address) = match location {
        Location::At(address) => (0, address),
        Location::EndsAt(address) => (1, address),
        Location::Unknown => (2, 0),
    };
    to.u8(tag)?;
    to.u32(address)
}

pub fn read_location<R: Read>(from: &mut Reader<R>) -> Result<Location> {
    match (from.u8()?, from.u32()?) {
        (0, address) => Ok(Location::At(address)),
        (1, address) => Ok(Location::EndsAt(address)),
        (2, 0) => Ok(Location::Unknown),
        _ => Err(Impossible("the location")),
    }
}

const END: &str = "the end of the run";

pub fn write<W: Write>(next: Option<&Outcome>, to: &mut Writer<W>) -> Written {
    match next {
        // A run that was ended from outside, or for want of input, goes on.
        None | Some(Outcome::Stopped(..) | Outcome::EndOfInput) => to.u8(0),
        Some(Outcome::Halted) => to.u8(1),
        Some(Outcome::Exited(status)) => {
            to.u8(2)?;
            to.u8(*status)
        }
        Some(Outcome::OutputClosed) => to.u8(3),
        Some(Outcome::Fault(Fault { kind, location })) => {
            to.u8(4)?;
            write_fault_kind(kind, to)?;
            write_location(*location, to)
        }
    }
}

pub fn read<R: Read>(from: &mut Reader<R>) -> Result<Option<Outcome>> {
    Ok(Some(match from.u8()? {
        0 => return Ok(None),
        1 => Outcome::Halted,
        2 => Outcome::Exited(from.u8()?),
        3 => Outcome::OutputClosed,
        4 => Outcome::Fault(Fault { kind: read_fault_kind(from)?, location: read_location(from)? }),
        _ => return Err(Impossible(END)),
    }))
}

/// The names of the engines that report [`FaultKind::Unsupported`]. An engine of somebody else's has the last one.
const ENGINES: [&str; 3] = ["the soft engine", "KVM", "the engine"];

fn write_fault_kind<W: Write>(kind: &FaultKind, to: &mut Writer<W>) -> Written {
    match kind {
        FaultKind::Exception { vector, error_code } => {
            to.u8(0)?;
            to.u8(*vector)?;
            write_error_code(*error_code, to)
        }
        FaultKind::TripleFault => to.u8(1),
        FaultKind::OutsideRam { access, address, ram_size } => {
            to.u8(2)?;
            write_access(*access, to)?;
            to.u32(*address)?;
            to.u32(*ram_size)
        }
        FaultKind::ReadOnly { address } => {
            to.u8(3)?;
            to.u32(*address)
        }
        FaultKind::StackOverflow { stack_size } => {
            to.u8(4)?;
            to.u32(*stack_size)
        }
        FaultKind::Guard { access, address, start, end } => {
            to.u8(5)?;
            write_access(*access, to)?;
            to.u32(*address)?;
            to.u32(*start)?;
            to.u32(*end)
        }
        FaultKind::Port { port, width, direction } => {
            to.u8(6)?;
            to.u16(*port)?;
            to.u8(*width)?;
            write_bool(*direction == Direction::Out, to)
        }
        FaultKind::Unsupported { engine, code } => {
            to.u8(7)?;
            let number = ENGINES.iter().position(|name| name == engine).unwrap_or(ENGINES.len() - 1);
            to.u8(number as u8)?;
            to.u8(code.as_slice().len() as u8)?;
            to.bytes(code.as_slice())
        }
        _ => Err(TooMuch("another kind of fault")),
    }
}

fn read_fault_kind<R: Read>(from: &mut Reader<R>) -> Result<FaultKind> {
    Ok(match from.u8()? {
        0 => FaultKind::Exception { vector: from.u8()?, error_code: read_error_code(END, from)? },
        1 => FaultKind::TripleFault,
        2 => {
            FaultKind::OutsideRam { access: read_access(from)?, address: from.u32()?, ram_size: from.u32()? }
        }
        3 => FaultKind::ReadOnly { address: from.u32()? },
        4 => FaultKind::StackOverflow { stack_size: from.u32()? },
        5 => FaultKind::Guard {
            access: read_access(from)?,
            address: from.u32()?,
            start: from.u32()?,
            end: from.u32()?,
        },
        6 => FaultKind::Port {
            port: from.u16()?,
            width: read_width(END, from)?,
            direction: if read_bool(END, from)? { Direction::Out } else { Direction::In },
        },
        7 => {
            let engine = ENGINES.get(usize::from(from.u8()?)).ok_or(Impossible(END))?;
            let len = Some(usize::from(from.u8()?)).filter(|len| *len <= CodeBytes::MOST);
            FaultKind::Unsupported { engine, code: CodeBytes::new(&from.vec(len.ok_or(Impossible(END))?)?) }
        }
        _ => return Err(Impossible(END)),
    })
}

fn write_access<W: Write>(access: Access, to: &mut Writer<W>) -> Written {
    to.u8(match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::Execute => 2,
    })
}

fn read_access<R: Read>(from: &mut Reader<R>) -> Result<Access> {
    match from.u8()? {
        0 => Ok(Access::Read),
        1 => Ok(Access::Write),
        2 => Ok(Access::Execute),
        _ => Err(Impossible(END)),
    }
}
