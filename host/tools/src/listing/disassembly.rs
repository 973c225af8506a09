//! A program's instructions, each after the source line that it was compiled from.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use flatland_program::{Program, Source, Symbol, Symbols};
use flatland_x86::instruction::{Read, decode};
use iced_x86::OpKind;

use super::{ListingError, names};
use crate::instruction::Instruction;
use crate::words::hex;

/// Lists the functions whose names contain `part`, or all functions.
pub fn disassembly(program: &Program, part: Option<&str>) -> Result<String, ListingError> {
    let (symbols, all) = names(program)?;
    let wanted = |symbol: &&Symbol| symbol.is_code && part.is_none_or(|part| symbol.name.contains(part));
    let functions: Vec<_> = all.iter().filter(wanted).collect();
    if let (true, Some(part)) = (functions.is_empty(), part) {
        return Err(ListingError::NoFunction(part.into()));
    }
    let mut listing =
        Listing { program, symbols: &symbols, all: &all, files: HashMap::new(), text: String::new() };
    for function in functions {
        listing.function(function);
    }
    Ok(listing.text)
}

struct Listing<'a> {
    program: &'a Program,
    symbols: &'a Symbols,
    all: &'a [Symbol],
    /// The lines of source files. Empty for files that cannot be read.
    files: HashMap<PathBuf, Vec<String>>,
    text: String,
}

impl Listing<'_> {
    fn function(&mut self, function: &Symbol) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{:#010x} {}:", function.start, function.name);
        let mut last = None;
        let mut address = function.start;
        while contains(function, address) {
            let innermost = self.symbols.functions(address).into_iter().next();
            let source = innermost.and_then(|function| function.source);
            if let Some(source) = &source
                && last.as_ref() != Some(&(source.path.clone(), source.line))
            {
                self.source_line(source);
                last = Some((source.path.clone(), source.line));
            }
            let Some(next) = address.checked_add(self.instruction(address, function)) else { break };
            address = next;
        }
    }

    fn source_line(&mut self, source: &Source) {
        let lines = self.files.entry(source.path.clone()).or_insert_with(|| {
            fs::read_to_string(&source.path).unwrap_or_default().lines().map(Into::into).collect()
        });
        let line = lines.get((source.line - 1) as usize).map_or("", |line| line.trim());
        let _ = writeln!(self.text, "  {}:{}  {line}", source.shown, source.line);
    }

    /// Lists an instruction, or a byte that is not an instruction. Returns the length.
    fn instruction(&mut self, address: u32, function: &Symbol) -> u32 {
        let read = |address: u32, bytes: &mut [u8]| self.program.image().read(address, bytes);
        let Some(instruction) = Instruction::at(address, &read) else {
            let _ = writeln!(self.text, "    {address:#010x}  no instruction");
            return 1;
        };
        let mut line = format!("    {address:#010x}  {:20}  {}", hex(&instruction.bytes), instruction.text);
        if let Some(target) = target(address, &read).filter(|target| !contains(function, *target))
            && let Some(callee) = self.all.iter().find(|symbol| contains(symbol, target))
        {
            let _ = write!(line, "  ; {}", callee.name);
        }
        let _ = writeln!(self.text, "{line}");
        instruction.bytes.len() as u32
    }
}

/// The target of a call or a jump, if it is in the instruction.
fn target(address: u32, read: Read) -> Option<u32> {
    let (decoded, _) = decode(address, read)?;
    (decoded.op0_kind() == OpKind::NearBranch32).then(|| decoded.near_branch_target() as u32)
}

fn contains(symbol: &Symbol, address: u32) -> bool {
    symbol.is_code && address.checked_sub(symbol.start).is_some_and(|offset| offset < symbol.size)
}
