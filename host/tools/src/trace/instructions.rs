//! Each instruction, with the registers it changed, below the line of the source that it was made of.

use std::fmt::Write;

use super::lines::Lines;
use super::names::{Names, read};
use crate::instruction::Instruction;
use flatland_program::Place;
use flatland_x86::{Engine, EngineError, Registers};

/// The instruction that is executed next.
#[derive(Default)]
pub struct Instructions {
    next: Option<(Registers, Option<Instruction>)>,
    /// Whether its place has to be written first.
    heading: Option<Place>,
    place: Option<Place>,
}

/// The flags that instructions compute, and DF (SDM volume 1, section 3.4.3).
const FLAGS: [(u32, &str); 7] =
    [(0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (10, "DF"), (11, "OF")];

impl Instructions {
    pub fn begin(&mut self, engine: &mut dyn Engine, names: &mut Names) -> Result<(), EngineError> {
        self.next = None;
        let registers = engine.registers()?;
        let known = names.get(registers.eip);
        if !known.wanted {
            self.place = None;
            return Ok(());
        }
        if self.place.as_ref() != Some(&known.place) {
            self.place = Some(known.place.clone());
            self.heading = Some(known.place.clone());
        }
        let engine = &*engine;
        let instruction = Instruction::at(registers.eip, &|address, bytes| read(engine, address, bytes));
        self.next = Some((registers, instruction));
        Ok(())
    }

    pub fn stepped(
        &mut self,
        engine: &mut dyn Engine,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), EngineError> {
        let after = engine.registers()?;
        // One engine steps through the iterations of a repeated instruction, another does not.
        if self
            .next
            .as_ref()
            .is_some_and(|(before, _)| before.eip == after.eip && is_repeated(self.next.as_ref()))
        {
            return Ok(());
        }
        self.write(Some(&after), lines);
        self.begin(engine, names)
    }

    /// The run ended with this instruction.
    pub fn end(&mut self, _: &mut dyn Engine, lines: &mut Lines) -> Result<(), EngineError> {
        self.write(None, lines);
        Ok(())
    }

    fn write(&mut self, after: Option<&Registers>, lines: &mut Lines) {
        let Some((before, instruction)) = self.next.take() else { return };
        if let Some(place) = self.heading.take() {
            let place = place.to_string();
            lines.write(
                if place.is_empty() { " in code without a name" } else { &place }.trim_start_matches(" in "),
            );
        }
        let (bytes, text) = match &instruction {
            Some(Instruction { bytes, text, .. }) => {
                (bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "), text.as_str())
            }
            None => (String::new(), "?"),
        };
        let next = before.eip.wrapping_add(instruction.as_ref().map_or(0, |it| it.bytes.len() as u32));
        let changes = after.map(|after| changes(&before, after, next)).unwrap_or_default();
        lines.write(&format!("  {:#010x}  {bytes:20}  {text:32}{changes}", before.eip));
    }
}

fn is_repeated(next: Option<&(Registers, Option<Instruction>)>) -> bool {
    matches!(next, Some((_, Some(instruction))) if instruction.text.starts_with("rep"))
}

/// What an instruction changed: registers, the flags that are set now, and where it went if not to the next one.
fn changes(before: &Registers, after: &Registers, next: u32) -> String {
    let registers = |registers: &Registers| {
        let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, .. } = *registers;
        [
            ("eax", eax),
            ("ebx", ebx),
            ("ecx", ecx),
            ("edx", edx),
            ("esi", esi),
            ("edi", edi),
            ("ebp", ebp),
            ("esp", esp),
        ]
    };
    let mut text = String::new();
    for ((name, old), (_, new)) in registers(before).into_iter().zip(registers(after)) {
        if old != new {
            let _ = write!(text, "  {name}={new:08x}");
        }
    }
    let of = |eflags: u32| FLAGS.iter().filter(move |(bit, _)| eflags >> bit & 1 != 0).map(|(_, name)| *name);
    let flags: Vec<_> = of(after.eflags).collect();
    if flags != of(before.eflags).collect::<Vec<_>>() {
        let _ = write!(text, "  [{}]", flags.join(" "));
    }
    if after.eip != next {
        let _ = write!(text, "  -> {:#010x}", after.eip);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_what_is_different() {
        let before = Registers { eax: 1, eip: 0x10, eflags: 0x2, ..Registers::default() };
        let after = Registers { eax: 0, eip: 0x12, eflags: 0x46, ..before };
        assert_eq!(changes(&before, &after, 0x12), "  eax=00000000  [PF ZF]");
        assert_eq!(
            changes(&after, &Registers { eip: 0x30, eflags: 0x2, ..after }, 0x14),
            "  []  -> 0x00000030"
        );
    }
}
