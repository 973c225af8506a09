//! Tables for the tests of these modules: an instruction, the state before it, and the expected state after it.

use alloc::vec::Vec;

use super::super::cpu::{Cpu, register};
use super::super::decode::{Code, decode};
use super::super::event::{Break, Event, Problem};
use flatland_x86::{MemorySize, Ram};

/// One instruction.
pub struct Row {
    /// Its disassembly.
    pub text: &'static str,
    /// Its bytes.
    pub code: &'static [u8],
    /// EAX, ECX, EDX, EBX and the status flags before.
    pub before: ([u32; 4], u32),
    /// The same afterwards.
    pub after: ([u32; 4], u32),
    /// The flags that are compared.
    pub flags: u32,
}

const CODE: u32 = 0x100;
const REGISTERS: [u8; 4] = [register::EAX, register::ECX, register::EDX, register::EBX];

/// Executes the instruction of each row on a new processor.
pub fn check(rows: &[Row]) {
    for row in rows {
        let (cpu, problem) = execute(row.code, row.before);
        assert_eq!(problem, None, "{}", row.text);
        let registers = REGISTERS.map(|number| cpu.reg(number));
        assert_eq!(registers, row.after.0, "{}: {registers:x?}", row.text);
        let (flags, expected) = (cpu.eflags() & row.flags, row.after.1 & row.flags);
        assert_eq!(flags, expected, "{}: flags {flags:#x}, not {expected:#x}", row.text);
    }
}

/// Executes an instruction, and returns the exception it raises.
pub fn execute(code: &[u8], (registers, eflags): ([u32; 4], u32)) -> (Cpu, Option<Event>) {
    let mut cpu = Cpu::new(MemorySize::from_bytes(0x1000).expect("it is a page").into(), Ram::zeroed(0x1000));
    cpu.memory.write_bytes(CODE, code);
    for (number, value) in REGISTERS.into_iter().zip(registers) {
        cpu.set_reg(number, value);
    }
    cpu.set_eflags(eflags);
    let mut ops = Vec::new();
    let code = Code { bytes: cpu.memory.code(CODE, 15), in_segment: 15, end: 0 };
    decode(&cpu, code, CODE, &mut ops);
    for op in &ops {
        if (op.handler)(&mut cpu, op) == Err(Break::Problem) {
            let Problem::Event(event) = cpu.problem else { panic!("{:?}", cpu.problem) };
            return (cpu, Some(event));
        }
    }
    (cpu, None)
}
