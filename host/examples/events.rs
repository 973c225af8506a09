//! A loop over events: counts the bytes that a guest sends, and stops it at a breakpoint.
//!
//! `cargo run --package flatland-vmm --example events`

use std::error::Error;

use flatland::{EngineChoice, Event, Machine, Program, Wants};

/// Prints `hi` four times.
#[rustfmt::skip]
const GUEST: [u8; 22] = [
    0xb9, 4, 0, 0, 0, //  0: mov ecx, 4
    0xb0, b'h',       //  5: mov al, 'h'
    0xe6, 0xe9,       //  7: out 0xe9, al
    0xb0, b'i',       //  9: mov al, 'i'
    0xe6, 0xe9,       //  b: out 0xe9, al
    0xb0, b'\n',      //  d: mov al, '\n'
    0xe6, 0xe9,       //  f: out 0xe9, al
    0xe2, 0xf2,       // 11: loop 5
    0xf4,             // 13: hlt
    0xeb, 0xfe,       // 14: jmp $
];

fn main() -> Result<(), Box<dyn Error>> {
    let program = Program::from_bytes(GUEST.to_vec())?;
    let mut machine =
        Machine::builder().engine(EngineChoice::Auto).output(std::io::stdout()).build(&program)?;

    // Only the wanted events are returned; others cost nothing. `wants` may change before each call.
    let wants = Wants { transfers: true, breakpoints: vec![0x11], ..Wants::default() };
    let mut bytes = 0;
    loop {
        match machine.resume(&wants)? {
            Event::Transfer(transfer) => bytes += transfer.data.len(),
            Event::Stopped(stopped) if stopped.breakpoint => {
                // The guest is stopped. Its state can be read and changed here.
                let mut registers = machine.registers()?;
                println!("[{bytes} bytes, {} rounds to go]", registers.ecx - 1);
                if registers.ecx == 3 {
                    registers.ecx = 1;
                    machine.set_registers(&registers)?;
                }
            }
            Event::Ended(outcome) => {
                println!("[ended: {outcome:?}]");
                return Ok(());
            }
            _ => {}
        }
    }
}
