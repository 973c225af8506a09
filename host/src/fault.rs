//! Faults: what a processor cannot go on from, in words.

use std::fmt;

use flatland_contract::memory::PAGE_SIZE;
use flatland_contract::{Direction, Port};

use crate::{MemorySize, instruction};

/// Something the processor cannot go on from, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// Which instruction did it.
    pub location: Location,
}

/// Where an instruction stands, as exactly as the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// It begins here.
    At(u32),
    /// It ends here: EIP was already past it.
    EndsAt(u32),
    /// The engine did not keep it.
    Unknown,
}

impl Location {
    /// An address inside the instruction, for looking up its function and line.
    pub fn inside(self) -> Option<u32> {
        match self {
            Location::At(address) => Some(address),
            Location::EndsAt(address) => Some(address.wrapping_sub(1)),
            Location::Unknown => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Location::At(address) => write!(f, "at {address:#010x}"),
            Location::EndsAt(address) => write!(f, "just before {address:#010x}"),
            Location::Unknown => write!(f, "at an address that was not kept"),
        }
    }
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A CPU exception for which the guest has no handler.
    Exception {
        /// The vector, 0 to 31.
        vector: u8,
        /// The error code, for the vectors that push one.
        error_code: Option<u32>,
    },
    /// An exception while a double fault was being delivered.
    TripleFault,
    /// An access that no RAM answers.
    OutsideRam {
        /// What was tried.
        access: Access,
        /// The first byte that is outside.
        address: u32,
        /// Where RAM ends.
        ram_size: u32,
    },
    /// A store to read-only memory.
    ReadOnly {
        /// The first byte that is read-only.
        address: u32,
    },
    /// The stack has been used up: a push, or another access with ESP at the stack's end, went into the hole below.
    StackOverflow {
        /// Bytes of the stack.
        stack_size: u32,
    },
    /// An access to the hole between heap and stack that is not the stack's doing.
    Hole {
        /// What was tried.
        access: Access,
        /// The first byte that is in the hole.
        address: u32,
        /// Where the hole begins.
        start: u32,
        /// Where the stack begins.
        end: u32,
    },
    /// A transfer at a port, of a width or in a direction that the contract does not have.
    Port {
        /// The port's number.
        port: u16,
        /// Bytes a transfer.
        width: u8,
        /// Which way.
        direction: Direction,
    },
    /// An instruction that the engine cannot run.
    Unsupported {
        /// The engine's name in a sentence.
        engine: &'static str,
        /// The bytes from the instruction's first on, as many as lie in RAM.
        code: CodeBytes,
    },
}

/// What an access wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To load.
    Read,
    /// To store or push.
    Write,
    /// To fetch an instruction.
    Execute,
}

/// The bytes of an instruction and what follows it, up to the 15 that one can have (SDM volume 2, section
/// 2.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeBytes {
    bytes: [u8; Self::MOST],
    len: u8,
}

impl CodeBytes {
    /// The longest that an instruction can be.
    pub const MOST: usize = 15;

    /// The first 15 of these bytes.
    pub fn new(from: &[u8]) -> Self {
        let mut bytes = [0; Self::MOST];
        let len = from.len().min(bytes.len());
        bytes[..len].copy_from_slice(&from[..len]);
        Self { bytes, len: len as u8 }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Those of the first instruction, or all if there is none.
    pub fn instruction(&self) -> &[u8] {
        let code = self.as_slice();
        match iced_x86::Decoder::new(32, code, iced_x86::DecoderOptions::NONE).decode() {
            instruction if instruction.is_invalid() => code,
            instruction => &code[..instruction.len()],
        }
    }
}

/// What happened, without where: `divide error (#DE)`.
impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            FaultKind::Exception { vector, error_code } => {
                let (name, mnemonic) = exception_name(vector);
                match (mnemonic, error_code) {
                    ("", _) => write!(f, "{name} (vector {vector})"),
                    (_, None | Some(0)) => write!(f, "{name} ({mnemonic})"),
                    (_, Some(code)) => write!(f, "{name} ({mnemonic}, {})", Selector(code)),
                }
            }
            FaultKind::TripleFault => write!(f, "triple fault"),
            // A jump has taken place: the address is where the processor is.
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
            FaultKind::Hole { access: Access::Execute, .. } => {
                write!(f, "execution in the hole between heap and stack")
            }
            FaultKind::Hole { access: Access::Read, address, .. } => {
                write!(f, "read in the hole between heap and stack at {address:#010x}, by the instruction")
            }
            FaultKind::Hole { access: Access::Write, address, .. } => {
                write!(f, "write in the hole between heap and stack at {address:#010x}, by the instruction")
            }
            FaultKind::Port { port, width, direction } => {
                let bytes = if width == 1 { "byte" } else { "bytes" };
                let direction_word = match direction {
                    Direction::In => "in",
                    Direction::Out => "out",
                };
                match Port::from_number(port) {
                    None => write!(f, "unknown port {port:#x} ({direction_word}, {width} {bytes})"),
                    Some(known) if !known.allows(direction) => {
                        write!(f, "wrong direction ({direction_word}) for port {port:#x}, {}", known.name())
                    }
                    Some(known) => {
                        write!(f, "wrong width ({width} {bytes}) for port {port:#x}, {}", known.name())
                    }
                }
            }
            FaultKind::Unsupported { engine, code } => match instruction::mnemonic(code.as_slice()) {
                Some(mnemonic) => write!(f, "instruction {engine} cannot run here: {mnemonic}"),
                None => {
                    write!(f, "bytes {engine} cannot run here:")?;
                    code.as_slice().iter().try_for_each(|byte| write!(f, " {byte:02x}"))
                }
            },
        }
    }
}

