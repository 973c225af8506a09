//! Values that several parts of a snapshot file have.

use std::io::{Read, Write};

use super::FileError::{self, Impossible, TooMuch};
use super::blocks::{Reader, Writer};

pub type Written = Result<(), FileError>;
pub type Result<T, E = FileError> = std::result::Result<T, E>;

/// Writes a number of things, of which a file can have at most this many.
pub fn write_count<W: Write>(count: usize, most: usize, what: &'static str, to: &mut Writer<W>) -> Written {
    match u32::try_from(count) {
        Ok(number) if count <= most => to.u32(number),
        _ => Err(TooMuch(what)),
    }
}

pub fn read_count<R: Read>(most: usize, what: &'static str, from: &mut Reader<R>) -> Result<usize> {
    let count = from.u32()? as usize;
    if count <= most { Ok(count) } else { Err(Impossible(what)) }
}

pub fn write_bool<W: Write>(value: bool, to: &mut Writer<W>) -> Written {
    to.u8(value.into())
}

pub fn read_bool<R: Read>(what: &'static str, from: &mut Reader<R>) -> Result<bool> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Impossible(what)),
    }
}

pub fn read_width<R: Read>(what: &'static str, from: &mut Reader<R>) -> Result<u8> {
    match from.u8()? {
        width @ (1 | 2 | 4) => Ok(width),
        _ => Err(Impossible(what)),
    }
}

pub fn write_error_code<W: Write>(code: Option<u32>, to: &mut Writer<W>) -> Written {
    write_bool(code.is_some(), to)?;
    to.u32(code.unwrap_or(0))
}

pub fn read_error_code<R: Read>(what: &'static str, from: &mut Reader<R>) -> Result<Option<u32>> {
    let is_there = read_bool(what, from)?;
    let code = from.u32()?;
    Ok(is_there.then_some(code))
}
