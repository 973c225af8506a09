//! The registers and the answers of `cpuid`, in KVM's form and in the engines' common form.

use flatland_x86::{Registers, cpuid};
use kvm_bindings::{CpuId, kvm_cpuid_entry2, kvm_regs};

/// Converts KVM's 64-bit registers. A 32-bit guest has their low halves.
pub fn registers(regs: &kvm_regs) -> Registers {
    Registers {
        eax: regs.rax as u32,
        ebx: regs.rbx as u32,
        ecx: regs.rcx as u32,
        edx: regs.rdx as u32,
        esi: regs.rsi as u32,
        edi: regs.rdi as u32,
        ebp: regs.rbp as u32,
        esp: regs.rsp as u32,
        eip: regs.rip as u32,
        eflags: regs.rflags as u32,
    }
}

/// The inverse of [`registers`].
pub fn kvm_regs_of(registers: &Registers) -> kvm_regs {
    kvm_regs {
        rax: registers.eax.into(),
        rbx: registers.ebx.into(),
        rcx: registers.ecx.into(),
        rdx: registers.edx.into(),
        rsi: registers.esi.into(),
        rdi: registers.edi.into(),
        rbp: registers.ebp.into(),
        rsp: registers.esp.into(),
        rip: registers.eip.into(),
        rflags: registers.eflags.into(),
        ..Default::default()
    }
}

/// The answers of `cpuid`.
pub fn cpuid_answers() -> CpuId {
    let entries = cpuid::LEAVES.map(|function| {
        let [eax, ebx, ecx, edx] = cpuid::answer(function);
        kvm_cpuid_entry2 { function, eax, ebx, ecx, edx, ..Default::default() }
    });
    CpuId::from_entries(&entries).expect("they are few")
}
