//! Faults and outcomes in words. All sentences on the end of a run are made here.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use flatland_contract::memory::PAGE_SIZE;
use flatland_contract::{Direction, Port};
use flatland_machine::{Outcome, Signal, Stop};
use flatland_program::{Place, Symbols};
use flatland_x86::paging::error_code;
use flatland_x86::{Access, Fault, FaultKind, MemorySize};

use flatland_x86::instruction as x86_instruction;

use crate::instruction;

/// The names at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The location of the guest.
    pub place: Place,
    /// The section of the address that it must not write.
    pub section: Option<String>,
}

impl Names {
    /// The names for this outcome at this location, if known.
    pub fn of(outcome: &Outcome, place: Option<Place>, symbols: &Symbols) -> Self {
        let written = match outcome {
            Outcome::Fault(Fault { kind, .. }) => section_address(kind),
            _ => None,
        };
        Self {
            place: place.unwrap_or_default(),
            section: written.and_then(|address| symbols.section(address)),
        }
    }
}

/// The message for an outcome. None if the guest ended the run itself or the reader of its output did. `names` are
/// the names for this outcome, if known.
pub fn outcome(outcome: &Outcome, names: &Names) -> Option<String> {
    let Names { place, section } = names;
    match outcome {
        Outcome::Halted | Outcome::EndOfInput | Outcome::Exited(_) | Outcome::OutputClosed => None,
        Outcome::Fault(Fault { kind, location }) => {
            let words = fault(kind, section.as_deref());
            Some(format!("{words} {location}{place}: {}", advice(kind)))
        }
        Outcome::Stopped(Stop::TimeLimit(limit), location) => Some(format!(
            "time limit of {} s reached, the guest {location}{place}: give it more with --timeout SECONDS",
            limit.as_secs_f64()
        )),
        Outcome::Stopped(Stop::InstructionLimit(limit), location) => Some(format!(
            "limit of {limit} instructions reached, the guest {location}{place}: give it more with \
                 --max-instructions COUNT"
        )),
        Outcome::Stopped(Stop::Signal(Signal::Interrupt), location) => Some(format!(
            "interrupted by Ctrl-C, the guest {location}{place}: --timeout SECONDS ends a run by itself"
        )),
        Outcome::Stopped(Stop::EndOfRecording, location) => Some(format!(
            "the recording ends here, the guest {location}{place}, because its run was killed, or its file was cut: record it again for more of it"
        )),
        // The person who ended the run knows.
        Outcome::Stopped(Stop::Debugger | Stop::Interrupted, _) => None,
        Outcome::Stopped(Stop::Signal(signal), location) => Some(format!(
            "ended by {signal}, the guest {location}{place}: run it again if that was not meant"
        )),
        other => Some(format!("{other:?}{place}")),
    }
}

/// Bytes in hexadecimal, with a space between them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The character, or another for one that could end a line or hide other text.
pub fn visible(char: char) -> char {
    let is_hidden = char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if is_hidden { '\u{fffd}' } else { char }
}

/// What a tool has come to, and the file where all of it is: `coverage: 3 of 4 lines, written to FILE`.
pub fn written(what: &str, amount: &str, to: &Path) -> String {
    format!("{what}: {amount}, written to {}", to.display())
}

/// A word for a shell: quoted where that is needed.
pub fn shell_word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+=:,@%".contains(char);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The variable that says how the commands for guests are called: `cargo xtask` and `cargo flatland` set it for the
/// programs that they start.
pub const CARGO: &str = "FLATLAND_CARGO";

/// How the commands for guests are called, for messages that name one of them.
pub fn cargo() -> String {
    env::var(CARGO).unwrap_or_else(|_| "cargo flatland".into())
}

/// A fault in words, without its location: `divide error (#DE)`.
struct FaultWords<'a>(&'a FaultKind);

