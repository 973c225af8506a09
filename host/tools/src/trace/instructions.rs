//! Traces each instruction, with the registers that it changed, after the source line that it was compiled from.

use flatland_machine::{Event, Machine, RunError, Wants};
use flatland_program::Place;
use flatland_x86::instruction::decode;
use flatland_x86::{CodeBytes, Registers};
use iced_x86::RflagsBits;

use super::{Lines, Names, Tracer, What};
use crate::instruction::{Instruction, reader};
use crate::words::hex;

/// The next instruction, and the state of the trace.
#[derive(Default)]
pub struct InstructionTrace {
    next: Option<Next>,
    /// [`Machine::changes`] when `next` was decoded.
    changes: Option<u64>,
    /// The location to write before the next instruction, if it has changed.
    heading: Option<Place>,
    place: Option<Place>,
    /// The flags that the manual leaves undefined since the last instruction that set them. They differ between
    /// processors, so they are not shown.
    undefined: u32,
}

struct Next {
    /// The registers before the instruction.
    before: Registers,
    place: Option<Place>,
    decoded: Option<(iced_x86::Instruction, [u8; CodeBytes::MOST])>,
    is_wanted: bool,
}

/// The flags that instructions compute, and DF (SDM volume 1, section 3.4.3): bit, name, and bit in [`RflagsBits`].
const FLAGS: [(u32, &str, u32); 7] = [
    (0, "CF", RflagsBits::CF),
    (2, "PF", RflagsBits::PF),
    (4, "AF", RflagsBits::AF),
    (6, "ZF", RflagsBits::ZF),
    (7, "SF", RflagsBits::SF),
    (10, "DF", RflagsBits::DF),
    (11, "OF", RflagsBits::OF),
];

impl InstructionTrace {
    fn look_ahead(&mut self, machine: &mut Machine, before: Registers, names: &mut Names) {
        self.changes = Some(machine.changes());
        let known = names.get(before.eip);
        let place = known.is_wanted.then(|| known.place());
        if place.is_some() && self.place != place {
            self.heading = place.clone();
        }
        self.place.clone_from(&place);
        let decoded = decode(before.eip, &reader(machine.engine()));
        self.next = Some(Next { before, place, decoded, is_wanted: known.is_wanted });
    }

    /// Writes the next instruction, which was executed and left these registers. None if the run ended with it.
    fn write(&mut self, machine: &mut Machine, after: Option<&Registers>, lines: &mut Lines) {
        let Some(Next { before, place, decoded, is_wanted }) = self.next.take() else { return };
        let was_undefined = self.undefined;
        if let (Some((decoded, _)), Some(_)) = (&decoded, after) {
            self.undefined = self.undefined & !decoded.rflags_modified() | decoded.rflags_undefined();
        }
        if !is_wanted {
            return;
        }
        if let Some(place) = self.heading.take() {
            let place = place.to_string();
            let place = if place.is_empty() { "code without a name" } else { &place };
            lines.write(machine, place.trim_start_matches(" in "), &What::Remark);
        }
        let (bytes, text) = match &decoded {
            Some((decoded, bytes)) => {
                let Instruction { bytes, text, .. } = Instruction::new(decoded, bytes);
                (bytes, text)
            }
            None => (Vec::new(), "?".into()),
        };
        let mut line = format!("  {:#010x}  {:20}  {text:32}", before.eip, hex(&bytes));
        if let Some(after) = after {
            line += &registers(&before, after);
            let flags = flags(after.eflags, self.undefined);
            if flags != self::flags(before.eflags, was_undefined) {
                line += &format!("  [{flags}]");
            }
            if after.eip != before.eip.wrapping_add(bytes.len() as u32) {
                line += &format!("  -> {:#010x}", after.eip);
            }
        }
        let what = What::Instruction { address: before.eip, text: &text, place: place.as_ref() };
        lines.write(machine, &line, &what);
    }
}

impl Tracer for InstructionTrace {
    fn resumes(&mut self, machine: &mut Machine, names: &mut Names, _: &mut Lines) -> Result<(), RunError> {
        if self.changes != Some(machine.changes()) {
            let registers = machine.registers()?;
            self.look_ahead(machine, registers, names);
        }
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
            Event::Stopped(stopped) if stopped.stepped => {
                let after = machine.registers()?;
                self.write(machine, Some(&after), lines);
                self.look_ahead(machine, after, names);
            }
            Event::Ended(_) => {
                self.write(machine, None, lines);
                // If the run continues, the next instruction is unknown.
                self.changes = None;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The registers that an instruction changed, with their new values.
fn registers(before: &Registers, after: &Registers) -> String {
    let all = |registers: &Registers| {
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
    let changed = all(before).into_iter().zip(all(after)).filter(|(old, new)| old != new);
    changed.map(|(_, (name, new))| format!("  {name}={new:08x}")).collect()
}

/// The flags that are set and not undefined.
fn flags(eflags: u32, undefined: u32) -> String {
    let set = FLAGS.iter().filter(|(bit, _, in_iced)| eflags >> bit & 1 != 0 && undefined & in_iced == 0);
    set.map(|(_, name, _)| *name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_registers_are_shown() {
        let before = Registers { eax: 1, eip: 0x10, eflags: 0x2, ..Registers::default() };
        let after = Registers { eax: 0, esi: 0x20, eip: 0x12, eflags: 0x46, ..before };
        assert_eq!(registers(&before, &after), "  eax=00000000  esi=00000020");
        assert_eq!(registers(&after, &Registers { eip: 0x30, eflags: 0x2, ..after }), "");
    }

    #[test]
    fn undefined_flags_are_not_shown() {
        assert_eq!(flags(0x46, 0), "PF ZF");
        assert_eq!(flags(0x46, RflagsBits::PF | RflagsBits::CF), "ZF");
        assert_eq!(flags(0x2, 0), "");
    }
}
