//! Each function's entry and return. Functions that were inlined are not called.

use iced_x86::Mnemonic;

use super::lines::Lines;
use super::names::{Known, Names, read};
use flatland_x86::{Engine, EngineError};

/// The calls that have not returned.
#[derive(Default)]
pub struct Calls {
    frames: Vec<Frame>,
    /// What the instruction does that is executed next, and where it stands.
    next: Option<(Flow, u32)>,
}

/// Where an instruction leads, as far as it is about calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Call,
    Return,
    Jump,
}

struct Frame {
    /// ESP at the function's first instruction: its return address lies there.
    esp: u32,
    name: String,
    wanted: bool,
}

impl Calls {
    pub fn begin(
        &mut self,
        engine: &mut dyn Engine,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), EngineError> {
        let registers = engine.registers()?;
        self.enter(registers.eip, registers.esp, &names.get(registers.eip), "", lines);
        self.look_ahead(engine, registers.eip);
        Ok(())
    }

    pub fn stepped(
        &mut self,
        engine: &mut dyn Engine,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), EngineError> {
        let registers = engine.registers()?;
        let eip = registers.eip;
        match self.next.take() {
            Some((Flow::Call, from)) => {
                let from = names.get(from).place.line.clone();
                let from = from.map_or(String::new(), |(file, line)| format!("  from {file}:{line}"));
                self.enter(eip, registers.esp, &names.get(eip), &from, lines);
            }
            Some((Flow::Return, _)) => self.leave(registers.esp, lines),
            // A function whose last act is a call may jump there instead, and what is there returns for both.
            Some((Flow::Jump, from)) => {
                let (before, here) = (names.get(from), names.get(eip));
                if here.start == Some(eip) && before.start != here.start {
                    self.leave(registers.esp.wrapping_add(1), lines);
                    self.enter(eip, registers.esp, &here, "  by a jump", lines);
                }
            }
            None => {}
        }
        self.look_ahead(engine, eip);
        Ok(())
    }

    fn look_ahead(&mut self, engine: &dyn Engine, eip: u32) {
        let decoded = flatland_x86::instruction::decode(eip, &|address, bytes| read(engine, address, bytes));
        let flow = decoded.and_then(|(decoded, _)| match decoded.mnemonic() {
            Mnemonic::Call => Some(Flow::Call),
            Mnemonic::Ret | Mnemonic::Retf | Mnemonic::Iret | Mnemonic::Iretd => Some(Flow::Return),
            Mnemonic::Jmp => Some(Flow::Jump),
            _ => None,
        });
        self.next = flow.map(|flow| (flow, eip));
    }

    fn enter(&mut self, eip: u32, esp: u32, known: &Known, from: &str, lines: &mut Lines) {
        let name = known.function.clone().unwrap_or_else(|| format!("{eip:#010x}"));
        if known.wanted {
            lines.write(&format!("{:indent$}> {name}{from}", "", indent = self.indent()));
        }
        self.frames.push(Frame { esp, name, wanted: known.wanted });
    }

    /// Everything has returned whose frame lies below this.
    fn leave(&mut self, esp: u32, lines: &mut Lines) {
        while let Some(frame) = self.frames.pop_if(|frame| frame.esp < esp) {
            if frame.wanted {
                lines.write(&format!("{:indent$}< {}", "", frame.name, indent = self.indent()));
            }
        }
    }

    /// What is left out is not counted.
    fn indent(&self) -> usize {
        2 * self.frames.iter().filter(|frame| frame.wanted).count()
    }
}
