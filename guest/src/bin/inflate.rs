//! Decompresses zlib from its input, with the crate `miniz_oxide`.
//!
//! It keeps 32 KiB of the output at a time, so the output may be larger than RAM. If the input is damaged or
//! incomplete, the output up to there is sent, and the run ends with a message and status 1.

#![no_std]
#![no_main]

use flatland_guest::entry;
use flatland_guest::io::{self, BufRead, Write};
use flatland_guest::prelude::*;
use flatland_guest::process::ExitCode;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

entry!(main);

fn main() -> io::Result<ExitCode> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut state = InflateState::new_boxed(DataFormat::Zlib);
    let mut window = vec![0; 32 << 10];
    let mut read = 0;
    loop {
        let bytes = input.fill_buf()?;
        let at_end = bytes.is_empty();
        let step = inflate(&mut state, bytes, &mut window, MZFlush::None);
        input.consume(step.bytes_consumed);
        read += step.bytes_consumed;
        output.write_all(&window[..step.bytes_written])?;
        let why = match step.status {
            Ok(MZStatus::StreamEnd) => return Ok(ExitCode::SUCCESS),
            // Without input there may still be output. Without either, nothing more will come.
            Ok(_) | Err(MZError::Buf) if !at_end || step.bytes_written > 0 => continue,
            Ok(_) | Err(MZError::Buf) => "the input ends before the compressed data does",
            Err(_) => "this is no zlib, or it was damaged",
        };
        eprintln!("inflate: {why}, behind byte {read}");
        return Ok(ExitCode::FAILURE);
    }
}
