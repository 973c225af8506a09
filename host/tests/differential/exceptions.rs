//! Where others are known to be wrong, or to do what the manual leaves open: each with its reason.
//!
//! An exception is asked for only where there is a difference, so what agrees in spite of it is compared all the
//! same.

use flatland::fault::{Access, FaultKind};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};

use super::subject::{After, End, RAM};
use super::verdict::outside_ram;

/// A difference that is known.
struct Known {
    /// Which subject it is about.
    of: Of,
    /// Whether it is this one.
    is_this: fn(&[Instruction], &After, &After) -> bool,
    /// Why it is no fault of the soft engine.
    reason: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// Any KVM.
    Kvm,
    /// KVM's own instruction emulator, where the processor has neither VMX nor SVM.
    KvmEmulator,
}

const KNOWN: &[Known] = &[
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, _, _| any(executed, &[Mnemonic::Aam, Mnemonic::Aad]),
        reason: "KVM's instruction emulator sets SF, ZF and PF of aam and aad by something else than AL",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, _, _| any(executed, &[Mnemonic::Enter]),
        reason: "KVM's instruction emulator pushes 4 bytes for a 2-byte enter, and does not check the new stack",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |_, ours, theirs| {
            is_exception(ours, 6)
                && (matches!(outside_ram(&theirs.end), Some((Access::Read, _))) || is_exception(theirs, 13))
        },
        reason: "KVM's instruction emulator reads the operand of bytes that are no instruction",
    },
    Known {
        of: Of::Kvm,
        is_this: |_, ours, theirs| {
            outside_ram(&ours.end).is_some() && outside_ram(&ours.end) == outside_ram(&theirs.end)
        },
        reason: "KVM has done part of an instruction, or all, when it tells of the access outside RAM",
    },
    Known {
        of: Of::Kvm,
        is_this: |_, ours, theirs| {
            ours.end != theirs.end
                && fault(theirs) == Some(FaultKind::TripleFault)
                && !(16..=RAM).contains(&theirs.registers.esp)
        },
        reason: "an exception, or a refusal of KVM, finds no RAM for its frame and is told as a triple fault",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, ours, _| {
            is_exception(ours, 13) && any(executed, &[Mnemonic::Insb, Mnemonic::Insw, Mnemonic::Insd])
        },
        reason: "KVM's instruction emulator reads the port before it looks at the segment of ins",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, ours, theirs| {
            ours.bus != theirs.bus
                && executed.iter().any(|instruction| {
                    instruction.mnemonic() == Mnemonic::In
                        && (instruction.has_repne_prefix() || instruction.has_rep_prefix())
                })
        },
        reason: "KVM's instruction emulator reads ahead from the port for an in with a rep prefix, which means nothing",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, _, _| any(executed, &[Mnemonic::Reservednop]),
        reason: "KVM's instruction emulator takes the address of a hint nop for one of 32 bits",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, ours, _| {
            let outs = [Mnemonic::Out, Mnemonic::Outsb, Mnemonic::Outsw, Mnemonic::Outsd];
            is_exception(ours, 1) && executed.last().is_some_and(|last| outs.contains(&last.mnemonic()))
        },
        reason: "KVM's instruction emulator takes the trap of TF one instruction late after an out",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, ours, theirs| {
            let repeated = |last: &Instruction| last.has_rep_prefix() || last.has_repne_prefix();
            is_exception(ours, 1) && is_exception(theirs, 1) && executed.last().is_some_and(repeated)
        },
        reason: "KVM's instruction emulator takes the trap of TF after many iterations of a repeated instruction",
    },
    Known {
        of: Of::Kvm,
        is_this: |executed, ours, _| executed.iter().any(|instruction| overwrites_itself(instruction, ours)),
        reason: "KVM decodes a repeated store over its own code anew where it enters the guest again, soft when it is through",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |executed, _, _| any(executed, &[Mnemonic::Int]),
        reason: "KVM's instruction emulator has no int",
    },
];

/// The reason for a difference, if it is known.
pub fn known(subject: &str, executed: &[Instruction], ours: &After, theirs: &After) -> Option<&'static str> {
    let applies = |of| match of {
        Of::Kvm => subject == "kvm",
        Of::KvmEmulator => subject == "kvm" && kvm_emulates(),
    };
    KNOWN
        .iter()
        .find(|known| applies(known.of) && (known.is_this)(executed, ours, theirs))
        .map(|known| known.reason)
}

/// Whether this is a repeated store in whose place there is another instruction now.
fn overwrites_itself(instruction: &Instruction, after: &After) -> bool {
    let stores = [
        [Mnemonic::Movsb, Mnemonic::Movsw, Mnemonic::Movsd],
        [Mnemonic::Stosb, Mnemonic::Stosw, Mnemonic::Stosd],
        [Mnemonic::Insb, Mnemonic::Insw, Mnemonic::Insd],
    ];
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let Some(code) = after.ram.get(instruction.ip32() as usize..) else { return false };
    repeated
        && stores.as_flattened().contains(&instruction.mnemonic())
        && Decoder::with_ip(32, code, instruction.ip(), DecoderOptions::NONE).decode() != *instruction
}

/// Whether KVM has no processor to run guests on.
fn kvm_emulates() -> bool {
    static FLAGS: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        !info.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
    });
    *FLAGS
}

fn any(executed: &[Instruction], mnemonics: &[Mnemonic]) -> bool {
    executed.iter().any(|instruction| mnemonics.contains(&instruction.mnemonic()))
}

fn fault(after: &After) -> Option<FaultKind> {
    match after.end {
        End::Fault(fault) => Some(fault.kind),
        _ => None,
    }
}

fn is_exception(after: &After, number: u8) -> bool {
    matches!(fault(after), Some(FaultKind::Exception { vector, .. }) if vector == number)
}
