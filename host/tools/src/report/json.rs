//! A report as one JSON object. docs/report.md describes the format, and a test compares the two.

use std::path::Path;
use std::time::Duration;

use flatland_contract::{Direction, Port};
use jzon::{JsonValue, object};

use super::{Calls, PageFault, Report};
use flatland_program::Source;
use flatland_x86::paging::Entry;
use flatland_x86::{Access, Engine, Fault, FaultKind, Location, Registers};

use crate::instruction::Instruction;
use crate::origins::{How, Origin};
use crate::{instruction, words};
use flatland_machine::{Outcome, Stats, Stop, Transfers};

/// Data on a run besides its outcome.
#[derive(Debug)]
pub struct Run<'a> {
    /// The flat image.
    pub image: &'a Path,
    /// The ELF file with names.
    pub symbols: Option<&'a Path>,
    /// The cost of the run.
    pub stats: Stats,
    /// From the start of the program to now.
    pub total: Duration,
    /// Why the host failed, if it did.
    pub failure: Option<String>,
}

/// The version of the format. It is increased when a program for the old format could misunderstand the new one.
const VERSION: u32 = 1;

impl Report {
    /// The report as one object, in several lines. The engine's state is the one at the end of the run.
    pub fn json(&self, run: &Run, engine: &dyn Engine) -> String {
        let Run { image, symbols, stats, total, failure } = run;
        let layout = engine.memory_map().layout();
        let location = self.outcome.location();
        let value = object! {
            "version": VERSION,
            "image": image.to_string_lossy().as_ref(),
            "symbols": symbols.map(|path| path.to_string_lossy().into_owned()),
            "engine": engine.name(),
            "began_on": stats.began_on.map(|engine| engine.name()),
            "moves": moves(stats),
            "move_count": stats.move_count,
            "outcome": if failure.is_some() { "host-error" } else { self.outcome_name() },
            "status": if failure.is_some() { flatland_contract::status::HOST } else { self.outcome.status() },
            "message": failure.clone().or_else(|| words::outcome(&self.outcome, &self.names)),
            "notes": self.notes.as_slice(),
            "fault": fault(&self.outcome),
            "address": location.and_then(Location::inside),
            "exact": location.map(|location| matches!(location, Location::At(_))),
            "symbol": self.names.place.function.as_deref(),
            "file": self.names.place.line.as_ref().map(|(file, _)| file.as_str()),
            "line": self.names.place.line.as_ref().map(|(_, line)| *line),
            "instruction": self
                .processor
                .as_ref()
                .and_then(|processor| processor.instruction.as_ref())
                .map(instruction_object),
            "registers": self.processor.as_ref().map(|processor| registers(&processor.registers)),
            "page_fault": self.processor.as_ref().and_then(|processor| processor.page_fault).map(page_fault),
            "stack": self.processor.as_ref().map(|processor| processor.stack.as_slice()),
            "origins": JsonValue::Array(self.origins.iter().map(origin).collect()),
            "backtrace": self.calls.as_ref().map(backtrace),
            "backtrace_broken": self.calls.as_ref().and_then(|calls| Some(calls.broken?.to_string())),
            "backtrace_left_out": self.calls.as_ref().and_then(|calls| calls.left_out).map(|(_, count)| count),
            "memory": {
                "ram": layout.ram_end,
                "heap_end": layout.heap_end,
                "stack_start": layout.stack_start,
                "peak_stack": peak_stack(engine),
            },
            "instructions": engine.instructions(),
            "exits": exits(stats),
            "interrupts": stats.interrupts,
            "seconds": { "run": stats.time.as_secs_f64(), "total": total.as_secs_f64() },
        };
        value.pretty(2) + "\n"
    }

    fn outcome_name(&self) -> &'static str {
        match self.outcome {
            Outcome::Exited(_) if self.is_panic => "panic",
            Outcome::Halted => "halted",
            Outcome::EndOfInput => "end-of-input",
            Outcome::Exited(_) => "exited",
            Outcome::Fault(_) => "fault",
            Outcome::Stopped(Stop::TimeLimit(_), _) => "time-limit",
            Outcome::Stopped(Stop::InstructionLimit(_), _) => "instruction-limit",
            Outcome::Stopped(Stop::Signal(_), _) => "signal",
            Outcome::Stopped(Stop::Debugger, _) => "killed",
            Outcome::Stopped(Stop::Interrupted, _) => "interrupted",
            Outcome::Stopped(Stop::EndOfRecording, _) => "end-of-recording",
            Outcome::OutputClosed => "output-closed",
            _ => "other",
        }
    }
}

