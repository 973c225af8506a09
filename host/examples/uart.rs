//! A custom device: a UART at COM1, with as much of a 16550 as an early kernel needs to print.
//!
//! `cargo run --package flatland-vmm --example uart`

use std::error::Error;

use flatland::{Device, EngineChoice, Host, Machine, Program, Unfinished};

/// The first of a 16550's eight ports takes bytes to send; the sixth says that there is room for more.
struct Uart;

const TRANSMIT: u16 = 0;
const LINE_STATUS: u16 = 5;
/// Transmitter holding register empty, transmitter empty.
const READY: u8 = 0x60;

impl Device for Uart {
    fn ports(&self) -> u16 {
        8
    }

    fn read(&mut self, offset: u16, _: &mut Host) -> Result<u8, Unfinished> {
        Ok(if offset == LINE_STATUS { READY } else { 0 })
    }

    fn write(&mut self, offset: u16, byte: u8, host: &mut Host) -> Result<(), Unfinished> {
        match offset {
            TRANSMIT => host.output(&[byte]),
            // The line speed and other settings are accepted, without effect.
            _ => Ok(()),
        }
    }
}

/// Prints through COM1 as firmware does: waits for room, then sends.
#[rustfmt::skip]
const GUEST: [u8; 34] = [
    0xbe, 0x1c, 0, 0, 0, //  0: mov esi, text
    0x66, 0xba, 0xfd, 3, //  5: mov dx, 0x3fd   line status
    0xec,                //  9: in al, dx
    0xa8, 0x20,          //  a: test al, 0x20
    0x74, 0xfb,          //  c: jz 9
    0xac,                //  e: lodsb
    0x84, 0xc0,          //  f: test al, al
    0x74, 0x07,          // 11: jz 1a
    0x66, 0xba, 0xf8, 3, // 13: mov dx, 0x3f8   transmit
    0xee,                // 17: out dx, al
    0xeb, 0xeb,          // 18: jmp 5
    0xf4, 0x90,          // 1a: hlt
    b'C', b'O', b'M', b'1', b'\n', 0,
];

fn main() -> Result<(), Box<dyn Error>> {
    let program = Program::from_bytes(GUEST.to_vec())?;
    let mut machine = Machine::builder()
        .engine(EngineChoice::Auto)
        .output(std::io::stdout())
        .device(0x3f8, Uart)
        .build(&program)?;
    machine.run()?;
    Ok(())
}
