//! `flatland-inspect`: what a program is made of, without running it.
//!
//! A program of its own, because nobody needs it to run a guest: `cargo xtask disasm` and `cargo xtask size` call it.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use flatland::{Image, MemorySize, listing};
use flatland_contract::memory::MAX_RAM_SIZE;
use flatland_contract::status;

const USAGE: &str = "flatland-inspect: give one of `disasm IMAGE ELF [FUNCTION]` and `size ELF`";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap_or_default()).collect();
    let result = match words.as_slice() {
        ["disasm", image, elf] => disassembly(image, elf, None),
        ["disasm", image, elf, function] => disassembly(image, elf, Some(function)),
        ["size", elf] => listing::sizes(Path::new(elf)).map_err(|error| error.to_string()),
        _ => {
            eprintln!("{USAGE}");
            return status::USAGE.into();
        }
    };
    match result.map(|text| io::stdout().write_all(text.as_bytes())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => status::OUTPUT_CLOSED.into(),
        Ok(Err(error)) => fail(&format!("standard output cannot be written ({error}): send it elsewhere")),
        Err(message) => fail(&message),
    }
}

fn disassembly(image: &str, elf: &str, function: Option<&str>) -> Result<String, String> {
    let most = MemorySize::from_bytes(MAX_RAM_SIZE.into()).expect("it is a size that machines have");
    let image =
        Image::open(Path::new(image), most).map_err(|error| format!("cannot read `{image}`: {error}"))?;
    listing::disassembly(&image, Path::new(elf), function).map_err(|error| error.to_string())
}

fn fail(message: &str) -> ExitCode {
    eprintln!("flatland: {message}");
    status::HOST.into()
}