/// A null pointer, with the offset of a field or a small index: the first page.
fn is_null(address: u32) -> bool {
    address < PAGE_SIZE
}

impl FaultKind {
    /// The same as [`fmt::Display`] has, with the name of the section that [`Self::section_address`] lies in.
    pub fn words(&self, section: Option<&str>) -> String {
        match (self, self.section_address(), section) {
            (FaultKind::ReadOnly { address }, Some(_), Some(section)) => {
                format!("write to read-only memory ({section}) at {address:#010x}, by the instruction")
            }
            _ => self.to_string(),
        }
    }

    /// An address of which it is good to know the section.
    pub fn section_address(&self) -> Option<u32> {
        match *self {
            FaultKind::ReadOnly { address } if !is_null(address) => Some(address),
            _ => None,
        }
    }

    /// What a person can do about it.
    pub fn advice(&self) -> String {
        match *self {
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
            FaultKind::Hole { access: Access::Execute, start, end, .. } => format!(
                "there is no memory from {start:#010x} to {end:#010x}: look for a jump that went wrong, or code \
                 that runs on past its end for want of a `hlt`"
            ),
            FaultKind::Hole { start, end, .. } => format!(
                "there is no memory from {start:#010x} to {end:#010x}: mend the pointer, or give more RAM with \
                 --memory SIZE"
            ),
            FaultKind::Port { .. } => {
                let ports = Port::ALL.map(|port| {
                    let ways = match (port.allows(Direction::In), port.allows(Direction::Out)) {
                        (true, true) => "in, out",
                        (true, false) => "in",
                        _ => "out",
                    };
                    format!("{:#x} {} ({ways})", port.number(), port.name())
                });
                format!("use one of the machine's ports, a byte at a time: {}", ports.join(", "))
            }
            FaultKind::Unsupported { engine, code } => unsupported_advice(engine, code.instruction()).into(),
        }
    }
}

/// What to do about an instruction that an engine cannot run. Another engine is named only where it can.
fn unsupported_advice(engine: &str, code: &[u8]) -> &'static str {
    if instruction::mnemonic(code).is_none() {
        "look for a jump that went wrong, or data among the code"
    } else if instruction::is_floating_point_or_vector(code) {
        "write it with integer instructions, as the machine has no x87, MMX or SSE"
    } else if instruction::is_later_than_i686(code) {
        "write it with older instructions, as the machine is an i686"
    } else if engine == "KVM" && !instruction::stores_to_control_register(code) {
        "try it with --engine soft, or write it with other instructions"
    } else {
        // Far transfers, `iret`, interrupts, and stores to control registers.
        "do without paging, other privilege levels than 0 and task switches, as the machine has none"
    }
}

/// A number of bytes, in the largest unit that gives a whole number.
fn size(bytes: u32) -> String {
    MemorySize::from_bytes(bytes.into()).map_or_else(|_| format!("{bytes} bytes"), |size| size.to_string())
}

/// What an error code says that names a selector (SDM volume 3, section 7.13).
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

