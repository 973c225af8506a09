//! What a run compares: both operands of each `cmp`, `test`, `sub`, `xor` and `cmps`. A mutator puts one operand into the
//! input where it finds the other (input to state, as in REDQUEEN).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;

use flatland::x86::instruction::{decode, value};
use flatland::x86::{BlockCode, BlockSink, Registers};
use flatland::{Event, Wants};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use libafl::observers::cmp::{CmpValues, CmplogBytes};

use crate::Result;
use crate::target::Target;

/// How often each instruction is looked at in a run.
const EACH: u32 = 16;

/// How often all are.
const ALL: usize = 4096;

/// What this input makes the guest compare, each pair once. The target is watched by [`Sites`].
pub fn of(target: &mut Target, input: &[u8]) -> Result<Vec<CmpValues>> {
    target.sink::<Sites>().executed.clear();
    target.run(input)?;
    let mut breakpoints = target.sink::<Sites>().take();
    let mut seen = HashMap::<u32, u32>::new();
    let mut found = BTreeMap::new();
    target.put_back(input)?;
    for _ in 0..ALL {
        let wants = Wants { breakpoints: breakpoints.iter().copied().collect(), ..Wants::default() };
        if let Event::Ended(_) = target.resume(&wants)? {
            break;
        }
        let machine = target.machine();
        let registers = machine.registers().map_err(|error| error.to_string())?;
        let times = seen.entry(registers.eip).or_default();
        *times += 1;
        if *times == EACH {
            breakpoints.remove(&registers.eip);
        }
        let read = |address, bytes: &mut [u8]| machine.read_ram(address, bytes);
        let instruction = decode(registers.eip, &read).map(|(instruction, _)| instruction);
        if let Some(values) = instruction.and_then(|instruction| compared(&instruction, &registers, &read)) {
            // Of the same pair of operands only the first.
            found.entry(format!("{values:?}")).or_insert(values);
        }
    }
    Ok(found.into_values().collect())
}

/// Knows where instructions that compare are in the blocks that have been executed.
#[derive(Debug, Default)]
pub struct Sites {
    /// For each block.
    sites: Vec<Vec<u32>>,
    executed: BTreeSet<u32>,
}

impl Sites {
    /// Those of the blocks that have been executed since the last call.
    fn take(&mut self) -> BTreeSet<u32> {
        let executed = mem::take(&mut self.executed);
        executed.into_iter().flat_map(|block| self.sites[block as usize].iter().copied()).collect()
    }
}

impl BlockSink for Sites {
    fn decoded(&mut self, _: u32, code: &BlockCode) {
        let decoder = Decoder::with_ip(32, code.bytes, code.address.into(), DecoderOptions::NONE);
        let compares = decoder.into_iter().filter(compares).map(|instruction| instruction.ip32());
        self.sites.push(compares.collect());
    }

    fn executed(&mut self, block: u32, _: u32) {
        self.executed.insert(block);
    }

    fn cleared(&mut self) {
        self.sites.clear();
        self.executed.clear();
    }
}

fn compares(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    match instruction.mnemonic() {
        Cmpsb | Cmpsw | Cmpsd => true,
        Cmp | Sub | Xor | Test => {
            // `test eax, eax` and `xor eax, eax` compare nothing. The stack pointer and a constant are no data.
            let [one, two] = [0, 1].map(|index| instruction.op_kind(index));
            let is_same = one == OpKind::Register
                && two == OpKind::Register
                && instruction.op0_register() == instruction.op1_register();
            !is_same && instruction.op0_register() != iced_x86::Register::ESP
        }
        _ => false,
    }
}

type Read<'a> = &'a dyn Fn(u32, &mut [u8]) -> usize;

/// The operands of such an instruction, if they can be read and differ.
fn compared(instruction: &Instruction, registers: &Registers, read: Read) -> Option<CmpValues> {
    if instruction.is_string_instruction() {
        let size = instruction.memory_size().size();
        let count = if instruction.has_rep_prefix() || instruction.has_repne_prefix() {
            registers.ecx as usize
        } else {
            1
        };
        let len = count.saturating_mul(size).min(32);
        let text = |address| {
            let mut bytes = [0; 32];
            (len > 0 && read(address, &mut bytes[..len]) == len).then_some((bytes, len as u8))
        };
        let (one, two) = (text(registers.esi)?, text(registers.edi)?);
        let [one, two] = [one, two].map(|(bytes, len)| CmplogBytes::from_buf_and_len(bytes, len));
        return (one != two).then_some(CmpValues::Bytes((one, two)));
    }
    let size = match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        _ => instruction.memory_size().size(),
    };
    let is_constant = |index| !matches!(instruction.op_kind(index), OpKind::Register | OpKind::Memory);
    let operand = |index| match instruction.op_kind(index) {
        OpKind::Register => value(instruction.op_register(index), registers),
        OpKind::Memory => {
            let part = |register, _, _| value(register, registers).map(u64::from);
            let address = instruction.virtual_address(index, 0, part)? as u32;
            let mut bytes = [0; 4];
            (read(address, &mut bytes[..size]) == size).then(|| u32::from_le_bytes(bytes))
        }
        _ => Some(instruction.immediate(index) as u32),
    };
    // LibAFL's constant is the first one.
    let (first, second) = if is_constant(1) { (1, 0) } else { (0, 1) };
    let (one, two, first_is_constant) = (operand(first)?, operand(second)?, is_constant(first));
    match size {
        _ if one == two => None,
        1 => Some(CmpValues::U8((one as u8, two as u8, first_is_constant))),
        2 => Some(CmpValues::U16((one as u16, two as u16, first_is_constant))),
        4 => Some(CmpValues::U32((one, two, first_is_constant))),
        _ => None,
    }
}
