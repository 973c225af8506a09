//! A machine in the machine: the software processor of the host, as a guest.
//!
//! It is the crate `flatland-soft`, which needs nothing but an allocator. The guest inside is what the project began
//! with: it sends each byte back plus one, until it gets 42.

#![no_std]
#![no_main]

use flatland_guest::{console, entry, eprintln};
use flatland_soft::SoftEngine;
use flatland_x86::{Engine, EngineError, Exit, MemorySize};

entry!(main);

#[rustfmt::skip]
const GUEST: &[u8] = &[
    0xe4, 0xe9, // 0: in al, 0xe9
    0x3c, 42,   // 2: cmp al, 42
    0x74, 0x06, // 4: je 0xc
    0xfe, 0xc0, // 6: inc al
    0xe6, 0xe9, // 8: out 0xe9, al
    0xeb, 0xf4, // a: jmp 0
    0xf4,       // c: hlt
];

fn main() -> Result<(), EngineError> {
    let ram = MemorySize::from_bytes(64 << 10).expect("machines have 64 KiB");
    let mut processor = SoftEngine::new(ram);
    processor.write_ram(0, GUEST);
    loop {
        match processor.run()? {
            Exit::In { data, .. } => data.fill_with(console::read_byte),
            Exit::Out { data, .. } => data.iter().for_each(|byte| console::write_byte(*byte)),
            Exit::Halt => break,
            exit => panic!("the guest inside did something unexpected: {exit:?}"),
        }
    }
    eprintln!("\nhalted after {} instructions", processor.instructions().unwrap_or_default());
    Ok(())
}
