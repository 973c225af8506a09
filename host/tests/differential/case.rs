//! One instruction of a form, with random operands, and a machine around it.

use flatland::x86::Registers;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

use super::catalogue::Form;
use super::random::Random;
use super::subject::{Before, RAM};

/// The address of the code.
pub const CODE: u32 = 0x1000;
/// The address of the operands.
pub const DATA: u32 = 0x4000;
pub const DATA_SIZE: u32 = 0x400;
/// ESP at the start. The stack extends below and above it.
pub const STACK: u32 = 0x6000;
/// The target of jumps. It is filled with `hlt`, like all unused RAM.
const LANDING: u32 = 0x8000;
const LANDING_SIZE: u32 = 0x1000;

const HLT: u8 = 0xf4;
/// CS at entry (host/x86/src/entry.rs).
const CODE_SELECTOR: u16 = 8;
/// Status flags, IF, DF, AC and ID: what a guest can change without a trap.
const FLAGS: u32 = 0x0024_0ed5;

/// A machine with one instruction, followed by a `hlt`.
pub fn case(form: &Form, random: &mut Random) -> Before {
    loop {
        let mut registers = registers(random);
        if let Some(code) = encode(form, random, &mut registers, CODE) {
            let mut ram = ram(random);
            ram[CODE as usize..][..code.len()].copy_from_slice(&code);
            prepare_targets(&Decoder::new(32, &code, DecoderOptions::NONE).decode(), random, &mut ram);
            return Before { registers, ram };
        }
    }
}

/// Registers at the start of a case.
pub fn registers(random: &mut Random) -> Registers {
    Registers {
        eax: random.number(),
        ebx: random.number(),
        ecx: random.number(),
        edx: random.number(),
        esi: random.number(),
        edi: random.number(),
        ebp: random.number(),
        esp: STACK + random.below(16),
        eip: CODE,
        eflags: 2 | random.next() & FLAGS,
    }
}

/// RAM with random operands.
pub fn ram(random: &mut Random) -> Vec<u8> {
    let mut ram = vec![HLT; RAM as usize];
    for (start, size) in [(DATA, DATA_SIZE), (STACK - 0x80, 0x100)] {
        ram[start as usize..][..size as usize].fill_with(|| random.number() as u8);
    }
    ram
}

/// Encodes an instruction of this form at `address`. Its operands suit the registers, or the registers are changed to
/// suit it. `None` if the random operands cannot be used.
pub fn encode(form: &Form, random: &mut Random, registers: &mut Registers, address: u32) -> Option<Vec<u8>> {
    let encoding = random.choose(&form.encodings);
    let mut code = Vec::new();
    if random.one_in(16) {
        code.push(*random.choose(&[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]));
    }
    let short_addresses = random.one_in(8);
    if short_addresses {
        code.push(0x67);
    }
    if random.one_in(32) {
        code.push(0xf0);
    }
    if is_string(form.code.mnemonic()) && random.one_in(2) {
        code.push(*random.choose(&[0xf2, 0xf3]));
    }
    code.extend(&encoding.opcode);
    if let Some(reg) = encoding.reg {
        mod_rm(random, reg, short_addresses, registers, &mut code);
    }
    for _ in 0..2 {
        code.extend(random.number().to_le_bytes());
    }
    let mut decoder = Decoder::with_ip(32, &code, address.into(), DecoderOptions::NO_INVALID_CHECK);
    let instruction = decoder.decode();
    let constants = decoder.get_constant_offsets(&instruction);
    if instruction.code() != form.code {
        return None;
    }
    code.truncate(instruction.len());
    if let OpKind::NearBranch16 | OpKind::NearBranch32 = instruction.op0_kind()
        && constants.immediate_size() > 1
    {
        let target = LANDING + random.below(LANDING_SIZE);
        let relative = target.wrapping_sub(address + code.len() as u32).to_le_bytes();
        let size = constants.immediate_size();
        code[constants.immediate_offset()..][..size].copy_from_slice(&relative[..size]);
    }
    suit(&instruction, random, registers);
    Some(code)
}

fn is_string(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Movsb | M::Movsw | M::Movsd | M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Scasb | M::Scasw | M::Scasd
    ) || matches!(mnemonic, M::Stosb | M::Stosw | M::Stosd | M::Lodsb | M::Lodsw | M::Lodsd)
        || matches!(mnemonic, M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd)
}

