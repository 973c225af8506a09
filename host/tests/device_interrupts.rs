//! Interrupts of devices on both engines: the same code, and the same frames. A KVM that emulates has no `iret`, so each handler
//! here ends the run; run it with the nested KVM, too (CONTRIBUTING.md).

use std::env;

use flatland::x86::{Registers, eflags};
use flatland::{
    Device, EngineChoice, EngineKind, Event, Host, Machine, MemorySize, Outcome, Program, Unfinished, Vector,
    Wants,
};

const HANDLER: usize = 0x100;
const IDT: usize = 0x2000;
const RAM: u32 = 0x1_0000;
const LIDT: [u8; 7] = [0x0f, 0x01, 0x1d, 0xf0, 0x1f, 0, 0];
/// mov edx, 0x3f8
const PORT: [u8; 5] = [0xba, 0xf8, 3, 0, 0];

/// Raises the vector that is written to it.
struct Bell;

impl Device for Bell {
    fn write(&mut self, _: u16, byte: u8, host: &mut Host) -> Result<(), Unfinished> {
        host.raise(Vector::new(byte).ok_or(Unfinished::Unsupported)?);
        Ok(())
    }
}

/// A program with an IDT, in which vectors 0x20 to 0x22 lead to `inc ebx; hlt`. 0x40 holds the selector of data.
fn program(code: &[u8]) -> Program {
    let mut image = vec![0; IDT + 0x23 * 8];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[&LIDT[..], &PORT, code].concat());
    put(0x80, &[0x10, 0]);
    put(HANDLER, &[0x43, 0xf4]);
    put(0x1ff0, &[0x17, 0x01, 0, 0x20, 0, 0]);
    for number in 0x20..0x23 {
        put(IDT + number * 8, &[0, 1, 8, 0, 0, 0x8e, 0, 0]);
    }
    Program::from_bytes(image).unwrap()
}

fn engines() -> Vec<EngineChoice> {
    match env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
        Some(_) => vec![EngineChoice::Soft],
        None => vec![EngineChoice::Soft, EngineChoice::Kvm],
    }
}

fn machine(engine: EngineChoice, code: &[u8]) -> Machine {
    let builder = Machine::builder().engine(engine).memory(MemorySize::from_bytes(RAM.into()).unwrap());
    builder.device(0x3f8, Bell).build(&program(code)).unwrap()
}

/// EIP and EFLAGS in the frame of the handler that ended the run.
fn frame(machine: &mut Machine) -> (Registers, u32, u32) {
    let registers = machine.registers().unwrap();
    let word = |offset: u32| {
        let mut bytes = [0; 4];
        machine.read_ram(registers.esp.wrapping_add(offset), &mut bytes);
        u32::from_le_bytes(bytes)
    };
    (registers, word(0), word(8))
}

/// Whether the engine has `iret`: a KVM that emulates has not, and looks for interrupts only after some hundred instructions.
fn has_iret(engine: EngineChoice) -> bool {
    let engine = if engine == EngineChoice::Auto { EngineChoice::Kvm } else { engine };
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return true;
    }
    // push 2; push 8; push the address of the `hlt`; iret; hlt
    let code = [0x6a, 2, 0x6a, 8, 0x6a, BEGIN as u8 + 7, 0xcf, 0xf4];
    machine(engine, &code).run().unwrap() == Outcome::Halted
}

/// mov al, VECTOR; out dx, al: 3 bytes, behind which lie the cases' codes
const RAISE: [u8; 3] = [0xb0, 0x20, 0xee];
const BEGIN: u32 = 7 + 5;

const CASES: &[(&str, &[u8], u32, u32)] = &[
    ("sti; mov al, 0x20; out dx, al; inc ecx", &[0xfb, 0xb0, 0x20, 0xee, 0x41, 0xf4], 4, 0),
    ("raised; inc ecx; sti; inc ecx; inc ecx", &[0xb0, 0x20, 0xee, 0x41, 0xfb, 0x41, 0x41, 0xf4], 6, 2),
    (
        "raised; sti; mov ss, [0x80]; inc ecx; inc ecx",
        &[0xb0, 0x20, 0xee, 0xfb, 0x8e, 0x15, 0x80, 0, 0, 0, 0x41, 0x41, 0xf4],
        11,
        1,
    ),
    ("raised; push 0x202; popf; inc ecx", &[0xb0, 0x20, 0xee, 0x68, 2, 2, 0, 0, 0x9d, 0x41, 0xf4], 9, 0),
    ("raised; sti; hlt; inc ecx", &[0xb0, 0x20, 0xee, 0xfb, 0xf4, 0x41, 0xf4], 5, 0),
];

