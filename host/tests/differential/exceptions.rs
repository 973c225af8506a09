//! Where others are known to be wrong, or to do what the manual leaves open: each with its reason.
//!
//! An exception is asked for only where there is a difference, so what agrees in spite of it is compared all the
//! same.

use iced_x86::{Instruction, Mnemonic};

use super::subject::{After, End};
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
    /// libunicorn 2.0.1.
    #[cfg_attr(not(feature = "unicorn"), expect(dead_code, reason = "nobody asks it"))]
    Unicorn,
}

const KNOWN: &[Known] = &[];

/// The reason for a difference, if it is known.
pub fn known(subject: &str, executed: &[Instruction], ours: &After, theirs: &After) -> Option<&'static str> {
    let applies = |of| match of {
        Of::Kvm => subject == "kvm",
        Of::KvmEmulator => subject == "kvm" && kvm_emulates(),
        Of::Unicorn => subject == "unicorn",
    };
    KNOWN
        .iter()
        .find(|known| applies(known.of) && (known.is_this)(executed, ours, theirs))
        .map(|known| known.reason)
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
