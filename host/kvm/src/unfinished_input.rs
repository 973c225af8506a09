//! An input of which a part has come, or nothing: the rest is given up.
//!
//! KVM has no way to give up an `in`: the next KVM_RUN completes it with what its page holds (KVM API 5, KVM_EXIT_IO).
//! So the page gets what the instruction's destination has already, and the registers are put back.

use flatland_x86::{EngineError, eflags};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use kvm_bindings::kvm_regs;

use super::KvmEngine;
use super::run_page::{self, Io};

/// The destination of an `ins`.
struct Destination {
    /// The linear address of the first element.
    start: u32,
    /// What is added to the address after each element.
    step: i32,
    /// The bits of ECX and EDI that it uses.
    mask: u32,
    repeats: bool,
}

impl Destination {
    /// The address of element `index`, if the elements do not wrap around.
    fn element(&self, index: usize) -> u32 {
        self.start.wrapping_add((self.step as u32).wrapping_mul(index as u32))
    }
}

impl KvmEngine {
    /// Gives up the last exit, an input. The whole transfers of the first `filled` bytes are made if the instruction is
    /// repeated, and it is the next instruction in any case.
    pub(super) fn give_up_input(&mut self, filled: usize) -> Result<(), EngineError> {
        let mut regs = self.kvm_regs()?;
        if let Some(destination) = self.destination(&regs)? {
            let Io { width, data, .. } = run_page::io(self.vcpu.get_kvm_run());
            let (width, mut bytes) = (usize::from(width), data.to_vec());
            let made = if destination.repeats { filled / width } else { 0 };
            for (index, element) in bytes.chunks_exact_mut(width).enumerate().skip(made) {
                self.read_ram_at(destination.element(index), element);
            }
            let Io { data, .. } = run_page::io(self.vcpu.get_kvm_run());
            data.copy_from_slice(&bytes);
            let Destination { step, mask, .. } = destination;
            let part = |register: &mut u64, change: u32| {
                let now = *register as u32;
                *register = (now & !mask | now.wrapping_add(change) & mask).into();
            };
            part(&mut regs.rdi, (step as u32).wrapping_mul(made as u32));
            part(&mut regs.rcx, (made as u32).wrapping_neg());
        }
        self.give_up_io()?;
        self.set_kvm_regs(&regs)
    }

    /// Where the `ins` at EIP stores. `None` if it is an `in`.
    fn destination(&self, regs: &kvm_regs) -> Result<Option<Destination>, EngineError> {
        let sregs = self.vcpu.get_sregs().map_err(EngineError::call("KVM_GET_SREGS"))?;
        let eip = regs.rip as u32;
        let code = self.code_at((sregs.cs.base as u32).wrapping_add(eip));
        let bits = if sregs.cs.db == 1 { 32 } else { 16 };
        let instruction = Decoder::with_ip(bits, code.as_slice(), eip.into(), DecoderOptions::NONE).decode();
        let Some((mask, width)) = form(&instruction) else { return Ok(None) };
        let step = if regs.rflags as u32 & eflags::DF != 0 { -width } else { width };
        Ok(Some(Destination {
            start: (sregs.es.base as u32).wrapping_add(regs.rdi as u32 & mask),
            step,
            mask,
            repeats: instruction.has_rep_prefix() || instruction.has_repne_prefix(),
        }))
    }
}

/// The bits of EDI that an `ins` uses, and its width in bytes.
fn form(instruction: &Instruction) -> Option<(u32, i32)> {
    let width = match instruction.mnemonic() {
        Mnemonic::Insb => 1,
        Mnemonic::Insw => 2,
        Mnemonic::Insd => 4,
        _ => return None,
    };
    Some((if instruction.op0_kind() == OpKind::MemoryESDI { 0xffff } else { u32::MAX }, width))
}
