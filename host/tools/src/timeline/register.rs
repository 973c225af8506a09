//! The registers whose last change can be searched.

use flatland_x86::Registers;

/// A register, by the name that gdb has for it.
#[derive(Clone, Copy)]
pub struct Register {
    name: &'static str,
    value: fn(&Registers) -> u32,
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
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
