//! The program `flatland-inspect`: shows a program's instructions and sizes, without running it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::listing::{self, ListingError};
use crate::{Program, ProgramError, words};
use flatland_contract::status;

use super::messages::say;

const USAGE: &str =
    "flatland-inspect: give one of `disasm ELF [FUNCTION]` and `size ELF [--svg FILE | --against ELF]`";

/// The program. `arguments` are those behind its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap_or_default()).collect();
    let result = match words.as_slice() {
        ["disasm", elf] => list(elf, |program| listing::disassembly(program, None)),
        ["disasm", elf, function] => list(elf, |program| listing::disassembly(program, Some(function))),
        ["size", elf] => list(elf, listing::sizes),
        ["size", _, "--svg", to] if !to.ends_with(".svg") => {
            Err(format!("cannot write --svg `{to}`: give a file that ends in .svg"))
        }
        ["size", elf, "--svg", to] => draw(elf, to).map(|()| String::new()),
        ["size", elf, "--against", before] => compare(elf, before),
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

fn list(elf: &str, listing: impl FnOnce(&Program) -> Result<String, ListingError>) -> Result<String, String> {
    listing(&open(elf)?).map_err(|error| error.to_string())
}

fn compare(elf: &str, before: &str) -> Result<String, String> {
    let advice = "give the ELF file of an earlier build, such as a copy of target/guest/NAME.elf";
    let before_path = before;
    let before = open(before).ok().filter(|before| before.elf().is_some()).ok_or_else(|| {
        format!("cannot compare with --against `{before_path}`, which is no ELF file: {advice}")
    })?;
    let program = open(elf)?;
    let text = listing::difference(&program, &before).map_err(|error| error.to_string())?;
    if let Some(note) = listing::other_build(&program, &before) {
        say(&note);
    }
    Ok(text)
}

fn draw(elf: &str, to: &str) -> Result<(), String> {
    let program = open(elf)?;
    let svg = listing::treemap(&program).map_err(|error| error.to_string())?;
    fs::write(to, svg).map_err(|error| format!("cannot write --svg `{to}` ({error}): give another place"))?;
    let bytes: u64 = program.sections().iter().map(|section| u64::from(section.size)).sum();
    say(&words::written("size", &format!("{bytes} bytes of RAM"), Path::new(to)));
    Ok(())
}

fn open(elf: &str) -> Result<Program, String> {
    Program::open(elf).map_err(|error: ProgramError| format!("cannot read `{elf}`: {error}"))
}

fn fail(message: &str) -> ExitCode {
    say(message);
    status::HOST.into()
}
