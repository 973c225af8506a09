//! A report as text.

use std::fmt::Write;

use super::page_fault::flags;
use super::{Call, Calls, Paint, Processor, Report, Snippet};
use flatland_machine::Outcome;
use flatland_x86::Registers;
use flatland_x86::paging::Entry;

use crate::words;

/// The status and control flags, by bit (SDM volume 1, section 3.4.3).
const FLAGS: [(u32, &str); 9] =
    [(0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF")];

/// The number of stack words in a line.
const STACK_COLUMNS: usize = 4;

impl Report {
    /// The outcome in a sentence. None if it needs no message.
    pub fn message(&self) -> Option<String> {
        let message = words::outcome(&self.outcome, &self.names);
        match (&self.outcome, &self.calls) {
            (Outcome::Exited(_), Some(_)) if self.is_panic => Some("the calls that led to the panic:".into()),
            (Outcome::Exited(status), Some(_)) => Some(format!("the calls that led to status {status}:")),
            _ => message,
        }
    }

    /// The lines after the message. May be empty.
    pub fn body(&self, paint: Paint) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_body(&mut text, paint);
        text
    }

    fn write_body(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        if let (Some(snippet), Some(_)) = (&self.snippet, &self.processor) {
            snippet.write(text, paint)?;
        }
        if let Some(processor) = &self.processor {
            processor.write(text, paint)?;
        }
        for (row, origin) in self.origins.iter().enumerate() {
            let label = if row == 0 { paint.frame("origins") } else { " ".repeat("origins".len()) };
            writeln!(text, "  {label}      {origin}")?;
        }
        if let Some(calls) = &self.calls {
            if self.processor.is_some() {
                writeln!(text, "  {}", paint.frame("backtrace"))?;
            }
            calls.write(text, paint)?;
        }
        Ok(())
    }
}

impl Snippet {
    fn write(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        let width = self.source.line.to_string().len();
        writeln!(text, "  {:width$}{} {}", "", paint.frame("-->"), self.source)?;
        let bar = |number: String| paint.frame(format!("  {number:>width$} |"));
        for (number, line) in (self.first_line()..).zip(&self.lines) {
            let line = if line.is_empty() { String::new() } else { format!(" {line}") };
            writeln!(text, "{}{line}", bar(number.to_string()))?;
        }
        let called = if self.is_called { " called here" } else { "" };
        if let (Some(column), Some(line)) = (self.source.column, self.lines.last()) {
            // Tabs are kept, so that the mark is below its column.
            let before = line.chars().take(column as usize - 1);
            let space: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(text, "{} {space}{}", bar(String::new()), paint.fault(format!("^{called}")))?;
        } else if self.is_called {
            writeln!(text, "{}{}", bar(String::new()), paint.fault(called))?;
        }
        Ok(())
    }
}

impl Processor {
    fn write(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        if let Some(instruction) = &self.instruction {
            let shown = paint.fault(&instruction.text);
            writeln!(text, "  {}  {}  {shown}", paint.frame("instruction"), words::hex(&instruction.bytes))?;
        }
        let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = self.registers;
        writeln!(
            text,
            "  {}    eax {eax:08x}  ebx {ebx:08x}  ecx {ecx:08x}  edx {edx:08x}",
            paint.frame("registers")
        )?;
        writeln!(text, "               esi {esi:08x}  edi {edi:08x}  ebp {ebp:08x}  esp {esp:08x}")?;
        let set: Vec<_> =
            FLAGS.iter().filter(|(bit, _)| eflags & (1 << bit) != 0).map(|(_, name)| *name).collect();
        writeln!(text, "               eip {eip:08x}  eflags {eflags:08x} {}", set.join(" "))
            .map(|()| trim_end(text))?;
        if let Some(fault) = &self.page_fault {
            writeln!(text, "  {}   {fault}", paint.frame("page fault"))?;
            for (name, entry) in [("directory", fault.directory), ("table", fault.table)] {
                if let Some(Entry { address, value }) = entry {
                    let flags = flags(value);
                    writeln!(text, "               {name:<9}  [{address:08x}] = {value:08x} {flags}")?;
                }
            }
        }
        let label = paint.frame("stack");
        if self.stack.is_empty() {
            writeln!(text, "  {label}        {esp:08x}  (no memory)")?;
        }
        for (row, words) in self.stack.chunks(STACK_COLUMNS).enumerate() {
            let label = if row == 0 { label.as_str() } else { "     " };
            let address = esp.wrapping_add((row * STACK_COLUMNS * 4) as u32);
            let words: Vec<_> = words.iter().map(|word| format!("{word:08x}")).collect();
            writeln!(text, "  {label}        {address:08x}  {}", words.join(" "))?;
        }
        Ok(())
    }
}

/// Removes spaces at the end of the text.
fn trim_end(text: &mut String) {
    text.truncate(text.trim_end().len());
    text.push('\n');
}

impl Calls {
    /// In the standard library's format. A repeated frame, as in a recursion, is written once.
    fn write(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        let mut number = 0;
        let mut at = 0;
        let gap = self.left_out.map_or((self.calls.len(), 0), |gap| gap);
        for part in [0..gap.0, gap.0..self.calls.len()] {
            while at < part.end {
                let frame = frame(&self.calls[at..part.end]);
                let again = self.calls[at + frame.len()..part.end]
                    .chunks(frame.len())
                    .take_while(|other| is_same(frame, other))
                    .count();
                self.write_frame(text, number, frame, paint)?;
                number += 1;
                at += frame.len();
                if again > 1 {
                    writeln!(text, "   ..: the same {again} times more")?;
                    number += again as u64;
                    at += again * frame.len();
                }
            }
            if gap.1 > 0 && part.start == 0 && at == gap.0 {
                writeln!(text, "   ..: {} more that are not shown", gap.1)?;
                number += gap.1;
            }
        }
        match &self.broken {
            Some(broken) => writeln!(text, "      here the chain of frames is broken: {broken}"),
            None => Ok(()),
        }
    }

    fn write_frame(&self, text: &mut String, number: u64, frame: &[Call], paint: Paint) -> std::fmt::Result {
        for (depth, call) in frame.iter().enumerate() {
            let label = if depth == 0 { format!(" {number:3}:") } else { "     ".into() };
            let address = if depth == 0 { format!("{:#010x}", call.address) } else { " ".repeat(10) };
            let name = call.function.name.as_ref();
            match (self.is_short, name) {
                (true, Some(name)) => writeln!(text, "{label} {}", paint.name(name))?,
                (true, None) => writeln!(text, "{label} {address}")?,
                (false, Some(name)) => writeln!(text, "{label} {address} - {}", paint.name(name))?,
                (false, None) => writeln!(text, "{label} {address} - <unknown>")?,
            }
            if let Some(source) = &call.function.source {
                let indent = if self.is_short { 13 } else { 23 };
                writeln!(text, "{:indent$}at {source}", "")?;
            }
        }
        Ok(())
    }
}

/// The calls of the first frame: the inlined ones, and the one that they are inlined in.
fn frame(calls: &[Call]) -> &[Call] {
    let inlined = calls.iter().take_while(|call| call.is_inlined).count();
    &calls[..(inlined + 1).min(calls.len())]
}

fn is_same(frame: &[Call], other: &[Call]) -> bool {
    frame.len() == other.len()
        && frame.iter().zip(other).all(|(call, other)| {
            call.function == other.function && (call.function.name.is_some() || call.address == other.address)
        })
}

#[cfg(test)]
mod tests {
    use flatland_program::Source;

    use super::*;

    #[test]
    fn a_callers_excerpt_says_so() {
        let source = Source { shown: "a.rs".into(), line: 7, column: Some(3), ..Source::default() };
        let text = |is_called, column| {
            let source = Source { column, ..source.clone() };
            let mut text = String::new();
            let snippet = Snippet { source, is_called, lines: vec!["\t f()".into()] };
            snippet.write(&mut text, Paint::PLAIN).map(|()| text)
        };
        let told = |text: &str| Ok(text.into());
        assert_eq!(text(false, Some(3)), told("   --> a.rs:7:3\n  7 | \t f()\n    | \t ^\n"));
        assert_eq!(text(true, Some(3)), told("   --> a.rs:7:3\n  7 | \t f()\n    | \t ^ called here\n"));
        assert_eq!(text(true, None), told("   --> a.rs:7\n  7 | \t f()\n    | called here\n"));
        assert_eq!(text(false, None), told("   --> a.rs:7\n  7 | \t f()\n"));
    }
}
