//! Each function's entry and return. Functions that were inlined are not called.

use flatland_machine::{Event, Machine, RunError, Wants};
use flatland_x86::instruction::decode;
use iced_x86::Mnemonic;

use super::names::Known;
use super::{Lines, Names, Tracer, What};
use crate::instruction::reader;

/// The calls that have not returned.
#[derive(Default)]
pub struct CallTrace {
    frames: Vec<Frame>,
    has_begun: bool,
    /// The effect of the next instruction, and its address.
    next: Option<(Flow, u32)>,
    /// [`Machine::changes`] when `next` was decoded.
    changes: Option<u64>,
}

/// The effect of an instruction on calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Call,
    Return,
    Jump,
}

struct Frame {
    /// ESP at the function's first instruction, which is the address of its return address.
    esp: u32,
    name: String,
    is_wanted: bool,
}

impl CallTrace {
    fn stepped(
        &mut self,
        machine: &mut Machine,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        let registers = machine.registers()?;
        let eip = registers.eip;
        match self.next.take() {
            Some((Flow::Call, from)) => {
                let from = names.get(from).place().line;
                let from = from.map_or(String::new(), |(file, line)| format!("  from {file}:{line}"));
                self.enter(machine, eip, registers.esp, &names.get(eip), &from, lines);
            }
            Some((Flow::Return, _)) => self.leave(machine, registers.esp, lines),
            // A function that ends with a call may jump there instead. The callee then returns for both.
            Some((Flow::Jump, from)) => {
                let (before, here) = (names.get(from), names.get(eip));
                if here.start == Some(eip) && before.start != here.start {
                    self.leave(machine, registers.esp.wrapping_add(1), lines);
                    self.enter(machine, eip, registers.esp, &here, "  by a jump", lines);
                }
            }
            None => {}
        }
        self.look_ahead(machine, eip);
        Ok(())
    }

    fn look_ahead(&mut self, machine: &mut Machine, eip: u32) {
        let decoded = decode(eip, &reader(machine.engine()));
        let flow = decoded.and_then(|(decoded, _)| match decoded.mnemonic() {
            Mnemonic::Call => Some(Flow::Call),
            Mnemonic::Ret | Mnemonic::Retf | Mnemonic::Iret | Mnemonic::Iretd => Some(Flow::Return),
            Mnemonic::Jmp => Some(Flow::Jump),
            _ => None,
        });
        self.next = flow.map(|flow| (flow, eip));
        self.changes = Some(machine.changes());
    }

    fn enter(
        &mut self,
        machine: &mut Machine,
        eip: u32,
        esp: u32,
        known: &Known,
        from: &str,
        lines: &mut Lines,
    ) {
        let name = known.function().map_or_else(|| format!("{eip:#010x}"), Into::into);
        if known.is_wanted {
            let line = format!("{:indent$}> {name}{from}", "", indent = self.indent());
            lines.write(machine, &line, &What::Enter { name: &name, address: eip });
        }
        self.frames.push(Frame { esp, name, is_wanted: known.is_wanted });
    }

    /// Leaves all functions whose frames are below `esp`: they have returned.
    fn leave(&mut self, machine: &mut Machine, esp: u32, lines: &mut Lines) {
        while let Some(frame) = self.frames.pop_if(|frame| frame.esp < esp) {
            if frame.is_wanted {
                let line = format!("{:indent$}< {}", "", frame.name, indent = self.indent());
                lines.write(machine, &line, &What::Leave { name: &frame.name });
            }
        }
    }

    /// Counts only the calls that are shown.
    fn indent(&self) -> usize {
        2 * self.frames.iter().filter(|frame| frame.is_wanted).count()
    }
}

impl Tracer for CallTrace {
    fn resumes(
        &mut self,
        machine: &mut Machine,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        if self.changes == Some(machine.changes()) {
            return Ok(());
        }
        let registers = machine.registers()?;
        if !self.has_begun {
            self.has_begun = true;
            self.enter(machine, registers.eip, registers.esp, &names.get(registers.eip), "", lines);
        }
        self.look_ahead(machine, registers.eip);
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants { steps: true, ..Wants::default() }
    }

    fn observe(
        &mut self,
        machine: &mut Machine,
        event: &Event,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        match event {
            Event::Stopped(stopped) if stopped.stepped => self.stepped(machine, names, lines)?,
            // If the run continues, the next instruction is unknown.
            Event::Ended(_) => self.changes = None,
            _ => {}
        }
        Ok(())
    }
}
