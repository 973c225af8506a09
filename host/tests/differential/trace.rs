//! Traces what the soft engine executes, instruction by instruction, and which results the manual defines.

use flatland::soft::SoftEngine;
use flatland::x86::{Engine, Registers, Stops};
use flatland::x86::{Fault, FaultKind};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register, RflagsBits};

use super::subject::{After, Before, Bus, End, MOST_INSTRUCTIONS, after, soft_engine, to_the_end};

/// The status flags of EFLAGS (SDM volume 1, section 3.4.3.1).
const STATUS: [(u32, u32); 6] = [
    (RflagsBits::CF, 1 << 0),
    (RflagsBits::PF, 1 << 2),
    (RflagsBits::AF, 1 << 4),
    (RflagsBits::ZF, 1 << 6),
    (RflagsBits::SF, 1 << 7),
    (RflagsBits::OF, 1 << 11),
];
const CF: u32 = 1 << 0;
const OF: u32 = 1 << 11;
/// All of them.
pub const ALL_STATUS: u32 = 0x8d5;

/// A case as the soft engine steps through it.
pub struct Trace {
    /// What was executed; the last may have faulted.
    pub executed: Vec<Instruction>,
    /// The status flags that are undefined at the end.
    pub undefined_flags: u32,
    /// Why a result other than flags is undefined at the end, if one is.
    pub undefined: Option<&'static str>,
    /// Whether the segments differed from those at entry when the last instruction began.
    pub has_loaded_segments: bool,
    /// The end.
    pub after: After,
}

/// Steps through a case. `spoil` is called after each instruction, and may change its result.
pub fn trace(before: &Before, mut spoil: impl FnMut(&Instruction, &mut SoftEngine)) -> Trace {
    let mut engine = soft_engine(before);
    engine.set_stops(&Stops { step: true, ..Stops::default() }).expect("it steps");
    let mut bus = Bus::default();
    let mut executed = Vec::new();
    let mut undefined_flags = 0;
    let mut undefined = None;
    let at_entry = engine.system_registers().expect("it has registers");
    let mut has_loaded_segments = false;
    let end = loop {
        if executed.len() as u64 >= MOST_INSTRUCTIONS {
            break End::Endless;
        }
        let registers = engine.registers().expect("it has registers");
        let instruction = at(&engine, registers.eip);
        let effect = effect(&instruction, &registers);
        executed.push(instruction);
        has_loaded_segments = engine.system_registers().expect("it has registers") != at_entry;
        let end = to_the_end(&mut engine, &mut bus);
        // A trap comes when the instruction is complete (SDM volume 3, table 7-1).
        let is_complete = match end {
            Some(End::Fault(Fault { kind, .. })) => {
                matches!(kind, FaultKind::Exception { vector: 1 | 3 | 4, .. })
            }
            _ => true,
        };
        if is_complete {
            if effect.flags_read & undefined_flags != 0 {
                undefined = undefined.or(Some("a flag that is undefined is used"));
            }
            undefined = undefined.or(effect.undefined);
            undefined_flags = undefined_flags & !effect.flags_defined | effect.flags_undefined;
        }
        spoil(&instruction, &mut engine);
        if let Some(end) = end {
            break end;
        }
    };
    Trace { executed, undefined_flags, undefined, has_loaded_segments, after: after(&mut engine, end, bus) }
}

/// Decodes the instruction at an address as the manual defines it.
pub fn at(engine: &impl Engine, address: u32) -> Instruction {
    let mut bytes = [0; 15];
    let len = engine.read_ram(address, &mut bytes);
    decode(&bytes[..len], address)
}

/// Decodes one instruction.
pub fn decode(bytes: &[u8], address: u32) -> Instruction {
    Decoder::with_ip(32, bytes, address.into(), DecoderOptions::NONE).decode()
}

/// The effect of an instruction on status flags.
pub struct Effect {
    pub flags_read: u32,
    /// The flags that the instruction sets to a defined value.
    pub flags_defined: u32,
    pub flags_undefined: u32,
    /// Why a result other than flags is undefined.
    pub undefined: Option<&'static str>,
}

/// The effect of an instruction with these registers before it.
pub fn effect(instruction: &Instruction, registers: &Registers) -> Effect {
    use Mnemonic as M;
    let bits =
        |iced: u32| STATUS.iter().filter(|(from, _)| iced & from != 0).fold(0, |all, (_, to)| all | to);
    let mut effect = Effect {
        flags_read: bits(instruction.rflags_read()),
        flags_defined: bits(
            instruction.rflags_written() | instruction.rflags_cleared() | instruction.rflags_set(),
        ),
        flags_undefined: bits(instruction.rflags_undefined()),
        undefined: None,
    };
    let size = match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size() as u32 * 8,
        _ => instruction.memory_size().size() as u32 * 8,
    };
    let count = |operand| match instruction.op_kind(operand) {
        OpKind::Register => registers.ecx & 31,
        _ => instruction.immediate(operand) as u32 & 31,
    };
    match instruction.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr => match count(1) {
            // Nothing changes.
            0 => (effect.flags_defined, effect.flags_undefined) = (0, 0),
            // CF is undefined for a count of at least the operand's size, except for `sar` (SDM volume 2,
            // SAL/SAR/SHL/SHR).
            count if count >= size && matches!(instruction.mnemonic(), M::Shl | M::Sal | M::Shr) => {
                effect.flags_undefined |= CF | OF
            }
            // iced's tables treat a full rotation as a count of 0.
            count if count > 1 => effect.flags_undefined |= OF,
            _ => {}
        },
        M::Shld | M::Shrd => match count(2) {
            0 => (effect.flags_defined, effect.flags_undefined) = (0, 0),
            count if count > size => {
                effect.flags_undefined = ALL_STATUS;
                effect.undefined = Some("a word is shifted by more than 16 bits by shld or shrd");
            }
            _ => {}
        },
        // A repeated one with a count of 0 compares nothing.
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Scasb | M::Scasw | M::Scasd
            if instruction.has_rep_prefix() || instruction.has_repne_prefix() =>
        {
            effect.flags_defined = 0
        }
        M::Bswap if instruction.op0_register().size() == 2 => {
            effect.undefined = Some("bswap of a word is undefined")
        }
        // If the source is 0, the destination is undefined. The source's value is not known here.
        M::Bsf | M::Bsr if instruction.op0_register() != Register::None => {
            effect.undefined = Some("bsf and bsr of 0 leave their result undefined")
        }
        _ => {}
    }
    effect
}