impl fmt::Display for FaultWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self.0 {
            FaultKind::Exception { vector, error_code } => {
                let (name, mnemonic) = exception_name(vector);
                match (mnemonic, error_code) {
                    ("", _) => write!(f, "{name} (vector {vector})"),
                    ("#PF", Some(code)) => write!(f, "{name} ({mnemonic}, {})", PageFaultCode(code)),
                    (_, None | Some(0)) => write!(f, "{name} ({mnemonic})"),
                    (_, Some(code)) => write!(f, "{name} ({mnemonic}, {})", Selector(code)),
                }
            }
            FaultKind::TripleFault => write!(f, "triple fault"),
            // The jump has already happened: the address is the guest's location.
            FaultKind::OutsideRam { access: Access::Execute, .. } => write!(f, "execution outside RAM"),
            FaultKind::OutsideRam { access: Access::Read, address, ram_size } => {
                write!(f, "read outside RAM at {address:#x} (RAM ends at {ram_size:#x}), by the instruction")
            }
            FaultKind::OutsideRam { access: Access::Write, address, ram_size } => {
                write!(f, "write outside RAM at {address:#x} (RAM ends at {ram_size:#x}), by the instruction")
            }
            FaultKind::ReadOnly { address } if is_null(address) => {
                write!(f, "null pointer write at {address:#010x}, by the instruction")
            }
            FaultKind::ReadOnly { address } => {
                write!(f, "write to read-only memory at {address:#010x}, by the instruction")
            }
            FaultKind::StackOverflow { .. } => write!(f, "stack overflow"),
            FaultKind::Guard { access: Access::Execute, .. } => {
                write!(f, "execution in the guard below the stack")
            }
            FaultKind::Guard { access: Access::Read, address, .. } => {
                write!(f, "read in the guard below the stack at {address:#010x}, by the instruction")
            }
            FaultKind::Guard { access: Access::Write, address, .. } => {
                write!(f, "write in the guard below the stack at {address:#010x}, by the instruction")
            }
            FaultKind::Port { port, width, direction } => {
                let bytes = if width == 1 { "byte" } else { "bytes" };
                match Port::from_number(port) {
                    None => write!(f, "unknown port {port:#x} ({}, {width} {bytes})", direction.name()),
                    Some(known) if !known.allows(direction) => {
                        write!(
                            f,
                            "wrong direction ({}) for port {port:#x}, {}",
                            direction.name(),
                            known.name()
                        )
                    }
                    Some(known) => {
                        write!(f, "wrong width ({width} {bytes}) for port {port:#x}, {}", known.name())
                    }
                }
            }
            FaultKind::Unsupported { engine, code } => match instruction::mnemonic(code.as_slice()) {
                Some(mnemonic) => write!(f, "instruction {engine} cannot run here: {mnemonic}"),
                None => write!(f, "bytes {engine} cannot run here: {}", hex(code.as_slice())),
            },
            other => write!(f, "{other:?}"),
        }
    }
}

/// Whether this is a null pointer, with a field offset or a small index: the first page.
fn is_null(address: u32) -> bool {
    address < PAGE_SIZE
}

/// A fault in words, without its location: `divide error (#DE)`. `section` is the name of the section
/// that the guest must not write.
pub fn fault(kind: &FaultKind, section: Option<&str>) -> String {
    match (kind, section_address(kind), section) {
        (FaultKind::ReadOnly { address }, Some(_), Some(section)) => {
            format!("write to read-only memory ({section}) at {address:#010x}, by the instruction")
        }
        _ => FaultWords(kind).to_string(),
    }
}

/// The address whose section is worth naming.
fn section_address(kind: &FaultKind) -> Option<u32> {
    match *kind {
        FaultKind::ReadOnly { address } if !is_null(address) => Some(address),
        _ => None,
    }
}

