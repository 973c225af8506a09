//! `monitor` commands, for information that gdb has no commands for.

mod past;

use std::fmt::Write;

use flatland_contract::{Direction, Port};
use flatland_machine::{Machine, RunError};
use flatland_x86::EngineError;

use crate::timeline::Timeline;

const HELP: &str = "\
monitor help    this
monitor stats   the engine, and what the run has cost so far
monitor map     what lies where in memory, and what is read-only
monitor ports   the ports, and what has gone through them
monitor cpu     the processor's mode: CR0 and the segment registers
monitor when    how many instructions have been executed
monitor goto N  go to where N had been executed; `goto start`, `goto end`
monitor last-write ADDRESS [BYTES]   the last instruction that wrote there
monitor who REGISTER                 the last instruction that wrote it
Breakpoints: any number. Watchpoints: any number on the soft engine, none on KVM (--engine soft).
`kill` ends the run, `detach` lets it run on, and `target remote` comes back to it. After a fault or a panic everything
is there to look at and to change: `continue` then ends the run, or goes on where something was changed.
";

/// The text that a command prints.
pub fn answer(
    machine: &mut Machine,
    timeline: Option<&mut Timeline>,
    command: &str,
) -> Result<String, EngineError> {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or_default();
    if past::NAMES.contains(&name) {
        let Some(timeline) = timeline else { return Ok(past::NONE.into()) };
        return Ok(match past::answer(machine, timeline, name, &words.collect::<Vec<_>>()) {
            Ok(answer) => answer,
            Err(RunError::Engine(error)) => return Err(error),
            Err(error) => format!("{error}\n"),
        });
    }
    Ok(match command {
        "" | "help" => HELP.into(),
        "stats" => stats(machine),
        "map" | "layout" => map(machine),
        "ports" => ports(machine),
        "cpu" => cpu(machine)?,
        other => format!("there is no `monitor {other}`: `monitor help` lists what there is\n"),
    })
}

fn stats(machine: &mut Machine) -> String {
    let transfers = machine.stats().transfers_in_words();
    let engine = machine.engine();
    let count = match engine.instructions() {
        Some(count) => format!("{count} instructions"),
        None => "instructions not counted".into(),
    };
    let name = engine.name();
    format!("{name}, {count}, {transfers}\n")
}

fn map(machine: &mut Machine) -> String {
    let map = machine.memory_map();
    let (layout, guard) = (map.layout(), map.guard());
    let mut parts: Vec<_> = map
        .parts()
        .into_iter()
        .map(|part| (part.range, if part.writable { "read and write" } else { "read-only" }))
        .collect();
    if !guard.is_empty() {
        parts.push((guard, "the guard: no memory"));
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

fn ports(machine: &mut Machine) -> String {
    let mut text = String::new();
    for port in Port::ALL {
        let _ = write!(text, "{:#x} {:<11}", port.number(), port.name());
        for direction in Direction::ALL {
            if port.allows(direction) {
                let bytes = machine.stats().transfers(port, direction).bytes;
                let _ = write!(text, "  {} {bytes} bytes", direction.name());
            }
        }
        text.push('\n');
    }
    text
}

fn cpu(machine: &mut Machine) -> Result<String, EngineError> {
    let system = machine.system_registers()?;
    let mode = if system.cr0 & 1 == 0 { "real mode" } else { "protected mode" };
    let paging = if system.cr0 >> 31 == 0 { "off" } else { "on" };
    Ok(format!(
        "cr0 {:#010x}: {mode}, paging {paging}\ncs {:#06x}  ss {:#06x}  ds {:#06x}  es {:#06x}  fs {:#06x}  gs {:#06x}\n",
        system.cr0, system.cs, system.ss, system.ds, system.es, system.fs, system.gs
    ))
}