#[test]
fn both_engines_deliver_at_the_same_instruction() {
    assert_eq!(CASES[1].1[..3], RAISE);
    for engine in engines() {
        for (name, code, offset, ecx) in CASES {
            let mut machine = machine(engine, code);
            assert_eq!(machine.run().unwrap(), Outcome::Halted, "{name} on {engine:?}");
            let (registers, eip, flags) = frame(&mut machine);
            assert_eq!((registers.ebx, flags & eflags::IF), (1, eflags::IF), "{name} on {engine:?}");
            // A KVM that emulates has come to the `hlt`, which the interrupt ends.
            let end = BEGIN + code.len() as u32;
            let is_late = engine == EngineChoice::Kvm && !has_iret(engine) && eip == end;
            // A processor need not put off an interrupt twice in a row (SDM volume 2, STI): QEMU's does not.
            let is_early =
                engine == EngineChoice::Kvm && name.contains("mov ss") && eip == BEGIN + offset - 1;
            assert!(
                is_late || is_early || (eip, registers.ecx) == (BEGIN + offset, *ecx),
                "{name} on {engine:?}: {eip:#x}"
            );
            assert_eq!(registers.eflags & eflags::IF, 0, "{name} on {engine:?}");
        }
    }
}

#[test]
fn without_interrupts_it_stays_pending_and_moves_along() {
    // mov al, 0x21; out dx, al; mov al, '.'; out 0xe9, al; sti; inc ecx; inc ecx; hlt
    let code = [0xb0, 0x21, 0xee, 0xb0, b'.', 0xe6, 0xe9, 0xfb, 0x41, 0x41, 0xf4];
    let wants = Wants { transfers: true, ..Wants::default() };
    for first in engines() {
        for moves in [false, engines().len() > 1] {
            let mut machine = machine(first, &code);
            for _ in 0..2 {
                assert!(matches!(machine.resume(&wants).unwrap(), Event::Transfer(_)));
            }
            assert_eq!(machine.engine().pending_interrupts().highest(), Vector::new(0x21));
            if moves {
                let other = if first == EngineChoice::Soft { EngineKind::Kvm } else { EngineKind::Soft };
                machine.move_to(other).unwrap();
                assert_eq!(machine.engine().pending_interrupts().highest(), Vector::new(0x21));
            }
            assert_eq!(machine.run().unwrap(), Outcome::Halted);
            let (registers, eip, _) = frame(&mut machine);
            let is_late = eip == BEGIN + code.len() as u32 && !has_iret(EngineChoice::Auto);
            assert!(is_late || (registers.ecx, eip) == (1, BEGIN + 9), "from {first:?}, {moves}: {eip:#x}");
            assert_eq!(registers.ebx, 1, "from {first:?}, {moves}");
        }
    }
}

#[test]
fn the_timer_ends_a_busy_loop_and_a_halt() {
    for engine in engines() {
        // Period 2,000,000: for each byte mov al, BYTE; out 0xf7, al. Then sti; jmp $, or sti; hlt; inc ecx
        let set: Vec<u8> =
            2_000_000_u32.to_le_bytes().into_iter().flat_map(|byte| [0xb0, byte, 0xe6, 0xf7]).collect();
        for (rest, offset) in [(&[0xfb, 0xeb, 0xfe][..], 1), (&[0xfb, 0xf4, 0x41, 0xf4], 2)] {
            let mut machine = machine(engine, &[&set[..], rest].concat());
            assert_eq!(machine.run().unwrap(), Outcome::Halted, "{engine:?}");
            let (registers, eip, _) = frame(&mut machine);
            assert_eq!((registers.ebx, registers.ecx, eip), (1, 0, BEGIN + 16 + offset), "{engine:?}");
        }
    }
}

#[test]
fn an_interrupt_without_a_gate_is_an_exception_on_both() {
    for engine in engines() {
        let mut reports = Vec::new();
        // Vector 0x23 lies beyond the IDT, and there is no gate for #GP: a triple fault.
        let mut machine = machine(engine, &[0xfb, 0xb0, 0x23, 0xee, 0x41, 0xf4]);
        reports.push(machine.run().unwrap().status());
        assert_eq!(reports, [134], "{engine:?}");
    }
}