/// An exception's name and mnemonic (SDM volume 3, table 7-1); no mnemonic where the manual reserves it.
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
        let hole = |access| FaultKind::Hole { access, address: 0x3000, start: 0x2000, end: 0x4000 };
        for (kind, words) in [
            (exception(0, None), "divide error (#DE)"),
            (exception(13, Some(0)), "general protection (#GP)"),
            (exception(13, Some(0x30)), "general protection (#GP, selector 0x30)"),
            (exception(11, Some(0x34)), "segment not present (#NP, selector 0x30 in the LDT)"),
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
            (hole(Access::Execute), "execution in the hole between heap and stack"),
            (hole(Access::Read), "read in the hole between heap and stack at 0x00003000, by the instruction"),
            (
                hole(Access::Write),
                "write in the hole between heap and stack at 0x00003000, by the instruction",
            ),
            (port(0x3f8, 1, Direction::Out), "unknown port 0x3f8 (out, 1 byte)"),
            (port(0x3f8, 4, Direction::In), "unknown port 0x3f8 (in, 4 bytes)"),
            (port(0xf4, 1, Direction::In), "wrong direction (in) for port 0xf4, exit"),
            (port(0xe9, 2, Direction::Out), "wrong width (2 bytes) for port 0xe9, console"),
            (unsupported, "instruction KVM cannot run here: addps"),
            (write_outside, "write outside RAM at 0xb8000 (RAM ends at 0x80000), by the instruction"),
        ] {
            assert_eq!(kind.to_string(), words);
        }
    }

    #[test]
    fn advice_on_ports_lists_the_whole_table() {
        assert_eq!(
            port(0x3f8, 1, Direction::Out).advice(),
            "use one of the machine's ports, a byte at a time: 0xe9 console (in, out), 0xea diagnostics \
             (out), 0xeb input ready (in), 0xec layout (in), 0xed arguments (in), 0xee clock (in), \
             0xef random (in), 0xf4 exit (out), 0xf5 test (in, out)"
        );
    }

    #[test]
    fn a_section_is_named_where_that_says_more() {
        let write = |address| FaultKind::ReadOnly { address };
        assert_eq!(
            write(0x1000).words(Some(".rodata")),
            "write to read-only memory (.rodata) at 0x00001000, by the instruction"
        );
        assert_eq!(write(0x1000).words(None), write(0x1000).to_string());
        assert_eq!(write(0xfff).words(Some(".text")), write(0xfff).to_string());
        assert_eq!([write(0x1000), write(0xfff)].map(|kind| kind.section_address()), [Some(0x1000), None]);
    }

    #[test]
    fn advice_on_a_full_stack_says_how_large_it_is() {
        let advice = |stack_size| FaultKind::StackOverflow { stack_size }.advice();
        assert!(advice(0x20_0000).starts_with("its 2M are used up: "), "{}", advice(0x20_0000));
    }

    #[test]
    fn more_memory_is_advised_only_where_it_can_help() {
        let outside =
            |address| FaultKind::OutsideRam { access: Access::Write, address, ram_size: 0x1000 }.advice();
        assert!(outside(0xefff_ffff).contains("--memory"));
        assert!(!outside(0xf000_0000).contains("--memory"));
    }

    #[test]
    fn advice_on_an_instruction_is_of_its_kind() {
        let integer = "write it with integer instructions, as the machine has no x87, MMX or SSE";
        let system =
            "do without paging, other privilege levels than 0 and task switches, as the machine has none";
        let soft = "try it with --engine soft, or write it with other instructions";
        let older = "write it with older instructions, as the machine is an i686";
        let none = "look for a jump that went wrong, or data among the code";
        for (code, by_kvm, by_soft) in [
            // fld1; addps
            (&[0xd9, 0xe8][..], integer, integer),
            (&[0x0f, 0x58, 0xc1], integer, integer),
            // mov cr0, eax; iret
            (&[0x0f, 0x22, 0xc0], system, system),
            (&[0xcf], soft, system),
            // int3; popcnt; no instruction
            (&[0xcc], soft, system),
            (&[0xf3, 0x0f, 0xb8, 0xc0], older, older),
            (&[0xff, 0xff], none, none),
        ] {
            let advice = |engine| FaultKind::Unsupported { engine, code: CodeBytes::new(code) }.advice();
            assert_eq!((&*advice("KVM"), &*advice("the soft engine")), (by_kvm, by_soft), "{code:02x?}");
        }
    }

    #[test]
    fn locations() {
        assert_eq!(Location::At(0x12).to_string(), "at 0x00000012");
        assert_eq!(Location::EndsAt(0x12).to_string(), "just before 0x00000012");
        assert_eq!(Location::EndsAt(0x12).inside(), Some(0x11));
    }
}