/// Appends a ModRM byte and what follows it: a register, or an address in the data for any values of the registers.
fn mod_rm(random: &mut Random, reg: u8, short: bool, registers: &Registers, code: &mut Vec<u8>) {
    let target = DATA + random.below(DATA_SIZE - 16);
    let reg = reg << 3;
    if random.one_in(2) {
        code.push(0xc0 | reg | random.below(8) as u8);
    } else if short {
        let (bx, bp, si, di) = (registers.ebx, registers.ebp, registers.esi, registers.edi);
        // SDM volume 2, table 2-1.
        let bases = [
            bx.wrapping_add(si),
            bx.wrapping_add(di),
            bp.wrapping_add(si),
            bp.wrapping_add(di),
            si,
            di,
            bp,
            bx,
        ];
        let rm = random.below(9) as usize;
        let (mod_rm, base) = bases.get(rm).map_or((6, 0), |base| (0x80 | rm as u8, *base));
        code.push(mod_rm | reg);
        code.extend(&target.wrapping_sub(base).to_le_bytes()[..2]);
    } else {
        // SDM volume 2, tables 2-2 and 2-3.
        let value = |number| {
            let Registers { eax, ecx, edx, ebx, esp, ebp, esi, edi, .. } = *registers;
            [eax, ecx, edx, ebx, esp, ebp, esi, edi][usize::from(number)]
        };
        let rm = random.below(9) as u8;
        let base = match rm {
            8 => {
                code.push(reg | 5);
                0
            }
            4 => {
                let [base, index, scale] = [8, 8, 4].map(|limit| random.below(limit) as u8);
                code.extend([0x80 | reg | 4, scale << 6 | index << 3 | base]);
                let index = if index == 4 { 0 } else { value(index) };
                value(base).wrapping_add(index << scale)
            }
            _ => {
                code.push(0x80 | reg | rm);
                value(rm)
            }
        };
        code.extend(target.wrapping_sub(base).to_le_bytes());
    }
}

/// Changes the registers so that the instruction has an effect in most cases.
fn suit(instruction: &Instruction, random: &mut Random, registers: &mut Registers) {
    use Mnemonic as M;
    let has_mod_rm_in_memory =
        (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory);
    match instruction.mnemonic() {
        mnemonic if is_string(mnemonic) => {
            registers.esi = DATA + 0x80 + random.below(DATA_SIZE - 0x180);
            registers.edi = DATA + 0x80 + random.below(DATA_SIZE - 0x180);
            registers.ecx = random.below(20);
        }
        M::Xlatb => registers.ebx = DATA + random.below(DATA_SIZE / 2),
        M::Leave | M::Enter => registers.ebp = STACK + random.below(64),
        M::Div | M::Idiv if !has_mod_rm_in_memory && random.below(4) > 0 => registers.edx = random.below(16),
        M::Jcxz | M::Jecxz | M::Loop | M::Loope | M::Loopne => {
            registers.ecx = random.below(4) | random.below(2) << 16
        }
        // Bit offsets keep their values, though they reach far outside the data: their register may also be the base
        // or index of the address.
        M::Bt | M::Bts | M::Btr | M::Btc if !has_mod_rm_in_memory => {}
        _ => {}
    }
    if instruction.op1_register() == iced_x86::Register::CL && !has_mod_rm_in_memory {
        registers.ecx = registers.ecx & !0xff | random.below(40);
    }
}

/// If the instruction branches to an address in a register or in memory, makes it lead to `hlt`.
fn prepare_targets(instruction: &Instruction, random: &mut Random, ram: &mut [u8]) {
    let landing = LANDING + random.below(LANDING_SIZE);
    let word = instruction.code().op_code_is_word();
    let mut element = landing.to_le_bytes()[..if word { 2 } else { 4 }].to_vec();
    let flags = (2 | random.next() & FLAGS).to_le_bytes();
    let mut fill = |start: u32, size: u32, element: &[u8]| {
        for (byte, value) in ram[start as usize..][..size as usize].iter_mut().zip(element.iter().cycle()) {
            *byte = *value;
        }
    };
    match instruction.mnemonic() {
        Mnemonic::Popf | Mnemonic::Popfd => {
            // With TF set, the trap would follow the `hlt`. These bytes have it clear.
            fill(STACK - 0x80, 0x100, &[0xd5, 0x0e, 0, 0]);
        }
        Mnemonic::Retf | Mnemonic::Iret | Mnemonic::Iretd => {
            element.extend(&u32::from(CODE_SELECTOR).to_le_bytes()[..if word { 2 } else { 4 }]);
            if instruction.mnemonic() != Mnemonic::Retf {
                element.extend(&flags[..if word { 2 } else { 4 }]);
            }
            fill(STACK, 0x80, &element);
        }
        Mnemonic::Jmp | Mnemonic::Call if instruction.op0_kind() == OpKind::Memory => {
            if !matches!(instruction.flow_control(), FlowControl::IndirectBranch | FlowControl::IndirectCall)
                || instruction.memory_size().size() > if word { 2 } else { 4 }
            {
                element.extend(CODE_SELECTOR.to_le_bytes());
            }
            fill(DATA, DATA_SIZE, &element);
        }
        Mnemonic::Ret => fill(STACK - 0x80, 0x100, &element),
        _ => {}
    }
}

/// Whether an instruction's code is for operands of 16 bits.
trait OperandSize {
    fn op_code_is_word(self) -> bool;
}

impl OperandSize for iced_x86::Code {
    fn op_code_is_word(self) -> bool {
        let name = format!("{self:?}");
        ["16", "w_", "Iretw"].iter().any(|part| name.contains(part)) || name.ends_with('w')
    }
}