/// What the user can do about the fault.
pub fn advice(kind: &FaultKind) -> String {
    match *kind {
        FaultKind::Exception { vector: 14, .. } => {
            "mend the pointer or the page tables, or handle the exception with an IDT of the guest's own"
                .into()
        }
        FaultKind::Exception { .. } => {
            "correct the instruction there, or handle the exception with an IDT of the guest's own".into()
        }
        FaultKind::TripleFault => {
            "an exception found no way to its handler: check that ESP points into RAM, and the IDT and \
                 GDT if the guest loads its own"
                .into()
        }
        FaultKind::OutsideRam { access: Access::Execute, ram_size, .. } => format!(
            "RAM ends at {ram_size:#010x}: look for a jump that went wrong, or code that runs on past its end \
                 for want of a `hlt`"
        ),
        FaultKind::OutsideRam { address, .. } if address >= flatland_contract::memory::MAX_RAM_SIZE => {
            "no machine has any RAM there: look for a wrong pointer".into()
        }
        FaultKind::OutsideRam { .. } => "mend the pointer, or give more RAM with --memory SIZE".into(),
        FaultKind::ReadOnly { address } if is_null(address) => {
            "look for a pointer that was never set, or an offset from one".into()
        }
        FaultKind::ReadOnly { .. } => {
            "mend the pointer; or run the image without --symbols, where all of RAM can be written".into()
        }
        FaultKind::StackOverflow { stack_size } => format!(
            "its {} are used up: look for a recursion without end or a large local variable, or give it more \
                 with --stack SIZE",
            size(stack_size)
        ),
        FaultKind::Guard { access: Access::Execute, start, end, .. } => format!(
            "there is no memory from {start:#010x} to {end:#010x}: look for a jump that went wrong, or code \
                 that runs on past its end for want of a `hlt`"
        ),
        FaultKind::Guard { start, end, .. } => format!(
            "there is no memory from {start:#010x} to {end:#010x}: mend the pointer, or give more RAM with \
                 --memory SIZE"
        ),
        FaultKind::Port { .. } => {
            let ports = Port::ALL.map(|port| {
                let allowed = Direction::ALL.into_iter().filter(|direction| port.allows(*direction));
                let ways = allowed.map(Direction::name).collect::<Vec<_>>().join(", ");
                format!("{:#x} {} ({ways})", port.number(), port.name())
            });
            format!("use one of the machine's ports, a byte at a time: {}", ports.join(", "))
        }
        FaultKind::Unsupported { engine, code } => {
            unsupported_advice(engine, instruction::first(&code)).into()
        }
        _ => "look at the instruction there".into(),
    }
}

/// What to do about an instruction that an engine does not support. Names another engine only if it helps.
fn unsupported_advice(engine: &str, code: &[u8]) -> &'static str {
    if instruction::mnemonic(code).is_none() {
        "look for a jump that went wrong, or data among the code"
    } else if x86_instruction::is_later_than_sse2(code) {
        "write it with older instructions, as the machine is an i686 with SSE2"
    } else if engine == "KVM" && !x86_instruction::stores_to_control_register(code) {
        "try it with --engine soft, or write it with other instructions"
    } else {
        // Far transfers, `iret`, interrupts, and stores to control registers.
        "do without real mode, virtual-8086 mode and task switches by the processor, as the machine has none"
    }
}

/// A number of bytes, in the largest unit that divides it.
fn size(bytes: u32) -> String {
    MemorySize::from_bytes(bytes.into()).map_or_else(|_| format!("{bytes} bytes"), |size| size.to_string())
}

/// The selector in an error code (SDM volume 3, section 7.13).
struct Selector(u32);

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Selector(code) = *self;
        let index = code & 0xfff8;
        match code & 0b110 {
            0b000 => write!(f, "selector {index:#x}"),
            0b100 => write!(f, "selector {index:#x} in the LDT"),
            _ => write!(f, "IDT vector {}", index >> 3),
        }
    }
}

/// The error code of a page fault (SDM volume 3, section 5.7).
struct PageFaultCode(u32);

impl fmt::Display for PageFaultCode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let has = |flag| self.0 & flag != 0;
        f.write_str(if has(error_code::WRITE) { "write" } else { "read" })?;
        if has(error_code::USER) {
            f.write_str(" in ring 3")?;
        }
        f.write_str(match (has(error_code::PROTECTION), has(error_code::RESERVED)) {
            (false, _) => " where no page is",
            (true, true) => " by an entry with a reserved bit",
            (true, false) => " that the page does not allow",
        })
    }
}

