//! Traces each transfer at a port: direction, port, data, and the location in the program.

use flatland_contract::{Direction, Port};
use flatland_machine::{Event, Machine, RunError, Transfer, Wants};
use flatland_program::{Function, Place};
use flatland_x86::instruction::{Read, decode};
use flatland_x86::{Location, Registers};
use iced_x86::OpKind;

use super::{Lines, Names, Tracer, What};
use crate::instruction::{self, Deed, reader};
use crate::words::hex;

/// Collects the transfers of a repeated instruction into one line. One engine reports them together, another one by
/// one.
#[derive(Default)]
pub struct TransferTrace {
    line: Option<Line>,
}

/// A line that has not been written yet.
struct Line {
    /// The address of the instruction.
    address: u32,
    transfer: Transfer,
    /// How many transfers of the instruction are still to come.
    left: u32,
    place: Place,
    is_wanted: bool,
}

/// How many bytes of a transfer are shown.
const SHOWN: usize = 16;

impl TransferTrace {
    fn transferred(
        &mut self,
        machine: &mut Machine,
        transfer: &Transfer,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        let address = address(machine, transfer)?;
        let registers = machine.registers()?;
        let counter = counter(address, &registers, &reader(machine.engine()));
        // The count already includes this output, but includes input only when the guest continues.
        let count = (transfer.data.len() / usize::from(transfer.width)) as u32;
        let (before, left) = match (counter, transfer.direction) {
            (None, _) => (1, 0),
            (Some(counter), Direction::Out) => (counter.saturating_add(count), counter),
            (Some(counter), Direction::In) => (counter, counter.saturating_sub(count)),
        };
        let continues = |line: &Line| {
            let Line { address: at, transfer: Transfer { port, direction, .. }, left, .. } = line;
            (*at, *port, *direction, *left) == (address, transfer.port, transfer.direction, before)
        };
        match self.line.as_mut().filter(|line| continues(line)) {
            Some(line) => {
                line.transfer.data.extend(&transfer.data);
                line.left = left;
            }
            None => {
                self.write(machine, lines);
                let (mut place, is_wanted) = names.place(machine, address)?;
                // The runtime's function is left out, because it is nearly the same in every line.
                place.callee = place.callee.map(|_| Function::default());
                self.line = Some(Line { address, transfer: transfer.clone(), left, place, is_wanted });
            }
        }
        if left == 0 {
            self.write(machine, lines);
        }
        Ok(())
    }

    /// Writes the line of an instruction that has ended.
    fn write(&mut self, machine: &mut Machine, lines: &mut Lines) {
        let Some(Line { address, transfer, place, is_wanted, .. }) = self.line.take() else { return };
        if !is_wanted {
            return;
        }
        let Transfer { port: number, direction, data, .. } = transfer;
        let port =
            Port::from_number(number).map_or_else(|| format!("{number:#x}"), |port| port.name().into());
        let shown = &data[..data.len().min(SHOWN)];
        let text = format!("\"{}\"", shown.escape_ascii());
        let rest = match data.len() {
            len if len > SHOWN => format!(" ... {len} bytes"),
            _ => String::new(),
        };
        let line = format!(
            "{:3} {port:11} {text:6} {}{rest}  at {address:#010x}{place}",
            direction.name(),
            hex(shown)
        );
        let what =
            What::Transfer { direction, port: number, name: &port, data: &data, address, place: &place };
        lines.write(machine, &line, &what);
    }
}

impl Tracer for TransferTrace {
    fn resumes(&mut self, _: &mut Machine, _: &mut Names, _: &mut Lines) -> Result<(), RunError> {
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants { transfers: true, ..Wants::default() }
    }

    fn observe(
        &mut self,
        machine: &mut Machine,
        event: &Event,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        match event {
            Event::Transfer(transfer) => self.transferred(machine, transfer, names, lines)?,
            Event::Ended(_) => self.write(machine, lines),
            _ => {}
        }
        Ok(())
    }
}

/// The address of the instruction that has made this transfer.
pub fn address(machine: &mut Machine, transfer: &Transfer) -> Result<u32, RunError> {
    let (location, registers) = (machine.location()?, machine.registers()?);
    Ok(match location {
        Location::At(address) => address,
        // An engine may know only the end of an `out`.
        Location::EndsAt(end) => {
            output_before(end, transfer, &registers, &reader(machine.engine())).unwrap_or(end)
        }
        Location::Unknown => registers.eip,
    })
}

/// The count register of the repeated instruction at this address. None if it is not a repeated instruction.
fn counter(address: u32, registers: &Registers, read: Read) -> Option<u32> {
    let (decoded, _) = decode(address, read)?;
    if !(decoded.has_rep_prefix() || decoded.has_repne_prefix()) {
        return None;
    }
    let is_16_bits = decoded.op_kinds().any(|kind| matches!(kind, OpKind::MemorySegSI | OpKind::MemoryESDI));
    Some(if is_16_bits { registers.ecx & 0xffff } else { registers.ecx })
}

/// The start of the `out` or `outs` that ends here. Tries the longest form first, because the last byte of a prefixed
/// form, or of one with a port number, may look like a shorter instruction.
fn output_before(end: u32, transfer: &Transfer, registers: &Registers, read: Read) -> Option<u32> {
    [4, 3, 2, 1]
        .into_iter()
        .find(|length| {
            let start = end.wrapping_sub(*length);
            instruction::ending_at(end, start, Deed::Out(transfer.port), registers, read) == Some(start)
        })
        .map(|length| end.wrapping_sub(length))
}
