//! Each transfer at a port: which way, at which, what, and from where in the program.

use flatland_contract::{Direction, Port};
use iced_x86::Mnemonic;

use super::lines::Lines;
use super::names::{Names, read};
use flatland_machine::Transfer;
use flatland_program::Place;
use flatland_x86::Location;
use flatland_x86::instruction;
use flatland_x86::{Engine, EngineError};

/// The transfers of a repeated instruction, which one engine tells of at once and another one by one.
#[derive(Default)]
pub struct Transfers {
    repeated: Option<Line>,
}

struct Line {
    address: u32,
    transfer: Transfer,
    place: Place,
    wanted: bool,
}

/// So many bytes of a transfer are shown.
const SHOWN: usize = 16;

impl Transfers {
    pub fn transferred(
        &mut self,
        engine: &mut dyn Engine,
        transfer: &Transfer,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), EngineError> {
        let location = engine.location()?;
        let registers = engine.registers()?;
        let engine_read = |address: u32, bytes: &mut [u8]| read(engine, address, bytes);
        let address = match location {
            Location::At(address) => address,
            // Some KVMs move on from the last iteration of a repeated instruction only when the guest goes on.
            Location::EndsAt(end) => output_before(end, &engine_read).unwrap_or(end),
            Location::Unknown => registers.eip,
        };
        let decoded = instruction::decode(address, &engine_read);
        let is_repeated = decoded.is_some_and(|(decoded, _)| decoded.has_rep_prefix());
        let same = |line: &Line| {
            (line.address, line.transfer.port, line.transfer.direction)
                == (address, transfer.port, transfer.direction)
        };
        if is_repeated && let Some(line) = self.repeated.as_mut().filter(|line| same(line)) {
            line.transfer.data.extend(&transfer.data);
        } else {
            self.flush(lines);
            let (place, wanted) = names.own_place(engine, address)?;
            self.repeated = Some(Line { address, transfer: transfer.clone(), place, wanted });
        }
        // What is still to come of it: input is counted when the guest goes on.
        let count = (transfer.data.len() / usize::from(transfer.width)) as u32;
        let done = match transfer.direction {
            Direction::In => count,
            Direction::Out => 0,
        };
        if !is_repeated || registers.ecx <= done {
            self.flush(lines);
        }
        Ok(())
    }

    /// Writes what is complete by now.
    pub fn flush(&mut self, lines: &mut Lines) {
        if let Some(Line { address, transfer, place, .. }) = self.repeated.take_if(|line| line.wanted) {
            let direction = match transfer.direction {
                Direction::In => "in",
                Direction::Out => "out",
            };
            let port = match Port::from_number(transfer.port) {
                Some(port) => port.name().into(),
                None => format!("{:#x}", transfer.port),
            };
            let shown = &transfer.data[..transfer.data.len().min(SHOWN)];
            let text = format!("\"{}\"", shown.escape_ascii());
            let hex: Vec<_> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            let hex = hex.join(" ");
            let rest = match transfer.data.len() {
                len if len > SHOWN => format!(" ... {len} bytes"),
                _ => String::new(),
            };
            lines.write(&format!("{direction:3} {port:11} {text:6} {hex}{rest}  at {address:#010x}{place}"));
        }
        self.repeated = None;
    }
}

/// The `out` or `outs` that ends here. One that begins with a prefix, or has the port's number in it, has more bytes than
/// the one that may be seen in its last byte.
fn output_before(end: u32, read: instruction::Read) -> Option<u32> {
    [4, 3, 2, 1].into_iter().find_map(|length| {
        let start = end.checked_sub(length)?;
        let (decoded, _) = instruction::decode(start, read)?;
        let is_output =
            matches!(decoded.mnemonic(), Mnemonic::Out | Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd);
        (is_output && decoded.len() == length as usize).then_some(start)
    })
}