/// An exception's name and mnemonic (SDM volume 3, table 7-1). No mnemonic if the manual reserves the vector.
fn exception_name(vector: u8) -> (&'static str, &'static str) {
    match vector {
        0 => ("divide error", "#DE"),
        1 => ("debug exception", "#DB"),
        2 => ("non-maskable interrupt", "NMI"),
        3 => ("breakpoint", "#BP"),
        4 => ("overflow", "#OF"),
        5 => ("bound range exceeded", "#BR"),
        6 => ("invalid opcode", "#UD"),
        7 => ("no math coprocessor", "#NM"),
        8 => ("double fault", "#DF"),
        10 => ("invalid TSS", "#TS"),
        11 => ("segment not present", "#NP"),
        12 => ("stack-segment fault", "#SS"),
        13 => ("general protection", "#GP"),
        14 => ("page fault", "#PF"),
        16 => ("x87 floating-point error", "#MF"),
        17 => ("alignment check", "#AC"),
        18 => ("machine check", "#MC"),
        19 => ("SIMD floating-point exception", "#XM"),
        20 => ("virtualization exception", "#VE"),
        21 => ("control protection exception", "#CP"),
        _ => ("reserved exception", ""),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flatland_x86::{CodeBytes, Location};

    use super::*;

    fn port(port: u16, width: u8, direction: Direction) -> FaultKind {
        FaultKind::Port { port, width, direction }
    }

    fn exception(vector: u8, error_code: Option<u32>) -> FaultKind {
        FaultKind::Exception { vector, error_code }
    }

    #[test]
    fn each_kind_in_words() {
        let unsupported =
            FaultKind::Unsupported { engine: "KVM", code: CodeBytes::new(&[0x0f, 0x58, 0xc1, 0, 0, 0]) };
        let jump =
            FaultKind::OutsideRam { access: Access::Execute, address: 0x200_0000, ram_size: 0x100_0000 };
        let write_outside =
            FaultKind::OutsideRam { access: Access::Write, address: 0xb_8000, ram_size: 0x8_0000 };
        let guard = |access| FaultKind::Guard { access, address: 0x3000, start: 0x2000, end: 0x4000 };
        for (kind, words) in [
            (exception(0, None), "divide error (#DE)"),
            (exception(13, Some(0)), "general protection (#GP)"),
            (exception(13, Some(0x30)), "general protection (#GP, selector 0x30)"),
            (exception(11, Some(0x34)), "segment not present (#NP, selector 0x30 in the LDT)"),
            (exception(14, None), "page fault (#PF)"),
            (exception(14, Some(0)), "page fault (#PF, read where no page is)"),
            (exception(14, Some(7)), "page fault (#PF, write in ring 3 that the page does not allow)"),
            (exception(14, Some(9)), "page fault (#PF, read by an entry with a reserved bit)"),
            (exception(13, Some(0x82)), "general protection (#GP, IDT vector 16)"),
            (exception(9, None), "reserved exception (vector 9)"),
            (FaultKind::TripleFault, "triple fault"),
            (jump, "execution outside RAM"),
            (FaultKind::ReadOnly { address: 0xfff }, "null pointer write at 0x00000fff, by the instruction"),
            (
                FaultKind::ReadOnly { address: 0x1000 },
                "write to read-only memory at 0x00001000, by the instruction",
            ),
            (FaultKind::StackOverflow { stack_size: 0x1000 }, "stack overflow"),
            (guard(Access::Execute), "execution in the guard below the stack"),
            (guard(Access::Read), "read in the guard below the stack at 0x00003000, by the instruction"),
            (guard(Access::Write), "write in the guard below the stack at 0x00003000, by the instruction"),
            (port(0x3f8, 1, Direction::Out), "unknown port 0x3f8 (out, 1 byte)"),
            (port(0x3f8, 4, Direction::In), "unknown port 0x3f8 (in, 4 bytes)"),
            (port(0xf4, 1, Direction::In), "wrong direction (in) for port 0xf4, exit"),
            (port(0xe9, 2, Direction::Out), "wrong width (2 bytes) for port 0xe9, console"),
            (unsupported, "instruction KVM cannot run here: addps"),
            (write_outside, "write outside RAM at 0xb8000 (RAM ends at 0x80000), by the instruction"),
        ] {
            assert_eq!(fault(&kind, None), words);
        }
    }

    #[test]
    fn advice_on_ports_lists_the_whole_table() {
        assert_eq!(
            advice(&port(0x3f8, 1, Direction::Out)),
            "use one of the machine's ports, a byte at a time: 0xe9 console (in, out), 0xea diagnostics \
             (out), 0xeb input ready (in), 0xec layout (in), 0xed arguments (in), 0xee clock (in), \
             0xef random (in), 0xf4 exit (out), 0xf5 test (in, out), 0xf6 span (in, out), 0xf7 timer (out)"
        );
    }

    #[test]
    fn a_section_is_named_where_that_says_more() {
        let write = |address| FaultKind::ReadOnly { address };
        assert_eq!(
            fault(&write(0x1000), Some(".rodata")),
            "write to read-only memory (.rodata) at 0x00001000, by the instruction"
        );
        assert_eq!(fault(&write(0xfff), Some(".text")), fault(&write(0xfff), None));
        assert_eq!([write(0x1000), write(0xfff)].map(|kind| section_address(&kind)), [Some(0x1000), None]);
    }

    #[test]
    fn advice_on_a_full_stack_says_how_large_it_is() {
        let advice = |stack_size| advice(&FaultKind::StackOverflow { stack_size });
        assert!(advice(0x20_0000).starts_with("its 2M are used up: "), "{}", advice(0x20_0000));
    }

    #[test]
    fn more_memory_is_advised_only_where_it_can_help() {
        let outside =
            |address| advice(&FaultKind::OutsideRam { access: Access::Write, address, ram_size: 0x1000 });
        assert!(outside(0xefff_ffff).contains("--memory"));
        assert!(!outside(0xf000_0000).contains("--memory"));
    }

    #[test]
    fn advice_on_an_instruction_is_of_its_kind() {
        let system = "do without real mode, virtual-8086 mode and task switches by the processor, as the machine has none";
        let soft = "try it with --engine soft, or write it with other instructions";
        let older = "write it with older instructions, as the machine is an i686 with SSE2";
        let none = "look for a jump that went wrong, or data among the code";
        for (code, by_kvm, by_soft) in [
            // mov cr0, eax; iret
            (&[0x0f, 0x22, 0xc0][..], system, system),
            (&[0xcf], soft, system),
            // int3; haddps; pshufb; fisttp; sysenter; no instruction
            (&[0xcc], soft, system),
            (&[0xf2, 0x0f, 0x7c, 0xc1], older, older),
            (&[0x0f, 0x38, 0x00, 0xc1], older, older),
            (&[0xdb, 0x08], older, older),
            (&[0x0f, 0x34], older, older),
            (&[0xff, 0xff], none, none),
        ] {
            let by = |engine| advice(&FaultKind::Unsupported { engine, code: CodeBytes::new(code) });
            assert_eq!((&*by("KVM"), &*by("the soft engine")), (by_kvm, by_soft), "{code:02x?}");
        }
    }

    #[test]
    fn words_are_quoted_where_the_shell_would_change_them() {
        for (word, expected) in
            [("a/b-c.rec", "a/b-c.rec"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$a", "'$a'"), ("", "''")]
        {
            assert_eq!(shell_word(word.as_ref()), expected);
        }
    }

    #[test]
    fn a_run_that_ends_by_itself_has_no_message() {
        for outcome in [Outcome::Halted, Outcome::EndOfInput, Outcome::Exited(7), Outcome::OutputClosed] {
            assert_eq!(super::outcome(&outcome, &Names::default()), None);
        }
    }

    #[test]
    fn messages() {
        let at = Location::At(0x12);
        let fault = Fault { kind: FaultKind::Exception { vector: 0, error_code: None }, location: at };
        let place =
            Place { function: Some("main".into()), line: Some(("main.rs".into(), 7)), ..Place::default() };
        let names = Names { place, section: Some(".text".into()) };
        let write = Fault { kind: FaultKind::ReadOnly { address: 0x1000 }, location: at };
        for (outcome, message) in [
            (
                Outcome::Fault(fault),
                "divide error (#DE) at 0x00000012 in main (main.rs:7): correct the instruction there, or \
                 handle the exception with an IDT of the guest's own",
            ),
            (
                Outcome::Fault(write),
                "write to read-only memory (.text) at 0x00001000, by the instruction at 0x00000012 in main \
                 (main.rs:7): mend the pointer; or run the image without --symbols, where all of RAM can be written",
            ),
            (
                Outcome::Stopped(Stop::TimeLimit(Duration::from_millis(500)), at),
                "time limit of 0.5 s reached, the guest at 0x00000012 in main (main.rs:7): give it more \
                 with --timeout SECONDS",
            ),
            (
                Outcome::Stopped(Stop::Signal(Signal::Interrupt), at),
                "interrupted by Ctrl-C, the guest at 0x00000012 in main (main.rs:7): --timeout SECONDS ends \
                 a run by itself",
            ),
        ] {
            assert_eq!(super::outcome(&outcome, &names).as_deref(), Some(message));
        }
    }
}
