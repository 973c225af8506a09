//! `monitor` commands: what gdb has no commands of its own for.

use std::fmt::Write;

use flatland_contract::{Direction, Port};

use super::guest::Guest;
use crate::engine::EngineError;

const HELP: &str = "\
monitor help    this
monitor stats   the engine, and what the run has cost so far
monitor map     what lies where in memory, and what is read-only
monitor ports   the ports, and what has gone through them
monitor cpu     the processor's mode: CR0 and the segment registers
Breakpoints: any number. Watchpoints: any number on the soft engine, none on KVM (--engine soft).
`kill` ends the run, `detach` lets it run on. After a fault or a panic everything is there to look at; `continue` then
ends the run.
";

/// What a command says.
pub fn answer(guest: &mut Guest, command: &str) -> Result<String, EngineError> {
    Ok(match command {
        "" | "help" => HELP.into(),
        "stats" => stats(guest),
        "map" | "layout" => map(guest),
        "ports" => ports(guest),
        "cpu" => cpu(guest)?,
        other => format!("there is no `monitor {other}`: `monitor help` lists what there is\n"),
    })
}

fn stats(guest: &mut Guest) -> String {
    let engine = guest.engine();
    let count = match engine.instructions() {
        Some(count) => format!("{count} instructions"),
        None => "instructions not counted".into(),
    };
    let name = engine.name();
    format!("{name}, {count}, {}\n", guest.stats.transfers_in_words())
}

fn map(guest: &mut Guest) -> String {
    let map = guest.engine().memory_map();
    let (layout, hole) = (map.layout(), map.hole());
    let mut parts: Vec<_> = map
        .parts()
        .into_iter()
        .map(|part| (part.range, if part.writable { "read and write" } else { "read-only" }))
        .collect();
    if !hole.is_empty() {
        parts.push((hole, "the hole: no memory"));
    }
    parts.sort_by_key(|(range, _)| range.start);
    let mut text = String::new();
    for (range, what) in parts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:#010x} to {:#010x}  {what}", range.start, range.end);
    }
    let _ = writeln!(
        text,
        "the heap ends at {:#010x}, the stack is from {:#010x} to {:#010x}",
        layout.heap_end, layout.stack_start, layout.ram_end
    );
    text
}

fn ports(guest: &mut Guest) -> String {
    let mut text = String::new();
    for port in Port::ALL {
        let _ = write!(text, "{:#x} {:<11}", port.number(), port.name());
        for (direction, way) in [(Direction::In, "in"), (Direction::Out, "out")] {
            if port.allows(direction) {
                let bytes = guest.stats.transfers(port, direction).bytes;
                let _ = write!(text, "  {way} {bytes} bytes");
            }
        }
        text.push('\n');
    }
    text
}

fn cpu(guest: &mut Guest) -> Result<String, EngineError> {
    let system = guest.engine().system_registers()?;
    let mode = if system.cr0 & 1 == 0 { "real mode" } else { "protected mode" };
    let paging = if system.cr0 >> 31 == 0 { "off" } else { "on" };
    Ok(format!(
        "cr0 {:#010x}: {mode}, paging {paging}\ncs {:#06x}  ss {:#06x}  ds {:#06x}  es {:#06x}  fs {:#06x}  gs {:#06x}\n",
        system.cr0, system.cs, system.ss, system.ds, system.es, system.fs, system.gs
    ))
}
