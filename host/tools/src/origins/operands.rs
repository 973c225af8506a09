//! What an instruction uses, and where it takes what it changes from.

use flatland_x86::instruction::{Read, decode, value};
use flatland_x86::{Access, Fault, FaultKind, Registers};
use iced_x86::{Instruction, Mnemonic, OpKind};

use super::{How, Value};
use crate::timeline::Register;

/// The values that this fault fell over, with the registers before its instruction.
pub fn used_by(fault: &Fault, registers: &Registers, read: Read) -> Vec<(Value, u32)> {
    if let FaultKind::OutsideRam { access: Access::Execute, .. }
    | FaultKind::Guard { access: Access::Execute, .. } = fault.kind
    {
        return vec![(Value::NextInstruction, registers.eip)];
    }
    let Some((instruction, _)) = decode(registers.eip, read) else { return Vec::new() };
    let used = match fault.kind {
        FaultKind::OutsideRam { access, .. } | FaultKind::Guard { access, .. } => {
            address(&instruction, access)
        }
        FaultKind::ReadOnly { .. } => address(&instruction, Access::Write),
        // #DE: by zero, or the quotient is too large (SDM volume 2, DIV).
        FaultKind::Exception { vector: 0, .. } => {
            let by = operand(&instruction, 0, registers);
            let is_zero = by.is_some_and(|by| current(by, registers, read) == Some(0));
            let dividend = if is_zero { &[][..] } else { &["edx", "eax"] };
            by.into_iter().chain(dividend.iter().filter_map(|name| named(name))).collect()
        }
        FaultKind::Port { .. } if !instruction.op_kinds().any(|kind| kind == OpKind::Immediate8) => {
            named("edx").into_iter().collect()
        }
        _ => Vec::new(),
    };
    used.into_iter().filter_map(|of| Some((of, current(of, registers, read)?))).collect()
}

/// How an instruction changes a value, with the registers before it.
pub fn how_changed(instruction: &Instruction, registers: &Registers, of: Value) -> How {
    let memory = |address, len| Some(Value::Memory { address, len });
    let from = match (instruction.mnemonic(), of) {
        (Mnemonic::In, _) => {
            let port = match instruction.op1_kind() {
                OpKind::Immediate8 => instruction.immediate8().into(),
                _ => registers.edx as u16,
            };
            return How::ReadFrom(port);
        }
        // EDI and ECX are changed, too.
        (Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd, Value::Memory { .. }) => {
            return How::ReadFrom(registers.edx as u16);
        }
        (Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Movsx, _) => operand(instruction, 1, registers),
        (Mnemonic::Xchg, _) => {
            let [one, other] = [0, 1].map(|index| operand(instruction, index, registers));
            if one == Some(of) { other } else { one }
        }
        (Mnemonic::Push, Value::Memory { .. }) => operand(instruction, 0, registers),
        (Mnemonic::Pop, _) if Some(of) == operand(instruction, 0, registers) => memory(registers.esp, 4),
        (Mnemonic::Leave, Value::Register(register)) if register.name() == "ebp" => memory(registers.ebp, 4),
        (Mnemonic::Leave, _) => named("ebp"),
        (Mnemonic::Ret, Value::NextInstruction) => memory(registers.esp, 4),
        (Mnemonic::Jmp | Mnemonic::Call, Value::NextInstruction) => operand(instruction, 0, registers),
        (Mnemonic::Lodsb | Mnemonic::Lodsw | Mnemonic::Lodsd, Value::Register(register))
            if register.name() == "eax" =>
        {
            memory(registers.esi, width(instruction))
        }
        (Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd, Value::Memory { .. }) => named("eax"),
        // Where it is repeated, this may be before the first part, and the value in another. SSE has a `movsd`, too.
        (Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsd, Value::Memory { address, len })
            if matches!(instruction.op0_kind(), OpKind::MemoryESEDI | OpKind::MemoryESDI) =>
        {
            memory(registers.esi.wrapping_add(address.wrapping_sub(registers.edi)), len)
        }
        _ => None,
    };
    from.map_or(How::Made, How::CopiedFrom)
}

/// Whether an instruction's memory is on the stack: what it pushes or pops, or a part of the frame.
pub fn is_of_stack(instruction: &Instruction) -> bool {
    use iced_x86::Register::{EBP, ESP};
    instruction.is_stack_instruction() || matches!(instruction.memory_base(), ESP | EBP)
}

/// The registers that the address of this access is made of.
fn address(instruction: &Instruction, access: Access) -> Vec<Value> {
    let kinds: Vec<_> = instruction.op_kinds().collect();
    let has = |of: &[OpKind]| kinds.iter().any(|kind| of.contains(kind));
    let source = has(&[OpKind::MemorySegESI, OpKind::MemorySegSI]);
    let destination = has(&[OpKind::MemoryESEDI, OpKind::MemoryESDI]);
    if has(&[OpKind::Memory]) {
        let parts = [instruction.memory_base(), instruction.memory_index()];
        return parts.into_iter().filter_map(register).collect();
    }
    let name = match (source, destination, access) {
        (true, false, _) | (true, true, Access::Read) => "esi",
        (_, true, _) => "edi",
        _ => "esp",
    };
    named(name).into_iter().collect()
}

/// What an operand names, if it is no constant.
fn operand(instruction: &Instruction, index: u32, registers: &Registers) -> Option<Value> {
    match instruction.op_kind(index) {
        OpKind::Register => register(instruction.op_register(index)),
        OpKind::Memory => {
            let part = |register, _, _| value(register, registers).map(u64::from);
            let address = instruction.virtual_address(index, 0, part)? as u32;
            Some(Value::Memory { address, len: width(instruction) })
        }
        _ => None,
    }
}

/// How many bytes its operand in memory has.
fn width(instruction: &Instruction) -> u32 {
    (instruction.memory_size().size() as u32).max(1)
}

/// The general register that this one is a part of.
fn register(register: iced_x86::Register) -> Option<Value> {
    named(&format!("{:?}", register.full_register32()))
}

fn named(name: &str) -> Option<Value> {
    Register::by_name(name).map(Value::Register)
}

/// What is there now: of memory the first 4 bytes.
fn current(of: Value, registers: &Registers, read: Read) -> Option<u32> {
    match of {
        Value::Register(register) => Some(register.value(registers)),
        Value::Memory { address, len } => {
            let mut bytes = [0; 4];
            let len = bytes.len().min(len as usize);
            (read(address, &mut bytes[..len]) == len).then_some(u32::from_le_bytes(bytes))
        }
        Value::NextInstruction => Some(registers.eip),
    }
}
