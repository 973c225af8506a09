//! The registers whose last writer can be searched.

use std::collections::HashMap;
use std::fmt;

use flatland_machine::{Machine, RunError};
use flatland_x86::instruction::decode;
use flatland_x86::{CodeBytes, Location, Registers};
use iced_x86::{InstructionInfoFactory, OpAccess};

use crate::instruction::reader;

/// A register, by the name that gdb has for it.
#[derive(Clone, Copy)]
pub struct Register {
    name: &'static str,
    value: fn(&Registers) -> u32,
}

/// The same name is the same register.
impl PartialEq for Register {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Register {}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Register {
    /// All of them. EIP is not one of them, since each instruction changes it.
    pub const ALL: [Self; 9] = [
        Self { name: "eax", value: |registers| registers.eax },
        Self { name: "ecx", value: |registers| registers.ecx },
        Self { name: "edx", value: |registers| registers.edx },
        Self { name: "ebx", value: |registers| registers.ebx },
        Self { name: "esp", value: |registers| registers.esp },
        Self { name: "ebp", value: |registers| registers.ebp },
        Self { name: "esi", value: |registers| registers.esi },
        Self { name: "edi", value: |registers| registers.edi },
        Self { name: "eflags", value: |registers| registers.eflags },
    ];

    /// The register with this name, which may begin with `$` or `%`.
    pub fn by_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix(['$', '%']).unwrap_or(name);
        Self::ALL.into_iter().find(|register| register.name.eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its value.
    pub fn value(self, registers: &Registers) -> u32 {
        (self.value)(registers)
    }
}

/// Whether instructions write a register. It does not matter whether that has the value already.
pub struct Writes {
    factory: InstructionInfoFactory,
    /// The answers for instructions by their addresses, as long as these have the same bytes.
    known: HashMap<u32, ([u8; CodeBytes::MOST], bool)>,
}

impl Default for Writes {
    fn default() -> Self {
        Self { factory: InstructionInfoFactory::new(), known: HashMap::new() }
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Writes").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Writes {
    /// Whether the instruction that was just executed always writes this register.
    pub fn executed(&mut self, machine: &mut Machine, register: Register) -> Result<bool, RunError> {
        let Location::At(address) = machine.location()? else { return Ok(false) };
        let read = reader(machine.engine());
        let mut bytes = [0; CodeBytes::MOST];
        read(address, &mut bytes);
        if let Some((same, writes)) = self.known.get(&address)
            && *same == bytes
        {
            return Ok(*writes);
        }
        let writes = decode(address, &read).is_some_and(|(instruction, _)| {
            if register.name() == "eflags" {
                return instruction.rflags_modified() != 0;
            }
            let used = self.factory.info(&instruction).used_registers();
            used.iter().any(|used| {
                matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite)
                    && Register::by_name(&format!("{:?}", used.register().full_register32()))
                        == Some(register)
            })
        });
        self.known.insert(address, (bytes, writes));
        Ok(writes)
    }
}
