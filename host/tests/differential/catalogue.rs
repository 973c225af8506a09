//! Lists every form of instruction of an i686, by decoding all opcodes.

use std::collections::BTreeMap;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction};

use super::verdict::not_comparable;

/// An instruction with one kind and size of operands.
pub struct Form {
    pub code: Code,
    pub encodings: Vec<Encoding>,
}

/// A way to write it.
pub struct Encoding {
    /// Operand-size prefix and opcode.
    pub opcode: Vec<u8>,
    /// The reg field of the ModRM byte that follows, if there is one.
    pub reg: Option<u8>,
}

const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
/// ModRM with reg 0: an address of 32 bits, and a register.
const ABSOLUTE: u8 = 0x05;
const REGISTER: u8 = 0xc0;

/// All forms that can be compared.
pub fn forms() -> Vec<Form> {
    let mut forms = BTreeMap::new();
    let one_byte =
        (0..=0xff).filter(|opcode| *opcode != 0x0f && !PREFIXES.contains(opcode)).map(|byte| vec![byte]);
    let two_bytes = (0..=0xff).map(|byte| vec![0x0f, byte]);
    for opcode in one_byte.chain(two_bytes) {
        for word in [false, true] {
            let opcode: Vec<u8> = word.then_some(0x66).into_iter().chain(opcode.iter().copied()).collect();
            let has_mod_rm = (0..8).any(|reg| {
                let [absolute, register] =
                    [ABSOLUTE, REGISTER].map(|mod_rm| decode(&opcode, mod_rm | reg << 3));
                absolute.len() != register.len() || absolute.code() != register.code()
            });
            let regs = if has_mod_rm { (0..8).map(Some).collect() } else { vec![None] };
            for reg in regs {
                for mod_rm in [ABSOLUTE, REGISTER] {
                    let instruction = decode(&opcode, mod_rm | reg.unwrap_or(0) << 3);
                    if is_compared(&instruction) {
                        let encodings: &mut BTreeMap<_, _> =
                            forms.entry(instruction.code() as u32).or_default();
                        encodings.insert((opcode.clone(), reg), instruction.code());
                    }
                }
            }
        }
    }
    forms
        .into_values()
        .map(|encodings| Form {
            code: *encodings.values().next().expect("it was inserted with one"),
            encodings: encodings.into_keys().map(|(opcode, reg)| Encoding { opcode, reg }).collect(),
        })
        .collect()
}

fn decode(opcode: &[u8], mod_rm: u8) -> Instruction {
    let mut bytes = opcode.to_vec();
    bytes.push(mod_rm);
    bytes.resize(15, 0);
    Decoder::new(32, &bytes, DecoderOptions::NONE).decode()
}

/// Whether it is an instruction of the integer unit. Leaves out `hlt`, which ends each case, and `wait`, which
/// belongs to the x87.
fn is_compared(instruction: &Instruction) -> bool {
    !instruction.is_invalid()
        && !matches!(instruction.code(), Code::Hlt | Code::Wait)
        && not_comparable(&[*instruction]).is_none()
}