/// A fault as data. Each kind has its own keys.
fn fault(outcome: &Outcome) -> JsonValue {
    let Outcome::Fault(Fault { kind, .. }) = outcome else { return JsonValue::Null };
    let access = |access| match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
    };
    let own = match *kind {
        FaultKind::Exception { vector, error_code } => {
            object! { "kind": "exception", "vector": vector, "error_code": error_code }
        }
        FaultKind::TripleFault => object! { "kind": "triple-fault" },
        FaultKind::OutsideRam { access: what, address, .. } => {
            object! { "kind": "outside-ram", "access": access(what), "target": address }
        }
        FaultKind::ReadOnly { address } => {
            object! { "kind": "read-only", "access": access(Access::Write), "target": address }
        }
        FaultKind::StackOverflow { stack_size } => {
            object! { "kind": "stack-overflow", "stack_size": stack_size }
        }
        FaultKind::Guard { access: what, address, .. } => {
            object! { "kind": "guard", "access": access(what), "target": address }
        }
        FaultKind::Port { port, width, direction } => {
            object! { "kind": "port", "port": port, "width": width, "direction": direction.name() }
        }
        FaultKind::Unsupported { code, .. } => {
            object! { "kind": "unsupported", "code": instruction::first(&code) }
        }
        // Its words say what it is.
        _ => object! { "kind": "other" },
    };
    let mut fault = object! { "words": words::fault(kind, None) };
    for (key, value) in own.entries() {
        fault[key] = value.clone();
    }
    fault
}

fn registers(registers: &Registers) -> JsonValue {
    let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = registers;
    object! {
        "eax": *eax, "ebx": *ebx, "ecx": *ecx, "edx": *edx, "esi": *esi, "edi": *edi, "ebp": *ebp, "esp": *esp,
        "eip": *eip, "eflags": *eflags,
    }
}

fn page_fault(fault: PageFault) -> JsonValue {
    let entry =
        |entry: Option<Entry>| entry.map(|entry| object! { "address": entry.address, "value": entry.value });
    object! {
        "linear": fault.linear,
        "physical": fault.physical,
        "access": fault.access(),
        "is_user": fault.is_user,
        "refusal": fault.refusal.name(),
        "directory": entry(fault.directory),
        "table": entry(fault.table),
    }
}

fn instruction_object(instruction: &Instruction) -> JsonValue {
    object! {
        "address": instruction.address,
        "bytes": instruction.bytes.as_slice(),
        "text": instruction.text.as_str(),
    }
}

fn origin(origin: &Origin) -> JsonValue {
    let Origin { of, used, how, by } = origin;
    let (how, from, port) = match *how {
        How::CopiedFrom(from) => ("copied", Some(from.to_string()), None),
        How::ReadFrom(port) => ("read", None, Some(port)),
        How::Made => ("made", None, None),
        How::NeverWritten => ("never-written", None, None),
        How::Interrupted => ("interrupted", None, None),
    };
    let place = by.as_ref().map(|by| &by.place);
    object! {
        "of": of.to_string(),
        "value": *used,
        "how": how,
        "from": from,
        "port": port,
        "instruction": by.as_ref().map(|by| instruction_object(&by.instruction)),
        "symbol": place.and_then(|place| place.function.as_deref()),
        "file": place.and_then(|place| Some(place.line.as_ref()?.0.as_str())),
        "line": place.and_then(|place| Some(place.line.as_ref()?.1)),
        "instructions_before": by.as_ref().map(|by| by.instructions_before),
    }
}

fn backtrace(calls: &Calls) -> JsonValue {
    let calls = calls.calls.iter().map(|call| {
        let source = call.function.source.as_ref();
        object! {
            "address": call.address,
            "symbol": call.function.name.as_deref(),
            "file": source.map(|Source { shown, .. }| shown.as_str()),
            "line": source.map(|Source { line, .. }| *line),
            "column": source.and_then(|Source { column, .. }| *column),
            "inlined": call.is_inlined,
        }
    });
    JsonValue::Array(calls.collect())
}

fn moves(stats: &Stats) -> JsonValue {
    let moves = stats.moves.iter().map(|made| {
        object! {
            "to": made.to.name(), "why": made.why.words(), "address": made.address,
            "seconds": made.time.as_secs_f64(),
        }
    });
    JsonValue::Array(moves.collect())
}

fn exits(stats: &Stats) -> JsonValue {
    let mut ports = JsonValue::new_object();
    for port in Port::ALL {
        for direction in Direction::ALL {
            let Transfers { exits, bytes, .. } = stats.transfers(port, direction);
            if exits > 0 {
                let name = format!("{} {}", port.name(), direction.name());
                ports[name] = object! { "port": port.number(), "exits": exits, "bytes": bytes };
            }
        }
    }
    ports
}

/// The least number of stack bytes that were used: from the lowest nonzero byte, since RAM is zero at the start. A
/// guest whose deepest frames held only zeros has used more.
fn peak_stack(engine: &dyn Engine) -> u32 {
    let layout = engine.memory_map().layout();
    let mut bytes = [0; 4096];
    let mut at = layout.stack_start;
    while at < layout.ram_end {
        let there = engine.read_ram(at, &mut bytes);
        if let Some(used) = bytes[..there].iter().position(|byte| *byte != 0) {
            return layout.ram_end - (at + used as u32) / 4 * 4;
        }
        if there < bytes.len() {
            break;
        }
        at += there as u32;
    }
    0
}
